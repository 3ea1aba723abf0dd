//! What limits let in: one more flow, and who gives way for it.
//!
//! At a bound the peer that holds most of it gives up the flow that is missed least, by its
//! [sort](Sort):
//!
//! | bound | what goes |
//! |---|---|
//! | connects under way | the oldest |
//! | TCP flows | the oldest connect under way, or the connection that has been idle for longest |
//! | UDP, ICMP mappings | the one nearest to its end |
//! | host sockets | the oldest connect or the mapping nearest to its end, of what the peer has more of; or a connection |
//!
//! A connection goes only for another peer's flow, with a reset: nobody's new flows end his own
//! (RFC 6888, REQ-11, asks for that of all flows, and would let some peers lock others out). A
//! connect that goes is not answered, so that the peer asks again while it wants an answer.
//!
//! Where the bound itself comes down those give way who are above it, connections last.

use crate::action::Action;
use crate::flow::{Abort, Target};
use crate::id::{FlowId, PeerId};
use crate::outcome::FlowOutcome;
use crate::stack::Stack;
use crate::stack::key::FlowKey;
use crate::stack::limit::bound::{Bound, bounds};
use crate::stack::limit::eviction::Sort;
use crate::stack::outlet::Outlet;
use crate::stats::Counter;

/// There is no room at this bound, and nobody may give way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full(pub(crate) Bound);

/// Room for one more flow, once these have ended.
#[derive(Debug)]
pub(in crate::stack) struct Room(Vec<FlowId>);

impl Stack {
    /// Makes room for a connection that is offered to the embedder.
    pub(in crate::stack) fn make_room_for_offer(
        &mut self,
        key: &FlowKey,
        target: &Target,
        outlet: &mut dyn Outlet,
    ) -> Result<(), Full> {
        let half_open = [Bound::HalfOpen].into_iter();
        let room = self.find_room_at(bounds(key.protocol, target).chain(half_open), key)?;
        self.clear(room, outlet);
        Ok(())
    }

    /// Makes room for one more flow.
    pub(in crate::stack) fn make_room(
        &mut self,
        key: &FlowKey,
        target: &Target,
        outlet: &mut dyn Outlet,
    ) -> Result<(), Full> {
        let room = self.find_room(key, target)?;
        self.clear(room, outlet);
        Ok(())
    }

    /// Finds room for one more flow. Nothing ends before it is [cleared](Self::clear).
    pub(in crate::stack) fn find_room(
        &mut self,
        key: &FlowKey,
        target: &Target,
    ) -> Result<Room, Full> {
        self.find_room_at(bounds(key.protocol, target), key)
    }

    /// Finds room at all these bounds, or has nobody give way at any.
    fn find_room_at(
        &mut self,
        bounds: impl Iterator<Item = Bound>,
        newcomer: &FlowKey,
    ) -> Result<Room, Full> {
        let mut leaving = Vec::new();
        for bound in bounds {
            if let Some(giver) = self.flows.who_gives_way(bound, newcomer.peer, &leaving) {
                let victim = self.victim(bound, giver, Some(newcomer.peer));
                leaving.push(victim.ok_or(Full(bound))?);
            }
        }
        Ok(Room(leaving))
    }

    /// From now on there are no more host sockets than that.
    pub(in crate::stack) fn set_socket_limit(&mut self, sockets: usize, outlet: &mut dyn Outlet) {
        self.flows.set_socket_limit(sockets);
        while self.flows.held(Bound::Sockets).total() > sockets
            && let Some((giver, _)) = self.flows.held(Bound::Sockets).most()
            && let Some(victim) = self.victim(Bound::Sockets, giver, None)
        {
            self.give_way(victim, outlet);
        }
    }

    /// Has those end that have to.
    pub(in crate::stack) fn clear(&mut self, room: Room, outlet: &mut dyn Outlet) {
        for id in room.0 {
            self.give_way(id, outlet);
        }
    }

    /// The flow of `giver` that is missed least. It makes room for one of `newcomer`, if for any.
    fn victim(&mut self, bound: Bound, giver: PeerId, newcomer: Option<PeerId>) -> Option<FlowId> {
        let connecting = &[Sort::Connecting][..];
        let (first, second) = match bound {
            Bound::HalfOpen | Bound::Tcp => (connecting, &[][..]),
            Bound::Udp => (&[Sort::Udp, Sort::UdpClient][..], &[][..]),
            Bound::Icmp => (&[Sort::Echo][..], &[][..]),
            Bound::Sockets => {
                let mappings = &[Sort::Udp, Sort::Echo][..];
                let of = |bound| self.flows.held(bound).of(giver);
                if of(Bound::HalfOpen) > of(Bound::Udp) + of(Bound::Icmp) {
                    (connecting, mappings)
                } else {
                    (mappings, connecting)
                }
            }
        };
        let connections = match bound {
            Bound::Tcp => &[Sort::Connected, Sort::Served][..],
            Bound::Sockets => &[Sort::Connected][..],
            Bound::Udp | Bound::Icmp | Bound::HalfOpen => &[][..],
        };
        let connections = if newcomer == Some(giver) { &[] } else { connections };
        [first, second, connections].into_iter().find_map(|sorts| self.first_of(giver, sorts))
    }

    /// The flow of a peer, of any of these sorts, that goes first.
    fn first_of(&mut self, peer: PeerId, sorts: &[Sort]) -> Option<FlowId> {
        let Self { flows, eviction, .. } = self;
        let time = |slot| Some(flows.get(flows.current(slot)?)?.turn());
        let first = sorts.iter().filter_map(|sort| eviction.first(peer, *sort, time)).min();
        flows.current(first?.1)
    }

    fn give_way(&mut self, id: FlowId, outlet: &mut dyn Outlet) {
        let Some(key) = self.flows.get(id).map(|flow| flow.key) else { return };
        outlet.count(key.peer, Counter::GaveWay);
        if self.is_offered(id) {
            self.actions.push_back(Action::Aborted(id, Abort::Limit));
            self.remove(id, FlowOutcome::GaveWay, outlet);
        } else {
            self.abort(id, Abort::Limit, outlet);
        }
    }

    /// Puts a flow where it stands among those that may have to go.
    pub(in crate::stack) fn enter_eviction_order(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get(id) {
            self.eviction.insert(flow.key.peer, flow.sort(), flow.turn(), id.slot());
        }
    }
}
