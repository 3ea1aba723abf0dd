//! What must hold of a host after each of its turns: its engine knows the flows that the world
//! knows, counts what the world counts, and keeps its limits.

use slipwire_core::{Counter, Limits};

use super::host::{Host, Leg};
use super::leg::Stage;
use super::oracle::{Violation, ensure};
use super::scene::Scene;

/// Probes of closed windows that one flow may see: they come at growing intervals.
const PROBES_MAX: u64 = 16;

/// What the world counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) datagrams_in: u64,
    pub(super) datagrams_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) opened: u64,
    pub(super) refused: u64,
    pub(super) over: u64,
    /// How things stood after the last turn.
    opened_before: u64,
    limit_reached_before: u64,
    census_before: Census,
}

/// Flows that live.
#[derive(Clone, Copy, Default, Debug)]
struct Census {
    tcp: usize,
    udp: usize,
    /// Whose connects are under way.
    waiting: usize,
}

impl Host {
    pub(super) fn audit(&mut self, scene: &Scene) -> Result<(), Violation> {
        let name = self.index;
        ensure!(self.stillborn.is_empty(), "host {name} never heard of {:?}", self.stillborn);
        let census = self.take_census()?;
        let limits = &scene.plan.hosts[name].limits;
        ensure!(census.tcp <= limits.tcp_flows, "host {name} has {census:?}");
        ensure!(census.udp <= limits.udp_flows, "host {name} has {census:?}");
        ensure!(census.waiting <= limits.half_open, "host {name} has {census:?}");
        self.audit_limits(census, limits, scene)?;
        self.audit_counters()?;
        self.audit_witness()
    }

    fn take_census(&self) -> Result<Census, Violation> {
        let mut census = Census::default();
        for (flow, leg) in &self.legs {
            let is_known = self.engine.meta(*flow).is_some();
            ensure!(is_known, "{flow:?} of host {} is gone and nobody was told", self.index);
            match leg {
                Leg::Stream(leg) => {
                    census.tcp += 1;
                    let is_waiting = leg.stage == Stage::Waiting && leg.id.end > 0;
                    census.waiting += usize::from(is_waiting);
                }
                Leg::Datagrams(_) => census.udp += 1,
            }
        }
        Ok(census)
    }

    /// Nobody is refused for a limit that is not reached.
    fn audit_limits(
        &mut self,
        census: Census,
        limits: &Limits,
        scene: &Scene,
    ) -> Result<(), Violation> {
        let reached = self.engine.stats().value(Counter::LimitReached);
        let before = self.tally.census_before;
        // The most that there can have been in between.
        let opened = (self.tally.opened - self.tally.opened_before) as usize;
        let share = |limit| limits.per_peer.of(limit);
        let tcp = &scene.plan.hosts[self.index].tcp;
        let rings = (before.tcp + opened) * (tcp.receive_buffer + tcp.send_buffer);
        let has_cause = before.tcp + opened >= share(limits.tcp_flows)
            || before.udp + opened >= share(limits.udp_flows)
            || before.waiting + opened >= share(limits.half_open)
            || rings >= limits.memory;
        ensure!(
            reached == self.tally.limit_reached_before || has_cause,
            "host {} refused a flow with {before:?} and {opened} more",
            self.index
        );
        self.tally.opened_before = self.tally.opened;
        self.tally.limit_reached_before = reached;
        self.tally.census_before = census;
        Ok(())
    }

    /// Where nothing is lost, nothing but a probe comes outside of a window.
    pub(super) fn audit_windows(&self, scene: &Scene) -> Result<(), Violation> {
        let outside = self.engine.stats().value(Counter::DropTcpGuard);
        ensure!(
            scene.plan.is_rough || outside <= PROBES_MAX * self.tally.opened,
            "host {}: {outside} segments outside of a window",
            self.index
        );
        Ok(())
    }

    fn audit_counters(&self) -> Result<(), Violation> {
        let name = self.index;
        let Tally { opened, over, .. } = self.tally;
        let live = self.legs.len() as u64;
        ensure!(
            opened == over + live,
            "host {name}: {opened} flows opened, {over} over, {live} live"
        );
        let stats = self.engine.stats();
        let counted = stats.value(Counter::TcpOpened) + stats.value(Counter::UdpOpened);
        ensure!(counted == opened, "host {name} opened {opened} flows and counts {counted}");
        let mut known = vec![
            (Counter::DatagramsIn, self.tally.datagrams_in),
            (Counter::BytesIn, self.tally.bytes_in),
            (Counter::OpenRefused, self.tally.refused),
        ];
        if self.blocked_until.is_none() {
            known.push((Counter::DatagramsOut, self.tally.datagrams_out));
            known.push((Counter::BytesOut, self.tally.bytes_out));
        }
        for (counter, here) in known {
            let there = stats.value(counter);
            ensure!(there == here, "host {name}: {} is {there}, was {here}", counter.name());
        }
        Ok(())
    }
}
