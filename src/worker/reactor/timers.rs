//! Deadlines of connections: at most one entry a connection in the heap, pushed back when it comes up too early, so
//! that a busy connection costs nothing a request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::worker::millis::Millis;

/// The entries, earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Millis, u64)>>,
}

impl Timers {
    /// Has `token` come up at `at`.
    pub(super) fn push(&mut self, at: Millis, token: u64) {
        self.heap.push(Reverse((at, token)));
    }

    /// Returns the next token whose time has come.
    pub(super) fn pop(&mut self, now: Millis) -> Option<u64> {
        let Reverse((at, token)) = *self.heap.peek()?;
        (at <= now).then(|| {
            self.heap.pop();
            token
        })
    }

    /// Returns when the next one comes up.
    pub(super) fn next(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
