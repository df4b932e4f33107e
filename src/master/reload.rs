//! Reloading: a generation is read, tried, and promoted or dropped. The supervisor decides when.

use std::path::Path;

use super::command_source::CommandSource;
use super::control::requests::ReloadProgress;
use super::load::Meter;
use super::zygote::Zygote;
use super::{Generation, Master, configuration, log_lines, log_targets, now};
use crate::command::Command;
use crate::log;
use crate::os::pidfile::PidFile;
use crate::os::proctitle;
use crate::settings::Defined;
use crate::supervisor::{Cause, Event, Moment};

impl Master<'_> {
    /// Begins a reload: reads the settings again and tries them. Errors are logged, and change nothing.
    pub(super) fn reload(&mut self, by: CommandSource) {
        let number = self.processes.newest + 1;
        let (signal, verb) = (by.signal(), by.verb());
        let words = if signal.is_some() { "Hang up: Master" } else { "Reloading: Master" };
        tracing::info!(event = "reload_begins", signal, verb, generation = number, "{words}");
        self.processes.newest = number;
        self.startup.enter_directory();
        self.renew_control();
        self.renew_pidfile();
        self.processes.read_at = now();
        self.requests.failure = None;
        self.requests.blames_code = false;
        self.service_manager.reload_begins(now());
        if self.startup.file.is_some() {
            return self.start_evaluation(number);
        }
        self.try_generation(number, None, None);
    }

    /// Reloads after a worker has seen a changed file. All workers see it, and a reload that has begun since then
    /// includes it.
    pub(super) fn code_changed(&mut self, at: Moment) {
        if self.settings().reload && at > self.processes.read_at && at <= now() {
            self.obey(Command::Reload, CommandSource::Change);
        }
    }

    /// Reads the settings with the definitions of a Python file, and tries the generation, with the zygote that has
    /// evaluated that file.
    pub(super) fn try_generation(&mut self, number: u64, defined: Option<&Defined>, zygote: Option<Zygote>) {
        let checked = self.processes.in_charge().check_file();
        match checked.and_then(|()| self.startup.read_generation(number, defined)) {
            Ok(mut generation) => {
                let plan = generation.plan();
                generation.zygote = zygote;
                generation.remotes = self.lookups.begin(number, &generation.settings, &generation.origins);
                self.processes.generations.insert(number, generation);
                self.tell(&Event::Reload(number, plan));
            }
            Err(error) => {
                if let Some(zygote) = zygote {
                    configuration::discard(&zygote);
                }
                tracing::error!("{error}");
                self.requests.failure = Some(error.to_string());
                self.not_reloaded(number);
            }
        }
    }

    /// Puts a generation in charge that has a worker that serves: the master itself follows its settings from now on.
    pub(super) fn promote(&mut self, number: u64) {
        self.processes.current = number;
        // Measurements are those of its workers, by its settings.
        self.measurements.meter = Meter::default();
        let Generation { settings, log_files, remotes, .. } = &self.processes.generations[&number];
        tracing::info!(generation = number, "first worker is ready, the others follow");
        log::mirror(self.processes.in_charge().is_logged_by_python());
        self.requests.failure = None;
        if let Err(error) = log_files.take(settings) {
            tracing::error!(%error, "log file not taken");
        }
        self.processes.reopen_log_of_hook_process();
        log_targets::take(remotes);
        proctitle::set(&format!("rwsgi: master [{}]", settings.title()));
        let mut remarks = self.startup.restart_only.remarks(settings, self.requests.socket.path());
        for remark in &remarks {
            tracing::warn!(generation = number, "{remark}");
        }
        remarks.extend(self.move_pidfile());
        self.requests.remarks = remarks;
        self.reload_came_to(number, ReloadProgress::Serves);
    }

    /// Writes the pid file again if it was removed.
    fn renew_pidfile(&mut self) {
        let is_gone = |file: &&PidFile| matches!(file.path().try_exists(), Ok(false));
        let Some(path) = self.succession.pidfile.as_ref().filter(is_gone).map(|file| file.path().to_owned()) else {
            return;
        };
        match PidFile::write(&path) {
            Ok(written) => {
                tracing::info!(path = %path.display(), "the pid file was gone, it is written again");
                self.succession.pidfile = Some(written);
            }
            Err(error) => tracing::error!(%error, "the pid file is gone, and no other one is written"),
        }
    }

    /// Moves the pid file if the settings name another path. Returns a sentence about that.
    fn move_pidfile(&mut self) -> Option<String> {
        let wanted = self.settings().pidfile.as_deref().map(|path| self.succession.other.pidfile(path));
        let wanted = wanted.map(|path| std::path::absolute(&path).unwrap_or(path));
        let current = self.succession.pidfile.as_ref().map(PidFile::path);
        if current == wanted.as_deref() {
            return None;
        }
        let place = |path: Option<&Path>| path.map_or("nowhere".to_owned(), |path| path.display().to_string());
        let (from, to) = (place(current), place(wanted.as_deref()));
        match self.succession.other.write_pidfile(self.processes.in_charge()) {
            Ok(written) => {
                if let Some(old) = std::mem::replace(&mut self.succession.pidfile, written) {
                    old.remove();
                }
                tracing::info!(from, to, "pid file moved");
                Some(format!("pidfile: moved from {from} to {to}"))
            }
            Err(error) => {
                tracing::error!(%error, "pid file not written, it stays where it was");
                Some(format!("pidfile: stays {from}: {error}"))
            }
        }
    }

    pub(super) fn give_up(&mut self, number: u64, cause: Cause) {
        match cause {
            Cause::Boot => self.not_reloaded(number),
            Cause::Superseded => {
                tracing::warn!(generation = number, "reload given up for a newer one");
                self.reload_dropped(number, "given up for a newer reload");
            }
            Cause::Withdrawn => {
                tracing::warn!(generation = number, "reload given up");
                self.reload_dropped(number, "given up: the server rests or stops");
            }
        }
        self.release_sockets(|other| other == number);
    }

    pub(super) fn not_reloaded(&mut self, number: u64) {
        let workers = self.serving();
        tracing::error!(
            generation = number,
            serving = self.processes.current,
            workers,
            "reload failed, nothing has changed"
        );
        let why = self.requests.failure.take();
        self.requests.blames_code |= why.is_none();
        self.reload_failed(
            number,
            why.as_deref().unwrap_or("its first worker did not become ready; the log says more"),
        );
    }

    /// Completes a reload: closes the sockets that this generation does not have.
    pub(super) fn reloaded(&mut self, number: u64) {
        self.release_sockets(|other| other < number);
        let generation = &self.processes.generations[&number];
        log_lines::reloaded(number, &generation.settings, &generation.sockets, self.supervisor.workers());
        self.fades(number);
    }

    /// Releases the sockets of those generations; sockets that other generations have too are kept open.
    pub(super) fn release_sockets(&mut self, which: impl Fn(u64) -> bool) {
        self.processes.release_sockets(which, !self.succession.other.is_there());
    }
}
