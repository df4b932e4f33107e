//! Judges a client that sends its request body slowly. Numbers in, a verdict out; it looks at no clock and no socket.
//! The twin of `send_timeout.rs`, with one difference: a client that has sent much may pause for as long as
//! `client_body_timeout` allows.

use std::time::Duration;

use super::send_timeout::GRACE;
use crate::worker::millis::{Millis, after_some, millis};

/// The limits for a client that sends a body slowly.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveLimits {
    /// The longest time without a byte; `None` is for ever.
    pub stall: Option<Duration>,
    /// Bytes a second that have to come on average, over the time of `stall`; `None` is any.
    pub rate: Option<u64>,
}

/// The progress of a body, as credit: each byte adds to it, each moment takes `rate` from it. A body begins with the
/// credit of the grace, and has at most that of the longest pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveRate {
    limits: ReceiveLimits,
    /// The moment of the last look.
    looked: Millis,
    /// In thousandths of a byte.
    credit: u64,
}

impl ReceiveRate {
    /// Begins to wait for a body.
    pub(crate) fn new(limits: ReceiveLimits, now: Millis) -> ReceiveRate {
        ReceiveRate { limits, looked: now, credit: millis(GRACE) * limits.rate.unwrap_or(0) }
    }

    /// Takes `count` bytes, and the time since the last look. False if the client is too slow.
    pub(crate) fn received(&mut self, now: Millis, count: usize) -> bool {
        let waited = now.saturating_sub(self.looked);
        self.looked = now;
        let Some(rate) = self.limits.rate else { return true };
        let most = millis(self.limits.stall.unwrap_or(USUAL_PAUSE).max(GRACE)).saturating_mul(rate);
        let sum = self.credit.saturating_add((count as u64).saturating_mul(1000));
        let left = sum.checked_sub(waited.saturating_mul(rate));
        self.credit = left.unwrap_or(0).min(most);
        left.is_some()
    }

    /// Goes on at `now`, as if no time had passed: the client was not read.
    pub(crate) fn resume(&mut self, now: Millis) {
        self.looked = now;
    }

    /// Returns the moment until which the client may send nothing.
    pub(crate) fn deadline(&self) -> Millis {
        let spent =
            self.limits.rate.map_or(Millis::MAX, |rate| self.looked.saturating_add(self.credit / rate.max(1) + 1));
        after_some(self.looked, self.limits.stall).min(spent)
    }
}

/// The longest pause where none is set, the default of `client_body_timeout`.
const USUAL_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: ReceiveLimits = ReceiveLimits { stall: Some(Duration::from_secs(60)), rate: Some(240) };

    #[test]
    fn a_client_that_sends_a_byte_a_second_is_slow_after_the_grace() {
        let mut rate = ReceiveRate::new(USUAL, 1000);
        for second in 1..=5 {
            assert!(rate.received(1000 + second * 1000, 1), "{second}");
        }
        assert_eq!(rate.deadline(), 6000 + 20 + 1);
        assert!(!rate.received(7000, 1));
    }

    #[test]
    fn a_client_that_keeps_the_rate_is_waited_for() {
        let mut rate = ReceiveRate::new(USUAL, 0);
        assert!((1..1000).all(|second| rate.received(second * 1000, 240)));
    }

    #[test]
    fn a_client_that_has_sent_much_may_pause_as_long_as_any() {
        let mut rate = ReceiveRate::new(USUAL, 0);
        assert!(rate.received(1000, 1 << 20));
        assert_eq!(rate.deadline(), 61_000);
        assert!(rate.received(61_000, 240));
        assert!(rate.deadline() <= 62_001);
    }

    #[test]
    fn without_limits_it_is_for_ever() {
        let mut rate = ReceiveRate::new(ReceiveLimits { stall: None, rate: None }, 0);
        assert!(rate.received(1_000_000_000, 0));
        assert_eq!(rate.deadline(), Millis::MAX);
        let stalls = ReceiveRate::new(ReceiveLimits { rate: None, ..USUAL }, 0);
        assert_eq!(stalls.deadline(), 60_000);
    }

    #[test]
    fn time_in_which_it_was_not_read_does_not_count() {
        let mut rate = ReceiveRate::new(USUAL, 0);
        rate.resume(100_000);
        assert!(rate.received(104_000, 1));
    }
}
