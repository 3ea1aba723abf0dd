//! Fragments of datagrams, in any order, cut anywhere, doubled, overlapping, and in part lies.
//!
//! The first byte says whether pieces lie about where they belong. A script of pieces follows: a
//! byte (2 bits name the datagram; 4: there is more; 8: the other peer; 16: time passes before; 32:
//! the offset is a lie, if any may be), then in units of 8 bytes where the piece begins and how
//! long it is (a word each). Unless there are lies what arrives is what was sent.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use slipwire_core::Action;

use super::gateway::{PEERS, World, inner};
use super::script::Script;
use super::wire::{self, UDP};

const PIECES_MAX: usize = 400;
const FRAGMENT: u8 = 44;
/// Payloads in bytes; an odd one is IPv6's.
const LENGTHS: [usize; 4] = [100, 2_001, 9_000, 65_501];

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new();
    let Some(lies) = script.byte().map(|byte| byte & 1 != 0) else { return };
    for _ in 0..PIECES_MAX {
        let Some((peer, piece)) = piece(&mut script, lies, &mut world) else { break };
        world.send(peer, &piece);
        let now = world.now;
        for action in std::mem::take(&mut world.actions) {
            if let Action::Open(flow) = action
                && let Ok(mut flow) = world.engine.flow(flow)
            {
                flow.opened(None, now);
            }
        }
        world.drain();
        for datagram in world.datagrams() {
            let is_true = wholes().iter().flatten().any(|whole| whole.ends_with(&datagram));
            assert!(
                lies || is_true && LENGTHS.contains(&datagram.len()),
                "{} bytes",
                datagram.len()
            );
        }
        for peer in 0..PEERS {
            world.received(peer);
        }
    }
}

fn piece(script: &mut Script<'_>, lies: bool, world: &mut World) -> Option<(usize, Vec<u8>)> {
    let what = script.byte()?;
    let (start, len) = (usize::from(script.word()?) * 8, usize::from(script.word()? % 180) * 8);
    let peer = usize::from(what >> 3 & 1);
    if what & 16 != 0 {
        world.pass(Duration::from_millis(len as u64 * 10));
    }
    let whole = &wholes()[peer][usize::from(what & 3)];
    let header_len = if whole[0] >> 4 == 4 { 20 } else { 40 };
    let body = &whole[header_len..];
    let start = start % body.len().next_multiple_of(8);
    let chunk = &body[start..(start + len).min(body.len())];
    let offset = if lies && what & 32 != 0 { len } else { start };
    Some((peer, cut(&whole[..header_len], chunk, offset as u16, what & 4 != 0, what & 3)))
}

fn cut(header: &[u8], chunk: &[u8], offset: u16, more: bool, id: u8) -> Vec<u8> {
    let mut piece = header.to_vec();
    if header.len() == 20 {
        let field = (offset / 8) | (u16::from(more) << 13);
        piece[4..6].copy_from_slice(&[0, id]);
        piece[6..8].copy_from_slice(&field.to_be_bytes());
    } else {
        piece[6] = FRAGMENT;
        let [high, low] = (offset | u16::from(more)).to_be_bytes();
        piece.extend([UDP, 0, high, low, 0, 0, 0, id]);
    }
    piece.extend(chunk);
    wire::mend_ip(&mut piece);
    piece
}

/// Each peer's datagrams before they are cut. Their bytes tell them and their places apart.
fn wholes() -> &'static [Vec<Vec<u8>>; PEERS] {
    static WHOLES: OnceLock<[Vec<Vec<u8>>; PEERS]> = OnceLock::new();
    WHOLES.get_or_init(|| {
        [0, 1].map(|peer| {
            let whole = |(id, len): (usize, usize)| {
                let is_v4 = len.is_multiple_of(2);
                let host = if is_v4 {
                    [192, 0, 2, 1].into()
                } else {
                    [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()
                };
                let byte = |place: usize| (place / 8 * 37 + place + 11 * id + 5 * peer) as u8;
                let payload: Vec<u8> = (0..len).map(byte).collect();
                let source = SocketAddr::new(inner(peer, is_v4), 1000);
                wire::datagram(source, SocketAddr::new(host, 7), &payload)
            };
            LENGTHS.into_iter().enumerate().map(whole).collect()
        })
    })
}
