//! Results go to standard output, messages to standard error.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// Writes a result. A reader that has gone away has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::system("can't write to standard output")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a message of one or more lines.
pub(crate) fn complain(message: &str) {
    // If nobody listens, the exit code still tells.
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// The columns and rows of the terminal that standard output is, if it is one and says so.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// Whether standard output is a file that everybody on this machine may open.
pub(crate) fn is_world_accessible() -> bool {
    rustix::fs::fstat(io::stdout()).is_ok_and(|stat| {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        kind == rustix::fs::FileType::RegularFile && stat.st_mode & 0o007 != 0
    })
}
