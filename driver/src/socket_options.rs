//! Socket options that only make things better. Systems that are almost Linux (gVisor, qemu-user,
//! old kernels, filters of system calls) lack some: then something costs more, and nothing stops.
//!
//! What is missing is a property of the system, so one list does for the process. One line at the
//! start says what is on it and what that costs; what is met later, when the first flow needs it,
//! has a line of its own.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// An option, or two that do the same for IPv4 and IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    PacketInfo,
    TrafficClass,
    OnlyV6,
    Fragmentation,
    ReuseAddress,
    Errors,
    Segmentation,
    Coalescing,
    Batches,
}

impl Wish {
    const ALL: [Self; 9] = [
        Self::PacketInfo,
        Self::TrafficClass,
        Self::OnlyV6,
        Self::Fragmentation,
        Self::ReuseAddress,
        Self::Errors,
        Self::Segmentation,
        Self::Coalescing,
        Self::Batches,
    ];

    /// The option's name, and what it costs not to have it.
    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::PacketInfo => (
                "IP_PKTINFO or IPV6_RECVPKTINFO",
                "with several addresses peers may be answered from another than they called",
            ),
            Self::TrafficClass => (
                "IP_TOS, IP_RECVTOS, IPV6_TCLASS or IPV6_RECVTCLASS",
                "marks of datagrams (DSCP, ECN) get lost",
            ),
            Self::OnlyV6 => ("IPV6_V6ONLY", "a port that IPv4 has is not there for IPv6"),
            Self::Fragmentation => (
                "IP_MTU_DISCOVER, IPV6_MTU_DISCOVER or IPV6_DONTFRAG",
                "packets larger than the path to the endpoint are lost instead of cut",
            ),
            Self::ReuseAddress => {
                ("SO_REUSEADDR", "after a restart a forward's port may be taken for a minute")
            }
            Self::Errors => ("IP_RECVERR or IPV6_RECVERR", "peers do not hear what did not arrive"),
            Self::Segmentation => ("UDP_SEGMENT", "each datagram takes a system call to send"),
            Self::Coalescing => ("UDP_GRO", "datagrams are received one by one"),
            Self::Batches => (
                "most options of UDP sockets",
                "datagrams take a system call each, and answers leave from any address",
            ),
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, cost) = self.describe();
        write!(f, "{name} ({cost})")
    }
}

/// What is missing, a bit each.
static MISSING: AtomicU32 = AtomicU32::new(0);
/// What of it has been said. Nothing is said before the start is over.
static TOLD: AtomicU32 = AtomicU32::new(0);
/// The bit that says so.
const STARTED: u32 = 1 << 31;

/// Takes note of an option that could not be set, and goes on. Says whether it could.
pub(crate) fn wish<T, E: Into<io::Error>>(what: Wish, outcome: Result<T, E>) -> bool {
    let Err(error) = outcome else { return true };
    let error = error.into();
    if MISSING.fetch_or(what.bit(), Ordering::Relaxed) & what.bit() == 0 {
        log::debug!("{}: {error}", what.describe().0);
        if TOLD.load(Ordering::Relaxed) & STARTED != 0 {
            tell();
        }
    }
    false
}

/// Whether an option could not be set so far.
pub(crate) fn lacks(what: Wish) -> bool {
    MISSING.load(Ordering::Relaxed) & what.bit() != 0
}

/// Says in one line what is missing and has not been said.
pub(crate) fn tell() {
    let missing = MISSING.load(Ordering::Relaxed);
    let told = TOLD.swap(missing | STARTED, Ordering::Relaxed);
    let new = Wish::ALL.into_iter().filter(|wish| missing & !told & wish.bit() != 0);
    let new: Vec<_> = new.map(|wish| wish.to_string()).collect();
    if !new.is_empty() {
        log::warn!("this system lacks {}", new.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_bit_and_a_cost_of_its_own() {
        let bits = Wish::ALL.iter().fold(0, |bits, wish| {
            assert_eq!(bits & wish.bit(), 0, "{wish:?}");
            bits | wish.bit()
        });
        assert_eq!(bits.count_ones() as usize, Wish::ALL.len());
        assert_eq!(bits & STARTED, 0);
        assert!(Wish::ReuseAddress.to_string().starts_with("SO_REUSEADDR (after a restart "));
    }
}
