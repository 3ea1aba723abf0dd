//! What an embedder does with one flow: it fills a segment, takes what there is, sends a datagram.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use slipwire_core::{Action, Engine, FlowId, Instant, TrafficClass};

use crate::site::{DATAGRAM_LEN, SEGMENT_LEN};

/// Fills one segment.
pub(crate) fn send(engine: &mut Engine, flow: FlowId, now: Instant) -> Result<()> {
    let mut flow = engine.flow(flow)?;
    let mut left = SEGMENT_LEN;
    while left > 0 {
        let room = flow.send_room(now);
        let len = room.len().min(left);
        ensure!(len > 0, "no room for a segment");
        room[..len].fill(7);
        flow.commit(len, now);
        left -= len;
    }
    Ok(())
}

/// Takes all that there is as a socket would: the bytes are copied.
pub(crate) fn take(engine: &mut Engine, flow: FlowId, now: Instant) -> Result<()> {
    let mut flow = engine.flow(flow)?;
    let mut host = [0; SEGMENT_LEN];
    loop {
        let bytes = flow.received();
        let len = bytes.len().min(SEGMENT_LEN);
        if len == 0 {
            return Ok(());
        }
        host[..len].copy_from_slice(&bytes[..len]);
        std::hint::black_box(&host);
        flow.consume(len, now);
    }
}

pub(crate) fn send_datagram(
    engine: &mut Engine,
    flow: FlowId,
    remote: SocketAddr,
    now: Instant,
) -> Result<()> {
    let mut flow = engine.flow(flow)?;
    flow.send_datagram(remote, TrafficClass::DEFAULT, &[0; DATAGRAM_LEN], now);
    Ok(())
}

/// The next action; if none waits flows have their turn first.
pub(crate) fn next_action(engine: &mut Engine, now: Instant) -> Option<Action> {
    engine.poll_action().or_else(|| {
        engine.service(now);
        engine.poll_action()
    })
}
