//! What the supervisor is told and what it says: plans, events, actions. Decides nothing.

use std::time::Duration;

use super::scaling::{Load, Scaling};

/// A moment, as the time since some fixed moment (the monotonic clock's).
pub type Moment = Duration;

/// The settings of a generation that the supervisor decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many workers are wanted; 0 rests.
    pub workers: usize,
    /// Their number follows the load within these bounds.
    pub scaling: Option<Scaling>,
    /// The server stops when no request has come for a while.
    pub die_on_idle: bool,
    /// A request may take this long; `None` is no limit.
    pub timeout: Option<Duration>,
    /// A graceful stop may take this long.
    pub graceful_timeout: Duration,
    /// Between being asked for a graceful stop and beginning it, the server serves on.
    pub shutdown_delay: Duration,
    /// From the fork to ready.
    pub boot_timeout: Duration,
    /// How many workers are replaced at a time, at least 1.
    pub step: usize,
    /// How many slots there are: workers, replacements and those that are ending, of all generations.
    pub room: usize,
}

/// What has happened. A zygote is named by its generation, a worker by its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The zygote can fork.
    ZygoteReady(u64),
    /// A signal has stopped the zygote.
    ZygoteStopped(u64),
    /// It goes on.
    ZygoteContinued(u64),
    /// The zygote said why it ends, and with it the exit code.
    ZygoteFailed(u64, i32),
    /// The zygote's process is gone.
    ZygoteGone(u64),
    /// A worker said its first word; the kernel vouches for the pid.
    Hello(usize, i32),
    /// The zygote could not fork for this slot.
    ForkFailed(usize),
    /// A worker serves, and is to be replaced at that moment, if at any.
    Ready(usize, Option<Moment>),
    /// A worker said why it could not boot, and with it the exit code.
    BootFailed(usize, i32),
    /// A worker is to be replaced: it has served `max_requests`, or somebody said so.
    Spent(usize),
    /// What is seen of a ready worker: since when it has been in a request, or has not done what it has to do.
    Seen(usize, Option<Moment>),
    /// A worker's process is gone.
    Exited(usize),
    /// Somebody asked for a reload: this generation, of a number above all others, is to replace what serves.
    Reload(u64, Plan),
    /// Somebody asked for so many workers; with 0 the master rests.
    Scale(usize),
    /// The load was measured.
    Load(Load),
    /// No request has come for as long as the settings allow.
    Quiet,
    /// Somebody asked for a stop.
    Stop(Stop),
    /// The master itself was held up for so long: nobody could have met a deadline meanwhile.
    Late(Duration),
    /// Time has passed.
    Tick,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Requests under way are finished (TERM).
    Graceful,
    /// At once (INT, QUIT).
    Quick,
}

/// How the server stands, for those who are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No worker has ever been ready.
    Starting,
    /// Requests are answered.
    Serving {
        /// How many workers serve.
        ready: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// Requests are answered, and a newer generation is tried or takes over.
    Reloading,
    /// Requests are answered until `shutdown_delay` is over.
    Leaving,
    /// It stops.
    Stopping {
        /// How many workers have not ended.
        left: usize,
    },
}

/// A slot that is not empty, for those who are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The slot.
    pub slot: usize,
    /// The generation of its worker.
    pub generation: u64,
    /// Its process, once it has said its first word.
    pub pid: Option<i32>,
    /// `booting`, `ready`, `spent` or `ending`.
    pub state: &'static str,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a zygote of this generation.
    StartZygote(u64),
    /// Say that the zygote is not ready in time, and have it write its Python stack to the log; it is killed next.
    TraceZygote(u64),
    /// Let the zygote end: nobody needs it any more.
    EndZygote(u64),
    /// Kill the zygote.
    KillZygote(u64),
    /// Let the zygote of this generation fork a worker for this slot.
    Fork(usize, u64),
    /// Ask the worker to finish its work and end, while others serve on.
    Retire(usize, i32),
    /// Ask the worker to finish its work and end, as the server does.
    Finish(usize, i32),
    /// Ask the worker to end at once.
    Quit(usize, i32),
    /// Say what is wrong, and have the worker write its Python stacks to the log; it is killed next.
    Trace(usize, i32, Why),
    /// Kill the worker.
    Kill(usize, i32, Why),
    /// Say that the worker has lived long enough; it is replaced.
    Outlived(usize, i32),
    /// So many workers are wanted from now on: the load asks for them.
    Scaled {
        /// Wanted so far.
        old: usize,
        /// Wanted from now on.
        new: usize,
    },
    /// Boots are held back for this long.
    BackOff(Duration),
    /// This generation has a worker that serves: it is in charge from now on.
    Promote(u64),
    /// This generation comes to nothing, and the one in charge goes on.
    GiveUp(u64, Cause),
    /// No worker of an earlier generation takes connections any more.
    Reloaded(u64),
    /// Accept no more connections: close the listeners.
    CloseListeners,
    /// End the master with this code.
    End(i32),
}

/// Why a worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its request took longer than `timeout`.
    Timeout,
    /// It did not become ready within `boot_timeout`.
    Boot,
    /// It did not end when asked.
    Stop,
}

/// Why a generation is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It could not boot: its zygote or its first worker failed, died or was not ready in time.
    Boot,
    /// A newer one was asked for.
    Superseded,
    /// The master rests or stops.
    Withdrawn,
}
