//! Counts what the request bodies of a worker take: bytes in memory, and bytes in files together with everything else
//! that is spilled, each with a bound. Numbers only; it holds no memory and no file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::worker::spill_file::{self, SpillFile};

/// The bounds of all request bodies of a worker, and what they take.
#[derive(Debug)]
pub struct BodyBudget {
    memory: Bound,
    files: Bound,
}

#[derive(Debug)]
struct Bound {
    most: u64,
    used: Used,
    /// The most that was used since the last burst ended.
    peak: AtomicU64,
}

/// The place of a count.
#[derive(Debug)]
enum Used {
    Own(AtomicU64),
    /// It is shared with responses that wait for their clients.
    Spilled,
}

impl BodyBudget {
    /// Returns a budget of these bytes in memory and in files; `None` is no limit.
    pub fn new(memory: Option<u64>, files: Option<u64>) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { memory: Bound::new(memory, Used::own()), files: Bound::new(files, Used::Spilled) })
    }

    /// The same, with files that count for nothing else.
    #[cfg(test)]
    pub(crate) fn alone(memory: Option<u64>, files: Option<u64>) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { memory: Bound::new(memory, Used::own()), files: Bound::new(files, Used::own()) })
    }

    /// True if a further piece of a body has room, in memory or in a file.
    pub(crate) fn has_room(&self) -> bool {
        [&self.memory, &self.files].into_iter().any(|bound| bound.used().saturating_add(PIECE) <= bound.most)
    }

    /// Returns the bytes in use, in memory and in files.
    pub(crate) fn used(&self) -> [u64; 2] {
        [self.memory.used(), self.files.used()]
    }

    /// True, once, if a burst is over: most of the memory that bodies took is free again.
    pub(crate) fn take_burst_end(&self) -> bool {
        let (used, peak) = (self.memory.used(), self.memory.peak.load(Ordering::Relaxed));
        let is_over = peak >= BURST && used <= peak / 4;
        if is_over {
            self.memory.peak.store(used, Ordering::Relaxed);
        }
        is_over
    }
}

impl Bound {
    fn new(most: Option<u64>, used: Used) -> Bound {
        Bound { most: most.unwrap_or(u64::MAX), used, peak: AtomicU64::new(0) }
    }

    fn used(&self) -> u64 {
        self.used.count().load(Ordering::Relaxed)
    }

    /// Changes what one body takes from `held` to `wanted` bytes. False, and nothing is changed, if that is more than
    /// there is, with `beyond` bytes on top of the bound.
    fn change(&self, held: &mut u64, wanted: u64, beyond: u64) -> bool {
        let more = wanted.saturating_sub(*held);
        let most = self.most.saturating_add(beyond);
        let room = |used: u64| used.checked_add(more).filter(|sum| more == 0 || *sum <= most);
        let change = |used: u64| Some(room(used)? - held.saturating_sub(wanted));
        let Ok(before) = self.used.count().fetch_update(Ordering::Relaxed, Ordering::Relaxed, change) else {
            return false;
        };
        self.peak.fetch_max(before.saturating_add(more), Ordering::Relaxed);
        *held = wanted;
        true
    }
}

impl Used {
    fn own() -> Used {
        Used::Own(AtomicU64::new(0))
    }

    fn count(&self) -> &AtomicU64 {
        match self {
            Used::Own(count) => count,
            Used::Spilled => spill_file::count(),
        }
    }
}

/// The share of one body. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<BodyBudget>,
    memory: u64,
    files: u64,
    /// The body's file: it outlives the application's handle, whose close would take as long as a disk.
    file: Option<SpillFile>,
}

impl Charge {
    /// Takes nothing yet.
    pub(crate) fn new(budget: &Arc<BodyBudget>) -> Charge {
        Charge { budget: Arc::clone(budget), memory: 0, files: 0, file: None }
    }

    /// Has the body take `bytes` of memory. False, and nothing is changed, if they are not to be had.
    pub(crate) fn hold_memory(&mut self, bytes: usize) -> bool {
        self.budget.memory.change(&mut self.memory, bytes as u64, 0)
    }

    /// The same for bytes that were read already, with their head: a little more than the bound is to be had for them.
    pub(crate) fn overdraw(&mut self, bytes: usize) -> bool {
        self.budget.memory.change(&mut self.memory, bytes as u64, OVERDRAFT)
    }

    /// Keeps the body's file until the body is dropped.
    pub(crate) fn keep(&mut self, file: SpillFile) {
        self.file = Some(file);
    }

    /// Has the body take `bytes` in a file. False, and nothing is changed, if they are not to be had.
    pub(crate) fn hold_file(&mut self, bytes: u64) -> bool {
        self.budget.files.change(&mut self.files, bytes, 0)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.hold_memory(0);
        self.hold_file(0);
    }
}

/// A body goes on when this much is free: one read.
const PIECE: u64 = 64 * 1024;
/// The most bytes beyond the bound, of bodies that came with their heads when nothing was left.
const OVERDRAFT: u64 = 16 << 20;
/// Less than this may stay with the allocator.
const BURST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_take_no_more_than_the_bounds_and_give_back() {
        let budget = BodyBudget::alone(Some(100_000), Some(10));
        let (mut one, mut other) = (Charge::new(&budget), Charge::new(&budget));
        assert!(one.hold_memory(60_000) && !other.hold_memory(60_000) && other.hold_memory(40_000));
        assert!(!budget.has_room() && !one.hold_memory(60_001) && one.hold_memory(1000));
        assert!(other.hold_file(10) && !one.hold_file(1) && budget.memory.used() == 41_000);
        drop(other);
        assert!(one.hold_file(1) && budget.has_room());
        drop(one);
        assert_eq!((budget.memory.used(), budget.files.used()), (0, 0));
    }

    #[test]
    fn what_was_read_with_a_head_may_be_a_little_beyond() {
        let budget = BodyBudget::alone(Some(10), None);
        let mut charge = Charge::new(&budget);
        assert!(!charge.hold_memory(11) && charge.overdraw(11) && charge.hold_memory(11) && !charge.hold_memory(12));
        assert!(!Charge::new(&budget).overdraw(usize::try_from(OVERDRAFT).unwrap()));
    }

    #[test]
    fn a_burst_ends_once_when_most_is_free() {
        let budget = BodyBudget::alone(None, None);
        let mut charge = Charge::new(&budget);
        assert!(charge.hold_memory(40 << 20) && !budget.take_burst_end());
        assert!(charge.hold_memory(20 << 20) && !budget.take_burst_end());
        drop(charge);
        assert!(budget.take_burst_end() && !budget.take_burst_end());
    }
}
