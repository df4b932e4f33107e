//! The master's watchdog over itself: detects that it was held up, and times the checks of its workers' memory.

use std::time::Duration;

use crate::settings::Settings;
use crate::supervisor::Moment;

/// The times that the master measures of itself.
pub(super) struct Watchdog {
    /// The latest time to wake up.
    expected: Option<Moment>,
    woke: Moment,
    looked: Moment,
}

impl Watchdog {
    pub(super) fn new(now: Moment) -> Watchdog {
        Watchdog { expected: None, woke: now, looked: now }
    }

    /// Called after the work of a wake-up. Returns the time that it took, if it was too long.
    pub(super) fn rests(&mut self, now: Moment) -> Option<Duration> {
        let gap = now.saturating_sub(self.woke);
        self.woke = now;
        (gap > LATE).then_some(gap)
    }

    /// Called before the master sleeps.
    pub(super) fn sleeps(&mut self, now: Moment, limit: Option<Duration>) {
        self.expected = limit.map(|limit| now + limit);
    }

    /// Called after a sleep. Returns the time for which the master was stopped, suspended or starved, if it was too
    /// long.
    pub(super) fn wakes(&mut self, now: Moment) -> Option<Duration> {
        self.woke = now;
        let gap = now.saturating_sub(self.expected.take()?);
        (gap > LATE).then_some(gap)
    }

    /// Returns the time of the next check of the workers' memory, if it is limited.
    pub(super) fn next_look(&self, settings: &Settings) -> Option<Moment> {
        settings.reload_on_rss.limit().map(|_| self.looked + LOOKS)
    }

    /// True if that check is due; the next one is counted from now.
    pub(super) fn is_time_to_look(&mut self, settings: &Settings, now: Moment) -> bool {
        let is_time = self.next_look(settings).is_some_and(|at| at <= now);
        if is_time {
            self.looked = now;
        }
        is_time
    }
}

/// The delay that is too long; a busy machine has shorter ones.
const LATE: Duration = Duration::from_secs(1);
/// The interval between checks of memory: a leak takes minutes, and a check costs a few microseconds a worker.
const LOOKS: Duration = Duration::from_secs(2);
