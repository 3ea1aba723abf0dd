//! Services that say what they were called for.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver, Sender, channel};

use slipwire_core::{FlowId, FlowMeta, Refusal};
use slipwire_driver::{DatagramService, PeerDatagrams, PeerStream, StreamEnd, StreamService};

/// What a service was called for.
pub(crate) enum Call {
    Accept(FlowId, FlowMeta),
    Ended(FlowId, StreamEnd),
}

/// A service that does one thing with any of its streams.
pub(crate) struct Service<F> {
    ready: F,
    calls: Sender<Call>,
}

pub(crate) fn doing<F>(ready: F) -> (Service<F>, Receiver<Call>)
where
    F: FnMut(&mut PeerStream<'_>) -> io::Result<()> + Send + 'static,
{
    let (calls, seen) = channel();
    (Service { ready, calls }, seen)
}

impl<F: FnMut(&mut PeerStream<'_>) -> io::Result<()> + Send + 'static> StreamService
    for Service<F>
{
    type State = ();

    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<(), Refusal> {
        // A test that has seen enough does not listen any more.
        let _ = self.calls.send(Call::Accept(flow, meta.clone()));
        Ok(())
    }

    fn ready(&mut self, (): &mut (), stream: &mut PeerStream<'_>) -> io::Result<()> {
        (self.ready)(stream)
    }

    fn ended(&mut self, (): (), flow: FlowId, end: StreamEnd) {
        let _ = self.calls.send(Call::Ended(flow, end));
    }
}

/// Sends back what it reads.
pub(crate) struct Echo(Sender<Call>);

pub(crate) fn echo() -> (Echo, Receiver<Call>) {
    let (calls, seen) = channel();
    (Echo(calls), seen)
}

impl StreamService for Echo {
    /// What is to be sent back.
    type State = VecDeque<u8>;

    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<VecDeque<u8>, Refusal> {
        let _ = self.0.send(Call::Accept(flow, meta.clone()));
        Ok(VecDeque::new())
    }

    fn ready(&mut self, pending: &mut VecDeque<u8>, stream: &mut PeerStream<'_>) -> io::Result<()> {
        loop {
            stream.write_from(pending)?;
            let mut chunk = [0; 1000];
            let len = stream.read(&mut chunk)?;
            if len == 0 {
                stream.finish();
                return Ok(());
            }
            pending.extend(&chunk[..len]);
        }
    }

    fn ended(&mut self, _: VecDeque<u8>, flow: FlowId, end: StreamEnd) {
        let _ = self.0.send(Call::Ended(flow, end));
    }
}

/// Sends each datagram back.
pub(crate) struct Answers(Sender<Call>);

impl Answers {
    pub(crate) fn new() -> (Self, Receiver<Call>) {
        let (calls, seen) = channel();
        (Self(calls), seen)
    }
}

impl DatagramService for Answers {
    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<(), Refusal> {
        let _ = self.0.send(Call::Accept(flow, meta.clone()));
        Ok(())
    }

    fn receive(&mut self, payload: &[u8], flow: &mut PeerDatagrams<'_>) {
        flow.send(payload);
    }

    fn ended(&mut self, flow: FlowId) {
        let _ = self.0.send(Call::Ended(flow, StreamEnd::Complete));
    }
}
