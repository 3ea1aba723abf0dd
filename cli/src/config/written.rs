//! The files that `[capture]` and `[record]` write over: they must be nothing else that is needed.
//!
//! What they hold is the driver's to judge, here before anything runs and again when they are
//! opened. What can't be seen in them is judged here: an empty or missing file that two of them
//! are, and a log that has no line yet.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use slipwire_driver::{CaptureFile, FileError, TapeFiles};

use super::fault::{At, Problem, Report};

/// Reports what stands against the files.
pub(super) fn check(
    capture: Option<&At<CaptureFile>>,
    record: Option<&At<TapeFiles>>,
    report: &mut Report,
) {
    if let Some(At { value, offset }) = capture {
        let outcome = value.check().map_err(|error| problem(&value.file, &error));
        if let Err(problem) = outcome.and_then(|()| check_for_log(&value.file)) {
            report.fault(*offset, "capture.file", problem);
        }
    }
    if let Some(At { value, offset }) = record {
        let outcome = value.check().map_err(|(file, error)| problem(&file, &error));
        let others = || {
            value.files().try_for_each(|file| {
                check_for_log(&file)?;
                capture.map_or(Ok(()), |capture| check_for_capture(&file, &capture.value.file))
            })
        };
        if let Err(problem) = outcome.and_then(|()| others()) {
            report.fault(*offset, "record.file", problem);
        }
    }
}

/// What to do about a file.
pub(crate) fn mend(error: &FileError) -> String {
    match error {
        FileError::Foreign => "name another file, or move this one away".to_owned(),
        FileError::NotRegular => "name a file".to_owned(),
        FileError::NoDirectory(directory) => {
            format!("make it: `mkdir -p {}`", directory.display())
        }
        FileError::Directory { .. } => "name a directory that this user may write to".to_owned(),
        // There may be others one day.
        _ => "name a file that this user may read and write".to_owned(),
    }
}

fn problem(file: &Path, error: &FileError) -> Problem {
    let what = match error {
        FileError::NoDirectory(_) | FileError::Directory { .. } => error.to_string(),
        _ => format!("{} {error}", file.display()),
    };
    Problem::new(what, mend(error))
}

fn check_for_capture(file: &Path, capture: &Path) -> Result<(), Problem> {
    let place = OnDisk::of(file);
    if place.is_none() || place != OnDisk::of(capture) {
        return Ok(());
    }
    let what = format!("{} is also the file of [capture]", file.display());
    Err(Problem::new(what, "name another file for one of the two"))
}

/// Standard output and standard error may lead to a file, too.
fn check_for_log(file: &Path) -> Result<(), Problem> {
    let place = OnDisk::of(file);
    let (output, error) = (io::stdout(), io::stderr());
    let is_log = [output.as_fd(), error.as_fd()].into_iter().any(|stream| {
        let metadata = stream.try_clone_to_owned().and_then(|stream| File::from(stream).metadata());
        metadata.is_ok_and(|metadata| place == Some(OnDisk::Inode(metadata.dev(), metadata.ino())))
    });
    if !is_log {
        return Ok(());
    }
    let what = format!("{} is where this program's messages go", file.display());
    Err(Problem::new(what, "name another file"))
}

/// What a path leads to, whatever it is called.
#[derive(PartialEq, Eq, Debug)]
enum OnDisk {
    /// A file that exists, by device and inode.
    Inode(u64, u64),
    /// A name that is free in a directory, by that one's device and inode.
    Free(u64, u64, OsString),
}

impl OnDisk {
    /// `None` if it can't be told.
    fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(metadata) => Some(Self::Inode(metadata.dev(), metadata.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = fs::metadata(parent.unwrap_or(Path::new("."))).ok()?;
                let name = path.file_name()?.to_owned();
                Some(Self::Free(directory.dev(), directory.ino(), name))
            }
            Err(_) => None,
        }
    }
}
