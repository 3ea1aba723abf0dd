//! Datagrams of outsiders, and of peers that misbehave.

use blake2::digest::Mac;
use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use rand_chacha::rand_core::RngCore as _;

use crate::limits::HANDSHAKES_WASTED_RATE;
use crate::tunnel::tests::*;

const ATTACKER: &str = "203.0.113.66:6666";

fn attacker() -> SocketAddr {
    ATTACKER.parse().unwrap()
}

fn from_attacker(bytes: Vec<u8>) -> Datagram {
    Datagram::new(attacker(), outer(1), bytes)
}

/// The last datagram that end 0 sent, of a kind.
pub(super) fn last_sent(net: &Net, kind: u8) -> Datagram {
    let is_it = |datagram: &Datagram| datagram.source == outer(0) && datagram.bytes[0] == kind;
    net.sent.iter().rev().map(|(_, datagram)| datagram).find(|d| is_it(d)).unwrap().clone()
}

/// Checks that a session works both ways and that end 1 believes its peer where it was.
fn assert_unharmed(net: &mut Net) {
    net.clear_received();
    net.send(1, 0, 41);
    net.send(0, 1, 42);
    net.run(seconds(1));
    assert_eq!((net.ends[0].numbers(), net.ends[1].numbers()), (vec![41], vec![42]));
    assert!(net.initiations_of(0).is_empty() && net.initiations_of(1).is_empty());
}

#[test]
fn datagrams_of_any_length_change_nothing_but_counters() {
    let mut net = Net::connected();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let genuine = {
        net.send_packet(0, packet(inner_address(0), inner_address(1), 1, MTU.into()));
        net.run(seconds(1));
        last_sent(&net, 4).bytes
    };
    let messages = [last_sent(&net, 1).bytes, genuine];
    net.sent.clear();
    let mut datagrams = 0;
    for len in 0..=2000 {
        let mut random = vec![0; len];
        rng.fill_bytes(&mut random);
        let mut typed = random.clone();
        for (place, byte) in typed.iter_mut().zip([(len % 5) as u8, 0, 0, 0]) {
            *place = byte;
        }
        let mut indexed = typed.clone();
        if len >= 8 {
            indexed[4..8].copy_from_slice(&messages[1][4..8]);
        }
        let cut = messages.iter().filter(|message| len < message.len());
        let cut = cut.map(|message| message[..len].to_vec());
        for bytes in [random, typed, indexed].into_iter().chain(cut) {
            net.deliver(1, &from_attacker(bytes));
            datagrams += 1;
        }
    }
    assert!(net.sent.is_empty(), "nothing is answered");
    let monitor = &net.ends[1].monitor;
    let dropped: u64 = [
        Counter::DropMalformed,
        Counter::DropHandshake,
        Counter::DropNoSession,
        Counter::DropAuthentication,
        Counter::DropReplay,
        Counter::DropCounterRange,
    ]
    .map(|counter| monitor.stats().value(counter))
    .iter()
    .sum();
    assert_eq!(dropped, datagrams, "each is counted once");
    assert_unharmed(&mut net);
}

#[test]
fn a_datagram_larger_than_any_is_malformed() {
    let mut net = Net::connected();
    let mut bytes = last_sent(&net, 4).bytes;
    bytes.resize(SCRATCH_LEN + 1, 0);
    net.deliver(1, &from_attacker(bytes));
    assert_eq!(net.ends[1].count(Counter::DropMalformed), 1);
    assert_unharmed(&mut net);
}

#[test]
fn replayed_data_is_counted_and_dropped() {
    let mut net = Net::connected();
    let data = last_sent(&net, 4);
    net.clear_received();
    for _ in 0..10 {
        net.deliver(1, &data);
    }
    assert_eq!(net.ends[1].count(Counter::DropReplay), 10);
    assert!(net.ends[1].received.is_empty());
    assert_unharmed(&mut net);
}

#[test]
fn replayed_handshakes_are_counted_and_dropped() {
    let mut net = Net::connected();
    let initiation = last_sent(&net, 1);
    let (_, response) = net.sent.iter().find(|(_, d)| d.is_response()).unwrap().clone();
    net.sent.clear();
    net.deliver(1, &Datagram { source: attacker(), ..initiation });
    net.deliver(0, &Datagram { source: attacker(), ..response });
    assert!(net.sent.is_empty());
    for end in &net.ends {
        assert_eq!(end.count(Counter::DropHandshake), 1);
    }
    assert_eq!(net.ends[1].endpoint(), Some(outer(0)));
    assert_unharmed(&mut net);
}

#[test]
fn counters_at_the_end_of_their_range_never_reach_the_session() {
    let mut net = Net::connected();
    let mut data = last_sent(&net, 4);
    for (counter, reason) in [
        (u64::MAX, Counter::DropCounterRange),
        (COUNTER_END, Counter::DropCounterRange),
        (COUNTER_END - 1, Counter::DropAuthentication),
    ] {
        let before = net.ends[1].count(reason);
        data.bytes[8..16].copy_from_slice(&counter.to_le_bytes());
        net.deliver(1, &data);
        assert_eq!(net.ends[1].count(reason), before + 1);
    }
    assert_unharmed(&mut net);
}

#[test]
fn a_flood_from_one_source_does_not_hinder_another() {
    let mut net = Net::pair();
    net.loses = Box::new(|_, datagram| datagram.is_initiation());
    net.send(0, 1, 1);
    let flood = last_sent(&net, 1);
    net.loses = Box::new(|_, _| false);
    let configuration = config(0, vec![kept_alive(1)]);
    let mut forged = from_attacker(flood.bytes);
    forged.bytes[4] ^= 0xff;
    for _ in 0..10_000 {
        net.deliver(1, &forged);
    }
    net.restart(0, &configuration);
    for _ in 0..10_000 {
        net.deliver(1, &forged);
    }
    net.run(seconds(1));
    assert!(net.is_up(0) && net.is_up(1));
}

/// An initiation that anybody can make who knows both public keys: it names end 0, and its first
/// MAC is right, but it does not prove to come from there.
pub(super) fn forged_initiation() -> Vec<u8> {
    let mut net = Net::pair();
    net.send(0, 1, 1);
    let mut bytes = last_sent(&net, 1).bytes;
    bytes[100] ^= 1;
    let key = Blake2s256::new().chain_update(b"mac1----").chain_update(public_key(1)).finalize();
    let mac: Blake2sMac<U16> = Mac::new_from_slice(&key).unwrap();
    let mac = mac.chain_update(&bytes[..116]);
    bytes[116..132].copy_from_slice(&mac.finalize().into_bytes());
    bytes
}

fn public_key(end: usize) -> [u8; 32] {
    *private_key(end).public_key().as_bytes()
}

#[test]
fn an_initiation_that_only_names_a_peer_changes_nothing() {
    let mut net = Net::connected();
    let forged = from_attacker(forged_initiation());
    net.sent.clear();
    for number in 1..=100 {
        net.deliver(1, &forged);
        assert_eq!(net.ends[1].count(Counter::DropHandshake), number);
        net.run(seconds(1));
    }
    assert!(net.sent.iter().all(|(_, datagram)| datagram.destination != attacker()));
    assert_eq!(net.ends[1].endpoint(), Some(outer(0)));
    assert_eq!(net.ends[1].count(Counter::DropHandshakeRate), 0, "the peer's share is untouched");
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [0, 1]);
}

#[test]
fn forged_initiations_from_everywhere_do_not_lock_a_peer_out() {
    let configs = [config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])];
    let mut net = Net::new(configs.clone());
    net.run(seconds(1));
    let forged = forged_initiation();
    net.restart(0, &configs[0]);
    for second in 0..12 {
        for source in 0..2 * HANDSHAKES_WASTED_RATE {
            let [_, _, a, b] = source.to_be_bytes();
            let source = SocketAddr::from(([10, second, a, b], 1));
            net.deliver(1, &Datagram::new(source, outer(1), forged.clone()));
        }
        net.run(seconds(1));
    }
    assert!(net.ends[1].count(Counter::CookieReplies) > 0);
    assert!(net.is_up(0) && net.is_up(1));
}

#[test]
fn cookie_replies_leave_room_for_handshakes() {
    let mut net = Net::connected();
    let forged = forged_initiation();
    let End { tunnel, egress, monitor, .. } = &mut net.ends[1];
    for source in 0..2 * HANDSHAKES_WASTED_RATE {
        let [_, _, a, b] = source.to_be_bytes();
        let source = SocketAddr::from(([10, 0, a, b], 1));
        tunnel.handle_datagram(source.into(), &forged, egress, monitor, net.now);
    }
    assert!(monitor.stats().value(Counter::DropEgressFull) > 0);
    assert!(egress.reserve_control(outer(0).into(), 148).is_some());
}

#[test]
fn a_flood_with_the_address_of_a_peer_does_not_lock_it_out() {
    let mut net = Net::pair();
    net.loses = Box::new(|_, datagram| datagram.is_initiation());
    net.send(0, 1, 1);
    let flood = last_sent(&net, 1);
    net.loses = Box::new(|_, _| false);
    let configuration = config(0, vec![kept_alive(1)]);
    net.restart(0, &configuration);
    for _ in 0..120 {
        for _ in 0..HANDSHAKES_WASTED_RATE {
            net.deliver(1, &flood);
        }
        net.run(Duration::from_millis(100));
    }
    assert!(net.ends[1].count(Counter::CookieReplies) > 0);
    assert!(net.is_up(0) && net.is_up(1), "it has shown a cookie");
}

#[test]
fn a_cookie_reply_moves_no_endpoint() {
    let mut net = Net::pair();
    net.loses = Box::new(|_, datagram| datagram.is_initiation());
    net.send(0, 1, 1);
    let initiation = last_sent(&net, 1);
    net.loses = Box::new(|_, _| true);
    let reply = (0..2 * HANDSHAKES_WASTED_RATE).find_map(|_| {
        net.deliver(1, &initiation);
        let is_cookie = |d: &Datagram| d.bytes[0] == 3;
        net.sent.iter().map(|(_, datagram)| datagram).find(|d| is_cookie(d)).cloned()
    });
    let reply = Datagram { source: attacker(), ..reply.unwrap() };
    net.deliver(0, &reply);
    assert_eq!(net.ends[0].count(Counter::DropHandshake), 0, "it was a good one");
    assert_eq!(net.ends[0].endpoint(), Some(outer(1)));
}

#[test]
fn initiations_without_data_do_not_evict_the_session_in_use() {
    let mut net = Net::connected();
    let configuration = config(0, vec![reachable(1)]);
    let (now, mut monitor, mut egress) = (net.now, Monitor::new(), Egress::new());
    // A second machine with the same key, which never uses the sessions that it gets.
    let mut twin = Tunnel::new(&configuration, [5; 32], now);
    let mut initiations = Vec::new();
    for step in 0..20_u64 {
        let mut data = packet(inner_address(0), inner_address(1), 1, 100);
        let at = now + seconds(6 * step);
        twin.handle_timeout(&mut egress, &mut monitor, at);
        twin.send(PeerId::first(0), &mut data, 100, &mut egress, &mut monitor, at);
        while let Some(train) = egress.front() {
            initiations.extend(train.contents.chunks(train.segment_size).map(<[u8]>::to_vec));
            let bytes = train.contents.len();
            egress.transmitted(bytes);
        }
    }
    assert!(initiations.len() >= 16);
    let granted = net.sent.iter().filter(|(_, d)| d.is_response()).count();
    for (number, bytes) in initiations.into_iter().enumerate() {
        let source = SocketAddr::from(([203, 0, 113, number as u8], 1));
        net.deliver(1, &Datagram::new(source, outer(1), bytes));
    }
    let granted = net.sent.iter().filter(|(_, d)| d.is_response()).count() - granted;
    assert!((1..8).contains(&granted), "{granted}");
    assert!(net.ends[1].count(Counter::DropHandshakeRate) > 0);
    assert!(net.ends[1].faults.0.lock().unwrap().contains(&HandshakeFault::PeerRate));
    net.clear_received();
    net.send(0, 1, 42);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [42]);
}
