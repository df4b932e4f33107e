//! The supervisor's state: slots, generations, the phase of the server. Changes nothing.

use std::time::Duration;

use super::{Moment, Plan, Stop, Why};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) generation: u64,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    /// Being forked. If `wanted` is false, it is ended at its hello.
    Forking {
        until: Moment,
        wanted: bool,
    },
    Booting {
        pid: i32,
        until: Moment,
    },
    /// Serving. It is replaced when `spent` is true, or from the moment `due` on.
    Ready {
        pid: i32,
        since: Moment,
        due: Option<Moment>,
        busy: Option<Moment>,
        spent: bool,
    },
    Ending {
        pid: i32,
        until: Moment,
        why: Why,
    },
}

/// The generation of one reading of settings and code.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) plan: Plan,
    pub(super) zygote: Zygote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zygote {
    None {
        not_before: Moment,
    },
    Starting {
        until: Moment,
    },
    /// It was asked to write its stack.
    Stuck {
        until: Moment,
    },
    Ready,
    /// A signal has stopped it.
    Stopped {
        until: Moment,
    },
    /// It forks no more, and is asked to end once its generation has no workers.
    Retired,
    /// It was asked to end.
    Leaving {
        until: Moment,
    },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No worker has ever been ready.
    Booting,
    Serving,
    /// A graceful stop begins at this moment. Until then clients have time to switch over.
    Leaving {
        until: Moment,
    },
    Stopping {
        code: i32,
        stop: Stop,
    },
}

impl Slot {
    /// True if a worker is on its way to being ready.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Forking { wanted: true, .. } | State::Booting { .. })
    }

    pub(super) fn is_sound(&self, now: Moment) -> bool {
        matches!(self.state, State::Ready { since, .. } if since + SOUND_LIFE <= now)
    }
}

/// A worker that lived this long did not die of its boot.
pub(super) const SOUND_LIFE: Duration = Duration::from_secs(5);
