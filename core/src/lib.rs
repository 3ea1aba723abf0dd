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
//!    ([`handle_datagram`](Engine::handle_datagram)), the time
//!    ([`handle_timeout`](Engine::handle_timeout)), and what host sockets say
//!    ([`handle_opened`](Engine::handle_opened), [`send`](Engine::send),
//!    [`handle_shutdown`](Engine::handle_shutdown) ...).
//! 4. Drain [`poll_action`](Engine::poll_action): open and close host sockets, move bytes.
//! 5. Drain [`poll_datagram`](Engine::poll_datagram): send datagrams of UDP and ICMP flows.
//! 6. Drain [`poll_transmit`](Engine::poll_transmit): send trains of WireGuard datagrams, and say
//!    so with [`transmitted`](Engine::transmitted).
//! 7. Go on with 4 as long as that brought about anything, then with 2.
//!
//! ```
//! use std::net::SocketAddr;
//! use slipwire_core::config::{Interface, Mappings, Parts, Tcp};
//! use slipwire_core::{Action, Config, Engine, Instant, Limits, PrivateKey};
//!
//! let parts = Parts {
//!     interface: Interface {
//!         private_key: PrivateKey::from_entropy([7; 32]),
//!         addresses: vec!["10.77.0.1/24".parse()?],
//!         mtu: 1420,
//!     },
//!     peers: Vec::new(),
//!     gateway: None,
//!     tcp: Tcp::default(),
//!     mappings: Mappings::default(),
//!     limits: Limits::default(),
//! };
//! let config = Config::new(parts).map_err(|errors| format!("{errors:?}"))?;
//! let now = Instant::ZERO;
//! let mut engine = Engine::new(&config, [42; 32], now); // 1
//!
//! let source: SocketAddr = "192.0.2.1:51820".parse()?; // 2
//! engine.handle_datagram(source, None, b"not WireGuard", now); // 3
//! engine.handle_timeout(now);
//! while let Some(action) = engine.poll_action() { // 4
//!     match action {
//!         Action::Open(flow) => engine.handle_opened(flow, now),
//!         other => println!("{other:?}"),
//!     }
//! }
//! while let Some(datagram) = engine.poll_datagram() { // 5
//!     println!("to {}: {} bytes", datagram.remote, datagram.payload.len());
//! }
//! while let Some(train) = engine.poll_transmit() { // 6
//!     let sent = train.contents.len();
//!     engine.transmitted(sent);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! - Time never runs backwards: an older `now` is taken as the latest seen.
//! - A bad packet is a [`Counter`], never an error and never a panic.
//! - Every queue, table and buffer has a bound; a full one pushes back or refuses, by name.
//! - The peer of a flow hears nothing before the embedder has answered [`Action::Open`].
//! - A [`FlowId`] that was kept too long names nothing.
//! - Bytes that were cut off never look like a clean end: a FIN becomes [`Action::Shutdown`], a
//!   reset becomes [`Action::Aborted`], and neither becomes the other.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod action;
mod bucket;
pub mod config;
mod conflict;
pub mod decision;
mod egress;
mod engine;
mod key;
mod limits;
mod path_mtu;
pub mod rules;
mod stack;
mod stats;
mod time;
mod timer;
mod tunnel;

pub use action::{
    Abort, Action, Datagram, FlowId, FlowMeta, Fragmenting, Identity, Loss, NoFlow, OpenError,
    PeerId, Protocol, Refusal, Target, Transmit, Travel, Undelivered,
};
pub use config::Config;
pub use conflict::PeerConflict;
pub use engine::Engine;
pub use ipnet::IpNet;
pub use key::{KEY_LEN, KeyError, PresharedKey, PrivateKey, PublicKey};
pub use limits::{Limits, Share};
pub use stats::{Counter, Stats};
pub use time::Instant;
