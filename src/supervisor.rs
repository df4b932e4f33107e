//! Decides over the life of zygote and workers: events in, actions out. It cannot fork, kill, wait or look at a clock;
//! every transition of a slot stands in this file.
//!
//! ```text
//! slot:   Empty --Fork--> Forking --hello--> Booting --ready--> Ready --spent/stop--> Ending --exit--> Empty
//!                            |                  |                 |                     |
//!                            +---- deadline ----+---- deadline ---+------ deadline -----+--> killed (Ending)
//! phase:  Booting --first worker ready--> Serving --TERM, INT, QUIT--> Stopping --last exit--> Finish
//!                                            +--TERM--> Leaving --shutdown_delay--^
//! ```
//!
//! The first worker of a generation boots alone, so a broken application gives one traceback; if it fails, the server
//! ends with gunicorn's exit code (3 raised, 4 not found). Once a worker has been ready, no failed boot ends the
//! server: boots are spaced by a back-off that doubles up to [`BACKOFF_MAX`] and heals by itself.

use std::time::Duration;

/// A moment, as the time since some fixed moment (the monotonic clock's).
pub type Moment = Duration;

/// The settings that the supervisor decides by.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many workers are wanted.
    pub workers: usize,
    /// A request may take this long; `None` is no limit.
    pub timeout: Option<Duration>,
    /// A graceful stop may take this long.
    pub graceful_timeout: Duration,
    /// Between being asked for a graceful stop and beginning it, the server serves on.
    pub shutdown_delay: Duration,
    /// From the fork to ready.
    pub boot_timeout: Duration,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The zygote can fork.
    ZygoteReady,
    /// The zygote said why it ends, and with it the exit code.
    ZygoteFailed(i32),
    /// The zygote's process is gone.
    ZygoteGone,
    /// A worker said its first word; the kernel vouches for the pid.
    Hello(usize, i32),
    /// The zygote could not fork for this slot.
    ForkFailed(usize),
    /// A worker serves.
    Ready(usize),
    /// A worker said why it could not boot, and with it the exit code.
    BootFailed(usize, i32),
    /// A worker has reached `max_requests`.
    Spent(usize),
    /// What the scoreboard says of a ready worker: since when it has been in a request.
    Seen(usize, Option<Moment>),
    /// A worker's process is gone.
    Exited(usize),
    /// Somebody asked for a stop.
    Stop(Stop),
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
    /// Requests are answered until `shutdown_delay` is over.
    Leaving,
    /// It stops.
    Stopping {
        /// How many workers have not ended.
        left: usize,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a zygote.
    StartZygote,
    /// Say that the zygote is not ready in time, and have it write its Python stack to the log; it is killed next.
    TraceZygote,
    /// Kill the zygote.
    KillZygote,
    /// Let the zygote fork a worker for this slot.
    Fork(usize),
    /// Ask the worker to finish its work and end.
    Retire(usize, i32),
    /// Ask the worker to end at once.
    Quit(usize, i32),
    /// Say what is wrong, and have the worker write its Python stacks to the log; it is killed next.
    Trace(usize, i32, Why),
    /// Kill the worker.
    Kill(usize, i32, Why),
    /// Boots are held back for this long.
    BackOff(Duration),
    /// Accept no more connections: close the listeners.
    CloseListeners,
    /// End the master with this code.
    Finish(i32),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    Forking { until: Moment },
    Booting { pid: i32, until: Moment },
    Ready { pid: i32, since: Moment, busy: Option<Moment>, spent: bool },
    Ending { pid: i32, until: Moment, why: Why },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zygote {
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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

/// The machine.
#[derive(Debug)]
pub struct Supervisor {
    plan: Plan,
    phase: Phase,
    zygote: Zygote,
    slots: Vec<Slot>,
    /// Deaths in a row that came before their time.
    failures: u32,
    fork_not_before: Moment,
}

impl Supervisor {
    /// A server that is not started; the first [`Event::Tick`] starts it.
    pub fn new(plan: Plan) -> Supervisor {
        let slots = vec![Slot::Empty; Supervisor::slots_for(plan.workers)];
        Supervisor {
            plan,
            phase: Phase::Booting,
            zygote: Zygote::None { not_before: Moment::ZERO },
            slots,
            failures: 0,
            fork_not_before: Moment::ZERO,
        }
    }

    /// How many slots `workers` workers need: as many again, for replacements beside those that are ending.
    pub fn slots_for(workers: usize) -> usize {
        workers.max(1) * 2
    }

    /// Takes in one event and says what to do about it.
    pub fn on(&mut self, event: &Event, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match *event {
            Event::Tick => {}
            Event::ZygoteReady => self.zygote = Zygote::Ready,
            Event::ZygoteFailed(code) => self.zygote_failed(code, now, &mut actions),
            Event::ZygoteGone => self.zygote_gone(now, &mut actions),
            Event::Stop(stop) => self.asked_to_stop(stop, now, &mut actions),
            Event::Hello(slot, pid) => self.hello(slot, pid, now, &mut actions),
            Event::ForkFailed(slot) => {
                if matches!(self.slots.get(slot), Some(Slot::Forking { .. })) {
                    self.slots[slot] = Slot::Empty;
                    self.failed(now, &mut actions);
                }
            }
            Event::Ready(slot) => self.ready(slot, now, &mut actions),
            Event::BootFailed(slot, code) => self.boot_failed(slot, code, now, &mut actions),
            Event::Spent(slot) => {
                if let Some(Slot::Ready { spent, .. }) = self.slots.get_mut(slot) {
                    *spent = true;
                }
            }
            Event::Seen(slot, since) => {
                if let Some(Slot::Ready { busy, .. }) = self.slots.get_mut(slot) {
                    *busy = since;
                }
            }
            Event::Exited(slot) => self.exited(slot, now, &mut actions),
        }
        self.enforce_deadlines(now, &mut actions);
        self.keep_count(now, &mut actions);
        actions
    }

    /// When the next deadline is, if there is one.
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let slots = self.slots.iter().filter_map(|slot| match *slot {
            Slot::Empty => None,
            Slot::Forking { until } | Slot::Booting { until, .. } | Slot::Ending { until, .. } => Some(until),
            // An idle worker may begin a request right after this look; that request's deadline is this far away.
            Slot::Ready { busy, .. } => self.plan.timeout.map(|timeout| busy.unwrap_or(now) + timeout),
        });
        let zygote = match self.zygote {
            Zygote::None { not_before } => Some(not_before),
            Zygote::Starting { until } | Zygote::Stuck { until } => Some(until),
            Zygote::Ready => (self.wants_fork() > 0 && self.fork_not_before > now).then_some(self.fork_not_before),
        };
        let leave = match self.phase {
            Phase::Leaving { until } => Some(until),
            _ => None,
        };
        slots.chain(zygote.filter(|_| !self.is_stopping())).chain(leave).min()
    }

    /// Is a stop under way?
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Was the zygote asked for a worker for this slot, and has nobody answered?
    pub fn is_forking(&self, slot: usize) -> bool {
        matches!(self.slots.get(slot), Some(Slot::Forking { .. }))
    }

    /// Has a worker ever been ready?
    pub fn has_served(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Leaving { .. })
    }

    /// How the server stands.
    pub fn standing(&self) -> Standing {
        match self.phase {
            Phase::Booting => Standing::Starting,
            Phase::Serving => Standing::Serving { ready: self.ready_count(), wanted: self.plan.workers },
            Phase::Leaving { .. } => Standing::Leaving,
            Phase::Stopping { .. } => {
                Standing::Stopping { left: self.slots.iter().filter(|slot| **slot != Slot::Empty).count() }
            }
        }
    }

    fn zygote_failed(&mut self, code: i32, now: Moment, actions: &mut Vec<Action>) {
        if self.phase == Phase::Booting {
            self.stop(Stop::Quick, code, now, actions);
        }
    }

    fn zygote_gone(&mut self, now: Moment, actions: &mut Vec<Action>) {
        // A slot that it was to fork for is told by its channel: it ends, or a worker says hello.
        if self.phase == Phase::Booting {
            self.stop(Stop::Quick, EXIT_BOOT, now, actions);
        }
        self.failed(now, actions);
        self.zygote = Zygote::None { not_before: self.fork_not_before };
    }

    fn hello(&mut self, slot: usize, pid: i32, now: Moment, actions: &mut Vec<Action>) {
        let Some(Slot::Forking { until }) = self.slots.get(slot).copied() else { return };
        self.slots[slot] = Slot::Booting { pid, until };
        if let Phase::Stopping { stop, .. } = self.phase {
            self.end(slot, stop, now, actions);
        }
    }

    fn ready(&mut self, slot: usize, now: Moment, actions: &mut Vec<Action>) {
        let Some(Slot::Booting { pid, .. }) = self.slots.get(slot).copied() else {
            return;
        };
        self.slots[slot] = Slot::Ready { pid, since: now, busy: None, spent: false };
        if self.phase == Phase::Booting {
            self.phase = Phase::Serving;
        }
        // Replacements are there: the oldest of the workers that they replace may go. A replacement may be spent itself by
        // the time the next one is ready, so that it is the ready ones that are counted, not the fresh.
        while self.ready_count() > self.plan.workers {
            let spent = self.slots.iter().enumerate().filter_map(|(number, slot)| match *slot {
                Slot::Ready { since, spent: true, .. } => Some((since, number)),
                _ => None,
            });
            let Some((_, oldest)) = spent.min() else { return };
            self.end(oldest, Stop::Graceful, now, actions);
        }
    }

    fn boot_failed(&mut self, slot: usize, code: i32, now: Moment, actions: &mut Vec<Action>) {
        let Some(Slot::Booting { pid, .. }) = self.slots.get(slot).copied() else {
            return;
        };
        self.slots[slot] = Slot::Ending { pid, until: now + QUICK, why: Why::Stop };
        if self.phase == Phase::Booting {
            self.stop(Stop::Quick, code, now, actions);
        } else {
            self.failed(now, actions);
        }
    }

    fn exited(&mut self, slot: usize, now: Moment, actions: &mut Vec<Action>) {
        let Some(state) = self.slots.get(slot).copied() else { return };
        self.slots[slot] = Slot::Empty;
        match state {
            Slot::Forking { .. } | Slot::Booting { .. } if self.phase == Phase::Booting => {
                self.stop(Stop::Quick, EXIT_BOOT, now, actions);
            }
            Slot::Forking { .. } | Slot::Booting { .. } => self.failed(now, actions),
            // Nobody asked it to end, so that its exit code does not matter.
            // A request killed it, not its boot: the next one is held back a little, and no longer each time.
            Slot::Ready { since, .. } if now < since + SOUND_LIFE => {
                self.failures = self.failures.min(1);
                self.failed(now, actions);
            }
            Slot::Ready { .. } | Slot::Ending { .. } | Slot::Empty => {}
        }
    }

    /// A boot or a short life went wrong: the next boot waits, longer each time.
    fn failed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        let delay = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        self.fork_not_before = now + delay;
        actions.push(Action::BackOff(delay));
    }

    fn asked_to_stop(&mut self, stop: Stop, now: Moment, actions: &mut Vec<Action>) {
        let delay = self.plan.shutdown_delay;
        match self.phase {
            Phase::Serving if stop == Stop::Graceful && !delay.is_zero() => {
                self.phase = Phase::Leaving { until: now + delay };
            }
            Phase::Leaving { .. } if stop == Stop::Graceful => {}
            _ => self.stop(stop, 0, now, actions),
        }
    }

    fn stop(&mut self, stop: Stop, code: i32, now: Moment, actions: &mut Vec<Action>) {
        match self.phase {
            // A second TERM changes nothing; INT or QUIT makes a graceful stop a quick one.
            Phase::Stopping { stop: Stop::Quick, .. } => return,
            Phase::Stopping { .. } if stop == Stop::Graceful => return,
            Phase::Stopping { code, .. } => self.phase = Phase::Stopping { code, stop },
            Phase::Booting | Phase::Serving | Phase::Leaving { .. } => {
                self.phase = Phase::Stopping { code, stop };
                actions.push(Action::CloseListeners);
            }
        }
        for slot in 0..self.slots.len() {
            self.end(slot, stop, now, actions);
        }
    }

    /// Asks the worker in `slot`, if there is one, to end.
    fn end(&mut self, slot: usize, stop: Stop, now: Moment, actions: &mut Vec<Action>) {
        let (pid, stop) = match self.slots[slot] {
            Slot::Empty => return,
            // Nobody to ask yet: its hello will be answered.
            Slot::Forking { until } => return self.slots[slot] = Slot::Forking { until: until.min(now + QUICK) },
            // It has no request to finish.
            Slot::Booting { pid, .. } => (pid, Stop::Quick),
            Slot::Ready { pid, .. } | Slot::Ending { pid, .. } => (pid, stop),
        };
        let (action, limit) = match stop {
            Stop::Graceful => (Action::Retire(slot, pid), self.plan.graceful_timeout),
            Stop::Quick => (Action::Quit(slot, pid), QUICK),
        };
        self.slots[slot] = Slot::Ending { pid, until: now + limit, why: Why::Stop };
        actions.push(action);
    }

    fn enforce_deadlines(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Leaving { until } if until <= now) {
            self.stop(Stop::Graceful, 0, now, actions);
        }
        for slot in 0..self.slots.len() {
            match self.slots[slot] {
                Slot::Forking { until } if until <= now && self.is_stopping() => self.slots[slot] = Slot::Empty,
                Slot::Forking { until } if until <= now => {
                    // The zygote itself hangs; its end frees the slot.
                    self.slots[slot] = Slot::Forking { until: now + QUICK };
                    actions.push(Action::KillZygote);
                }
                Slot::Booting { pid, until } if until <= now => {
                    if self.phase == Phase::Booting {
                        self.stop(Stop::Quick, EXIT_BOOT, now, actions);
                    } else {
                        self.failed(now, actions);
                    }
                    self.trace(slot, pid, Why::Boot, now, actions);
                }
                Slot::Ready { pid, busy: Some(since), .. } if self.is_overdue(since, now) => {
                    self.trace(slot, pid, Why::Timeout, now, actions);
                }
                Slot::Ending { pid, until, why } if until <= now => {
                    self.slots[slot] = Slot::Ending { pid, until: now + QUICK, why };
                    actions.push(Action::Kill(slot, pid, why));
                }
                _ => {}
            }
        }
        match self.zygote {
            Zygote::Starting { until } if until <= now && !self.is_stopping() => {
                self.zygote = Zygote::Stuck { until: now + TRACE };
                actions.push(Action::TraceZygote);
            }
            Zygote::Stuck { until } if until <= now && !self.is_stopping() => {
                self.zygote = Zygote::Stuck { until: now + QUICK };
                actions.push(Action::KillZygote);
            }
            _ => {}
        }
    }

    /// Before it is killed, a stuck worker says where it is stuck.
    fn trace(&mut self, slot: usize, pid: i32, why: Why, now: Moment, actions: &mut Vec<Action>) {
        self.slots[slot] = Slot::Ending { pid, until: now + TRACE, why };
        actions.push(Action::Trace(slot, pid, why));
    }

    fn is_overdue(&self, since: Moment, now: Moment) -> bool {
        self.plan.timeout.is_some_and(|timeout| since + timeout <= now)
    }

    fn keep_count(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if let Phase::Stopping { code, .. } = self.phase {
            // A worker that is on its way is waited for: it would outlive the master.
            if self.slots.iter().all(|slot| *slot == Slot::Empty) {
                actions.push(Action::Finish(code));
            }
            return;
        }
        if let Zygote::None { not_before } = self.zygote {
            if not_before <= now {
                self.zygote = Zygote::Starting { until: now + self.plan.boot_timeout };
                actions.push(Action::StartZygote);
            }
            return;
        }
        if self.zygote != Zygote::Ready || now < self.fork_not_before {
            return;
        }
        self.forget_failures(now);
        for _ in 0..self.wants_fork() {
            let Some(slot) = self.slots.iter().position(|slot| *slot == Slot::Empty) else {
                return;
            };
            self.slots[slot] = Slot::Forking { until: now + self.plan.boot_timeout };
            actions.push(Action::Fork(slot));
        }
    }

    /// How many workers to fork: one while none was ever ready or the last boots failed, else what is missing.
    fn wants_fork(&self) -> usize {
        let booting =
            self.slots.iter().filter(|slot| matches!(slot, Slot::Forking { .. } | Slot::Booting { .. })).count();
        let missing = self.plan.workers.saturating_sub(self.fresh() + booting);
        if self.phase == Phase::Booting || self.failures > 0 {
            missing.min(1_usize.saturating_sub(booting))
        } else {
            missing
        }
    }

    fn ready_count(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Ready { .. })).count()
    }

    /// Ready workers that are not to be replaced.
    fn fresh(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Ready { spent: false, .. })).count()
    }

    /// Failures are forgotten when all workers that there should be have been ready for a while.
    fn forget_failures(&mut self, now: Moment) {
        let sound = |slot: &&Slot| matches!(slot, Slot::Ready { since, .. } if *since + SOUND_LIFE <= now);
        if self.failures > 0 && self.slots.iter().filter(sound).count() >= self.plan.workers {
            self.failures = 0;
        }
    }
}

/// gunicorn's code for a worker that failed to boot.
const EXIT_BOOT: i32 = 3;
/// What a process gets between being told to end at once and being killed.
const QUICK: Duration = Duration::from_secs(1);
/// What writing the stacks of all threads may take.
const TRACE: Duration = Duration::from_millis(250);
/// A worker that lived this long did not die of its boot.
const SOUND_LIFE: Duration = Duration::from_secs(5);
/// gunicorn respawns at once, about 17 boots a second; 250 ms doubled gives 4 in the first second and then fewer.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// A server whose code was mended is whole again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
