//! TCP segments of peers: each goes to its connection, opens one, or is refused.

use smoltcp::wire::TcpPacket;

use crate::action::Action;
use crate::flow::Abort;
use crate::id::{FlowId, PeerId};
use crate::outcome::FlowOutcome;
use crate::policy::{Denial, Toward};
use crate::stack::Stack;
use crate::stack::answer::Cause;
use crate::stack::key::{Ends, FlowKey};
use crate::stack::limit::room::Full;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::packet::Packet;
use crate::stack::table::{FlowKind, new_meta};
use crate::stack::tcp::{self, FlowStage, Straggler, TcpFlow};
use crate::stats::Counter;
use crate::time::Instant;

impl Stack {
    /// The TCP flow that a packet belongs to.
    pub(super) fn flow_of_segment(&self, peer: PeerId, packet: &Packet<'_>) -> Option<FlowId> {
        self.flows.find(&FlowKey::of_connection(packet.ends(peer)?))
    }

    /// Whether a segment is the next that its connection waits for. Of others each has its own
    /// answer: by the number of those the far end knows that something was lost.
    pub(super) fn is_next(&self, id: FlowId, packet: &Packet<'_>) -> bool {
        let connection = self.flows.get(id).and_then(|flow| flow.tcp()?.connection());
        let sequence = TcpPacket::new_unchecked(packet.transport_bytes()).seq_number();
        connection.is_some_and(|connection| connection.waits_for(sequence))
    }

    /// Takes a segment that is of no flow so far.
    pub(super) fn handle_tcp(
        &mut self,
        ends: Ends,
        packet: Packet<'_>,
        toward: Toward,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let key = FlowKey::of_connection(ends);
        if let Some(id) = self.flows.find(&key) {
            return self.handle_segment(id, packet, outlet, now);
        }
        let segment = TcpPacket::new_unchecked(packet.transport_bytes());
        let straggler = self.time_waits.handle_segment(&key, &segment, now);
        match straggler {
            Some(Straggler::Acknowledge(standing)) => {
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                let control = smoltcp::wire::TcpControl::None;
                return tcp::send_standing(ends, standing, control, &mut exit);
            }
            Some(Straggler::Ignore) => return outlet.count(key.peer, Counter::DropNoFlow),
            Some(Straggler::NewConnection) | None => {}
        }
        let opens = segment.syn() && !segment.ack() && !segment.rst() && !segment.fin();
        let opened = if opens {
            self.open_connection(ends, &packet, toward, outlet, now)
        } else {
            Err(Cause::NoFlow(self.decide(&key, ends.local, toward, outlet).err()))
        };
        if let Err(cause) = opened {
            self.refuse(key.peer, &packet, cause, outlet, now);
        }
    }

    /// Offers the connection that a SYN asks for to the embedder.
    fn open_connection(
        &mut self,
        ends: Ends,
        syn: &Packet<'_>,
        toward: Toward,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<(), Cause> {
        let key = FlowKey::of_connection(ends);
        let denied = |denial| Cause::Denied(denial, toward);
        let offer = self.decide(&key, ends.local, toward, outlet).map_err(denied)?;
        // It could not be answered: no connection is from port 0.
        if ends.remote.port() == 0 {
            return Err(denied(Denial::Closed));
        }
        let meta = new_meta(key, ends.remote, ends.local, offer, outlet);
        let meta = meta.ok_or(denied(Denial::Dropped))?;
        let room = self.make_room_for_offer(&key, &meta.target, outlet);
        room.map_err(|Full(bound)| Cause::Limit(bound))?;
        let flow = TcpFlow::offered(syn, now);
        self.flows.enter_half_open(key.peer);
        let id = self.insert(key, meta, FlowKind::Tcp(flow), outlet, now);
        self.tcp_timers.set(id.slot(), Some(now + self.tcp.connect_timeout));
        self.actions.push_back(Action::Open(id));
        outlet.count(key.peer, Counter::TcpOpened);
        Ok(())
    }

    pub(super) fn handle_segment(
        &mut self,
        id: FlowId,
        packet: Packet<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let peer = flow.key.peer;
        let Some(tcp) = flow.tcp_mut() else { return };
        match tcp.stage() {
            FlowStage::Offered(syn) => {
                // A repeated SYN is the same attempt; a reset takes it back.
                let header_len = packet.bytes().len() - packet.transport_bytes().len();
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let syn = syn.get(header_len..).and_then(|syn| TcpPacket::new_checked(syn).ok());
                if syn.is_some_and(|syn| tcp::takes_back(&syn, &segment)) {
                    self.actions.push_back(Action::Aborted(id, Abort::Reset));
                    self.remove(id, FlowOutcome::PeerReset, outlet);
                }
            }
            FlowStage::Live(connection) => {
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let growth = connection.growth(&segment);
                if growth > 0 && growth > self.memory.room(peer) {
                    outlet.count(peer, Counter::DropMemory);
                    return self.memory.handle_held_up(peer, now);
                }
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp.handle_segment(packet, &mut exit, now);
                if tcp.has_ended() {
                    self.free_ends(id, now);
                }
                self.account(id);
                self.make_ready(id);
            }
        }
    }

    /// A connection has ended in the tunnel, even if what came of it is still to be read. What the
    /// far end says from now on is about no flow.
    fn free_ends(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = self.flows.get(id) else { return };
        if let Some(standing) = flow.tcp().and_then(TcpFlow::final_standing) {
            self.time_waits.insert(flow.key, standing, now);
        }
        self.flows.free_key(id);
    }
}
