//! How many workers the load asks for: bounds, measures and the rule between them. When workers come and go is the
//! supervisor's business.
//!
//! ```text
//! busy above `busy`, or somebody waits     ->  `step` more, once those that are on their way are there
//! busy below `quiet`, and nobody waits     ->  one fewer, after `calm` without anything else
//! in between                               ->  as many as there are
//! ```
//!
//! Of n workers that are busy for less than a quarter of the time, n - 1 are busy for less than half of it: a load that
//! stays the same does not make the number swing.

use std::time::Duration;

use super::Moment;

/// Within which bounds the number of workers follows the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// So many there are in any case.
    pub least: usize,
    /// More there never are.
    pub most: usize,
    /// How many are added at a time, at least 1.
    pub step: usize,
    /// Above this share of busy time workers are added, in percent.
    pub busy: u32,
    /// Below this one they are taken away.
    pub quiet: u32,
    /// How long it has to be below that.
    pub calm: Duration,
}

/// What was measured since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// For how much of the time the threads of ready workers were in the application, in percent.
    pub busy: u32,
    /// How many connections wait to be accepted.
    pub waiting: usize,
}

/// What is remembered between two measures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trend {
    /// Since when there has been little to do.
    calm_since: Option<Moment>,
    /// Somebody waited at the last look already.
    queued: bool,
    /// Somebody has set the number by hand: it is not scaled below this one.
    by_hand: Option<usize>,
}

impl Trend {
    /// Somebody asks for so many workers where there were `before`: more are kept, fewer may become as many as the load
    /// asks for again.
    pub(super) fn set(&mut self, workers: usize, before: usize, scaling: &Scaling) {
        let floor = if workers > before { workers } else { workers.min(self.floor(scaling)) };
        *self = Trend { by_hand: Some(floor), ..Trend::default() };
    }

    /// So many workers there are in any case.
    pub(super) fn floor(&self, scaling: &Scaling) -> usize {
        self.by_hand.unwrap_or(scaling.least).min(scaling.most)
    }

    /// How many workers there are to be from now on, where there are `now_wanted`; `complete` says that all of them serve.
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

    /// A look is missing: what was before it says nothing.
    pub(super) fn interrupt(&mut self) {
        self.calm_since = None;
        self.queued = false;
    }
}

/// So many connections that wait are an emergency at first sight, as for uWSGI (`cheaper-busyness-backlog-alert`).
const ALERT: usize = 33;
