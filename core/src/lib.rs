//! slipwire-core
#![forbid(unsafe_code)]
