//! Keeps one tunnel alive, where boringtun gives up, and says when its timers have to be looked at.
//!
//! boringtun sends an initiation again every 5 seconds for 90 seconds, and is silent ever after.
//! It also has no "next deadline". So this follows what happens in a tunnel and decides:
//!
//! - when boringtun's timers are due: often while data flows or a handshake is under way, else
//!   when a session comes of age; never for an idle peer;
//! - when to start a handshake: for traffic as long as it asks, and for persistent keepalive
//!   always, alone with a longer pause after each failure, up to a cap;
//! - how much later than boringtun would an initiation is sent again, so that peers that began
//!   together do not go on together;
//! - when a persistent keepalive is due (boringtun is told of none);
//! - whether the peer counts as up or as lost.
//!
//! It sends nothing and knows no addresses: both are the peer's.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore as _;

use crate::time::{Instant, earlier};

/// boringtun takes the time of its last look at its timers for the current time; it is made to
/// look again before an event when that is so long ago.
const CLOCK_TICK: Duration = Duration::from_millis(250);
/// How often timers are looked at while something may come of it.
const BUSY_TICK: Duration = Duration::from_secs(1);
/// How long after the last data something may come of it: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, after
/// which boringtun misses an answer, and a tick.
const BUSY_FOR: Duration = Duration::from_secs(16);
/// REKEY_TIMEOUT of the WireGuard paper: when an initiation is sent again.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// REKEY_TIMEOUT_JITTER: how much later it may be (section 6.1 of the paper), in milliseconds.
const JITTER_MAX_MS: u64 = 333;
/// REKEY_AFTER_TIME: when the initiator of a session in use wants a new one.
const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// REJECT_AFTER_TIME less what a new handshake takes: when receiving alone is reason enough.
const REKEY_ON_RECEIVE: Duration = Duration::from_secs(165);
/// REJECT_AFTER_TIME: when a session is of no use any more.
pub(super) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// REKEY_ATTEMPT_TIME: how long traffic keeps asking for a handshake.
const ASKED_FOR: Duration = Duration::from_secs(90);
/// The second pause after boringtun gave up; the first is none, and the next ones double ...
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// ... up to here.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Which end sent the first message of a session's handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Initiator,
    Responder,
}

/// The session in use.
#[derive(Clone, Copy, Debug)]
struct Session {
    since: Instant,
    role: Role,
    index: u32,
}

/// A session that the peer asked for and has not used yet.
#[derive(Clone, Copy, Debug)]
struct Grant {
    since: Instant,
    index: u32,
}

/// An initiation whose answer is awaited.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// When boringtun would send another one, could it look at its timers.
    retry_from: Instant,
    /// When it may.
    retry_at: Instant,
}

/// What there is between the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dealings {
    None,
    /// A handshake that we have begun.
    Attempt,
    /// A session in use, or one that the peer has asked for.
    Session,
}

/// What it means that the peer was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rise {
    /// Nothing new: it was up.
    StillUp,
    /// It is up for the first time.
    First,
    /// It is back after it had been lost.
    Again,
}

/// What is known of one tunnel in time.
#[derive(Debug)]
pub(super) struct Supervisor {
    keepalive: Option<Duration>,
    looked_at: Instant,
    attempt: Option<Attempt>,
    /// Initiations since the peer was last heard.
    unanswered: u32,
    session: Option<Session>,
    grant: Option<Grant>,
    /// When traffic last asked for the peer.
    asked_at: Option<Instant>,
    /// No handshake is started before ...
    retry_at: Instant,
    /// ... and for keepalive alone not before this.
    resume_at: Instant,
    pause: Duration,
    /// The last data, either way.
    data_at: Instant,
    /// The last data or keepalive, either way.
    traffic_at: Instant,
    was_up: bool,
    is_lost: bool,
}

/// What happened.
impl Supervisor {
    pub(super) fn new(keepalive: Option<Duration>, now: Instant) -> Self {
        Self {
            keepalive,
            looked_at: now,
            attempt: None,
            unanswered: 0,
            session: None,
            grant: None,
            asked_at: None,
            retry_at: now,
            resume_at: now,
            pause: Duration::ZERO,
            data_at: now,
            traffic_at: now,
            was_up: false,
            is_lost: false,
        }
    }

    /// boringtun has looked at its timers.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looked_at = now;
    }

    /// Traffic wants to reach the peer.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// An initiation leaves.
    pub(super) fn initiated(&mut self, rng: &mut ChaCha20Rng, now: Instant) {
        let retry_from = now + REKEY_TIMEOUT;
        let jitter = Duration::from_millis(rng.next_u64() % (JITTER_MAX_MS + 1));
        self.attempt = Some(Attempt { retry_from, retry_at: retry_from + jitter });
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// boringtun has given up, and forgotten every session.
    pub(super) fn expired(&mut self, now: Instant) {
        let tried = self.attempt.take().is_some();
        let had_session = self.session.take().is_some();
        self.grant = None;
        if tried || had_session {
            self.retry_at = self.retry_at.max(now);
            self.resume_at = now + self.pause;
            self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        }
    }

    /// The peer answered our initiation, which opened the session of this index.
    pub(super) fn answered(&mut self, index: u32, now: Instant) {
        self.attempt = None;
        self.use_session(Session { since: now, role: Role::Initiator, index });
        self.data_at = now;
        self.traffic_at = now;
    }

    /// The peer's initiation was answered with a session of this index. boringtun leaves its own
    /// handshake then.
    pub(super) fn granted(&mut self, index: u32, now: Instant) {
        self.attempt = None;
        self.grant = Some(Grant { since: now, index });
        self.retry_at = self.retry_at.max(now + REKEY_TIMEOUT);
    }

    /// Data or a keepalive came on the session of this index. Returns whether that is the first
    /// use of a session that was granted.
    pub(super) fn received(&mut self, index: u32, now: Instant) -> bool {
        self.traffic_at = now;
        let confirmed = self.grant.take_if(|grant| grant.index == index);
        if let Some(Grant { since, .. }) = confirmed {
            self.use_session(Session { since, role: Role::Responder, index });
        }
        confirmed.is_some()
    }

    fn use_session(&mut self, session: Session) {
        // Of two handshakes that crossed, the newer one counts.
        if self.session.is_none_or(|current| current.since <= session.since) {
            self.session = Some(session);
        }
    }

    /// The peer was heard: something that only it can have sent, now.
    pub(super) fn heard(&mut self) -> Rise {
        self.unanswered = 0;
        self.pause = Duration::ZERO;
        let was_up = std::mem::replace(&mut self.was_up, true);
        let was_lost = std::mem::replace(&mut self.is_lost, false);
        match (was_up, was_lost) {
            (false, _) => Rise::First,
            (true, true) => Rise::Again,
            (true, false) => Rise::StillUp,
        }
    }

    /// What there is between the two ends.
    pub(super) fn dealings(&self) -> Dealings {
        match (self.session, self.grant, self.attempt) {
            (Some(_), _, _) | (_, Some(_), _) => Dealings::Session,
            (None, None, Some(_)) => Dealings::Attempt,
            (None, None, None) => Dealings::None,
        }
    }

    /// Nothing will come of the handshake that is under way.
    pub(super) fn gave_up(&mut self) {
        self.attempt = None;
    }

    /// The peer is to be found at another place: what failed so far says nothing about that.
    pub(super) fn moved(&mut self, now: Instant) {
        self.unanswered = 0;
        self.try_again(now);
        if self.session.is_none() {
            self.attempt = None;
        }
    }

    fn try_again(&mut self, now: Instant) {
        self.pause = Duration::ZERO;
        self.resume_at = now;
    }

    /// Another interval of persistent keepalive, or none. Returns whether there was none.
    pub(super) fn set_keepalive(&mut self, keepalive: Option<Duration>, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.keepalive, keepalive);
        let is_new = before.is_none() && keepalive.is_some();
        if is_new {
            self.try_again(now);
        }
        is_new
    }

    /// Data was sent or received.
    pub(super) fn moved_data(&mut self, now: Instant) {
        self.data_at = now;
        self.traffic_at = now;
    }

    /// A keepalive was sent.
    pub(super) fn sent_keepalive(&mut self, now: Instant) {
        self.traffic_at = now;
    }

    /// The peer counts as lost. Returns whether that is news.
    pub(super) fn lost(&mut self) -> bool {
        !std::mem::replace(&mut self.is_lost, true)
    }

    /// Lets time pass, after boringtun has looked at its timers.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let is_old = |since: Instant| since + REJECT_AFTER_TIME <= now;
        self.session.take_if(|session| is_old(session.since));
        self.grant.take_if(|grant| is_old(grant.since));
        self.asked_at.take_if(|at| *at + ASKED_FOR <= now);
        // Had boringtun still waited for an answer, it would have sent another initiation.
        self.attempt.take_if(|attempt| attempt.retry_at <= now);
    }
}

/// What follows from it.
impl Supervisor {
    /// Whether boringtun must look at its timers before it is given anything.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.looked_at + CLOCK_TICK <= now && !self.is_held(now)
    }

    /// Whether boringtun must not look at its timers: it would send an initiation again, which is
    /// to be later. That a session is over has to be seen nevertheless.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        let is_early = |attempt: Attempt| attempt.retry_from <= now && now < attempt.retry_at;
        let is_alive = |session: Session| now < session.since + REJECT_AFTER_TIME;
        self.attempt.is_some_and(is_early) && self.session.is_none_or(is_alive)
    }

    /// Initiations since the peer was last heard.
    pub(super) const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Whether there is a session.
    pub(super) const fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// How often a persistent keepalive is sent.
    pub(super) const fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// The index of the session in use.
    pub(super) fn session_index(&self) -> Option<u32> {
        self.session.map(|session| session.index)
    }

    /// When the session in use was agreed on.
    #[cfg(test)]
    pub(super) fn session_since(&self) -> Option<Instant> {
        self.session.map(|session| session.since)
    }

    /// Whether a handshake has to be started.
    pub(super) fn is_handshake_due(&self, now: Instant) -> bool {
        self.handshake_start().is_some_and(|at| at <= now)
    }

    /// Whether a persistent keepalive has to be sent.
    pub(super) fn is_keepalive_due(&self, now: Instant) -> bool {
        self.keepalive_deadline().is_some_and(|at| at <= now)
    }

    /// Whether the session is so old that a keepalive has to ask for a new one: boringtun does so
    /// for data only, and a tunnel that carries none would be cut off for a moment.
    pub(super) fn is_rekey_due(&self, now: Instant) -> bool {
        self.attempt.is_none()
            && self.session.is_some_and(|session| {
                session.role == Role::Initiator && session.since + REKEY_AFTER_TIME <= now
            })
    }

    /// When a handshake has to be started, if the peer is reachable.
    pub(super) fn handshake_start(&self) -> Option<Instant> {
        if self.session.is_some() || self.attempt.is_some() {
            return None;
        }
        let asked = self.asked_at.is_some_and(|at| self.retry_at < at + ASKED_FOR);
        let for_traffic = asked.then_some(self.retry_at);
        let for_keepalive = self.keepalive.map(|_| self.retry_at.max(self.resume_at));
        earlier(for_traffic, for_keepalive)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let retry = self.attempt.map(|attempt| attempt.retry_at);
        let session = self.session.map(|session| self.session_deadline(session));
        let session = if session.is_some_and(|at| self.is_held(at)) { retry } else { session };
        earlier(earlier(retry, session), self.keepalive_deadline())
    }

    fn keepalive_deadline(&self) -> Option<Instant> {
        self.session.and(self.keepalive).map(|interval| self.traffic_at + interval)
    }

    fn session_deadline(&self, session: Session) -> Instant {
        if self.looked_at < self.data_at + BUSY_FOR {
            return self.looked_at + BUSY_TICK;
        }
        [REKEY_AFTER_TIME, REKEY_ON_RECEIVE]
            .map(|age| session.since + age)
            .into_iter()
            .find(|at| *at > self.looked_at)
            // By then boringtun, whose time may be a tick behind, has wiped the keys as well.
            .unwrap_or(session.since + REJECT_AFTER_TIME + CLOCK_TICK)
    }
}

#[cfg(test)]
mod tests;
