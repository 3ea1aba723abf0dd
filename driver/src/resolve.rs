//! Names of endpoints.
//!
//! Only the system's resolver knows everything that a name may mean here (hosts file, nsswitch,
//! search domains, mDNS, VPN resolvers), and it blocks. So each question gets a thread that asks,
//! hands the answer over, wakes the loop and ends. Questions are rare, one for each peer whose
//! handshakes fail, and only a few threads live at once; everything else of the driver is one
//! thread.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::{Registry, Waker};
use slipwire_core::PeerId;

use crate::token::Origin;

/// Threads at once.
const THREADS_MAX: usize = 4;

/// The addresses of a name that is a peer's endpoint; none if it did not resolve.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) peer: PeerId,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Question {
    peer: PeerId,
    host: String,
    port: u16,
}

impl Question {
    fn answered(&self, addresses: Vec<SocketAddr>) -> Answer {
        Answer { peer: self.peer, host: self.host.clone(), port: self.port, addresses }
    }
}

/// Asks the system's resolver without blocking the loop.
#[derive(Debug)]
pub(crate) struct Resolver {
    waker: Arc<Waker>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
    asked: Vec<PeerId>,
    /// At most one for each peer.
    waiting: VecDeque<Question>,
}

impl Resolver {
    pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
        let waker = Arc::new(Waker::new(registry, Origin::Resolver.token())?);
        let (sender, answers) = channel();
        Ok(Self { waker, sender, answers, asked: Vec::new(), waiting: VecDeque::new() })
    }

    /// Asks for a peer's endpoint, unless a question of that peer is already under way: its answer
    /// says which name it is about.
    pub(crate) fn ask(&mut self, peer: PeerId, host: &str, port: u16) {
        let question = Question { peer, host: host.to_owned(), port };
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.peer == peer) {
            *waiting = question;
        } else if !self.asked.contains(&peer) {
            self.waiting.push_back(question);
            self.start();
        }
    }

    /// An answer that has come in, if there is one.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.asked.retain(|peer| *peer != answer.peer);
        self.start();
        Some(answer)
    }

    fn start(&mut self) {
        while self.asked.len() < THREADS_MAX
            && let Some(question) = self.waiting.pop_front()
        {
            self.asked.push(question.peer);
            self.spawn(question);
        }
    }

    fn spawn(&self, question: Question) {
        let unresolved = question.answered(Vec::new());
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let spawned = thread::Builder::new().name("resolver".into()).spawn(move || {
            let addresses = resolve(&question.host, question.port);
            // If the driver is gone, nobody is waiting.
            if sender.send(question.answered(addresses)).is_ok() {
                let _ = waker.wake();
            }
        });
        if let Err(error) = spawned {
            log::warn!("no thread to resolve a name with: {error}");
            let _ = self.sender.send(unresolved);
            let _ = self.waker.wake();
        }
    }
}

fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.map(plainest).collect(),
        Err(error) => {
            log::debug!("{host}: {error}");
            Vec::new()
        }
    }
}

/// An IPv4 address that is mapped into IPv6, as some hosts files have them, is an IPv4 address.
fn plainest(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        // With its scope id.
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_resolves() {
        let addresses = resolve("localhost", 51820);
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 51820));
    }

    #[test]
    fn a_link_local_address_has_the_scope_id_of_its_interface() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        let expected = format!("[fe80::1%{index}]:7").parse().unwrap();
        assert_eq!(resolve("fe80::1%lo", 7), [expected]);
        assert!(resolve("fe80::1%nowhere", 7).is_empty());
    }

    #[test]
    fn a_mapped_address_is_one_of_ipv4() {
        assert_eq!(resolve("::ffff:192.0.2.1", 7), ["192.0.2.1:7".parse().unwrap()]);
    }

    #[test]
    fn a_name_that_means_nothing_has_no_addresses() {
        assert!(resolve("no such name", 1).is_empty());
        assert!(resolve("", 1).is_empty());
    }
}
