//! Trains of WireGuard datagrams on their way to the embedder.
//!
//! A train is what one UDP GSO send takes: datagrams of one size, to one destination, from one
//! source, with one ECN mark, back to back in one buffer; only the last may be shorter. The tunnel
//! encrypts straight into the tail of a train through a [`Reservation`], which leaves no trace
//! unless committed.
//!
//! ```text
//! front                              newest
//! [A A A A a] [B B B B] [A A] [C c]         upper case: a full segment; lower case: a shorter one,
//!                             ^ sealed      which seals its train
//! ```
//!
//! Trains leave in the order in which they were begun and a datagram joins only the newest train
//! to its destination, so that order within one destination holds while interleaved destinations
//! still form trains. When and how trains are sent is the embedder's business.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::ecn::Ecn;
use crate::limits::{
    DATAGRAM_LEN_MAX, TRAIN_LEN_MAX, TRAIN_SEGMENTS_MAX, TRAINS_IDLE, TRAINS_MAX, TRAINS_OPEN_MAX,
    TRAINS_RESERVED,
};

/// A train of WireGuard datagrams to one destination, in one contiguous buffer.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where all of them go.
    pub destination: SocketAddr,
    /// The local address that they should leave from, if the peer last wrote to it.
    pub source: Option<IpAddr>,
    /// The mark of their IP headers: all have the same.
    pub ecn: Ecn,
    /// Bytes of each datagram but the last, which may be shorter.
    pub segment_size: usize,
    /// One or more datagrams, back to back; never empty.
    pub contents: &'a [u8],
}

/// Where a datagram goes, the address of ours that it should leave from, and its mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DatagramWay {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    pub(crate) ecn: Ecn,
}

impl From<SocketAddr> for DatagramWay {
    fn from(to: SocketAddr) -> Self {
        Self { to, from: None, ecn: Ecn::NotEct }
    }
}

/// The queue of trains. Its buffers are reused; [`settle`](Self::settle) frees them after a burst.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    trains: VecDeque<Train>,
    spare: Vec<Box<[u8]>>,
    /// The most trains that waited at once since the last [`settle`](Self::settle).
    peak: usize,
}

impl Egress {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether data may be produced. What is kept back is for handshakes and keepalives.
    pub(crate) fn has_room(&self) -> bool {
        self.trains.len() < TRAINS_MAX - TRAINS_RESERVED
    }

    /// Whether a peer may say what is due: a keepalive and an initiation are two trains.
    pub(crate) fn has_control_room(&self) -> bool {
        self.trains.len() + 2 <= TRAINS_MAX
    }

    /// Room for one datagram of `len` bytes that carries data. `None`: no room for data, or no
    /// datagram can be that long.
    pub(crate) fn reserve(&mut self, way: DatagramWay, len: usize) -> Option<Reservation<'_>> {
        self.reserve_within(TRAINS_MAX - TRAINS_RESERVED, way, len)
    }

    /// The same for a handshake or a keepalive, which may use the room that data must leave.
    pub(crate) fn reserve_control(
        &mut self,
        way: DatagramWay,
        len: usize,
    ) -> Option<Reservation<'_>> {
        self.reserve_within(TRAINS_MAX, way, len)
    }

    fn reserve_within(
        &mut self,
        trains_max: usize,
        way: DatagramWay,
        len: usize,
    ) -> Option<Reservation<'_>> {
        if len == 0 || len > DATAGRAM_LEN_MAX {
            return None;
        }
        let open = self.trains.len().saturating_sub(TRAINS_OPEN_MAX)..self.trains.len();
        let newest = open.rev().find(|index| self.trains[*index].way.to == way.to);
        let index = match newest.filter(|index| self.trains[*index].takes(way, len)) {
            Some(index) => index,
            None if self.trains.len() < trains_max => self.begin(way),
            None => return None,
        };
        Some(Reservation { egress: self, index, len })
    }

    fn begin(&mut self, way: DatagramWay) -> usize {
        let buffer =
            self.spare.pop().unwrap_or_else(|| vec![0; DATAGRAM_LEN_MAX].into_boxed_slice());
        self.trains.push_back(Train::new(way, buffer));
        self.peak = self.peak.max(self.trains.len());
        self.trains.len() - 1
    }

    /// The train at the front. It stays there until [`transmitted`](Self::transmitted).
    pub(crate) fn front(&self) -> Option<Transmit<'_>> {
        self.trains.front().map(Train::transmit)
    }

    /// Takes the first `bytes` off the train at the front: whole segments, or all of it.
    pub(crate) fn transmitted(&mut self, bytes: usize) {
        if let Some(train) = self.trains.front_mut() {
            train.transmitted(bytes);
            if train.is_done()
                && let Some(train) = self.trains.pop_front()
            {
                self.spare.push(train.buffer);
            }
        }
    }

    /// Frees the buffers that were not needed since the last call.
    pub(crate) fn settle(&mut self) {
        let waiting = self.trains.len();
        let needed = std::mem::replace(&mut self.peak, waiting).max(TRAINS_IDLE);
        self.spare.truncate(needed.saturating_sub(waiting));
    }
}

/// Room for one datagram at the tail of a train. Dropped without [`commit`](Self::commit) it
/// leaves the queue as it was.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    egress: &'a mut Egress,
    index: usize,
    len: usize,
}

impl Reservation<'_> {
    /// Where the datagram is written. Its bytes are arbitrary before that.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        let train = &mut self.egress.trains[self.index];
        &mut train.buffer[train.len..train.len + self.len]
    }

    /// Adds the first `len` bytes of the buffer to the train, at most as many as were reserved.
    pub(crate) fn commit(self, len: usize) {
        self.egress.trains[self.index].push(len.min(self.len));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        // Only a train begun by this reservation is empty, and that one is at the back.
        if self.egress.trains[self.index].len == 0
            && let Some(train) = self.egress.trains.pop_back()
        {
            self.egress.spare.push(train.buffer);
        }
    }
}

#[derive(Debug)]
struct Train {
    way: DatagramWay,
    /// Set by the first datagram.
    segment_size: usize,
    segments: usize,
    len: usize,
    transmitted: usize,
    buffer: Box<[u8]>,
}

impl Train {
    const fn new(way: DatagramWay, buffer: Box<[u8]>) -> Self {
        Self { way, segment_size: 0, segments: 0, len: 0, transmitted: 0, buffer }
    }

    fn takes(&self, way: DatagramWay, len: usize) -> bool {
        let sealed = self.len < self.segments * self.segment_size;
        !sealed
            && self.way == way
            && len <= self.segment_size
            && self.segments < TRAIN_SEGMENTS_MAX
            && self.len + len <= TRAIN_LEN_MAX
    }

    const fn push(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        if self.segments == 0 {
            self.segment_size = len;
        }
        self.segments += 1;
        self.len += len;
    }

    fn transmit(&self) -> Transmit<'_> {
        let contents = &self.buffer[self.transmitted..self.len];
        Transmit {
            destination: self.way.to,
            source: self.way.from,
            ecn: self.way.ecn,
            segment_size: self.segment_size.min(contents.len()),
            contents,
        }
    }

    fn transmitted(&mut self, bytes: usize) {
        let waiting = self.len - self.transmitted;
        let whole = if bytes < waiting { bytes - bytes % self.segment_size } else { waiting };
        self.transmitted += whole;
    }

    const fn is_done(&self) -> bool {
        self.transmitted == self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1:51820";
    const B: &str = "[2001:db8::2]:51820";

    fn way(destination: &str) -> DatagramWay {
        DatagramWay::from(destination.parse::<SocketAddr>().unwrap())
    }

    fn push(egress: &mut Egress, destination: &str, len: usize, mark: u8) -> bool {
        let Some(mut reservation) = egress.reserve(way(destination), len) else {
            return false;
        };
        reservation.buffer().fill(mark);
        reservation.commit(len);
        true
    }

    /// Takes every train: destination, segment size, and the marks of its datagrams.
    fn drain(egress: &mut Egress) -> Vec<(String, usize, Vec<u8>)> {
        let mut trains = Vec::new();
        while let Some(train) = egress.front() {
            let marks = train.contents.chunks(train.segment_size).map(|segment| segment[0]);
            trains.push((train.destination.to_string(), train.segment_size, marks.collect()));
            let bytes = train.contents.len();
            egress.transmitted(bytes);
        }
        trains
    }

    fn train(destination: &str, segment_size: usize, marks: &[u8]) -> (String, usize, Vec<u8>) {
        (destination.into(), segment_size, marks.to_vec())
    }

    #[test]
    fn only_the_last_segment_is_shorter() {
        let mut egress = Egress::new();
        for (len, mark) in [(100, 1), (100, 2), (60, 3), (60, 4), (100, 5)] {
            assert!(push(&mut egress, A, len, mark));
        }
        let expected = [train(A, 100, &[1, 2, 3]), train(A, 60, &[4]), train(A, 100, &[5])];
        assert_eq!(drain(&mut egress), expected);
    }

    #[test]
    fn interleaved_destinations_form_trains_and_keep_their_order() {
        let mut egress = Egress::new();
        for mark in 0..10 {
            push(&mut egress, A, 100, mark);
            push(&mut egress, B, 80, mark);
        }
        push(&mut egress, A, 20, 10);
        push(&mut egress, A, 20, 11);
        let all: Vec<u8> = (0..10).collect();
        let expected = [
            train(A, 100, &[all.clone(), vec![10]].concat()),
            train(B, 80, &all),
            train(A, 20, &[11]),
        ];
        assert_eq!(drain(&mut egress), expected);
    }

    #[test]
    fn order_within_a_destination_holds_among_more_destinations_than_open_trains() {
        let mut egress = Egress::new();
        for mark in 0..2 {
            for port in 1..=TRAINS_OPEN_MAX + 1 {
                push(&mut egress, &format!("192.0.2.1:{port}"), 100, mark);
            }
        }
        let mut seen = [0; TRAINS_OPEN_MAX + 2];
        for (destination, _, marks) in drain(&mut egress) {
            let port: usize = destination.split(':').nth(1).unwrap().parse().unwrap();
            for mark in marks {
                assert_eq!(mark, seen[port]);
                seen[port] += 1;
            }
        }
        assert!(seen[1..].iter().all(|datagrams| *datagrams == 2));
    }

    #[test]
    fn a_train_has_one_source() {
        let mut egress = Egress::new();
        for source in [None, Some("192.0.2.9".parse().unwrap()), None] {
            egress.reserve(DatagramWay { from: source, ..way(A) }, 10).unwrap().commit(10);
        }
        let mut sources = Vec::new();
        while let Some(train) = egress.front() {
            sources.push(train.source.map(|source| source.to_string()));
            egress.transmitted(10);
        }
        assert_eq!(sources, [None, Some("192.0.2.9".into()), None]);
    }

    #[test]
    fn a_train_has_one_mark_and_order_holds_among_marks() {
        let mut egress = Egress::new();
        let marks = [Ecn::NotEct, Ecn::NotEct, Ecn::Ce, Ecn::NotEct];
        for ecn in marks {
            egress.reserve(DatagramWay { ecn, ..way(A) }, 10).unwrap().commit(10);
        }
        let mut seen = Vec::new();
        while let Some(train) = egress.front() {
            let (bytes, ecn) = (train.contents.len(), train.ecn);
            seen.extend(vec![ecn; bytes / 10]);
            egress.transmitted(bytes);
        }
        assert_eq!(seen, marks);
    }

    #[test]
    fn a_train_ends_at_64_segments_or_at_one_datagram_of_the_kernel() {
        let mut egress = Egress::new();
        for _ in 0..TRAIN_SEGMENTS_MAX + 1 {
            push(&mut egress, A, 100, 0);
        }
        for _ in 0..100 {
            push(&mut egress, B, 1452, 0);
        }
        let lengths: Vec<_> = drain(&mut egress).iter().map(|(_, _, marks)| marks.len()).collect();
        assert_eq!(lengths, [TRAIN_SEGMENTS_MAX, 1, 45, 45, 10]);
    }

    #[test]
    fn the_largest_datagram_fits_and_a_larger_one_is_refused() {
        let mut egress = Egress::new();
        assert!(push(&mut egress, A, DATAGRAM_LEN_MAX, 1));
        assert!(!push(&mut egress, A, DATAGRAM_LEN_MAX + 1, 2));
        assert!(!push(&mut egress, A, 0, 3));
        assert_eq!(drain(&mut egress), [train(A, DATAGRAM_LEN_MAX, &[1])]);
    }

    #[test]
    fn what_is_not_committed_leaves_no_trace() {
        let mut egress = Egress::new();
        drop(egress.reserve(way(A), 100).unwrap());
        egress.reserve(way(A), 100).unwrap().commit(0);
        assert!(egress.front().is_none());
        push(&mut egress, A, 100, 1);
        egress.reserve(way(A), 50).unwrap().buffer().fill(9);
        push(&mut egress, A, 100, 2);
        assert_eq!(drain(&mut egress), [train(A, 100, &[1, 2])]);
    }

    #[test]
    fn what_is_unsent_stays_and_may_grow() {
        let mut egress = Egress::new();
        for mark in 1..=3 {
            push(&mut egress, A, 100, mark);
        }
        egress.transmitted(150);
        push(&mut egress, A, 100, 4);
        assert_eq!(drain(&mut egress), [train(A, 100, &[2, 3, 4])]);
        egress.transmitted(100);
        assert!(egress.front().is_none());
    }

    #[test]
    fn data_stops_while_handshakes_still_fit() {
        let mut egress = Egress::new();
        let mut begun = 0;
        while egress.has_room() {
            begun += 1;
            assert!(push(&mut egress, &format!("192.0.2.1:{begun}"), 100, 0));
        }
        assert_eq!(begun, TRAINS_MAX - TRAINS_RESERVED);
        assert!(!push(&mut egress, B, 100, 0));
        assert!(push(&mut egress, &format!("192.0.2.1:{begun}"), 100, 0));
        for port in 1..=TRAINS_RESERVED {
            let destination = format!("198.51.100.1:{port}");
            egress.reserve_control(way(&destination), 148).unwrap().commit(148);
        }
        assert!(egress.reserve_control(way(B), 148).is_none());
        egress.transmitted(usize::MAX);
        assert!(egress.reserve_control(way(B), 148).is_some());
    }

    #[test]
    fn buffers_are_reused_and_freed_after_a_burst() {
        let mut egress = Egress::new();
        let burst = |egress: &mut Egress| {
            for port in 1..=20 {
                push(egress, &format!("192.0.2.1:{port}"), 100, 0);
            }
            drain(egress);
        };
        burst(&mut egress);
        let buffers: Vec<_> = egress.spare.iter().map(|buffer| buffer.as_ptr()).collect();
        egress.settle();
        burst(&mut egress);
        egress.settle();
        assert_eq!(egress.spare.len(), 20);
        assert!(egress.spare.iter().all(|buffer| buffers.contains(&buffer.as_ptr())));
        egress.settle();
        assert_eq!(egress.spare.len(), TRAINS_IDLE);
    }
}
