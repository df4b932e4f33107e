//! Requests over the control socket, carried out and answered: at once, when a reload has ended, or when workers have
//! written their stacks.

use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::Token;
use mio::unix::SourceFd;
use nix::unistd::Pid;

use super::super::command_source::CommandSource;
use super::super::upgrade::UpgradeRequest;
use super::super::{CLIENTS, CONTROL, Master, STACKS, now};
use super::ControlSocket;
use crate::command::Command;
use crate::control::{Answer, ControlRequest, Scale, Stack};
use crate::os::stack_dump::Told;
use crate::supervisor::{Event, Moment, Seat};

/// The control socket, and the clients that wait for an answer.
pub(in crate::master) struct ControlRequests {
    pub(in crate::master) socket: ControlSocket,
    /// The time at which the master was started.
    pub(super) born: Moment,
    /// The reason why the last reload failed, until the next one begins.
    pub(in crate::master) failure: Option<String>,
    /// True if that is a fault of the new code.
    pub(in crate::master) blames_code: bool,
    /// Sentences about the last reload that did not fail.
    pub(in crate::master) remarks: Vec<String>,
    reloads: Vec<WaitingForReload>,
    /// The only generation whose workers take new connections, and the time at which the kept ones of the others will
    /// have ended.
    fading: Option<(u64, Moment)>,
    stacks: Vec<WaitingForStacks>,
}

struct WaitingForReload {
    client: usize,
    generation: u64,
    /// True if it waits until that generation serves alone.
    alone: bool,
}

struct WaitingForStacks {
    client: usize,
    until: Moment,
    /// Slot, process, and its text.
    found: Vec<(usize, Pid, Option<String>)>,
    missing: Vec<usize>,
}

/// The progress of a reload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::master) enum ReloadProgress {
    /// Its first worker serves.
    Serves,
    /// No worker of an earlier generation takes requests.
    ServesAlone,
}

impl ControlRequests {
    pub(in crate::master) fn new(socket: ControlSocket, born: Moment) -> ControlRequests {
        ControlRequests {
            socket,
            born,
            failure: None,
            blames_code: false,
            remarks: Vec::new(),
            reloads: Vec::new(),
            fading: None,
            stacks: Vec::new(),
        }
    }

    /// Returns the earliest time at which a wait ends.
    pub(in crate::master) fn wake_at(&self) -> Option<Moment> {
        self.stacks.iter().map(|waiting| waiting.until).chain(self.fading.map(|(_, until)| until)).min()
    }
}

impl Master<'_> {
    /// Creates the control socket's file again at the path where it was opened, even if the settings name another by
    /// now.
    pub(in crate::master) fn renew_control(&mut self) {
        self.requests.socket.renew(self.poll.registry());
    }

    /// Accepts clients and handles their requests.
    pub(in crate::master) fn read_clients(&mut self, tokens: &[Token]) {
        if tokens.contains(&CONTROL) {
            self.requests.socket.accept(self.poll.registry());
        }
        for token in tokens.iter().filter(|token| token.0 >= CLIENTS) {
            let client = token.0 - CLIENTS;
            if let Some(ask) = self.requests.socket.hear(client) {
                self.asked(client, ask);
            }
        }
        for token in tokens.iter().filter(|token| (STACKS..CLIENTS).contains(&token.0)) {
            self.read_stacks(token.0 - STACKS);
        }
        self.answer_late_stacks();
        self.answer_faded();
    }

    fn asked(&mut self, client: usize, ask: ControlRequest) {
        let changes = !matches!(
            ask,
            ControlRequest::Status
                | ControlRequest::Requests
                | ControlRequest::Stack(_)
                | ControlRequest::Stop
                | ControlRequest::Quit
        );
        if changes && self.supervisor.is_leaving() {
            return self.requests.socket.answer(client, &Answer::Refused("the server stops already".to_owned()));
        }
        let answer = match ask {
            ControlRequest::Status => Answer::Status(Box::new(self.status())),
            ControlRequest::Requests => Answer::Requests(self.running()),
            ControlRequest::Stack(slot) => return self.ask_stacks(client, slot),
            ControlRequest::Reload { wait } => return self.reload_for(client, wait),
            ControlRequest::Scale(scale) => self.scale_for(scale),
            ControlRequest::Recycle(slot) => self.recycle(slot),
            ControlRequest::ReopenLogs => self.reopen_for(),
            ControlRequest::Stop => return self.stop_for(client, Command::Stop),
            ControlRequest::Quit => return self.stop_for(client, Command::Quit),
            ControlRequest::Upgrade => {
                let by = CommandSource::Verb(Command::Upgrade.row().name);
                return self.upgrade(UpgradeRequest { by, client: Some(client) });
            }
        };
        self.requests.socket.answer(client, &answer);
    }

    /// Stops the server. The client sees the end of the master by the end of the connection.
    fn stop_for(&mut self, client: usize, command: Command) {
        self.requests.socket.answer(client, &Answer::Begun);
        self.obey(command, CommandSource::Verb(command.row().name));
    }

    fn reload_for(&mut self, client: usize, wait: bool) {
        self.requests.socket.answer(client, &Answer::Begun);
        self.requests.reloads.push(WaitingForReload { client, generation: self.processes.newest + 1, alone: wait });
        self.obey(Command::Reload, CommandSource::Verb(Command::Reload.row().name));
    }

    /// Answers the clients that wait for this progress of a reload.
    pub(in crate::master) fn reload_came_to(&mut self, generation: u64, progress: ReloadProgress) {
        let text = match progress {
            ReloadProgress::Serves => match self.serving_before(generation) {
                0 => format!("the first worker of generation {generation} serves"),
                1 => format!("the first worker of generation {generation} serves, one older one still does"),
                older => format!("the first worker of generation {generation} serves, {older} older ones still do"),
            },
            ReloadProgress::ServesAlone => format!("generation {generation} serves"),
        };
        let is_met = |waiting: &WaitingForReload| !waiting.alone || progress == ReloadProgress::ServesAlone;
        let lines: Vec<String> = std::iter::once(text).chain(self.requests.remarks.iter().cloned()).collect();
        self.settle_reload(generation, is_met, &Answer::Done(lines.join("\n")));
    }

    /// Records that only the workers of this generation take new connections. Requests on kept connections may still be
    /// served by older code.
    pub(in crate::master) fn fades(&mut self, generation: u64) {
        if let Some((earlier, _)) = self.requests.fading.take() {
            self.reload_came_to(earlier, ReloadProgress::ServesAlone);
        }
        let older = self.processes.generations.range(..generation).map(|(_, older)| older.settings.time_to_fade());
        self.requests.fading = Some((generation, now() + older.max().unwrap_or_default() + RETIRE_DELAY));
    }

    fn answer_faded(&mut self) {
        let Some((generation, until)) = self.requests.fading else { return };
        if until <= now() || self.supervisor.seats().all(|seat| seat.generation >= generation) {
            self.requests.fading = None;
            self.reload_came_to(generation, ReloadProgress::ServesAlone);
        }
    }

    /// Returns the number of workers of earlier generations that serve and are to be replaced.
    fn serving_before(&self, generation: u64) -> usize {
        self.supervisor.seats().filter(|seat| seat.generation < generation && serves(seat)).count()
    }

    /// Records that a reload has failed, and answers its client.
    pub(in crate::master) fn reload_failed(&mut self, generation: u64, why: &str) {
        self.requests.failure = Some(why.to_owned());
        self.service_manager.reload_failed(why);
        self.reload_dropped(generation, why);
    }

    /// Answers the client of a reload that was dropped. The answer says what serves now.
    pub(in crate::master) fn reload_dropped(&mut self, generation: u64, why: &str) {
        let number = self.processes.current;
        let rest = match self.serving() {
            0 => format!("nothing has changed: generation {number} stays, and has no worker that serves"),
            1 => format!("nothing has changed: generation {number} serves on with 1 worker"),
            workers => format!("nothing has changed: generation {number} serves on with {workers} workers"),
        };
        let text = format!("{}\n{rest}", why.trim_end());
        let is_unsound = std::mem::take(&mut self.requests.blames_code);
        let answer = if is_unsound { Answer::Unsound(text) } else { Answer::Failed(text) };
        self.settle_reload(generation, |_| true, &answer);
    }

    /// Returns the number of workers that serve, including those to be replaced.
    pub(in crate::master) fn serving(&self) -> usize {
        self.supervisor.seats().filter(serves).count()
    }

    fn settle_reload(&mut self, generation: u64, is_met: impl Fn(&WaitingForReload) -> bool, answer: &Answer) {
        let (settled, waiting) =
            self.requests.reloads.drain(..).partition(|waiting| waiting.generation == generation && is_met(waiting));
        self.requests.reloads = waiting;
        for WaitingForReload { client, .. } in settled {
            self.requests.socket.answer(client, answer);
        }
    }

    fn scale_for(&mut self, scale: Scale) -> Answer {
        match self.scale(CommandSource::Verb(Command::Scale.row().name), scale) {
            Ok(1) => Answer::Done("1 worker wanted".to_owned()),
            Ok(workers) => Answer::Done(format!("{workers} workers wanted")),
            Err(why) => Answer::Refused(why),
        }
    }

    fn recycle(&mut self, slot: Option<usize>) -> Answer {
        let mut ready = self.processes.workers.unspent();
        ready.retain(|(ready, _)| slot.is_none_or(|slot| slot == *ready));
        if let Some(slot) = slot.filter(|_| ready.is_empty()) {
            return self.no_such_worker(slot, "a worker that is ready", |seat| seat.state == "ready");
        }
        for (slot, pid) in &ready {
            tracing::info!(slot, pid = pid.as_raw(), "worker will be replaced: rwsgi recycle");
            self.processes.workers.note_spent(*slot);
            self.tell(&Event::Spent(*slot));
        }
        Answer::Done(format!("workers that will be replaced: {}", ready.len()))
    }

    fn no_such_worker(&self, slot: usize, expected: &str, is_one: impl Fn(&Seat) -> bool) -> Answer {
        let slots: Vec<String> = self.supervisor.seats().filter(is_one).map(|seat| seat.slot.to_string()).collect();
        let hint =
            if slots.is_empty() { "there is none".to_owned() } else { format!("there are {}", slots.join(", ")) };
        Answer::Refused(format!("slot {slot}: expected {expected}, found none\nhint: {hint}"))
    }

    fn reopen_for(&mut self) -> Answer {
        match self.reopen(CommandSource::Verb(Command::Reopen.row().name)) {
            Ok(()) => Answer::Done("log files reopened".to_owned()),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    // Stacks.

    fn ask_stacks(&mut self, client: usize, slot: Option<usize>) {
        let asked: Vec<(usize, Pid)> = self
            .processes
            .workers
            .known()
            .into_iter()
            .filter(|(known, _)| slot.is_none_or(|slot| slot == *known))
            .collect();
        if let Some(slot) = slot.filter(|_| asked.is_empty()) {
            let refused = self.no_such_worker(slot, "a worker", |seat| seat.pid.is_some());
            return self.requests.socket.answer(client, &refused);
        }
        let missing: Vec<usize> = asked.iter().map(|(slot, _)| *slot).collect();
        for (slot, pid) in &asked {
            // A worker that was asked already answers all clients.
            if self.requests.stacks.iter().any(|waiting| waiting.missing.contains(slot)) {
                continue;
            }
            let registry = self.poll.registry();
            if let Some(stacks) = self.processes.workers.stacks(*slot) {
                let source = stacks.as_raw_fd();
                let _ = registry.register(&mut SourceFd(&source), Token(STACKS + slot), mio::Interest::READABLE);
                stacks.ask(*pid);
            }
        }
        let found = asked.into_iter().map(|(slot, pid)| (slot, pid, None)).collect();
        self.requests.stacks.push(WaitingForStacks { client, until: now() + STACK_TIMEOUT, found, missing });
        self.answer_late_stacks();
    }

    fn read_stacks(&mut self, slot: usize) {
        let Some(stacks) = self.processes.workers.stacks(slot) else { return };
        let text = match stacks.look() {
            Told::Nothing => return,
            Told::All(text) => Some(text),
            Told::Gone => None,
        };
        let source = stacks.as_raw_fd();
        let _ = self.poll.registry().deregister(&mut SourceFd(&source));
        for waiting in &mut self.requests.stacks {
            waiting.missing.retain(|missing| *missing != slot);
            for (_, _, found) in waiting.found.iter_mut().filter(|(found, _, _)| *found == slot) {
                found.clone_from(&text);
            }
        }
    }

    /// Answers the clients that have all stacks, or whose wait for a stopped worker is over.
    fn answer_late_stacks(&mut self) {
        let now = now();
        let (answered, waiting) =
            self.requests.stacks.drain(..).partition(|waiting| waiting.missing.is_empty() || waiting.until <= now);
        self.requests.stacks = waiting;
        for WaitingForStacks { client, found, .. } in answered {
            let stack = |(slot, pid, text): (usize, Pid, Option<String>)| Stack {
                slot,
                pid: pid.as_raw(),
                text,
                threads: self.threads_of(slot, pid),
            };
            let stacks = found.into_iter().map(stack).collect();
            self.requests.socket.answer(client, &Answer::Stacks(stacks));
        }
    }
}

fn serves(seat: &Seat) -> bool {
    ["ready", "spent"].contains(&seat.state)
}

/// The time to wait for stacks. A worker writes them within milliseconds, or is stopped.
const STACK_TIMEOUT: Duration = Duration::from_secs(2);

/// The time in which a worker receives its message, and the last of its clients reads the end.
const RETIRE_DELAY: Duration = Duration::from_millis(250);
