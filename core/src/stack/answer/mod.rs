//! What a peer is told instead of data.
//!
//! - [`table`]: what is said and counted, for each cause.
//! - [`undelivered`]: the network has not delivered a datagram that the peer sent: its headers are
//!   written anew, to be answered like a packet.
//! - [`rate`]: how many ICMP errors a peer gets.
//! - [`report`]: what whoever listens hears of refusals.
//!
//! Here is the one way from a cause to its answer, whatever was refused. Flows that are there and
//! end are not refused: their reset is [`Stack::abort`]'s.

mod rate;
mod report;
mod table;
mod undelivered;

use smoltcp::wire::TcpPacket;

use crate::address::is_one_host;
use crate::id::{FlowId, PeerId};
use crate::stack::Stack;
pub(super) use crate::stack::answer::rate::ErrorRates;
pub(super) use crate::stack::answer::table::Cause;
use crate::stack::answer::table::{Answer, Asker, Row, Speaker, row};
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::packet::icmp::{self, Version};
use crate::stack::packet::{Packet, Transport, write_icmp};
use crate::stack::tcp::{self, FlowStage, TcpFlow};
use crate::stats::Counter;
use crate::time::Instant;

impl Stack {
    /// Refuses a packet: counts the cause, and answers as the [table] says if the packet may be
    /// answered at all.
    pub(super) fn refuse(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        cause: Cause,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let answer = self.count_cause(peer, packet.transport.into(), cause, outlet);
        self.report_packet(peer, packet, cause, outlet);
        if may_be_answered(packet) {
            self.answer(peer, packet, answer, outlet, now);
        }
    }

    /// Refuses a connection that the embedder was offered: its SYN waits for an answer.
    pub(super) fn refuse_offer(
        &mut self,
        id: FlowId,
        cause: Cause,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get(id) else { return };
        let peer = flow.key.peer;
        let Some(FlowStage::Offered(syn)) = flow.tcp().map(TcpFlow::stage) else { return };
        let mut syn = syn.clone();
        // The SYN was parsed when it came.
        if let Ok(packet) = Packet::parse(&mut syn) {
            self.refuse(peer, &packet, cause, outlet, now);
        }
    }

    /// Counts the cause, and says what the peer is told.
    fn count_cause(
        &self,
        peer: PeerId,
        asker: Asker,
        cause: Cause,
        outlet: &mut dyn Outlet,
    ) -> Answer {
        let Row { counter, answer } = row(cause, asker, self.tcp.refused);
        if let Some(counter) = counter {
            outlet.count(peer, counter);
        }
        answer
    }

    /// Tells a peer what became of its packet.
    fn answer(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        answer: Answer,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        match answer {
            Answer::Reset => {
                let Some(ends) = packet.ends(peer) else { return };
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp::refuse_segment(ends, &segment, &mut exit);
            }
            Answer::Error(reason, speaker) => {
                if !self.error_rates.take(peer, now) {
                    return outlet.count(peer, Counter::DropIcmpRate);
                }
                let to = packet.source;
                let from = match speaker {
                    Speaker::Router => self.own_address_for(to).unwrap_or(packet.destination),
                    Speaker::Destination => packet.destination,
                    Speaker::Hop(hop) => hop,
                };
                let (head, quote) = reason.error(Version::of(to), packet.bytes());
                if let Some(len) = write_icmp(&mut self.scratch, from, to, &head, quote) {
                    outlet.send(peer, &mut self.scratch, len);
                }
            }
            Answer::Silence => {}
        }
    }
}

/// Whether a packet may be answered with an error or a reset: it is no error itself, and only one
/// host has it (RFC 1122, sections 3.2.2 and 4.2.3.10).
fn may_be_answered(packet: &Packet<'_>) -> bool {
    let is_error = packet.transport == Transport::Icmp
        && icmp::is_error(Version::of(packet.source), packet.transport_bytes());
    !is_error && is_one_host(packet.destination)
}
