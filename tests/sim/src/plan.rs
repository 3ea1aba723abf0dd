//! What a seed stands for: hosts, links, streams, datagrams, and the faults that befall them.
//!
//! Host 0 is the gateway, the others are its clients. Nothing here happens; the
//! [`world`](super::world) carries it out. Chances are such that what is rare in life is not rare
//! here, and that each kind of trouble also comes alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use slipwire_core::config::Tcp;
use slipwire_core::{Limits, Refusal, Share};

use super::dialogue::{dialogue, duel};
use super::socket::Script;
use super::weather::Weather;
use slipwire_worlds::dice::{ALWAYS, Dice};
use slipwire_worlds::link::Profile;

/// The gateway among the hosts.
pub(super) const GATEWAY: usize = 0;
/// What WireGuard adds to a packet of the tunnel: header, tag and padding.
const DATA_OVERHEAD: usize = 32 + 15;

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Everything that happens in one run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) hosts: Vec<HostPlan>,
    /// To and from the gateway, for each client.
    pub(super) links: Vec<[Profile; 2]>,
    pub(super) streams: Vec<StreamPlan>,
    pub(super) datagrams: Vec<DatagramPlan>,
    pub(super) faults: Vec<(Duration, Fault)>,
    /// When every fault ends and every application stops to dawdle.
    pub(super) calm_at: Duration,
    /// Whether datagrams may get lost, so that somebody may wait in vain.
    pub(super) is_rough: bool,
    /// Whether limits may be hit.
    pub(super) is_tight: bool,
}

/// One host.
#[derive(Clone, Debug)]
pub(super) struct HostPlan {
    pub(super) tcp: Tcp,
    pub(super) limits: Limits,
    pub(super) mtu: u16,
    pub(super) keepalive_secs: u16,
    /// How it knows the gateway: by an address, or by a name that resolves this late.
    pub(super) resolves_after: Option<Duration>,
    /// How late it takes its turn, at most, after something happened: what comes meanwhile comes in
    /// one batch.
    pub(super) lag: Duration,
    /// Datagrams that its socket takes at once, and how long it takes no more after that.
    pub(super) uplink: Option<(usize, Duration)>,
}

/// One TCP connection.
#[derive(Clone, Debug)]
pub(super) struct StreamPlan {
    pub(super) at: Duration,
    pub(super) opener: usize,
    pub(super) acceptor: usize,
    pub(super) target: SocketAddr,
    pub(super) connect: Connect,
    pub(super) opener_script: Script,
    pub(super) acceptor_script: Script,
}

/// What comes of the connect to the host behind the acceptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connect {
    Opens(Duration),
    Refuses(Duration, Refusal),
    Never,
}

/// One UDP flow of a client, and the host that answers it.
#[derive(Clone, Debug)]
pub(super) struct DatagramPlan {
    pub(super) at: Duration,
    pub(super) opener: usize,
    pub(super) target: SocketAddr,
    pub(super) connect: Connect,
    pub(super) count: u32,
    pub(super) pause: Duration,
    pub(super) len_max: u64,
    /// The chance, per million, that a datagram is answered.
    pub(super) answers: u32,
}

/// What befalls the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Nothing passes between a client and the gateway for so long.
    Partition(usize, Duration),
    /// The client's address becomes another: it moved, or its NAT forgot it.
    Roam(usize),
    /// The host's engine is gone and another one takes its place.
    Restart(usize),
    /// The host stands still for so long: suspended, or starved.
    Freeze(usize, Duration),
    /// The host's clock jumps forward.
    Jump(usize, Duration),
    /// Targets in the host's network are its own addresses from now on.
    Protect(usize),
    /// Every flow of the host is ended.
    ShutDown(usize),
}

/// The address of a host inside the tunnel.
pub(super) fn inner(host: usize, v6: bool) -> IpAddr {
    let last = host as u8 + 1;
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, last).into()
    }
}

/// Where the servers behind the gateway are.
fn server(v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80).into()
    } else {
        Ipv4Addr::new(192, 0, 2, 80).into()
    }
}

/// The addresses that [`Fault::Protect`] protects.
pub(super) fn protected() -> Vec<IpAddr> {
    vec![server(false), server(true)]
}

const FIRST_PORT: u16 = 1_000;
const STREAMS_MAX: u16 = 24;

/// The ports that hosts serve inside the tunnel: one for each stream.
pub(super) const fn services() -> RangeInclusive<u16> {
    FIRST_PORT..=FIRST_PORT + STREAMS_MAX - 1
}

/// The place of a stream or datagram flow in its list, by its target.
pub(super) fn index_of(target: SocketAddr) -> Option<usize> {
    target.port().checked_sub(FIRST_PORT).map(usize::from)
}

fn target(ip: IpAddr, index: usize) -> SocketAddr {
    SocketAddr::new(ip, FIRST_PORT + index as u16)
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let hosts = dice.pick(&[2, 2, 2, 3, 3, 4]);
        let v6 = dice.chance(300_000);
        let is_tight = dice.chance(120_000);
        let weather = Weather::new(&mut dice);
        let mtu_min = if v6 { 1280 } else { 576 };
        let mut hosts: Vec<_> = (0..hosts).map(|_| host(&mut dice, mtu_min, is_tight)).collect();
        // What passes between two clients must not be too large for the gateway.
        hosts[GATEWAY].mtu = hosts.iter().map(|host| host.mtu).max().unwrap_or(1420);
        let mut links: Vec<_> = hosts[1..]
            .iter()
            .map(|client| {
                let mtu = usize::from(client.mtu) + DATA_OVERHEAD;
                [weather.link(mtu, &mut dice), weather.link(mtu, &mut dice)]
            })
            .collect();
        // Bytes both ways through small rings, and segments lost: where TCP has most to get wrong.
        let is_duel = dice.chance(250_000);
        let span = dice.pick(&[secs(1), secs(10), secs(60), secs(500)]);
        let streams = 1 + dice.size(if is_tight { u64::from(STREAMS_MAX) - 1 } else { 7 }) as usize;
        let bytes_max = dice.pick(&[100, 5_000, 100_000, 100_000, 400_000]);
        let streams: Vec<_> = (0..streams)
            .map(|index| {
                let scripts = match is_duel {
                    true => duel(&mut dice, 60_000),
                    false => dialogue(&mut dice, bytes_max),
                };
                stream(&mut dice, index, hosts.len(), v6, span, scripts)
            })
            .collect();
        let flows = if dice.chance(400_000) { dice.between(1, 4) } else { 0 } as usize;
        let mut datagrams: Vec<_> =
            (0..flows).map(|index| datagrams(&mut dice, index, hosts.len(), v6, span)).collect();
        let faults = faults(&mut dice, hosts.len(), span);
        // Thrown last, so that what seeds stood for before stays as it was.
        let spikes = Weather::spikes(&mut dice);
        if let Some((spike, spike_by)) = spikes {
            for link in links.iter_mut().flatten() {
                *link = Profile { spike, spike_by, ..*link };
            }
        }
        let is_rough = weather != Weather::Clean || !faults.is_empty() || spikes.is_some();
        let calm_at = span + dice.time(secs(5), secs(60));
        // Whoever has moved in silence is found again by a word of its own only.
        for client in 1..hosts.len() {
            let target = target(server(v6), datagrams.len());
            datagrams.push(greeting(client, target, calm_at + secs(1)));
        }
        Self { seed, hosts, links, streams, datagrams, faults, calm_at, is_rough, is_tight }
    }
}

fn host(dice: &mut Dice, mtu_min: u64, is_tight: bool) -> HostPlan {
    let buffers = [4 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10];
    let mut tcp = Tcp::default();
    tcp.receive_buffer = dice.pick(&buffers);
    tcp.send_buffer = dice.pick(&buffers);
    tcp.keepalive = dice.pick(&[secs(10), secs(75)]);
    // Less than who opens has the patience for.
    tcp.connect_timeout = secs(10);
    if dice.chance(100_000) {
        tcp.idle_timeout = secs(40);
    }
    let mut limits = Limits::default();
    if is_tight {
        limits.tcp_flows = dice.between(1, 8) as usize;
        limits.half_open = dice.between(1, limits.tcp_flows as u64) as usize;
        limits.udp_flows = dice.between(1, 3) as usize;
        limits.memory = 1 << 20;
        limits.per_peer = Share::percent(dice.pick(&[50, 100])).unwrap_or(limits.per_peer);
    }
    HostPlan {
        tcp,
        limits,
        mtu: if dice.chance(700_000) { 1420 } else { dice.between(mtu_min, 9_000) as u16 },
        keepalive_secs: dice.pick(&[0, 0, 5, 25]),
        resolves_after: dice.chance(150_000).then(|| dice.time(Duration::ZERO, secs(3))),
        lag: Duration::from_micros(dice.pick(&[0, 0, 100, 1_000, 5_000])),
        uplink: dice.chance(200_000).then(|| {
            (dice.between(1, 40) as usize, dice.time(Duration::from_micros(100), millis(5)))
        }),
    }
}

fn stream(
    dice: &mut Dice,
    index: usize,
    hosts: usize,
    v6: bool,
    span: Duration,
    [opener_script, acceptor_script]: [Script; 2],
) -> StreamPlan {
    let opener = dice.between(0, hosts as u64 - 1) as usize;
    let client = dice.between(1, hosts as u64 - 1) as usize;
    let (opener, acceptor, ip) = if opener == GATEWAY {
        (GATEWAY, client, inner(client, v6))
    } else if client != opener {
        (opener, client, inner(client, v6))
    } else if dice.chance(100_000) {
        (opener, GATEWAY, inner(GATEWAY, v6))
    } else {
        (opener, GATEWAY, server(v6))
    };
    StreamPlan {
        at: dice.time(Duration::ZERO, span * 3 / 4),
        opener,
        acceptor,
        target: target(ip, index),
        connect: connect(dice),
        opener_script,
        acceptor_script,
    }
}

fn connect(dice: &mut Dice) -> Connect {
    let soon = dice.time(Duration::ZERO, millis(50));
    let refusals = [
        Refusal::Refused,
        Refusal::TimedOut,
        Refusal::HostUnreachable,
        Refusal::NetworkUnreachable,
        Refusal::Prohibited,
        Refusal::Exhausted,
    ];
    match dice.between(0, 19) {
        0 => Connect::Refuses(soon, dice.pick(&refusals)),
        1 if dice.chance(300_000) => Connect::Never,
        2 => Connect::Opens(dice.time(Duration::ZERO, secs(8))),
        3..=10 => Connect::Opens(Duration::ZERO),
        _ => Connect::Opens(soon),
    }
}

fn datagrams(
    dice: &mut Dice,
    index: usize,
    hosts: usize,
    v6: bool,
    span: Duration,
) -> DatagramPlan {
    DatagramPlan {
        at: dice.time(Duration::ZERO, span / 2),
        opener: dice.between(1, hosts as u64 - 1) as usize,
        target: target(server(v6), index),
        connect: connect(dice),
        count: dice.between(1, 40) as u32,
        pause: dice.time(Duration::ZERO, span / 100),
        len_max: dice.pick(&[0, 100, 1_400, 9_000, 60_000]),
        answers: dice.pick(&[0, 500_000, ALWAYS]),
    }
}

/// One datagram, and its answer.
fn greeting(opener: usize, target: SocketAddr, at: Duration) -> DatagramPlan {
    DatagramPlan {
        at,
        opener,
        target,
        connect: Connect::Opens(Duration::ZERO),
        count: 1,
        pause: Duration::ZERO,
        len_max: 100,
        answers: ALWAYS,
    }
}

fn faults(dice: &mut Dice, hosts: usize, span: Duration) -> Vec<(Duration, Fault)> {
    if dice.chance(500_000) {
        return Vec::new();
    }
    let count = dice.between(1, 4);
    let mut faults: Vec<_> = (0..count)
        .map(|_| {
            let client = dice.between(1, hosts as u64 - 1) as usize;
            let host = dice.between(0, hosts as u64 - 1) as usize;
            let long = dice.pick(&[millis(100), secs(2), secs(12), secs(100), secs(200)]);
            let fault = match dice.between(0, 13) {
                0..=2 => Fault::Partition(client, dice.time(Duration::ZERO, long)),
                3..=5 => Fault::Roam(client),
                6 | 7 => Fault::Restart(host),
                8 | 9 => Fault::Freeze(host, dice.time(Duration::ZERO, long)),
                10 | 11 => Fault::Jump(host, dice.time(Duration::ZERO, long)),
                12 => Fault::Protect(GATEWAY),
                _ => Fault::ShutDown(host),
            };
            (dice.time(Duration::ZERO, span), fault)
        })
        .collect();
    faults.sort_by_key(|(at, _)| *at);
    faults
}
