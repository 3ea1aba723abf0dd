//! A model of UDP: what was sent may get lost, and else arrives once, unchanged, in its own flow.

use std::net::SocketAddr;

use super::oracle::{Violation, ensure};

/// Which way a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Out,
    Back,
}

#[derive(Debug, Default)]
struct Flow {
    /// The client's address and port in the tunnel.
    source: Option<SocketAddr>,
    sent: [u64; 2],
    /// What was sent and has not arrived.
    pending: [Vec<Vec<u8>>; 2],
}

/// Every UDP flow.
#[derive(Debug)]
pub(super) struct Mail {
    flows: Vec<Flow>,
    arrived: u64,
}

impl Mail {
    pub(super) fn new(flows: usize) -> Self {
        Self { flows: (0..flows).map(|_| Flow::default()).collect(), arrived: 0 }
    }

    pub(super) fn opened(&mut self, flow: usize, source: SocketAddr) {
        self.flows[flow].source = Some(source);
    }

    pub(super) fn offered(&self, flow: usize, source: SocketAddr) -> Result<(), Violation> {
        let known = self.flows.get(flow).and_then(|flow| flow.source);
        ensure!(known == Some(source), "datagrams {flow} were offered from {source}");
        Ok(())
    }

    /// How many were sent that way.
    pub(super) fn sent_so_far(&self, flow: usize, way: Way) -> u64 {
        self.flows[flow].sent[way as usize]
    }

    pub(super) fn sent(&mut self, flow: usize, way: Way, payload: Vec<u8>) {
        self.flows[flow].sent[way as usize] += 1;
        self.flows[flow].pending[way as usize].push(payload);
    }

    pub(super) fn arrived(
        &mut self,
        flow: usize,
        way: Way,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let pending = &mut self.flows[flow].pending[way as usize];
        let place = pending.iter().position(|sent| sent == payload);
        ensure!(
            place.is_some(),
            "datagrams {flow} got {} bytes that nobody sent, or got them twice",
            payload.len()
        );
        if let Some(place) = place {
            pending.remove(place);
        }
        self.arrived += 1;
        Ok(())
    }

    /// Datagrams that arrived.
    pub(super) const fn total(&self) -> u64 {
        self.arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrives_once_and_as_it_was_sent() {
        let mut mail = Mail::new(2);
        mail.sent(0, Way::Out, vec![1, 2, 3]);
        assert!(mail.arrived(1, Way::Out, &[1, 2, 3]).is_err());
        assert!(mail.arrived(0, Way::Back, &[1, 2, 3]).is_err());
        assert!(mail.arrived(0, Way::Out, &[1, 2]).is_err());
        assert!(mail.arrived(0, Way::Out, &[1, 2, 3]).is_ok());
        assert!(mail.arrived(0, Way::Out, &[1, 2, 3]).is_err());
    }
}
