//! When handshakes and looks at timers are due.

use rand_chacha::rand_core::SeedableRng as _;

use super::*;

const fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn idle() -> Supervisor {
    Supervisor::new(None, at(0))
}

fn kept_alive() -> Supervisor {
    Supervisor::new(Some(Duration::from_secs(25)), at(0))
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([1; 32])
}

#[test]
fn an_idle_peer_has_no_deadline() {
    assert_eq!((idle().deadline(), idle().handshake_start()), (None, None));
}

#[test]
fn keepalive_starts_at_once_and_never_gives_up() {
    let mut supervisor = kept_alive();
    assert!(supervisor.is_handshake_due(at(0)));
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        supervisor.initiated(&mut rng(), now);
        assert!(supervisor.handshake_start().is_none());
        now += Duration::from_secs(90);
        supervisor.expired(now);
        let start = supervisor.handshake_start().unwrap();
        pauses.push(start.saturating_duration_since(now).as_secs());
        now = start;
    }
    assert_eq!(pauses, [0, 5, 10, 20, 30, 30]);
}

#[test]
fn traffic_asks_for_a_while() {
    let mut supervisor = idle();
    supervisor.asked(at(10));
    assert!(supervisor.is_handshake_due(at(10)));
    supervisor.initiated(&mut rng(), at(10));
    supervisor.expired(at(50));
    assert!(supervisor.is_handshake_due(at(50)), "asked 40 seconds ago");
    supervisor.initiated(&mut rng(), at(55));
    supervisor.expired(at(145));
    assert_eq!(supervisor.handshake_start(), None);
}

#[test]
fn traffic_of_long_ago_asks_for_nothing() {
    let mut supervisor = idle();
    supervisor.asked(at(0));
    supervisor.answered(1, at(0));
    supervisor.looked(at(181));
    supervisor.handle_timeout(at(181));
    assert_eq!((supervisor.session_since(), supervisor.handshake_start()), (None, None));
}

#[test]
fn a_silent_session_is_looked_at_when_it_comes_of_age() {
    let mut supervisor = idle();
    supervisor.answered(1, at(0));
    let mut looks = Vec::new();
    while let Some(due) = supervisor.deadline() {
        assert!(looks.len() < 30, "{looks:?}");
        supervisor.looked(due);
        supervisor.handle_timeout(due);
        looks.push(due.as_nanos() / 1_000_000_000);
    }
    let busy: Vec<u64> = (1..=16).collect();
    assert_eq!(looks, [&busy[..], &[120, 165, 180]].concat());
}

#[test]
fn keepalives_keep_their_interval_after_any_traffic() {
    let mut supervisor = kept_alive();
    supervisor.answered(1, at(0));
    supervisor.moved_data(at(20));
    assert!(!supervisor.is_keepalive_due(at(44)) && supervisor.is_keepalive_due(at(45)));
    supervisor.sent_keepalive(at(45));
    assert!(!supervisor.is_keepalive_due(at(69)) && supervisor.is_keepalive_due(at(70)));
    assert!(!supervisor.is_rekey_due(at(119)) && supervisor.is_rekey_due(at(120)));
}

#[test]
fn a_granted_session_counts_once_the_peer_uses_it() {
    let mut supervisor = idle();
    supervisor.initiated(&mut rng(), at(0));
    supervisor.granted(7, at(1));
    assert_eq!((supervisor.session_since(), supervisor.deadline()), (None, None));
    assert!(!supervisor.received(6, at(2)));
    assert!(supervisor.received(7, at(3)) && !supervisor.received(7, at(4)));
    assert_eq!(supervisor.session_since(), Some(at(1)));
    assert!(!supervisor.is_rekey_due(at(130)), "the initiator renews it");
}

#[test]
fn an_initiation_is_sent_again_up_to_a_third_of_a_second_later() {
    let mut rng = rng();
    let mut waits = Vec::new();
    for _ in 0..100 {
        let mut supervisor = idle();
        supervisor.initiated(&mut rng, at(0));
        let due = supervisor.deadline().unwrap();
        assert!(!supervisor.is_held(at(4)) && !supervisor.is_held(due));
        assert!(due == at(5) || supervisor.is_held(at(5)));
        waits.push(due.saturating_duration_since(at(5)).as_millis());
    }
    waits.sort_unstable();
    assert!(waits[10] < 100 && waits[90] > 233 && waits[99] <= 333, "{waits:?}");
}

#[test]
fn a_session_that_is_over_is_seen_while_an_initiation_waits() {
    let mut supervisor = idle();
    supervisor.initiated(&mut rng(), at(175));
    assert!(supervisor.is_held(at(180)));
    supervisor.answered(1, at(0));
    supervisor.initiated(&mut rng(), at(175));
    assert!(!supervisor.is_held(at(180)));
}

#[test]
fn a_peer_is_lost_once_and_comes_back_once() {
    let mut supervisor = idle();
    supervisor.initiated(&mut rng(), at(0));
    assert!(supervisor.lost() && !supervisor.lost());
    assert_eq!(supervisor.unanswered(), 1);
    assert_eq!(supervisor.heard(), Rise::First);
    assert_eq!(supervisor.unanswered(), 0);
    assert_eq!(supervisor.heard(), Rise::StillUp);
    assert!(supervisor.lost());
    assert_eq!(supervisor.heard(), Rise::Again);
    assert_eq!(supervisor.heard(), Rise::StillUp);
}
