//! What the supervisor remembers: slots, generations, the phase of the server. Changes nothing.

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
    /// One that is not wanted any more ends with its first word.
    Forking {
        until: Moment,
        wanted: bool,
    },
    Booting {
        pid: i32,
        until: Moment,
    },
    /// It is to be replaced when it is spent, and from the moment `due` on.
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

/// What was started from one reading of settings and code.
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
    /// It was asked where it is stuck.
    Stuck {
        until: Moment,
    },
    Ready,
    /// A signal has stopped it.
    Stopped {
        until: Moment,
    },
    /// It was told to end.
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
    /// Asked for a graceful stop, which begins then: whoever sends requests here has time to look elsewhere.
    Leaving {
        until: Moment,
    },
    Stopping {
        code: i32,
        stop: Stop,
    },
}

impl Slot {
    /// Is a worker on its way that will serve?
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Forking { wanted: true, .. } | State::Booting { .. })
    }

    pub(super) fn is_sound(&self, now: Moment) -> bool {
        matches!(self.state, State::Ready { since, .. } if since + SOUND_LIFE <= now)
    }
}

/// A worker that lived this long did not die of its boot.
pub(super) const SOUND_LIFE: Duration = Duration::from_secs(5);
