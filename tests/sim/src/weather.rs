//! What the links of a run suffer from: each kind of trouble alone, and all of it together.

use std::time::Duration;

use super::plan::millis;
use slipwire_worlds::dice::Dice;
use slipwire_worlds::link::Profile;

/// What the links of a run suffer from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weather {
    Clean,
    Loss,
    Bursts,
    Reordering,
    Narrow,
    Everything,
}

impl Weather {
    pub(super) fn new(dice: &mut Dice) -> Self {
        dice.pick(&[
            Self::Clean,
            Self::Clean,
            Self::Loss,
            Self::Bursts,
            Self::Reordering,
            Self::Reordering,
            Self::Narrow,
            Self::Everything,
        ])
    }

    /// Whether single datagrams come so late that a sender may take them for lost.
    pub(super) fn spikes(dice: &mut Dice) -> Option<(u32, Duration)> {
        let spikes =
            (dice.pick(&[500, 5_000]), dice.pick(&[millis(100), millis(400), millis(2_000)]));
        dice.chance(150_000).then_some(spikes)
    }

    pub(super) fn link(self, mtu: usize, dice: &mut Dice) -> Profile {
        let latency = dice.pick(&[0, 100, 1_000, 10_000, 40_000, 200_000]);
        let clean = Profile { mtu, ..Profile::clean(Duration::from_micros(latency)) };
        let loss = dice.pick(&[2_000, 10_000, 50_000, 150_000]);
        let reorder = dice.pick(&[10_000, 100_000, 400_000]);
        let reorder_by = (Duration::ZERO, dice.time(millis(1), millis(80)));
        let jitter = dice.time(Duration::ZERO, millis(50));
        let burst = (dice.pick(&[2_000, 10_000]), dice.pick(&[50_000, 200_000, 500_000]));
        let rate = dice.pick(&[20_000, 100_000, 1_000_000, 10_000_000]);
        let queue = dice.between(4_000, 200_000);
        let narrow = Profile { rate: Some(rate), queue, ..clean };
        match self {
            Self::Clean => clean,
            Self::Loss => Profile { loss, ..clean },
            Self::Bursts => Profile { burst, ..clean },
            Self::Reordering => Profile { reorder, reorder_by, jitter, ..clean },
            Self::Narrow => narrow,
            Self::Everything => Profile {
                loss,
                burst,
                reorder,
                reorder_by,
                jitter,
                duplicate: dice.pick(&[0, 10_000, 200_000]),
                corrupt: dice.pick(&[0, 5_000, 50_000]),
                ..narrow
            },
        }
    }
}
