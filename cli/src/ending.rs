//! SIGTERM and SIGINT: the first asks for an end in order, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals;
use slipwire_driver::Driver;

use crate::failure::Failure;

/// Waits for the first signal.
pub(crate) struct Ending {
    signals: Signals,
}

impl Ending {
    /// Takes the signals over, and has `driver` wake up for them.
    pub(crate) fn watch(driver: &mut Driver) -> Result<Self, Failure> {
        let mut signals = install().map_err(Failure::system("can't handle signals"))?;
        driver.add_wakeup(&mut signals).map_err(Failure::system("can't wait for signals"))?;
        Ok(Self { signals })
    }

    /// Whether a signal came.
    pub(crate) fn requested(&mut self) -> bool {
        self.signals.pending().count() > 0
    }
}

fn install() -> io::Result<Signals> {
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the signal that arms the second line must not set it off.
        flag::register_conditional_default(signal, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    Signals::new([SIGTERM, SIGINT])
}
