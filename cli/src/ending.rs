//! Signals. SIGTERM and SIGINT: the first asks for an end in order, the second ends the process at
//! once. Those that would end it otherwise and ask for something else do nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals;
use slipwire_driver::Driver;

use crate::failure::Failure;

/// What other programs take as a wish (to read a configuration again, to open a log anew) and what
/// says that a file may not grow, which the write that made it grow says too. Each of them ends a
/// process that has not thought of it.
const IDLE: [i32; 4] = [SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ];

/// Has the signals that ask for nothing that there is do nothing, from the start on: whoever sends
/// one does not know how far the start is.
pub(crate) fn outlive_idle_signals() -> Result<(), Failure> {
    // Nobody looks: that there is a handler is what keeps the process alive.
    let nobody = Arc::new(AtomicBool::new(false));
    for signal in IDLE {
        flag::register(signal, Arc::clone(&nobody))
            .map_err(Failure::system("can't handle signals"))?;
    }
    Ok(())
}

/// Waits for the first signal.
pub(crate) struct Ending {
    /// Set by the first signal: to look at it costs no system call.
    came: Arc<AtomicBool>,
    /// What wakes the driver; it works as long as it lives.
    _signals: Signals,
}

impl Ending {
    /// Takes the signals over, and has `driver` wake up for them.
    pub(crate) fn watch(driver: &mut Driver) -> Result<Self, Failure> {
        let came = Arc::new(AtomicBool::new(false));
        let mut signals = install(&came).map_err(Failure::system("can't handle signals"))?;
        driver.add_wakeup(&mut signals).map_err(Failure::system("can't wait for signals"))?;
        Ok(Self { came, _signals: signals })
    }

    /// Whether a signal came.
    pub(crate) fn requested(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

fn install(came: &Arc<AtomicBool>) -> io::Result<Signals> {
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal must not end the process, and wakes whoever looks at it.
        flag::register_conditional_default(signal, Arc::clone(came))?;
        flag::register(signal, Arc::clone(came))?;
    }
    Signals::new([SIGTERM, SIGINT])
}
