//! Whole engines in a world of their own: a clock, hosts, sockets and links that all follow from
//! one seed, and an oracle beside them that knows what may happen.
//!
//! ```text
//!   plan -----> world -----> hosts (engine, legs, sockets)   what happens
//!    of a        | ^           |
//!    seed        v |           v
//!               links        oracle, mail                    what may happen
//! ```
//!
//! A `plan` is thrown by `dice`, and the `world` carries it out: it keeps the time and the
//! `agenda`, moves datagrams over `link`s, and gives each `host` its turns. A host drives its
//! engine as a driver would, with a `leg` for each flow and a `socket` with an application
//! behind it. The `oracle` and `mail` are told of all of it and object to what must not be.
//! `tamper` breaks engines on purpose, to see whether they do.
//!
//! Nothing here follows from a clock, or from chance but the dice. What WireGuard draws from the
//! system changes ciphertext only, which nothing depends on; so the `log`, and its digest, are the
//! same whenever a seed is run. A run during which the `wall` clock is set back would be another:
//! it is made again.

mod act;
mod agenda;
mod audit;
mod dialogue;
mod host;
mod leg;
mod log;
mod mail;
mod oracle;
mod pattern;
mod plan;
mod repeats;
mod scene;
mod setup;
mod socket;
mod tamper;
mod tape;
mod wall;
mod weather;
mod witness;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use log::Trace;
pub use oracle::Violation;
pub use slipwire_worlds::ledger::Sent;
pub use tamper::Mutant;

use plan::Plan;
use wall::Wall;
use world::World;

/// What came of one seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Of every line of the log.
    pub digest: u64,
    /// Turns of hosts, and everything else that happened.
    pub events: u64,
    /// How much time passed.
    pub time: Duration,
    /// Streams that were complete, and how many there were.
    pub completed: (usize, usize),
    /// Bytes of streams that arrived.
    pub bytes: u64,
    /// Datagrams of UDP that arrived.
    pub datagrams: u64,
    /// Bytes that TCP sent, and those that it had sent before.
    pub sent: Sent,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
}

/// Runs one seed to its end, or to the first broken promise. An engine that panics breaks one.
pub fn run(seed: u64, trace: Trace) -> Report {
    run_plan(seed, None, Taping::Off, trace)
}

/// The same while every engine records a tape, which is replayed at its end: it has to say the same
/// then.
pub fn run_taped(seed: u64, trace: Trace) -> Report {
    run_plan(seed, None, Taping::On, trace)
}

/// The same with engines that are broken on purpose.
pub fn run_mutant(seed: u64, mutant: Mutant, trace: Trace) -> Report {
    run_plan(seed, Some(mutant), Taping::Off, trace)
}

/// The tape of the gateway in the run of a seed, since it last restarted.
///
/// # Panics
/// If the run breaks a promise.
pub fn tape_of(seed: u64) -> Vec<u8> {
    let mut world = World::new(Plan::new(seed), Trace::Hidden, None, Taping::On);
    match world.run() {
        Ok(()) => world.tape(),
        Err(violation) => panic!("seed {seed}: {violation}"),
    }
}

/// Whether engines record tapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taping {
    Off,
    On,
}

fn run_plan(seed: u64, mutant: Option<Mutant>, taping: Taping, trace: Trace) -> Report {
    wall::in_one_time(|| run_once(seed, mutant, taping, trace))
}

fn run_once(seed: u64, mutant: Option<Mutant>, taping: Taping, trace: Trace) -> (Report, Wall) {
    let plan = Plan::new(seed);
    if trace == Trace::Shown {
        eprintln!("{plan:#?}");
    }
    let streams = plan.streams.len();
    let mut world = World::new(plan, trace, mutant, taping);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(_) => Some(Violation("a panic".into())),
    };
    let report = Report {
        seed,
        digest: world.scene.log.digest(),
        events: world.events,
        time: world.time(),
        completed: (world.scene.oracle.completed(), streams),
        bytes: world.scene.oracle.bytes(),
        datagrams: world.scene.mail.total(),
        sent: world.sent(),
        violation,
    };
    (report, world.scene.wall)
}
