//! Datagrams on their way to one host, gathered into a train that leaves in one system call (UDP
//! GSO). All are of one size but the last, which may be shorter.

use std::net::SocketAddr;

use slipwire_core::{Datagram, FlowId, Travel};

use crate::batch::SEND_LEN_MAX;

/// Segments of a train: the most that Linux takes in one send.
const SEGMENTS_MAX: usize = 64;

/// Whose datagrams they are, to whom they go, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heading {
    pub(crate) flow: FlowId,
    pub(crate) remote: SocketAddr,
    pub(crate) travel: Travel,
}

/// The train that is being gathered.
#[derive(Debug, Default)]
pub(crate) struct TrainBuilder {
    heading: Option<Heading>,
    segment_size: usize,
    bytes: Vec<u8>,
}

/// A train that is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train<'a> {
    pub(crate) heading: Heading,
    bytes: &'a [u8],
    /// Of all datagrams but the last.
    pub(crate) segment_size: usize,
}

impl<'a> Train<'a> {
    /// The same, on its way to somebody else.
    pub(crate) fn to(self, remote: SocketAddr) -> Self {
        Self { heading: Heading { remote, ..self.heading }, ..self }
    }

    /// The datagrams one behind the other.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is more than one datagram in it.
    pub(crate) const fn is_long(&self) -> bool {
        self.bytes.len() > self.segment_size
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let empty = self.bytes.is_empty().then_some(self.bytes);
        empty.into_iter().chain(self.bytes.chunks(self.segment_size.max(1)))
    }
}

impl TrainBuilder {
    /// Whether the datagram can go with those that are there, if there are any.
    pub(crate) fn takes(&self, datagram: &Datagram<'_>) -> bool {
        let Some(heading) = &self.heading else { return true };
        let len = datagram.payload.len();
        let is_sealed = !self.bytes.len().is_multiple_of(self.segment_size.max(1));
        *heading == Heading::of(datagram)
            && !is_sealed
            && len > 0
            && len <= self.segment_size
            && self.bytes.len() < SEGMENTS_MAX * self.segment_size
            && self.bytes.len() + len <= SEND_LEN_MAX
    }

    /// Adds a datagram that it [`takes`](Self::takes).
    pub(crate) fn push(&mut self, datagram: &Datagram<'_>) {
        if self.heading.is_none() {
            self.heading = Some(Heading::of(datagram));
            self.segment_size = datagram.payload.len();
        }
        self.bytes.extend_from_slice(datagram.payload);
    }

    /// What is there.
    pub(crate) fn train(&self) -> Option<Train<'_>> {
        let (bytes, segment_size) = (self.bytes.as_slice(), self.segment_size);
        self.heading.map(|heading| Train { heading, bytes, segment_size })
    }

    /// Forgets it.
    pub(crate) fn clear(&mut self) {
        self.heading = None;
        self.bytes.clear();
    }
}

impl Heading {
    const fn of(datagram: &Datagram<'_>) -> Self {
        Self { flow: datagram.flow, remote: datagram.remote, travel: datagram.travel }
    }
}

#[cfg(test)]
mod tests {
    use slipwire_core::{Fragmenting, TrafficClass};

    use super::*;

    fn datagram(payload: &[u8]) -> Datagram<'_> {
        Datagram {
            flow: "1.1".parse().unwrap(),
            remote: "192.0.2.1:53".parse().unwrap(),
            travel: Travel {
                hop_limit: 63,
                fragmenting: Fragmenting::Allowed,
                traffic_class: TrafficClass::DEFAULT,
            },
            payload,
        }
    }

    fn builder(payloads: &[&[u8]]) -> TrainBuilder {
        let mut builder = TrainBuilder::default();
        for payload in payloads {
            assert!(builder.takes(&datagram(payload)));
            builder.push(&datagram(payload));
        }
        builder
    }

    fn contents(builder: &TrainBuilder) -> Vec<&[u8]> {
        builder.train().unwrap().datagrams().collect()
    }

    #[test]
    fn datagrams_of_one_size_gather_and_a_shorter_one_ends_them() {
        let payloads: [&[u8]; 3] = [b"four", b"five", b"six"];
        let builder = builder(&payloads);
        assert_eq!(contents(&builder), payloads);
        assert!(!builder.takes(&datagram(b"one")) && !builder.takes(&datagram(b"four")));
    }

    #[test]
    fn longer_and_empty_ones_go_on_their_own() {
        let four = builder(&[b"four"]);
        assert!(!four.takes(&datagram(b"seven")) && !four.takes(&datagram(b"")));
        let empty = builder(&[b""]);
        assert_eq!(contents(&empty), [b""]);
        assert!(!empty.takes(&datagram(b"")) && !empty.takes(&datagram(b"a")));
    }

    #[test]
    fn whoever_goes_elsewhere_or_otherwise_does_not_join() {
        let builder = builder(&[b"four"]);
        let alike = datagram(b"five");
        assert!(builder.takes(&alike));
        let travel = Travel { hop_limit: 9, ..alike.travel };
        let marked = Travel { traffic_class: TrafficClass(0xb8), ..alike.travel };
        for other in [
            Datagram { flow: "1.2".parse().unwrap(), ..alike },
            Datagram { remote: "192.0.2.1:54".parse().unwrap(), ..alike },
            Datagram { travel, ..alike },
            Datagram { travel: marked, ..alike },
        ] {
            assert!(!builder.takes(&other), "{other:?}");
        }
    }

    #[test]
    fn a_train_has_its_bounds_and_leaves_nothing_behind() {
        for (len, count) in [(1, 64), (1_000, 64), (1_400, 46), (65_507, 1)] {
            let payload = vec![0; len];
            let mut builder = builder(&vec![&payload[..]; count]);
            assert!(!builder.takes(&datagram(&payload)), "{len}");
            builder.clear();
            assert!(builder.train().is_none() && builder.takes(&datagram(b"anything")));
        }
    }
}
