//! RequestTimeouts of connections: at most one entry a connection in the heap, pushed back when it comes up too early, so
//! that a busy connection costs nothing a request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::os::clock;

/// Milliseconds of the monotonic clock.
pub(crate) type Millis = u64;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Millis, u64)>>,
}

impl Timers {
    /// Brings `token` up at `at`.
    pub(crate) fn push(&mut self, at: Millis, token: u64) {
        self.heap.push(Reverse((at, token)));
    }

    /// The next token whose time has come.
    pub(crate) fn pop(&mut self, now: Millis) -> Option<u64> {
        let Reverse((at, token)) = *self.heap.peek()?;
        (at <= now).then(|| {
            self.heap.pop();
            token
        })
    }

    /// When the next one comes up.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

/// The moment that is `limit` away.
pub(crate) fn in_time(limit: Duration) -> Millis {
    (clock::monotonic() / 1_000_000).saturating_add(millis(limit))
}

/// The same, up to 4 ms too early: the clock that costs a quarter is as old as the kernel's last tick.
pub(crate) fn in_about(limit: Duration) -> Millis {
    (clock::monotonic_coarse() / 1_000_000).saturating_add(millis(limit))
}

pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
