//! From a [`Test`] to a trial of libtest-mimic: what a test needs, how long it may take, what is
//! shown of a failure.

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use slipwire_lab::{lab::Lab, sandbox, slipwire, tunnel::Job};

/// Most tests wait more than they work, so a few more run at once than a small machine has cores.
/// Slow ones do next to nothing but wait, and run beside all others.
const MIN_THREADS: usize = 4;

type Body = dyn Fn(&Lab) -> Result<()> + Send + Sync;

/// A promise and how to see whether it is kept.
pub(crate) struct Test {
    name: String,
    tools: &'static [&'static str],
    needs_slipwire: bool,
    is_slow: bool,
    is_quiet: bool,
    body: Arc<Body>,
}

impl Test {
    /// A test of its own.
    pub(crate) fn new(
        name: &str,
        body: impl Fn(&Lab) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let (name, body) = (name.to_owned(), Arc::new(body));
        Self { name, tools: &[], needs_slipwire: true, is_slow: false, is_quiet: false, body }
    }

    /// One test for each of `jobs`.
    pub(crate) fn each(jobs: &[Job], name: &str, body: fn(&Lab, Job) -> Result<()>) -> Vec<Self> {
        let test = |&job: &Job| Self {
            needs_slipwire: job != Job::Baseline,
            ..Self::new(&format!("{job}::{name}"), move |lab| body(lab, job))
        };
        jobs.iter().map(test).collect()
    }

    /// Programs that it runs.
    pub(crate) fn with_tools(self, tools: &'static [&'static str]) -> Self {
        Self { tools, ..self }
    }

    /// It takes minutes.
    pub(crate) fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }

    /// It measures time or memory, so nothing else runs beside it.
    pub(crate) fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(if self.is_slow { 400 + soak_seconds() } else { 180 })
    }
}

/// How long tests that can go on for longer are asked to, by `SLIPWIRE_SOAK_SECONDS`.
pub(crate) fn soak_seconds() -> u64 {
    env::var("SLIPWIRE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What the caller and the machine allow.
pub(crate) struct Options {
    /// Slow tests run and a skip is a failure.
    pub(crate) all: bool,
    /// Slow tests run.
    pub(crate) slow: bool,
    /// Why no test can run, if so.
    pub(crate) surroundings: Result<(), String>,
}

/// Runs the tests that `arguments` ask for.
pub(crate) fn run(mut arguments: Arguments, options: Options, mut tests: Vec<Test>) -> ExitCode {
    // What takes longest begins first. What has to be alone comes last, or everything else would
    // wait until what runs has ended.
    tests.sort_by_key(|test| (test.is_quiet, !test.is_slow));
    let slow = tests.iter().filter(|test| test.is_slow).count();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let at_once = cores.max(MIN_THREADS);
    let threads = *arguments.test_threads.get_or_insert(at_once + slow);
    let shared = Arc::new(Shared { options, seats: Seats::new(at_once.min(threads)) });
    let trials = tests.into_iter().map(|test| trial(test, Arc::clone(&shared))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What all tests share.
struct Shared {
    options: Options,
    seats: Seats,
}

/// Bounds how many tests work at once.
struct Seats {
    free: Mutex<usize>,
    changed: Condvar,
}

impl Seats {
    const fn new(free: usize) -> Self {
        Self { free: Mutex::new(free), changed: Condvar::new() }
    }

    /// Performs `work` as soon as a seat is free.
    fn sit<R>(&self, work: impl FnOnce() -> R) -> R {
        // Nothing that holds this lock panics.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.changed.wait_while(free, |free| *free == 0);
        *taken.unwrap_or_else(PoisonError::into_inner) -= 1;
        let result = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_one();
        result
    }
}

fn trial(test: Test, shared: Arc<Shared>) -> Trial {
    let options = &shared.options;
    let is_ignored = test.is_slow && !options.slow && !options.all;
    let (name, kind) = (test.name.clone(), if test.is_slow { "slow" } else { "" });
    let run = move || match obstacle(&test, &shared.options) {
        None if test.is_slow => perform(test).map(|()| Completion::Completed),
        None => shared.seats.sit(|| perform(test)).map(|()| Completion::Completed),
        Some(reason) if shared.options.all => Err(format!("cannot run: {reason}").into()),
        Some(reason) => Ok(Completion::ignored_with(reason)),
    };
    Trial::ignorable_test(name, run).with_ignored_flag(is_ignored).with_kind(kind)
}

/// Why a test cannot run here.
fn obstacle(test: &Test, options: &Options) -> Option<String> {
    let surroundings = options.surroundings.as_ref().err().cloned();
    let missing = || test.tools.iter().find(|tool| !sandbox::has_tool(tool));
    surroundings.or_else(|| missing().map(|tool| format!("{tool} is not installed")))
}

/// Performs a test on a thread of its own, so that one that hangs is a failure and not a hang.
fn perform(test: Test) -> Result<(), Failed> {
    if let Some(missing) = slipwire::missing().filter(|_| test.needs_slipwire) {
        return Err(missing.into());
    }
    /// Read by tests that bear company, written by those that don't.
    static QUIET: RwLock<()> = RwLock::new(());
    // A test that panics leaves nothing behind this lock.
    let _alone = test.is_quiet.then(|| QUIET.write().unwrap_or_else(PoisonError::into_inner));
    let _beside = (!test.is_quiet).then(|| QUIET.read().unwrap_or_else(PoisonError::into_inner));

    let lab = Arc::new(Lab::new().map_err(|error| format!("{error:#}"))?);
    let (sender, result) = channel();
    let limit = test.limit();
    let worker = {
        let lab = Arc::clone(&lab);
        // The other side is gone only when it has given up.
        thread::spawn(move || drop(sender.send((test.body)(&lab))))
    };
    let result = match result.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(anyhow!("not done within {limit:?}")),
        Err(RecvTimeoutError::Disconnected) => Err(anyhow!("panicked: {}", panic_message(worker))),
    };
    result.map_err(|error| format!("{error:#}\n\n{}", lab.logs()).into())
}

fn panic_message(worker: thread::JoinHandle<()>) -> String {
    let Err(payload) = worker.join() else { return String::new() };
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}
