//! The hook process from the master's side: the process that called `when_ready` and lives as long as the server.

use std::io;
use std::os::fd::AsFd;

use nix::unistd::Pid;

use super::{Master, Processes};
use crate::message::{FromHookProcess, ToHookProcess};
use crate::os::channel::{Channel, Received};
use crate::os::process::{self, Exit};

/// The process that called `when_ready`.
pub(super) struct HookProcess {
    channel: Channel,
    /// The process id, known from its first message on.
    pid: Option<Pid>,
}

impl HookProcess {
    /// Returns the master's side, and the end of the channel for the process.
    fn new() -> io::Result<(HookProcess, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let ours = ours.refuse_descriptors();
        ours.set_nonblocking(true)?;
        ours.pass_credentials()?;
        Ok((HookProcess { channel: ours, pid: None }, theirs))
    }

    /// Returns its process id, if its first message has been read.
    pub(super) fn known_pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Returns its process id, once its first message has come.
    fn pid(&mut self) -> Option<Pid> {
        if self.pid.is_none() {
            let Ok(Received::Packet(packet)) = self.channel.receive() else { return None };
            let is_hello = matches!(serde_json::from_slice(&packet.bytes), Ok(FromHookProcess::Hello));
            self.pid = packet.sender.map(Pid::from_raw).filter(|pid| is_hello && process::is_child(*pid));
        }
        self.pid
    }
}

impl Processes {
    /// Returns the other end of the hook process's channel, if the first zygote is to start one.
    pub(super) fn make_hook_process(&mut self) -> io::Result<Option<Channel>> {
        if self.hook_process.is_some() || !self.in_charge().hooks.has("when_ready") {
            return Ok(None);
        }
        let (hook_process, theirs) = HookProcess::new()?;
        self.hook_process = Some(hook_process);
        Ok(Some(theirs))
    }

    /// Reads the first message of the hook process: when the first zygote is ready, it has been sent.
    pub(super) fn meet_hook_process(&mut self) {
        if self.hook_process.as_mut().is_some_and(|hook_process| hook_process.pid().is_none()) {
            tracing::error!("hook process: expected its first message, found none");
        }
    }

    /// Sends the error log of the generation in charge to the hook process.
    pub(super) fn reopen_log_of_hook_process(&self) {
        let (Some(hook_process), Some(file)) = (&self.hook_process, &self.in_charge().log_files.error) else {
            return;
        };
        if let Err(error) = hook_process.channel.say(&ToHookProcess::Reopen, &[file.as_fd()]) {
            tracing::error!(%error, "the process of when_ready not told of a new log file");
        }
    }

    /// Tells the hook process to call `on_exit` and end. Returns its pid, if there is one.
    pub(super) fn end_hook_process(&mut self) -> Option<Pid> {
        let mut hook_process = self.hook_process.take()?;
        if let Err(error) = hook_process.channel.say(&ToHookProcess::End, &[]) {
            tracing::error!(%error, "the process of when_ready not told to end");
        }
        hook_process.pid()
    }
}

impl Master<'_> {
    /// True if this process was the hook process, which is forgotten then. Everything that `when_ready` started ends
    /// with it.
    pub(super) fn is_hook_process(&mut self, pid: Pid, exit: Exit) -> bool {
        let is_it = self.processes.hook_process.as_ref().is_some_and(|hook_process| hook_process.pid == Some(pid));
        if is_it {
            self.processes.hook_process = None;
            if !self.supervisor.is_stopping() {
                tracing::error!(pid = pid.as_raw(), by = %exit, "the process of when_ready ended, and what was started there");
            }
        }
        is_it
    }
}
