//! What a reader may count on in the sources of this repository.
//!
//! - [`sources`]: the files, and what a line of them is without its comment;
//! - [`constants`]: the constants that a crate declares;
//! - [`imports`]: which paths of its own crate a file names;
//! - [`rooms`]: the modules of a crate and of each folder in it, and which stands on which;
//! - [`types`]: the names of types that a crate declares.
//!
//! `tests/tidy.rs` holds the rules; `cargo run -p slipwire-tidy --bin modules` prints the rooms.

pub mod constants;
pub mod imports;
pub mod rooms;
pub mod sources;
pub mod types;
