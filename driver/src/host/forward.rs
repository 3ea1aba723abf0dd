//! A local client wants into the tunnel: opens a flow for it, or turns it away. Forwards come and
//! go while there are clients.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use slipwire_core::{Engine, Instant};

use super::stream;
use super::tcp::Connection;
use super::{Host, HostLeg};
use crate::datagrams::batches::{FAILURES_MAX, ReceivedFrom};
use crate::descriptors;
use crate::error::StartError;
use crate::listen::Listener;
use crate::listen::table::ForwardId;
use crate::settings::Forward;
use crate::token::Origin;

/// Clients of one forward that are accepted before others have their turn, and before what makes
/// room for them gives its descriptors back.
const ACCEPTS: usize = 32;

const _: () = assert!(ACCEPTS < descriptors::RESERVE);

/// Forwards that come and go.
impl Host {
    /// Binds one more. In an error `index` names it.
    pub(crate) fn add_forward(
        &mut self,
        forward: Forward,
        index: usize,
    ) -> Result<ForwardId, StartError> {
        self.forwards.bind(forward, index, &self.registry)
    }

    /// Closes a listener, and ends the flows of clients that share its socket. Returns what it was.
    pub(crate) fn remove_forward(
        &mut self,
        id: ForwardId,
        engine: &mut Engine,
        now: Instant,
    ) -> Option<Forward> {
        let (place, forward) = self.forwards.remove(id)?;
        let is_its_client = |_, leg: &HostLeg| match leg {
            HostLeg::Client { listener, .. } => *listener == place,
            HostLeg::Tcp(_)
            | HostLeg::Datagrams(_)
            | HostLeg::ServedStream(_)
            | HostLeg::ServedDatagrams(_) => false,
        };
        let flows = self.flows.matching(is_its_client);
        self.end(&flows, "its forward is removed", engine, now);
        Some(forward)
    }

    /// How many flows may have a socket of their own from now on. Those that have one keep it.
    pub(crate) const fn limit_sockets(&mut self, sockets_max: usize) {
        self.sockets_max = sockets_max;
    }
}

/// Clients.
impl Host {
    /// Accepts clients of a TCP forward, within a budget.
    pub(crate) fn accept(&mut self, index: usize, engine: &mut Engine, now: Instant) {
        for _ in 0..ACCEPTS {
            let Some(Listener::Tcp(forward)) = self.forwards.listener_mut(index) else { return };
            forward.handle_timeout(now);
            let Some((stream, client)) = forward.accept(&mut self.lost_clients, now) else {
                return;
            };
            let to = forward.to();
            self.admit(stream, client, to, engine, now);
        }
    }

    /// Opens a flow for a client. One that can't have it is told so by a reset.
    fn admit(
        &mut self,
        stream: TcpStream,
        client: SocketAddr,
        to: SocketAddr,
        engine: &mut Engine,
        now: Instant,
    ) {
        let flow = match engine.open_tcp(to, now) {
            Ok(flow) => flow,
            Err(error) => {
                log::debug!("tcp from {client} to {to}: {error}");
                return stream::reset(&stream);
            }
        };
        log::debug!("{flow:?}: tcp from {client} to {to}");
        let token = Origin::Flow(self.flows.next_key()).token();
        match Connection::accepted(stream, self.keepalive, token, &self.registry) {
            Ok(connection) => {
                self.flows.insert(flow, HostLeg::Tcp(connection));
            }
            Err(error) => {
                log::debug!("{flow:?}: {error}");
                if let Ok(flow) = engine.flow(flow) {
                    flow.abort(now);
                }
            }
        }
    }

    /// Takes a batch of datagrams of a UDP forward's clients.
    pub(crate) fn take_datagrams(&mut self, index: usize, engine: &mut Engine, now: Instant) {
        let Self { forwards, flows, batches, lost_datagrams, .. } = self;
        let Some(Listener::Udp(forward)) = forwards.listener_mut(index) else { return };
        let to = forward.to();
        for _ in 0..FAILURES_MAX {
            let received = forward.receive(batches, |clients, from, datagram| {
                let ReceivedFrom { remote: client, traffic_class: class } = from;
                let taken = datagram.map_err(io::Error::from).and_then(|payload| {
                    let known = clients.flow(client);
                    if let Some(mut flow) = known.and_then(|flow| engine.flow(flow).ok()) {
                        flow.send_datagram(to, class, payload, now);
                        return Ok(());
                    }
                    // The client is new, or the flow that it had is over.
                    let flow = engine.open_udp(to, now).map_err(io::Error::other)?;
                    log::debug!("{flow:?}: udp from {client} to {to}");
                    clients.add(client, flow);
                    flows.insert(flow, HostLeg::Client { listener: index, client });
                    // A flow that is over already has an action on the way that says so.
                    if let Ok(mut flow) = engine.flow(flow) {
                        flow.send_datagram(to, class, payload, now);
                    }
                    Ok(())
                });
                if let Err(error) = taken {
                    lost_datagrams.report(&error, now);
                }
            });
            match received {
                Ok(()) => return,
                Err(error) => lost_datagrams.report(&error, now),
            }
        }
        forward.rest();
    }
}
