//! Keys, written into the file or into files of their own that nobody else may read.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use slipwire_core::{KEY_LEN, KeyError, PresharedKey, PrivateKey, PublicKey};
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::exposure::{Exposure, Secrets};
use super::fault::{At, Problem, Report};
use super::section::{Section, Value};
use super::value::{FilePath, SecretText, text};

/// More than any key file holds.
const KEY_FILE_LEN_MAX: u64 = 4096;

/// Where a configuration was read from, as far as its secrets depend on it.
#[derive(Debug)]
pub(super) struct Surroundings<'p> {
    /// The configuration file itself.
    pub(super) file: &'p Path,
    /// Who may read it.
    exposure: Exposure,
    /// Who may know secrets: set by the configuration, before any is read.
    pub(super) secrets: Secrets,
}

impl<'p> Surroundings<'p> {
    pub(super) fn new(file: &'p Path, exposure: Exposure) -> Self {
        Self { file, exposure, secrets: Secrets::default() }
    }

    /// A path of the configuration: relative to its file.
    fn resolve(&self, path: &Path) -> PathBuf {
        self.file.parent().map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }
}

/// A kind of secret: how its text is read, and the command that makes one.
struct Kind<K> {
    decode: fn(&str) -> Result<K, KeyError>,
    command: &'static str,
}

const PRIVATE: Kind<PrivateKey> = Kind { decode: PrivateKey::from_str, command: "genkey" };
const PRESHARED: Kind<PresharedKey> = Kind { decode: PresharedKey::from_str, command: "genpsk" };

impl Value for PublicKey {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let text = text(value, "\"<base64>\"")?;
        decode(text, Self::from_str, "the key")
    }
}

/// Our own private key, which must be there.
pub(super) fn private_key(
    section: &Section<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<At<PrivateKey>> {
    let (inline, file) = ("private_key", "private_key_file");
    if !section.has(inline) && !section.has(file) {
        let example = "private_key_file = \"slip0.key\"";
        section.report_missing(file, example, report);
    }
    secret(section, [inline, file], surroundings, PRIVATE, report)
}

/// A peer's preshared key, if there is one.
pub(super) fn preshared_key(
    section: &Section<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<At<PresharedKey>> {
    let keys = ["preshared_key", "preshared_key_file"];
    secret(section, keys, surroundings, PRESHARED, report)
}

fn secret<K>(
    section: &Section<'_>,
    [inline, file]: [&'static str; 2],
    surroundings: &Surroundings<'_>,
    kind: Kind<K>,
    report: &mut Report,
) -> Option<At<K>> {
    if section.has(inline) && section.has(file) {
        let what = format!("stands beside `{file}`");
        let problem = Problem::new(what, format!("keep one of the two, best `{file}`"));
        report.fault(section.offset_of(inline), section.path(inline), problem);
    }
    if let Some(At { value: SecretText(text), offset }) = section.optional(inline, report) {
        let Surroundings { file, exposure, secrets } = surroundings;
        if let Some(problem) = exposure.judge(file, *secrets) {
            report.fault(offset, section.path(inline), problem);
        }
        return decode(&text, kind.decode, "the key").map_or_else(
            |problem| {
                report.fault(offset, section.path(inline), problem);
                None
            },
            |value| Some(At { value, offset }),
        );
    }
    let At { value: FilePath(path), offset } = section.optional(file, report)?;
    match read_key_file(&surroundings.resolve(&path), kind, surroundings.secrets) {
        Ok(value) => Some(At { value, offset }),
        Err(problem) => {
            report.fault(offset, section.path(file), problem);
            None
        }
    }
}

/// Reads a private key from a file that nobody else may use.
pub(crate) fn read_private_key(path: &Path) -> Result<PrivateKey, Problem> {
    read_key_file(path, PRIVATE, Secrets::Private)
}

fn read_key_file<K>(path: &Path, kind: Kind<K>, secrets: Secrets) -> Result<K, Problem> {
    let shown = path.display();
    let unreadable = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => {
            let mend = format!("make it: `(umask 077; slipwire {} > {shown})`", kind.command);
            Problem::new(format!("there is no file {shown}"), mend)
        }
        ErrorKind::InvalidData => describe(KeyError::NotBase64, &format!("the key in {shown}")),
        _ => {
            let mend = "make it a file that this user may read";
            Problem::new(format!("can't read {shown}: {error}"), mend)
        }
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        let what = format!("{shown} is a directory");
        return Err(Problem::new(what, "write the path of the file that holds the key"));
    }
    if let Some(problem) = Exposure::of(&file).map_err(unreadable)?.judge(path, secrets) {
        return Err(problem);
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind unwiped.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LEN_MAX as usize));
    file.take(KEY_FILE_LEN_MAX).read_to_string(&mut text).map_err(unreadable)?;
    decode(&text, kind.decode, &format!("the key in {shown}"))
}

/// Reads a key, which messages call `subject`.
fn decode<K>(
    text: &str,
    decode: fn(&str) -> Result<K, KeyError>,
    subject: &str,
) -> Result<K, Problem> {
    // Which is base64 too, of another length.
    let text = text.trim_ascii();
    if text.len() == 2 * KEY_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mend = "write it in base64, which it becomes by `xxd -r -p | base64`";
        return Err(Problem::new(format!("{subject} is hexadecimal"), mend));
    }
    decode(text).map_err(|error| describe(error, subject))
}

fn describe(error: KeyError, subject: &str) -> Problem {
    let mend = match error {
        KeyError::NotBase64 | KeyError::WrongLength(_) => {
            "copy it again, whole, as `wg` or `slipwire genkey` and `pubkey` print it"
        }
        KeyError::LowOrder => "use a key made by `wg` or `slipwire genkey` and `pubkey`",
    };
    Problem::new(format!("{subject} is {error}"), mend)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

    fn read(content: &str, mode: u32) -> Result<PrivateKey, Problem> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read_private_key(&path)
    }

    #[test]
    fn a_key_file_may_end_with_a_newline() {
        assert_eq!(read(&format!("{KEY}\n"), 0o600).unwrap().to_base64(), KEY);
        assert!(read(KEY, 0o400).is_ok());
    }

    #[test]
    fn a_key_file_that_is_open_to_others_is_refused() {
        for mode in [0o604, 0o620, 0o644, 0o660, 0o666] {
            let problem = read(KEY, mode).unwrap_err();
            assert!(problem.mend.starts_with("run `chmod 600 "), "{problem:?}");
        }
    }

    #[test]
    fn no_message_repeats_a_secret() {
        let cut = &KEY[..40];
        let problem = read(cut, 0o600).unwrap_err();
        assert!(!format!("{problem:?}").contains(&cut[..8]), "{problem:?}");
    }

    #[test]
    fn a_missing_key_file_says_how_to_make_it() {
        let path = Path::new("/nowhere/a.key");
        let problem = read_private_key(path).unwrap_err();
        assert!(problem.mend.contains("slipwire genkey > /nowhere/a.key"));
        let problem = read_key_file(path, PRESHARED, Secrets::Private).err().unwrap();
        assert!(problem.mend.contains("slipwire genpsk > /nowhere/a.key"));
    }

    #[test]
    fn what_is_no_key_file_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let problem = read_private_key(directory.path()).unwrap_err();
        assert!(problem.what.ends_with(" is a directory"), "{problem:?}");
        let path = directory.path().join("raw.key");
        fs::write(&path, [0xff; 32]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let problem = read_private_key(&path).unwrap_err();
        assert!(problem.what.contains("is not base64"), "{problem:?}");
    }
}
