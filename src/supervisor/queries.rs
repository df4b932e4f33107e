//! What can be asked of the supervisor without changing it: by the master when to look again, by the transitions how many
//! workers are missing.

use std::time::Duration;

use super::state::{Generation, Phase, SOUND_LIFE, Slot, State, Zygote};
use super::{Moment, Plan, Seat, Standing, Supervisor, Why};

impl Supervisor {
    /// When the next deadline is, if there is one.
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let slots = self.slots.iter().filter_map(|slot| match slot.state {
            State::Empty => None,
            State::Forking { until, .. } | State::Booting { until, .. } => Some(until),
            // What it is in may be beyond its time before.
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
            Zygote::Ready | Zygote::Gone => None,
        });
        let held_back = !stopping && self.wants_fork() > 0 && self.fork_not_before > now;
        let leave = match self.phase {
            Phase::Leaving { until } => Some(until),
            _ => None,
        };
        slots.chain(zygotes).chain(held_back.then_some(self.fork_not_before)).chain(leave).min()
    }

    /// Is there a deadline that somebody works towards: a request, a boot, an end? The master looks at its own watch then.
    pub fn is_timing(&self) -> bool {
        let timing = |slot: &Slot| !matches!(slot.state, State::Empty | State::Ready { busy: None, .. });
        self.slots.iter().any(timing)
            || self
                .generations()
                .any(|generation| matches!(generation.zygote, Zygote::Starting { .. } | Zygote::Stopped { .. }))
    }

    /// Is a stop under way?
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// The slots that are not empty.
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

    /// Is a stop under way, or does it come when `shutdown_delay` is over?
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. } | Phase::Stopping { .. })
    }

    /// Was the zygote asked for a worker for this slot, and has nobody answered?
    pub fn is_forking(&self, slot: usize) -> bool {
        matches!(self.state(slot), State::Forking { .. })
    }

    /// Has a worker ever been ready?
    pub fn has_served(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Leaving { .. })
    }

    /// Is a generation being tried, or replacing an earlier one?
    pub fn is_reloading(&self) -> bool {
        self.next.is_some() || self.rolling
    }

    /// How the server stands.
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

/// How often a worker that ends is looked at for a request that is beyond its time.
const END_LOOK: Duration = Duration::from_secs(1);
