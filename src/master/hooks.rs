//! Hooks of a configuration file, from the master's side. The master calls none: it tells the zygote in charge and the
//! hook process what has happened, and they call the hooks.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;

use super::zygote::ZygoteStage;
use super::{Generation, Master, Processes};
use crate::log;
use crate::message::{Gone, Note, ToZygote};
use crate::settings::Defined;
use crate::settings::python_file::HOOKS;

/// The hooks that a file defines.
#[derive(Clone, Debug, Default)]
pub(super) struct Hooks {
    defined: Vec<&'static str>,
    /// The events that a new zygote is to be told.
    missed: Vec<Note>,
    /// True if the file configures Python's logging by a dictionary.
    has_logconfig: bool,
}

impl Hooks {
    pub(super) fn of(defined: &Defined) -> Hooks {
        let is_defined = |hook: &&str| defined.has_hook(hook);
        let has_logconfig = defined.has_logconfig_dict();
        Hooks { defined: HOOKS.iter().copied().filter(is_defined).collect(), missed: Vec::new(), has_logconfig }
    }

    pub(super) fn has(&self, hook: &str) -> bool {
        self.defined.contains(&hook)
    }

    /// True if the zygote has hooks to call once the server stops. It stays until all workers are gone then.
    fn have_final_hooks(&self) -> bool {
        self.has("child_exit") || self.has("on_exit")
    }

    /// Returns a file in which the hooks of a generation keep the attributes that they set on `server`, for the next
    /// zygote.
    pub(super) fn memory(&self) -> io::Result<Option<OwnedFd>> {
        let make = || memfd_create(c"rwsgi hooks", MFdFlags::MFD_CLOEXEC);
        Ok((!self.defined.is_empty()).then(make).transpose()?)
    }
}

impl Generation {
    /// Tells the zygote what has happened, if it has hooks. Without a zygote, the ends of workers are kept for the next
    /// one.
    fn note(&mut self, note: Note) {
        if self.hooks.defined.is_empty() {
            return;
        }
        let Some(zygote) = self.zygote.as_ref().filter(|zygote| zygote.is_listening()) else {
            if matches!(note, Note::Exited(gone) if gone.call) && self.hooks.missed.len() < MISSED {
                self.hooks.missed.push(note);
            }
            return;
        };
        if let Err(error) = zygote.channel.say(&ToZygote::Note(note), &[]) {
            tracing::error!(?note, %error, "hooks not told");
        }
    }

    /// Tells the zygote everything that happened before it listened.
    pub(super) fn note_missed(&mut self) {
        for note in std::mem::take(&mut self.hooks.missed) {
            self.note(note);
        }
    }

    /// True if the server's own lines go through Python's logging as well.
    pub(super) fn is_logged_by_python(&self) -> bool {
        self.hooks.has_logconfig || self.settings.is_logged_by_python()
    }

    /// Passes lines of the master to the zygote, for Python's logging. True if it takes them.
    fn pass_lines(&self) -> bool {
        let Some(zygote) = self.zygote.as_ref().filter(|zygote| zygote.stage == ZygoteStage::Ready) else {
            return false;
        };
        for line in log::take_mirrored() {
            // A line that finds no room is in the error log all the same.
            let _ = zygote.channel.say(&ToZygote::Line(line), &[]);
        }
        true
    }

    /// Has the zygote close its sockets: it forks no more.
    pub(super) fn retire_zygote(&self) {
        let ready = self.zygote.as_ref().filter(|zygote| zygote.stage == ZygoteStage::Ready);
        if let Some(Err(error)) = ready.map(|zygote| zygote.channel.say(&ToZygote::Note(Note::Closing), &[])) {
            tracing::error!(%error, "zygote not told to close its sockets");
        }
    }

    /// True if the zygote has hooks to call after the server has stopped, or its last lines to log. It stays
    /// then.
    pub(super) fn keep_zygote(&mut self) -> bool {
        let stays = self.hooks.have_final_hooks() || self.is_logged_by_python();
        let Some(zygote) = self.zygote.as_mut().filter(|zygote| stays && zygote.stage == ZygoteStage::Ready) else {
            return false;
        };
        zygote.stays = true;
        true
    }
}

impl Processes {
    /// Tells the hooks of the generation in charge.
    pub(super) fn note(&mut self, note: Note) {
        if let Some(generation) = self.generations.get_mut(&self.current) {
            generation.note(note);
        }
    }

    /// Tells the hooks that the worker in `slot` is to end, sooner or later.
    pub(super) fn note_leaving(&mut self, slot: usize) {
        if let Some(age) = self.workers.leaves(slot) {
            self.note(Note::Leaving(age));
        }
    }

    /// Tells each zygote that a worker has ended. The zygote in charge calls the hook.
    pub(super) fn note_exit(&mut self, age: u64, pid: Option<Pid>) {
        for (number, generation) in &mut self.generations {
            let call = *number == self.current;
            generation.note(Note::Exited(Gone { age, pid: pid.map(Pid::as_raw), call }));
        }
    }

    /// True if `pre_exec` is to be called first. The zygote has been told then.
    pub(super) fn asks_before_upgrade(&mut self) -> bool {
        let generation = self.in_charge();
        let is_ready = generation.zygote.as_ref().is_some_and(|zygote| zygote.stage == ZygoteStage::Ready);
        let asks = generation.hooks.has("pre_exec") && is_ready;
        if asks {
            self.note(Note::Upgrading);
        }
        asks
    }
}

impl Master<'_> {
    /// Passes the master's lines to Python's logging. True if that is to have them and the zygote in charge takes them.
    pub(super) fn pass_lines(&self) -> bool {
        let generation = self.processes.in_charge();
        !self.startup.check && generation.is_logged_by_python() && generation.pass_lines()
    }

    /// Tells the zygote to call `on_exit`, as all workers are gone. A hook process does that instead, if there is one.
    pub(super) fn note_end(&mut self) {
        if self.processes.hook_process.is_none() && !self.startup.check {
            self.processes.note(Note::Ending);
        }
    }

    /// True if there are hooks to wait for at the end.
    pub(super) fn has_final_hooks(&self) -> bool {
        !self.startup.check && self.processes.in_charge().hooks.have_final_hooks()
    }
}

/// The most ends of workers that are kept while no zygote listens. A fork needs a zygote, so there are at most as many
/// as workers.
const MISSED: usize = 4096;
