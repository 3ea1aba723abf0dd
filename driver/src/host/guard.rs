//! Keeps peers from this host itself. Core refuses the addresses that it knows; here the kernel has
//! the last word, since it alone knows all that is local: an address of a moment ago, a range that
//! is routed here. It is asked before each connect, and about datagrams when something has changed
//! since it was asked last. Whether a flow may reach this host all the same is core's to say.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use slipwire_core::{Engine, FlowId, Protocol, Refusal, readings};

use super::route_cache::RouteCache;
use crate::netlink::{Kernel, RouteKind};
use crate::refusal::refusal;

/// What asks the kernel.
#[derive(Debug)]
pub(crate) struct Guard {
    kernel: Kernel,
    /// Where datagrams lead, since the last change.
    routes: RouteCache,
    /// The flow that a datagram passed for last, and where to, since the last change.
    passed: Option<(FlowId, SocketAddr)>,
    /// Changes so far.
    changes: u64,
}

/// What lets a connection through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    target: SocketAddr,
    route: RouteKind,
    /// What the kernel said was true then.
    changes: u64,
}

impl Pass {
    /// The target, if the connection is to this host, as core has allowed.
    pub(crate) fn to_this_host(self) -> Option<SocketAddr> {
        (self.route == RouteKind::Local).then_some(self.target)
    }
}

/// Why a flow does not get to its target.
#[derive(Debug)]
pub(crate) enum Barrier {
    /// It is this host.
    Host,
    /// There is no route there, or no saying where it leads.
    NoRoute(io::Error),
}

impl Barrier {
    /// What a peer is told.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Host => Refusal::Protected,
            Self::NoRoute(error) => refusal(error),
        }
    }
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("it leads to this host itself"),
            Self::NoRoute(error) => error.fmt(f),
        }
    }
}

/// Whether a target is this host itself, as a gateway finds it before each connect. For whoever
/// asks before it runs: a running [`Driver`](crate::Driver) sees to that.
///
/// # Errors
/// The kernel can't be asked. That there is no route to the target is none: it is not this host
/// then.
pub fn is_this_host(protocol: Protocol, target: SocketAddr) -> io::Result<bool> {
    match Guard::new(Kernel::open()?).ask(protocol, target) {
        Ok(route) => Ok(route == RouteKind::Local),
        Err(error) if has_no_route(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Guard {
    fn new(kernel: Kernel) -> Self {
        Self { kernel, routes: RouteCache::default(), passed: None, changes: 0 }
    }

    /// # Errors
    /// The kernel can't be asked, or does not know an address of this host when it sees one.
    pub(crate) fn start(own_addresses: &[IpAddr]) -> io::Result<Self> {
        let mut kernel = Kernel::open()?;
        let mut routes = own_addresses
            .iter()
            .map(|address| kernel.route(Protocol::Tcp, SocketAddr::new(*address, 0)));
        // Some may be of interfaces that are down.
        if !own_addresses.is_empty() && !routes.any(|route| matches!(route, Ok(RouteKind::Local))) {
            return Err(io::Error::other("this system does not say which routes are local"));
        }
        Ok(Self::new(kernel))
    }

    /// Addresses, routes or rules have changed.
    pub(crate) fn forget(&mut self) {
        self.routes.clear();
        self.passed = None;
        self.changes += 1;
    }

    /// Whether a flow may connect to its target.
    pub(crate) fn admit(
        &mut self,
        flow: FlowId,
        protocol: Protocol,
        target: SocketAddr,
        engine: &Engine,
    ) -> Result<Pass, Barrier> {
        let route = self.ask(protocol, target).map_err(Barrier::NoRoute)?;
        judge(route, flow, target, engine)?;
        Ok(Pass { target, route, changes: self.changes })
    }

    /// Whether a connection that is there now, from `local`, may stay: while it was on its way its
    /// target may have become this host.
    pub(crate) fn confirm(
        &mut self,
        pass: Pass,
        flow: FlowId,
        local: IpAddr,
        engine: &Engine,
    ) -> Result<Pass, Barrier> {
        let target = pass.target;
        if pass.changes != self.changes {
            return self.admit(flow, Protocol::Tcp, target, engine);
        }
        if local.to_canonical() == target.ip().to_canonical() {
            judge(RouteKind::Local, flow, target, engine)?;
        }
        Ok(pass)
    }

    /// Whether a datagram of a flow may go to `remote`.
    pub(crate) fn admit_datagram(
        &mut self,
        flow: FlowId,
        protocol: Protocol,
        remote: SocketAddr,
        engine: &Engine,
    ) -> Result<(), Barrier> {
        let route = match self.routes.find(protocol, remote) {
            Some(route) => route,
            None => {
                let route = self.ask(protocol, remote).map_err(Barrier::NoRoute)?;
                self.routes.remember(protocol, remote, route);
                route
            }
        };
        judge(route, flow, remote, engine)?;
        self.passed = Some((flow, remote));
        Ok(())
    }

    /// Whether the datagram before, of the same flow and to the same remote, was let through.
    pub(crate) fn has_just_passed(&self, flow: FlowId, remote: SocketAddr) -> bool {
        self.passed == Some((flow, remote))
    }

    /// Where a target leads, however it is written.
    fn ask(&mut self, protocol: Protocol, target: SocketAddr) -> io::Result<RouteKind> {
        let mut routes = readings(target.ip())
            .map(|address| self.kernel.route(protocol, SocketAddr::new(address, target.port())));
        let literal = routes.next().unwrap_or(Ok(RouteKind::Local))?;
        for route in routes {
            match route {
                Ok(RouteKind::Local) => return Ok(RouteKind::Local),
                Ok(RouteKind::Remote) => {}
                Err(error) if has_no_route(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(literal)
    }
}

fn judge(
    route: RouteKind,
    flow: FlowId,
    target: SocketAddr,
    engine: &Engine,
) -> Result<(), Barrier> {
    match route {
        RouteKind::Remote => Ok(()),
        RouteKind::Local if engine.may_reach_host(flow, target) => Ok(()),
        RouteKind::Local => Err(Barrier::Host),
    }
}

/// Whether the kernel knows no route (a black hole is `INVAL`), rather than that it can't say.
fn has_no_route(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_known_in_every_notation() {
        for target in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(is_this_host(Protocol::Tcp, target.parse().unwrap()).unwrap(), "{target}");
        }
    }
}
