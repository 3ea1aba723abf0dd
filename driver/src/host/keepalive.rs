//! How the other end of a host socket is found to be gone: a server that lost its power, a local
//! client that left the network. The system asks, and what it finds is an error of the socket,
//! which resets the flow.

use std::time::Duration;

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

/// Probes without an answer after which a connection is over.
const PROBES: u32 = 9;

/// How long Linux sends again what is not acknowledged, at least (`tcp_retries2`).
const SYSTEM_PATIENCE: Duration = Duration::from_secs(924);

/// When the system asks whether the other end is still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostKeepalive(Option<Duration>);

impl HostKeepalive {
    /// After so long without a word, and so often; `None` for never.
    pub(crate) const fn every(interval: Option<Duration>) -> Self {
        Self(interval)
    }

    /// How long what was sent may stay unacknowledged, where that is much less than the system
    /// would wait anyway. Otherwise it is left to the system: it does not give up an end that
    /// answers and takes nothing (RFC 9293, section 3.8.6.1), as it does once it is told a time.
    fn user_timeout(self) -> Option<Duration> {
        let patience = self.0? * (PROBES + 1);
        (patience < SYSTEM_PATIENCE / 2).then_some(patience)
    }

    /// Has the system watch a connection. Where it refuses, nobody watches.
    pub(crate) fn watch(self, stream: &TcpStream) {
        let Some(interval) = self.0 else { return };
        let socket = SockRef::from(stream);
        let probes =
            TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(PROBES);
        let _ = socket.set_tcp_keepalive(&probes);
        if let Some(patience) = self.user_timeout() {
            let _ = socket.set_tcp_user_timeout(Some(patience));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(secs: u64) -> HostKeepalive {
        HostKeepalive::every(Some(Duration::from_secs(secs)))
    }

    fn watched(keepalive: HostKeepalive) -> (bool, Option<Duration>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        keepalive.watch(&stream);
        let socket = SockRef::from(&stream);
        if let Some(interval) = keepalive.0 {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), interval);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), interval);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
        }
        (socket.keepalive().unwrap(), socket.tcp_user_timeout().unwrap())
    }

    #[test]
    fn what_is_not_acknowledged_ends_as_soon_as_what_is_silent() {
        assert_eq!(watched(every(5)), (true, Some(Duration::from_secs(50))));
    }

    #[test]
    fn an_end_that_takes_nothing_for_long_is_not_gone_by_default() {
        assert_eq!(watched(every(75)), (true, None));
    }

    #[test]
    fn nobody_is_asked_where_it_is_off() {
        assert_eq!(watched(HostKeepalive::every(None)), (false, None));
    }
}
