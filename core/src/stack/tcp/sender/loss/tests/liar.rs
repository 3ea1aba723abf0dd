use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;

/// A position that a far end might name: near one that means something, or anywhere.
fn position(rng: &mut ChaCha8Rng, loss: &LossRecovery) -> u64 {
    let (start, end) = (loss.acknowledged_to(), loss.sent_to());
    match rng.next_u64() % 6 {
        0 => start.saturating_sub(rng.next_u64() % 300),
        1 => end.saturating_add(rng.next_u64() % 300),
        2 => rng.next_u64(),
        3 => [0, 1, u64::MAX][rng.next_u64() as usize % 3],
        _ => start + rng.next_u64() % (end - start + 1) / 100 * 100,
    }
}

#[test]
fn no_lie_breaks_anything() {
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut loss = LossRecovery::new(0, &LossHint::default());
        let mut sums = Sums::default();
        let mut now = at(0);
        for _ in 0..500 {
            now += Duration::from_micros(rng.next_u64() % 30_000);
            match rng.next_u64() % 8 {
                0..3 => {
                    let start = loss.sent_to();
                    let len = 1 + rng.next_u64() % 200;
                    loss.handle_sent(start..start + len, STAMP, now);
                }
                3 => {
                    if let Some(lost) = loss.next_lost(1 + rng.next_u64() % 200) {
                        loss.handle_sent(lost, STAMP, now);
                    }
                }
                4 => {
                    if let Some(deadline) = loss.deadline() {
                        now = now.max(deadline);
                        if let Expiry::Probe(tail) = loss.handle_timeout(&mut sums, now) {
                            loss.handle_sent(tail, STAMP, now);
                        }
                    }
                }
                _ => {
                    let is_bold = rng.next_u64().is_multiple_of(20);
                    let to =
                        if is_bold { position(&mut rng, &loss) } else { loss.acknowledged_to() };
                    let blocks: Vec<Range<u64>> = (0..rng.next_u64() % 5)
                        .map(|_| position(&mut rng, &loss)..position(&mut rng, &loss))
                        .collect();
                    let flight = loss.flight();
                    let ack = Acknowledgement { to, blocks: &blocks };
                    let is_sent = to <= loss.sent_to();
                    let report = loss.handle_acknowledgement(&ack, &mut sums, now);
                    assert_eq!(report.is_ok(), is_sent);
                    assert_eq!(report.map_or(flight, |report| report.flight_before), flight);
                }
            }
            loss.board.check();
            assert!(loss.flight() <= loss.sent_to() - loss.acknowledged_to());
        }
        let ack = Acknowledgement { to: loss.sent_to(), blocks: &[] };
        loss.handle_acknowledgement(&ack, &mut sums, now).unwrap();
        assert_eq!((loss.flight(), loss.deadline(), loss.next_lost(1)), (0, None, None));
    }
}
