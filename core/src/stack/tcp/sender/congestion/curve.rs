//! CUBIC's window as a function of time since the last congestion (RFC 9438).
//!
//! Integers only: floating cube roots differ from machine to machine, and a tape must not.

use std::time::Duration;

/// C, in segments for each second to the third: 0.4.
const C: (u128, u128) = (4, 10);
/// What the window is multiplied by at a congestion: 0.7.
const BETA: (u64, u64) = (7, 10);
/// Reno's growth with that decrease, 3 (1 - beta) / (1 + beta) segments each round trip.
const ALPHA: (u64, u64) = (9, 17);
/// Microseconds to the third of a second to the third, in two steps.
const CUBE: u128 = CUBE_PART * CUBE_PART;
const CUBE_PART: u128 = 1_000_000_000;

/// Where the window stands between two congestions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CubicCurve {
    /// The window at the last congestion (W_max), or somewhat less (fast convergence).
    window_max: u64,
    /// The window before the last congestion, for Reno's part (cwnd_prior).
    window_prior: u64,
    growth: Option<CurveGrowth>,
}

/// Begins with the first acknowledgement after a congestion.
#[derive(Clone, Copy, Debug)]
struct CurveGrowth {
    /// The time in which the window could grow (t).
    elapsed: Duration,
    /// When the window is back at `origin` (K).
    plateau: Duration,
    origin: u64,
    /// The window that Reno would have (W_est).
    reno: u64,
    /// What is left of divisions, in byte times byte.
    rest: u128,
    reno_rest: u64,
}

/// The window after a congestion.
pub(super) const fn decreased(window: u64) -> u64 {
    window / BETA.1 * BETA.0 + window % BETA.1 * BETA.0 / BETA.1
}

impl CubicCurve {
    /// Congestion at this window.
    pub(super) fn handle_congestion(&mut self, window: u64) {
        // Fast convergence: one that came less far than before leaves room to others.
        let is_less = window < self.window_max;
        self.window_max = if is_less { (window + decreased(window)) / 2 } else { window };
        self.window_prior = window;
        self.growth = None;
    }

    /// The window has been set by something else: the curve begins anew where it is now.
    pub(super) const fn restart(&mut self) {
        self.growth = None;
    }

    /// The window after `delivered` more bytes in `passed`, with the given round-trip time.
    pub(super) fn grow(
        &mut self,
        window: u64,
        delivered: u64,
        segment_len: u64,
        passed: Duration,
        round_trip: Duration,
    ) -> u64 {
        let growth = self.growth.get_or_insert_with(|| CurveGrowth {
            elapsed: Duration::ZERO,
            plateau: plateau(self.window_max.saturating_sub(window), segment_len),
            origin: self.window_max.max(window),
            reno: window,
            rest: 0,
            reno_rest: 0,
        });
        growth.elapsed += passed;
        // As much as Reno grows by for each window, and as much as Reno itself when it is back.
        let is_back = growth.reno >= self.window_prior;
        let alpha = if is_back { (1, 1) } else { ALPHA };
        growth.reno_rest += delivered * alpha.0 / alpha.1;
        if growth.reno_rest >= window {
            growth.reno += growth.reno_rest / window.max(1) * segment_len;
            growth.reno_rest %= window.max(1);
        }
        let target = growth.at(growth.elapsed + round_trip, segment_len);
        let target = target.clamp(window, window + window / 2);
        growth.rest += u128::from(target - window) * u128::from(delivered);
        let more = growth.rest / u128::from(window.max(1));
        growth.rest %= u128::from(window.max(1));
        let cubic = window.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        cubic.max(growth.reno)
    }
}

impl CurveGrowth {
    /// W_cubic, so long after the beginning.
    fn at(&self, time: Duration, segment_len: u64) -> u64 {
        let (time, plateau) = (time.as_micros(), self.plateau.as_micros());
        // Longer than this no window grows.
        let distance = time.abs_diff(plateau).min(1 << 38);
        let away = distance.pow(3) / CUBE_PART * C.0 * u128::from(segment_len);
        let away = u64::try_from(away / C.1 / CUBE_PART).unwrap_or(u64::MAX);
        if time < plateau {
            self.origin.saturating_sub(away)
        } else {
            self.origin.saturating_add(away)
        }
    }
}

/// The time in which the curve rises by so many bytes to its plateau.
fn plateau(rise: u64, segment_len: u64) -> Duration {
    let cube = u128::from(rise) * CUBE / u128::from(segment_len.max(1)) * C.1 / C.0;
    Duration::from_micros(cube_root(cube))
}

/// The largest integer whose cube is not larger.
fn cube_root(cube: u128) -> u64 {
    let (mut low, mut high) = (0_u64, 1 << 42);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if u128::from(middle).pow(3) <= cube { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1000;
    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// The window after so many round trips, from where a congestion left it.
    fn grown(curve: &mut CubicCurve, mut window: u64, rounds: u32, round_trip: Duration) -> u64 {
        for _ in 0..rounds {
            let round = window;
            for part in 0..10 {
                let passed = if part == 0 { round_trip } else { Duration::ZERO };
                window = curve.grow(window, round / 10, LEN, passed, round_trip);
            }
        }
        window
    }

    #[test]
    fn cube_roots_are_exact() {
        for root in [0, 1, 2, 3, 1000, 123_456_789, (1 << 42) - 1] {
            let cube = u128::from(root).pow(3);
            assert_eq!(cube_root(cube), root);
            assert_eq!(cube_root(cube + 1), root.max(1));
            assert_eq!(cube_root(cube.saturating_sub(1)), root.saturating_sub(1));
        }
    }

    #[test]
    fn the_window_is_back_after_the_time_that_the_rfc_gives() {
        // 1,000 segments fall to 700: K = (300 / 0.4)^(1/3) = 9.09 s.
        let mut curve = CubicCurve::default();
        curve.handle_congestion(1000 * LEN);
        let before = grown(&mut curve, 700 * LEN, 90, ROUND_TRIP);
        // 1000 - 0.4 * (9.09 - 4.5)^3 = 961.
        assert!((955 * LEN..966 * LEN).contains(&before), "{before}");
        let plateau = grown(&mut curve, before, 90, ROUND_TRIP);
        assert!((990 * LEN..1002 * LEN).contains(&plateau), "{plateau}");
        let beyond = grown(&mut curve, plateau, 90, ROUND_TRIP);
        assert!(beyond > 1030 * LEN, "{beyond}: it looks for more");
    }

    #[test]
    fn a_small_window_grows_like_renos() {
        let mut curve = CubicCurve::default();
        curve.handle_congestion(20 * LEN);
        let round_trip = Duration::from_millis(5);
        let window = grown(&mut curve, 14 * LEN, 20, round_trip);
        assert!((26 * LEN..=29 * LEN).contains(&window), "{window}: half a segment each, then one");
    }

    #[test]
    fn large_windows_grow_by_less_than_a_byte_for_each_acknowledgement_and_yet_do() {
        let mut curve = CubicCurve::default();
        let window = 10_000 * LEN;
        curve.handle_congestion(window);
        let mut after = window;
        for _ in 0..10_000 {
            after = curve.grow(after, LEN, LEN, Duration::ZERO, Duration::ZERO);
        }
        assert!(after > window, "Reno's growth");
    }

    #[test]
    fn a_second_congestion_at_less_aims_lower() {
        let mut curve = CubicCurve::default();
        curve.handle_congestion(1000 * LEN);
        curve.handle_congestion(800 * LEN);
        assert_eq!(curve.window_max, 680 * LEN);
    }

    #[test]
    fn nothing_overflows() {
        let mut curve = CubicCurve::default();
        curve.handle_congestion(1 << 40);
        let ages = Duration::from_secs(1 << 33);
        curve.grow(1000, 1 << 30, 65_535, ages, ages);
        curve.grow(1 << 40, 1 << 40, 65_535, ages, ages);
        curve.grow(0, 0, 1, ages, ages);
        assert_eq!(decreased(10), 7);
        assert!(decreased(u64::MAX) < u64::MAX);
    }
}
