//! slipwire-driver
