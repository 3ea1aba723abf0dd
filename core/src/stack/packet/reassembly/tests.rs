use crate::stack::packet::fragmentation::cut;
use crate::stack::packet::reassembly::*;
use crate::stack::packet::{Packet, write_udp};

const ALICE: PeerId = PeerId::first(0);
const BOB: PeerId = PeerId::first(1);

fn packet(v6: bool, payload_len: usize) -> Vec<u8> {
    let (source, destination) =
        if v6 { ("[fd00::2]:1", "[fd00::3]:2") } else { ("10.0.0.2:1", "10.0.0.3:2") };
    let payload: Vec<u8> = (0..payload_len).map(|n| (n / 7) as u8).collect();
    let mut buffer = vec![0; 1 << 17];
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let len = write_udp(&mut buffer, source, destination, &payload).unwrap();
    buffer.truncate(len);
    buffer
}

fn cut_up(packet: &[u8], mtu: usize, identification: u32) -> Vec<Vec<u8>> {
    let mut fragments = Vec::new();
    cut(packet, mtu, identification, &mut vec![0; mtu + 16], |piece, len| {
        assert!(len <= mtu);
        fragments.push(piece[..len].to_vec());
    });
    fragments
}

/// The TTL, identification and flags of a header that went through fragments.
fn plain(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes[0] >> 4 == 4 {
        let mut header = Ipv4Packet::new_unchecked(&mut bytes);
        header.set_ident(0);
        header.set_dont_frag(true);
        header.fill_checksum();
    }
    bytes
}

fn table() -> Fragments {
    Fragments::new((1, 2), 1 << 30)
}

#[test]
fn rfc4787_req_14_packets_of_every_size_survive_in_any_order() {
    for v6 in [false, true] {
        let largest = if v6 { 65_527 } else { 65_507 };
        for payload_len in [1_300, 1_500, 9_000, 65_000, largest] {
            let whole = packet(v6, payload_len);
            let mut fragments = cut_up(&whole, 1280, 7);
            for order in 0..3 {
                match order {
                    0 => {}
                    1 => fragments.reverse(),
                    _ => {
                        let middle = fragments.len() / 2;
                        fragments.rotate_left(middle);
                    }
                }
                let mut table = table();
                let mut complete = None;
                for (index, fragment) in fragments.iter().enumerate() {
                    match table.take_in(ALICE, fragment, Instant::ZERO) {
                        Intake::Held => assert!(index + 1 < fragments.len()),
                        Intake::Complete { packet, piece_len } => {
                            assert_eq!(Some(piece_len), fragments.iter().map(Vec::len).max());
                            complete = Some((index, packet));
                        }
                        other => panic!("{other:?}"),
                    }
                }
                let (index, mut bytes) = complete.unwrap();
                assert_eq!(index + 1, fragments.len());
                let parsed = Packet::parse(&mut bytes).map(|_| ());
                assert_eq!(parsed, Ok(()), "{payload_len} bytes, order {order}");
                assert_eq!(plain(bytes), plain(whole.clone()));
                assert_eq!((table.bytes.total(), table.order.len()), (0, 0));
            }
        }
    }
}

#[test]
fn rfc4787_req_14_overlapping_fragments_end_the_packet_and_repetitions_do_not() {
    for v6 in [false, true] {
        let long = packet(v6, 3_000);
        let fragments = cut_up(&long, 1280, 7);
        let others = cut_up(&long, 1000, 7);
        let mut table = table();
        for _ in 0..3 {
            assert!(matches!(table.take_in(ALICE, &fragments[0], Instant::ZERO), Intake::Held));
        }
        let overlap = table.take_in(ALICE, &others[1], Instant::ZERO);
        assert!(matches!(overlap, Intake::Dropped(Counter::DropFragment)));
        assert_eq!((table.bytes.total(), table.order.len()), (0, 0));
    }
}

#[test]
fn fragments_of_two_peers_are_never_mixed() {
    let fragments = cut_up(&packet(false, 2_000), 1280, 7);
    let mut table = table();
    assert!(matches!(table.take_in(ALICE, &fragments[0], Instant::ZERO), Intake::Held));
    assert!(matches!(table.take_in(BOB, &fragments[1], Instant::ZERO), Intake::Held));
}

#[test]
fn what_is_not_completed_in_time_is_forgotten() {
    let fragments = cut_up(&packet(true, 2_000), 1280, 7);
    let mut table = table();
    table.take_in(ALICE, &fragments[0], Instant::ZERO);
    let due = table.poll_timeout().unwrap();
    assert_eq!(due, Instant::ZERO + FRAGMENT_TIMEOUT);
    table.handle_timeout(due);
    assert_eq!((table.bytes.total(), table.poll_timeout()), (0, None));
    assert!(matches!(table.take_in(ALICE, &fragments[1], due), Intake::Held));
}

#[test]
fn rfc4787_req_14_a_thousand_fragments_without_an_end_are_bounded_and_others_do_not_feel_it() {
    let mut table = table();
    let mine = cut_up(&packet(false, 2_000), 1280, 7);
    assert!(matches!(table.take_in(BOB, &mine[0], Instant::ZERO), Intake::Held));
    for identification in 0..5_000 {
        for fragment in &cut_up(&packet(false, 60_000), 1280, identification)[1..4] {
            table.take_in(ALICE, fragment, Instant::ZERO);
        }
        assert!(table.order.len() <= FRAGMENTED_PEER_MAX + 1);
        assert!(table.bytes.total() <= FRAGMENTED_LEN_PEER_MAX);
    }
    let last = table.take_in(BOB, &mine[1], Instant::ZERO);
    assert!(matches!(last, Intake::Complete { .. }), "{last:?}");
}

#[test]
fn greedy_peers_lose_their_own_packets_and_not_anothers() {
    for payload_len in [1_100, 60_000] {
        let mut table = table();
        let mine = cut_up(&packet(false, 2_000), 1280, 7);
        assert!(matches!(table.take_in(BOB, &mine[0], Instant::ZERO), Intake::Held));
        for identification in 0..64 {
            let pieces = cut_up(&packet(false, payload_len), 1000, identification);
            for slot in 2..30 {
                table.take_in(PeerId::first(slot), pieces.last().unwrap(), Instant::ZERO);
            }
        }
        assert!(table.order.len() <= FRAGMENTED_MAX + 1);
        assert!(table.bytes.total() <= FRAGMENTED_LEN_MAX);
        let last = table.take_in(BOB, &mine[1], Instant::ZERO);
        assert!(matches!(last, Intake::Complete { .. }), "{payload_len}: {last:?}");
    }
}

#[test]
fn pieces_that_lie_are_dropped() {
    let fragments = cut_up(&packet(false, 3_000), 1280, 7);
    // An end before what is there already.
    let mut early_end = fragments[1].clone();
    let mut header = Ipv4Packet::new_unchecked(&mut early_end);
    header.set_more_frags(false);
    header.fill_checksum();
    let mut table = table();
    table.take_in(ALICE, &fragments[2], Instant::ZERO);
    let lie = table.take_in(ALICE, &early_end, Instant::ZERO);
    assert!(matches!(lie, Intake::Dropped(_)));
    // An offset at the end of the range.
    let mut far = fragments[1].clone();
    let mut header = Ipv4Packet::new_unchecked(&mut far);
    header.set_frag_offset(65_528);
    header.fill_checksum();
    assert!(matches!(table.take_in(ALICE, &far, Instant::ZERO), Intake::Dropped(_)));
    assert_eq!(table.bytes.total(), 0);
    for len in 0..fragments[0].len() {
        let cut_off = table.take_in(ALICE, &fragments[0][..len], Instant::ZERO);
        assert!(matches!(cut_off, Intake::Dropped(_)), "{len}");
    }
}
