//! How many descriptors the process may have, and how many of them flows may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no flow gets: standard streams, epoll, logs, the resolver, a client that is
/// accepted only to be refused.
const RESERVE: usize = 48;

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

/// How many flows may have a descriptor each, beside `fixed` sockets that are there for good.
pub(crate) const fn flows_that_fit(limit: usize, fixed: usize) -> usize {
    limit.saturating_sub(RESERVE).saturating_sub(fixed)
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
        assert_eq!(flows_that_fit(1024, 6), 970);
        assert_eq!(flows_that_fit(10, 6), 0);
    }
}
