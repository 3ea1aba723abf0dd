//! `slipwire pubkey`: the public key of a private one.

use std::io::{self, Read as _};

use lexopt::Parser;
use slipwire_core::PrivateKey;
use zeroize::Zeroizing;

use super::arguments;
use crate::failure::Failure;
use crate::output;

/// More than a key and the white space around it.
const INPUT_LEN_MAX: usize = 4096;

const HELP: &str = "\
Reads a private key in base64 from standard input and prints its public key, as `wg pubkey` does.

Usage: slipwire pubkey < FILE

Examples:
  slipwire pubkey < slip0.key
  slipwire genkey | slipwire pubkey
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    if arguments::settle(arguments::none(parser), "pubkey", HELP)?.is_none() {
        return Ok(());
    }
    let mut text = Zeroizing::new(String::with_capacity(INPUT_LEN_MAX));
    let read = io::stdin().lock().take(INPUT_LEN_MAX as u64).read_to_string(&mut text);
    match read {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            return Err(Failure::system("can't read standard input")(error));
        }
        // What is no text leaves nothing behind, which is no key either.
        Ok(_) | Err(_) => {}
    }
    let key = text.parse::<PrivateKey>().map_err(|error| {
        Failure::Fault(format!(
            "slipwire: standard input is {error}; pipe a private key in: \
             `slipwire genkey | slipwire pubkey`"
        ))
    })?;
    output::print(&format!("{}\n", key.public_key()))
}
