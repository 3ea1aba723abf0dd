//! What an embedder hears of flows and peers, and can ask.

use std::io::{ErrorKind, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{
    Event, FlowId, FlowOutcome, FlowStatus, Instant, Observer, Protocol, Transfer,
};
use slipwire_driver::Driver;

use crate::recorders::echo;
use crate::world::{UDP_9, World};

/// What was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Up(String),
    Down,
    Opened(FlowId),
    Ended(FlowId, FlowOutcome, Transfer, Duration),
    Refused(FlowOutcome, Option<usize>),
}

#[derive(Debug)]
struct Ear(Sender<Heard>);

impl Ear {
    fn at(driver: &mut Driver) -> Receiver<Heard> {
        let (sender, heard) = channel();
        driver.set_observer(Some(Box::new(Self(sender))));
        heard
    }
}

impl Observer for Ear {
    fn event(&mut self, event: Event<'_>, now: Instant) {
        let heard = match event {
            Event::PeerUp { identity, .. } => Heard::Up(identity.name.clone()),
            Event::PeerDown { .. } => Heard::Down,
            Event::FlowOpened(flow) => Heard::Opened(flow.id),
            Event::FlowEnded { flow, outcome } => {
                let lasted = now.saturating_duration_since(flow.opened_at);
                Heard::Ended(flow.id, outcome, flow.transfer, lasted)
            }
            Event::FlowRefused { outcome, rule, .. } => Heard::Refused(outcome, rule),
            other => panic!("{other:?}"),
        };
        self.0.send(heard).unwrap();
    }
}

impl World {
    fn hear(&mut self, heard: &Receiver<Heard>) -> Heard {
        self.until(|_| heard.try_recv().ok())
    }
}

#[test]
fn a_flow_is_heard_of_from_beginning_to_end_and_listed_in_between() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    let heard = Ear::at(&mut world.server);
    world.server.serve_streams(7, echo().0).unwrap();
    let begun = Driver::now();
    let mut client = world.connect(0);
    client.write_all(b"hello").unwrap();
    assert_eq!(world.read(&mut client, 5), b"hello");

    assert_eq!(world.hear(&heard), Heard::Up("client".into()));
    let Heard::Opened(flow) = world.hear(&heard) else { panic!("a flow was due") };
    let transfer = Transfer { bytes_in: 5, bytes_out: 5 };
    let listed = world.server.flows().next().unwrap();
    assert_eq!((listed.id, listed.status), (flow, FlowStatus::Established));
    assert_eq!((listed.transfer, listed.meta.rule), (transfer, Some(0)));
    assert!(listed.opened_at >= begun && listed.active_at <= Driver::now());
    assert_eq!(world.server.flow_state(flow).map(|state| state.id), Some(flow));

    let peer = world.server.peers().next().unwrap();
    assert!(peer.is_up && peer.last_handshake.unwrap() >= begun);
    assert_eq!(peer.endpoint, world.client.local_addresses().next());
    assert_eq!((peer.usage.tcp_flows, peer.identity.name.as_str()), (1, "client"));
    assert!(world.server.peer(peer.id).is_some());

    drop(client);
    let Heard::Ended(ended, outcome, moved, lasted) = world.hear(&heard) else { panic!("an end") };
    assert_eq!((ended, outcome, moved), (flow, FlowOutcome::Closed, transfer));
    assert!(lasted <= Driver::now().saturating_duration_since(begun));
    assert_eq!((world.server.flows().count(), world.server.flow_count()), (0, 0));
}

#[test]
fn a_peer_that_is_removed_is_down_once_its_flows_have_ended() {
    let mut world = World::new(&[UDP_9]);
    let heard = Ear::at(&mut world.server);
    world.server.serve_datagrams(9, crate::recorders::Answers::new().0).unwrap();
    let socket = world.socket(0);
    socket.send(b"hello").unwrap();
    world.receive(&socket);
    let (peer, mapping) = {
        let flow = world.server.flows().next().unwrap();
        assert_eq!((flow.meta.protocol, flow.status), (Protocol::Udp, FlowStatus::Active));
        (world.server.peers().next().unwrap().id, flow.id)
    };
    world.server.remove_peer(peer);
    let all: Vec<_> = heard.try_iter().collect();
    assert_eq!(all[..2], [Heard::Up("client".into()), Heard::Opened(mapping)]);
    let Heard::Ended(ended, FlowOutcome::PeerGone, ..) = all[2] else { panic!("{all:?}") };
    assert_eq!((ended, &all[3..]), (mapping, &[Heard::Down][..]));
}

#[test]
fn what_a_rule_or_a_host_refuses_is_told_by_its_word() {
    let mut world = World::with_tcp(&["10.77.0.1:7", "10.77.0.1:8", "127.0.0.1:9"]);
    let heard = Ear::at(&mut world.server);
    let rejects = Rule { ports: vec![7..=7], ..Rule::any(RuleAction::Reject) };
    world.server.set_rules(vec![rejects, Rule::any(RuleAction::Serve)]).unwrap();
    let mut rejected = world.connect(0);
    assert_eq!(world.error(&mut rejected), ErrorKind::ConnectionReset);
    assert_eq!(world.hear(&heard), Heard::Up("client".into()));
    assert_eq!(world.hear(&heard), Heard::Refused(FlowOutcome::Rejected, Some(0)));

    // Nobody serves that port: the driver, as the host, refuses what was offered.
    let mut refused = world.connect(1);
    assert_eq!(world.error(&mut refused), ErrorKind::ConnectionReset);
    let Heard::Opened(flow) = world.hear(&heard) else { panic!("an offer was due") };
    let Heard::Ended(ended, outcome, ..) = world.hear(&heard) else { panic!("an end was due") };
    assert_eq!((ended, outcome), (flow, FlowOutcome::Refused));
}
