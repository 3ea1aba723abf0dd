//! Fuzzing: everything that reads what others wrote, as functions from bytes to nothing. Each
//! panics when a promise is broken.
//!
//! `tests/seeds.rs` runs them on the seeds in `fuzz/seeds` and on mutations of those that follow
//! from a number ([`mutator`]); the programs in `fuzz/` run them under libFuzzer, which looks for
//! new ways through the code. Each target says what its bytes mean: most are a `script`.
//!
//! Not here: the head of a request to a page (`driver/src/host/page.rs`), which its own tests cut
//! up in every way.

mod datagram;
mod fragments;
mod gateway;
pub mod mutator;
mod packet;
mod script;
mod tape;
mod text;
mod wire;

pub use tape::reseal;

/// Something that reads bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its seeds' directory, and of its program.
    pub name: &'static str,
    /// Reads them.
    pub run: fn(&[u8]),
}

/// Every one. A new parser's target goes here, into `fuzz/targets` and into `fuzz/seeds`.
pub const TARGETS: [Target; 7] = [
    Target { name: "datagram", run: datagram::run },
    Target { name: "packet", run: packet::run },
    Target { name: "fragments", run: fragments::run },
    Target { name: "configuration", run: text::configuration },
    Target { name: "value", run: text::value },
    Target { name: "question", run: text::question },
    Target { name: "tape", run: tape::run },
];

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or a promise is broken.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let Some(target) = target else { panic!("no fuzz target {name:?}") };
    (target.run)(data);
}
