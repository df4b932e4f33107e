//! Queries of the supervisor's state, which change nothing: the next deadline for the master, the missing workers for
//! the transitions.

use std::time::Duration;

use super::state::{Generation, Phase, SOUND_LIFE, Slot, State, Zygote};
use super::{Moment, Plan, Seat, Standing, Stop, Supervisor, Why};

impl Supervisor {
    /// Returns the next deadline, if there is one.
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let slots = self.slots.iter().filter_map(|slot| match slot.state {
            State::Empty => None,
            State::Forking { until, .. } | State::Booting { until, .. } => Some(until),
            // Its request may exceed its timeout before.
            State::Ending { until, why: Why::Stop, .. } if self.plan_of(slot.generation).timeout.is_some() => {
                Some(until.min(now + END_LOOK))
            }
            State::Ending { until, .. } => Some(until),
            State::Ready { since, due, busy, spent, .. } => {
                // An idle worker may begin a request right after this look; that request's deadline is this far away.
                let overdue = self.deadline(slot.generation, busy.unwrap_or(now));
                let sound = (self.failures > 0 && since >= self.failed_at).then_some(since + SOUND_LIFE);
                overdue.into_iter().chain(due.filter(|_| !spent)).chain(sound).min()
            }
        });
        let stopping = self.is_stopping();
        let zygotes = self.generations().filter_map(|generation| match generation.zygote {
            Zygote::None { not_before } => (!stopping).then_some(not_before),
            Zygote::Starting { until } | Zygote::Stuck { until } | Zygote::Stopped { until } => {
                (!stopping).then_some(until)
            }
            Zygote::Leaving { until } => Some(until),
            Zygote::Ready | Zygote::Retired | Zygote::Gone => None,
        });
        let held_back = !stopping && self.wants_fork() > 0 && self.fork_not_before > now;
        let leave = match self.phase {
            Phase::Leaving { until } => Some(until),
            _ => None,
        };
        slots.chain(zygotes).chain(held_back.then_some(self.fork_not_before)).chain(leave).min()
    }

    /// True if a request, a boot or an end has a deadline. The master then checks its own delays.
    pub fn is_timing(&self) -> bool {
        let timing = |slot: &Slot| !matches!(slot.state, State::Empty | State::Ready { busy: None, .. });
        self.slots.iter().any(timing)
            || self
                .generations()
                .any(|generation| matches!(generation.zygote, Zygote::Starting { .. } | Zygote::Stopped { .. }))
    }

    /// True if a stop is under way.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// True if a quick stop is under way.
    pub fn is_quick(&self) -> bool {
        matches!(self.phase, Phase::Stopping { stop: Stop::Quick, .. })
    }

    /// Returns the slots that are not empty.
    pub fn seats(&self) -> impl Iterator<Item = Seat> {
        self.slots.iter().enumerate().filter_map(|(slot, Slot { generation, state })| {
            let (pid, state) = match *state {
                State::Empty => return None,
                State::Forking { .. } => (None, "booting"),
                State::Booting { pid, .. } => (Some(pid), "booting"),
                State::Ready { pid, spent: false, .. } => (Some(pid), "ready"),
                State::Ready { pid, .. } => (Some(pid), "spent"),
                State::Ending { pid, .. } => (Some(pid), "ending"),
            };
            Some(Seat { slot, generation: *generation, pid, state })
        })
    }

    /// True if a generation is to replace the current one that could not run beside it.
    pub(super) fn is_next_to_replace(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.plan.stop_first)
    }

    pub(super) fn is_ending(&self, slot: usize) -> bool {
        matches!(self.state(slot), State::Ending { .. })
    }

    /// True if a stop is under way or waits for `shutdown_delay`.
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. } | Phase::Stopping { .. })
    }

    /// True if the zygote was asked to fork for this slot, and the worker has not said hello.
    pub fn is_forking(&self, slot: usize) -> bool {
        matches!(self.state(slot), State::Forking { .. })
    }

    /// True if a worker has ever been ready.
    pub fn has_served(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Leaving { .. })
    }

    /// True if a generation is being tried or replaces an earlier one.
    pub fn is_reloading(&self) -> bool {
        self.next.is_some() || self.rolling
    }

    /// Returns the generation that is being tried.
    pub fn tried(&self) -> Option<u64> {
        self.next.as_ref().map(|next| next.number)
    }

    /// Returns the state of the server.
    pub fn standing(&self) -> Standing {
        match self.phase {
            Phase::Booting => Standing::Starting,
            Phase::Serving if self.is_reloading() => Standing::Reloading,
            Phase::Serving => Standing::Serving { ready: self.ready_count(), wanted: self.workers() },
            Phase::Leaving { .. } => Standing::Leaving,
            Phase::Stopping { .. } => {
                Standing::Stopping { left: self.slots.iter().filter(|slot| slot.state != State::Empty).count() }
            }
        }
    }

    /// Returns the number of wanted workers.
    pub fn workers(&self) -> usize {
        self.current.plan.workers
    }

    /// Returns the deadline of a request that began at `since`.
    pub(super) fn deadline(&self, generation: u64, since: Moment) -> Option<Moment> {
        let pardon = if since < self.pardon.0 { self.pardon.1 } else { Duration::ZERO };
        self.plan_of(generation).timeout.map(|timeout| since + timeout + pardon)
    }

    /// Returns the number of workers to fork. It is one before the first worker is ready and after failed boots.
    /// Otherwise it is the number missing among the fresh, with at most `step` beyond the number wanted. While a newer
    /// generation is tried, stale workers are not replaced.
    pub(super) fn wants_fork(&self) -> usize {
        let (ready, starting) = (self.ready_count(), self.starting());
        let vacant = self.workers().saturating_sub(ready + starting);
        let missing = self.workers().saturating_sub(self.fresh() + starting);
        let beyond = (ready + starting).saturating_sub(self.workers());
        if self.current.plan.stop_first && self.slots.iter().any(|slot| matches!(slot.state, State::Ending { .. })) {
            return 0;
        }
        let none_beside = self.next.is_some() || self.current.plan.stop_first;
        let step = if none_beside { 0 } else { self.current.plan.step.saturating_sub(beyond) };
        let wanted = missing.min(vacant + step);
        if self.phase == Phase::Booting || self.failures > 0 {
            wanted.min(1_usize.saturating_sub(starting))
        } else {
            wanted
        }
    }

    pub(super) fn ready_count(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot.state, State::Ready { .. })).count()
    }

    /// Returns the number of ready workers that need no replacement.
    pub(super) fn fresh(&self) -> usize {
        self.slots.iter().filter(|slot| self.is_fresh(slot)).count()
    }

    pub(super) fn is_fresh(&self, slot: &Slot) -> bool {
        slot.generation == self.current.number && matches!(slot.state, State::Ready { spent: false, .. })
    }

    /// Returns the number of workers of the current generation that are not ready yet.
    pub(super) fn starting(&self) -> usize {
        let current = self.current.number;
        self.slots.iter().filter(|slot| slot.generation == current && slot.is_starting()).count()
    }

    pub(super) fn state(&self, slot: usize) -> State {
        self.slots.get(slot).map_or(State::Empty, |slot| slot.state)
    }

    pub(super) fn generations(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.current).chain(&self.next).chain(&self.past)
    }

    pub(super) fn plan_of(&self, number: u64) -> &Plan {
        let found = self.generations().find(|generation| generation.number == number);
        &found.unwrap_or(&self.current).plan
    }

    pub(super) fn is_next(&self, generation: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.number == generation)
    }

    /// True if the server cannot exist without this generation, since no worker was ever ready.
    pub(super) fn is_first(&self, generation: u64) -> bool {
        self.phase == Phase::Booting && generation == self.current.number
    }
}

/// The interval at which an ending worker is checked for a request beyond its timeout.
const END_LOOK: Duration = Duration::from_secs(1);
