//! The sizes of packets that are worth trying: what fits into the usual sizes of links.

use crate::limits::{DATA_OVERHEAD, MTU_MIN};
use crate::path_mtu::{plateau_above, plateau_below};

/// Bytes of IPv6, UDP and WireGuard around a packet. Over IPv4 20 less are needed, which nobody
/// knows here.
const AROUND: usize = 40 + 8 + DATA_OVERHEAD;

/// Bytes of a packet that gets through nearly everywhere: 1,280 with what is around it, which every
/// link must carry that carries IPv6 (RFC 8899's BASE_PLPMTU).
const BASE: u16 = 1_200;

/// A smaller size that fits where packets of `len` bytes do not, if anything does. At least
/// [`MTU_MIN`].
pub(super) fn safer(len: u16) -> u16 {
    if len > BASE {
        return BASE;
    }
    let plateau = plateau_below(usize::from(len) + AROUND);
    // Constant, and less than a hundred.
    plateau.saturating_sub(AROUND as u16).max(MTU_MIN).min(len)
}

/// The next larger size after one that fits, at most `full`; `None` if it is as large as that.
pub(super) fn larger(len: u16, full: u16) -> Option<u16> {
    let plateau = plateau_above(usize::from(len) + AROUND);
    let next = plateau.map_or(full, |plateau| plateau.saturating_sub(AROUND as u16).min(full));
    (next > len).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_down_to_what_every_path_carries() {
        let mut steps = vec![1_420];
        while let Some(last) = steps.last().copied().filter(|last| *last > MTU_MIN) {
            steps.push(safer(last));
        }
        assert_eq!(steps, [1_420, 1_200, 926, 576]);
        assert_eq!((safer(9_000), safer(MTU_MIN), safer(100)), (1_200, 576, 100));
    }

    #[test]
    fn steps_lead_up_to_what_the_tunnel_takes() {
        let mut steps = vec![576];
        while let Some(next) = larger(*steps.last().unwrap(), 1_420) {
            steps.push(next);
        }
        assert_eq!(steps, [576, 926, 1_200, 1_260, 1_320, 1_412, 1_420]);
        assert_eq!(larger(31_920, 60_000), Some(60_000), "there is no usual size above");
    }
}
