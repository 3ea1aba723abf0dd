//! A tail loss probe that is out (RFC 8985, section 7): who asks after the end of a flight, which
//! nothing follows that could tell that it is lost.

use std::ops::Range;

/// What is known of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) enum TailProbe {
    /// It is due, and has not left yet.
    Due,
    /// New bytes were sent, up to this position.
    New(u64),
    /// The last bytes were sent again, up to this position.
    Repeat(u64),
}

/// What an acknowledgement says of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProbeFate {
    /// Nothing yet.
    Open,
    /// It is answered: nothing was lost, or other means will tell.
    Over,
    /// The tail was lost, and the probe has repaired it.
    Repaired,
}

impl TailProbe {
    /// It leaves, from `start` on, where everything up to `sent_to_before` was sent before, and up
    /// to `sent_to` with it.
    pub(super) const fn sent(start: u64, sent_to_before: u64, sent_to: u64) -> Self {
        if start < sent_to_before { Self::Repeat(sent_to) } else { Self::New(sent_to) }
    }

    /// Whether a D-SACK block is about it.
    pub(super) fn is_duplicate(&self, block: &Range<u64>) -> bool {
        matches!(*self, Self::Repeat(end) if block.end == end)
    }

    /// What an acknowledgement of everything before `to` says (section 7.4.2). `is_bare`: it
    /// acknowledges nothing new, and has no blocks.
    pub(super) const fn fate(&self, to: u64, is_bare: bool) -> ProbeFate {
        match *self {
            Self::Due => ProbeFate::Open,
            Self::New(end) if to >= end => ProbeFate::Over,
            Self::Repeat(end) if to > end => ProbeFate::Repaired,
            Self::Repeat(end) if to == end && is_bare => ProbeFate::Over,
            Self::New(_) | Self::Repeat(_) => ProbeFate::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeat_that_nothing_calls_needless_has_repaired() {
        assert_eq!(TailProbe::sent(90, 90, 100).fate(100, false), ProbeFate::Over);
        let repeat = TailProbe::sent(80, 90, 90);
        assert_eq!(repeat.fate(90, false), ProbeFate::Open);
        assert_eq!(repeat.fate(90, true), ProbeFate::Over, "both sendings have arrived");
        assert_eq!(repeat.fate(91, false), ProbeFate::Repaired);
        assert!(repeat.is_duplicate(&(80..90)) && !repeat.is_duplicate(&(70..80)));
    }
}
