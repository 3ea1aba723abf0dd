//! A gateway with many flows of many peers, and those peers: engines all of them, in this process.
//!
//! Only what the gateway does is timed. It takes datagrams and hands them out in groups, as a
//! driver has them from one system call.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context as _, Result, bail, ensure};
use slipwire_core::{
    Action, Config, Engine, FlowId, Instant, IpNet, PrivateKey, Protocol, Share,
    config::{Gateway, Interface, Parts, Peer},
    rules::{ProxyProtocol, Rule, RuleAction},
};

use crate::moves::{next_action, send, send_datagram, take};

/// Datagrams that the gateway takes, or sends, before its outputs are drained: as many as there are
/// flows at least.
const GROUP: usize = 10;
/// How much later the next segment of a flow is.
const LAP: Duration = Duration::from_millis(1);
/// How far apart handshakes are: closer ones would have to prove where they come from.
const HANDSHAKE_INTERVAL: Duration = Duration::from_millis(3);
/// What one segment carries in a tunnel of 1420 bytes.
pub(crate) const SEGMENT_LEN: usize = MTU as usize - 40;
pub(crate) const DATAGRAM_LEN: usize = 64;
const MTU: u16 = 1420;
/// Room for a datagram.
const ROOM: usize = 1_500;

const GATEWAY_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 51_820);
/// The endpoints of peers, and their addresses in the tunnel, are these and those that follow.
const ENDPOINTS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const INNER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const TARGETS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 0);
const PORT: u16 = 443;

/// What there is a lot of, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) flows: usize,
    /// How many of the flows have anything to carry.
    pub(crate) busy: usize,
    pub(crate) peers: usize,
    pub(crate) rules: usize,
    /// Bytes of each ring of a flow.
    pub(crate) buffer: usize,
}

/// See the module.
pub(crate) struct Site {
    gateway: Engine,
    clients: Vec<Client>,
    now: Instant,
    /// Flows as the gateway knows them, in the order in which they were opened: one peer after the
    /// other. Of UDP with the host that they speak with.
    tcp: Vec<FlowId>,
    udp: Vec<(FlowId, SocketAddr)>,
    /// Datagrams on their way to the gateway, and from it.
    inward: Batch,
    outward: Batch,
    busy: usize,
    /// Where the group that the gateway takes next is, as it would be after a system call.
    staged: Vec<u8>,
    opened: u32,
    closed: usize,
    spent: Duration,
}

struct Client {
    engine: Engine,
    tcp: Vec<FlowId>,
    udp: Vec<FlowId>,
}

/// Datagrams, and the peers that they are from or for.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    datagrams: Vec<(usize, std::ops::Range<usize>)>,
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }

    /// Takes everything that an engine has to send.
    fn collect(
        &mut self,
        engine: &mut Engine,
        peer_of: impl Fn(SocketAddr) -> usize,
        now: Instant,
    ) {
        loop {
            // Flows with more to send follow as soon as trains have left.
            while engine.poll_transmit().is_none() && engine.service(now) {}
            let Some(train) = engine.poll_transmit() else { return };
            let peer = peer_of(train.destination);
            for datagram in train.contents.chunks(train.segment_size) {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(datagram);
                self.datagrams.push((peer, start..self.bytes.len()));
            }
            let len = train.contents.len();
            engine.transmitted(len);
        }
    }
}

/// What a packet costs the gateway, for each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    pub(crate) segment_in: Duration,
    pub(crate) segment_out: Duration,
    pub(crate) acknowledgement_in: Duration,
    pub(crate) datagram_in: Duration,
    pub(crate) datagram_out: Duration,
}

impl Site {
    pub(crate) fn new(scale: Scale) -> Result<Self> {
        let clients = (0..scale.peers)
            .map(|index| Ok(Client { engine: client(index)?, tcp: Vec::new(), udp: Vec::new() }))
            .collect::<Result<_>>()?;
        let mut site = Self {
            gateway: gateway(scale)?,
            clients,
            now: Instant::from_nanos(1),
            tcp: Vec::new(),
            udp: Vec::new(),
            inward: Batch::default(),
            outward: Batch::default(),
            busy: scale.busy,
            staged: vec![0; GROUP * ROOM],
            opened: 0,
            closed: 0,
            spent: Duration::ZERO,
        };
        // One after the other, so that both ends have them in the same order, and each kind on its
        // own, so that none shares its port with another.
        for flow in 0..scale.flows {
            if flow < scale.peers {
                // The first has a handshake to make.
                site.now += HANDSHAKE_INTERVAL;
            }
            let (index, target) = (flow % scale.peers, site.next_target());
            let Client { engine, tcp, .. } = &mut site.clients[index];
            tcp.push(engine.open_tcp(target, site.now)?);
            site.settle([index], |_, _| Ok(()))?;
        }
        for flow in 0..scale.flows {
            let (index, target) = (flow % scale.peers, site.next_target());
            let Client { engine, udp, .. } = &mut site.clients[index];
            let flow = engine.open_udp(target, site.now)?;
            send_datagram(engine, flow, target, site.now)?;
            udp.push(flow);
            site.settle([index], |_, _| Ok(()))?;
        }
        ensure!(
            site.tcp.len() == scale.flows && site.udp.len() == scale.flows,
            "{} flows of {}",
            site.tcp.len() + site.udp.len(),
            2 * scale.flows
        );
        Ok(site)
    }

    /// Lets every busy flow move so many segments and datagrams each way, and says what one costs.
    pub(crate) fn round(&mut self, packets: usize) -> Result<Costs> {
        // Each second segment is acknowledged at once.
        let pairs = (packets / self.busy / 2).max(1);
        let count = (pairs * 2 * self.busy) as u32;
        let (mut costs, mut acknowledgements) = ([Duration::ZERO; 5], 0);
        for _ in 0..pairs {
            costs[0] += self.segments_in()? + self.segments_in()?;
            self.deliver()?;
            self.take_in()?;
            costs[1] += self.segments_out()? + self.segments_out()?;
            acknowledgements += self.inward.datagrams.len() as u32;
            costs[2] += self.take_in()?;
            self.deliver()?;
            costs[3] += self.datagrams_in()? + self.datagrams_in()?;
            costs[4] += self.datagrams_out()? + self.datagrams_out()?;
        }
        Ok(Costs {
            segment_in: costs[0] / count,
            segment_out: costs[1] / count,
            acknowledgement_in: costs[2] / acknowledgements.max(1),
            datagram_in: costs[3] / count,
            datagram_out: costs[4] / count,
        })
    }

    /// Opens so many flows and closes them, and says what one costs.
    pub(crate) fn open_and_close(&mut self, flows: usize) -> Result<Duration> {
        let (spent, closed, peers) = (self.spent, self.closed, self.clients.len());
        for start in (0..flows).step_by(GROUP) {
            let group = start..flows.min(start + GROUP);
            let clients = group.map(|flow| flow % peers);
            for client in clients.clone() {
                let target = self.next_target();
                self.clients[client].engine.open_tcp(target, self.now)?;
            }
            self.settle(clients, |engine, (flow, now)| {
                engine.flow(flow)?.shut_down(now);
                Ok(())
            })?;
        }
        self.tcp.truncate(self.tcp.len() - flows);
        let closed = self.closed - closed;
        ensure!(closed == flows, "{closed} of {flows} flows were closed");
        Ok((self.spent - spent) / flows as u32)
    }

    fn next_target(&mut self) -> SocketAddr {
        self.opened += 1;
        (Ipv4Addr::from_bits(TARGETS.to_bits() + self.opened % 65_536), PORT).into()
    }

    /// One segment of each flow to the gateway, whose host takes it.
    fn segments_in(&mut self) -> Result<Duration> {
        self.now += LAP;
        let peers = self.clients.len();
        for flow in 0..self.busy {
            let index = flow % peers;
            let Client { engine, tcp, .. } = &mut self.clients[index];
            let flow = tcp[flow / peers];
            send(engine, flow, self.now)?;
            run_client(engine, index, &mut self.inward, self.now)?;
        }
        self.take_in()
    }

    /// One segment of each flow from the gateway. Its acknowledgement, if it is at once, waits to
    /// be taken in.
    fn segments_out(&mut self) -> Result<Duration> {
        self.now += LAP;
        self.send_out(|site, index| send(&mut site.gateway, site.tcp[index], site.now))
    }

    /// Has each busy flow send from the gateway, and says how long that was at it.
    fn send_out(
        &mut self,
        mut send: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<Duration> {
        let mut spent = Duration::ZERO;
        for start in (0..self.busy).step_by(GROUP) {
            let end = self.busy.min(start + GROUP);
            let start_at = Clock::now();
            (start..end).try_for_each(|index| send(self, index))?;
            self.gateway.handle_timeout(self.now);
            ensure!(next_action(&mut self.gateway, self.now).is_none(), "no action is due");
            spent += start_at.elapsed();
            self.outward.collect(&mut self.gateway, client_at, self.now);
        }
        self.deliver()?;
        Ok(spent)
    }

    fn datagrams_in(&mut self) -> Result<Duration> {
        let peers = self.clients.len();
        for flow in 0..self.busy {
            let index = flow % peers;
            let Client { engine, udp, .. } = &mut self.clients[index];
            let flow = udp[flow / peers];
            send_datagram(engine, flow, GATEWAY_ADDRESS, self.now)?;
            run_client(engine, index, &mut self.inward, self.now)?;
        }
        self.take_in()
    }

    fn datagrams_out(&mut self) -> Result<Duration> {
        self.send_out(|site, index| {
            let (flow, remote) = site.udp[index];
            send_datagram(&mut site.gateway, flow, remote, site.now)
        })
    }

    /// Hands the gateway what is on its way there, and says how long it was at it. What it answers
    /// is on its way to peers afterwards.
    fn take_in(&mut self) -> Result<Duration> {
        let Self { gateway, staged, inward, now, .. } = self;
        let now = *now;
        let mut spent = Duration::ZERO;
        let mut received = [0; GROUP];
        for group in inward.datagrams.chunks(GROUP) {
            for (place, (_, range)) in group.iter().enumerate() {
                staged[place * ROOM..][..range.len()].copy_from_slice(&inward.bytes[range.clone()]);
            }
            let start_at = Clock::now();
            for (place, (peer, range)) in group.iter().enumerate() {
                let datagram = &staged[place * ROOM..][..range.len()];
                gateway.handle_datagram(endpoint(*peer), None, datagram, now);
            }
            gateway.handle_timeout(now);
            while let Some(action) = next_action(gateway, now) {
                match action {
                    Action::Readable(flow) => take(gateway, flow, now)?,
                    Action::Open(id) => {
                        let mut flow = gateway.flow(id)?;
                        flow.opened(None, now);
                        match flow.meta() {
                            meta if meta.protocol == Protocol::Udp => {
                                self.udp.push((id, meta.destination));
                            }
                            _ => self.tcp.push(id),
                        }
                    }
                    Action::Shutdown(flow) => gateway.flow(flow)?.shut_down(now),
                    Action::Closed(_) => self.closed += 1,
                    Action::Idle(_) => {}
                    other => bail!("{other:?}"),
                }
            }
            while let Some(datagram) = gateway.poll_datagram() {
                let flow = datagram.flow;
                received[0] += datagram.payload.len();
                gateway.delivered(flow);
            }
            spent += start_at.elapsed();
            self.outward.collect(gateway, client_at, now);
        }
        std::hint::black_box(received);
        inward.clear();
        Ok(spent)
    }

    /// Hands peers what is on its way there; what they answer is on its way to the gateway.
    fn deliver(&mut self) -> Result<()> {
        self.deliver_and(|_, _| Ok(()))
    }

    fn deliver_and(
        &mut self,
        mut established: impl FnMut(&mut Engine, (FlowId, Instant)) -> Result<()>,
    ) -> Result<()> {
        let Self { clients, outward, inward, now, .. } = self;
        for (peer, range) in &outward.datagrams {
            let engine = &mut clients[*peer].engine;
            engine.handle_datagram(GATEWAY_ADDRESS, None, &outward.bytes[range.clone()], *now);
            while let Some(action) = next_action(engine, *now) {
                match action {
                    Action::Established(flow) => established(engine, (flow, *now))?,
                    Action::Readable(flow) => take(engine, flow, *now)?,
                    Action::Idle(_) | Action::Shutdown(_) | Action::Closed(_) => {}
                    other => bail!("{other:?}"),
                }
            }
            while let Some(datagram) = engine.poll_datagram() {
                let flow = datagram.flow;
                engine.delivered(flow);
            }
            inward.collect(engine, |_| *peer, *now);
        }
        outward.clear();
        Ok(())
    }

    /// Carries datagrams to and fro until there are none, beginning with those of some peers.
    fn settle(
        &mut self,
        begin: impl IntoIterator<Item = usize>,
        mut established: impl FnMut(&mut Engine, (FlowId, Instant)) -> Result<()>,
    ) -> Result<()> {
        for index in begin {
            run_client(&mut self.clients[index].engine, index, &mut self.inward, self.now)?;
        }
        while !self.inward.datagrams.is_empty() {
            let spent = self.take_in()?;
            self.spent += spent;
            self.deliver_and(&mut established)?;
        }
        Ok(())
    }
}

/// Lets a peer say what it has to say.
fn run_client(engine: &mut Engine, index: usize, to: &mut Batch, now: Instant) -> Result<()> {
    engine.handle_timeout(now);
    if let Some(action) = next_action(engine, now) {
        bail!("{action:?}");
    }
    to.collect(engine, |_| index, now);
    Ok(())
}

fn endpoint(client: usize) -> SocketAddr {
    (Ipv4Addr::from_bits(ENDPOINTS.to_bits() + client as u32), 4_000).into()
}

fn client_at(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_bits() - ENDPOINTS.to_bits()) as usize,
        SocketAddr::V6(_) => 0,
    }
}

fn net(address: Ipv4Addr, prefix_len: u8) -> IpNet {
    IpNet::new_assert(address.into(), prefix_len)
}

fn inner(client: usize) -> IpNet {
    net(Ipv4Addr::from_bits(INNER.to_bits() + 2 + client as u32), 32)
}

/// A key: that of the gateway, or of a client.
fn key(client: Option<usize>) -> PrivateKey {
    let mut seed = [7; 32];
    // Not where a few bits do not count.
    seed[8..16].copy_from_slice(&client.map_or(0, |client| client as u64 + 1).to_le_bytes());
    PrivateKey::from_entropy(seed)
}

fn peer(client: Option<usize>) -> Peer {
    let allowed = client.map_or_else(|| net(Ipv4Addr::UNSPECIFIED, 0), inner);
    let name = client.map_or_else(|| "gateway".into(), |client| format!("client {client}"));
    let peer = Peer::new(key(client).public_key()).with_name(name).with_allowed_ips([allowed]);
    match client {
        Some(_) => peer,
        None => peer.with_endpoint(GATEWAY_ADDRESS),
    }
}

fn client(index: usize) -> Result<Engine> {
    engine(Some(index), inner(index), vec![peer(None)], None, 16 << 10)
}

fn gateway(scale: Scale) -> Result<Engine> {
    // None of them matches, and all have to be asked.
    let rule = |place: usize| Rule {
        to: vec![net(Ipv4Addr::from_bits(0x2000_0000 + ((place as u32) << 8)), 24)],
        ..Rule::any(RuleAction::Relay { proxy_protocol: ProxyProtocol::Off })
    };
    let mut gateway = Gateway::default();
    gateway.rules.extend((0..scale.rules).map(rule));
    let peers = (0..scale.peers).map(|client| peer(Some(client))).collect();
    engine(
        None,
        net(Ipv4Addr::from_bits(INNER.to_bits() + 1), 32),
        peers,
        Some(gateway),
        scale.buffer,
    )
}

fn engine(
    client: Option<usize>,
    address: IpNet,
    peers: Vec<Peer>,
    gateway: Option<Gateway>,
    buffer: usize,
) -> Result<Engine> {
    let mut parts = Parts::new(Interface::new(key(client), [address]));
    parts.interface.mtu = MTU;
    parts.peers = peers;
    parts.gateway = gateway;
    (parts.tcp.receive_buffer, parts.tcp.send_buffer) = (buffer, buffer);
    (parts.limits.tcp_flows, parts.limits.udp_flows) = (65_536, 65_536);
    parts.limits.per_peer = Share::percent(100).context("no share")?;
    let config = Config::new(parts)?;
    Ok(Engine::new(&config, [client.map_or(0, |client| client as u8); 32], Instant::ZERO))
}
