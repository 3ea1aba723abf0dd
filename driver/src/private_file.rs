//! Files for what nobody else is to read, which take the place of older ones of their kind alone.
//!
//! A path in a configuration may lead to anything: a key, the configuration itself, a device, under
//! its own name, by a symbolic or by a hard link. What a file holds tells: one that begins as ours
//! do is emptied, and so is one with nothing in it; any other is left as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use rustix::fs::{Access, access};
use slipwire_core::tape;

use crate::error::FileError;

/// What a file is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Capture,
    Tape,
}

/// Bytes by which a file of ours is known.
const START_LEN: usize = 14;
/// The type of a pcapng file's first block, the same in either byte order, and the number behind
/// its length that tells which one it is.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

impl Kind {
    /// Whether a file that begins like this is one of the kind.
    fn has_start(self, start: &[u8]) -> bool {
        match self {
            Self::Capture => {
                let order = start.get(8..12).unwrap_or_default();
                start.starts_with(&SECTION_HEADER)
                    && (order.iter().eq(&BYTE_ORDER) || order.iter().rev().eq(&BYTE_ORDER))
            }
            Self::Tape => tape::is_tape(start),
        }
    }
}

/// Creates a file, or empties one of the kind; nobody but its owner may read it.
pub(crate) fn create(path: &Path, kind: Kind) -> Result<File, FileError> {
    look_at_type(path)?;
    let mut options = OpenOptions::new();
    // Not emptied by being opened: what has been looked at is what is emptied, whatever the path
    // leads to by then.
    let file = open(options.create(true).truncate(false).mode(0o600), path)?;
    look_inside(&file, kind)?;
    // Before anything is in it, should it have been there with another mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    Ok(file)
}

/// Whether [`create`] would work now, as far as that can be known without creating anything.
pub(crate) fn check(path: &Path, kind: Kind) -> Result<(), FileError> {
    match look_at_type(path)? {
        Presence::Present => look_inside(&open(&mut OpenOptions::new(), path)?, kind),
        Presence::Absent => check_directory(&destination(path)),
    }
}

/// Whether the directory of a file lets files be made and renamed.
pub(crate) fn check_directory(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(path);
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| match error.kind() {
        ErrorKind::NotFound => FileError::NoDirectory(directory.to_owned()),
        _ => FileError::Directory { directory: directory.to_owned(), error: error.into() },
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    Present,
    Absent,
}

/// Before it is opened, since that alone does something to a device: it rewinds a tape, it starts a
/// watchdog.
fn look_at_type(path: &Path) -> Result<Presence, FileError> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(FileError::NotRegular),
        Ok(_) => Ok(Presence::Present),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Presence::Absent),
        Err(error) => Err(error.into()),
    }
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Should a FIFO or a terminal have taken its place.
    options.read(true).write(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)
}

fn look_inside(file: &File, kind: Kind) -> Result<(), FileError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    let mut start = [0; START_LEN];
    // One read is enough for the start of a regular file.
    let len = file.read_at(&mut start, 0)?;
    if len == 0 || kind.has_start(&start[..len]) { Ok(()) } else { Err(FileError::Foreign) }
}

/// What a symbolic link whose target is not there stands for; any other path stands for itself.
fn destination(path: &Path) -> PathBuf {
    /// As many as the system follows.
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |directory| directory.join(&target));
    }
    path
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    const PCAPNG: &[u8] = b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a and so on";
    const TAPE: &[u8] = b"slipwire tape\n\x03\0 and so on";
    const KEY: &[u8] = b"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n";

    /// What `check` and `create` say of a file with this content, which are of one mind.
    fn outcome(path: &Path, kind: Kind) -> Result<(), FileError> {
        let before = fs::read(path).ok();
        let checked = check(path, kind);
        assert_eq!(fs::read(path).ok(), before, "a check changes nothing");
        let created = create(path, kind).map(drop);
        assert_eq!(checked.is_ok(), created.is_ok(), "{checked:?} {created:?}");
        if created.is_err() {
            assert_eq!(fs::read(path).ok(), before, "what is not ours stays");
        } else {
            assert_eq!(fs::read(path).unwrap(), b"");
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        created
    }

    #[test]
    fn only_what_is_empty_or_of_the_kind_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut big_endian = PCAPNG.to_vec();
        big_endian[8..12].reverse();
        for (content, is_capture, is_tape) in [
            (PCAPNG, true, false),
            (&big_endian, true, false),
            (TAPE, false, true),
            (b"", true, true),
            (KEY, false, false),
            (b"\n", false, false),
            (&PCAPNG[..8], false, false),
            (b"[interface]\n", false, false),
            (b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0", false, false),
        ] {
            for (kind, is_ours) in [(Kind::Capture, is_capture), (Kind::Tape, is_tape)] {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
                let is_written = match outcome(&path, kind) {
                    Ok(()) => true,
                    Err(FileError::Foreign) => false,
                    Err(error) => panic!("{error}"),
                };
                assert_eq!(is_written, is_ours, "{kind:?} {content:?}");
            }
        }
    }

    #[test]
    fn a_key_is_safe_under_its_other_names() {
        let directory = tempfile::tempdir().unwrap();
        let [key, soft, hard] = ["key", "soft", "hard"].map(|name| directory.path().join(name));
        fs::write(&key, KEY).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o440)).unwrap();
        symlink("key", &soft).unwrap();
        fs::hard_link(&key, &hard).unwrap();
        for path in [&key, &soft, &hard] {
            assert!(outcome(path, Kind::Capture).is_err());
        }
        assert_eq!(fs::read(&key).unwrap(), KEY);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o440);
    }

    #[test]
    fn what_is_no_regular_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [Path::new("/dev/null"), Path::new("/dev/full"), &fifo, directory.path()] {
            for outcome in [check(path, Kind::Tape), create(path, Kind::Tape).map(drop)] {
                assert!(matches!(outcome, Err(FileError::NotRegular)), "{path:?}: {outcome:?}");
            }
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let link = directory.path().join("link");
        symlink("missing/file", &link).unwrap();
        for path in [missing.join("file"), link] {
            match check(&path, Kind::Capture) {
                Err(FileError::NoDirectory(named)) => assert_eq!(named, missing),
                other => panic!("{other:?}"),
            }
            assert!(create(&path, Kind::Capture).is_err());
        }
        check(&directory.path().join("new"), Kind::Capture).unwrap();
        assert!(!directory.path().join("new").exists(), "a check makes no file");
    }
}
