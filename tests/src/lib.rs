//! slipwire-tests
