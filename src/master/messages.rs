//! Messages from zygotes and workers, and the master's answers. A message that is not allowed now does not come from
//! rwsgi's own code, but from an application in the same process.

use std::io::{self, Write};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use nix::sys::signal::Signal;

use super::generation::HookDescriptors;
use super::workers::WorkerReport;
use super::zygote::ZygoteStage;
use super::{AnyError, FIRST, Generation, Master, log_lines, sockets};
use crate::log;
use crate::message::{BootCause, BootFailure, FoundPython, FromZygote, Occasion};
use crate::os::channel::Received;
use crate::os::process;
use crate::supervisor::Event;

impl Master<'_> {
    pub(super) fn read_zygote(&mut self, number: u64) {
        while let Some(zygote) = self.processes.zygote(number).filter(|zygote| !zygote.is_ignored()) {
            match zygote.channel.receive() {
                Ok(Received::Packet(packet)) => match serde_json::from_slice(&packet.bytes) {
                    Ok(FromZygote::Forked) if self.processes.zygote_forked(number, packet.sender) => {}
                    Ok(message) => self.zygote_said(number, message),
                    Err(error) => return self.reject_zygote(number, &error),
                },
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.zygote_closed(number),
                Err(error) => return self.reject_zygote(number, &error),
            }
        }
    }

    /// Kills a zygote that sent an invalid message: nothing that follows could be trusted. It is replaced.
    fn reject_zygote(&mut self, number: u64, error: &dyn std::fmt::Display) {
        self.processes.note_leftovers(number);
        if let Some(zygote) = self.processes.zygote(number) {
            tracing::error!(%error, "zygote: expected a message");
            zygote.stage = ZygoteStage::Unheard;
            let _ = process::signal(zygote.pid, Signal::SIGKILL);
        }
        self.zygote_closed(number);
    }

    pub(super) fn zygote_closed(&mut self, number: u64) {
        let Some(fd) = self.processes.zygote(number).map(|zygote| zygote.channel.as_raw_fd()) else { return };
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }

    /// Handles a message of a zygote; one that is not allowed in its stage is an error.
    fn zygote_said(&mut self, number: u64, message: FromZygote) {
        let has_file = self.startup.file.is_some();
        let Some(zygote) = self.processes.zygote(number) else { return };
        match (message, zygote.stage) {
            (FromZygote::Found(found), ZygoteStage::Started) if has_file => {
                zygote.found = Some(found);
                zygote.stage = ZygoteStage::Configuring;
                self.configure(number);
            }
            (FromZygote::Configured(defined), ZygoteStage::Configuring) => {
                zygote.stage = ZygoteStage::Configured;
                self.configured(number, &defined);
            }
            (FromZygote::Found(found), ZygoteStage::Started) => {
                zygote.stage = ZygoteStage::Entering;
                self.zygote_found(number, &found);
            }
            (FromZygote::Ready, ZygoteStage::Entering) => {
                zygote.stage = ZygoteStage::Ready;
                if self.startup.check {
                    self.finish = Some(0);
                } else {
                    self.tell(&Event::ZygoteReady(number));
                }
            }
            (
                FromZygote::Failed(failure),
                ZygoteStage::Started
                | ZygoteStage::Configuring
                | ZygoteStage::Configured
                | ZygoteStage::Entering
                | ZygoteStage::Ready,
            ) => {
                zygote.stage = ZygoteStage::Failed;
                self.zygote_failed(number, &failure);
            }
            (FromZygote::ForkFailed { slot, error }, ZygoteStage::Ready)
                if self.supervisor.is_forking(slot) && self.processes.workers.generation(slot) == Some(number) =>
            {
                self.zygote_could_not_fork(slot, &error);
            }
            (FromZygote::MayUpgrade(may), ZygoteStage::Ready) if self.waits_for_pre_exec(number) => {
                self.pre_exec_is_over(may);
            }
            _ => self.reject_zygote(number, &"a message that is not allowed now"),
        }
    }

    fn zygote_could_not_fork(&mut self, slot: usize, error: &str) {
        tracing::error!(slot, error, "worker not forked");
        self.processes.workers.forget(slot);
        self.tell(&Event::ForkFailed(slot));
    }

    pub(super) fn zygote_found(&mut self, number: u64, found: &FoundPython) {
        let started = self.start_serving(number);
        if started.as_ref().is_err_and(|error| self.will_bind_again(number, found, error)) {
            return;
        }
        self.waiting_for_port = None;
        match started {
            Err(error) => self.zygote_failed(number, &BootFailure::setup(&error)),
            Ok(is_first) if is_first && !self.startup.check => {
                log_lines::found(&self.processes.generations[&number], found);
            }
            Ok(_) => {}
        }
    }

    pub(super) fn zygote_failed(&mut self, number: u64, failure: &BootFailure) {
        if self.is_evaluating(number) {
            return self.evaluation_failed(failure);
        }
        self.report(failure);
        self.tell(&Event::ZygoteFailed(number, failure.cause.exit_code()));
    }

    /// Reports why something could not boot: in the log, and on the terminal if the log is a file, as people look there
    /// at a start. A check has no log.
    fn report(&mut self, failure: &BootFailure) {
        if self.supervisor.is_reloading() {
            self.requests.failure = Some(failure.to_string());
            self.requests.blames_code = failure.cause != BootCause::Setup;
        }
        if self.startup.check || (self.processes.in_charge().log_files.error.is_some() && !self.supervisor.has_served())
        {
            // An error is ignored: standard error may be closed.
            let _ = writeln!(io::stderr(), "{}", log::escaped(&failure.to_string()));
        }
        if !self.startup.check {
            log_lines::boot_failure(failure);
        }
    }

    /// Binds, if this zygote is the first of its generation, and tells it what to serve. True if it is the first.
    fn start_serving(&mut self, number: u64) -> Result<bool, AnyError> {
        let inherited = std::mem::take(&mut self.processes.inherited);
        let mut known = inherited.clone();
        known.extend(self.processes.generations.values().flat_map(|generation| generation.sockets.clone()));
        let Some(generation) = self.processes.generations.get_mut(&number) else { return Ok(false) };
        let Generation { settings, identity, sockets, .. } = generation;
        let is_first = sockets.is_empty();
        if self.startup.check {
            sockets::check(settings, identity)?;
        } else if is_first {
            match sockets::bind(settings, identity, &known) {
                Ok(bound) => *sockets = bound,
                Err(error) => {
                    // Another attempt needs them.
                    self.processes.inherited = inherited;
                    return Err(error.into());
                }
            }
        }
        let occasion = match is_first {
            false => Occasion::Again,
            true if number == FIRST => Occasion::Starting,
            true => Occasion::Reloading,
        };
        let for_hooks = if self.startup.check { HookDescriptors::default() } else { self.for_hooks(number, occasion)? };
        if let Some(generation) = self.processes.generations.get_mut(&number) {
            generation.start(&self.startup.arguments, occasion, self.startup.check, &for_hooks)?;
            generation.note_missed();
        }
        Ok(is_first)
    }

    /// Returns the descriptors for the hooks. The memory of one user is not given to another, which may have more
    /// rights and would unpickle it.
    fn for_hooks(&mut self, number: u64, occasion: Occasion) -> Result<HookDescriptors, AnyError> {
        let (old, new) = (self.processes.in_charge(), &self.processes.generations[&number]);
        let memory_before = match (occasion, &old.memory) {
            (Occasion::Reloading, Some(memory)) if old.identity == new.identity => Some(memory.try_clone()?),
            _ => None,
        };
        let is_start = occasion == Occasion::Starting;
        let hook_process = if is_start { self.processes.make_hook_process()? } else { None };
        Ok(HookDescriptors {
            memory_before,
            hook_process,
            workers_before: (!is_start).then(|| self.supervisor.workers()),
        })
    }

    pub(super) fn read_worker(&mut self, slot: usize) {
        while let Some(heard) = self.processes.workers.hear(slot) {
            if let WorkerReport::Vanished(age) = heard {
                self.processes.note_exit(age, None);
            }
            if let WorkerReport::Failure(failure) = &heard {
                self.report(failure);
            }
            if let WorkerReport::Changed(at) = heard {
                self.code_changed(at);
                continue;
            }
            self.tell(&heard.event(slot));
        }
        if let Some((exit, peak)) = self.processes.workers.take_early_exit(slot) {
            self.worker_exited(slot, exit, peak);
        }
    }
}
