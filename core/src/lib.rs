//! A WireGuard end in user space, and the flows through it, as a pure state machine.
//!
//! [`Engine`] takes bytes and time, and says what to send and what to do. It opens no socket,
//! reads no file and no clock, starts no thread and looks at no environment; whoever embeds it
//! does that. (One exception, which is boringtun's: handshakes draw their ephemeral keys and the
//! wall clock's timestamp from the system.)
//!
//! # The loop
//!
//! 1. Build an [`Engine`] from a [`Config`], 32 bytes of entropy and the time.
//! 2. Wait for a socket, or for the time of [`Engine::poll_timeout`].
//! 3. Hand in what there is: datagrams of the WireGuard socket
//!    ([`handle_datagram`](Engine::handle_datagram), or
//!    [`handle_datagrams`](Engine::handle_datagrams) if the system puts trains together), the time
//!    ([`handle_timeout`](Engine::handle_timeout)), what host sockets say ([`flow`](Engine::flow):
//!    bytes, datagrams, ends), and what local clients want ([`open_tcp`](Engine::open_tcp),
//!    [`open_udp`](Engine::open_udp)). Peers and rules may change here, too
//!    ([`add_peer`](Engine::add_peer), [`set_peer`](Engine::set_peer),
//!    [`remove_peer`](Engine::remove_peer), [`set_rules`](Engine::set_rules)).
//! 4. Drain [`poll_action`](Engine::poll_action): open and close host sockets, move bytes. What
//!    leads to the host itself is refused ([`may_reach_host`](Engine::may_reach_host)).
//! 5. Drain [`poll_datagram`](Engine::poll_datagram): send datagrams of UDP and ICMP flows, say so
//!    with [`delivered`](Engine::delivered), and which were lost ([`Flow::undelivered`]).
//! 6. Drain [`poll_transmit`](Engine::poll_transmit): send trains of WireGuard datagrams, and say
//!    so with [`transmitted`](Engine::transmitted), or that they are too large for their path
//!    ([`handle_too_big`](Engine::handle_too_big)).
//! 7. Give flows their turns with [`service`](Engine::service). Go on with 4 as long as any of
//!    these brought something about, then with 2.
//!
//! ```
//! use std::net::SocketAddr;
//! use slipwire_core::config::{Gateway, Interface, Parts, Peer};
//! use slipwire_core::{Action, Config, Engine, Instant, PrivateKey};
//!
//! let interface = Interface::new(PrivateKey::from_entropy([7; 32]), ["10.77.0.1/24".parse()?]);
//! let peer = Peer::new("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".parse()?)
//!     .with_name("laptop")
//!     .with_allowed_ips(["10.77.0.2/32".parse()?]);
//! let mut parts = Parts::new(interface);
//! parts.peers.push(peer);
//! parts.gateway = Some(Gateway::default());
//! let now = Instant::ZERO;
//! let mut engine = Engine::new(&Config::new(parts)?, [42; 32], now); // 1
//!
//! let source: SocketAddr = "192.0.2.1:51820".parse()?; // 2
//! engine.handle_datagram(source, None, b"not WireGuard", now); // 3
//! engine.handle_timeout(now);
//! loop {
//!     while let Some(action) = engine.poll_action() { // 4
//!         match action {
//!             Action::Open(id) => {
//!                 let Ok(mut flow) = engine.flow(id) else { continue }; // it has ended since
//!                 flow.opened(None, now);
//!             }
//!             Action::Readable(id) => {
//!                 let Ok(mut flow) = engine.flow(id) else { continue };
//!                 let mut buffer = [0; 1500];
//!                 while let len @ 1.. = flow.receive(&mut buffer, now) {
//!                     println!("{id:?} has {:?}", &buffer[..len]);
//!                 }
//!             }
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     while let Some(datagram) = engine.poll_datagram() { // 5
//!         println!("{} bytes to {}", datagram.payload.len(), datagram.remote);
//!         let flow = datagram.flow;
//!         engine.delivered(flow);
//!     }
//!     while let Some(train) = engine.poll_transmit() { // 6
//!         println!("{} bytes to {}", train.contents.len(), train.destination);
//!         let sent = train.contents.len();
//!         engine.transmitted(sent);
//!     }
//!     if !engine.service(now) { // 7
//!         break;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three engines in one process
//!
//! A client says hello to an echo service, through a hub that both are peers of. Handshakes, keys
//! and packets are real; the network is a list.
//!
//! ```
//! use std::{error::Error, net::SocketAddr, time::Duration};
//! use slipwire_core::config::{Gateway, Interface, Parts, Peer};
//! use slipwire_core::rules::{Rule, RuleAction};
//! use slipwire_core::{Action, Config, Engine, Instant, PrivateKey};
//!
//! const ECHO: u8 = 3;
//! let key = |n| PrivateKey::from_entropy([n; 32]);
//! let endpoint = |n: u8| SocketAddr::from(([192, 0, 2, 1], n.into())); // the port is the number
//! let peer = |n, prefix: &str| -> Result<Peer, Box<dyn Error>> {
//!     let peer = Peer::new(key(n).public_key()).with_name(n.to_string());
//!     Ok(peer.with_endpoint(endpoint(n)).with_allowed_ips([prefix.parse()?]))
//! };
//! let engine = |n, peers, gateway| -> Result<Engine, Box<dyn Error>> {
//!     let mut parts = Parts::new(Interface::new(key(n), [format!("10.77.0.{n}/24").parse()?]));
//!     (parts.peers, parts.gateway) = (peers, Some(gateway));
//!     Ok(Engine::new(&Config::new(parts)?, [n; 32], Instant::ZERO))
//! };
//! let (mut hub, mut echo) = (Gateway::default(), Gateway::default());
//! hub.peer_to_peer = true;
//! echo.rules.push(Rule::any(RuleAction::Serve));
//! let mut engines = [
//!     engine(1, vec![peer(2, "10.77.0.2/32")?, peer(ECHO, "10.77.0.3/32")?], hub)?,
//!     engine(2, vec![peer(1, "10.77.0.0/24")?], Gateway::default())?,
//!     engine(ECHO, vec![peer(1, "10.77.0.0/24")?], echo)?,
//! ];
//! let (mut now, mut heard) = (Instant::ZERO, Vec::new());
//! engines[1].open_tcp("10.77.0.3:7".parse()?, now)?;
//! while heard != b"hello" {
//!     let mut network = Vec::new();
//!     for (n, engine) in (1..).zip(&mut engines) {
//!         engine.handle_timeout(now);
//!         engine.service(now);
//!         while let Some(action) = engine.poll_action() {
//!             let Some(Ok(mut flow)) = action.flow().map(|id| engine.flow(id)) else { continue };
//!             match action {
//!                 Action::Open(_) => flow.opened(None, now),
//!                 Action::Established(_) => drop(flow.send(b"hello", now)),
//!                 Action::Readable(_) => {
//!                     let bytes = flow.received().to_vec();
//!                     flow.consume(bytes.len(), now);
//!                     if n == ECHO { drop(flow.send(&bytes, now)) } else { heard.extend(bytes) }
//!                 }
//!                 _ => {}
//!             }
//!         }
//!         while let Some(train) = engine.poll_transmit() {
//!             let (to, len) = (train.destination, train.contents.len());
//!             let datagrams = train.contents.chunks(train.segment_size);
//!             network.extend(datagrams.map(|datagram| (endpoint(n), to, datagram.to_vec())));
//!             engine.transmitted(len);
//!         }
//!     }
//!     for (from, to, datagram) in network {
//!         engines[usize::from(to.port()) - 1].handle_datagram(from, None, &datagram, now);
//!     }
//!     now += Duration::from_millis(5);
//!     assert!(now < Instant::ZERO + Duration::from_secs(60));
//! }
//! # Ok::<(), Box<dyn Error>>(())
//! ```
//!
//! Two examples in the repository are whole programs: `core/examples/forward` has this loop around
//! `poll(2)`, `core/examples/whoami.rs` is a server inside the tunnel, without a host socket.
//! `slipwire-driver` is the loop that the program runs.
//!
//! What happens can be recorded ([`start_tape`](Engine::start_tape)) and run again ([`tape`]).
//!
//! What there is can be read at any time, without a copy: [`Engine::peers`] and [`Engine::flows`]
//! with what each has moved, [`Engine::stats`] and [`Engine::usage`]. Who would rather be told sets
//! an [`Observer`]: peers that come up and go down, flows that open and end, and what was refused
//! and why, each by the one word of a [`FlowOutcome`] or [`HandshakeFault`].
//!
//! # What holds
//!
//! - Time never runs backwards: an older `now` is taken as the latest seen.
//! - A bad packet is a [`Counter`], never an error and never a panic.
//! - Every queue, table and buffer has a bound; a full one pushes back or refuses, by name.
//! - The peer of a flow hears nothing before the embedder has answered [`Action::Open`].
//! - A [`FlowId`] or [`PeerId`] that was kept too long names nothing.
//! - Bytes that were cut off never look like a clean end: a FIN becomes [`Action::Shutdown`], a
//!   reset becomes [`Action::Aborted`], and neither becomes the other.
//!
//! # Beside boringtun
//!
//! Core builds boringtun 0.7 with its feature `mock-instant`, and cargo builds one boringtun of a
//! version for a whole program. A program that uses boringtun 0.7 itself so finds its clock frozen,
//! but for the moments to which an engine sets it in its own thread: handshakes, rekeys and
//! keepalives of its own tunnels do not happen in time. It has to set the clock as well
//! (`mock_instant::MockClock`, one for each thread, before each call), or run those tunnels in
//! another process.
//!
//! # What may grow
//!
//! A minor version may add to what is `#[non_exhaustive]`: options ([`config`] has constructors for
//! them), counters, refusals, and errors that are only shown. What somebody has to act on is
//! exhaustive, so that the compiler says where a new one is not handled yet: [`Action`],
//! [`Target`], [`Abort`], [`rules`], and errors that a front end leads to a place in what its user
//! wrote ([`ConfigErrors`], [`KeyError`]). An addition to those is a major version.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod action;
mod address;
mod arrival;
mod bucket;
pub mod config;
mod datagram;
mod ecn;
mod egress;
mod engine;
mod errors;
mod event;
mod flow;
mod id;
mod key;
mod limits;
mod monitor;
mod notation;
mod outcome;
mod path_mtu;
mod policy;
mod routing;
pub mod rules;
mod stack;
mod state;
mod stats;
mod tap;
pub mod tape;
mod time;
mod timer;
mod tunnel;
mod words;

pub use action::{Action, IdleRings};
pub use address::readings;
pub use arrival::Arrival;
pub use config::{ChangeConflicts, Config, ConfigErrors, PeerChange, PeerConflict, PeerConflicts};
pub use datagram::{Datagram, Fragmenting, Loss, TrafficClass, Travel, Undelivered};
pub use ecn::Ecn;
pub use egress::Transmit;
pub use engine::{Engine, Flow};
pub use errors::Errors;
pub use event::{Event, Observer};
pub use flow::{Abort, FlowMeta, NoFlow, OpenError, Protocol, Refusal, Target};
pub use id::{FlowId, Identity, ParseFlowIdError, PeerId};
pub use ipnet::IpNet;
pub use key::{KEY_LEN, KeyError, PresharedKey, PrivateKey, PublicKey};
pub use limits::{Limits, Share, ShareOutOfRange};
pub use outcome::{FlowOutcome, HandshakeFault};
pub use policy::decision;
pub use state::{FlowState, FlowStatus, PathState, PeerState, Transfer, Usage};
pub use stats::{Counter, Stats};
pub use tap::{Direction, Tap};
pub use time::Instant;
