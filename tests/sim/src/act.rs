//! What a host does: it carries out what its engine says, opens flows of its own, and lets
//! connects come to their ends.

use slipwire_core::config::Mappings;
use slipwire_core::{Abort, Action, FlowId, FlowMeta, OpenError, Protocol, TrafficClass};

use super::host::{DatagramLeg, Host, Leg};
use super::leg::{Stage, StreamLeg};
use super::mail::Way;
use super::oracle::{EndId, Over, Violation, ensure};
use super::pattern::Pattern;
use super::plan::{Connect, index_of};
use super::scene::{Occurrence, Scene};
use super::socket::{Script, Socket};

/// Sets the patterns of datagrams apart from those of streams.
const DATAGRAMS: usize = 1 << 20;
/// Actions that one drain may bring.
const ACTIONS_MAX: usize = 100_000;

impl Host {
    /// The next action; if none waits flows have their turn first.
    fn next_action(&mut self, scene: &Scene) -> Option<Action> {
        let local = self.local(scene.now);
        self.engine.poll_action().or_else(|| {
            self.engine.service(local);
            self.engine.poll_action()
        })
    }

    pub(super) fn carry_out_actions(&mut self, scene: &mut Scene) -> Result<bool, Violation> {
        let mut count = 0;
        while let Some(action) = self.next_action(scene) {
            count += 1;
            ensure!(count < ACTIONS_MAX, "host {} has actions without end", self.index);
            let actions = match scene.mutant {
                Some(mutant) => mutant.action(action),
                None => [Some(action), None],
            };
            for action in actions.into_iter().flatten() {
                self.act(action, scene)?;
            }
        }
        Ok(count > 0)
    }

    fn act(&mut self, action: Action, scene: &mut Scene) -> Result<(), Violation> {
        scene.note(format_args!("host {} says {action:?}", self.index));
        let local = self.local(scene.now);
        match action {
            Action::Open(flow) => self.handle_open(flow, scene),
            Action::Established(flow) => {
                let leg = self.stream(flow)?;
                leg.stage = Stage::Open;
                let id = leg.id;
                self.busy.insert(flow);
                scene.oracle.established(id, local)
            }
            Action::Readable(flow) => {
                self.busy.insert(flow);
                self.stream(flow)?.handle_readable()
            }
            Action::Writable(flow) => {
                self.busy.insert(flow);
                self.stream(flow)?.handle_writable()
            }
            Action::Idle(flow) => self.stream(flow).map(drop),
            Action::Shutdown(flow) => {
                self.busy.insert(flow);
                let Some(Leg::Stream(leg)) = self.legs.get_mut(&flow) else {
                    return Err(Violation(format!("a stale id: {action:?}")));
                };
                leg.handle_shutdown(flow, &mut self.engine, scene)
            }
            Action::Closed(flow) => self.handle_over(flow, Over::Closed, scene),
            Action::Aborted(flow, abort) => self.handle_over(flow, Over::Aborted(abort), scene),
            Action::Resolve(peer) => {
                let late = self.plan.resolves_after.unwrap_or_default();
                let resolved = Occurrence::Resolved { host: self.index, life: self.life, peer };
                scene.agenda.plan(scene.now + late, resolved);
                Ok(())
            }
        }
    }

    fn stream(&mut self, flow: FlowId) -> Result<&mut StreamLeg, Violation> {
        match self.legs.get_mut(&flow) {
            Some(Leg::Stream(leg)) => Ok(leg),
            Some(Leg::Datagrams(_)) => Err(Violation(format!("{flow:?} carries datagrams"))),
            None => Err(Violation(format!("host {}: {flow:?} is stale", self.index))),
        }
    }

    fn handle_over(
        &mut self,
        flow: FlowId,
        over: Over,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let local = self.local(scene.now);
        ensure!(self.engine.meta(flow).is_none(), "{flow:?} is over, and its id is not stale");
        self.busy.remove(&flow);
        self.tally.over += 1;
        if self.stillborn.remove(&flow) {
            return Ok(());
        }
        match self.legs.remove(&flow) {
            Some(Leg::Stream(leg)) => {
                scene.oracle.over(leg.id, over, &scene.plan, local, scene.now)
            }
            Some(Leg::Datagrams(leg)) => {
                let idle = local.saturating_duration_since(leg.active_at);
                let patience = Mappings::default().udp_idle_timeout;
                let has_cause = match over {
                    Over::Closed => idle >= patience,
                    Over::Aborted(Abort::Limit) => scene.plan.is_tight,
                    Over::Aborted(Abort::Forbidden) => scene.oracle.excuses.protected,
                    Over::Aborted(Abort::ShutDown) => {
                        scene.oracle.excuses.shut_down.contains(&self.index)
                    }
                    Over::Aborted(_) | Over::BrokenOff | Over::Refused(_) | Over::Lost => false,
                };
                ensure!(has_cause, "datagrams {} were over after {idle:?}: {over:?}", leg.flow);
                Ok(())
            }
            None => Err(Violation(format!("host {}: {flow:?} was over twice", self.index))),
        }
    }

    fn handle_open(&mut self, flow: FlowId, scene: &mut Scene) -> Result<(), Violation> {
        let local = self.local(scene.now);
        ensure!(!self.legs.contains_key(&flow), "{flow:?} was offered twice");
        let meta = self.engine.meta(flow).cloned();
        let Some(FlowMeta { protocol, source, destination, .. }) = meta else {
            // Its peer has taken it back already, or it had to go; that is said next.
            self.tally.opened += 1;
            self.stillborn.insert(flow);
            return Ok(());
        };
        let Some(index) = index_of(destination) else {
            return Err(Violation(format!("{destination} was offered, and nobody wanted it")));
        };
        let (leg, connect) = match protocol {
            Protocol::Tcp => {
                self.tally.opened += 1;
                let id = scene.oracle.offered(index, self.index, source, local, &scene.plan)?;
                let plan = &scene.plan.streams[index];
                let leg = new_stream(id, plan.acceptor_script, scene);
                (Leg::Stream(leg), scene.plan.streams[index].connect)
            }
            Protocol::Udp => {
                self.tally.opened += 1;
                scene.mail.offered(index, source)?;
                let leg = DatagramLeg { flow: index, sends: Way::Back, active_at: local };
                (Leg::Datagrams(leg), scene.plan.datagrams[index].connect)
            }
            Protocol::Icmp => return Err(Violation("nobody pinged".into())),
        };
        self.legs.insert(flow, leg);
        match connect {
            Connect::Opens(after) | Connect::Refuses(after, _) => {
                let connected = Occurrence::Connected(self.leg_id(flow));
                scene.agenda.plan(scene.now + after, connected);
            }
            Connect::Never => {}
        }
        Ok(())
    }

    /// The connect of a leg has come to its end.
    pub(super) fn handle_connected(
        &mut self,
        flow: FlowId,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let local = self.local(scene.now);
        let (connect, stream) = match self.legs.get_mut(&flow) {
            Some(Leg::Stream(leg)) => (scene.plan.streams[leg.id.stream].connect, Some(leg)),
            Some(Leg::Datagrams(leg)) => (scene.plan.datagrams[leg.flow].connect, None),
            None => return Ok(()),
        };
        match connect {
            Connect::Opens(_) => {
                if let Some(leg) = stream {
                    leg.stage = Stage::Open;
                    scene.oracle.accepted(leg.id, local);
                }
                self.busy.insert(flow);
                if let Ok(mut flow) = self.engine.flow(flow) {
                    flow.opened(None, local);
                }
            }
            Connect::Refuses(_, refusal) => {
                if let Some(leg) = stream {
                    let over = Over::Refused(refusal);
                    scene.oracle.over(leg.id, over, &scene.plan, local, scene.now)?;
                }
                self.legs.remove(&flow);
                self.tally.over += 1;
                self.tally.refused += 1;
                if let Ok(flow) = self.engine.flow(flow) {
                    flow.refused(refusal, local);
                }
            }
            Connect::Never => {}
        }
        scene.note(format_args!("host {}: the connect of {flow:?}: {connect:?}", self.index));
        self.wake(scene);
        Ok(())
    }

    /// Opens a stream into the tunnel.
    pub(super) fn open_stream(&mut self, index: usize, scene: &mut Scene) -> Result<(), Violation> {
        let local = self.local(scene.now);
        let plan = &scene.plan.streams[index];
        match self.engine.open_tcp(plan.target, local) {
            Ok(flow) => {
                let source = self.engine.meta(flow).map(|meta| meta.source);
                let Some(source) = source else {
                    return Err(Violation(format!("{flow:?} was opened and is nothing")));
                };
                self.tally.opened += 1;
                let script = plan.opener_script;
                scene.note(format_args!("host {} opens stream {index}: {flow:?}", self.index));
                let id = scene.oracle.opened(index, self.index, source, local);
                self.legs.insert(flow, Leg::Stream(new_stream(id, script, scene)));
                self.busy.insert(flow);
                self.wake(scene);
                Ok(())
            }
            Err(error) => self.refused(error, Protocol::Tcp, scene),
        }
    }

    /// Opens a flow of datagrams into the tunnel.
    pub(super) fn open_datagrams(
        &mut self,
        index: usize,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let local = self.local(scene.now);
        let plan = scene.plan.datagrams[index].clone();
        match self.engine.open_udp(plan.target, local) {
            Ok(flow) => {
                self.tally.opened += 1;
                let source = self.engine.meta(flow).map(|meta| meta.source);
                let Some(source) = source else {
                    return Err(Violation(format!("{flow:?} was opened and is nothing")));
                };
                scene.mail.opened(index, source);
                let leg = DatagramLeg { flow: index, sends: Way::Out, active_at: local };
                self.legs.insert(flow, Leg::Datagrams(leg));
                let id = self.leg_id(flow);
                for n in 0..plan.count {
                    scene.agenda.plan(scene.now + plan.pause * n, Occurrence::Datagram(id));
                }
                self.wake(scene);
                Ok(())
            }
            Err(error) => self.refused(error, Protocol::Udp, scene),
        }
    }

    fn refused(
        &self,
        error: OpenError,
        protocol: Protocol,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let live = self.live(protocol);
        scene.note(format_args!("host {}: {error}, with {live} flows", self.index));
        ensure!(
            error == OpenError::Limit && scene.plan.is_tight && live > 0,
            "host {} can't open a flow: {error}",
            self.index
        );
        Ok(())
    }

    /// Sends the next datagram of a leg.
    pub(super) fn send_datagram(
        &mut self,
        flow: FlowId,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let local = self.local(scene.now);
        let Some(Leg::Datagrams(leg)) = self.legs.get_mut(&flow) else { return Ok(()) };
        leg.active_at = local;
        let (index, way) = (leg.flow, leg.sends);
        let plan = &scene.plan.datagrams[index];
        let len = scene.dice.size(plan.len_max) as usize;
        let mut payload = vec![0; len];
        let writer = scene.mail.sent_so_far(index, way) << 1 | way as u64;
        Pattern::new(scene.plan.seed, DATAGRAMS | index, writer as usize).fill(0, &mut payload);
        let target = plan.target;
        // If it has gone that is said next.
        let Ok(mut flow) = self.engine.flow(flow) else { return Ok(()) };
        flow.send_datagram(target, TrafficClass::DEFAULT, &payload, local);
        scene.note(format_args!("datagrams {index}: {len} bytes {way:?}"));
        scene.mail.sent(index, way, payload);
        self.wake(scene);
        Ok(())
    }

    pub(super) fn deliver_datagrams(&mut self, scene: &mut Scene) -> Result<bool, Violation> {
        let local = self.local(scene.now);
        let mut answering = Vec::new();
        let mut any = false;
        while let Some(datagram) = self.engine.poll_datagram() {
            any = true;
            let flow = datagram.flow;
            let Some(Leg::Datagrams(leg)) = self.legs.get_mut(&flow) else {
                return Err(Violation(format!("a datagram for {flow:?}, which is stale")));
            };
            leg.active_at = local;
            // One mapping serves whoever has the same port, as a client that was restarted may.
            let index = index_of(datagram.remote).filter(|index| match leg.sends {
                Way::Out => *index == leg.flow,
                Way::Back => *index < scene.plan.datagrams.len(),
            });
            let Some(index) = index else {
                return Err(Violation(format!("a datagram for {}", datagram.remote)));
            };
            leg.flow = index;
            let plan = &scene.plan.datagrams[index];
            let mut payload = datagram.payload.to_vec();
            if let Some(mutant) = scene.mutant {
                mutant.datagram(&mut payload);
            }
            let way = match leg.sends {
                Way::Out => Way::Back,
                Way::Back => Way::Out,
            };
            if leg.sends == Way::Back && scene.dice.chance(plan.answers) {
                answering.push(flow);
            }
            let len = payload.len();
            scene
                .log
                .note(scene.now, format_args!("datagrams {index}: {len} bytes arrive {way:?}"));
            scene.mail.arrived(index, way, &payload)?;
            self.engine.delivered(flow);
        }
        for flow in answering {
            self.send_datagram(flow, scene)?;
        }
        Ok(any)
    }
}

fn new_stream(id: EndId, script: Script, scene: &Scene) -> StreamLeg {
    let mut leg = StreamLeg::new(id, Socket::new(script, scene.now));
    if scene.is_calm {
        leg.hurry();
    }
    leg
}
