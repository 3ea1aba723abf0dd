//! The driver's clock: CLOCK_BOOTTIME, which goes on while the machine sleeps, so that a session
//! does not look young after a night in suspend.

use rustix::time::{ClockId, clock_gettime};
use slipwire_core::Instant;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// The time since the machine booted. It costs a clock read: once a turn, not once a packet.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    // Neither part is ever negative on this clock.
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(secs.saturating_mul(NANOS_PER_SEC).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_passes_at_the_usual_speed() {
        let before = now();
        std::thread::sleep(Duration::from_millis(20));
        let passed = now().saturating_duration_since(before);
        assert!(passed >= Duration::from_millis(20), "{passed:?}");
        assert!(passed < Duration::from_secs(10), "{passed:?}");
    }
}
