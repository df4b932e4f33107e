//! The commands that the master obeys, as signals give them.

use super::{EXIT_SETUP, Generation, Master};
use crate::command::{self, Command};
use crate::message::ToWorker;
use crate::supervisor::{Event, Standing, Stop};

impl Master<'_> {
    pub(super) fn obey_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            if let Some(command) = Command::by_signal(signal) {
                self.obey(command, command::signal_name(signal).unwrap_or_default());
            }
        }
        self.reap();
    }

    /// `signal` is the one that gave the command, for the log.
    fn obey(&mut self, command: Command, signal: &'static str) {
        let is_stop = matches!(command, Command::Stop | Command::Quit);
        if (self.check || self.supervisor.is_leaving()) && !is_stop {
            tracing::info!(signal, command = command.row().name, "stopping already, nothing is done");
            return;
        }
        match command {
            Command::Stop => self.stop(signal, Stop::Graceful),
            Command::Quit => self.stop(signal, Stop::Quick),
            Command::Reload => self.reload(signal),
            Command::Reopen => self.reopen(signal),
            Command::Rest => {
                tracing::info!(signal, "the workers retire, the master stays");
                self.tell(&Event::Scale(0));
            }
            Command::More => self.scale(signal, self.supervisor.workers() + 1),
            Command::Fewer => self.scale(signal, self.supervisor.workers().saturating_sub(1)),
            Command::Status | Command::Requests | Command::Stack | Command::Scale | Command::Recycle => {
                // Without an answer they are nothing; the control socket gives them.
            }
            Command::Upgrade => {
                tracing::warn!(signal, command = command.row().name, "not there yet, nothing is done");
            }
        }
    }

    fn stop(&mut self, signal: &'static str, stop: Stop) {
        tracing::info!(signal, graceful = stop == Stop::Graceful, "stopping");
        if self.check {
            self.finish = Some(EXIT_SETUP);
        }
        self.tell(&Event::Stop(stop));
        if self.supervisor.standing() == Standing::Leaving {
            let delay = self.settings().shutdown_delay;
            tracing::info!(shutdown_delay = %delay, "requests are served until the stop begins");
        }
    }

    fn scale(&mut self, signal: &'static str, workers: usize) {
        let most = self.generations[&self.current].most_workers();
        if (1..=most).contains(&workers) {
            tracing::info!(signal, workers, "number of workers changed");
            self.tell(&Event::Scale(workers));
        } else {
            let found = self.supervisor.workers();
            tracing::warn!(signal, workers = found, most, "number of workers stays");
        }
    }

    /// Log files of all generations; those whose files cannot be opened keep the old ones.
    fn reopen(&mut self, signal: &'static str) {
        tracing::info!(signal, "log files are opened anew");
        let mut reopened = Vec::new();
        for generation in self.generations.values_mut() {
            match generation.reopen() {
                Ok(reopen) => reopened.push((generation.number, reopen)),
                Err(error) => tracing::error!(generation = generation.number, %error, "log files not opened anew"),
            }
        }
        for (number, reopen) in reopened {
            let Generation { logs, settings, .. } = &self.generations[&number];
            if number == self.current {
                if let Err(error) = logs.take(settings) {
                    tracing::error!(%error, "log file not taken");
                }
            }
            let files: Vec<_> = logs.files().collect();
            for slot in self.pool.of_generation(number) {
                if let Err(error) = self.pool.say(slot, ToWorker::Reopen(reopen), &files) {
                    tracing::error!(slot, %error, "worker not told of new log files");
                }
            }
        }
        tracing::info!("log files opened anew");
    }
}
