//! The commands: a file each. Here the one that the arguments name is found.
//!
//! - [`arguments`]: the forms that a command may take, and `--help`;
//! - [`run`]: a configuration, until a signal ends it;
//! - [`check`]: whether a configuration is valid, and what it would run, with [`rule_table`] for
//!   its rules; [`explain`]: which rule decides about a flow;
//! - [`genkey`], [`genpsk`], [`pubkey`]: keys;
//! - [`quickstart`]: a gateway, a client for it, and proof that the tunnel works;
//! - [`replay`]: a tape through a stack.

mod arguments;
mod check;
mod explain;
mod genkey;
mod genpsk;
mod pubkey;
mod quickstart;
mod replay;
mod rule_table;
mod run;

pub(crate) use check::describe;
pub(crate) use explain::explain;
use lexopt::{Arg, Parser};

use crate::failure::Failure;
use crate::output;

const HELP: &str = "\
WireGuard in user space: port forwards and a gateway, without root and without a TUN device.

Usage: slipwire COMMAND [ARGUMENTS]

Commands:
  run [FILE]          run a configuration
  quickstart [DIR]    make keys and a configuration, run a gateway, and try it at once
  check [FILE]        validate a configuration and print what would run
  genkey              print a new private key
  pubkey              read a private key, print its public key
  genpsk              print a new preshared key
  replay TAPE         run a recorded tape, stop at the first difference
  help [COMMAND]      print this, or the help of a command

Options:
  -h, --help          print this, or the help of a command
  -V, --version       print the version

Examples:
  slipwire quickstart                         the whole way in one go, nothing to set up
  (umask 077; slipwire genkey > slip0.key)    a key of your own
  slipwire check slipwire.toml                what would run, or all that is wrong
  slipwire run slipwire.toml                  until SIGTERM or Ctrl-C

Exit codes: 0 done, 1 a fault of what was asked for, 2 wrong usage, 3 the system refused.
";

/// What a command does with the arguments behind its name.
type Main = fn(Parser) -> Result<(), Failure>;

const COMMANDS: [(&str, Main); 8] = [
    ("run", run::main),
    ("quickstart", quickstart::main),
    ("check", check::main),
    ("genkey", genkey::main),
    ("pubkey", pubkey::main),
    ("genpsk", genpsk::main),
    ("replay", replay::main),
    ("help", help),
];

/// Runs the command that the arguments name.
pub(crate) fn dispatch(mut parser: Parser) -> Result<(), Failure> {
    match parser.next().map_err(|error| usage(error.to_string()))? {
        None => Err(usage("no command".to_owned())),
        Some(Arg::Short('h') | Arg::Long("help")) => output::print(HELP),
        Some(Arg::Short('V') | Arg::Long("version")) => {
            output::print(concat!("slipwire ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Some(Arg::Value(name)) => command(&name.to_string_lossy())?(parser),
        Some(option) => Err(usage(option.unexpected().to_string())),
    }
}

/// `slipwire help [COMMAND]`: what `--help` prints.
fn help(parser: Parser) -> Result<(), Failure> {
    let parsed = arguments::word(parser);
    match arguments::settle(parsed, "help", HELP)?.flatten().as_deref() {
        None => output::print(HELP),
        Some(name) => command(name)?(Parser::from_args(["--help"])),
    }
}

fn command(name: &str) -> Result<Main, Failure> {
    let find = |name: &str| COMMANDS.into_iter().find(|(known, _)| *known == name);
    find(name).map(|(_, main)| main).ok_or_else(|| usage(unknown_command(name)))
}

fn usage(message: String) -> Failure {
    Failure::Usage { message, help: "slipwire".to_owned() }
}

fn unknown_command(name: &str) -> String {
    let near = |(known, _): &&(&str, Main)| strsim::osa_distance(known, name) <= 2;
    match COMMANDS.iter().find(near) {
        Some((near, _)) => format!("no command {name:?}, did you mean `{near}`?"),
        None => format!("no command {name:?}"),
    }
}
