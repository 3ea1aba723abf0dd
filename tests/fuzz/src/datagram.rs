//! Datagrams from anybody at the WireGuard socket: noise, handshakes whose first MAC is right and
//! nothing else, and true messages of a peer that were changed on the way.
//!
//! A script of commands: a byte that says what (its low 3 bits) and from which address (the next
//! 2), then bytes. In a true message they are the changes: places (a word) and what is added there
//! by exclusive or (a byte). Whatever happens, the peer's session lives on.

use std::net::SocketAddr;
use std::time::Duration;

use blake2::digest::{Mac as _, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest as _};

use slipwire_core::Action;

use super::gateway::{World, gateway_key, inner};
use super::script::Script;
use super::wire;

const COMMANDS_MAX: usize = 64;
const LEN_END: u16 = 2048;

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new();
    let mut handshakes = 0;
    send_question(&mut world, 1);
    for _ in 0..COMMANDS_MAX {
        if command(&mut script, &mut world, &mut handshakes).is_none() {
            break;
        }
    }
    // Within the gate's and boringtun's bounds for sessions that are not confirmed.
    if handshakes == 0 {
        world.actions.clear();
        send_question(&mut world, 2);
        let opened = world.actions.iter().any(|action| matches!(action, Action::Open(_)));
        assert!(opened, "the peer is not heard any more");
    }
}

fn command(script: &mut Script<'_>, world: &mut World, handshakes: &mut usize) -> Option<()> {
    let what = script.byte()?;
    let source = source(world, what >> 3 & 3);
    match what & 7 {
        0 | 1 => {
            let noise = script.bytes(LEN_END)?.to_vec();
            world.hand_in(source, &noise);
        }
        2 => {
            let mut forgery = script.bytes(LEN_END)?.to_vec();
            authenticate(&mut forgery);
            world.hand_in(source, &forgery);
        }
        3 | 4 => {
            *handshakes += 1;
            let initiation = world.initiation(0);
            let mut changed = change(&initiation, script.bytes(LEN_END)?);
            if what & 7 == 4 {
                authenticate(&mut changed);
            }
            world.hand_in(source, &changed);
        }
        5 | 6 => {
            let sealed = world.seal(0, &question(1));
            let changed = change(&sealed, script.bytes(LEN_END)?);
            world.hand_in(source, &changed);
        }
        _ => world.pass(Duration::from_millis(u64::from(script.word()?) / 8)),
    }
    world.datagrams();
    world.received(0);
    Some(())
}

/// A datagram to a host, which needs a mapping of its own.
fn question(port: u16) -> Vec<u8> {
    let ends = [(inner(0, true), port), ([192, 0, 2, 1].into(), 7)].map(SocketAddr::from);
    wire::datagram(ends[0], ends[1], b"?")
}

fn send_question(world: &mut World, port: u16) {
    world.send(0, &question(port));
}

/// The peer itself, another port of its host, and others.
fn source(world: &World, which: u8) -> SocketAddr {
    let peer = world.address(0);
    match which {
        0 => peer,
        1 => SocketAddr::new(peer.ip(), 4001),
        2 => SocketAddr::from(([203, 0, 113, 9], 51820)),
        _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9], 51820)),
    }
}

fn change(message: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    for change in changes.chunks_exact(3) {
        let place = usize::from(change[0]) | usize::from(change[1]) << 8;
        match message.get_mut(place) {
            Some(byte) => *byte ^= change[2],
            // Beyond the end it is the end that changes.
            None => message.resize(place % 2048, change[2]),
        }
    }
    message
}

/// Makes the first MAC of a handshake message right, which takes the gateway's public key only.
fn authenticate(message: &mut [u8]) {
    let Some(mac1) = message.len().checked_sub(32) else { return };
    let mac_key =
        Blake2s256::new().chain_update(b"mac1----").chain_update(gateway_key().as_bytes());
    let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(&mac_key.finalize()) else { return };
    mac.update(&message[..mac1]);
    message[mac1..mac1 + 16].copy_from_slice(&mac.finalize().into_bytes());
}
