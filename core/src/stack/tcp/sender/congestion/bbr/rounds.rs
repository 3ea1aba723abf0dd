//! Round trips, counted by what is delivered (draft-ietf-ccwg-bbr-06, section 5.5.1).

/// A round begins with a segment and ends when one arrives that was sent after it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    ends_at: u64,
    count: u64,
    is_start: bool,
}

impl Rounds {
    /// An acknowledgement: `delivered` bytes are by now, `prior` were when its segment left.
    pub(super) fn handle_sample(&mut self, prior: u64, delivered: u64) {
        self.is_start = prior >= self.ends_at;
        if self.is_start {
            self.begin(delivered);
            self.count += 1;
        }
    }

    /// A round begins now, whatever the last one was.
    pub(super) fn begin(&mut self, delivered: u64) {
        self.ends_at = delivered;
    }

    /// The last acknowledgement was the first of a round.
    pub(super) fn is_start(&self) -> bool {
        self.is_start
    }

    /// Rounds that have begun.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_with_what_was_sent_in_it() {
        let mut rounds = Rounds::default();
        rounds.handle_sample(0, 1_000);
        assert!(rounds.is_start());
        rounds.handle_sample(500, 2_000);
        assert!(!rounds.is_start());
        rounds.handle_sample(1_000, 3_000);
        assert!(rounds.is_start());
        rounds.begin(5_000);
        rounds.handle_sample(3_000, 6_000);
        assert!(!rounds.is_start());
        assert_eq!(rounds.count(), 2);
    }
}
