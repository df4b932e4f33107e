//! Processes of a server: starting zygotes and workers, asking them to end, killing and reaping them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::configuration::Evaluation;
use super::hook_process::HookProcess;
use super::leftovers::Leftovers;
use super::log_lines::{self, Memory};
use super::sockets::{self, BoundSocket};
use super::workers::WorkerSlots;
use super::zygote::{Zygote, ZygoteRights, ZygoteStage};
use super::{Generation, Master, WORKERS, ZYGOTES, now, zygote};
use crate::log::CRITICAL;
use crate::message::{BootFailure, ToWorker};
use crate::os::process::{self, Change, Exit};
use crate::os::scoreboard::Slot;
use crate::settings::Settings;
use crate::supervisor::{Event, Moment};

/// All processes of a server but the master.
pub(super) struct Processes {
    /// All generations that are alive, by number.
    pub(super) generations: BTreeMap<u64, Generation>,
    /// The number of the generation in charge.
    pub(super) current: u64,
    /// The last number that was given to a generation.
    pub(super) newest: u64,
    /// The last time that the code was about to be read.
    pub(super) read_at: Moment,
    pub(super) workers: WorkerSlots,
    /// The process of `when_ready`, if there is one.
    pub(super) hook_process: Option<HookProcess>,
    /// A configuration file that is being evaluated for a reload.
    pub(super) evaluation: Option<Evaluation>,
    /// Processes that the application has started in zygotes.
    pub(super) leftovers: Leftovers,
    /// Sockets of an old master that no generation has taken yet.
    pub(super) inherited: Vec<Rc<BoundSocket>>,
}

impl Processes {
    /// Returns those of a master with its first generation.
    pub(super) fn new(first: Generation, inherited: Vec<Rc<BoundSocket>>, now: Moment) -> Processes {
        Processes {
            current: first.number,
            newest: first.number,
            generations: BTreeMap::from([(first.number, first)]),
            read_at: now,
            workers: WorkerSlots::default(),
            hook_process: None,
            evaluation: None,
            leftovers: Leftovers::default(),
            inherited,
        }
    }

    /// Returns the generation in charge.
    pub(super) fn in_charge(&self) -> &Generation {
        &self.generations[&self.current]
    }

    /// Returns the settings of the generation in charge.
    pub(super) fn settings(&self) -> &Settings {
        &self.in_charge().settings
    }

    /// Returns the generation of the worker in `slot`.
    pub(super) fn generation_of(&self, slot: usize) -> Option<&Generation> {
        self.workers.generation(slot).and_then(|number| self.generations.get(&number))
    }

    /// Returns the zygote of a generation, or the one that evaluates a configuration file for it.
    pub(super) fn zygote(&mut self, number: u64) -> Option<&mut Zygote> {
        if let Some(evaluation) = self.evaluation.as_mut().filter(|evaluation| evaluation.number == number) {
            return Some(&mut evaluation.zygote);
        }
        self.generations.get_mut(&number)?.zygote.as_mut()
    }

    /// True if the zygote of that generation waits to be told what to serve.
    pub(super) fn enters(&self, number: u64) -> bool {
        let zygote = self.generations.get(&number).and_then(|generation| generation.zygote.as_ref());
        zygote.is_some_and(|zygote| zygote.stage == ZygoteStage::Entering)
    }

    /// Returns the number of the generation that this process is the zygote of.
    fn generation_of_zygote(&self, pid: Pid) -> Option<u64> {
        let is_its = |generation: &&Generation| generation.zygote.as_ref().is_some_and(|zygote| zygote.pid == pid);
        self.generations.values().find(is_its).map(|generation| generation.number)
    }

    /// Releases the sockets of those generations. A file of a socket that is closed by this is removed if `unlink` is set.
    pub(super) fn release_sockets(&mut self, which: impl Fn(u64) -> bool, unlink: bool) {
        for (_, generation) in self.generations.iter_mut().filter(|(number, _)| which(**number)) {
            sockets::release(std::mem::take(&mut generation.sockets), unlink);
        }
    }

    /// Drops generations with no live process, except the one in charge and the one that is `tried`. `unlink` as in [`Processes::release_sockets`].
    pub(super) fn forget_generations(&mut self, tried: Option<u64>, unlink: bool) {
        let Processes { current, workers, .. } = self;
        self.generations.retain(|number, generation| {
            let is_alive = generation.zygote.is_some() || workers.of_generation(*number).next().is_some();
            let stays = number == current || Some(*number) == tried || is_alive;
            if !stays {
                sockets::release(std::mem::take(&mut generation.sockets), unlink);
            }
            stays
        });
    }
}

impl Master<'_> {
    pub(super) fn start_zygote(&mut self, number: u64) {
        let Some(generation) = self.processes.generations.get_mut(&number) else { return };
        let waiting = generation.zygote.take().filter(|zygote| zygote.stage == ZygoteStage::Configured);
        // The zygote never has more rights than the application, not even to evaluate a configuration file again for
        // its hooks.
        let rights = ZygoteRights::Dropped(&generation.identity);
        let started = waiting
            .map_or_else(|| zygote::start(&self.startup.program, &generation.settings, rights), Ok)
            .and_then(|zygote| {
                let token = Token(ZYGOTES + usize::try_from(number).map_err(io::Error::other)?);
                self.poll.registry().register(&mut SourceFd(&zygote.channel.as_raw_fd()), token, Interest::READABLE)?;
                Ok(zygote)
            });
        match started {
            Ok(zygote) => {
                let is_configured = zygote.stage == ZygoteStage::Configured;
                generation.zygote = Some(zygote);
                if is_configured {
                    self.zygote_configured(number);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.zygote_failed(number, &BootFailure::setup(&error));
            }
            Err(error) => {
                tracing::error!(target: CRITICAL, %error, "zygote not started");
                self.tell(&Event::ZygoteGone(number));
            }
        }
    }

    pub(super) fn trace_zygote(&mut self, number: u64) {
        // One that has not entered Python is ended by the signal.
        self.processes.note_leftovers(number);
        let Some(Generation { zygote: Some(zygote), settings, .. }) = self.processes.generations.get(&number) else {
            return;
        };
        tracing::error!(
            target: CRITICAL, pid = zygote.pid.as_raw(), boot_timeout = %settings.boot_timeout,
            "zygote not ready in time, it is killed"
        );
        process::trace(zygote.pid);
    }

    /// Has a zygote close its sockets, as it forks no more.
    pub(super) fn retire_zygote(&self, number: u64) {
        self.processes.generations.get(&number).into_iter().for_each(Generation::retire_zygote);
    }

    /// Ends a zygote by closing its channel, unless it has hooks to call at the end.
    pub(super) fn end_zygote(&mut self, number: u64) {
        let is_last = self.supervisor.is_stopping() && number == self.processes.current;
        if is_last && self.processes.generations.get_mut(&number).is_some_and(Generation::keep_zygote) {
            return;
        }
        self.zygote_closed(number);
        self.processes.note_leftovers(number);
        if let Some(zygote) =
            self.processes.generations.get_mut(&number).and_then(|generation| generation.zygote.as_mut())
        {
            zygote.leave();
        }
    }

    pub(super) fn fork(&mut self, slot: usize, number: u64) {
        let Some(generation) = self.processes.generations.get(&number) else { return };
        let asked = self.processes.workers.ask(slot, generation).and_then(|fd| {
            self.poll.registry().register(&mut SourceFd(&fd), Token(WORKERS + slot), Interest::READABLE)
        });
        if let Err(error) = asked {
            tracing::error!(slot, %error, "worker not forked");
            self.processes.workers.forget(slot);
            self.tell(&Event::ForkFailed(slot));
        }
    }

    /// Asks a worker to end while others serve.
    pub(super) fn retire(&mut self, slot: usize, pid: i32) {
        tracing::info!(slot, pid, "worker retires");
        self.processes.note_leaving(slot);
        self.order(slot, pid, &ToWorker::Retire, Signal::SIGTERM);
    }

    /// Tells a worker to end. The message goes over its channel: an application may have taken the signal's handler. A
    /// worker that reads no messages gets the signal.
    pub(super) fn order(&mut self, slot: usize, pid: i32, order: &ToWorker, signal: Signal) {
        self.processes.workers.expect_end(slot);
        if let Err(error) = self.processes.workers.say(slot, order, &[]) {
            // One that has just died is not an error.
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::error!(slot, pid, ?order, %error, "worker not told to end, it gets a signal");
            }
            self.signal(slot, pid, signal);
        } else if !matches!(order, ToWorker::Retire) {
            // The response under way is to say that its connection ends.
            process::hurry(Pid::from_raw(pid));
        }
    }

    pub(super) fn signal(&mut self, slot: usize, pid: i32, signal: Signal) {
        self.processes.workers.expect_end(slot);
        if let Err(error) = process::signal(Pid::from_raw(pid), signal) {
            tracing::error!(slot, pid, signal = signal.as_str(), %error, "worker not signalled");
        }
    }

    pub(super) fn reap(&mut self) {
        while let Some((pid, change)) = process::reap() {
            match change {
                Change::Ended(exit, peak) => self.reaped(pid, exit, peak),
                Change::Stopped => self.stopped_or_continued(pid, Some(now())),
                Change::Continued => self.stopped_or_continued(pid, None),
            }
        }
    }

    /// Records that a child was stopped by a signal, or continues. A stopped worker serves none of its connections.
    fn stopped_or_continued(&mut self, pid: Pid, since: Option<Moment>) {
        let Some(slot) = self.processes.workers.slot_of(pid) else {
            return self.zygote_stopped_or_continued(pid, since.is_some());
        };
        self.processes.workers.note_stopped(slot, since);
        let pid = pid.as_raw();
        match since {
            Some(_) => tracing::warn!(slot, pid, "worker was stopped by a signal, CONT lets it go on"),
            None => tracing::info!(slot, pid, "worker goes on"),
        }
    }

    /// Records the same of a zygote, which would be noticed only when a worker is missing.
    fn zygote_stopped_or_continued(&mut self, pid: Pid, is_stopped: bool) {
        let number = self.processes.generations.values_mut().find_map(|generation| {
            let zygote = generation.zygote.as_mut().filter(|zygote| zygote.pid == pid)?;
            zygote.is_stopped = is_stopped;
            Some(generation.number)
        });
        let Some(number) = number else { return };
        let pid = pid.as_raw();
        if is_stopped {
            tracing::warn!(generation = number, pid, "zygote was stopped by a signal, CONT lets it go on");
            self.tell(&Event::ZygoteStopped(number));
        } else {
            tracing::info!(generation = number, pid, "zygote goes on");
            self.tell(&Event::ZygoteContinued(number));
        }
    }

    /// Kills a zygote, and logs that if it was stopped. One that hangs in its boot was traced before, and the end of
    /// one that was told to end is expected.
    pub(super) fn kill_zygote(&mut self, number: u64) {
        self.processes.note_leftovers(number);
        let Some(generation) = self.processes.generations.get(&number) else { return };
        if let Some(zygote) = generation.zygote.as_ref().filter(|zygote| zygote.is_stopped && !zygote.expected) {
            let pid = zygote.pid.as_raw();
            tracing::error!(target: CRITICAL, pid, "zygote was stopped by a signal and did not go on, it is killed");
        }
        generation.kill_zygote();
    }

    fn reaped(&mut self, pid: Pid, exit: Exit, peak: u64) {
        self.processes.leftovers.forget(pid);
        if self.is_successor(pid, exit) || self.is_evaluator(pid) || self.is_hook_process(pid, exit) {
            return;
        }
        if let Some(number) = self.processes.generation_of_zygote(pid) {
            self.zygote_ended(number, exit);
        } else if let Some(slot) = self.processes.workers.slot_of(pid) {
            self.read_worker(slot);
            self.worker_exited(slot, exit, peak);
        } else {
            // This is a worker whose first message has not been read, or an orphan of the application.
            self.processes.workers.keep_exit(pid, exit, peak);
        }
    }

    fn zygote_ended(&mut self, number: u64, exit: Exit) {
        self.read_zygote(number);
        self.zygote_closed(number);
        let zygote = self.processes.generations.get_mut(&number).and_then(|generation| generation.zygote.take());
        if self.waits_for_pre_exec(number) {
            self.pre_exec_is_over(false);
        }
        if let Some(Zygote { pid, expected, .. }) = zygote {
            self.processes.workers.forget_zygote(pid);
            if self.finish.is_none() && !self.supervisor.is_stopping() && !expected {
                tracing::error!(pid = pid.as_raw(), by = %exit, "zygote ended");
            }
        }
        self.tell(&Event::ZygoteGone(number));
    }

    /// Records the end of a worker that had at most `peak` bytes resident.
    pub(super) fn worker_exited(&mut self, slot: usize, exit: Exit, peak: u64) {
        if let Some(fd) = self.processes.workers.channel(slot) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        let generation = self.processes.generation_of(slot);
        let threads: Vec<Slot> = generation.into_iter().flat_map(|generation| generation.threads_of(slot)).collect();
        let worker = self.processes.workers.forget(slot);
        if let Some(worker) = &worker {
            self.processes.note_exit(worker.age, worker.pid);
        }
        let (pid, expected) = worker.map(|worker| (worker.pid, worker.expected)).unwrap_or_default();
        let is_kill = exit == Exit::Signal(libc::SIGKILL);
        let oom = if is_kill && !expected { self.measurements.oom_kills.claim(now()) } else { None };
        log_lines::exit(slot, pid, expected, exit, Memory { peak, oom });
        if !expected || is_kill {
            threads.iter().enumerate().for_each(|(thread, state)| log_lines::cut_off(slot, thread, state));
        }
        self.tell(&Event::Exited(slot));
    }

    pub(super) fn look_at_memory(&mut self) {
        let settings = &self.processes.in_charge().settings;
        let Some(limit) = settings.reload_on_rss.limit() else { return };
        if !self.measurements.watchdog.is_time_to_look(settings, now()) {
            return;
        }
        for (slot, pid) in self.processes.workers.unspent() {
            let Some(rss) = process::resident_bytes(pid).filter(|rss| *rss > limit) else { continue };
            tracing::info!(slot, pid = pid.as_raw(), rss, "worker has grown beyond reload_on_rss, it will be replaced");
            self.processes.workers.note_spent(slot);
            self.tell(&Event::Spent(slot));
        }
    }
}
