//! End-to-end tests: slipwire against wireguard-go and against itself, in network namespaces.
//!
//! One file a subject; the name of a test is the promise that it keeps, before it the job that it
//! was tried on. Run one by a part of its name:
//!
//! ```text
//! cargo build && cargo test -p slipwire-tests --test e2e -- half_close
//! ```
//!
//! `SLIPWIRE_BIN` names another slipwire than the one in the target directory. Slow tests run under
//! `SLIPWIRE_TEST_SLOW=1`. Under `SLIPWIRE_TEST_ALL=1` they run too, and a test that cannot run for
//! what the machine lacks is a failure; otherwise it is skipped with the reason.

mod capture;
mod closing;
mod common;
mod faults;
mod gateway;
mod handshake;
mod hostile;
mod icmp;
mod identity;
mod loss;
mod marks;
mod memory;
mod mtu;
mod names;
mod nat;
mod options;
mod outcomes;
mod paths;
mod peers;
mod process;
mod programs;
mod record;
mod recovery;
mod rekey;
mod roaming;
mod rules;
mod runner;
mod scenarios;
mod siege;
mod this_host;
mod transfer;
mod udp;
mod vanishing;

use std::{env, process::ExitCode};

use libtest_mimic::Arguments;
use slipwire_lab::sandbox;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let surroundings = if arguments.list { Ok(()) } else { sandbox::enter() };
    if let Err(reason) = &surroundings {
        eprintln!("no end-to-end test can run: {reason}");
    }
    let subjects = [
        // First, because some of these wait until nothing else runs.
        process::tests,
        capture::tests,
        record::tests,
        closing::tests,
        faults::tests,
        gateway::tests,
        handshake::tests,
        hostile::tests,
        icmp::tests,
        identity::tests,
        loss::tests,
        marks::tests,
        memory::tests,
        mtu::tests,
        names::tests,
        nat::tests,
        options::tests,
        outcomes::tests,
        paths::tests,
        peers::tests,
        programs::tests,
        recovery::tests,
        rekey::tests,
        roaming::tests,
        rules::tests,
        scenarios::tests,
        siege::tests,
        this_host::tests,
        transfer::tests,
        udp::tests,
        vanishing::tests,
    ];
    let is_set = |name| env::var_os(name).is_some_and(|value| value == "1");
    let options = runner::Options {
        all: is_set("SLIPWIRE_TEST_ALL"),
        slow: is_set("SLIPWIRE_TEST_SLOW"),
        surroundings,
    };
    runner::run(arguments, options, subjects.iter().flat_map(|tests| tests()).collect())
}
