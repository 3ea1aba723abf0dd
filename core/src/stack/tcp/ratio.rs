//! Products and quotients of counts, rates and times, as each acknowledgement takes several.

use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// `value * factor / divisor`, or the largest number if that is larger. Most products fit into 64
/// bits, where a division takes a fraction of the time that one of 128 takes.
pub(super) fn scaled(value: u64, factor: u64, divisor: u64) -> u64 {
    let divisor = divisor.max(1);
    if let Some(product) = value.checked_mul(factor) {
        return product / divisor;
    }
    let quotient = u128::from(value) * u128::from(factor) / u128::from(divisor);
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

/// The rate of so many bytes in a time, in bytes a second.
pub(super) fn per_second(bytes: u64, time: Duration) -> u64 {
    scaled(bytes, SECOND_NS, nanos(time))
}

/// The bytes that a rate, in bytes a second, makes in a time.
pub(super) fn within(rate: u64, time: Duration) -> u64 {
    scaled(rate, nanos(time), SECOND_NS)
}

/// A time in nanoseconds; more than 584 years are as many.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_beyond_64_bits_are_exact_and_quotients_beyond_them_the_largest() {
        assert_eq!(scaled(7, 5, 3), 11);
        assert_eq!(scaled(u64::MAX, 1 << 40, 1 << 41), u64::MAX / 2);
        assert_eq!(scaled(u64::MAX, 3, 2), u64::MAX);
        assert_eq!(scaled(7, 5, 0), 35, "nothing divides by zero");
        let terabyte = 1 << 40;
        assert_eq!(per_second(terabyte, Duration::from_secs(2)), terabyte / 2);
        assert_eq!(within(terabyte, Duration::from_secs(100)), terabyte * 100);
        assert_eq!(within(12_500_000, Duration::from_micros(100)), 1_250);
    }

    #[test]
    fn a_rate_and_a_time_are_bytes() {
        assert_eq!(within(6_250_000, Duration::from_millis(60)), 375_000);
        assert_eq!(per_second(375_000, Duration::from_millis(60)), 6_250_000);
        assert_eq!(per_second(1, Duration::ZERO), 1_000_000_000);
        assert_eq!(within(u64::MAX, Duration::from_secs(2)), u64::MAX);
    }
}
