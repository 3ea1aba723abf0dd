//! Prints which modules stand on which: `modules [CRATE]`, where the crate is core (the default),
//! driver or cli. Exits with 1 if there is a circle.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use slipwire_tidy::rooms::Rooms;
use slipwire_tidy::sources::rust_files;

fn main() -> io::Result<ExitCode> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "core".into());
    if !matches!(name.as_str(), "core" | "driver" | "cli") {
        eprintln!("modules: there is no crate {name:?}: core, driver or cli");
        return Ok(ExitCode::from(2));
    }
    let root = format!("{name}/src");
    let mut has_circle = false;
    for rooms in Rooms::of_crate(&rust_files(&root), &root) {
        has_circle |= rooms.levels().is_err();
        match writeln!(io::stdout(), "{rooms}") {
            // The reader has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(ExitCode::from(u8::from(has_circle)))
}
