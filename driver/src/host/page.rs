//! Pages: what answers a flow to one of the embedder's own ports, from inside the tunnel and
//! without a host socket. One request, one answer, then the end, as HTTP/1.0 has it.
//!
//! Nothing of the request is understood but where its head ends.

use slipwire_core::{Engine, FlowId, Instant, NoFlow};

use super::work::Work;
use crate::settings::Page;

/// The longest request head; whoever sends more is cut off.
const HEAD_LEN_MAX: usize = 16 << 10;

/// Bytes of an answer that leave before others have their turn.
const BUDGET: usize = 256 << 10;

/// Finds the blank line that ends a request's head.
#[derive(Debug, Default)]
struct Head {
    length: usize,
    /// Bytes of the current line, without its end.
    line: usize,
    /// Whether there was a line: blank ones before the first do not count (RFC 9112, section 2.2).
    started: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HeadState {
    Incomplete,
    Complete,
    TooLong,
}

impl Head {
    fn push(&mut self, bytes: &[u8]) -> HeadState {
        for byte in bytes {
            self.length += 1;
            if self.length > HEAD_LEN_MAX {
                return HeadState::TooLong;
            }
            match byte {
                b'\n' if self.started && self.line == 0 => return HeadState::Complete,
                b'\n' => self.line = 0,
                b'\r' => {}
                _ => {
                    self.started = true;
                    self.line += 1;
                }
            }
        }
        HeadState::Incomplete
    }
}

#[derive(Debug)]
enum PageStage {
    Request(Head),
    Answer {
        page: Vec<u8>,
        sent: usize,
    },
    /// The answer is out; what still comes in is not read by anybody.
    Answered,
}

/// One flow that is served a page.
#[derive(Debug)]
pub(crate) struct Exchange {
    port: u16,
    stage: PageStage,
}

impl Exchange {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, stage: PageStage::Request(Head::default()) }
    }

    /// Does what there is to do, within a budget.
    pub(crate) fn work(
        &mut self,
        flow: FlowId,
        services: &[(u16, Page)],
        engine: &mut Engine,
        now: Instant,
    ) -> Work {
        if let HeadState::TooLong = self.read(flow, services, engine, now) {
            log::debug!("{flow:?}: the request is too long");
            engine.handle_aborted(flow, now);
            return Work::Over;
        }
        self.write(flow, engine, now)
    }

    /// The peer has no more bytes, ever: a request that is not complete by now never will be.
    pub(crate) fn handle_end(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        if let PageStage::Request(_) = self.stage {
            self.stage = PageStage::Answered;
            engine.handle_shutdown(flow, now);
        }
    }

    /// Takes all that has come in; it is at most what fits the flow's window.
    fn read(
        &mut self,
        flow: FlowId,
        services: &[(u16, Page)],
        engine: &mut Engine,
        now: Instant,
    ) -> HeadState {
        loop {
            let stage = &mut self.stage;
            let lent = engine.receive(
                flow,
                |bytes| {
                    let state = match stage {
                        PageStage::Request(head) => head.push(bytes),
                        PageStage::Answer { .. } | PageStage::Answered => HeadState::Incomplete,
                    };
                    (bytes.len(), (bytes.len(), state))
                },
                now,
            );
            match lent {
                Ok((0, _)) | Err(NoFlow) => return HeadState::Incomplete,
                Ok((_, HeadState::TooLong)) => return HeadState::TooLong,
                Ok((_, HeadState::Complete)) => self.answer(flow, services, engine),
                Ok((_, HeadState::Incomplete)) => {}
            }
        }
    }

    fn answer(&mut self, flow: FlowId, services: &[(u16, Page)], engine: &Engine) {
        let page = services.iter().find(|(port, _)| *port == self.port);
        let page = match (page, engine.meta(flow)) {
            (Some((_, page)), Some(meta)) => page(meta),
            (None, _) | (_, None) => Vec::new(),
        };
        self.stage = PageStage::Answer { page, sent: 0 };
    }

    fn write(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) -> Work {
        let mut moved = 0;
        let PageStage::Answer { page, sent } = &mut self.stage else { return Work::NOTHING };
        while *sent < page.len() {
            if moved >= BUDGET {
                return Work::More { moved };
            }
            let rest = &page[*sent..];
            let fill = |room: &mut [u8]| {
                let length = rest.len().min(room.len());
                room[..length].copy_from_slice(&rest[..length]);
                (length, length)
            };
            match engine.send(flow, fill, now) {
                // The flow says when there is room again, or that it is over.
                Ok(0) | Err(NoFlow) => return Work::Done { moved },
                Ok(length) => {
                    *sent += length;
                    moved += length;
                }
            }
        }
        self.stage = PageStage::Answered;
        engine.handle_shutdown(flow, now);
        Work::Done { moved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(chunks: &[&str]) -> Vec<HeadState> {
        let mut head = Head::default();
        chunks.iter().map(|chunk| head.push(chunk.as_bytes())).collect()
    }

    #[test]
    fn a_head_ends_with_a_blank_line_wherever_it_is_cut() {
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..request.len() {
            let (first, second) = request.split_at(cut);
            assert_eq!(feed(&[first, second]), [HeadState::Incomplete, HeadState::Complete]);
        }
        assert_eq!(feed(&["GET /\n", "\n"]), [HeadState::Incomplete, HeadState::Complete]);
    }

    #[test]
    fn blank_lines_before_the_request_are_skipped() {
        assert_eq!(
            feed(&["\r\n\r\n", "GET /\r\n\r\n"])[..],
            [HeadState::Incomplete, HeadState::Complete]
        );
    }

    #[test]
    fn a_head_without_an_end_is_cut_off() {
        let mut head = Head::default();
        assert_eq!(head.push(&[b'a'; HEAD_LEN_MAX]), HeadState::Incomplete);
        assert_eq!(head.push(b"a"), HeadState::TooLong);
    }

    #[test]
    fn only_the_head_counts_towards_its_bound() {
        let mut request = b"GET /\r\n\r\n".to_vec();
        request.resize(HEAD_LEN_MAX * 2, b'a');
        assert_eq!(Head::default().push(&request), HeadState::Complete);
    }
}
