//! The master's own watch: whether it was held up, and when it last looked at the memory of its workers.

use std::time::Duration;

use crate::settings::Settings;
use crate::supervisor::Moment;

/// What the master measures of itself.
pub(super) struct Watchdog {
    /// When it is to wake up at the latest.
    expected: Option<Moment>,
    woke: Moment,
    looked: Moment,
}

impl Watchdog {
    pub(super) fn new(now: Moment) -> Watchdog {
        Watchdog { expected: None, woke: now, looked: now }
    }

    /// The master has done its turn: for how long it was held up in it, if that is worth a word.
    pub(super) fn rests(&mut self, now: Moment) -> Option<Duration> {
        let gap = now.saturating_sub(self.woke);
        self.woke = now;
        (gap > LATE).then_some(gap)
    }

    /// The master goes to sleep.
    pub(super) fn sleeps(&mut self, now: Moment, limit: Option<Duration>) {
        self.expected = limit.map(|limit| now + limit);
    }

    /// The master woke up: for how long it was stopped, suspended or starved, if that is worth a word.
    pub(super) fn wakes(&mut self, now: Moment) -> Option<Duration> {
        self.woke = now;
        let gap = now.saturating_sub(self.expected.take()?);
        (gap > LATE).then_some(gap)
    }

    /// When the memory of the workers is to be looked at next, if it is limited.
    pub(super) fn next_look(&self, settings: &Settings) -> Option<Moment> {
        settings.reload_on_rss.limit().map(|_| self.looked + LOOKS)
    }

    /// Is it time for that? Then it is done.
    pub(super) fn is_time_to_look(&mut self, settings: &Settings, now: Moment) -> bool {
        let is_time = self.next_look(settings).is_some_and(|at| at <= now);
        if is_time {
            self.looked = now;
        }
        is_time
    }
}

/// A busy machine is late by less.
const LATE: Duration = Duration::from_secs(1);
/// How often memory is looked at: a leak takes minutes, and a look costs a few microseconds a worker.
const LOOKS: Duration = Duration::from_secs(2);
