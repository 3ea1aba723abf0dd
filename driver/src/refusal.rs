//! What a failed system call means to the peer that asked for it.

use std::io;

use rustix::io::Errno;
use slipwire_core::Refusal;

/// The refusal that a failed connect or bind stands for.
///
/// Linux reports "host unreachable" for an ICMP "host prohibited" and "port prohibited" too: what
/// the router meant is lost on the way.
pub(crate) fn refusal(error: &io::Error) -> Refusal {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET | Errno::CONNABORTED) => Refusal::Refused,
        // Where a Unix socket should be there is none, or one of another kind: nobody listens.
        Some(Errno::NOENT | Errno::NOTDIR | Errno::PROTOTYPE) => Refusal::Refused,
        Some(Errno::TIMEDOUT) => Refusal::TimedOut,
        Some(Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::NONET) => Refusal::HostUnreachable,
        Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT) => {
            Refusal::NetworkUnreachable
        }
        Some(Errno::ACCESS | Errno::PERM) => Refusal::Prohibited,
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOBUFS
            | Errno::NOMEM
            | Errno::NOSPC
            | Errno::ADDRNOTAVAIL
            | Errno::ADDRINUSE
            | Errno::AGAIN,
        ) => Refusal::Exhausted,
        // What is left (an address that can't be connected to, for one) is no fault of the peer's
        // packets, and no other host would answer either.
        _ => Refusal::HostUnreachable,
    }
}

/// The refusal that a datagram meets at the host itself; `None` if it is simply lost.
///
/// "Connection refused" is not among them: a socket that is connected to nobody reports it about
/// some earlier datagram.
pub(crate) fn datagram_refusal(error: &io::Error) -> Option<Refusal> {
    match Errno::from_io_error(error)? {
        Errno::HOSTUNREACH => Some(Refusal::HostUnreachable),
        Errno::NETUNREACH => Some(Refusal::NetworkUnreachable),
        Errno::ACCESS | Errno::PERM => Some(Refusal::Prohibited),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_means_what_a_direct_connection_would_show() {
        let cases = [
            (Errno::CONNREFUSED, Refusal::Refused),
            (Errno::NOENT, Refusal::Refused),
            (Errno::TIMEDOUT, Refusal::TimedOut),
            (Errno::HOSTUNREACH, Refusal::HostUnreachable),
            (Errno::NETUNREACH, Refusal::NetworkUnreachable),
            (Errno::ACCESS, Refusal::Prohibited),
            (Errno::PERM, Refusal::Prohibited),
            (Errno::MFILE, Refusal::Exhausted),
            (Errno::NFILE, Refusal::Exhausted),
            (Errno::NOBUFS, Refusal::Exhausted),
            (Errno::ADDRNOTAVAIL, Refusal::Exhausted),
            (Errno::AGAIN, Refusal::Exhausted),
            (Errno::AFNOSUPPORT, Refusal::NetworkUnreachable),
            (Errno::INVAL, Refusal::HostUnreachable),
        ];
        for (errno, expected) in cases {
            assert_eq!(refusal(&errno.into()), expected, "{errno:?}");
        }
    }

    #[test]
    fn a_datagram_that_is_merely_lost_is_not_refused() {
        let cases = [
            (Errno::HOSTUNREACH, Some(Refusal::HostUnreachable)),
            (Errno::NETUNREACH, Some(Refusal::NetworkUnreachable)),
            (Errno::ACCESS, Some(Refusal::Prohibited)),
            (Errno::PERM, Some(Refusal::Prohibited)),
            (Errno::CONNREFUSED, None),
            (Errno::MSGSIZE, None),
            (Errno::NOBUFS, None),
            (Errno::AGAIN, None),
        ];
        for (errno, expected) in cases {
            assert_eq!(datagram_refusal(&errno.into()), expected, "{errno:?}");
        }
    }

    #[test]
    fn an_error_without_a_number_is_a_refusal_too() {
        assert_eq!(refusal(&io::Error::other("odd")), Refusal::HostUnreachable);
    }
}
