//! Datagrams on their way to hosts: each may go, is held back, or is for the embedder itself.

use std::net::SocketAddr;

use slipwire_core::{Datagram, Engine, FlowId, Instant, Loss, Refusal, Target, Undelivered};

use super::guard::Barrier;
use super::{Host, HostLeg, echo};
use crate::listen::Listener;
use crate::refusal::datagram_refusal;

/// What becomes of a datagram of a flow.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is sent to where it goes.
    Sent,
    /// It is not.
    HeldBack(Barrier),
    /// A service of the embedder gets it.
    Served,
}

impl Host {
    /// What is to become of a flow's datagram.
    pub(crate) fn fate(&mut self, flow: FlowId, remote: SocketAddr, engine: &Engine) -> Fate {
        // Without a guard this is no gateway, and no flow is a peer's.
        let guard = self.guard.as_mut().filter(|guard| !guard.has_just_passed(flow, remote));
        let (Some(guard), Some(meta)) = (guard, engine.meta(flow)) else { return Fate::Sent };
        match meta.target {
            Target::Host(_) => guard
                .admit_datagram(flow, meta.protocol, remote, engine)
                .map_or_else(Fate::HeldBack, |()| Fate::Sent),
            Target::Embedder => Fate::Served,
            Target::Unix(_) | Target::Client => Fate::Sent,
        }
    }

    /// Does not send a datagram, and says so to its peer.
    pub(crate) fn hold_back(&mut self, datagram: &Datagram<'_>, barrier: &Barrier, now: Instant) {
        let refusal = match barrier {
            Barrier::Host => Some(Refusal::Protected),
            Barrier::NoRoute(error) => {
                self.lost_datagrams.report(error, now);
                datagram_refusal(error)
            }
        };
        if let Some(refusal) = refusal {
            let Datagram { flow, remote, payload, .. } = *datagram;
            let echo_sequence = echo::sequence(payload);
            let loss = Loss::Refused(refusal);
            self.undelivered.push((flow, Undelivered { remote, echo_sequence, loss }));
        }
    }

    /// Sends a datagram to the host, at the latest with [`flush`](Self::flush).
    pub(crate) fn send_datagram(&mut self, datagram: &Datagram<'_>, now: Instant) {
        if !self.outgoing.takes(datagram) {
            self.flush(now);
        }
        self.outgoing.push(datagram);
    }

    /// Sends the datagrams that wait for others.
    pub(crate) fn flush(&mut self, now: Instant) {
        let Self { flows, forwards, batches, outgoing, undelivered, lost_datagrams, .. } = self;
        let Some(train) = outgoing.train() else { return };
        let flow = train.heading.flow;
        match flows.by_flow(flow) {
            Some((_, HostLeg::Datagrams(socket))) => {
                let undelivered = |what| undelivered.push((flow, what));
                socket.send(&train, batches, undelivered, lost_datagrams, now);
            }
            Some((_, HostLeg::Client { listener, client })) => {
                if let Some(Listener::Udp(forward)) = forwards.listener_mut(*listener) {
                    forward.reply(*client, &train, batches, lost_datagrams, now);
                }
            }
            Some((_, HostLeg::Tcp(_) | HostLeg::ServedStream(_) | HostLeg::ServedDatagrams(_)))
            | None => {}
        }
        outgoing.clear();
    }

    /// What a peer is to be told of a datagram that could not be sent.
    pub(crate) fn pop_undelivered(&mut self) -> Option<(FlowId, Undelivered)> {
        self.undelivered.pop()
    }
}
