//! What somebody can do to a gateway that wants it harm: as a peer, or as an outsider.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    net::add_addresses,
    packet::{self, Answer, flags},
    payload::Random,
    raw_peer::{Pace, RawPeer, forged_initiation},
    siege::{Rogue, Siege, dead_end},
    udp,
};

/// A server of the far host that accepts; who attacks needs one at times.
pub const OPEN_PORT: u16 = 7100;
/// A server of the far host that sends for ever.
pub const ENDLESS_PORT: u16 = 7101;
/// A port of the far host where nobody listens.
const CLOSED_PORT: u16 = 9;

const FAR: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// Addresses that forged handshakes come from.
const SOURCES: u8 = 64;
/// Forged handshakes that differ; more of them would show nothing new.
const FORGERIES: usize = 1024;
const FRAGMENT_LEN: usize = 1200;

/// One way of doing harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// A peer opens connections to addresses that never answer.
    DeadConnects,
    /// An outsider sends handshakes with the right first MAC, and garbage, from many addresses.
    ForgedHandshakes,
    /// A peer sends datagrams from ever new ports.
    Mappings,
    /// A peer sends fragments of packets that never become whole.
    Fragments,
    /// A peer opens connections to a server that sends for ever, and takes nothing.
    NeverReads,
    /// A peer opens connections and resets them.
    Churn,
}

/// What came of an attack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets or handshakes that began something.
    pub sent: u32,
    /// Resets that came back.
    pub resets: u32,
    /// Connections that were accepted.
    pub accepted: u32,
    /// ICMP "administratively prohibited" that came back.
    pub prohibited: u32,
}

impl Attack {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::DeadConnects,
        Self::ForgedHandshakes,
        Self::Mappings,
        Self::Fragments,
        Self::NeverReads,
        Self::Churn,
    ];

    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeadConnects => "connects to dead addresses",
            Self::ForgedHandshakes => "forged handshakes",
            Self::Mappings => "datagrams from ever new ports",
            Self::Fragments => "fragments without an end",
            Self::NeverReads => "connections that take nothing",
            Self::Churn => "connections opened and reset",
        }
    }

    /// Goes on at so many a second as long as `goes_on`, which is asked with the number so far.
    /// `first` is the number of the first, so that a second run does not repeat another one.
    pub fn run(
        self,
        siege: &Siege,
        rate: u32,
        first: u32,
        goes_on: impl Fn(u32) -> bool,
    ) -> Result<Tally> {
        self.run_by(Rogue::First, siege, rate, first, goes_on)
    }

    /// The same by one of two rogues.
    pub fn run_by(
        self,
        who: Rogue,
        siege: &Siege,
        rate: u32,
        first: u32,
        goes_on: impl Fn(u32) -> bool,
    ) -> Result<Tally> {
        if self == Self::ForgedHandshakes {
            return outsiders(siege, rate, goes_on);
        }
        let mut rogue = siege.rogue(who)?;
        let mut tally = Tally::default();
        let mut pace = Pace::per_second(rate);
        while goes_on(tally.sent) {
            pace.wait();
            rogue.send(&self.packet(who, first + tally.sent))?;
            tally.sent += 1;
            while let Some(answer) = rogue.poll()? {
                self.react(answer, &mut rogue, &mut tally)?;
            }
        }
        // What is under way still comes.
        let mut answers = Vec::new();
        rogue.listen(Duration::from_millis(500), |answer| answers.push(answer))?;
        for answer in answers {
            self.react(answer, &mut rogue, &mut tally)?;
        }
        if self == Self::NeverReads {
            for number in first..first + tally.sent {
                let ends = [who.end(number), SocketAddrV4::new(FAR, ENDLESS_PORT)];
                rogue.send(&packet::segment(ends, flags::RST, number.wrapping_add(1), 0))?;
            }
        }
        Ok(tally)
    }

    fn packet(self, who: Rogue, number: u32) -> Vec<u8> {
        let source = who.end(number);
        let far = |port| [source, SocketAddrV4::new(FAR, port)];
        let syn = |ends| packet::segment(ends, flags::SYN, number, 0);
        match self {
            Self::DeadConnects => syn([source, dead_end(number)]),
            Self::NeverReads => syn(far(ENDLESS_PORT)),
            Self::Churn => syn(far(OPEN_PORT)),
            Self::Mappings => packet::datagram([source, dead_end(number)], b"?"),
            Self::Fragments => {
                // Behind a gap at the start, so that nothing is ever complete.
                let offset = 8 + (number % 8) as u16 * FRAGMENT_LEN as u16;
                let payload = [0; FRAGMENT_LEN];
                packet::fragment(far(CLOSED_PORT), (number / 8) as u16, offset, &payload)
            }
            Self::ForgedHandshakes => Vec::new(),
        }
    }

    fn react(self, answer: Answer, rogue: &mut RawPeer, tally: &mut Tally) -> Result<()> {
        match answer {
            Answer::Segment { flags, .. } if flags & flags::RST != 0 => tally.resets += 1,
            Answer::Segment { ends: [far, own], flags, sequence, acknowledgement }
                if flags & flags::SYN != 0 =>
            {
                tally.accepted += 1;
                let reply = if self == Self::Churn { flags::RST } else { flags::ACK };
                let reply = reply | flags::ACK;
                let next = sequence.wrapping_add(1);
                rogue.send(&packet::segment([own, far], reply, acknowledgement, next))?;
            }
            Answer::Icmp { kind: 3, code: 13 } => tally.prohibited += 1,
            Answer::Segment { .. } | Answer::Icmp { .. } | Answer::Other => {}
        }
        Ok(())
    }
}

/// What came of the connects of a peer that scans at the same time.
#[derive(Debug, Default)]
pub struct Connects {
    /// Packets that it sent.
    pub sent: u32,
    /// Connects to a server that accepts.
    pub asked: u32,
    /// How long each of those took that was accepted.
    pub latencies: Vec<Duration>,
}

/// A peer opens connections to a server that accepts, and between two of them `scans` to addresses
/// that never answer; so many a second of both together.
pub fn connect_beside_own_scan(
    siege: &Siege,
    scans: u32,
    rate: u32,
    first: u32,
    goes_on: impl Fn(u32) -> bool,
) -> Result<Connects> {
    let who = Rogue::First;
    let mut rogue = siege.rogue(who)?;
    let mut connects = Connects::default();
    let mut under_way = HashMap::new();
    let mut pace = Pace::per_second(rate);
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if goes_on(connects.sent) {
            pace.wait();
            let number = first + connects.sent;
            let own = who.end(number);
            let to = if connects.sent % (scans + 1) == 0 {
                connects.asked += 1;
                under_way.insert(own, Instant::now());
                SocketAddrV4::new(FAR, OPEN_PORT)
            } else {
                dead_end(number)
            };
            rogue.send(&packet::segment([own, to], flags::SYN, number, 0))?;
            connects.sent += 1;
        } else {
            // What is under way still comes.
            end.get_or_insert(Instant::now() + Duration::from_millis(500));
        }
        while let Some(answer) = rogue.poll()? {
            if let Answer::Segment { ends: [far, own], flags, sequence, acknowledgement } = answer
                && flags & flags::SYN != 0
                && let Some(begun) = under_way.remove(&own)
            {
                connects.latencies.push(begun.elapsed());
                let (reply, next) = (flags::RST | flags::ACK, sequence.wrapping_add(1));
                rogue.send(&packet::segment([own, far], reply, acknowledgement, next))?;
            }
        }
    }
    Ok(connects)
}

fn outsiders(siege: &Siege, rate: u32, goes_on: impl Fn(u32) -> bool) -> Result<Tally> {
    let sockets = outside_sockets(siege)?;
    let mut random = Random::new(1);
    let mut messages = Vec::new();
    for number in 0..FORGERIES {
        messages.push(match number % 4 {
            0 => {
                let length = random.below(1500);
                random.bytes(length)
            }
            _ => forged_initiation(&siege.gateway_key, &mut random)?,
        });
    }
    let mut tally = Tally::default();
    let mut pace = Pace::per_second(rate);
    while goes_on(tally.sent) {
        pace.wait();
        let number = tally.sent as usize;
        // What the host has no room for is lost, and the answers are of no interest.
        let _ = sockets[number % sockets.len()].send(&messages[number % messages.len()]);
        tally.sent += 1;
    }
    Ok(tally)
}

/// A socket for each address of an outsider.
fn outside_sockets(siege: &Siege) -> Result<Vec<UdpSocket>> {
    let addresses = (1..=SOURCES).map(|host| Ipv4Addr::new(10, 3, 1, host));
    let own = |address: Ipv4Addr| format!("{address}/32");
    let names: Vec<String> = addresses.clone().map(own).collect();
    // They are there already if this is not the first time.
    let _ = add_addresses(&siege.rogue_host, "out", names.iter().map(String::as_str));
    addresses
        .map(|address| {
            let socket = udp::bind(&siege.rogue_host, SocketAddr::new(address.into(), 0))?;
            socket.connect(siege.endpoint())?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect()
}
