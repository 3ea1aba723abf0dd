//! The program as its users meet it: arguments, messages, exit codes.
#![allow(clippy::unwrap_used, reason = "what a test needs and has not got fails it")]

mod bad_input;
mod keys;
mod program;
mod quickstart;
mod rules;
mod run;
mod usage;
mod written;
