//! The addresses of this host, as core knows them: read at the start, and again whenever the kernel
//! says that they have changed. They are what peers meet at, and what messages are about; whether a
//! target leads here is for the kernel to say each time (`host/guard.rs`).

use std::io;
use std::net::IpAddr;

use mio::Registry;
use slipwire_core::config::Gateway;
use slipwire_core::{Engine, Instant};

use crate::error::StartError;
use crate::host::guard::Guard;
use crate::netlink::{Change, Changes, Kernel};
use crate::token::Origin;

/// What this host says of itself: its addresses, and for a gateway what keeps peers from them.
pub(crate) fn know_this_host(
    gateway: Option<&Gateway>,
    registry: &Registry,
) -> Result<(Option<HostAddresses>, Option<Guard>), StartError> {
    let configured = gateway.map_or_else(Vec::new, |gateway| gateway.host_addresses.clone());
    let addresses = HostAddresses::start(configured, registry);
    if gateway.is_none() {
        let unknown = |error| log::info!("changes of this host's addresses stay unknown: {error}");
        return Ok((addresses.map_err(unknown).ok(), None));
    }
    let guarded = addresses.and_then(|own| Guard::start(&own.own).map(|guard| (own, guard)));
    let (addresses, guard) = guarded.map_err(|error| StartError::HostAddresses { error })?;
    Ok((Some(addresses), Some(guard)))
}

/// What core was told last.
#[derive(Debug)]
pub(crate) struct HostAddresses {
    kernel: Kernel,
    changes: Changes,
    /// Those that the configuration adds.
    configured: Vec<IpAddr>,
    /// Those that the host has.
    own: Vec<IpAddr>,
}

/// What has changed at this host.
#[derive(Debug)]
pub(crate) struct News {
    /// Addresses that it does not have any more.
    pub(crate) gone: Vec<IpAddr>,
}

impl HostAddresses {
    /// Reads the list, and listens for changes from now on.
    fn start(configured: Vec<IpAddr>, registry: &Registry) -> io::Result<Self> {
        let changes = Changes::subscribe(Origin::Kernel.token(), registry)?;
        let mut kernel = Kernel::open()?;
        let own = kernel.addresses()?;
        Ok(Self { kernel, changes, configured, own })
    }

    /// The kernel has something to say.
    pub(crate) const fn note(&mut self) {
        self.changes.note();
    }

    /// Whether [`follow`](Self::follow) has something to do.
    pub(crate) const fn has_news(&self) -> bool {
        self.changes.is_readable()
    }

    /// Tells core what addresses there are.
    pub(crate) fn tell(&self, engine: &mut Engine, now: Instant) {
        let mut addresses = [&self.own[..], &self.configured].concat();
        addresses.sort_unstable();
        addresses.dedup();
        log::debug!("addresses of this host: {addresses:?}");
        engine.set_host_addresses(addresses, now);
    }

    /// Takes in what the kernel says; `None` if nothing has changed.
    pub(crate) fn follow(&mut self, engine: &mut Engine, now: Instant) -> Option<News> {
        let mut gone = Vec::new();
        match self.changes.take() {
            Change::Nothing => return None,
            Change::Routes => {}
            Change::Addresses => match self.kernel.addresses() {
                Ok(own) => {
                    let before = std::mem::replace(&mut self.own, own);
                    if before != self.own {
                        self.tell(engine, now);
                    }
                    gone = before;
                    gone.retain(|address| !self.own.contains(address));
                }
                // Core keeps what it knows.
                Err(error) => log::warn!("the addresses of this host can't be read: {error}"),
            },
        }
        Some(News { gone })
    }
}
