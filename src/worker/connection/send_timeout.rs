//! Judges a client that takes its response slowly. Numbers in, a verdict out; it looks at no clock and no socket.

use std::time::Duration;

use crate::worker::millis::{Millis, millis};

/// The limits for a client that takes a response slowly.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    /// The longest time without taking anything; `None` is for ever.
    pub stall: Option<Duration>,
    /// Bytes a second that it has to take on average, after five seconds; `None` is any.
    pub rate: Option<u64>,
}

/// A client's progress since a response began to wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendTimeout {
    began: Millis,
    /// The moment when it was last seen to have taken something.
    progress: Millis,
    /// Bytes that it had not taken at the last look.
    outstanding: u64,
    taken: u64,
}

/// The result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again then.
    Until(Millis),
    /// The client takes nothing.
    Stalled,
    /// The client takes this many bytes a second, which is too few.
    Slow(u64),
}

impl SendTimeout {
    /// Begins to wait, with `outstanding` bytes in this process, and in the kernel unacknowledged.
    pub(crate) fn new(now: Millis, outstanding: u64) -> SendTimeout {
        SendTimeout { began: now, progress: now, outstanding, taken: 0 }
    }

    /// Judges the client by what is outstanding now.
    pub(crate) fn look(&mut self, now: Millis, outstanding: u64, send_limits: &SendLimits) -> Verdict {
        let taken = self.outstanding.saturating_sub(outstanding);
        self.outstanding = outstanding;
        if taken > 0 {
            self.taken += taken;
            self.progress = now;
        }
        let stalled = send_limits.stall.map(|stall| self.progress.saturating_add(millis(stall)));
        if stalled.is_some_and(|at| at <= now) {
            return Verdict::Stalled;
        }
        let elapsed = now - self.began;
        let rate = self.taken * 1000 / elapsed.max(1);
        if elapsed >= millis(GRACE) && send_limits.rate.is_some_and(|least| rate < least) {
            return Verdict::Slow(rate);
        }
        let next = now.saturating_add(millis(GRACE));
        Verdict::Until(stalled.map_or(next, |at| at.min(next)))
    }
}

/// The shortest time that a client is judged by. Kestrel: 5 s.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: SendLimits = SendLimits { stall: Some(Duration::from_secs(60)), rate: Some(240) };

    #[test]
    fn a_client_that_takes_nothing_is_stalled_at_the_limit() {
        let mut timeout = SendTimeout::new(1000, 500);
        let only_stall = SendLimits { rate: None, ..USUAL };
        assert_eq!(timeout.look(1000, 500, &only_stall), Verdict::Until(6000));
        assert_eq!(timeout.look(60_999, 500, &only_stall), Verdict::Until(61_000));
        assert_eq!(timeout.look(61_000, 500, &only_stall), Verdict::Stalled);
    }

    #[test]
    fn a_client_that_takes_a_byte_a_second_is_slow_after_the_grace() {
        let mut timeout = SendTimeout::new(0, 10_000);
        assert_eq!(timeout.look(4999, 9995, &USUAL), Verdict::Until(9999));
        assert_eq!(timeout.look(5000, 9995, &USUAL), Verdict::Slow(1));
    }

    #[test]
    fn a_client_that_keeps_the_rate_on_average_is_waited_for() {
        let mut timeout = SendTimeout::new(0, 1_000_000);
        for second in 1..100 {
            let outstanding = 1_000_000 - second * 300;
            assert!(matches!(timeout.look(second * 1000, outstanding, &USUAL), Verdict::Until(_)), "{second}");
        }
    }

    #[test]
    fn without_limits_it_is_for_ever() {
        let mut timeout = SendTimeout::new(0, 10);
        let none = SendLimits { stall: None, rate: None };
        assert_eq!(timeout.look(1_000_000_000, 10, &none), Verdict::Until(1_000_005_000));
    }
}
