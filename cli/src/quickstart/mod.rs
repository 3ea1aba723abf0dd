//! What `slipwire quickstart` makes and shows.
//!
//! ```text
//! curl -> 127.0.0.1:8080 -> trial (a second driver) == WireGuard on loopback == gateway -> page
//! ```

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
