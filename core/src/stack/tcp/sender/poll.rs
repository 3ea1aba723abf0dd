//! What leaves next.

use std::ops::Range;

use crate::stack::tcp::sender::Sender;
use crate::stack::tcp::sender::congestion::Controller;
use crate::stack::tcp::sender::loss::Expiry;
use crate::stack::tcp::sender::witness::Ledger;
use crate::time::Instant;

impl Sender {
    /// The next part of the stream that has to leave now, perhaps with the FIN behind it, in a
    /// segment whose options take `options_len` bytes. It is to be
    /// [said](Self::handle_sent) that it did.
    pub(in crate::stack::tcp) fn poll(
        &mut self,
        options_len: usize,
        now: Instant,
    ) -> Option<Range<u64>> {
        // What held it back then need not be what does now.
        self.paced_until = None;
        if let Some(probe) = self.probe.clone() {
            return Some(self.cut(probe, self.size.repeat_len(), options_len));
        }
        let lost = self.loss.next_lost(u64::MAX);
        let range = match lost {
            // After an expiry nobody knows whether the size of before gets through.
            Some(lost) if self.has_expired => self.cut(lost, self.size.repeat_len(), options_len),
            Some(lost) => self.cut_next(lost, options_len),
            None => match self.next_new(options_len) {
                Some(range) => range,
                None => {
                    self.handle_nothing_new(now);
                    return None;
                }
            },
        };
        let (len, flight) = (range.end - range.start, self.loss.flight());
        // Whatever the window, one segment may be out.
        if flight > 0 && flight + len > self.congestion.window() {
            self.is_window_limited = true;
            return None;
        }
        match self.pacer.allowance(now) {
            Ok(_) => Some(range),
            Err(at) => {
                self.paced_until = Some(at);
                None
            }
        }
    }

    /// What leaves next of what never left, as far as the far end's window goes.
    fn next_new(&self, options_len: usize) -> Option<Range<u64>> {
        let start = self.loss.sent_to();
        let window = self.window.to.saturating_sub(start);
        let waiting = self.waiting();
        if waiting == 0 || window == 0 || self.loss.is_full() {
            return None;
        }
        let wanted = self.cut_next(start..start + waiting, options_len);
        if wanted.end - start <= window {
            return Some(wanted);
        }
        // RFC 9293, section 3.8.6.2.1: no small segments just because the window's rest is small.
        let is_worth_it = window >= self.window.len_max / 2;
        is_worth_it.then(|| self.cut_next(start..start + window, options_len))
    }

    /// Bytes that never left, and the FIN.
    fn waiting(&self) -> u64 {
        let end = self.fin.map_or(self.ring.end(), |fin| fin + 1);
        end.saturating_sub(self.loss.sent_to())
    }

    /// Nothing can leave but for the window: whose fault is it?
    fn handle_nothing_new(&mut self, now: Instant) {
        if self.waiting() == 0 {
            if self.loss.flight() < self.congestion.window() {
                self.delivery.set_application_limited(self.loss.flight());
            }
        } else if self.loss.flight() == 0 {
            // Nothing comes that could open the window by itself.
            self.persist.wait(self.loss.timeout(), now);
        }
    }

    /// The front of a range that goes into one segment of the size of now.
    fn cut_next(&self, range: Range<u64>, options_len: usize) -> Range<u64> {
        let left = self.ring.end().saturating_sub(range.start);
        let len = self.size.next_len(range.end - range.start, left);
        self.cut(range, len, options_len)
    }

    /// The front of a range that goes into one segment with `len` bytes for payload and options. A
    /// FIN takes no place in it.
    fn cut(&self, range: Range<u64>, len: u64, options_len: usize) -> Range<u64> {
        let Range { start, end } = range;
        let data_end = self.fin.map_or(end, |fin| end.min(fin));
        let room = len.saturating_sub(options_len as u64).max(1);
        if data_end.saturating_sub(start) > room { start..start + room } else { start..end }
    }

    /// A part of the stream has left.
    pub(in crate::stack::tcp) fn handle_sent(&mut self, range: Range<u64>, now: Instant) {
        let (len, flight) = (range.end - range.start, self.loss.flight());
        let stamp = self.delivery.stamp(len, flight, now);
        self.size.handle_sent(len, now);
        self.loss.handle_sent(range, stamp, now);
        self.congestion.handle_sent(len, flight + len, flight == 0, now);
        self.pacer.spend(len);
        (self.probe, self.has_expired) = (None, false);
        self.persist.end();
    }

    /// Time has passed: what is overdue is lost, or asked for.
    pub(in crate::stack::tcp) fn handle_timeout(&mut self, now: Instant) {
        self.fill_small_window(now);
        if self.loss.deadline().is_none_or(|at| at > now) {
            return;
        }
        loop {
            let flight = self.loss.flight();
            let mut ledger = Ledger::new(&mut self.delivery, &mut self.size);
            match self.loss.handle_timeout(&mut ledger, now) {
                Expiry::Nothing => break,
                Expiry::Lost { began, .. } => {
                    if began {
                        self.congestion.handle_congestion(flight, self.loss.sent_to(), now);
                    }
                }
                // RFC 8985, section 7.3: new data tell as much, and more.
                Expiry::Probe(tail) => self.probe = Some(self.next_new(0).unwrap_or(tail)),
                Expiry::Expired { .. } => {
                    self.congestion.handle_expiry(now);
                    self.size.handle_expiry();
                    self.has_expired = true;
                }
            }
        }
        self.handle_size_news(now);
        self.follow_congestion(now);
    }

    /// A window that has been too small for a whole segment for long is as large as it gets (RFC
    /// 9293, section 3.8.6.2.1).
    fn fill_small_window(&mut self, now: Instant) {
        let start = self.loss.sent_to();
        let len = self.waiting().min(self.window.to.saturating_sub(start));
        if len > 0 && self.loss.flight() == 0 && self.persist.take_due(now) {
            self.probe = Some(start..start + len);
        }
    }

    /// Whether the far end has to be asked for its window now.
    pub(in crate::stack::tcp) fn take_persist(&mut self, now: Instant) -> bool {
        self.persist.take_due(now)
    }
}
