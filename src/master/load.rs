//! The load of the workers, by their scoreboards and the queues of the sockets: measured while a setting needs it. The
//! supervisor decides what follows from it.

use std::time::Duration;

use nix::unistd::Pid;

use super::metrics::Metrics;
use super::watchdog::Watchdog;
use super::{Generation, Master, Processes, now};
use crate::control;
use crate::message::Note;
use crate::os::oom_kills::OomKills;
use crate::supervisor::{Event, Load, Moment};

/// The values that the master keeps between two measurements.
#[derive(Default)]
pub(super) struct Meter {
    looked: Moment,
    /// The time that the threads of each worker of the last measurement had spent in the application, in ns.
    worked: Vec<(Pid, u64)>,
    /// The time since which no request was seen.
    quiet_since: Moment,
    /// The load at the last measurement.
    load: Option<Load>,
    /// True while the supervisor is told that no request has come.
    is_quiet: bool,
}

/// The last time that the load changed the number of workers, with the reason.
pub(super) struct LastScaling {
    pub(super) at: Moment,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) why: &'static str,
}

/// The measurements of the master itself and of the workers.
pub(super) struct Measurements {
    pub(super) watchdog: Watchdog,
    pub(super) meter: Meter,
    pub(super) last_scaling: Option<LastScaling>,
    pub(super) metrics: Metrics,
    pub(super) oom_kills: OomKills,
}

impl Measurements {
    pub(super) fn new(now: Moment) -> Measurements {
        Measurements {
            watchdog: Watchdog::new(now),
            meter: Meter::default(),
            last_scaling: None,
            metrics: Metrics::default(),
            oom_kills: OomKills::of_this_process(),
        }
    }
}

impl Meter {
    /// Returns the share of time, in percent, that the threads were busy, over the workers that were also there at the
    /// last measurement: each with its process, its number of threads and the time that they have worked. `None` at the
    /// first measurement.
    fn measure(&mut self, now: Moment, workers: &[(Pid, usize, u64)]) -> Option<u32> {
        let elapsed = now.saturating_sub(std::mem::replace(&mut self.looked, now)).as_nanos();
        let before = std::mem::take(&mut self.worked);
        let known = |pid: Pid| before.iter().find(|(known, _)| *known == pid).map(|(_, worked)| *worked);
        let (mut busy, mut threads) = (0, 0);
        for (pid, count, worked) in workers {
            self.worked.push((*pid, *worked));
            if let Some(before) = known(*pid) {
                busy += u128::from(worked.saturating_sub(before));
                threads += *count as u128;
            }
        }
        let percent = (100 * busy).checked_div(elapsed * threads)?;
        Some(u32::try_from(percent.min(100)).unwrap_or(100))
    }
}

impl Processes {
    /// Returns the ready workers of the generation in charge, with the number of their threads and the time that these
    /// have worked.
    fn measured(&self, now: Moment) -> Vec<(Pid, usize, u64)> {
        let generation = self.in_charge();
        let workers = self.workers.unspent().into_iter();
        let current = workers.filter(|(slot, _)| self.workers.generation(*slot) == Some(self.current));
        let now = nanoseconds(now);
        current
            .map(|(slot, pid)| {
                let worked = generation.threads_of(slot).map(|thread| thread.worked(now)).sum();
                (pid, generation.threads_of(slot).count(), worked)
            })
            .collect()
    }

    /// Returns the last time that a request was in the application, in any generation.
    fn last_busy(&self, now: Moment) -> Moment {
        let of = |generation: &Generation| {
            let slots = (0..self.workers.slots()).flat_map(|slot| generation.threads_of(slot));
            slots.map(|thread| thread.last_busy(nanoseconds(now))).max()
        };
        Duration::from_nanos(self.generations.values().filter_map(of).max().unwrap_or(0))
    }
}

impl Master<'_> {
    /// Returns the time of the next measurement, if a setting needs one.
    pub(super) fn next_load(&self, now: Moment) -> Option<Moment> {
        if !self.supervisor.has_served() || self.supervisor.is_leaving() {
            return None;
        }
        let settings = self.settings();
        let measured = settings.worker_bounds(1).map(|_| self.measurements.meter.looked + EVERY);
        let idle = settings.idle.limit().map(|idle| self.measurements.meter.quiet_since + idle);
        // The first measurement is due at once.
        measured.into_iter().chain(idle).min().map(|at| if self.measurements.meter.looked.is_zero() { now } else { at })
    }

    pub(super) fn look_at_load(&mut self) {
        let now = now();
        if self.next_load(now).is_none_or(|at| at > now) {
            return;
        }
        let is_first = self.measurements.meter.looked.is_zero();
        self.look_for_quiet(now, is_first);
        let workers = self.processes.measured(now);
        let busy = self.measurements.meter.measure(now, &workers);
        if self.settings().worker_bounds(1).is_none() {
            return;
        }
        let Some(busy) = busy else { return };
        let waiting = self.processes.in_charge().sockets.iter().map(|socket| socket.listener.waiting()).sum();
        let load = Load { busy, waiting };
        self.measurements.meter.load = Some(load);
        self.tell(&Event::Load(load));
    }

    /// Logs that the load, or its absence, has changed the number of workers wanted. Workers that are to end are told
    /// after this.
    pub(super) fn scaled(&mut self, from: usize, to: usize) {
        let why = if self.measurements.meter.is_quiet {
            tracing::info!(workers = to, idle = %self.settings().idle, "no request has come, number of workers changed");
            "no request has come"
        } else {
            let Load { busy, waiting } = self.measurements.meter.load.unwrap_or(Load { busy: 0, waiting: 0 });
            let why = if to > from { "there is much to do" } else { "there is little to do" };
            tracing::info!(workers = to, busy = format!("{busy}%"), waiting, "{why}, number of workers changed");
            why
        };
        self.measurements.last_scaling = Some(LastScaling { at: now(), from, to, why });
        self.processes.note(Note::Workers { new: to, old: from });
    }

    /// Returns how the number of workers follows the load, if it does.
    pub(super) fn scaling(&self) -> Option<control::ScalingStatus> {
        let (workers_min, workers_max) = self.settings().worker_bounds(1)?;
        let change = |change: &LastScaling| control::ScalingChange {
            from: change.from,
            to: change.to,
            seconds: now().saturating_sub(change.at).as_secs_f64(),
            why: change.why.to_owned(),
        };
        Some(control::ScalingStatus {
            workers_min,
            workers_max,
            busy: self.measurements.meter.load.map(|load| load.busy),
            waiting: self.measurements.meter.load.map(|load| load.waiting),
            last_change: self.measurements.last_scaling.as_ref().map(change),
        })
    }

    /// Tells the supervisor when no request has come for `idle`.
    fn look_for_quiet(&mut self, now: Moment, is_first: bool) {
        let Some(idle) = self.settings().idle.limit() else { return };
        if is_first {
            self.measurements.meter.quiet_since = now;
            return;
        }
        let last = self.processes.last_busy(now);
        let quiet_since = self.measurements.meter.quiet_since.max(last);
        self.measurements.meter.quiet_since = quiet_since;
        if quiet_since + idle > now {
            return;
        }
        // The next time is due after as long a pause again.
        self.measurements.meter.quiet_since = now;
        // Another master serves, and may have requests that this one does not see.
        if self.succession.other.is_there() {
            return;
        }
        self.measurements.meter.is_quiet = true;
        self.tell(&Event::Quiet);
        self.measurements.meter.is_quiet = false;
        if self.supervisor.is_leaving() {
            tracing::info!(idle = %self.settings().idle, "no request has come, stopping");
        }
    }
}

fn nanoseconds(moment: Moment) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

/// The interval of uWSGI's `cheaper`.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_workers_that_were_there_all_the_time() {
        let mut meter = Meter::default();
        let second = Duration::from_secs;
        let (one, two, new) = (Pid::from_raw(1), Pid::from_raw(2), Pid::from_raw(3));
        assert_eq!(meter.measure(second(1), &[(one, 2, 0), (two, 2, 500)]), None);
        let half = 1_000_000_000;
        assert_eq!(meter.measure(second(2), &[(one, 2, half), (two, 2, half + 500)]), Some(50));
        // One is gone, another one has come.
        assert_eq!(meter.measure(second(3), &[(one, 2, half), (new, 2, half)]), Some(0));
        assert_eq!(meter.measure(second(4), &[(one, 2, 9 * half), (new, 2, half)]), Some(100));
        assert_eq!(meter.measure(second(5), &[]), None);
        assert_eq!(meter.measure(second(5), &[(one, 2, 0)]), None, "no time has passed");
    }
}
