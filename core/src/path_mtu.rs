//! What a path carries, where that is less than the tunnel does (RFC 1191, RFC 8201).
//!
//! News of a narrow path are believed for ten minutes, then larger packets are tried again.

use std::time::Duration;

use crate::config::{MTU_IPV6_MIN, MTU_MIN};
use crate::time::Instant;

/// How long a path is believed to be narrow (RFC 1191, section 6.3; RFC 8201, section 5.3).
const LIFETIME: Duration = Duration::from_secs(600);

/// Sizes that links have, largest first: those of RFC 1191, section 7.1, and of today's tunnels.
const PLATEAUS: [u16; 13] =
    [32_000, 17_914, 9_000, 8_166, 4_352, 2_002, 1_500, 1_492, 1_400, 1_340, 1_280, 1_006, MTU_MIN];

/// The largest usual size below `len`, for a path that refused `len` bytes and did not say what it
/// carries. At least [`MTU_MIN`].
pub(crate) fn plateau_below(len: usize) -> u16 {
    PLATEAUS.into_iter().find(|plateau| usize::from(*plateau) < len).unwrap_or(MTU_MIN)
}

/// The smallest usual size above `len`; `None` if there is none.
pub(crate) fn plateau_above(len: usize) -> Option<u16> {
    PLATEAUS.into_iter().rev().find(|plateau| usize::from(*plateau) > len)
}

/// What an ICMP error makes of a path to an IPv4 or IPv6 address: `reported` bytes, within what
/// every path of that version carries. `None` if it is not to be believed: no path is too narrow
/// for IPv6's smallest MTU (RFC 8201, section 4).
pub(crate) fn believable(reported: u16, is_ipv6: bool) -> Option<u16> {
    if is_ipv6 {
        (reported >= MTU_IPV6_MIN).then_some(reported)
    } else {
        Some(reported.max(MTU_MIN))
    }
}

/// What is known of one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathMtu(Option<Narrow>);

/// News of a path: packets of this many bytes get through.
#[derive(Clone, Copy, Debug)]
struct Narrow {
    mtu: u16,
    until: Instant,
}

impl PathMtu {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self(None);

    /// The largest packet in bytes, of those that `otherwise` get through.
    pub(crate) fn limit(&self, otherwise: u16, now: Instant) -> u16 {
        self.0.filter(|narrow| now < narrow.until).map_or(otherwise, |n| n.mtu.min(otherwise))
    }

    /// Takes note that just packets of `mtu` bytes get through. Says whether that is less than was
    /// known (`otherwise`, as for [`limit`](Self::limit)); nothing has changed if not.
    pub(crate) fn lower(&mut self, mtu: u16, otherwise: u16, now: Instant) -> bool {
        let is_news = mtu < self.limit(otherwise, now);
        if is_news {
            self.0 = Some(Narrow { mtu, until: now + LIFETIME });
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_path_is_believed_for_ten_minutes() {
        let (mut path, start) = (PathMtu::NONE, Instant::from_nanos(1));
        assert_eq!(path.limit(1420, start), 1420);
        assert!(path.lower(1300, 1420, start));
        assert_eq!(path.limit(1420, start), 1300);
        assert_eq!(path.limit(1280, start), 1280);
        assert_eq!(path.limit(1420, start + LIFETIME), 1420);
    }

    #[test]
    fn news_of_a_wider_path_are_none() {
        let (mut path, start) = (PathMtu::NONE, Instant::from_nanos(1));
        assert!(!path.lower(1420, 1420, start));
        assert!(path.lower(1300, 1420, start));
        for mtu in [1300, 1400, 9000] {
            assert!(!path.lower(mtu, 1420, start + Duration::from_secs(1)));
        }
        assert_eq!(path.limit(1420, start + LIFETIME), 1420, "nor do they prolong what is known");
        assert!(path.lower(1400, 1420, start + LIFETIME));
    }

    #[test]
    fn a_path_without_a_number_goes_down_step_by_step_and_ends() {
        let mut steps = vec![plateau_below(1500)];
        while let Some(last) = steps.last().copied().filter(|last| *last > MTU_MIN) {
            steps.push(plateau_below(last.into()));
        }
        assert_eq!(steps, [1492, 1400, 1340, 1280, 1006, 576]);
        assert_eq!((plateau_below(0), plateau_below(usize::MAX)), (576, 32_000));
    }

    #[test]
    fn every_usual_size_but_the_largest_has_one_above() {
        assert_eq!((plateau_above(0), plateau_above(1_280)), (Some(576), Some(1_340)));
        assert_eq!((plateau_above(31_999), plateau_above(32_000)), (Some(32_000), None));
    }

    #[test]
    fn no_error_makes_a_path_narrower_than_paths_are() {
        assert_eq!(believable(68, false), Some(576));
        assert_eq!(believable(1279, true), None);
        assert_eq!(believable(1280, true), Some(1280));
    }
}
