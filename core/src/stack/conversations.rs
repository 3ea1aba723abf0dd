//! Conversations of peers with each other, for the rules: which end began each.
//!
//! That is all that is known of them, for their packets pass as they are. It says what the rules are
//! asked about again when they change, and that answers belong to what was asked. Nothing that the
//! rules allow hangs on being remembered but the answers to datagrams: of a connection that was
//! forgotten, as by a restart, [the overlay](super::overlay) makes a new one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::action::PeerId;
use crate::stack::flow::KeyedState;
use crate::stack::shares::Holdings;
use crate::time::Instant;

/// How long datagrams are remembered at least (RFC 4787, REQ-5: two minutes or more).
const DATAGRAMS_GENERATION: Duration = Duration::from_secs(150);
/// How long a silent connection is remembered at least (RFC 5382, REQ-5).
const CONNECTIONS_GENERATION: Duration = Duration::from_secs(2 * 60 * 60 + 4 * 60);
/// Conversations of each protocol that are remembered, in each of two generations.
const CONVERSATIONS_MAX: usize = 8_192;

/// The protocols whose conversations are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Connection,
    Datagrams,
}

/// A socket of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) peer: PeerId,
    pub(crate) socket: SocketAddr,
}

/// The end that began, and the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) first: End,
    pub(crate) other: End,
}

/// How a conversation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It goes on.
    Open,
    /// The rules have ended it: neither end may go on with it, not even one that may begin another.
    Ended,
}

/// All conversations.
#[derive(Debug)]
pub(crate) struct Conversations {
    connections: Register,
    datagrams: Register,
}

impl Conversations {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let hasher = KeyedState::new(hash_key);
        Self {
            connections: Register::new(CONNECTIONS_GENERATION, hasher),
            datagrams: Register::new(DATAGRAMS_GENERATION, hasher),
        }
    }

    const fn of(&mut self, kind: Kind) -> &mut Register {
        match kind {
            Kind::Connection => &mut self.connections,
            Kind::Datagrams => &mut self.datagrams,
        }
    }

    /// How the conversation between two sockets stands, whichever began; an open one lives on.
    pub(crate) fn find(
        &mut self,
        kind: Kind,
        sockets: [SocketAddr; 2],
        now: Instant,
    ) -> Option<Standing> {
        self.of(kind).find(sockets, now)
    }

    /// Two ends have begun to talk, or begin anew; `maker` sent the packet that says so.
    pub(crate) fn begin(&mut self, kind: Kind, ends: Ends, maker: PeerId) {
        let conversation = Conversation { ends, maker, standing: Standing::Open };
        self.of(kind).insert(conversation);
    }

    /// Whether somebody may be waiting for the answer to a datagram.
    pub(crate) fn has_datagrams(&self, now: Instant) -> bool {
        !self.datagrams.is_empty(now)
    }

    /// The rules have changed: ends what may not begin under them.
    pub(crate) fn judge_again(&mut self, may_begin: impl Fn(Kind, &Ends) -> bool) {
        self.connections.each(|conversation| {
            if !may_begin(Kind::Connection, &conversation.ends) {
                conversation.standing = Standing::Ended;
            }
            true
        });
        // A datagram says nothing of what it belongs to, so that each may begin anew.
        self.datagrams.each(|conversation| may_begin(Kind::Datagrams, &conversation.ends));
    }

    /// Peers come and go: forgets the conversations of which an end is another's now. Whoever has
    /// the addresses next has to ask for itself.
    pub(crate) fn retain_owners(&mut self, owner: impl Fn(IpAddr) -> Option<PeerId>) {
        let is_there = |end: &End| owner(end.socket.ip()) == Some(end.peer);
        for register in [&mut self.connections, &mut self.datagrams] {
            register
                .each(|Conversation { ends, .. }| is_there(&ends.first) && is_there(&ends.other));
        }
    }
}

/// The two sockets of a conversation in an order that does not depend on who speaks.
type Pair = [SocketAddr; 2];

fn pair(sockets: [SocketAddr; 2]) -> Pair {
    let [one, two] = sockets;
    if one <= two { [one, two] } else { [two, one] }
}

#[derive(Clone, Copy, Debug)]
struct Conversation {
    ends: Ends,
    /// In whose share it is.
    maker: PeerId,
    standing: Standing,
}

/// The conversations of a protocol. When there are too many, the older half is forgotten. A peer may
/// have as many as are left then, of others none is remembered: one that is alone has half, two have a
/// third each, and however many are greedy nothing of anybody else is forgotten for them.
#[derive(Debug)]
struct Register {
    current: Generation,
    previous: Generation,
    turned_at: Instant,
    /// How long a generation lasts at most.
    lasts: Duration,
}

impl Register {
    fn new(lasts: Duration, hasher: KeyedState) -> Self {
        let generation = || Generation::new(hasher);
        Self { current: generation(), previous: generation(), turned_at: Instant::ZERO, lasts }
    }

    fn find(&mut self, sockets: [SocketAddr; 2], now: Instant) -> Option<Standing> {
        let age = now.saturating_duration_since(self.turned_at);
        if age >= 2 * self.lasts {
            (self.current, self.previous) = (self.current.successor(), self.current.successor());
        }
        if age >= self.lasts || self.current.by_pair.len() >= CONVERSATIONS_MAX {
            let current = self.current.successor();
            self.previous = std::mem::replace(&mut self.current, current);
            self.turned_at = now;
        }
        let pair = pair(sockets);
        if let Some(known) = self.current.by_pair.get(&pair) {
            return Some(known.standing);
        }
        let known = *self.previous.by_pair.get(&pair)?;
        if known.standing == Standing::Open {
            self.current.insert(pair, known);
        }
        Some(known.standing)
    }

    fn insert(&mut self, conversation: Conversation) {
        let Ends { first, other } = conversation.ends;
        self.current.insert(pair([first.socket, other.socket]), conversation);
    }

    fn is_empty(&self, now: Instant) -> bool {
        let generations = [&self.current, &self.previous];
        generations.iter().all(|generation| generation.by_pair.is_empty())
            || now.saturating_duration_since(self.turned_at) >= 2 * self.lasts
    }

    /// Looks at each and keeps those that are to stay. In whichever order, for each is judged by
    /// itself.
    fn each(&mut self, mut stays: impl FnMut(&mut Conversation) -> bool) {
        for Generation { by_pair, made } in [&mut self.current, &mut self.previous] {
            by_pair.retain(|_, conversation| {
                let stays = stays(conversation);
                if !stays {
                    made.take(conversation.maker, 1);
                }
                stays
            });
        }
    }
}

/// The conversations of some time.
#[derive(Debug)]
struct Generation {
    by_pair: HashMap<Pair, Conversation, KeyedState>,
    /// How many each peer's packets made.
    made: Holdings,
}

impl Generation {
    fn new(hasher: KeyedState) -> Self {
        Self { by_pair: HashMap::with_hasher(hasher), made: Holdings::default() }
    }

    fn successor(&self) -> Self {
        Self::new(*self.by_pair.hasher())
    }

    /// Puts a conversation in the place of an earlier one of its pair, or adds it, unless its maker
    /// has its share.
    fn insert(&mut self, pair: Pair, conversation: Conversation) {
        if let Some(earlier) = self.by_pair.get_mut(&pair) {
            *earlier = Conversation { maker: earlier.maker, ..conversation };
            return;
        }
        let left = CONVERSATIONS_MAX.saturating_sub(self.by_pair.len());
        if self.made.of(conversation.maker) < left {
            self.made.add(conversation.maker, 1);
            self.by_pair.insert(pair, conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerId = PeerId::first(0);
    const BOB: PeerId = PeerId::first(1);

    fn socket(n: usize) -> SocketAddr {
        SocketAddr::new([10, (n / 62_500) as u8, (n / 250 % 250) as u8, (n % 250) as u8].into(), 1)
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn conversations() -> Conversations {
        Conversations::new((1, 2))
    }

    fn begin(conversations: &mut Conversations, peer: PeerId, first: usize, other: usize) {
        let end = |peer, n| End { peer, socket: socket(n) };
        let ends = Ends { first: end(peer, first), other: end(BOB, other) };
        conversations.begin(Kind::Datagrams, ends, peer);
    }

    fn find(conversations: &mut Conversations, one: usize, two: usize, secs: u64) -> bool {
        let sockets = [socket(one), socket(two)];
        conversations.find(Kind::Datagrams, sockets, at(secs)).is_some()
    }

    #[test]
    fn answers_belong_to_a_conversation_and_keep_it() {
        let mut conversations = conversations();
        assert!(!find(&mut conversations, 1, 2, 0));
        begin(&mut conversations, ALICE, 1, 2);
        for secs in (0..2_000).step_by(100) {
            assert!(find(&mut conversations, 2, 1, secs), "{secs}");
        }
        assert!(!find(&mut conversations, 2, 3, 0));
        assert!(!find(&mut conversations, 1, 2, 2_400));
    }

    #[test]
    fn conversations_are_bounded() {
        let mut conversations = conversations();
        for n in 0..4 * CONVERSATIONS_MAX {
            let peer = PeerId::first((n % 5) as u32);
            if !find(&mut conversations, n, n + 1, 0) {
                begin(&mut conversations, peer, n, n + 1);
            }
            assert!(conversations.datagrams.current.by_pair.len() <= CONVERSATIONS_MAX);
        }
        assert!(conversations.datagrams.previous.by_pair.len() <= CONVERSATIONS_MAX);
    }

    #[test]
    fn a_peer_that_talks_to_everybody_ends_no_conversation_of_others() {
        let mut conversations = conversations();
        begin(&mut conversations, BOB, 1, 0);
        for n in 2..4 * CONVERSATIONS_MAX {
            if !find(&mut conversations, n, n + 1, 0) {
                begin(&mut conversations, ALICE, n, n + 1);
            }
        }
        assert!(find(&mut conversations, 0, 1, 0));
    }

    #[test]
    fn two_peers_that_talk_to_everybody_end_no_conversation_of_a_third() {
        const CAROL: PeerId = PeerId::first(2);
        let mut conversations = conversations();
        begin(&mut conversations, CAROL, 1, 0);
        for n in 2..4 * CONVERSATIONS_MAX {
            let peer = [ALICE, BOB][n % 2];
            if !find(&mut conversations, n, n + 1, 0) {
                begin(&mut conversations, peer, n, n + 1);
            }
        }
        assert!(find(&mut conversations, 0, 1, 0));
        begin(&mut conversations, CAROL, 100_000, 0);
        assert!(find(&mut conversations, 100_000, 0, 0));
    }

    #[test]
    fn what_is_forgotten_is_in_nobodys_share() {
        let mut conversations = conversations();
        for round in 0..3 {
            for n in 0..CONVERSATIONS_MAX / 2 {
                begin(&mut conversations, ALICE, n, n + 1);
            }
            assert!(find(&mut conversations, 0, 1, 0), "{round}");
            conversations.judge_again(|_, _| false);
            assert!(!find(&mut conversations, 0, 1, 0), "{round}");
        }
    }
}
