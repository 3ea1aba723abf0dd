//! Datagrams that no honest peer would send: they change nothing, and the tunnel goes on.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    payload::{MIB, Payload, Random},
    relay::Relay,
    row::Family,
    tunnel::{Job, Plan, Side, Tunnel, WIREGUARD_PORT},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, comes_up, connect, is_answered, send_to_sink, sink},
    runner::Test,
};

const MAX_LENGTH: usize = 2000;
/// How much more memory an onslaught of strangers may cost.
const GROWTH_BOUND: u64 = 4 * MIB;
const LIMIT: Duration = Duration::from_secs(30);
/// Where the man in the middle listens on the near host.
const RELAY: &str = "10.1.0.2:51000";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("gateway::random_datagrams_change_nothing", random_datagrams),
        Test::new("gateway::random_messages_of_every_type_change_nothing", random_messages),
        Test::new("gateway::cut_and_altered_messages_change_nothing", altered_messages),
        Test::new("gateway::replayed_messages_change_nothing", replayed_messages),
    ]
}

/// A gateway whose peer reaches it through a man in the middle, after some honest traffic.
struct Target {
    tunnel: Tunnel,
    relay: Relay,
    _echo: Echo,
    resident: u64,
}

impl Target {
    fn start(lab: &Lab) -> Result<Self> {
        let plan = Plan { endpoint: Some(RELAY.to_owned()), ..Plan::new(Job::Gateway) };
        let tunnel = Tunnel::start(lab, plan)?;
        let server = SocketAddr::new(Family::V4.mid(), WIREGUARD_PORT);
        let relay = Relay::start(&tunnel.row.near, RELAY.parse()?, server)?;
        comes_up(&tunnel, LIMIT)?;
        let echo = Echo::start(&tunnel.row.far, PORT)?;
        let mut target = Self { tunnel, relay, _echo: echo, resident: 0 };
        target.passes_honest_traffic()?;
        target.resident = target.resident()?;
        Ok(target)
    }

    fn resident(&self) -> Result<u64> {
        self.tunnel.mid_end.process().resident()
    }

    fn is_answered(&self) -> Result<()> {
        is_answered(&self.tunnel.row.near, self.tunnel.target(Family::V4, PORT))
    }

    /// Sends the gateway `datagrams`, from another socket than the peer's, and asks through the
    /// tunnel now and then.
    fn withstands(&self, datagrams: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
        let server = SocketAddr::new(Family::V4.mid(), WIREGUARD_PORT);
        let stranger = udp::connect(&self.tunnel.row.near, server)?;
        for (number, datagram) in datagrams.into_iter().enumerate() {
            // A full queue or a refusal on the way is no concern of this test.
            let _ = stranger.send(&datagram);
            if number % 500 == 0 {
                self.is_answered_soon().with_context(|| format!("after {number} datagrams"))?;
            }
        }
        self.goes_on()
    }

    /// A flood may push out single datagrams, so the question may be repeated.
    fn is_answered_soon(&self) -> Result<()> {
        eventually("answer", LIMIT, || self.is_answered())
    }

    fn passes_honest_traffic(&self) -> Result<()> {
        self.is_answered_soon()?;
        let sink = sink(&self.tunnel.row.far, PORT + 1)?;
        let sent = send_to_sink(&connect(&self.tunnel, PORT + 1)?, Payload::mib(4, 70))?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
        Ok(())
    }

    /// The tunnel still works, and memory has not grown.
    fn goes_on(&self) -> Result<()> {
        self.passes_honest_traffic()?;
        let resident = self.resident()?;
        let bound = self.resident + GROWTH_BOUND;
        ensure!(resident < bound, "grew from {} to {resident} bytes", self.resident);
        Ok(())
    }

    /// The peer dies and comes back, so it needs a new handshake.
    fn lets_the_peer_in_again(mut self) -> Result<()> {
        self.tunnel.end(Side::Near).restart()?;
        self.is_answered_soon().context("after a new handshake")
    }
}

fn random_datagrams(lab: &Lab) -> Result<()> {
    let target = Target::start(lab)?;
    let mut random = Random::new(71);
    target.withstands((0..=MAX_LENGTH).map(|length| random.bytes(length)))?;
    target.withstands((0..=MAX_LENGTH).map(|length| vec![0; length]))?;
    target.lets_the_peer_in_again()
}

/// WireGuard's message types with random content: with the right length, and with others.
fn random_messages(lab: &Lab) -> Result<()> {
    const LENGTHS: [(u8, usize); 4] = [(1, 148), (2, 92), (3, 64), (4, 32)];
    let target = Target::start(lab)?;
    let mut random = Random::new(72);
    let mut message = |number: usize| {
        let (kind, length) = LENGTHS[number % LENGTHS.len()];
        let length = match number % 3 {
            0 => length,
            1 => random.below(MAX_LENGTH).max(4),
            _ => length + random.below(1400),
        };
        let mut bytes = random.bytes(length);
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    };
    target.withstands((0..20_000).map(&mut message))?;
    target.lets_the_peer_in_again()
}

/// Messages that were honest: cut at every length, with a bit flipped, and with bytes added.
fn altered_messages(lab: &Lab) -> Result<()> {
    let target = Target::start(lab)?;
    let mut random = Random::new(73);
    let messages = one_of_each_type(&target.relay)?;
    for message in &messages {
        target.withstands((0..message.len()).map(|length| message[..length].to_vec()))?;
        target.withstands((0..2000).map(|_| {
            let mut altered = message.clone();
            let at = random.below(altered.len());
            altered[at] ^= 1 << random.below(8);
            altered
        }))?;
        target.withstands((1..200).map(|more| [&message[..], &random.bytes(more)].concat()))?;
    }
    target.lets_the_peer_in_again()
}

/// Honest messages again and again, from elsewhere and from the peer's own address.
fn replayed_messages(lab: &Lab) -> Result<()> {
    let target = Target::start(lab)?;
    let messages = target.relay.copies();
    ensure!(messages.len() > 20, "only {} messages to replay", messages.len());
    for _ in 0..10 {
        target.withstands(messages.iter().cloned())?;
        for message in &messages {
            target.relay.inject(message)?;
        }
        target.goes_on()?;
    }
    target.lets_the_peer_in_again()
}

/// A handshake initiation and a data message of the peer.
fn one_of_each_type(relay: &Relay) -> Result<Vec<Vec<u8>>> {
    let copies = relay.copies();
    let find = |kind: u8| copies.iter().find(|copy| copy.first() == Some(&kind)).cloned();
    [1, 4].into_iter().map(|kind| find(kind).with_context(|| format!("no type {kind}"))).collect()
}
