//! [`Page`]: one request, one answer, then the end, as HTTP/1.0 has it.
//!
//! Nothing of the request is understood but where its head ends.

use std::io::{self, Cursor, Read as _};

use slipwire_core::{FlowId, FlowMeta, Refusal};

use super::stream::{PeerStream, StreamService};

/// The longest request head; whoever sends more is cut off.
const HEAD_LEN_MAX: usize = 16 << 10;

/// Bytes of a request that are looked at at once.
const CHUNK_LEN: usize = 4 << 10;

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

/// A service of streams that answers each request with what a function makes of whoever asked, a
/// whole HTTP response for example.
///
/// A request ends with its first blank line; one that is longer than 16 KiB is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Page<F>(F);

impl<F: FnMut(&FlowMeta) -> Vec<u8> + Send + 'static> Page<F> {
    /// The page that `answer` makes.
    pub const fn new(answer: F) -> Self {
        Self(answer)
    }

    /// Takes all that there is. It ends with an error, or with the peer's end.
    fn read(&mut self, stage: &mut ExchangeStage, stream: &mut PeerStream<'_>) -> io::Result<()> {
        let mut chunk = [0; CHUNK_LEN];
        loop {
            let len = stream.read(&mut chunk)?;
            let ExchangeStage::Request(head) = stage else {
                if len == 0 {
                    return Ok(());
                }
                continue;
            };
            let answer = match head.push(&chunk[..len]) {
                HeadState::Incomplete if len > 0 => continue,
                // A request that is not complete by now never will be.
                HeadState::Incomplete => Vec::new(),
                HeadState::Complete => (self.0)(stream.meta()),
                HeadState::TooLong => return Err(io::Error::other("the request is too long")),
            };
            *stage = ExchangeStage::Answer(Cursor::new(answer));
        }
    }
}

/// A request and its answer.
#[derive(Debug)]
pub struct Exchange(ExchangeStage);

#[derive(Debug)]
enum ExchangeStage {
    Request(Head),
    Answer(Cursor<Vec<u8>>),
    /// The answer is out; what still comes in is not read by anybody.
    Answered,
}

impl<F: FnMut(&FlowMeta) -> Vec<u8> + Send + 'static> StreamService for Page<F> {
    type State = Exchange;

    fn accept(&mut self, _: FlowId, _: &FlowMeta) -> Result<Exchange, Refusal> {
        Ok(Exchange(ExchangeStage::Request(Head::default())))
    }

    fn ready(
        &mut self,
        Exchange(stage): &mut Exchange,
        stream: &mut PeerStream<'_>,
    ) -> io::Result<()> {
        let read = self.read(stage, stream);
        if let ExchangeStage::Answer(answer) = stage {
            stream.write_from(answer)?;
            stream.finish();
            *stage = ExchangeStage::Answered;
        }
        read
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
