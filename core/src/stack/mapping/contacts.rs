//! The hosts that a mapping has sent to, who may answer: thousands, the latest of them.
//!
//! They are in two generations, of which the younger fills. What is used moves there, and when it
//! is full the older one is forgotten.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::config::Filtering;

/// See [the module](self).
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    current: BTreeSet<SocketAddr>,
    previous: BTreeSet<SocketAddr>,
    /// The one that was sent to last, which is in the younger generation: most mappings know no
    /// other, and need no search.
    latest: Option<SocketAddr>,
}

impl Contacts {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Notes that the peer sends to `remote`. `generation_max` is asked if that is a new one: after
    /// so many others one is forgotten, and not before. Says how many are forgotten now.
    pub(crate) fn note(
        &mut self,
        remote: SocketAddr,
        generation_max: impl FnOnce() -> usize,
    ) -> usize {
        if self.latest == Some(remote) {
            return 0;
        }
        self.latest = Some(remote);
        self.previous.remove(&remote);
        if !self.current.insert(remote) || self.current.len() <= generation_max() {
            return 0;
        }
        self.current.remove(&remote);
        let full = std::mem::replace(&mut self.current, BTreeSet::from([remote]));
        std::mem::replace(&mut self.previous, full).len()
    }

    /// Forgets those for which that is not true. Says how many.
    pub(crate) fn retain(&mut self, mut may: impl FnMut(SocketAddr) -> bool) -> usize {
        let before = self.len();
        self.current.retain(|remote| may(*remote));
        self.previous.retain(|remote| may(*remote));
        // The next one has to be looked up.
        self.latest = None;
        before - self.len()
    }

    /// Whether the peer has sent to this very remote.
    pub(crate) fn contain(&self, remote: SocketAddr) -> bool {
        self.latest == Some(remote)
            || self.current.contains(&remote)
            || self.previous.contains(&remote)
    }

    /// Whether `remote` may send to the peer (RFC 4787, section 5).
    pub(crate) fn admit(&self, remote: SocketAddr, filtering: Filtering) -> bool {
        filtering == Filtering::EndpointIndependent
            || self.latest == Some(remote)
            || [&self.current, &self.previous]
                .into_iter()
                .any(|contacts| find(contacts, remote, filtering).is_some())
    }

    /// Notes that `remote`, which is [admitted](Self::admit), sends: what lets it in is in use.
    pub(crate) fn use_by(&mut self, remote: SocketAddr, filtering: Filtering) {
        if self.latest == Some(remote) {
            return;
        }
        if find(&self.current, remote, filtering).is_none()
            && let Some(known) = find(&self.previous, remote, filtering)
        {
            self.previous.remove(&known);
            self.current.insert(known);
        }
    }
}

/// The contact for which `remote` is let in.
fn find(
    contacts: &BTreeSet<SocketAddr>,
    remote: SocketAddr,
    filtering: Filtering,
) -> Option<SocketAddr> {
    match filtering {
        Filtering::EndpointIndependent | Filtering::AddressAndPort => {
            contacts.get(&remote).copied()
        }
        Filtering::Address => {
            let port = |port| SocketAddr::new(remote.ip(), port);
            contacts.range(port(0)..=port(u16::MAX)).next().copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(n: usize) -> SocketAddr {
        SocketAddr::new([10, (n / 62_500) as u8, (n / 250 % 250) as u8, (n % 250) as u8].into(), 9)
    }

    #[test]
    fn contacts_are_bounded_and_the_latest_are_kept() {
        let mut contacts = Contacts::default();
        let mut forgotten = 0;
        for n in 0..1_000 {
            forgotten += contacts.note(remote(0), || 100);
            forgotten += contacts.note(remote(n), || 100);
            assert!(contacts.len() <= 200);
            for latest in n.saturating_sub(98)..=n {
                assert!(contacts.contain(remote(latest)), "{latest} of {n}");
            }
        }
        assert!(contacts.contain(remote(0)), "it is sent to all the time");
        assert!(!contacts.contain(remote(1)));
        assert_eq!(forgotten, 1_000 - contacts.len(), "none is forgotten unsaid");
    }

    #[test]
    fn a_host_that_sends_is_not_forgotten() {
        for (filtering, port) in [(Filtering::Address, 10), (Filtering::AddressAndPort, 9)] {
            let mut contacts = Contacts::default();
            for n in 0..1_000 {
                contacts.note(remote(n), || 100);
                let feed = SocketAddr::new(remote(0).ip(), port);
                assert!(contacts.admit(feed, filtering));
                contacts.use_by(feed, filtering);
            }
        }
    }

    #[test]
    fn what_may_not_stay_does_not_come_back() {
        let mut contacts = Contacts::default();
        (0..150).for_each(|n| assert_eq!(contacts.note(remote(n), || 100), 0));
        assert_eq!(contacts.retain(|known| known == remote(3)), 149);
        assert_eq!(contacts.len(), 1);
        assert!(!contacts.contain(remote(149)) && contacts.contain(remote(3)));
        contacts.note(remote(149), || 100);
        assert!(contacts.contain(remote(149)));
    }
}
