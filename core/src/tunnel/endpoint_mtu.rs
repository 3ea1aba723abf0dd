//! What the path to a peer's endpoint carries: how large a packet may be for the datagram around it
//! to arrive in one piece.
//!
//! The embedder's system knows about its own network devices and routes, and is asked whenever a
//! session begins; and it may refuse a datagram for its size. Where the datagrams go is the
//! [`PeerEndpoint`](super::endpoint)'s to say: what is known here is about one address, and is of
//! no account as soon as another is in use.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{MTU_IPV6_MIN, MTU_MIN};
use crate::id::Identity;
use crate::limits::DATA_OVERHEAD;
use crate::path_mtu::{PathMtu, plateau_below};
use crate::time::Instant;

/// Bytes that IP and UDP add to a datagram.
const fn headers_len(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

/// The largest packet that fits into one datagram on a path that carries `path_mtu` bytes: 60 bytes
/// less over IPv4, 80 over IPv6. Padding does not exceed an MTU, so that nothing is lost to it.
const fn inner_mtu(address: IpAddr, path_mtu: u16) -> u16 {
    // 80 at most.
    path_mtu.saturating_sub((headers_len(address) + DATA_OVERHEAD) as u16)
}

/// The MTU to set for packets of `carried` bytes, as people write it: 1300, not 1303.
const fn advisable_mtu(carried: u16) -> u16 {
    if carried < MTU_MIN { MTU_MIN } else { carried / 4 * 4 }
}

/// What is known of the path to one peer.
#[derive(Debug)]
pub(super) struct EndpointMtu {
    /// Whose path it is, for logs.
    peer: Arc<Identity>,
    question: MtuQuestion,
    /// The largest packet as configured.
    mtu: u16,
    /// The address that the rest is about.
    address: Option<IpAddr>,
    /// What the system says of the path.
    measured: u16,
    /// What came of datagrams that were refused.
    refused: PathMtu,
    warned_of: Option<IpAddr>,
}

/// Whether the embedder is to measure the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MtuQuestion {
    None,
    Open,
    /// Waits to be taken.
    Queued,
}

/// What news of a path mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Nothing that was not known.
    None,
    /// Packets have to be smaller from now on.
    Lowered,
    /// The same, and IPv6 in the tunnel can't get along with that.
    TooNarrow,
}

impl EndpointMtu {
    /// Of a tunnel with this MTU, nothing being known.
    pub(super) const fn new(peer: Arc<Identity>, mtu: u16) -> Self {
        Self {
            peer,
            question: MtuQuestion::Open,
            mtu,
            address: None,
            measured: mtu,
            refused: PathMtu::NONE,
            warned_of: None,
        }
    }

    /// Its peer is called something else from now on.
    pub(super) fn rename(&mut self, peer: Arc<Identity>) {
        self.peer = peer;
    }

    /// The peer is to be found elsewhere: nothing is known of that path, which is to be measured.
    pub(super) fn begin_anew(&mut self) {
        self.address = None;
        self.ask();
    }

    /// Asks for the path to be measured, now or as soon as there is an endpoint.
    pub(super) fn ask(&mut self) {
        if self.question == MtuQuestion::None {
            self.question = MtuQuestion::Open;
        }
    }

    /// Says once that there is a question to be taken.
    pub(super) fn open_question(&mut self) -> bool {
        let is_open = self.question == MtuQuestion::Open;
        if is_open {
            self.question = MtuQuestion::Queued;
        }
        is_open
    }

    /// Takes the question.
    pub(super) const fn take_question(&mut self) {
        self.question = MtuQuestion::None;
    }

    /// Bytes of the largest packet that gets to `in_use` in one datagram, [`MTU_MIN`] to the
    /// tunnel's MTU.
    pub(super) fn limit(&self, in_use: Option<IpAddr>, now: Instant) -> u16 {
        if self.address.is_none() || in_use != self.address {
            return self.mtu;
        }
        self.refused.limit(self.measured, now)
    }

    /// Forgets what is about another address.
    fn be_about(&mut self, address: IpAddr) {
        if self.address != Some(address) {
            self.address = Some(address);
            self.measured = self.mtu;
            self.refused = PathMtu::NONE;
        }
    }

    /// The system says that the path to `address`, which is in use, carries IP packets of
    /// `path_mtu` bytes.
    pub(super) fn handle_measured(&mut self, address: IpAddr, path_mtu: u16, now: Instant) -> News {
        self.be_about(address);
        let before = self.refused.limit(self.measured, now);
        let carried = inner_mtu(address, path_mtu);
        self.measured = carried.max(MTU_MIN).min(self.mtu);
        if carried < self.mtu && self.warned_of != Some(address) {
            self.warned_of = Some(address);
            self.warn(address, path_mtu, carried);
        }
        self.news(before, carried, now)
    }

    /// Says that the tunnel is too wide for its path, and what to do about it.
    fn warn(&self, address: IpAddr, path_mtu: u16, carried: u16) {
        let needed = usize::from(self.mtu) + headers_len(address) + DATA_OVERHEAD;
        let mtu = advisable_mtu(carried);
        let ipv6 =
            if mtu < MTU_IPV6_MIN { ", which leaves no room for IPv6 in the tunnel" } else { "" };
        log::warn!(
            "peer {}: packets of {path_mtu} bytes are the largest on the path to {address}, and a \
             tunnel with an MTU of {} needs {needed}: larger ones leave in fragments, which is slow. \
             Set an MTU of {mtu} at both ends{ipv6}",
            self.peer.name,
            self.mtu,
        );
    }

    /// The system refused a datagram of `datagram_len` bytes to `address`, which is in use, for its
    /// size; what the path carries it may have said or not.
    pub(super) fn handle_refused(
        &mut self,
        address: IpAddr,
        datagram_len: usize,
        path_mtu: Option<u16>,
        now: Instant,
    ) -> News {
        if datagram_len <= usize::from(MTU_MIN) + DATA_OVERHEAD {
            // A handshake, or as small as packets get: smaller ones are not to be had.
            return News::None;
        }
        self.be_about(address);
        let before = self.refused.limit(self.measured, now);
        let len = datagram_len + headers_len(address);
        let is_cause = |path_mtu: &u16| usize::from(*path_mtu) < len;
        let path_mtu = path_mtu.filter(is_cause).unwrap_or_else(|| plateau_below(len));
        let carried = inner_mtu(address, path_mtu);
        let limit = carried.max(MTU_MIN);
        if self.refused.lower(limit, self.measured, now) {
            log::debug!(
                "peer {}: {address} takes packets of {limit} bytes at most",
                self.peer.name
            );
        }
        self.news(before, carried, now)
    }

    fn news(&self, before: u16, carried: u16, now: Instant) -> News {
        if self.refused.limit(self.measured, now) >= before {
            News::None
        } else if carried < MTU_IPV6_MIN {
            News::TooNarrow
        } else {
            News::Lowered
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::PrivateKey;

    fn endpoint_mtu() -> EndpointMtu {
        let public_key = PrivateKey::from_entropy([1; 32]).public_key();
        EndpointMtu::new(Arc::new(Identity { name: "peer".into(), public_key }), 1420)
    }

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

    fn at(secs: u64) -> Instant {
        Instant::from_nanos(1) + Duration::from_secs(secs)
    }

    #[test]
    fn a_path_of_1500_bytes_carries_a_tunnel_of_1420_over_either_version() {
        for address in [V4, V6] {
            let mut endpoint_mtu = endpoint_mtu();
            let measured = endpoint_mtu.handle_measured(address, 1500, at(0));
            assert_eq!(measured, News::None);
            assert_eq!(endpoint_mtu.limit(Some(address), at(0)), 1420);
        }
    }

    #[test]
    fn a_narrow_path_takes_packets_that_fit_into_one_datagram() {
        for (address, path_mtu, limit) in [(V4, 1380, 1320), (V6, 1380, 1300), (V4, 1363, 1303)] {
            let mut endpoint_mtu = endpoint_mtu();
            assert_eq!(endpoint_mtu.handle_measured(address, path_mtu, at(0)), News::Lowered);
            assert_eq!(endpoint_mtu.handle_measured(address, path_mtu, at(9)), News::None);
            assert_eq!(endpoint_mtu.limit(Some(address), at(9)), limit);
        }
        assert_eq!([1320, 1303, 20].map(advisable_mtu), [1320, 1300, MTU_MIN]);
    }

    #[test]
    fn a_path_is_asked_about_once_at_a_time() {
        let mut endpoint_mtu = endpoint_mtu();
        assert!(endpoint_mtu.open_question() && !endpoint_mtu.open_question());
        endpoint_mtu.ask();
        assert!(!endpoint_mtu.open_question(), "it waits already");
        endpoint_mtu.take_question();
        assert!(!endpoint_mtu.open_question());
        endpoint_mtu.ask();
        assert!(endpoint_mtu.open_question());
    }

    #[test]
    fn what_the_system_says_is_true_until_it_says_otherwise() {
        let mut endpoint_mtu = endpoint_mtu();
        endpoint_mtu.handle_measured(V4, 1380, at(0));
        assert_eq!(endpoint_mtu.limit(Some(V4), at(100_000)), 1320);
        endpoint_mtu.handle_measured(V4, 1500, at(100_000));
        assert_eq!(endpoint_mtu.limit(Some(V4), at(100_000)), 1420);
    }

    #[test]
    fn a_refused_datagram_lowers_for_ten_minutes() {
        let mut endpoint_mtu = endpoint_mtu();
        endpoint_mtu.handle_measured(V4, 1500, at(0));
        assert_eq!(endpoint_mtu.handle_refused(V4, 1452, Some(1400), at(0)), News::Lowered);
        assert_eq!(endpoint_mtu.limit(Some(V4), at(599)), 1340);
        endpoint_mtu.handle_measured(V4, 1500, at(300));
        assert_eq!(
            endpoint_mtu.limit(Some(V4), at(599)),
            1340,
            "the system had said so before, too"
        );
        assert_eq!(endpoint_mtu.limit(Some(V4), at(600)), 1420);
    }

    #[test]
    fn a_refusal_that_the_system_can_not_explain_goes_down_step_by_step() {
        let mut endpoint_mtu = endpoint_mtu();
        let mut limits = Vec::new();
        for _ in 0..6 {
            let limit = usize::from(endpoint_mtu.limit(Some(V4), at(0)));
            endpoint_mtu.handle_refused(V4, limit + DATA_OVERHEAD, Some(1500), at(0));
            limits.push(endpoint_mtu.limit(Some(V4), at(0)));
        }
        assert_eq!(limits, [1340, 1280, 1220, 946, 576, 576]);
    }

    #[test]
    fn a_refusal_that_no_smaller_packet_mends_changes_nothing() {
        let mut endpoint_mtu = endpoint_mtu();
        for datagram_len in [0, 32, 148, 608] {
            assert_eq!(endpoint_mtu.handle_refused(V4, datagram_len, None, at(0)), News::None);
        }
        assert_eq!(endpoint_mtu.limit(Some(V4), at(0)), 1420);
    }

    #[test]
    fn a_path_too_narrow_for_ipv6_is_told_apart() {
        let mut endpoint_mtu = endpoint_mtu();
        assert_eq!(endpoint_mtu.handle_measured(V4, 1339, at(0)), News::TooNarrow);
        assert_eq!(endpoint_mtu.handle_measured(V4, 0, at(0)), News::TooNarrow);
        assert_eq!(endpoint_mtu.limit(Some(V4), at(0)), MTU_MIN);
    }

    #[test]
    fn a_path_that_begins_anew_is_measured_even_to_the_same_address() {
        let mut endpoint_mtu = endpoint_mtu();
        endpoint_mtu.handle_measured(V4, 1380, at(0));
        assert!(endpoint_mtu.open_question());
        endpoint_mtu.take_question();
        endpoint_mtu.begin_anew();
        assert_eq!(endpoint_mtu.limit(Some(V4), at(0)), 1420);
        assert!(endpoint_mtu.open_question());
    }

    #[test]
    fn another_address_is_another_path() {
        let mut endpoint_mtu = endpoint_mtu();
        endpoint_mtu.handle_measured(V4, 1380, at(0));
        assert_eq!(endpoint_mtu.limit(Some(V6), at(0)), 1420);
        assert_eq!(endpoint_mtu.limit(None, at(0)), 1420);
        endpoint_mtu.handle_refused(V6, 1452, Some(1400), at(0));
        assert_eq!(endpoint_mtu.limit(Some(V6), at(0)), 1320);
        assert_eq!(endpoint_mtu.limit(Some(V4), at(0)), 1420);
    }
}
