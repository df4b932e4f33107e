//! Decides how many workers the load asks for: bounds, measurements and the rule between them. The supervisor starts
//! and ends the workers.
//!
//! ```text
//! busy above `busy`, or connections wait  ->  `step` more, once those on their way are ready
//! busy below `quiet`, and none wait       ->  one fewer, after `calm` without a change
//! in between                              ->  no change
//! ```
//!
//! If n workers are busy for less than a quarter of the time, n - 1 are busy for less than half of it. So a constant
//! load does not make the number oscillate.

use std::time::Duration;

use super::Moment;

/// The bounds and rules by which the number of workers follows the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// The fewest workers.
    pub least: usize,
    /// The most workers.
    pub most: usize,
    /// The number of workers added at a time, at least 1.
    pub step: usize,
    /// The percentage of busy time above which workers are added.
    pub busy: u32,
    /// The percentage of busy time below which workers are removed.
    pub quiet: u32,
    /// The time below `quiet` before a worker is removed.
    pub calm: Duration,
}

/// The load since the last measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The percentage of time that threads of ready workers spent in the application.
    pub busy: u32,
    /// The number of connections that wait to be accepted.
    pub waiting: usize,
}

/// The state between two measurements.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trend {
    /// The beginning of the quiet time.
    calm_since: Option<Moment>,
    /// True if connections waited at the last measurement.
    queued: bool,
    /// The number that was set by hand; the load does not go below it.
    by_hand: Option<usize>,
}

impl Trend {
    /// Sets the number of workers by hand, from `before`. More workers are kept; fewer may grow again with the load.
    pub(super) fn set(&mut self, workers: usize, before: usize, scaling: &Scaling) {
        let floor = if workers > before { workers } else { workers.min(self.floor(scaling)) };
        *self = Trend { by_hand: Some(floor), ..Trend::default() };
    }

    /// Returns the fewest workers.
    pub(super) fn floor(&self, scaling: &Scaling) -> usize {
        self.by_hand.unwrap_or(scaling.least).min(scaling.most)
    }

    /// Returns the new number of workers, where `now_wanted` are wanted. `complete` is true if all of them are ready.
    pub(super) fn follow(
        &mut self,
        load: Load,
        scaling: &Scaling,
        (wanted, complete): (usize, bool),
        now: Moment,
    ) -> usize {
        let queued = std::mem::replace(&mut self.queued, load.waiting > 0);
        let is_short = load.busy > scaling.busy || load.waiting > ALERT || (queued && load.waiting > 0);
        if is_short || load.busy >= scaling.quiet || load.waiting > 0 || wanted <= self.floor(scaling) {
            self.calm_since = None;
            let more = (wanted + scaling.step).min(scaling.most).max(wanted);
            return if is_short && complete { more } else { wanted };
        }
        let since = *self.calm_since.get_or_insert(now);
        if since + scaling.calm > now {
            return wanted;
        }
        self.calm_since = Some(now);
        wanted - 1
    }

    /// Forgets the measurements before a gap.
    pub(super) fn interrupt(&mut self) {
        self.calm_since = None;
        self.queued = false;
    }
}

/// The number of waiting connections that adds workers at once, as in uWSGI (`cheaper-busyness-backlog-alert`).
const ALERT: usize = 33;
