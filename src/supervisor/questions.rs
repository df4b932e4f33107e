//! What can be asked of the supervisor without changing it: by the master when to look again, by the transitions how many
//! workers are missing.

use std::time::Duration;

use super::state::{Generation, Phase, SOUND_LIFE, Slot, State, Zygote};
use super::{Moment, Plan, Supervisor};

impl Supervisor {
    /// When the next deadline is, if there is one.
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let slots = self.slots.iter().filter_map(|slot| match slot.state {
            State::Empty => None,
            State::Forking { until, .. } | State::Booting { until, .. } | State::Ending { until, .. } => Some(until),
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
            Zygote::Starting { until } | Zygote::Stuck { until } => (!stopping).then_some(until),
            Zygote::Leaving { until } => Some(until),
            Zygote::Ready | Zygote::Gone => None,
        });
        let held_back = !stopping && self.wants_fork() > 0 && self.fork_not_before > now;
        slots.chain(zygotes).chain(held_back.then_some(self.fork_not_before)).min()
    }

    /// Is there a deadline that somebody works towards: a request, a boot, an end? The master looks at its own watch then.
    pub fn is_timing(&self) -> bool {
        let timing = |slot: &Slot| !matches!(slot.state, State::Empty | State::Ready { busy: None, .. });
        self.slots.iter().any(timing)
            || self.generations().any(|generation| matches!(generation.zygote, Zygote::Starting { .. }))
    }

    /// Is a stop under way?
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Was the zygote asked for a worker for this slot, and has nobody answered?
    pub fn is_forking(&self, slot: usize) -> bool {
        matches!(self.state(slot), State::Forking { .. })
    }

    /// Has a worker ever been ready?
    pub fn has_served(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// How many workers are wanted.
    pub fn workers(&self) -> usize {
        self.current.plan.workers
    }

    /// When a request that began at `since` has taken too long.
    pub(super) fn deadline(&self, generation: u64, since: Moment) -> Option<Moment> {
        let pardon = if since < self.pardon.0 { self.pardon.1 } else { Duration::ZERO };
        self.plan_of(generation).timeout.map(|timeout| since + timeout + pardon)
    }

    /// How many workers to fork: one while none was ever ready or the last boots failed; else what is missing among the
    /// fresh, of which `step` at a time beyond the number wanted. While a newer generation is tried, no stale ones are
    /// replaced: it will do that.
    pub(super) fn wants_fork(&self) -> usize {
        let (ready, starting) = (self.ready_count(), self.starting());
        let vacant = self.workers().saturating_sub(ready + starting);
        let missing = self.workers().saturating_sub(self.fresh() + starting);
        let beyond = (ready + starting).saturating_sub(self.workers());
        let step = if self.next.is_some() { 0 } else { self.current.plan.step.saturating_sub(beyond) };
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

    /// Ready workers that are not to be replaced.
    pub(super) fn fresh(&self) -> usize {
        self.slots.iter().filter(|slot| self.is_fresh(slot)).count()
    }

    pub(super) fn is_fresh(&self, slot: &Slot) -> bool {
        slot.generation == self.current.number && matches!(slot.state, State::Ready { spent: false, .. })
    }

    /// Workers of the current generation that will be ready.
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

    /// Is this the generation without which there is no server?
    pub(super) fn is_first(&self, generation: u64) -> bool {
        self.phase == Phase::Booting && generation == self.current.number
    }
}
