//! Runs [`slipwire_core`] on real sockets, with one thread and [mio](https://docs.rs/mio).
//!
//! The driver is thin: it turns core's actions into system calls, and readiness into core's
//! inputs. It decides nothing. File descriptors live here and only here.
//!
//! # The loop
//!
//! A [`Driver`] does nothing until [`turn`](Driver::turn) is called, again and again. A turn waits
//! until there is something to do, then
//!
//! 1. notes what epoll says, hands in names that have been resolved, and lets time pass,
//! 2. takes batches of datagrams from the WireGuard sockets, and after each batch carries out
//!    core's actions and sends its datagrams and trains,
//! 3. gives each host socket with something to do a turn, within a budget,
//! 4. accepts clients of forwards, and takes their datagrams,
//! 5. sends what has come of that.
//!
//! What core has to say is taken in the order that core asks for: actions until there are none,
//! then the datagrams that waited behind them, then trains. Trains that leave make room for flows
//! that wait, so after them actions are looked at once more, until nothing is left or it is enough
//! for one turn.
//!
//! Each step is bounded, so that no socket, flow or timer keeps the others waiting. With nothing to
//! do a turn blocks.
//!
//! ```no_run
//! use slipwire_core::Config;
//! use slipwire_driver::{Driver, Settings, StartError};
//!
//! # fn is_time_to_go() -> bool { true }
//! fn run(config: Config, seed: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut driver = Driver::new(config, Settings::default(), seed)?;
//!     while !is_time_to_go() {
//!         driver.turn(None)?;
//!     }
//!     driver.shut_down();
//!     Ok(())
//! }
//! ```
//!
//! # Inside another loop
//!
//! There are two ways to run a driver beside other things in one thread:
//!
//! - The driver's loop is the outer one: whatever mio can watch (signals, a Unix socket for
//!   control) is added with [`Driver::add_wakeup`]. Its readiness ends a turn, after which the
//!   embedder looks at it, and reads it until it would block.
//! - The other loop is the outer one: a driver is a descriptor ([`AsFd`](std::os::fd::AsFd)) that
//!   is readable when there is something to do. The other loop waits for that, at most for
//!   [`Driver::next_timeout`], then calls `turn(Some(Duration::ZERO))`.
//!
//! # Threads
//!
//! There is one, but for names of endpoints: the system's resolver blocks, so each question gets a
//! thread that ends with its answer.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod addresses;
mod clock;
mod descriptors;
mod driver;
mod error;
mod host;
mod incidents;
mod listen;
mod refusal;
mod resolve;
mod service;
mod settings;
mod token;
mod udp;

pub use driver::Driver;
pub use error::StartError;
pub use host::proxy::{PROXY_PEER_NAME, PROXY_PUBLIC_KEY};
pub use settings::{Forward, ForwardProtocol, Page, Settings};
pub use udp::Offloads;
