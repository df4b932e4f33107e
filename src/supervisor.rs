//! Decides about the life of generations, zygotes and workers: events in, actions out. It cannot fork, kill, wait or
//! look at a clock. This file contains every transition; `state.rs` contains the state, `queries.rs` the queries that
//! change nothing.
//!
//! ```text
//! slot:   Empty --Fork--> Forking --hello--> Booting --ready--> Ready --stale/stop--> Ending --exit--> Empty
//!                            |                  |                 |                     |
//!                            +---- deadline ----+---- deadline ---+------ deadline -----+--> killed (Ending)
//! phase:  Booting --first worker ready--> Serving --TERM, INT, QUIT--> Stopping --last exit--> End
//!                                            +--TERM--> Leaving --shutdown_delay--^
//! generation:  next --its first worker is ready--> current --a newer one is promoted--> past
//!                +---- fails, or is superseded ------------------------------------------^
//! ```
//!
//! The first worker of a generation boots alone, so a broken application logs one traceback. If it is the server's
//! first generation, the server ends with gunicorn's exit code (3 raised, 4 not found). If it is a reload's, the
//! generation is given up and the current one continues. Once a worker has been ready, no failed boot ends the server.
//! Boots are then delayed by a back-off that doubles up to [`BACKOFF_MAX`] and resets by itself.
//!
//! One rule replaces stale workers (of an earlier generation, beyond `max_requests` or their age). Workers are booted
//! until the wanted number is fresh, at most `step` at a time beyond the number wanted. While more are ready than
//! wanted, the stalest is retired. So capacity never falls. After a failure only workers that have lived for
//! [`SOUND_LIFE`] count as replacements.
//!
//! The number wanted comes from the settings, a command, or the load (`scaling.rs`). The rule is the same for all of
//! them.

mod queries;
mod scaling;
mod state;
mod types;

use std::time::Duration;

use scaling::Trend;
use state::{Generation, Phase, SOUND_LIFE, Slot, State, Zygote};

pub use scaling::{Load, Scaling};
pub use types::{Action, Cause, Event, Moment, Plan, Seat, Standing, Stop, Why};

/// The way in which a worker is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Retire,
    Finish,
    Quit,
}

/// The state machine.
#[derive(Debug)]
pub struct Supervisor {
    phase: Phase,
    current: Generation,
    /// The generation that boots its first worker.
    next: Option<Generation>,
    /// Generations whose zygote or workers still exist.
    past: Vec<Generation>,
    /// True while workers of an earlier generation are replaced.
    rolling: bool,
    slots: Vec<Slot>,
    trend: Trend,
    /// Consecutive failures: boots and short lives.
    failures: u32,
    failed_at: Moment,
    fork_not_before: Moment,
    /// Requests that began before this moment get this extra time, because the master was delayed.
    pardon: (Moment, Duration),
}

impl Supervisor {
    /// Creates the state of a server that is not started, with its first generation. The first [`Event::Tick`] starts
    /// it.
    pub fn new(generation: u64, plan: Plan) -> Supervisor {
        Supervisor {
            phase: Phase::Booting,
            current: Generation { number: generation, plan, zygote: Zygote::None { not_before: Moment::ZERO } },
            next: None,
            past: Vec::new(),
            rolling: false,
            slots: Vec::new(),
            trend: Trend::default(),
            failures: 0,
            failed_at: Moment::ZERO,
            fork_not_before: Moment::ZERO,
            pardon: (Moment::ZERO, Duration::ZERO),
        }
    }

    /// Handles one event and returns the actions to take.
    pub fn on(&mut self, event: &Event, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match *event {
            Event::Tick => {}
            Event::Late(gap) => self.late(gap, now),
            Event::ZygoteReady(generation) => self.zygote_ready(generation),
            Event::ZygoteStopped(generation) => self.zygote_stopped(generation, now),
            Event::ZygoteContinued(generation) => self.zygote_continued(generation),
            Event::ZygoteFailed(generation, code) => self.zygote_failed(generation, code, now, &mut actions),
            Event::ZygoteGone(generation) => self.zygote_gone(generation, now, &mut actions),
            Event::Reload(generation, ref plan) => self.reload(generation, plan, now, &mut actions),
            Event::Scale(workers) => self.scale(workers, now, &mut actions),
            Event::Load(load) => self.follow(load, now, &mut actions),
            Event::Quiet => self.quiet(now, &mut actions),
            Event::Stop(stop) => self.asked_to_stop(stop, now, &mut actions),
            Event::Hello(slot, pid) => self.hello(slot, pid, now, &mut actions),
            Event::ForkFailed(slot) => self.fork_failed(slot, now, &mut actions),
            Event::Ready(slot, due) => self.ready(slot, due, now, &mut actions),
            Event::BootFailed(slot, code) => self.boot_failed(slot, code, now, &mut actions),
            Event::Spent(slot) => {
                if let State::Ready { pid, since, due, busy, .. } = self.state(slot) {
                    self.slots[slot].state = State::Ready { pid, since, due, busy, spent: true };
                }
            }
            Event::Seen(slot, busy) => self.seen(slot, busy, now, &mut actions),
            Event::Exited(slot) => self.exited(slot, now, &mut actions),
        }
        self.enforce_deadlines(now, &mut actions);
        self.enforce_zygote_deadlines(now, &mut actions);
        self.keep_count(now, &mut actions);
        self.end_retired_zygotes(now, &mut actions);
        self.note_reloaded(&mut actions);
        actions
    }

    // Generations.

    /// Starts a new generation of settings and code. An older one that is still being tried is given up.
    fn reload(&mut self, number: u64, plan: &Plan, now: Moment, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        self.give_up(Cause::Superseded, now, actions);
        if plan.stop_first && self.phase != Phase::Booting {
            self.next = Some(Generation { number, plan: plan.clone(), zygote: Zygote::None { not_before: LATER } });
            return self.stop_current(now, actions);
        }
        let until = now + plan.boot_timeout;
        self.next = Some(Generation { number, plan: plan.clone(), zygote: Zygote::Starting { until } });
        actions.push(Action::StartZygote(number));
    }

    /// Ends all that may hold what the next generation needs alone. Clients wait meanwhile.
    fn stop_current(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.current.leave(now, actions);
        for slot in 0..self.slots.len() {
            if !self.is_ending(slot) {
                self.end(slot, Ask::Retire, now, actions);
            }
        }
    }

    /// Gives up the generation that is being tried.
    fn give_up(&mut self, cause: Cause, now: Moment, actions: &mut Vec<Action>) {
        let Some(mut next) = self.next.take() else { return };
        actions.push(Action::GiveUp(next.number, cause));
        if let Zygote::None { .. } = next.zygote {
            // It may have evaluated the configuration file, and waits.
            actions.push(Action::KillZygote(next.number));
        }
        self.dismiss(next.number, now, actions);
        next.leave(now, actions);
        if cause != Cause::Boot && matches!(next.zygote, Zygote::Leaving { .. }) {
            // It may be in the middle of an import. Without the kill, repeated reloads would pile up zygotes.
            actions.push(Action::KillZygote(next.number));
        }
        self.past.push(next);
        // It was stopped for the one that is given up.
        if self.current.zygote == Zygote::Gone && !self.is_stopping() {
            self.current.zygote = Zygote::None { not_before: now };
        }
    }

    /// Makes the tried generation the current one, since it has a ready worker. From now on only it forks.
    fn promote(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(next) = self.next.take() else { return };
        actions.push(Action::Promote(next.number));
        let mut old = std::mem::replace(&mut self.current, next);
        self.dismiss(old.number, now, actions);
        old.leave(now, actions);
        // The load is unchanged, so the number of workers is kept instead of the settings' number.
        if let (Some(scaling), Some(_), 1..) = (self.current.plan.scaling, old.plan.scaling, old.plan.workers) {
            self.current.plan.workers = old.plan.workers.clamp(scaling.least, scaling.most);
        }
        self.trend = Trend::default();
        self.past.push(old);
        self.rolling = true;
        self.failures = 0;
        self.fork_not_before = now;
    }

    /// Ends the workers of a generation that are not ready yet.
    fn dismiss(&mut self, generation: u64, now: Moment, actions: &mut Vec<Action>) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].generation == generation && self.slots[slot].is_starting() {
                self.end(slot, Ask::Quit, now, actions);
            }
        }
    }

    fn note_reloaded(&mut self, actions: &mut Vec<Action>) {
        let current = self.current.number;
        let old = |slot: &Slot| matches!(slot.state, State::Ready { .. }) && slot.generation != current;
        if self.rolling && !self.is_stopping() && !self.slots.iter().any(old) && self.fresh() >= self.workers() {
            self.rolling = false;
            actions.push(Action::Reloaded(current));
        }
        let slots = &self.slots;
        self.past.retain(|past| {
            past.zygote != Zygote::Gone
                || slots.iter().any(|slot| slot.generation == past.number && slot.state != State::Empty)
        });
    }

    fn scale(&mut self, workers: usize, now: Moment, actions: &mut Vec<Action>) {
        if workers == 0 {
            self.give_up(Cause::Withdrawn, now, actions);
            self.rolling = false;
        } else if let Some(scaling) = &self.current.plan.scaling {
            self.trend.set(workers, self.workers(), scaling);
        }
        self.want(workers, now, actions);
    }

    /// Adapts the number of workers to the measured load, except during a reload or when no workers are wanted.
    fn follow(&mut self, load: Load, now: Moment, actions: &mut Vec<Action>) {
        let Some(scaling) = self.current.plan.scaling else { return };
        let wanted = self.workers();
        if self.phase != Phase::Serving || self.is_reloading() || wanted == 0 {
            return self.trend.interrupt();
        }
        let complete = self.starting() == 0 && self.fresh() >= wanted;
        let workers = self.trend.follow(load, &scaling, (wanted, complete), now);
        if workers != wanted {
            actions.push(Action::Scaled { old: wanted, new: workers });
            self.want(workers, now, actions);
        }
    }

    /// Handles an idle time as long as `idle`: ends the server, or scales down to the lower bound.
    fn quiet(&mut self, now: Moment, actions: &mut Vec<Action>) {
        // A master without workers was asked to rest, and stays.
        if self.phase != Phase::Serving || self.is_reloading() || self.workers() == 0 {
            return;
        }
        if self.current.plan.die_on_idle {
            // No requests arrive, so no client needs `shutdown_delay` to switch over.
            return self.stop(Stop::Graceful, 0, now, actions);
        }
        let Some(scaling) = self.current.plan.scaling else { return };
        let floor = self.trend.floor(&scaling);
        if self.workers() > floor {
            actions.push(Action::Scaled { old: self.workers(), new: floor });
            self.want(floor, now, actions);
        }
    }

    /// Sets the number of wanted workers, and ends the surplus that is not ready yet.
    fn want(&mut self, workers: usize, now: Moment, actions: &mut Vec<Action>) {
        self.current.plan.workers = workers;
        let mut surplus = (self.fresh() + self.starting()).saturating_sub(workers);
        for slot in (0..self.slots.len()).rev() {
            if surplus > 0 && self.slots[slot].generation == self.current.number && self.slots[slot].is_starting() {
                self.end(slot, Ask::Quit, now, actions);
                surplus -= 1;
            }
        }
    }

    // Zygotes.

    fn zygote_ready(&mut self, generation: u64) {
        if let Some(generation) = self.generation(generation) {
            if matches!(generation.zygote, Zygote::Starting { .. } | Zygote::Stuck { .. }) {
                generation.zygote = Zygote::Ready;
            }
        }
    }

    /// Marks the zygote as stopped by a signal. It gets no fork requests, and has as long to continue as a request.
    fn zygote_stopped(&mut self, number: u64, now: Moment) {
        let plan = self.plan_of(number);
        let until = now + plan.timeout.unwrap_or(plan.boot_timeout);
        if let Some(generation) = self.generation(number).filter(|generation| generation.zygote == Zygote::Ready) {
            generation.zygote = Zygote::Stopped { until };
        }
    }

    fn zygote_continued(&mut self, number: u64) {
        if let Some(generation) = self.generation(number) {
            if matches!(generation.zygote, Zygote::Stopped { .. }) {
                generation.zygote = Zygote::Ready;
            }
        }
    }

    fn zygote_failed(&mut self, generation: u64, code: i32, now: Moment, actions: &mut Vec<Action>) {
        if self.is_next(generation) {
            self.give_up(Cause::Boot, now, actions);
        } else if self.is_first(generation) {
            self.stop(Stop::Quick, code, now, actions);
        }
    }

    fn zygote_gone(&mut self, number: u64, now: Moment, actions: &mut Vec<Action>) {
        // A fork that was requested is settled by its channel: it closes, or a worker says hello.
        if let Some(generation) = self.generation(number) {
            generation.zygote = Zygote::Gone;
        }
        if self.is_next(number) {
            self.give_up(Cause::Boot, now, actions);
        } else if self.is_first(number) {
            self.stop(Stop::Quick, EXIT_BOOT, now, actions);
        } else if number == self.current.number && !self.is_stopping() && !self.is_next_to_replace() {
            self.failed(now, actions);
            self.current.zygote = Zygote::None { not_before: self.fork_not_before };
        }
    }

    // Workers.

    fn hello(&mut self, slot: usize, pid: i32, now: Moment, actions: &mut Vec<Action>) {
        let State::Forking { until, wanted } = self.state(slot) else { return };
        self.slots[slot].state = State::Booting { pid, until };
        if let Phase::Stopping { stop, .. } = self.phase {
            self.end(slot, stop.into(), now, actions);
        } else if !wanted {
            self.end(slot, Ask::Quit, now, actions);
        }
    }

    fn ready(&mut self, slot: usize, due: Option<Moment>, now: Moment, actions: &mut Vec<Action>) {
        let State::Booting { pid, .. } = self.state(slot) else { return };
        self.slots[slot].state = State::Ready { pid, since: now, due, busy: None, spent: false };
        if self.phase == Phase::Booting {
            self.phase = Phase::Serving;
        }
        if self.is_next(self.slots[slot].generation) {
            self.promote(now, actions);
        }
    }

    fn fork_failed(&mut self, slot: usize, now: Moment, actions: &mut Vec<Action>) {
        if !self.is_forking(slot) {
            return;
        }
        let Slot { generation, .. } = self.slots[slot];
        self.slots[slot].state = State::Empty;
        if self.is_next(generation) {
            self.give_up(Cause::Boot, now, actions);
        } else if generation == self.current.number {
            self.failed(now, actions);
        }
    }

    fn seen(&mut self, slot: usize, began: Option<Moment>, now: Moment, actions: &mut Vec<Action>) {
        let (pid, since, due, busy, spent) = match self.state(slot) {
            State::Ready { pid, since, due, busy, spent } => (pid, since, due, busy, spent),
            // A worker that ends has time, but not for a request beyond its timeout.
            State::Ending { pid, until, why: Why::Stop } if now < until => {
                let end = began.and_then(|began| self.deadline(self.slots[slot].generation, began));
                if end.is_some_and(|end| end <= now) {
                    self.trace(slot, pid, Why::Timeout, now, actions);
                }
                return;
            }
            _ => return,
        };
        self.slots[slot].state = State::Ready { pid, since, due, busy: began, spent };
        // The request is overdue at the first look. Idle workers are looked at often enough, unless the machine was
        // suspended.
        let Some(began) = began.filter(|_| busy != began) else { return };
        let timeout = self.plan_of(self.slots[slot].generation).timeout;
        if timeout.is_some_and(|timeout| began + timeout + UNSEEN <= now) {
            self.pardon = (now, now.saturating_sub(began).max(self.pardon.1));
        }
    }

    fn boot_failed(&mut self, slot: usize, code: i32, now: Moment, actions: &mut Vec<Action>) {
        let State::Booting { pid, .. } = self.state(slot) else { return };
        self.slots[slot].state = State::Ending { pid, until: now + QUICK, why: Why::Stop };
        self.not_booted(self.slots[slot].generation, code, now, actions);
    }

    fn exited(&mut self, slot: usize, now: Moment, actions: &mut Vec<Action>) {
        let state = self.state(slot);
        if state == State::Empty {
            return;
        }
        self.slots[slot].state = State::Empty;
        match state {
            State::Forking { wanted: true, .. } | State::Booting { .. } => {
                self.not_booted(self.slots[slot].generation, EXIT_BOOT, now, actions);
            }
            // Not requested, so the exit code does not matter. A request killed it, not its boot: the next boot waits
            // briefly, without back-off.
            State::Ready { since, .. } if now < since + SOUND_LIFE => {
                self.failures = self.failures.min(1);
                self.failed(now, actions);
            }
            State::Forking { .. } | State::Ready { .. } | State::Ending { .. } | State::Empty => {}
        }
    }

    /// Handles a worker of this generation that did not become ready.
    fn not_booted(&mut self, generation: u64, code: i32, now: Moment, actions: &mut Vec<Action>) {
        if self.is_next(generation) {
            self.give_up(Cause::Boot, now, actions);
        } else if self.is_first(generation) {
            self.stop(Stop::Quick, code, now, actions);
        } else if generation == self.current.number {
            self.failed(now, actions);
        }
    }

    /// Counts a failed boot or a short life, and delays the next boot with a growing back-off.
    fn failed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        let delay = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        self.failed_at = now;
        self.fork_not_before = now + delay;
        actions.push(Action::BackOff(delay));
    }

    fn asked_to_stop(&mut self, stop: Stop, now: Moment, actions: &mut Vec<Action>) {
        let delay = self.current.plan.shutdown_delay;
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
                self.give_up(Cause::Withdrawn, now, actions);
                self.phase = Phase::Stopping { code, stop };
                actions.push(Action::CloseListeners);
                // The zygote holds the listeners too, and has no more workers to fork.
                self.current.leave(now, actions);
            }
        }
        for slot in 0..self.slots.len() {
            self.end(slot, stop.into(), now, actions);
        }
    }

    /// Asks the worker in `slot`, if there is one, to end.
    fn end(&mut self, slot: usize, ask: Ask, now: Moment, actions: &mut Vec<Action>) {
        let graceful = self.plan_of(self.slots[slot].generation).graceful_timeout;
        let limit = |ask| if ask == Ask::Quit { now + QUICK } else { now + graceful };
        let (pid, ask, until, why) = match self.slots[slot].state {
            State::Empty => return,
            // There is no process yet; its hello is answered with the request to end.
            State::Forking { until, .. } => {
                let until = if self.is_stopping() { until.min(now + QUICK) } else { until };
                return self.slots[slot].state = State::Forking { until, wanted: false };
            }
            // It has no request to finish.
            State::Booting { pid, .. } => (pid, Ask::Quit, limit(Ask::Quit), Why::Stop),
            State::Ready { pid, .. } => (pid, ask, limit(ask), Why::Stop),
            State::Ending { pid, until, why } => (pid, ask, limit(ask).min(until), why),
        };
        self.slots[slot].state = State::Ending { pid, until, why };
        actions.push(match ask {
            Ask::Retire => Action::Retire(slot, pid),
            Ask::Finish => Action::Finish(slot, pid),
            Ask::Quit => Action::Quit(slot, pid),
        });
    }

    // Deadlines.

    /// Moves all deadlines by the time in which the machine did not run.
    fn late(&mut self, gap: Duration, now: Moment) {
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Forking { until, .. } | State::Booting { until, .. } | State::Ending { until, .. } => {
                    *until += gap;
                }
                State::Empty | State::Ready { .. } => {}
            }
        }
        for generation in std::iter::once(&mut self.current).chain(&mut self.next).chain(&mut self.past) {
            match &mut generation.zygote {
                Zygote::Starting { until }
                | Zygote::Stuck { until }
                | Zygote::Stopped { until }
                | Zygote::Leaving { until } => *until += gap,
                Zygote::None { .. } | Zygote::Ready | Zygote::Retired | Zygote::Gone => {}
            }
        }
        let earlier = if self.pardon.0 + PARDONED > now { self.pardon.1 } else { Duration::ZERO };
        self.pardon = (now, earlier + gap);
    }

    fn enforce_deadlines(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Leaving { until } if until <= now) {
            self.stop(Stop::Graceful, 0, now, actions);
        }
        for slot in 0..self.slots.len() {
            let Slot { generation, state } = self.slots[slot];
            match state {
                State::Forking { until, .. } if until <= now && self.is_stopping() => {
                    self.slots[slot].state = State::Empty;
                }
                State::Forking { until, wanted } if until <= now => {
                    // The zygote itself hangs; its end frees the slot.
                    self.slots[slot].state = State::Forking { until: now + QUICK, wanted };
                    actions.push(Action::KillZygote(generation));
                }
                State::Booting { pid, until } if until <= now => {
                    self.trace(slot, pid, Why::Boot, now, actions);
                    self.not_booted(generation, EXIT_BOOT, now, actions);
                }
                State::Ready { pid, busy: Some(since), .. }
                    if self.deadline(generation, since).is_some_and(|end| end <= now) =>
                {
                    self.trace(slot, pid, Why::Timeout, now, actions);
                }
                State::Ready { pid, since, due: Some(due), busy, spent: false } if due <= now => {
                    self.slots[slot].state = State::Ready { pid, since, due: Some(due), busy, spent: true };
                    actions.push(Action::Outlived(slot, pid));
                }
                State::Ending { pid, until, why } if until <= now => {
                    self.slots[slot].state = State::Ending { pid, until: now + QUICK, why };
                    actions.push(Action::Kill(slot, pid, why));
                }
                _ => {}
            }
        }
    }

    fn enforce_zygote_deadlines(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let stopping = self.is_stopping();
        let mut given_up = false;
        let next = self.next.as_mut().map(|next| next.number);
        for generation in std::iter::once(&mut self.current).chain(&mut self.next).chain(&mut self.past) {
            let number = generation.number;
            match generation.zygote {
                Zygote::Starting { until } if until <= now && !stopping => {
                    generation.zygote = Zygote::Stuck { until: now + TRACE };
                    actions.push(Action::TraceZygote(number));
                }
                Zygote::Stuck { until } if until <= now && !stopping => {
                    generation.zygote = Zygote::Stuck { until: now + QUICK };
                    actions.push(Action::KillZygote(number));
                    given_up |= next == Some(number);
                }
                Zygote::Stopped { until } if until <= now && !stopping => {
                    generation.zygote = Zygote::Leaving { until: now + QUICK };
                    actions.push(Action::KillZygote(number));
                }
                Zygote::Leaving { until } if until <= now => {
                    generation.zygote = Zygote::Leaving { until: now + QUICK };
                    actions.push(Action::KillZygote(number));
                }
                _ => {}
            }
        }
        if given_up {
            self.give_up(Cause::Boot, now, actions);
        }
    }

    /// Asks the zygotes to end whose workers are gone. Their exit handlers have as long as a request.
    fn end_retired_zygotes(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Supervisor { slots, current, next, past, .. } = self;
        for generation in std::iter::once(current).chain(next).chain(past) {
            let is_its = |slot: &Slot| slot.generation == generation.number && slot.state != State::Empty;
            if generation.zygote == Zygote::Retired && !slots.iter().any(is_its) {
                generation.zygote = Zygote::Leaving { until: now + generation.plan.graceful_timeout.max(QUICK) };
                actions.push(Action::EndZygote(generation.number));
            }
        }
    }

    /// Lets a stuck worker write its stacks before it is killed.
    fn trace(&mut self, slot: usize, pid: i32, why: Why, now: Moment, actions: &mut Vec<Action>) {
        self.slots[slot].state = State::Ending { pid, until: now + TRACE, why };
        actions.push(Action::Trace(slot, pid, why));
    }

    // Numbers.

    fn keep_count(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if let Phase::Stopping { code, .. } = self.phase {
            // Workers that are still being forked are waited for, as they would outlive the master.
            if self.slots.iter().all(|slot| slot.state == State::Empty) {
                actions.push(Action::End(code));
            }
            return;
        }
        self.forget_failures(now);
        self.retire_surplus(now, actions);
        self.stop_spent(now, actions);
        self.start_next(now, actions);
        if let Some(next) = self.next.as_ref().filter(|next| next.zygote == Zygote::Ready) {
            let (number, plan) = (next.number, next.plan.clone());
            if !self.slots.iter().any(|slot| slot.generation == number && slot.is_starting()) {
                self.fork(number, &plan, now, actions);
            }
        }
        match self.current.zygote {
            Zygote::None { not_before } if not_before <= now => {
                self.current.zygote = Zygote::Starting { until: now + self.current.plan.boot_timeout };
                actions.push(Action::StartZygote(self.current.number));
            }
            Zygote::Ready if now >= self.fork_not_before => {
                let (number, plan) = (self.current.number, self.current.plan.clone());
                for _ in 0..self.wants_fork() {
                    self.fork(number, &plan, now, actions);
                }
            }
            _ => {}
        }
    }

    /// Starts the zygote of a generation that waited for the end of the current one.
    fn start_next(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_clear = self.current.zygote == Zygote::Gone && self.slots.iter().all(|slot| slot.state == State::Empty);
        let waits = |next: &&mut Generation| is_clear && matches!(next.zygote, Zygote::None { .. });
        if let Some(next) = self.next.as_mut().filter(waits) {
            next.zygote = Zygote::Starting { until: now + next.plan.boot_timeout };
            actions.push(Action::StartZygote(next.number));
        }
    }

    /// Ends a worker that is to be replaced, where its replacement cannot run beside it.
    fn stop_spent(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if !self.current.plan.stop_first || self.slots.iter().any(|slot| matches!(slot.state, State::Ending { .. })) {
            return;
        }
        let is_spent = |slot: &Slot| matches!(slot.state, State::Ready { spent: true, .. });
        if let Some(slot) = self.slots.iter().position(is_spent) {
            self.end(slot, Ask::Retire, now, actions);
        }
    }

    /// Forks into a free slot, if there is one.
    fn fork(&mut self, generation: u64, plan: &Plan, now: Moment, actions: &mut Vec<Action>) {
        let free = self.slots.iter().position(|slot| slot.state == State::Empty).unwrap_or(self.slots.len());
        if free >= plan.room {
            return;
        }
        let state = State::Forking { until: now + plan.boot_timeout, wanted: true };
        let slot = Slot { generation, state };
        match self.slots.get_mut(free) {
            Some(empty) => *empty = slot,
            None => self.slots.push(slot),
        }
        actions.push(Action::Fork(free, generation));
    }

    /// Retires workers while more are ready than wanted: the stalest generation first, then idle ones, then the oldest.
    /// Ready workers are counted, not fresh ones, because a replacement may be stale before the next one is ready.
    fn retire_surplus(&mut self, now: Moment, actions: &mut Vec<Action>) {
        while self.ready_count() > self.workers() {
            let goes_first = self.slots.iter().enumerate().filter_map(|(number, slot)| match slot.state {
                State::Ready { since, busy, .. } => {
                    Some((self.is_fresh(slot), slot.generation, busy.is_some(), since, number))
                }
                _ => None,
            });
            let Some((_, _, _, _, victim)) = goes_first.min() else { return };
            let sound = |(number, slot): &(usize, &Slot)| *number != victim && slot.is_sound(now);
            if self.failures > 0 && self.slots.iter().enumerate().filter(sound).count() < self.workers() {
                return;
            }
            self.end(victim, Ask::Retire, now, actions);
        }
    }

    /// Resets the back-off once a worker started since the last failure has proved sound, or a long time after the
    /// failure if no worker is missing: then only a zygote died.
    fn forget_failures(&mut self, now: Moment) {
        let is_sound = |slot: &&Slot| slot.is_sound(now);
        let is_proof = |slot: &Slot| matches!(slot.state, State::Ready { since, .. } if since >= self.failed_at);
        let is_proven = self.slots.iter().filter(is_sound).any(is_proof);
        let is_calm = self.failed_at + CALM <= now && self.starting() == 0;
        if is_proven || (is_calm && self.slots.iter().filter(is_sound).count() >= self.workers()) {
            self.failures = 0;
        }
    }

    fn generation(&mut self, number: u64) -> Option<&mut Generation> {
        let mut all = std::iter::once(&mut self.current).chain(&mut self.next).chain(&mut self.past);
        all.find(|generation| generation.number == number)
    }
}

impl Generation {
    /// Asks the zygote to end.
    fn leave(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match self.zygote {
            Zygote::None { .. } | Zygote::Gone => self.zygote = Zygote::Gone,
            Zygote::Leaving { .. } | Zygote::Retired => {}
            // What the application has started there serves the workers that are left.
            Zygote::Ready => {
                self.zygote = Zygote::Retired;
                actions.push(Action::RetireZygote(self.number));
            }
            Zygote::Starting { .. } | Zygote::Stuck { .. } | Zygote::Stopped { .. } => {
                self.zygote = Zygote::Leaving { until: now + QUICK };
                actions.push(Action::EndZygote(self.number));
            }
        }
    }
}

impl From<Stop> for Ask {
    fn from(stop: Stop) -> Ask {
        match stop {
            Stop::Graceful => Ask::Finish,
            Stop::Quick => Ask::Quit,
        }
    }
}

/// No moment: what waits for it waits for an event.
const LATER: Moment = Duration::from_secs(1 << 40);
/// gunicorn's code for a worker that failed to boot.
const EXIT_BOOT: i32 = 3;
/// The time from a request to end at once until the kill.
const QUICK: Duration = Duration::from_secs(1);
/// The time for writing the stacks of all threads.
const TRACE: Duration = Duration::from_millis(250);
/// gunicorn respawns at once, about 17 boots a second; 250 ms doubled gives 4 in the first second and then fewer.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest time until a server recovers after its code was fixed.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Twice the longest time between two tries.
const CALM: Duration = Duration::from_secs(20);
/// Longer than any delay on a busy machine.
const UNSEEN: Duration = Duration::from_secs(1);
/// Requests older than this have used their extra time: a later delay replaces it.
const PARDONED: Duration = Duration::from_secs(3600);
