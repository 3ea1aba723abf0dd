//! The values that are not particular to networks: words, numbers, sizes, durations, shares.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use log::LevelFilter;
use slipwire_core::Share;
use slipwire_core::config::{
    BUFFER_MAX, BUFFER_MIN, CongestionControl, DefaultAction, Filtering, MTU_MIN, RefusedAnswer,
};
use slipwire_driver::ForwardProtocol;
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::fault::Problem;
use super::section::{Value, with_article};

/// The text of a string value; `example` shows how to write one.
pub(super) fn text<'v>(value: &'v DeValue<'_>, example: &str) -> Result<&'v str, Problem> {
    value.as_str().ok_or_else(|| wrong_type("a string", value, example))
}

fn wrong_type(expected: &str, value: &DeValue<'_>, example: &str) -> Problem {
    let found = with_article(value.type_str());
    Problem::new(format!("expected {expected}, found {found}"), format!("write it as {example}"))
}

fn integer(value: &DeValue<'_>, range: RangeInclusive<i64>) -> Result<i64, Problem> {
    let (low, high) = (range.start(), range.end());
    let Some(number) = value.as_integer() else {
        let quoted = value.as_str().and_then(|text| text.trim().parse::<i64>().ok());
        let example = match quoted {
            Some(number) => format!("{number}, without quotes"),
            None => format!("a number from {low} to {high}"),
        };
        return Err(wrong_type("an integer", value, &example));
    };
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(Problem::new(
            format!("{number} is out of range"),
            format!("write a number from {low} to {high}"),
        )),
    }
}

/// An integer that fits into 16 bits because `range` does.
fn integer_u16(value: &DeValue<'_>, range: RangeInclusive<u16>) -> Result<u16, Problem> {
    let number = integer(value, (*range.start()).into()..=(*range.end()).into())?;
    u16::try_from(number).map_err(|_| Problem::new("out of range", "write a smaller number"))
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        value.as_bool().ok_or_else(|| wrong_type("true or false", value, "true or false"))
    }
}

/// A port, never 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port(pub(super) u16);

impl Value for Port {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        if value.as_integer().is_some_and(|number| number.as_str() == "0") {
            let mend = "take the key out: without it any free port is used";
            return Err(Problem::new("0 is no port", mend));
        }
        integer_u16(value, 1..=u16::MAX).map(Self)
    }
}

/// The largest MTU that a file may ask for, which is more than core's tunnels have.
pub(super) const MTU_WRITTEN_MAX: u16 = 65_500;

/// The MTU of a tunnel as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mtu(pub(super) u16);

impl Value for Mtu {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        integer_u16(value, MTU_MIN..=MTU_WRITTEN_MAX).map(Self)
    }
}

/// Seconds between keepalives; 0 is off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive(pub(super) Option<NonZeroU16>);

impl Value for Keepalive {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        if value.as_str() == Some("off") {
            let mend = "write 0, without quotes, or take the key out";
            return Err(Problem::new("\"off\" is wg's word for 0", mend));
        }
        integer_u16(value, 0..=u16::MAX).map(|seconds| Self(NonZeroU16::new(seconds)))
    }
}

/// A number of flows, never 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(usize);

impl Value for Count {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let number = integer(value, 1..=10_000_000)?;
        usize::try_from(number)
            .map(Self)
            .map_err(|_| Problem::new("out of range", "write a smaller number"))
    }
}

impl From<Count> for usize {
    fn from(count: Count) -> Self {
        count.0
    }
}

/// More tapes than anybody keeps: each start renames them all.
pub(super) const SEGMENTS_MAX: u16 = 1_000;

/// How many tapes are kept, never 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments(u16);

impl Value for Segments {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        integer_u16(value, 1..=SEGMENTS_MAX).map(Self)
    }
}

impl From<Segments> for u32 {
    fn from(segments: Segments) -> Self {
        segments.0.into()
    }
}

impl Value for Share {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const MEND: &str = "write a share from \"1%\" to \"100%\"";
        let text = text(value, "\"50%\"")?;
        let Some(digits) = text.strip_suffix('%') else {
            return Err(Problem::new(format!("{text:?} is no percentage"), MEND));
        };
        let percent = digits.trim().parse().ok().and_then(Self::percent);
        percent.ok_or_else(|| Problem::new(format!("{text:?} is out of range"), MEND))
    }
}

impl Value for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const MEND: &str = "write it with units, for example \"75s\" or \"2h4m\"";
        let text = text(value, "a duration with its unit, for example \"75s\" or \"2h4m\"")?;
        let duration = humantime::parse_duration(text)
            .map_err(|error| Problem::new(format!("{text:?} is no duration: {error}"), MEND))?;
        if duration.is_zero() {
            return Err(Problem::new("must not be zero", MEND));
        }
        Ok(duration)
    }
}

/// An interval that the system takes for the keepalives of a socket, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HostKeepalive(Option<Duration>);

impl From<HostKeepalive> for Option<Duration> {
    fn from(HostKeepalive(interval): HostKeepalive) -> Self {
        interval
    }
}

impl Value for HostKeepalive {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const MEND: &str = "write whole seconds from \"1s\" to \"32767s\", or \"0s\" for none";
        if value.as_str().is_some_and(|text| ["0", "0s"].contains(&text.trim())) {
            return Ok(Self(None));
        }
        let interval = Duration::read(value)?;
        let is_whole = interval.subsec_nanos() == 0;
        if is_whole && (1..=32_767).contains(&interval.as_secs()) {
            Ok(Self(Some(interval)))
        } else {
            Err(Problem::new(
                format!("{} is out of range", humantime::format_duration(interval)),
                MEND,
            ))
        }
    }
}

/// Bytes in memory: `"1MiB"`, or a plain number.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteSize(usize);

impl From<ByteSize> for usize {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0 as Self
    }
}

const UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl Value for ByteSize {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const MEND: &str = "write a number and a unit (B, kB, KiB, MB, MiB, GB, GiB): \"1MiB\"";
        let plain;
        let text = match value.as_integer() {
            Some(number) => {
                plain = number.to_string();
                &plain
            }
            None => text(value, "a size with its unit, for example \"1MiB\"")?,
        };
        let unknown = || Problem::new(format!("{text:?} is no size"), MEND);
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let unit = unit.trim();
        let (_, factor) =
            UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(unknown)?;
        let number: u64 = digits.parse().map_err(|_| unknown())?;
        number
            .checked_mul(*factor)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| Problem::new(format!("{text:?} is too large"), MEND))
    }
}

/// The size of a ring, within core's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingSize(ByteSize);

impl Value for RingSize {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let size = ByteSize::read(value)?;
        if (BUFFER_MIN..=BUFFER_MAX).contains(&size.0) {
            Ok(Self(size))
        } else {
            let what = format!("a buffer of {} bytes is out of range", size.0);
            Err(Problem::new(what, "write a size from \"4KiB\" to \"1GiB\""))
        }
    }
}

impl From<RingSize> for usize {
    fn from(RingSize(size): RingSize) -> Self {
        size.0
    }
}

/// A word out of a list, each with what it means.
pub(super) fn one_of<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Problem> {
    let list: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let list = list.join(", ");
    let text = text(value, &format!("one of {list}"))?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        Problem::new(format!("{text:?} is no value of this key"), format!("write one of {list}"))
    })
}

impl Value for DefaultAction {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("relay", Self::Relay), ("reject", Self::Reject), ("drop", Self::Drop)])
    }
}

impl Value for RefusedAnswer {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("reset", Self::Reset), ("icmp", Self::Icmp), ("drop", Self::Drop)])
    }
}

impl Value for CongestionControl {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("cubic", Self::Cubic), ("bbr", Self::Bbr)])
    }
}

impl Value for Filtering {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(
            value,
            &[
                ("endpoint-independent", Self::EndpointIndependent),
                ("address", Self::Address),
                ("address-and-port", Self::AddressAndPort),
            ],
        )
    }
}

impl Value for ForwardProtocol {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("tcp", Self::Tcp), ("udp", Self::Udp)])
    }
}

impl Value for LevelFilter {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(
            value,
            &[
                ("error", Self::Error),
                ("warn", Self::Warn),
                ("info", Self::Info),
                ("debug", Self::Debug),
                ("trace", Self::Trace),
            ],
        )
    }
}

/// What people call an interface: what Linux takes for one, as it becomes a socket's name.
#[derive(Debug)]
pub(super) struct InterfaceName(pub(super) String);

impl Value for InterfaceName {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let text = text(value, "\"slip0\"")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "_=+.-".contains(c);
        if (1..=15).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.') {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(
            format!("{text:?} is no interface name"),
            "write 1 to 15 letters, digits or _=+.- and no dot in front",
        ))
    }
}

/// What people call a peer or a forward: short, printable, and never taken for an address.
#[derive(Debug)]
pub(super) struct Name(pub(super) String);

impl Value for Name {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let text = text(value, "\"laptop\"")?;
        let fits = |c: char| !c.is_whitespace() && !c.is_control() && !"/,\"'".contains(c);
        let short = (1..=63).contains(&text.len());
        let address = text.parse::<std::net::IpAddr>().is_ok();
        if short && text.chars().all(fits) && !address {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(
            format!("{text:?} is no name"),
            "write at most 63 bytes without spaces, quotes, commas or slashes, and no IP address",
        ))
    }
}

/// A text that is nobody's business, wiped when dropped; no message repeats it.
#[derive(Debug)]
pub(super) struct SecretText(pub(super) Zeroizing<String>);

impl Value for SecretText {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        text(value, "\"<base64>\"").map(|text| Self(Zeroizing::new(text.to_owned())))
    }
}

/// The path of a file.
#[derive(Debug)]
pub(super) struct FilePath(pub(super) std::path::PathBuf);

impl Value for FilePath {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let text = text(value, "\"slip0.key\"")?;
        if text.is_empty() {
            return Err(Problem::new("names no file", "write its path"));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(toml: &str) -> Result<T, Problem> {
        T::read(DeValue::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn sizes_have_units() {
        let bytes = |toml: &str| read::<ByteSize>(toml).ok().map(usize::from);
        assert_eq!(bytes("\"1MiB\""), Some(1 << 20));
        assert_eq!(bytes("\"64 kib\""), Some(64 << 10));
        assert_eq!(bytes("\"2GB\""), Some(2_000_000_000));
        assert_eq!(bytes("4_096"), Some(4096));
        for bad in ["\"MiB\"", "\"-1MiB\"", "\"1.5MiB\"", "\"1MiX\"", "\"\"", "-1", "true"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        assert_eq!(bytes("\"99999999999GiB\""), None);
        assert!(read::<RingSize>("\"4095B\"").is_err() && read::<RingSize>("\"2GiB\"").is_err());
    }

    #[test]
    fn durations_have_units_and_are_not_zero() {
        assert_eq!(read("\"2h4m\""), Ok(Duration::from_secs(7440)));
        assert!(read::<Duration>("75").unwrap_err().mend.contains("\"75s\""));
        assert!(read::<Duration>("\"75\"").unwrap_err().what.contains("no duration"));
        assert_eq!(read::<Duration>("\"0s\"").unwrap_err().what, "must not be zero");
    }

    #[test]
    fn keepalives_of_host_sockets_are_whole_seconds_or_off() {
        let seconds = |seconds| Ok(HostKeepalive(Some(Duration::from_secs(seconds))));
        assert_eq!(read("\"75s\""), seconds(75));
        assert_eq!(read("\"2m\""), seconds(120));
        assert_eq!(read("\"0s\""), Ok(HostKeepalive(None)));
        for bad in ["\"1500ms\"", "\"10h\"", "\"off\"", "75", "\"75\""] {
            assert!(read::<HostKeepalive>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(read("\"50%\""), Ok(Share::percent(50).unwrap()));
        for bad in ["\"50\"", "\"0%\"", "\"101%\"", "\"x%\"", "50"] {
            assert!(read::<Share>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_keep_their_range() {
        assert_eq!(read::<Port>("0x50").unwrap().0, 80);
        let problem = read::<Port>("70000").unwrap_err();
        assert_eq!(problem.what, "70000 is out of range");
        assert_eq!(problem.mend, "write a number from 1 to 65535");
        assert!(read::<Port>("99999999999999999999").is_err());
        assert!(read::<Mtu>("575").is_err() && read::<Mtu>("65501").is_err());
        assert!(read::<Keepalive>("0").unwrap().0.is_none());
    }

    #[test]
    fn words_are_listed_when_another_is_found() {
        let problem = read::<ForwardProtocol>("\"sctp\"").err().unwrap();
        assert_eq!(problem.mend, "write one of \"tcp\", \"udp\"");
        assert_eq!(read::<DefaultAction>("\"drop\""), Ok(DefaultAction::Drop));
    }

    #[test]
    fn a_name_is_never_taken_for_something_else() {
        for bad in ["", "a b", "10.0.0.1", "10.0.0.0/8", "a,b", "x\\n", "::1"] {
            assert!(read::<Name>(&format!("\"{bad}\"")).is_err(), "{bad}");
        }
        assert_eq!(read::<Name>("\"Büro-2\"").unwrap().0, "Büro-2");
        assert!(read::<InterfaceName>("\"../x\"").is_err());
    }
}
