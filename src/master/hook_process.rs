//! The hook process from the master's side: the process that called `when_ready` and lives as long as the server. It
//! was the first zygote, and has forked the one that follows it.

use std::io;
use std::os::fd::AsFd;

use nix::unistd::Pid;

use super::zygote::ZygoteStage;
use super::{Master, Processes};
use crate::message::ToHookProcess;
use crate::os::channel::Channel;
use crate::os::process::{self, Exit};

/// The process that called `when_ready`.
pub(super) struct HookProcess {
    channel: Channel,
    /// The process id, known once the zygote that it was has forked another one.
    pid: Option<Pid>,
}

impl HookProcess {
    /// Returns the master's side, and the end of the channel for the process.
    fn new() -> io::Result<(HookProcess, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let ours = ours.refuse_descriptors();
        ours.set_nonblocking(true)?;
        Ok((HookProcess { channel: ours, pid: None }, theirs))
    }

    /// Returns its process id, if it is known.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }
}

impl Processes {
    /// Returns the other end of the hook process's channel, if the first zygote is to become it.
    pub(super) fn make_hook_process(&mut self) -> io::Result<Option<Channel>> {
        if self.hook_process.is_some() || !self.in_charge().hooks.has("when_ready") {
            return Ok(None);
        }
        let (hook_process, theirs) = HookProcess::new()?;
        self.hook_process = Some(hook_process);
        Ok(Some(theirs))
    }

    /// Notes that the process that was the zygote has called `when_ready` and forked another zygote, `sender` by the
    /// kernel's word, and is the hook process from now on. False if that is not expected: it happens once, before
    /// anything but hooks has run.
    pub(super) fn zygote_forked(&mut self, number: u64, sender: Option<i32>) -> bool {
        let forked = sender.map(Pid::from_raw).filter(|pid| process::is_child(*pid));
        let zygote = self.generations.get_mut(&number).and_then(|generation| generation.zygote.as_mut());
        let zygote = zygote.filter(|zygote| zygote.stage == ZygoteStage::Entering);
        let hook_process = self.hook_process.as_mut().filter(|hook_process| hook_process.pid.is_none());
        let (Some(forked), Some(zygote), Some(hook_process)) = (forked, zygote, hook_process) else { return false };
        hook_process.pid = Some(std::mem::replace(&mut zygote.pid, forked));
        true
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
        let hook_process = self.hook_process.take()?;
        // Without one the zygote has ended before it could become it.
        let pid = hook_process.pid?;
        if let Err(error) = hook_process.channel.say(&ToHookProcess::End, &[]) {
            tracing::error!(%error, "the process of when_ready not told to end");
        }
        Some(pid)
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
