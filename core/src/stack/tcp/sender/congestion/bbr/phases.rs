//! The phases that the controller goes through, and how fast and how much each may send
//! (draft-ietf-ccwg-bbr-06, section 5.6.1).
//!
//! ```text
//! Startup -> Drain -> Down -> Cruise -> Refill -> Up -> Down ..
//!                        any of them -> ProbeRtt -> Cruise, or Startup if the path was never full
//! ```

use crate::stack::tcp::ratio::scaled;

/// A factor in units of 1/256, so that every machine computes the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gain(u64);

impl Gain {
    /// One: what the path is believed to take.
    pub(super) const ONE: Self = Self(256);
    /// 0.5: a rate that fell further is another path's.
    pub(super) const HALF: Self = Self(128);
    /// 0.7: what CUBIC keeps of its window after a loss (RFC 9438, section 4.6).
    pub(super) const BETA: Self = Self(179);
    /// 0.85: what is left of the most that may be in flight, so that others find room.
    pub(super) const HEADROOM: Self = Self(218);
    /// 0.99: paced a little slower than the path, so that a queue gets shorter by itself.
    pub(super) const MARGIN: Self = Self(253);

    /// So many times `value`, rounded down.
    pub(super) fn of(self, value: u64) -> u64 {
        scaled(value, self.0, Self::ONE.0)
    }
}

/// What the controller does now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BbrPhase {
    /// Doubles its rate each round trip until the path is full.
    Startup,
    /// Lets the queue run empty that Startup built.
    Drain,
    /// ProbeBW_DOWN: sends slower than the path delivers, until nothing of the probe is queued.
    Down,
    /// ProbeBW_CRUISE: sends as fast as the path delivers.
    Cruise,
    /// ProbeBW_REFILL: forgets what losses said lately, and fills the path for a round trip.
    Refill,
    /// ProbeBW_UP: sends faster, to see whether the path delivers more.
    Up,
    /// Keeps half a flight, so that the queue runs empty and the round trip shows.
    ProbeRtt,
}

impl BbrPhase {
    /// How fast it sends, of what the path is believed to deliver.
    pub(super) fn pacing_gain(self) -> Gain {
        match self {
            // 4 ln 2: the least that doubles the rate in each round trip.
            Self::Startup => Gain(710),
            Self::Drain => Gain(128),
            Self::Down => Gain(230),
            Self::Cruise | Self::Refill | Self::ProbeRtt => Gain::ONE,
            Self::Up => Gain(320),
        }
    }

    /// How much may be in flight, of what the path holds without a queue.
    pub(super) fn window_gain(self) -> Gain {
        match self {
            Self::Startup | Self::Drain | Self::Down | Self::Cruise | Self::Refill => Gain(512),
            Self::Up => Gain(576),
            Self::ProbeRtt => Gain(128),
        }
    }

    /// One of the four of ProbeBW.
    pub(super) fn is_probe_bw(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }

    /// It tries whether more fits: a loss says how much does, not that the path got worse.
    pub(super) fn is_accelerating(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_exact_and_do_not_overflow() {
        assert_eq!(Gain::ONE.of(12_345), 12_345);
        assert_eq!(BbrPhase::Up.pacing_gain().of(1_000), 1_250);
        assert_eq!(BbrPhase::Startup.pacing_gain().of(256_000), 710_000);
        assert_eq!(Gain::BETA.of(256_000), 179_000);
        assert_eq!(BbrPhase::Startup.pacing_gain().of(u64::MAX), u64::MAX);
        assert_eq!(scaled(u64::MAX, 6, 12), u64::MAX / 2);
        assert_eq!(scaled(7, 1, 0), 7);
    }

    #[test]
    fn what_up_adds_down_takes_away() {
        for phase in [BbrPhase::Startup, BbrPhase::Up] {
            assert!(phase.pacing_gain().of(1_000) > 1_000, "{phase:?}");
        }
        for phase in [BbrPhase::Drain, BbrPhase::Down] {
            assert!(phase.pacing_gain().of(1_000) < 1_000, "{phase:?}");
        }
        for phase in [BbrPhase::Cruise, BbrPhase::Refill, BbrPhase::ProbeRtt] {
            assert_eq!(phase.pacing_gain(), Gain::ONE, "{phase:?}");
        }
    }
}
