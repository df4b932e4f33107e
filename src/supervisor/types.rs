//! Inputs and outputs of the supervisor: plans, events, actions. Makes no decisions.

use std::time::Duration;

use super::scaling::{Load, Scaling};

/// A moment, as the time since a fixed moment of the monotonic clock.
pub type Moment = Duration;

/// The settings of a generation that the supervisor uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The number of wanted workers; with 0 the master rests.
    pub workers: usize,
    /// The rules by which the load sets the number of workers.
    pub scaling: Option<Scaling>,
    /// True if the server stops after an idle time.
    pub die_on_idle: bool,
    /// The longest time of a request; `None` means no limit.
    pub timeout: Option<Duration>,
    /// The longest time of a graceful stop.
    pub graceful_timeout: Duration,
    /// The time between the request for a graceful stop and its beginning, in which the server serves.
    pub shutdown_delay: Duration,
    /// The longest time from the fork to ready.
    pub boot_timeout: Duration,
    /// The number of workers replaced at a time, at least 1.
    pub step: usize,
    /// True if workers and their zygote end before those that replace them are started.
    pub stop_first: bool,
    /// The number of slots for workers, replacements and ending workers of all generations.
    pub room: usize,
}

/// An event. A zygote is named by its generation, a worker by its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The zygote can fork.
    ZygoteReady(u64),
    /// A signal has stopped the zygote.
    ZygoteStopped(u64),
    /// The zygote continues.
    ZygoteContinued(u64),
    /// The zygote reported why it ends, with the exit code.
    ZygoteFailed(u64, i32),
    /// The zygote's process is gone.
    ZygoteGone(u64),
    /// A worker said hello; the kernel vouches for the pid.
    Hello(usize, i32),
    /// The zygote could not fork for this slot.
    ForkFailed(usize),
    /// A worker is ready. It is to be replaced at that moment, if any.
    Ready(usize, Option<Moment>),
    /// A worker reported why it could not boot, with the exit code.
    BootFailed(usize, i32),
    /// A worker is to be replaced: it has served `max_requests`, or a recycle was requested.
    Spent(usize),
    /// The beginning of a ready worker's oldest request or overdue duty, if any.
    Seen(usize, Option<Moment>),
    /// A worker's process is gone.
    Exited(usize),
    /// A reload was requested: this generation replaces the current one. Its number is higher than all others.
    Reload(u64, Plan),
    /// A number of workers was requested; with 0 the master rests.
    Scale(usize),
    /// The load was measured.
    Load(Load),
    /// No request has come for the time of `idle`.
    Quiet,
    /// A stop was requested.
    Stop(Stop),
    /// The master was delayed by this time, in which no deadline could be met.
    Late(Duration),
    /// Time has passed.
    Tick,
}

/// The kinds of stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Requests under way are finished (TERM).
    Graceful,
    /// At once (INT, QUIT).
    Quick,
}

/// The state of the server, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No worker has ever been ready.
    Starting,
    /// Requests are answered.
    Serving {
        /// The number of ready workers.
        ready: usize,
        /// The number of wanted workers.
        wanted: usize,
    },
    /// Requests are answered, and a newer generation is tried or takes over.
    Reloading,
    /// Requests are answered until `shutdown_delay` is over.
    Leaving,
    /// The server stops.
    Stopping {
        /// The number of workers that have not ended.
        left: usize,
    },
}

/// A slot that is not empty, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The slot.
    pub slot: usize,
    /// The generation of its worker.
    pub generation: u64,
    /// The worker's process, after its hello.
    pub pid: Option<i32>,
    /// `booting`, `ready`, `spent` or `ending`.
    pub state: &'static str,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a zygote of this generation.
    StartZygote(u64),
    /// Log that the zygote is not ready in time, and let it write its Python stack. The kill follows.
    TraceZygote(u64),
    /// Let the zygote close its listeners; it forks no more, and stays as long as its workers.
    RetireZygote(u64),
    /// Let the zygote end; it is not needed any more.
    EndZygote(u64),
    /// Kill the zygote.
    KillZygote(u64),
    /// Let the zygote of this generation fork a worker for this slot.
    Fork(usize, u64),
    /// Ask the worker to finish its requests and end, while other workers serve.
    Retire(usize, i32),
    /// Ask the worker to finish its requests and end, as the server stops.
    Finish(usize, i32),
    /// Ask the worker to end at once.
    Quit(usize, i32),
    /// Log the reason, and let the worker write its Python stacks. The kill follows.
    Trace(usize, i32, Why),
    /// Kill the worker.
    Kill(usize, i32, Why),
    /// Log that the worker has reached its age; it is replaced.
    Outlived(usize, i32),
    /// The load has changed the number of wanted workers.
    Scaled {
        /// The old number.
        old: usize,
        /// The new number.
        new: usize,
    },
    /// Boots are delayed by this time.
    BackOff(Duration),
    /// This generation has a ready worker and becomes the current one.
    Promote(u64),
    /// This generation is given up, and the current one continues.
    GiveUp(u64, Cause),
    /// No worker of an earlier generation accepts connections any more.
    Reloaded(u64),
    /// Close the listeners.
    CloseListeners,
    /// End the master with this code.
    End(i32),
}

/// The reason for killing a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its request took longer than `timeout`.
    Timeout,
    /// It did not become ready within `boot_timeout`.
    Boot,
    /// It did not end when asked.
    Stop,
}

/// The reason for giving up a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It could not boot: its zygote or its first worker failed, died or was not ready in time.
    Boot,
    /// A newer one was requested.
    Superseded,
    /// The master rests or stops.
    Withdrawn,
}
