//! The harness of slipwire's end-to-end tests and benchmarks.
//!
//! A test gets a [`lab::Lab`]: a scratch directory and network namespaces that vanish with it. From
//! the lab it builds hosts and links ([`net`]), or at once three hosts in a row with a tunnel
//! between the first two ([`tunnel::Tunnel`]):
//!
//! ```text
//!   near --------- mid --------- far
//!   clients        the tunnel's  servers
//!   and one end    other end
//! ```
//!
//! Each end of the tunnel is either [`slipwire::Slipwire`] or [`wireguard_go::WireguardGo`], whose
//! TCP is the kernel's. Clients and servers are threads of the test with sockets inside a namespace
//! ([`tcp`], [`udp`], [`payload`]), or programs ([`process`]). Faults on the way are real rules
//! ([`netfilter`]). [`siege::Siege`] is a gateway with a peer that behaves and one that does not,
//! whose packets are made by hand ([`raw_peer`], [`packet`], [`attack`]). Nothing waits without a
//! deadline.
//!
//! [`sandbox`] gives the whole test process namespaces of its own first, so that it needs no root
//! where unprivileged user namespaces exist, and leaves nothing behind, however it ends.

pub mod attack;
pub mod deadline;
pub mod lab;
pub mod net;
pub mod netfilter;
pub mod packet;
pub mod payload;
pub mod peer;
pub mod process;
pub mod raw_peer;
pub mod relay;
pub mod row;
pub mod sandbox;
pub mod siege;
pub mod slipwire;
pub mod tcp;
pub mod tunnel;
pub mod udp;
pub mod wireguard_go;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex; what a panicking thread left in it is still good enough for a test's report.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
