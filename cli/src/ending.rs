//! SIGTERM and SIGINT: the first asks for an end in order, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals;
use slipwire_driver::Driver;

use crate::failure::Failure;

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
