//! What can be wrong with a configuration, as data: which part, and against which bound or other
//! part. How somebody spells these parts, and the mend, belong to whoever reads the configuration.
//!
//! These enums are exhaustive on purpose. A front end leads each variant to the place where its
//! user wrote the value; the compiler shows it every new one.

use std::fmt;

use crate::config::{BUFFER_MAX, BUFFER_MIN, MTU_IPV6_MIN, MTU_MAX, MTU_MIN, PeerConflict};
use crate::errors::Errors;
use crate::rules::{RULES_MAX, RuleError};

/// Every contradiction in a configuration, in the order of its parts.
pub type ConfigErrors = Errors<ConfigError>;

/// A contradiction in a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The MTU is below [`MTU_MIN`] or above [`MTU_MAX`].
    MtuOutOfRange {
        /// The MTU in bytes.
        mtu: u16,
    },
    /// An IPv6 address on a tunnel whose MTU is below [`MTU_IPV6_MIN`].
    MtuTooSmallForIpv6 {
        /// The MTU in bytes.
        mtu: u16,
    },
    /// A peer contradicts our own end, or an earlier peer.
    Peer {
        /// Its place in [`Parts::peers`](crate::config::Parts::peers).
        peer: usize,
        /// What stands against it.
        conflict: PeerConflict<usize>,
    },
    /// A rule contradicts itself.
    Rule {
        /// Its place in [`Gateway::rules`](crate::config::Gateway::rules).
        rule: usize,
        /// What is wrong with it.
        error: RuleError,
    },
    /// More than [`RULES_MAX`] rules.
    TooManyRules {
        /// How many there are.
        rules: usize,
    },
    /// A ring below [`BUFFER_MIN`] or above [`BUFFER_MAX`].
    BufferOutOfRange {
        /// Which one.
        buffer: Buffer,
        /// Its size.
        bytes: usize,
    },
    /// A timer of zero.
    ZeroTimer {
        /// Which one.
        timer: ConfigTimer,
    },
    /// A limit below what it must be at least.
    LimitTooLow {
        /// Which one.
        limit: Limit,
        /// The least that it may be, in its own unit.
        min: usize,
    },
    /// A limit above another one, of which it is a part.
    LimitAboveOther {
        /// The part.
        limit: Limit,
        /// The whole.
        whole: Limit,
    },
}

/// A ring of [`Tcp`](crate::config::Tcp).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffer {
    /// [`Tcp::receive_buffer`](crate::config::Tcp::receive_buffer).
    Receive,
    /// [`Tcp::send_buffer`](crate::config::Tcp::send_buffer).
    Send,
}

/// A timer of [`Tcp`](crate::config::Tcp) or [`Mappings`](crate::config::Mappings).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigTimer {
    /// [`Tcp::connect_timeout`](crate::config::Tcp::connect_timeout).
    TcpConnect,
    /// [`Tcp::idle_timeout`](crate::config::Tcp::idle_timeout).
    TcpIdle,
    /// [`Tcp::half_open_timeout`](crate::config::Tcp::half_open_timeout).
    TcpHalfOpen,
    /// [`Tcp::keepalive`](crate::config::Tcp::keepalive).
    TcpKeepalive,
    /// [`Mappings::udp_idle_timeout`](crate::config::Mappings::udp_idle_timeout).
    UdpIdle,
    /// [`Mappings::dns_idle_timeout`](crate::config::Mappings::dns_idle_timeout).
    DnsIdle,
    /// [`Mappings::icmp_idle_timeout`](crate::config::Mappings::icmp_idle_timeout).
    IcmpIdle,
}

/// A bound of [`Limits`](crate::Limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// [`Limits::tcp_flows`](crate::Limits::tcp_flows).
    TcpFlows,
    /// [`Limits::udp_flows`](crate::Limits::udp_flows).
    UdpFlows,
    /// [`Limits::icmp_flows`](crate::Limits::icmp_flows).
    IcmpFlows,
    /// [`Limits::half_open`](crate::Limits::half_open).
    HalfOpen,
    /// [`Limits::memory`](crate::Limits::memory), in bytes.
    Memory,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MtuOutOfRange { mtu } => {
                write!(f, "MTU {mtu} is out of range: {MTU_MIN} to {MTU_MAX}")
            }
            Self::MtuTooSmallForIpv6 { mtu } => write!(
                f,
                "MTU {mtu} is too small for the IPv6 address of the tunnel: at least {MTU_IPV6_MIN}"
            ),
            Self::Peer { conflict, .. } => conflict.fmt(f),
            Self::Rule { error, .. } => error.fmt(f),
            Self::TooManyRules { rules } => {
                write!(f, "{rules} rules are too many: {RULES_MAX} at most")
            }
            Self::BufferOutOfRange { buffer, bytes } => {
                write!(f, "{buffer} of {bytes} bytes is out of range: {BUFFER_MIN} to {BUFFER_MAX}")
            }
            Self::ZeroTimer { timer } => write!(f, "{timer} is zero"),
            Self::LimitTooLow { limit, min } => write!(f, "{limit} is below {min}"),
            Self::LimitAboveOther { limit, whole } => write!(f, "{limit} is above {whole}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receive => "a receive buffer",
            Self::Send => "a send buffer",
        })
    }
}

impl fmt::Display for ConfigTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcpConnect => "the timeout of connects",
            Self::TcpIdle => "the idle timeout of TCP flows",
            Self::TcpHalfOpen => "the timeout of half-open TCP flows",
            Self::TcpKeepalive => "the interval of TCP keepalives",
            Self::UdpIdle => "the idle timeout of UDP mappings",
            Self::DnsIdle => "the idle timeout of UDP mappings to port 53",
            Self::IcmpIdle => "the idle timeout of ICMP mappings",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcpFlows => "the limit of TCP flows",
            Self::UdpFlows => "the limit of UDP mappings",
            Self::IcmpFlows => "the limit of ICMP mappings",
            Self::HalfOpen => "the limit of half-open TCP flows",
            Self::Memory => "the limit of memory in bytes",
        })
    }
}
