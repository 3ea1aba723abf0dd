//! Connections that peers want and that have not been begun: a few in each turn, and every peer
//! in turn. A connect costs many times what the SYN that asks for it does, so that a peer with a
//! burst of them would hold up everybody else.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use slipwire_core::{FlowId, PublicKey};

/// Connects begun before others have their turn.
pub(crate) const CONNECTS_MAX: usize = 32;

/// Flows of one peer that wait. Most of them are over already where there are so many: core gives
/// up the oldest at its limits.
const WAITING_MAX: usize = 16 << 10;

/// The flows that wait.
#[derive(Debug, Default)]
pub(crate) struct ConnectQueue {
    /// Those of each peer that has any.
    waiting: HashMap<PublicKey, VecDeque<FlowId>>,
    /// These peers, the one whose turn it is first.
    turns: VecDeque<PublicKey>,
}

impl ConnectQueue {
    /// Lets a peer's flow wait, behind the others of that peer. Returns the first of those if it
    /// has to make room.
    pub(crate) fn push(&mut self, peer: PublicKey, flow: FlowId) -> Option<FlowId> {
        let flows = self.waiting.entry(peer).or_default();
        if flows.is_empty() {
            self.turns.push_back(peer);
        }
        flows.push_back(flow);
        if flows.len() > WAITING_MAX { flows.pop_front() } else { None }
    }

    /// The flow whose turn it is. It may be over by now.
    pub(crate) fn pop(&mut self) -> Option<FlowId> {
        let peer = self.turns.pop_front()?;
        let Entry::Occupied(mut flows) = self.waiting.entry(peer) else { return None };
        let flow = flows.get_mut().pop_front();
        if flows.get().is_empty() {
            flows.remove();
        } else {
            self.turns.push_back(peer);
        }
        flow
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use slipwire_core::config::{Interface, Parts, Peer};
    use slipwire_core::{Config, Engine, Instant, PrivateKey};

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_entropy([seed; 32])
    }

    /// Ids as only an engine makes them.
    fn flows() -> Vec<FlowId> {
        let peer = Peer::new(key(2).public_key());
        let interface = Interface::new(key(1), ["10.0.0.1/24".parse().unwrap()]);
        let mut parts = Parts::new(interface);
        parts.peers.push(peer.with_allowed_ips(["0.0.0.0/0".parse().unwrap()]));
        let mut engine = Engine::new(&Config::new(parts).unwrap(), [7; 32], Instant::ZERO);
        let target = "10.0.0.2:53".parse().unwrap();
        (0..10).map(|_| engine.open_udp(target, Instant::ZERO).unwrap()).collect()
    }

    #[test]
    fn a_peer_with_many_flows_holds_up_nobody_for_more_than_one() {
        let flows = flows();
        let (many, one) = (key(3).public_key(), key(4).public_key());
        let mut queue = ConnectQueue::default();
        for flow in &flows[..9] {
            assert_eq!(queue.push(many, *flow), None);
        }
        assert_eq!(queue.push(one, flows[9]), None);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order[..3], [flows[0], flows[9], flows[1]]);
        assert_eq!(order[3..], flows[2..9]);
        assert!(queue.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn the_first_that_waits_makes_room_for_the_last() {
        let flows = flows();
        let peer = key(3).public_key();
        let mut queue = ConnectQueue::default();
        for at in 0..WAITING_MAX {
            let flow = flows[usize::from(at > 0)];
            assert_eq!(queue.push(peer, flow), None);
        }
        assert_eq!(queue.push(peer, flows[2]), Some(flows[0]));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((order.len(), order.last()), (WAITING_MAX, Some(&flows[2])));
    }
}
