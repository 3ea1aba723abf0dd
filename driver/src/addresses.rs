//! The addresses of this host, which no peer may reach through it unless a rule says so: read at
//! the start, and again every now and then while peers send, because they change under us.

use std::net::IpAddr;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use slipwire_core::{Engine, Instant};

/// How old the list may become.
const REFRESH: Duration = Duration::from_secs(30);

/// What core was told last.
#[derive(Debug)]
pub(crate) struct HostAddresses {
    /// Those that the configuration adds.
    configured: Vec<IpAddr>,
    told: Vec<IpAddr>,
    refresh_at: Instant,
}

impl HostAddresses {
    /// Nothing has been read yet: the first [`refresh`](Self::refresh) is due.
    pub(crate) const fn new(configured: Vec<IpAddr>) -> Self {
        Self { configured, told: Vec::new(), refresh_at: Instant::ZERO }
    }

    /// Reads the list if it is due, and tells core if it changed.
    pub(crate) fn refresh(&mut self, engine: &mut Engine, now: Instant) {
        if now < self.refresh_at {
            return;
        }
        self.refresh_at = now + REFRESH;
        match interface_addresses() {
            Ok(mut addresses) => {
                addresses.extend(&self.configured);
                addresses.sort_unstable();
                addresses.dedup();
                if addresses != self.told {
                    log::debug!("addresses of this host: {addresses:?}");
                    engine.set_host_addresses(addresses.clone(), now);
                    self.told = addresses;
                }
            }
            // Core keeps what it knows.
            Err(error) => log::warn!("the addresses of this host can't be read: {error}"),
        }
    }
}

fn interface_addresses() -> nix::Result<Vec<IpAddr>> {
    Ok(getifaddrs()?.filter_map(|interface| ip(&interface.address?)).collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn loopback_is_an_address_of_this_host() {
        let addresses = interface_addresses().unwrap();
        assert!(addresses.contains(&Ipv4Addr::LOCALHOST.into()), "{addresses:?}");
    }
}
