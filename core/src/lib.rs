//! A WireGuard end in user space as a pure state machine: no sockets, no files, no threads, no
//! clock.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod action;
pub mod config;
mod engine;
mod key;
mod limits;
mod stats;
mod time;

pub use action::{
    Abort, Action, Datagram, FlowId, FlowMeta, Identity, NoFlow, OpenError, PeerId, Protocol,
    Refusal, Target, Transmit,
};
pub use config::Config;
pub use engine::Engine;
pub use ipnet::IpNet;
pub use key::{KEY_LEN, KeyError, PresharedKey, PrivateKey, PublicKey};
pub use limits::{Limits, Share};
pub use stats::{Counter, Stats};
pub use time::Instant;
