//! Conversations of peers with each other, for the rules: which end began each.
//!
//! That is all that is known of them, for their packets pass as they are. It says what the rules
//! are asked about again when they change, and that answers belong to what was asked. What is not
//! known is never taken for more than it can be: see [the overlay](super).

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::flow::Protocol;
use crate::id::PeerId;
use crate::limits::Share;
use crate::stack::key::FlowKey;
use crate::stack::keyed_hash::KeyedState;
use crate::stack::limit::shares::Ranking;
use crate::time::Instant;

/// How long silent datagrams are remembered (RFC 4787, REQ-5: two minutes or more).
const DATAGRAMS_LAST: Duration = Duration::from_secs(150);
/// How long a silent connection is remembered (RFC 5382, REQ-5).
const CONNECTIONS_LAST: Duration = Duration::from_secs(2 * 60 * 60 + 4 * 60);
/// For how long one that was heard just now is not noted again, for the price of it.
const GRAIN: Duration = Duration::from_secs(1);
/// Conversations of each protocol that are remembered, at some 500 bytes each.
const CONVERSATIONS_MAX: usize = 32_768;

/// The protocols whose conversations are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConversationKind {
    Connection,
    Datagrams,
}

/// A socket of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConversationEnd {
    pub(crate) peer: PeerId,
    pub(crate) socket: SocketAddr,
}

/// The end that began, and the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConversationEnds {
    pub(crate) first: ConversationEnd,
    pub(crate) other: ConversationEnd,
}

impl ConversationEnds {
    /// The same if the other end began.
    pub(crate) const fn reversed(self) -> Self {
        Self { first: self.other, other: self.first }
    }

    /// What a flow of the first end to the other goes by, if a rule leads it elsewhere.
    pub(crate) const fn key(&self, protocol: Protocol) -> FlowKey {
        let Self { first, other } = self;
        FlowKey { protocol, peer: first.peer, inner: first.socket, outer: Some(other.socket) }
    }

    const fn sockets(&self) -> [SocketAddr; 2] {
        [self.first.socket, self.other.socket]
    }
}

/// Who began a conversation, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begun {
    ByFirst(ConversationEnds),
    /// It was under way when it was first seen.
    ByEither(ConversationEnds),
}

impl Begun {
    const fn ends(&self) -> &ConversationEnds {
        match self {
            Self::ByFirst(ends) | Self::ByEither(ends) => ends,
        }
    }
}

/// All conversations.
#[derive(Debug)]
pub(crate) struct Conversations {
    connections: Register,
    datagrams: Register,
    have_rules_changed: bool,
}

impl Conversations {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let hasher = KeyedState::new(hash_key);
        Self {
            connections: Register::new(CONNECTIONS_LAST, hasher),
            datagrams: Register::new(DATAGRAMS_LAST, hasher),
            have_rules_changed: false,
        }
    }

    const fn of(&mut self, kind: ConversationKind) -> &mut Register {
        match kind {
            ConversationKind::Connection => &mut self.connections,
            ConversationKind::Datagrams => &mut self.datagrams,
        }
    }

    /// Whether the conversation between two sockets is known, whichever began; it lives on then.
    pub(crate) fn know(
        &mut self,
        kind: ConversationKind,
        sockets: [SocketAddr; 2],
        now: Instant,
    ) -> bool {
        self.of(kind).know(sockets, now)
    }

    /// Two ends talk that did not before, or begin anew; `maker` sent the packet that says so.
    pub(crate) fn add(
        &mut self,
        kind: ConversationKind,
        begun: Begun,
        maker: PeerId,
        now: Instant,
    ) {
        self.of(kind).insert(begun, maker, now);
    }

    /// Whether the rules are others than those under which all that is not known may have begun.
    pub(crate) const fn have_rules_changed(&self) -> bool {
        self.have_rules_changed
    }

    /// Whether nothing hangs on what is remembered: nobody may be waiting for the answer to a
    /// datagram, and what is taken for a connection that goes on need not be known.
    pub(crate) fn are_at_rest(&self, now: Instant) -> bool {
        let needs_connections = self.have_rules_changed && !self.connections.is_empty(now);
        self.datagrams.is_empty(now) && !needs_connections
    }

    /// The rules have changed: forgets what may not have begun under them.
    pub(crate) fn judge_again(
        &mut self,
        may_begin: impl Fn(ConversationKind, &ConversationEnds) -> bool,
    ) {
        self.have_rules_changed = true;
        for (kind, register) in [
            (ConversationKind::Connection, &mut self.connections),
            (ConversationKind::Datagrams, &mut self.datagrams),
        ] {
            register.retain(|begun| match begun {
                Begun::ByFirst(ends) => may_begin(kind, ends),
                Begun::ByEither(ends) => may_begin(kind, ends) && may_begin(kind, &ends.reversed()),
            });
        }
    }

    /// Peers come and go: forgets the conversations of which an end is another's now. Whoever has
    /// the addresses next has to ask for itself.
    pub(crate) fn retain_owners(&mut self, owner: impl Fn(IpAddr) -> Option<PeerId>) {
        let is_there = |end: &ConversationEnd| owner(end.socket.ip()) == Some(end.peer);
        for register in [&mut self.connections, &mut self.datagrams] {
            register.retain(|begun| {
                let ConversationEnds { first, other } = begun.ends();
                is_there(first) && is_there(other)
            });
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
    begun: Begun,
    /// In whose share it is.
    maker: PeerId,
    heard_at: Instant,
    /// In the order.
    place: Place,
}

/// The slot of the maker, and a number that rises.
type Place = (usize, u64);

/// The conversations of a protocol. At its share a peer loses the one of its own that was silent
/// for longest; when there are too many the peer with most does.
#[derive(Debug)]
struct Register {
    by_pair: HashMap<Pair, Conversation, KeyedState>,
    /// How many each peer's packets made.
    made: Ranking,
    /// Those of each peer, as they were heard.
    order: BTreeMap<Place, Pair>,
    next_number: u64,
    /// When any was heard.
    heard_at: Instant,
    /// How long a silent one is remembered.
    last: Duration,
}

impl Register {
    fn new(last: Duration, hasher: KeyedState) -> Self {
        Self {
            by_pair: HashMap::with_hasher(hasher),
            made: Ranking::default(),
            order: BTreeMap::new(),
            next_number: 0,
            heard_at: Instant::ZERO,
            last,
        }
    }

    fn know(&mut self, sockets: [SocketAddr; 2], now: Instant) -> bool {
        let pair = pair(sockets);
        let Some(known) = self.by_pair.get(&pair) else { return false };
        let silent = now.saturating_duration_since(known.heard_at);
        if silent >= GRAIN && silent < self.last {
            let (begun, maker) = (known.begun, known.maker);
            self.put(pair, begun, maker, now);
        }
        silent < self.last
    }

    /// Puts a conversation in the place of an earlier one of its pair, or adds it.
    fn insert(&mut self, begun: Begun, maker: PeerId, now: Instant) {
        let pair = pair(begun.ends().sockets());
        let leaving = self.by_pair.get(&pair).map(|earlier| earlier.maker);
        let (max, share) = (CONVERSATIONS_MAX, Share::HALF);
        if let Some(giver) = self.made.who_gives_way(maker, max, share, leaving.into_iter()) {
            self.forget_oldest(giver);
        }
        self.put(pair, begun, maker, now);
    }

    /// At the end of the order.
    fn put(&mut self, pair: Pair, begun: Begun, maker: PeerId, now: Instant) {
        let place = (maker.slot(), self.next_number);
        self.next_number += 1;
        self.heard_at = now;
        let conversation = Conversation { begun, maker, heard_at: now, place };
        if let Some(earlier) = self.by_pair.insert(pair, conversation) {
            self.order.remove(&earlier.place);
            self.made.take(earlier.maker, 1);
        }
        self.order.insert(place, pair);
        self.made.add(maker, 1);
    }

    fn forget_oldest(&mut self, maker: PeerId) {
        let slot = maker.slot();
        let Some((&place, &pair)) = self.order.range((slot, 0)..=(slot, u64::MAX)).next() else {
            return;
        };
        self.order.remove(&place);
        self.by_pair.remove(&pair);
        self.made.take(maker, 1);
    }

    fn is_empty(&self, now: Instant) -> bool {
        self.by_pair.is_empty() || now.saturating_duration_since(self.heard_at) >= self.last
    }

    fn retain(&mut self, mut stays: impl FnMut(&Begun) -> bool) {
        let Self { by_pair, made, order, .. } = self;
        order.retain(|_, pair| {
            let Some(known) = by_pair.get(pair) else { return false };
            let (maker, stays) = (known.maker, stays(&known.begun));
            if !stays {
                by_pair.remove(pair);
                made.take(maker, 1);
            }
            stays
        });
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
        let end = |peer, n| ConversationEnd { peer, socket: socket(n) };
        let ends = ConversationEnds { first: end(peer, first), other: end(BOB, other) };
        conversations.add(ConversationKind::Datagrams, Begun::ByFirst(ends), peer, Instant::ZERO);
    }

    fn find(conversations: &mut Conversations, one: usize, two: usize, secs: u64) -> bool {
        let sockets = [socket(one), socket(two)];
        conversations.know(ConversationKind::Datagrams, sockets, at(secs))
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
            let Register { by_pair, made, order, .. } = &conversations.datagrams;
            assert!(by_pair.len() <= CONVERSATIONS_MAX);
            assert!(made.total() == by_pair.len() && order.len() == by_pair.len());
        }
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
    fn a_peer_at_its_share_loses_what_was_silent_for_longest() {
        let mut conversations = conversations();
        begin(&mut conversations, ALICE, 1, 0);
        begin(&mut conversations, ALICE, 2, 0);
        for n in 3..2 * CONVERSATIONS_MAX {
            let secs = n as u64 / 1_000;
            begin(&mut conversations, ALICE, n, 0);
            assert!(find(&mut conversations, 0, n, secs), "the latest");
            assert!(find(&mut conversations, 0, 1, secs), "it goes on");
        }
        assert!(!find(&mut conversations, 0, 2, 0));
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
