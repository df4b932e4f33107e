//! Signals, and the commands that they give to the master.

use super::command_source::CommandSource;
use super::upgrade::UpgradeRequest;
use super::{AnyError, EXIT_SETUP, Generation, Master};
use crate::command::{self, Command};
use crate::control::Scale;
use crate::message::{Note, ToWorker};
use crate::supervisor::{Event, Standing, Stop};

impl Master<'_> {
    pub(super) fn obey_signals(&mut self) {
        let mut signals: Vec<i32> = std::iter::from_fn(|| self.signals.next()).collect();
        // One reload is enough for all that were requested at once.
        signals.dedup_by(|one, other| one == other && Command::by_signal(*one) == Some(Command::Reload));
        for signal in signals {
            if let Some(command) = Command::by_signal(signal) {
                let name = command::signal_name(signal).unwrap_or_default();
                tracing::info!(
                    event = "signal",
                    said.signal = name,
                    command = command.row().name,
                    "Handling signal: {}",
                    name.to_lowercase()
                );
                self.obey(command, CommandSource::Signal(name));
            }
        }
        self.reap();
    }

    pub(super) fn obey(&mut self, command: Command, by: CommandSource) {
        let is_stop = matches!(command, Command::Stop | Command::Quit);
        if (self.startup.check || self.supervisor.is_leaving()) && !is_stop {
            tracing::info!(
                signal = by.signal(),
                verb = by.verb(),
                command = command.row().name,
                "stopping already, nothing is done"
            );
            return;
        }
        match command {
            Command::Stop => self.stop(by, Stop::Graceful),
            Command::Quit => self.stop(by, Stop::Quick),
            Command::Reload => self.reload(by),
            Command::Reopen => drop(self.reopen(by)),
            // Docker passes on each change of a terminal's size. A new master may need the old one's workers to rest.
            Command::Rest if !self.startup.restart_only.daemon && !self.succession.other.is_there() => {
                tracing::info!(signal = by.signal(), "SIGWINCH ignored. Not daemonized");
            }
            Command::Rest => {
                tracing::info!(signal = by.signal(), verb = by.verb(), "the workers retire, the master stays");
                self.processes.note(Note::Workers { new: 0, old: self.supervisor.workers() });
                self.tell(&Event::Scale(0));
            }
            Command::More => drop(self.scale(by, Scale::More(1))),
            Command::Fewer => drop(self.scale(by, Scale::Fewer(1))),
            Command::Status | Command::Requests | Command::Stack | Command::Scale | Command::Recycle => {
                // The control socket handles these: without an answer they have no effect.
            }
            Command::Upgrade => self.upgrade(UpgradeRequest { by, client: None }),
        }
    }

    fn stop(&mut self, by: CommandSource, stop: Stop) {
        tracing::info!(signal = by.signal(), verb = by.verb(), graceful = stop == Stop::Graceful, "stopping");
        if self.startup.check {
            self.finish = Some(EXIT_SETUP);
        }
        if let Some(new) = self.succession.other.successor() {
            self.service_manager.hand_over(new.as_raw());
        }
        self.tell(&Event::Stop(stop));
        if self.supervisor.standing() == Standing::Leaving {
            let delay = self.settings().shutdown_delay;
            tracing::info!(shutdown_delay = %delay, "requests are served until the stop begins");
        }
    }

    /// Changes the number of workers wanted and returns it. An error gives the numbers that are allowed; nothing
    /// changes then, as the caller would rely on the number requested.
    pub(super) fn scale(&mut self, by: CommandSource, scale: Scale) -> Result<usize, String> {
        let (least, most) = self.processes.in_charge().worker_range();
        let before = self.supervisor.workers();
        let workers = match scale.from(before) {
            // If the workers rest, the first step is to the fewest allowed.
            1.. if before == 0 && matches!(scale, Scale::More(_)) => scale.from(before).max(least),
            workers => workers,
        };
        let (signal, verb) = (by.signal(), by.verb());
        if (least..=most).contains(&workers) {
            tracing::info!(signal, verb, workers, "number of workers changed");
            self.processes.note(Note::Workers { new: workers, old: before });
            self.tell(&Event::Scale(workers));
            return Ok(workers);
        }
        tracing::warn!(signal, verb, workers = before, asked = %scale, least, most, "number of workers stays");
        let bounds = if self.settings().worker_bounds(1).is_some() { " (workers_min to workers_max)" } else { "" };
        let found = if scale == Scale::To(workers) { String::new() } else { format!(" from {before}") };
        Err(format!(
            "expected {least} to {most} workers{bounds}, found {scale}{found}; there are to be {before}, as before"
        ))
    }

    /// Reopens the log files of all generations; those whose files cannot be opened keep the old ones. Returns the last
    /// error, which is also logged.
    pub(super) fn reopen(&mut self, by: CommandSource) -> Result<(), AnyError> {
        tracing::info!(signal = by.signal(), verb = by.verb(), "log files are being reopened");
        let mut reopened = Vec::new();
        let mut outcome = Ok(());
        for generation in self.processes.generations.values_mut() {
            match generation.reopen() {
                Ok(reopen) => reopened.push((generation.number, reopen)),
                Err(error) => {
                    tracing::error!(generation = generation.number, %error, "log files not reopened");
                    outcome = Err(error);
                }
            }
        }
        for (number, reopen) in reopened {
            let Generation { log_files, settings, .. } = &self.processes.generations[&number];
            if number == self.processes.current {
                if let Err(error) = log_files.take(settings) {
                    tracing::error!(%error, "log file not taken");
                }
            }
            let files: Vec<_> = log_files.files().collect();
            for slot in self.processes.workers.of_generation(number) {
                if let Err(error) = self.processes.workers.say(slot, &ToWorker::Reopen(reopen), &files) {
                    tracing::error!(slot, %error, "worker not told of new log files");
                }
            }
        }
        self.processes.reopen_log_of_hook_process();
        tracing::info!("log files reopened");
        outcome
    }
}
