//! What `slipwire quickstart` makes and shows.
//!
//! ```text
//! curl -> 127.0.0.1:8080 -> trial (a second driver) == WireGuard on loopback == gateway -> page
//! ```
//!
//! - [`directory`]: the files that it makes, or takes as they are; [`network`]: what can be found
//!   out about this machine for them; [`client`]: the other end in the form of wg-quick, and as a
//!   [`qr`] code;
//! - [`trial`]: the client in this process; [`page`]: what it fetches.

mod client;
mod directory;
mod network;
mod page;
mod qr;
mod trial;

pub(crate) use directory::{Code, Prepared, prepare};
pub(crate) use page::{serve as serve_page, with_page};
pub(crate) use qr::{NoCode, Size};
pub(crate) use trial::{Trial, start as start_trial};
