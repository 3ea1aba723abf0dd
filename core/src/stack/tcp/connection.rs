//! One TCP connection inside the tunnel: smoltcp's engine behind a small interface (segment in,
//! segments out, two rings, a deadline), with the guard around it.
//!
//! Each connection has an interface and a socket set of its own: a shared set looks at every
//! socket for every packet.

use std::net::IpAddr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as EngineInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, TcpControl, TcpPacket, TcpSeqNumber};

use crate::config;
use crate::path_mtu::PathMtu;
use crate::stack::key::Ends;
use crate::stack::outlet::Exit;
use crate::stack::packet::Packet;
use crate::stack::tcp::bare::send_standing;
use crate::stack::tcp::device::{Blueprint, Device};
use crate::stack::tcp::guard::{Admission, Guard, Standing, Uncounted};
use crate::stack::tcp::rings::{Addresses, Rings, ring_len};
use crate::stack::tcp::sequence;
use crate::stats::Counter;
use crate::time::Instant;

/// A connection ended the way it must not: the peer's end is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WasReset;

/// Where a connection is in its life, as far as others need to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The handshake is not complete.
    Opening,
    /// The far end may still send.
    Open,
    /// The far end ended its direction.
    FarEnded,
    /// Both directions ended and everything of ours is acknowledged.
    Over,
}

/// A connection.
pub(crate) struct Connection {
    ends: Ends,
    /// It holds no state of the connection but the size of packets, for which it is made anew.
    interface: Interface,
    /// The largest packets as long as no path is known to be narrower, and those of now.
    mtu_max: u16,
    mtu: u16,
    path_mtu: PathMtu,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// What the socket's rings have of memory.
    rings: Rings,
    guard: Guard,
    /// Over, and the far end knows, or gone: smoltcp's timers have nothing left to do, and must
    /// not, since they would clear the receive ring.
    at_rest: bool,
    /// How far smoltcp's clock is ahead of ours. Moving it on is the only way to make its
    /// retransmission timer fire when we know better than it does.
    ahead: Duration,
}

/// What IPv4 and TCP add to what a segment carries.
const SEGMENT_HEADERS_LEN: usize = 40;

/// More than smoltcp's longest retransmission timeout.
const GO_BACK: Duration = Duration::from_secs(61);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("ends", &self.ends)
            .field("state", &self.socket().state())
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

/// An interface that owns `address` and nothing else.
fn new_interface(address: IpAddr, mtu: u16, seed: u64, at: EngineInstant) -> Interface {
    let mut settings = Config::new(HardwareAddress::Ip);
    settings.random_seed = seed;
    let mut interface = Interface::new(settings, &mut Blueprint { mtu: usize::from(mtu) }, at);
    let own = match address {
        IpAddr::V4(v4) => IpCidr::new(v4.into(), 32),
        IpAddr::V6(v6) => IpCidr::new(v6.into(), 128),
    };
    interface.update_ip_addrs(|addresses| {
        // The list is new and has room for more than one.
        let _ = addresses.push(own);
    });
    interface
}

fn engine_instant(now: Instant, ahead: Duration) -> EngineInstant {
    // 2^63 microseconds are far beyond what 2^64 nanoseconds can say.
    EngineInstant::from_micros(((now + ahead).as_nanos() / 1_000) as i64)
}

impl Connection {
    /// Waits for the far end's SYN, which is to be handed in next. Our numbers count from `begin`.
    pub(crate) fn accept(
        ends: Ends,
        tcp: &config::Tcp,
        mtu: u16,
        begin: TcpSeqNumber,
        now: Instant,
    ) -> Self {
        let mut connection = Self::new(ends, tcp, mtu, begin, false, now);
        let local = (IpAddress::from(ends.local.ip()), ends.local.port());
        // Fails only for port 0, which no packet with ports gets past.
        if connection.socket_mut().listen(local).is_err() {
            log::debug!("a flow to port 0 can't be accepted");
        }
        connection
    }

    /// Opens a connection, with numbers from `begin`; its SYN leaves with the next
    /// [`transmit`](Self::transmit).
    pub(crate) fn connect(
        ends: Ends,
        tcp: &config::Tcp,
        mtu: u16,
        begin: TcpSeqNumber,
        now: Instant,
    ) -> Self {
        let mut connection = Self::new(ends, tcp, mtu, begin, true, now);
        let remote = (IpAddress::from(ends.remote.ip()), ends.remote.port());
        let local = (IpAddress::from(ends.local.ip()), ends.local.port());
        let Self { interface, sockets, handle, .. } = &mut connection;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
        // Fails only for a target with port 0, which nobody is allowed to ask for.
        if socket.connect(interface.context(), remote, local).is_err() {
            log::debug!("a flow to port 0 can't be opened");
        }
        connection
    }

    fn new(
        ends: Ends,
        tcp: &config::Tcp,
        mtu: u16,
        begin: TcpSeqNumber,
        initiator: bool,
        now: Instant,
    ) -> Self {
        let receive_len = ring_len(tcp.receive_buffer);
        let (seed, at) = (sequence::seed_for(begin), engine_instant(now, Duration::ZERO));
        let interface = new_interface(ends.local.ip(), mtu, seed, at);
        // Zeroed pages of the allocator: reserved, and touched only when bytes come.
        let (receive_ring, send_ring) = (vec![0; receive_len], vec![0; ring_len(tcp.send_buffer)]);
        let rings = Rings::new(&receive_ring, &send_ring);
        let mut socket = tcp::Socket::new(
            tcp::SocketBuffer::new(receive_ring),
            tcp::SocketBuffer::new(send_ring),
        );
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(tcp.keepalive.into()));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let guard = Guard::new(initiator, receive_len);
        let ahead = Duration::ZERO;
        Self {
            ends,
            interface,
            mtu_max: mtu,
            mtu,
            path_mtu: PathMtu::NONE,
            sockets,
            handle,
            rings,
            guard,
            at_rest: false,
            ahead,
        }
    }

    fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.socket().state() {
            tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived => Phase::Opening,
            tcp::State::Established | tcp::State::FinWait1 | tcp::State::FinWait2 => Phase::Open,
            tcp::State::CloseWait | tcp::State::LastAck | tcp::State::Closing => Phase::FarEnded,
            tcp::State::TimeWait | tcp::State::Closed => Phase::Over,
        }
    }

    /// Takes one segment of the far end. Those that follow its end are not for it
    /// ([`time_wait`](super::time_wait)).
    ///
    /// # Errors
    /// [`WasReset`] if the segment is a reset that is due.
    pub(crate) fn handle_segment(
        &mut self,
        mut packet: Packet<'_>,
        exit: &mut Exit<'_>,
        now: Instant,
    ) -> Result<(), WasReset> {
        if self.phase() == Phase::Over {
            // smoltcp would restart a timer that ends in clearing the ring, or has forgotten the
            // connection and would reset it.
            return Ok(());
        }
        match self.guard.handle_received(packet.transport_bytes_mut(), now) {
            Admission::Pass => self.rings.handle_received(self.guard.take_arrived()),
            Admission::Drop => {
                exit.outlet.count(self.ends.peer, Counter::DropTcpGuard);
                return Ok(());
            }
            Admission::Challenge => {
                exit.outlet.count(self.ends.peer, Counter::DropTcpGuard);
                send_standing(self.ends, self.guard.standing(), TcpControl::None, exit);
                return Ok(());
            }
            Admission::Reset => return Err(WasReset),
        }
        if let Some(Uncounted { from, len }) = self.guard.take_uncounted() {
            // One acknowledgement for each segment.
            let segment_len = usize::from(self.mtu) - SEGMENT_HEADERS_LEN;
            for acknowledged in (segment_len..len).step_by(segment_len) {
                let mut segment = TcpPacket::new_unchecked(packet.transport_bytes_mut());
                segment.set_ack_number(from + acknowledged);
                self.hand_in(packet.bytes(), exit, now);
            }
            TcpPacket::new_unchecked(packet.transport_bytes_mut()).set_ack_number(from + len);
        }
        self.hand_in(packet.bytes(), exit, now);
        Ok(())
    }

    /// Hands one packet to smoltcp.
    fn hand_in(&mut self, bytes: &[u8], exit: &mut Exit<'_>, now: Instant) {
        let at = engine_instant(now, self.ahead);
        let Self { ends, interface, sockets, guard, .. } = self;
        let mut device = Device {
            peer: ends.peer,
            received: Some(bytes),
            budget: 1,
            guard,
            now,
            outlet: exit.outlet,
            scratch: exit.scratch,
        };
        // One packet in, at most one out, whatever the result says.
        interface.poll_ingress_single(at, &mut device, sockets);
    }

    /// The far end is gone: nothing more is sent.
    pub(crate) const fn silence(&mut self) {
        self.at_rest = true;
    }

    /// Sends what is due, at most `budget` segments. Says whether that was used up.
    pub(crate) fn transmit(&mut self, budget: usize, exit: &mut Exit<'_>, now: Instant) -> bool {
        if self.at_rest {
            return false;
        }
        if self.phase() == Phase::Over {
            self.rest(exit);
            return false;
        }
        self.fit_path(now);
        if self.guard.take_go_back(now) {
            self.ahead += GO_BACK;
        }
        let at = engine_instant(now, self.ahead);
        let Self { ends, interface, sockets, guard, .. } = self;
        let mut device = Device {
            peer: ends.peer,
            received: None,
            budget,
            guard,
            now,
            outlet: exit.outlet,
            scratch: exit.scratch,
        };
        while interface.poll_egress(at, &mut device, sockets) == PollResult::SocketStateChanged {
            if device.budget == 0 {
                return true;
            }
        }
        false
    }

    /// The connection is over. smoltcp must not be asked any more: the end of its TIME-WAIT clears
    /// the receive ring. All that it could still want to send is the last acknowledgement.
    fn rest(&mut self, exit: &mut Exit<'_>) {
        self.at_rest = true;
        let last = self.guard.final_standing().filter(|last| *last != self.guard.standing());
        if let Some(last) = last {
            send_standing(self.ends, last, TcpControl::None, exit);
        }
    }

    /// The path carries just packets of `mtu` bytes. If that is news, what was sent too large is
    /// sent again with the next [`transmit`](Self::transmit). Says whether it is.
    pub(crate) fn handle_too_big(&mut self, mtu: u16, now: Instant) -> bool {
        let is_news = self.path_mtu.lower(mtu, self.mtu_max, now);
        if is_news {
            self.guard.handle_too_big();
        }
        is_news
    }

    /// Lets smoltcp make segments of the size that the path carries. It asks the interface for
    /// that with each segment, and the interface asks only when it is made.
    fn fit_path(&mut self, now: Instant) {
        let mtu = self.path_mtu.limit(self.mtu_max, now);
        if mtu != self.mtu {
            self.mtu = mtu;
            // The seed says where a connection begins, which this one has behind it.
            let at = engine_instant(now, self.ahead);
            self.interface = new_interface(self.ends.local.ip(), mtu, 0, at);
        }
    }

    /// When [`transmit`](Self::transmit) is due for a reason of time; not later than `now` means
    /// at once.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        if self.at_rest {
            return None;
        }
        let at = self.interface.poll_at(engine_instant(now, self.ahead), &self.sockets);
        let at = at.map(|at| {
            let micros = u64::try_from(at.total_micros()).unwrap_or(0);
            let at = Duration::from_micros(micros).saturating_sub(self.ahead);
            Instant::ZERO + at
        });
        at.into_iter().chain(self.guard.repeat_at()).min()
    }

    /// The free part of the send ring, which is empty before the connection is established. `None`
    /// once this end has ended its direction.
    pub(crate) fn room(&mut self) -> Option<&mut [u8]> {
        if self.phase() == Phase::Opening {
            return Some(&mut []);
        }
        self.socket_mut().send(|room| (0, room)).ok()
    }

    /// The first `len` bytes of the room hold what is to be sent. Says how many that are.
    pub(crate) fn commit(&mut self, len: usize) -> usize {
        if self.phase() == Phase::Opening {
            return 0;
        }
        let queued = self.socket().send_queue();
        let clamped = |room: &mut [u8]| {
            let len = len.min(room.len());
            (len, len)
        };
        let filled = self.socket_mut().send(clamped).unwrap_or(0);
        self.rings.handle_sent(queued, filled);
        filled
    }

    /// Bytes that the send ring may take if no more than `room` may become resident.
    pub(crate) fn send_room(&self, room: usize) -> usize {
        self.rings.send_room(self.socket().send_queue(), room)
    }

    /// Bytes that would become resident with this segment.
    pub(crate) fn growth(&self, segment: &TcpPacket<&[u8]>) -> usize {
        self.rings.growth(self.guard.news(segment))
    }

    /// Bytes of both rings that are resident.
    pub(crate) const fn resident(&self) -> usize {
        self.rings.resident()
    }

    /// The front of the receive ring.
    pub(crate) fn received(&mut self) -> &[u8] {
        if !self.has_received() {
            return &[];
        }
        self.socket_mut().peek(usize::MAX).unwrap_or_default()
    }

    /// The first `len` bytes of those were taken. Says how many that are.
    pub(crate) fn consume(&mut self, len: usize) -> usize {
        if !self.has_received() {
            return 0;
        }
        let clamped = |bytes: &mut [u8]| {
            let len = len.min(bytes.len());
            (len, len)
        };
        self.socket_mut().recv(clamped).unwrap_or(0)
    }

    /// Whether bytes wait in the receive ring.
    pub(crate) fn has_received(&self) -> bool {
        self.phase() != Phase::Opening && self.socket().can_recv()
    }

    /// Bytes in both rings.
    fn buffered(&self) -> usize {
        self.socket().send_queue() + self.socket().recv_queue()
    }

    /// Whether the rings hold something that is needed, perhaps behind a gap.
    pub(crate) fn needs_rings(&self) -> bool {
        self.buffered() > 0 || self.guard.has_gap()
    }

    /// Where the rings are.
    pub(crate) fn ring_addresses(&self) -> Addresses {
        self.rings.addresses()
    }

    /// The pages of the rings are given back, if nothing in them is needed. Says whether they are.
    pub(crate) fn give_back_rings(&mut self) -> bool {
        let is_unused = !self.needs_rings();
        if is_unused {
            self.rings.give_back();
        }
        is_unused
    }

    /// Whether everything before `sequence` has arrived, and nothing from there on.
    pub(crate) fn waits_for(&self, sequence: TcpSeqNumber) -> bool {
        self.guard.waits_for(sequence)
    }

    /// Whether a segment says no more than that the far end is there: it carries nothing, comes
    /// after all that has arrived, and there is nothing that it could acknowledge. A keepalive of
    /// the far end comes before that (RFC 9293, section 3.8.4).
    pub(crate) fn is_answer_to_keepalive(&self, packet: &Packet<'_>) -> bool {
        let segment = TcpPacket::new_unchecked(packet.transport_bytes());
        segment.segment_len() == 0
            && !segment.rst()
            && self.phase() != Phase::Opening
            && self.waits_for(segment.seq_number())
            && !self.awaits_acknowledgement()
    }

    /// Whether the send ring has room.
    pub(crate) fn has_room(&self) -> bool {
        self.socket().can_send()
    }

    /// Whether bytes or a FIN of ours wait for an acknowledgement.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        self.socket().send_queue() > 0
            || matches!(
                self.socket().state(),
                tcp::State::FinWait1 | tcp::State::Closing | tcp::State::LastAck
            )
    }

    /// Ends this end's direction: a FIN follows what is in the send ring. Only once the connection
    /// is established: smoltcp takes the acknowledgement of an earlier FIN's SYN for that of the
    /// FIN.
    pub(crate) fn shut_down(&mut self) {
        debug_assert!(self.phase() != Phase::Opening, "smoltcp would lose the FIN");
        self.socket_mut().close();
    }

    /// Tells the far end that the connection is gone, unless it is over for it, so that there may
    /// be another between the same ends.
    pub(crate) fn send_reset(&self, exit: &mut Exit<'_>) {
        if self.at_rest || self.phase() == Phase::Over {
            return;
        }
        send_standing(self.ends, self.guard.standing(), TcpControl::Rst, exit);
    }

    /// Where the connection stood when it ended, for whoever answers stragglers.
    pub(crate) fn final_standing(&self) -> Option<Standing> {
        self.guard.final_standing()
    }

    /// The sequence number of a segment that was in flight, as an ICMP error quotes it.
    pub(crate) fn sent(&self, sequence: TcpSeqNumber) -> bool {
        self.guard.in_flight(sequence)
    }
}
