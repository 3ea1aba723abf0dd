//! What happened, line by line: shown as a trace when somebody asks, and always part of a digest,
//! which is the same for two runs exactly if every line is.
//!
//! Lines speak of times, lengths and kinds only. WireGuard's ciphertext is another in each run.

use std::fmt::{self, Write as _};

use slipwire_core::Instant;

/// Whether the lines are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// On standard error.
    Shown,
    /// They only count for the digest.
    Hidden,
}

/// The lines of one run.
#[derive(Debug)]
pub(super) struct Log {
    trace: Trace,
    digest: Digest,
}

impl Log {
    pub(super) const fn new(trace: Trace) -> Self {
        Self { trace, digest: Digest(0xcbf2_9ce4_8422_2325) }
    }

    pub(super) fn note(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        // A digest takes everything.
        let _ = writeln!(self.digest, "{} {line}", now.as_nanos());
        match self.trace {
            Trace::Shown => eprintln!("{:14.6} {line}", now.as_nanos() as f64 / 1e9),
            Trace::Hidden => {}
        }
    }

    pub(super) const fn digest(&self) -> u64 {
        self.digest.0
    }
}

/// FNV-1a: nobody chooses these lines to collide.
#[derive(Debug)]
struct Digest(u64);

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
