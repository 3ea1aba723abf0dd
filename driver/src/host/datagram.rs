//! The host leg of a UDP or ICMP flow: a socket that is connected to nobody, since a mapping
//! speaks with any number of hosts (RFC 4787, REQ-1).

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use slipwire_core::{Engine, Flow, FlowId, Instant, Loss, Travel, Undelivered};

use super::echo;
use super::error_queue::{self, QueuedError};
use super::work::Work;
use crate::datagrams::batches::{Batches, FAILURES_MAX, ReceivedFrom, Trains};
use crate::datagrams::family::Family;
use crate::datagrams::train::{Heading, Train};
use crate::datagrams::ttl_and_df;
use crate::incidents::Incidents;
use crate::refusal::datagram_refusal;

/// Errors about datagrams that were sent, which one socket hands over before others have their
/// turn: who sends to closed ports does not starve their neighbours.
const ERRORS: usize = 8;

/// A host socket of datagrams. The flags say "maybe": events raise them, and only a call that
/// brought nothing lowers them.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    socket: UdpSocket,
    family: Family,
    /// How the datagrams travel that it sends now.
    travel: Option<Travel>,
    /// The last datagram that was too big to send. The system has queued what would fit.
    oversize: Option<Oversize>,
    readable: bool,
    /// Errors about datagrams that were sent are waiting.
    has_errors: bool,
    /// Of a UDP socket.
    trains: Option<Trains>,
}

/// A datagram that did not fit into the system's path to its remote.
#[derive(Clone, Copy, Debug)]
struct Oversize {
    remote: SocketAddr,
    echo_sequence: Option<u16>,
}

impl DatagramSocket {
    /// Takes over a socket that does not block, a UDP socket if it `takes_trains`.
    pub(crate) fn register(
        socket: StdSocket,
        family: Family,
        takes_trains: bool,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self {
            socket,
            family,
            travel: None,
            oversize: None,
            readable: true,
            has_errors: false,
            trains: takes_trains.then(Trains::default),
        })
    }

    /// Notes what the system says about the socket.
    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.has_errors |= event.is_error();
    }

    /// The port that datagrams leave from.
    pub(crate) fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok().map(|local| local.port())
    }

    /// Sends datagrams. What the host can't take now is lost, as a network would lose it; if the
    /// host has no way for a datagram, says what the peer is to be told.
    pub(crate) fn send(
        &mut self,
        train: &Train<'_>,
        batches: &mut Batches,
        mut undelivered: impl FnMut(Undelivered),
        incidents: &mut Incidents,
        now: Instant,
    ) {
        let Heading { remote, travel, .. } = train.heading;
        if self.travel != Some(travel) {
            match ttl_and_df::set(&self.socket, self.family, self.travel, travel) {
                Ok(()) => self.travel = Some(travel),
                Err(error) => incidents.report(&error, now),
            }
        }
        match batches.send(&self.socket, self.trains.as_mut(), train) {
            Ok(true) => {}
            Ok(false) => {
                let singly = train.datagrams();
                let losses =
                    singly.filter_map(|payload| self.send_one(remote, payload, incidents, now));
                losses.for_each(&mut undelivered);
            }
            Err(error) => incidents.report(&error, now),
        }
    }

    fn send_one(
        &mut self,
        remote: SocketAddr,
        payload: &[u8],
        incidents: &mut Incidents,
        now: Instant,
    ) -> Option<Undelivered> {
        let send = || self.socket.send_to(payload, remote);
        let again = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => Err(error),
            // It may be about an earlier datagram: then it is in the error queue too, and has been
            // cleared by being seen here.
            _ => send(),
        };
        let error = send().or_else(again).err()?;
        incidents.report(&error, now);
        let echo_sequence = echo::sequence(payload);
        if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) {
            self.oversize = Some(Oversize { remote, echo_sequence });
        }
        let loss = Loss::Refused(datagram_refusal(&error)?);
        Some(Undelivered { remote, echo_sequence, loss })
    }

    /// Hands a batch of datagrams to core, and what is said about those that were sent. There are
    /// at most as many trains in a batch as core has room for.
    pub(crate) fn work(
        &mut self,
        flow: FlowId,
        batches: &mut Batches,
        incidents: &mut Incidents,
        engine: &mut Engine,
        now: Instant,
    ) -> Work {
        let Ok(mut flow) = engine.flow(flow) else {
            // Its last action is on the way.
            (self.readable, self.has_errors) = (false, false);
            return Work::NOTHING;
        };
        self.take_errors(&mut flow, now);
        let mut moved = 0;
        let mut failures = 0;
        while self.readable && failures < FAILURES_MAX {
            let received = batches.receive(&self.socket, |from, datagram| match datagram {
                Ok(payload) => {
                    moved += payload.len();
                    let ReceivedFrom { remote, traffic_class } = from;
                    flow.send_datagram(remote, traffic_class, payload, now);
                }
                Err(truncated) => incidents.report(&truncated.into(), now),
            });
            match received {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) => {
                    incidents.report(&error, now);
                    failures += 1;
                }
            }
        }
        // An error about a datagram fails one call; a socket that fails all of them is broken.
        if failures == FAILURES_MAX {
            flow.abort(now);
            return Work::Over;
        }
        let has_more = self.readable || self.has_errors;
        if has_more { Work::More { moved } } else { Work::Done { moved } }
    }

    /// Tells core which datagrams did not arrive, within a budget.
    fn take_errors(&mut self, flow: &mut Flow<'_>, now: Instant) {
        for _ in 0..ERRORS {
            if !self.has_errors {
                return;
            }
            match error_queue::pop(&self.socket, self.family) {
                Some(QueuedError::Undelivered(undelivered)) => {
                    flow.undelivered(undelivered, now);
                }
                Some(QueuedError::TooBigToSend { to, mtu }) => {
                    // Of several the last one is known, and the others will be repeated.
                    let oversize = self.oversize.take_if(|oversize| oversize.remote.ip() == to);
                    if let Some(Oversize { remote, echo_sequence }) = oversize {
                        let loss = Loss::TooBig { mtu };
                        let undelivered = Undelivered { remote, echo_sequence, loss };
                        flow.undelivered(undelivered, now);
                    }
                }
                Some(QueuedError::Other) => {}
                None => self.has_errors = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use log::Level;
    use mio::{Events, Poll};

    use slipwire_core::{Datagram, Fragmenting, Refusal, TrafficClass};

    use super::*;
    use crate::datagrams::train::TrainBuilder;
    use crate::host::source_ports::SourcePorts;
    use crate::host::udp;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn socket(registry: &Registry) -> DatagramSocket {
        let socket = udp::open("127.0.0.1:0".parse().unwrap(), &SourcePorts::default()).unwrap();
        DatagramSocket::register(socket, Family::V4, true, Token(0), registry).unwrap()
    }

    fn datagram(remote: SocketAddr, payload: &[u8]) -> Datagram<'_> {
        let travel = Travel {
            hop_limit: 9,
            fragmenting: Fragmenting::Allowed,
            traffic_class: TrafficClass(0xb8),
        };
        Datagram { flow: "0.0".parse().unwrap(), remote, travel, payload }
    }

    /// Sends datagrams together. Returns what was said of them, and how many incidents there were.
    fn send_all(
        socket: &mut DatagramSocket,
        remote: SocketAddr,
        payloads: &[&[u8]],
    ) -> (Vec<Loss>, u64) {
        let mut builder = TrainBuilder::default();
        for payload in payloads {
            let datagram = datagram(remote, payload);
            assert!(builder.takes(&datagram));
            builder.push(&datagram);
        }
        send_train(socket, &builder)
    }

    fn send_train(socket: &mut DatagramSocket, builder: &TrainBuilder) -> (Vec<Loss>, u64) {
        let mut incidents = Incidents::new("test", Level::Debug);
        let mut losses = Vec::new();
        let undelivered = |undelivered: Undelivered| losses.push(undelivered.loss);
        let mut batches = Batches::new().unwrap();
        let train = builder.train().unwrap();
        socket.send(&train, &mut batches, undelivered, &mut incidents, Instant::ZERO);
        (losses, incidents.count())
    }

    fn send(socket: &mut DatagramSocket, remote: SocketAddr) -> (Option<Loss>, u64) {
        let (losses, incidents) = send_all(socket, remote, &[b"hello"]);
        assert!(losses.len() <= 1);
        (losses.first().copied(), incidents)
    }

    fn closed_port() -> SocketAddr {
        StdSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Waits until the system says that there is an error.
    fn wait_for_error(socket: &mut DatagramSocket, poll: &mut Poll) {
        let mut events = Events::with_capacity(8);
        while !socket.has_errors {
            poll.poll(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "no error came");
            events.iter().for_each(|event| socket.note(event));
        }
    }

    #[test]
    fn an_error_about_one_host_does_not_cost_the_datagram_to_another() {
        let mut poll = Poll::new().unwrap();
        let mut socket = socket(poll.registry());
        let listener = StdSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let closed = closed_port();

        assert_eq!(send(&mut socket, closed), (None, 0));
        wait_for_error(&mut socket, &mut poll);
        assert_eq!(send(&mut socket, listener.local_addr().unwrap()), (None, 0));
        assert_eq!(listener.recv(&mut [0; 10]).unwrap(), 5);

        let entry = error_queue::pop(&socket.socket, Family::V4);
        let Some(QueuedError::Undelivered(Undelivered { remote, loss, .. })) = entry else {
            panic!("the error is not in the queue: {entry:?}")
        };
        assert_eq!((remote, loss), (closed, Loss::Refused(Refusal::Refused)));
    }

    #[test]
    fn what_the_host_itself_forbids_is_refused_at_once() {
        let poll = Poll::new().unwrap();
        // Broadcasts need a permission that the socket does not ask for.
        let broadcast = "255.255.255.255:9".parse().unwrap();
        let (loss, incidents) = send(&mut socket(poll.registry()), broadcast);
        let Some(Loss::Refused(refusal)) = loss else { panic!("not refused: {loss:?}") };
        // Without any route the answer is another one.
        assert!(matches!(refusal, Refusal::Prohibited | Refusal::NetworkUnreachable));
        assert_eq!(incidents, 1);
    }

    #[test]
    fn a_train_arrives_as_its_datagrams_and_as_one_batch_with_its_mark() {
        let poll = Poll::new().unwrap();
        let (mut sender, receiver) = (socket(poll.registry()), socket(poll.registry()));
        let to = SocketAddr::new("127.0.0.1".parse().unwrap(), receiver.port().unwrap());
        let payloads: [&[u8]; 4] = [&[1; 900], &[2; 900], &[3; 900], &[4; 10]];
        assert_eq!(send_all(&mut sender, to, &payloads), (Vec::new(), 0));
        assert_eq!(sender.trains, Some(Trains::default()));
        let mut received = Vec::new();
        let mut batches = Batches::new().unwrap();
        // More than one system call may be needed where the system does not coalesce.
        while received.len() < payloads.len() {
            let take = |from: ReceivedFrom, datagram: Result<&[u8], _>| {
                assert_eq!(from.traffic_class, TrafficClass(0xb8));
                received.push(datagram.unwrap().to_vec());
            };
            batches.receive(&receiver.socket, take).unwrap();
        }
        assert_eq!(received, payloads);
    }

    #[test]
    fn what_is_wrong_with_one_train_is_said_of_each_datagram() {
        let poll = Poll::new().unwrap();
        let mut socket = socket(poll.registry());
        let broadcast = "255.255.255.255:9".parse().unwrap();
        let (losses, incidents) = send_all(&mut socket, broadcast, &[b"one", b"two"]);
        assert_eq!((losses.len(), incidents), (2, 2));
        assert_eq!(
            socket.trains,
            Some(Trains::default()),
            "it was not for the train that it failed"
        );
    }

    #[test]
    fn a_train_that_is_refused_ends_no_others() {
        let poll = Poll::new().unwrap();
        let (mut sender, receiver) = (socket(poll.registry()), socket(poll.registry()));
        let to = SocketAddr::new("127.0.0.1".parse().unwrap(), receiver.port().unwrap());
        // Longer than any that the system takes, and so than any that an builder does: EMSGSIZE, as
        // where a router could not pass an earlier datagram on.
        let mut builder = TrainBuilder::default();
        (0..66).for_each(|_| builder.push(&datagram(to, &[1; 1_000])));
        assert_eq!(send_train(&mut sender, &builder), (Vec::new(), 0));
        assert_ne!(sender.trains, Some(Trains::default()), "it was taken");
        assert_eq!(send_all(&mut sender, to, &[[2; 1_000].as_slice(); 4]), (Vec::new(), 0));
        assert_eq!(sender.trains, Some(Trains::default()), "the next was not tried");
    }
}
