//! The size that fits on a path where larger packets vanish without a word (RFC 8899).

use crate::limits::{PATH_SIZE_LASTS, PATH_SIZE_SEARCH, PATH_SIZE_SEARCH_FIRST};
use crate::time::Instant;

/// A size that fits, as a connection has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FoundSize {
    /// Bytes of the largest IP packet that arrives.
    pub(crate) fits: u16,
    /// Bytes of the smallest one that vanishes; `None` if all that the tunnel takes arrive.
    pub(crate) fails: Option<u16>,
    /// Sizes in between were tried.
    pub(crate) is_searched: bool,
}

/// What is known of the sizes of packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownSize {
    /// Bytes of the largest packet that arrives.
    pub(super) fits: u16,
    /// Bytes of the smallest one that does not.
    pub(super) fails: u16,
    found_at: Instant,
    /// When larger ones are to be tried again.
    search_at: Instant,
}

impl KnownSize {
    /// What a connection has found; `None` if that is that everything fits.
    pub(super) fn of(found: FoundSize, now: Instant) -> Option<Self> {
        let FoundSize { fits, fails, is_searched } = found;
        let pause = if is_searched { PATH_SIZE_SEARCH } else { PATH_SIZE_SEARCH_FIRST };
        Some(Self { fits, fails: fails?, found_at: now, search_at: now + pause })
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.found_at) < PATH_SIZE_LASTS
    }

    /// Whether a packet of `arrived` bytes is one that can't have arrived.
    pub(super) const fn is_refuted_by(&self, arrived: u16) -> bool {
        arrived >= self.fails
    }

    /// Says once each time that larger ones are to be tried.
    pub(super) fn take_search(&mut self, now: Instant) -> bool {
        let is_due = self.search_at <= now;
        if is_due {
            self.search_at = now + PATH_SIZE_SEARCH;
        }
        is_due
    }
}
