//! How many descriptors the process may have, and how many of them flows may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no flow gets: standard streams, epoll, logs, the resolver, a client that is
/// accepted only to be refused.
pub(crate) const RESERVE: usize = 48;

/// How the open files that the process may have are divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// All that the system lets it have.
    pub allowed: usize,
    /// Those that no flow gets.
    pub kept_back: usize,
    /// Sockets that are there for good: WireGuard's and those of forwards.
    pub fixed: usize,
    /// Flows that may have one each.
    pub for_flows: usize,
}

impl OpenFiles {
    pub(crate) const fn with(allowed: usize, fixed: usize) -> Self {
        let for_flows = allowed.saturating_sub(RESERVE).saturating_sub(fixed);
        Self { allowed, kept_back: RESERVE, fixed, for_flows }
    }
}

/// Raises the soft limit to the hard one, as far as the system lets us, and says what it is now.
pub(crate) fn raise_limit() -> usize {
    let old = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: old.maximum, maximum: old.maximum };
    if old.current != old.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        log::debug!("the limit of open files stays as it is: {error}");
    }
    // No limit at all is `None`.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.current.unwrap_or(u64::MAX), limit as u64);
    }

    #[test]
    fn some_descriptors_are_kept_from_flows() {
        assert_eq!(OpenFiles::with(1024, 6).for_flows, 970);
        assert_eq!(OpenFiles::with(10, 6).for_flows, 0);
    }
}
