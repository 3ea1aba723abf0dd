//! `slipwire genkey`: a new private key.

use lexopt::Parser;
use slipwire_core::PrivateKey;
use zeroize::Zeroizing;

use super::arguments;
use crate::failure::Failure;
use crate::{entropy, output};

const HELP: &str = "\
Prints a new private key in base64, as `wg genkey` does.

Usage: slipwire genkey

Examples:
  (umask 077; slipwire genkey > slip0.key)        a key in a file that only you may read
  slipwire genkey | tee my.key | slipwire pubkey  a pair of keys
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    if arguments::settle(arguments::none(parser), "genkey", HELP)?.is_none() {
        return Ok(());
    }
    let key = PrivateKey::from_entropy(*entropy::secret_bytes()?);
    print_secret(key.to_base64())
}

/// Prints a key, with a warning if it goes into a file that everybody may read.
pub(super) fn print_secret(key: String) -> Result<(), Failure> {
    let key = Zeroizing::new(key);
    if output::is_world_accessible() {
        output::complain(
            "slipwire: warning: this secret goes into a file that others may read; \
             set `umask 077` and try again",
        );
    }
    output::print(&Zeroizing::new(format!("{}\n", *key)))
}
