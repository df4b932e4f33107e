//! Messages to the service manager about the state of this server (sd_notify(3)): the current state is compared with
//! the one that was sent last. Decides nothing about the server.
//!
//! | the server | the manager hears |
//! |---|---|
//! | loads the application | `STATUS=` |
//! | answers requests for the first time | `READY=1`, `MAINPID=`, `STATUS=` |
//! | begins a reload | `RELOADING=1` with `MONOTONIC_USEC=` |
//! | ends a reload, well or not | `READY=1`, and in `STATUS=` how it went |
//! | begins to stop | `STOPPING=1` |
//! | stops, and another master is to stay | `MAINPID=` of that one, and then nothing |
//! | lives, also beside the master that it follows | `WATCHDOG=1` twice in the time that it was given |

use crate::os::sd_notify::Announcer;
use crate::supervisor::{Moment, Standing};

/// The master that reports to the service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// This master.
    Ours,
    /// The older master, beside which this one was started.
    Older,
    /// The newer master, which stays.
    Newer,
}

/// The service manager from the master's side.
pub(super) struct ServiceManager {
    announcer: Announcer,
    voice: Voice,
    said: Option<Standing>,
    status: String,
    /// The error of the last reload, until the next one begins.
    failure: Option<String>,
    /// The time of the next sign of life.
    alive: Moment,
    is_warned: bool,
}

impl ServiceManager {
    pub(super) fn new(announcer: Announcer, is_successor: bool) -> ServiceManager {
        let voice = if is_successor { Voice::Older } else { Voice::Ours };
        ServiceManager {
            announcer,
            voice,
            said: None,
            status: String::new(),
            failure: None,
            alive: Moment::ZERO,
            is_warned: false,
        }
    }

    /// Sends what has changed, and a sign of life.
    pub(super) fn look(&mut self, standing: Standing, now: Moment) {
        if !self.announcer.is_heard() || self.voice == Voice::Newer {
            return;
        }
        let mut lines = if self.voice == Voice::Ours { self.news(standing) } else { Vec::new() };
        if let Some(every) = self.announcer.watchdog().filter(|_| now >= self.alive) {
            self.alive = now + every / 2;
            lines.push("WATCHDOG=1".to_owned());
        }
        self.say(&lines);
    }

    /// Reports that a reload begins; the one before may still be under way. systemd accepts both lines only from one
    /// datagram (`Type=notify-reload`).
    pub(super) fn reload_begins(&mut self, now: Moment) {
        self.failure = None;
        self.status.clear();
        self.said = Some(Standing::Reloading);
        if self.voice == Voice::Ours {
            self.say(&["RELOADING=1".to_owned(), format!("MONOTONIC_USEC={}", now.as_micros())]);
        }
    }

    /// Records why a reload has failed. The server continues.
    pub(super) fn reload_failed(&mut self, why: &str) {
        self.failure = Some(why.lines().next().unwrap_or_default().to_owned());
    }

    /// Begins to report: the older master is gone.
    pub(super) fn take_turn(&mut self) {
        self.voice = Voice::Ours;
    }

    /// Reports that the master with this pid is the main process from now on, and ends the reports of this one.
    pub(super) fn hand_over(&mut self, to: i32) {
        if self.voice == Voice::Ours {
            self.say(&[format!("MAINPID={to}")]);
            self.voice = Voice::Newer;
        }
    }

    /// Returns the time of the next sign of life.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.announcer.watchdog().filter(|_| self.voice != Voice::Newer).map(|_| self.alive)
    }

    /// Returns the lines about what has changed.
    fn news(&mut self, standing: Standing) -> Vec<String> {
        let mut lines = self.turn(standing);
        let status = self.words(standing);
        if status != self.status {
            lines.push(format!("STATUS={status}"));
            self.status = status;
        }
        self.said = Some(standing);
        lines
    }

    /// Returns the lines by which the manager follows the state of the service.
    fn turn(&self, standing: Standing) -> Vec<String> {
        let is_serving = |standing: &Standing| matches!(standing, Standing::Serving { .. });
        match (standing, self.said) {
            (Standing::Serving { .. }, said) if !said.as_ref().is_some_and(is_serving) => {
                vec!["READY=1".to_owned(), format!("MAINPID={}", std::process::id())]
            }
            (Standing::Leaving | Standing::Stopping { .. }, said) if !said.is_some_and(is_ending) => {
                vec!["STOPPING=1".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    /// Returns the sentence for people (`systemctl status`).
    fn words(&self, standing: Standing) -> String {
        match standing {
            Standing::Starting => "loading the application".to_owned(),
            Standing::Serving { wanted: 0, .. } => "resting: no workers".to_owned(),
            Standing::Serving { ready, wanted } => {
                let count = if ready >= wanted { workers(wanted) } else { format!("{ready} of {}", workers(wanted)) };
                let failure = self.failure.as_ref().map(|why| format!("; the last reload failed: {why}"));
                format!("serving: {count}{}", failure.unwrap_or_default())
            }
            Standing::Reloading => "reloading".to_owned(),
            Standing::Leaving => "serving until shutdown_delay is over, then stopping".to_owned(),
            Standing::Stopping { left } => format!("stopping: {} left", workers(left)),
        }
    }

    fn say(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        match self.announcer.say(lines) {
            Ok(()) => self.is_warned = false,
            Err(error) if !self.is_warned => {
                self.is_warned = true;
                tracing::warn!(%error, "the service manager at NOTIFY_SOCKET receives no messages");
            }
            Err(_) => {}
        }
    }
}

fn is_ending(standing: Standing) -> bool {
    matches!(standing, Standing::Leaving | Standing::Stopping { .. })
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}
