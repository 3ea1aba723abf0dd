//! The text of a configuration: from a file or from standard input, in UTF-8.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::fstat;
use zeroize::Zeroizing;

use super::exposure::Exposure;
use super::fault::Faults;

/// A larger file was not written by hand.
const FILE_LEN_MAX: u64 = 16 << 20;

/// The path that stands for standard input.
const STDIN: &str = "-";

/// What messages call standard input. As a path it lies in the working directory, so that the paths
/// of such a configuration are relative to that.
const STDIN_NAME: &str = "standard input";

/// A configuration as it was read.
pub(super) struct Source {
    /// What messages call it.
    pub(super) name: PathBuf,
    /// Who else may read the secrets in it.
    pub(super) exposure: Exposure,
    /// What it says; it may hold secrets.
    pub(super) text: Zeroizing<String>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file could not be read.
    Unreadable { file: PathBuf, error: io::Error },
    /// The file is larger than any configuration.
    TooLarge { file: PathBuf },
    /// The file is no text, or in an encoding that TOML does not have.
    NotUtf8 { file: PathBuf, line: usize, encoding: Encoding },
    /// The file is wrong.
    Faults(Faults),
}

/// What a file is that is not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// What Windows calls Unicode.
    Utf16,
    Unknown,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => {
                let mend = match error.kind() {
                    ErrorKind::NotFound => "name an existing file with -c FILE",
                    ErrorKind::PermissionDenied => "make it a file that this user may read",
                    _ => "name a configuration with -c FILE",
                };
                write!(f, "{}: can't read the configuration: {error}; {mend}", file.display())
            }
            Self::TooLarge { file } => write!(
                f,
                "{}: larger than {FILE_LEN_MAX} bytes; name a configuration with -c FILE",
                file.display()
            ),
            Self::NotUtf8 { file, line, encoding } => {
                let what = match encoding {
                    Encoding::Utf16 => "the file is UTF-16, which Windows calls Unicode",
                    Encoding::Unknown => "this is no UTF-8 text",
                };
                write!(f, "{}:{line}: {what}; save the file as UTF-8", file.display())
            }
            Self::Faults(faults) => faults.fmt(f),
        }
    }
}

/// Reads a file, or standard input if it is called `-`.
pub(super) fn read(path: &Path) -> Result<Source, LoadError> {
    if path == Path::new(STDIN) {
        return read_from(io::stdin(), Path::new(STDIN_NAME));
    }
    let file =
        File::open(path).map_err(|error| LoadError::Unreadable { file: path.to_owned(), error })?;
    read_from(file, path)
}

fn read_from(mut from: impl Read + AsFd, name: &Path) -> Result<Source, LoadError> {
    let unreadable = |error| LoadError::Unreadable { file: name.to_owned(), error };
    let stat = fstat(&from).map_err(|error| unreadable(error.into()))?;
    let exposure = Exposure::of(&from).map_err(unreadable)?;
    // Wiped after use, with room from the start so that no copy is left.
    let room = u64::try_from(stat.st_size).unwrap_or(0).min(FILE_LEN_MAX) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
    from.by_ref().take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(LoadError::TooLarge { file: name.to_owned() });
    }
    let text = decode(bytes).map_err(|(line, encoding)| LoadError::NotUtf8 {
        file: name.to_owned(),
        line,
        encoding,
    })?;
    Ok(Source { name: name.to_owned(), exposure, text })
}

/// The bytes as UTF-8, or the line that is not, and what the text is in.
fn decode(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, (usize, Encoding)> {
    let has_mark = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    // The first letter is one of ASCII: half of it is zero.
    if has_mark || matches!(bytes[..], [first, second, ..] if (first == 0) != (second == 0)) {
        return Err((1, Encoding::Utf16));
    }
    String::from_utf8(mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = Zeroizing::new(error.into_bytes());
        let line = 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count();
        (line, Encoding::Unknown)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, (usize, Encoding)> {
        decode(Zeroizing::new(bytes.to_vec())).map(|mut text| mem::take(&mut *text))
    }

    #[test]
    fn text_that_is_not_utf_8_says_where_and_what_it_is() {
        assert_eq!(text("a\nBüro".as_bytes()), Ok("a\nBüro".to_owned()));
        assert_eq!(text(b""), Ok(String::new()));
        assert_eq!(text(b"["), Ok("[".to_owned()));
        let utf16 = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        let little: Vec<u8> = utf16("[a]").into_iter().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = utf16("[a]").into_iter().flat_map(u16::to_be_bytes).collect();
        for bytes in [&little, &big, &[&[0xff, 0xfe][..], &little].concat()] {
            assert_eq!(text(bytes), Err((1, Encoding::Utf16)), "{bytes:?}");
        }
        // Latin-1.
        assert_eq!(text(b"a = 1\n# B\xfcro\n"), Err((2, Encoding::Unknown)));
    }
}
