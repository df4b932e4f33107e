//! What the master hears from zygote and workers, and what it answers. A word out of its turn was not said by rwsgi's own
//! code, but by an application that shares its process.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::pool::Heard;
use super::zygote::Stage;
use super::{AnyError, Master, report, sockets};
use crate::message::{BUILD_ID, BootFailure, Found, FromZygote, Start, ToZygote};
use crate::os::process;
use crate::os::stream::{Packet, Received};
use crate::supervisor::Event;

impl Master {
    pub(super) fn hear_zygote(&mut self) {
        while let Some(zygote) = self.zygote.as_ref().filter(|zygote| zygote.stage != Stage::Confused) {
            match zygote.channel.receive() {
                Ok(Received::Packet(mut packet)) => {
                    packet.refuse_descriptors();
                    self.zygote_said(&packet);
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.zygote_closed(),
                Err(error) => return self.zygote_confused(&error),
            }
        }
    }

    /// Nothing that follows could be trusted: it is killed, and replaced.
    fn zygote_confused(&mut self, error: &dyn std::fmt::Display) {
        if let Some(zygote) = &mut self.zygote {
            tracing::error!(%error, "zygote: expected a message");
            zygote.stage = Stage::Confused;
            let _ = process::signal(zygote.pid, Signal::SIGKILL);
        }
        self.zygote_closed();
    }

    pub(super) fn zygote_closed(&mut self) {
        if let Some(zygote) = &self.zygote {
            let _ = self.poll.registry().deregister(&mut SourceFd(&zygote.channel.as_raw_fd()));
        }
    }

    /// What is out of its turn was not said by rwsgi's own code, but by an application that shares its process.
    fn zygote_said(&mut self, packet: &Packet) {
        let Some(zygote) = &mut self.zygote else { return };
        let message = match serde_json::from_slice(&packet.bytes) {
            Ok(message) => message,
            Err(error) => return self.zygote_confused(&error),
        };
        match (message, zygote.stage) {
            (FromZygote::Found(found), Stage::Started) => {
                zygote.stage = Stage::Entering;
                self.zygote_found(&found);
            }
            (FromZygote::Ready, Stage::Entering) => {
                zygote.stage = Stage::Ready;
                if self.check {
                    self.finish = Some(0);
                } else {
                    self.tell(&Event::ZygoteReady);
                }
            }
            (FromZygote::Failed(failure), Stage::Started | Stage::Entering | Stage::Ready) => {
                zygote.stage = Stage::Failed;
                self.zygote_failed(&failure);
            }
            (FromZygote::ForkFailed { slot, error }, Stage::Ready) if self.supervisor.is_forking(slot) => {
                tracing::error!(slot, error, "worker not forked");
                self.pool.forget(slot);
                self.tell(&Event::ForkFailed(slot));
            }
            _ => self.zygote_confused(&"a message out of its turn"),
        }
    }

    fn zygote_found(&mut self, found: &Found) {
        match self.start_serving() {
            Err(error) => self.zygote_failed(&BootFailure::setup(&error)),
            Ok(()) if self.check => {}
            Ok(()) => report::start(&self.settings, found, &self.listeners),
        }
    }

    fn zygote_failed(&mut self, failure: &BootFailure) {
        self.report(failure);
        self.tell(&Event::ZygoteFailed(failure.cause.exit_code()));
    }

    /// Says why something could not boot: in the log, and on the terminal, where whoever starts a server looks when its
    /// log is a file. A check has no log.
    fn report(&self, failure: &BootFailure) {
        if self.check || (self.error_log.is_some() && !self.supervisor.has_served()) {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{failure}");
        }
        if !self.check {
            report::boot_failure(failure);
        }
    }

    /// The zygote has found its Python: binds, the first time, and says what there is to serve.
    fn start_serving(&mut self) -> Result<(), AnyError> {
        if self.check {
            sockets::check(&self.settings, &self.identity)?;
        } else if self.listeners.is_empty() {
            self.listeners = sockets::bind(&self.settings, &self.identity)?;
        }
        let start = Start {
            build: BUILD_ID.to_owned(),
            settings: self.settings.clone(),
            arguments: self.arguments.clone(),
            generation: self.generations,
            master: Pid::this().as_raw(),
            check: self.check,
            user: self.identity.user.clone(),
            group: self.identity.group,
            listeners: self.listeners.len(),
            error_log: self.error_log.is_some(),
            access_log: self.access_log.is_some(),
        };
        let fds: Vec<_> = [self.scoreboard_file.as_fd()]
            .into_iter()
            .chain(self.listeners.iter().map(AsFd::as_fd))
            .chain(self.error_log.as_ref().map(AsFd::as_fd))
            .chain(self.access_log.as_ref().map(AsFd::as_fd))
            .collect();
        match &self.zygote {
            Some(zygote) => Ok(zygote.channel.say(&ToZygote::Start(Box::new(start)), &fds)?),
            None => Ok(()),
        }
    }

    pub(super) fn hear_worker(&mut self, slot: usize) {
        while let Some(heard) = self.pool.hear(slot) {
            if let Heard::Failure(failure) = &heard {
                self.report(failure);
            }
            self.tell(&heard.event(slot));
        }
        if let Some(exit) = self.pool.take_early_exit(slot) {
            self.worker_exited(slot, exit);
        }
    }
}
