//! What core has for the driver: actions, datagrams and trains, and the turns of flows between
//! them.

use slipwire_core::{Action, Instant};

use super::Driver;
use crate::host::send::Fate;
use crate::wireguard::TRAINS_PER_TURN;

/// Datagrams that services get before what they answer leaves: core keeps a few trains, and each
/// answer may be one of its own.
const SERVED: usize = 16;

/// Outputs.
impl Driver {
    /// The next action; if none waits flows have their turn first.
    pub(super) fn next_action(&mut self, now: Instant) -> Option<Action> {
        self.engine.poll_action().or_else(|| {
            self.engine.service(now);
            self.engine.poll_action()
        })
    }

    /// Sends trains, and has flows make more as soon as those have left, within a budget. Says
    /// whether there were any.
    pub(super) fn transmit(&mut self, now: Instant) -> bool {
        let mut sent = 0;
        while sent < TRAINS_PER_TURN {
            while self.engine.poll_transmit().is_none() && self.engine.service(now) {}
            let trains = self.wireguard.transmit(&mut self.engine, now);
            sent += trains;
            if trains == 0 || self.wireguard.is_blocked() {
                break;
            }
        }
        sent > 0
    }

    /// Sends datagrams to hosts. Says whether there were any.
    pub(super) fn send_datagrams(&mut self, now: Instant) -> bool {
        let (mut acted, mut served) = (false, 0_usize);
        while let Some(datagram) = self.engine.poll_datagram() {
            let flow = datagram.flow;
            let fate = self.host.fate(flow, datagram.remote, &self.engine);
            match &fate {
                Fate::Sent => self.host.send_datagram(&datagram, now),
                Fate::HeldBack(barrier) => self.host.hold_back(&datagram, barrier, now),
                Fate::Served => self.host.take(&datagram),
            }
            self.engine.delivered(flow);
            acted = true;
            if let Fate::Served = fate {
                self.host.deliver(flow, &mut self.engine, now);
                served += 1;
                if served % SERVED == 0 {
                    self.wireguard.transmit(&mut self.engine, now);
                }
            }
        }
        self.host.flush(now);
        while let Some((flow, undelivered)) = self.host.pop_undelivered() {
            // A flow that is over by now has nobody to tell.
            if let Ok(mut flow) = self.engine.flow(flow) {
                flow.undelivered(undelivered, now);
            }
        }
        acted
    }
}
