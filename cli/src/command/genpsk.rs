//! `slipwire genpsk`: a new preshared key.

use lexopt::Parser;
use slipwire_core::PresharedKey;

use super::{arguments, genkey};
use crate::entropy;
use crate::failure::Failure;

const HELP: &str = "\
Prints a new preshared key in base64, as `wg genpsk` does. Both ends of a tunnel may share one
beside their keys; it guards what is recorded today against a quantum computer of tomorrow.

Usage: slipwire genpsk

Example:
  (umask 077; slipwire genpsk > laptop.psk)    for preshared_key_file of a [[peer]]
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    if arguments::settle(arguments::none(parser), "genpsk", HELP)?.is_none() {
        return Ok(());
    }
    let key = PresharedKey::from_entropy(*entropy::secret_bytes()?);
    genkey::print_secret(key.to_base64())
}
