//! What comes from the network below: datagrams of WireGuard, and what the system says of their
//! way.

use std::net::{IpAddr, SocketAddr};

use crate::arrival::Arrival;
use crate::engine::Engine;
use crate::id::PeerId;
use crate::stack::input::{Input, PacketBytes};
use crate::tap::Direction;
use crate::time::Instant;

/// Inputs from the network.
impl Engine {
    /// Takes one datagram of the WireGuard socket. `local` is the address that it was sent to, if
    /// the system says. A bad datagram changes nothing but a counter. Where the system says how its
    /// IP header is marked [`handle_datagrams`](Self::handle_datagrams) takes that too.
    pub fn handle_datagram(
        &mut self,
        source: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
        now: Instant,
    ) {
        self.handle_datagrams(Arrival { local, ..source.into() }, datagram, datagram.len(), now);
    }

    /// Takes datagrams that came together from one source, as `train`: all have `segment_size`
    /// bytes but the last, which may have fewer. It is the same as one call of
    /// [`handle_datagram`](Self::handle_datagram) for each, but cheaper.
    pub fn handle_datagrams(
        &mut self,
        arrival: Arrival,
        train: &[u8],
        segment_size: usize,
        now: Instant,
    ) {
        self.advance(now);
        for datagram in train.chunks(segment_size.max(1)) {
            self.take_in(arrival, datagram);
        }
        self.end_train();
    }

    fn end_train(&mut self) {
        if self.stack.is_in_train() {
            self.hand_in(Input::TrainEnd);
        }
    }

    fn take_in(&mut self, arrival: Arrival, datagram: &[u8]) {
        let Self { tunnel, egress, monitor, now, .. } = self;
        let received = tunnel.handle_datagram(arrival, datagram, egress, monitor, *now);
        let received = received.map(|(peer, packet)| (peer, packet.len()));
        self.tell_moves();
        let Some((peer, len)) = received else { return };
        // The stack answers through the tunnel while it looks at the packet.
        let mut plaintext = std::mem::take(self.tunnel.plaintext_mut());
        let bytes = &mut plaintext[..len];
        if let Some(tap) = &mut self.tap
            && let Some(identity) = self.tunnel.identity(peer)
        {
            tap.packet(peer, identity, Direction::In, bytes, self.now);
        }
        self.hand_in(Input::Packet { peer, bytes: PacketBytes::Lent(bytes) });
        *self.tunnel.plaintext_mut() = plaintext;
    }

    /// Takes the addresses of a peer's endpoint; none if the name did not resolve.
    ///
    /// They are those of the name that the peer has now
    /// ([`PeerState::endpoint_name`](crate::PeerState::endpoint_name)): an answer about a name that
    /// has been changed since ([`set_peer`](Self::set_peer)) is to be dropped, and the new one
    /// asked.
    pub fn handle_resolved(&mut self, peer: PeerId, addresses: &[SocketAddr], now: Instant) {
        self.advance(now);
        let Self { tunnel, egress, monitor, now, .. } = self;
        tunnel.handle_resolved(peer, addresses, egress, monitor, *now);
        self.tell_moves();
    }

    /// Answers [`poll_path_question`](Self::poll_path_question): the system's path MTU to `address`
    /// is `path_mtu` bytes, IP header included (RFC 1191, RFC 8201). Peers there are sent packets
    /// that fit, 576 bytes or more and over IPv6 1280 or more; a path that can't carry the tunnel's
    /// MTU is logged as a warning, once. That is true until the next answer.
    pub fn handle_path_mtu(&mut self, address: IpAddr, path_mtu: u16, now: Instant) {
        self.advance(now);
        let lowered = self.tunnel.handle_path_mtu(address, path_mtu, &mut self.monitor, self.now);
        self.lower(&lowered);
    }

    /// The system refused a WireGuard datagram of `datagram_len` bytes to `address` for its size
    /// (EMSGSIZE). `path_mtu` is what it now says the path carries, in bytes with the IP header, if
    /// it knows. Peers there are sent smaller packets for 10 minutes (RFC 1191, section 6.3), 576
    /// bytes or more and over IPv6 1280 or more, and what is on the way to them is sent again. The
    /// refusal of a datagram that smaller packets would not help changes nothing.
    pub fn handle_too_big(
        &mut self,
        address: IpAddr,
        datagram_len: usize,
        path_mtu: Option<u16>,
        now: Instant,
    ) {
        self.advance(now);
        let Self { tunnel, monitor, now, .. } = self;
        let lowered = tunnel.handle_too_big(address, datagram_len, path_mtu, monitor, *now);
        self.lower(&lowered);
    }

    fn lower(&mut self, peers: &[PeerId]) {
        for peer in peers {
            self.hand_in(Input::PathMtu(*peer));
        }
    }
}
