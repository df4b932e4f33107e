//! The master: one loop that waits for events, tells the supervisor and carries out its actions. It owns the sockets
//! and the signals, runs no Python and handles no request.

mod binding;
mod certificates;
mod command_source;
mod configuration;
mod control;
mod generation;
mod hook_process;
mod hooks;
mod leftovers;
mod load;
mod log_files;
mod log_lines;
mod log_targets;
mod messages;
mod metrics;
mod processes;
mod reload;
mod restart_only;
mod shutdown;
mod signals;
mod sockets;
mod startup;
mod systemd;
mod upgrade;
mod watchdog;
mod workers;
mod zygote;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use configuration::{PythonFile, PythonLate, evaluate};
pub use startup::Launch;
pub use zygote::{ROLE, run as become_zygote};

use crate::command;
use crate::log::{self, CRITICAL};
use crate::message::ToWorker;
use crate::os::clock;
use crate::os::pidfile::PidFile;
use crate::os::program::Program;
use crate::os::signal::{self, Signals};
use crate::os::{process, proctitle};
use crate::settings::{Defined, Settings};
use crate::supervisor::{Action, Event, Moment, Standing, Supervisor, Why};
use binding::WaitingForPort;
use control::ControlSocket;
use control::requests::ControlRequests;
use generation::Generation;
use hooks::Hooks;
use load::Measurements;
use log_files::LogFiles;
use log_targets::Lookups;
use processes::Processes;
use restart_only::RestartOnly;
use startup::Startup;
use systemd::ServiceManager;
use upgrade::{OLD_MASTER, OtherMaster, Succession};

/// An error that prevents a start, as a sentence for people.
pub type AnyError = Box<dyn std::error::Error>;

/// The source of each setting, by its name, as an error message gives it: `rwsgi.toml:3: chdir`.
#[derive(Clone, Debug, Default)]
pub struct Origins(pub BTreeMap<&'static str, String>);

impl Origins {
    /// Returns the problem with its source before it.
    fn blame(&self, name: &str, problem: &dyn fmt::Display) -> AnyError {
        let origin = self.0.get(name).map_or(name, String::as_str);
        format!("{origin}: {problem}").into()
    }
}

/// One reading of the settings.
#[derive(Clone, Debug)]
pub struct ResolvedSettings {
    /// All settings, resolved.
    pub settings: Settings,
    /// Their sources.
    pub origins: Origins,
    /// A file that the application's user must not be able to change, with the source that names it: the configuration, if
    /// it is in TOML and can be read again, or variables of a process that runs a configuration in Python.
    pub file: Option<(String, PathBuf)>,
}

/// Reads the settings, with the definitions of a Python file.
pub type ReadSettings<'a> = dyn Fn(Option<&Defined>) -> Result<ResolvedSettings, AnyError> + 'a;

/// Serves until it is told to stop, and returns the exit code of the process. An error is one of the surroundings:
/// nothing was started.
pub fn run(launch: Launch<'_>) -> Result<i32, AnyError> {
    // The mask is inherited: with SIGCHLD blocked the end of no process would be noticed.
    signal::release()?;
    // A log that has reached the limit of its size (RLIMIT_FSIZE) is an error of its write.
    signal::disregard(&[Signal::SIGXFSZ])?;
    process::become_subreaper()?;
    let mut master = Master::new(launch)?;
    let code = master.serve();
    master.close(code);
    log::report_lost();
    Ok(code)
}

/// The master.
struct Master<'a> {
    startup: Startup<'a>,
    poll: Poll,
    signals: Signals,
    supervisor: Supervisor,
    processes: Processes,
    requests: ControlRequests,
    service_manager: ServiceManager,
    succession: Succession,
    measurements: Measurements,
    lookups: Lookups,
    /// The time since which the server stops.
    stops_since: Option<Moment>,
    waiting_for_port: Option<WaitingForPort>,
    /// The exit code, once the master is to end.
    finish: Option<i32>,
}

impl<'a> Master<'a> {
    fn new(launch: Launch<'a>) -> Result<Master<'a>, AnyError> {
        let Launch { file, read, arguments, command_line, predecessor, engine, .. } = launch;
        let Launch { announcer, addressed, check, directory, background, directories, .. } = launch;
        let program = Program::open(engine)?;
        let mut first = first_generation(&program, file.as_ref(), read, &arguments, check)?;
        log::mirror(first.is_logged_by_python() && !check);
        let poll = Poll::new()?;
        let lookups = Lookups::of_first(&mut first, check, poll.registry())?;
        let other = OtherMaster::of(predecessor.as_ref(), addressed, &poll)?;
        let pidfile = pidfile(&first, &other, check)?;
        let inherited = predecessor.filter(|_| other.is_there());
        let inherited = inherited.map(|old| sockets::inherited(&old, &first.settings, &first.identity));
        first.limit_files()?;
        proctitle::set(&format!("rwsgi: master [{}]", first.settings.title()));
        let signals = catch_signals(&poll)?;
        let control = control(check, &other, &first, &poll, &directories)
            .inspect_err(|_| pidfile.iter().for_each(PidFile::remove))?;
        let restart_only = RestartOnly::of(&first.settings);
        Ok(Master {
            startup: Startup {
                read,
                file,
                arguments,
                command_line,
                check,
                directory,
                background,
                program,
                restart_only,
                directories,
            },
            poll,
            signals,
            supervisor: Supervisor::new(FIRST, first.plan()),
            processes: Processes::new(first, inherited.unwrap_or_default(), now()),
            requests: ControlRequests::new(control, now()),
            service_manager: ServiceManager::new(announcer, other.is_successor()),
            succession: Succession { other, pending: None, pidfile },
            measurements: Measurements::new(now()),
            lookups,
            stops_since: None,
            waiting_for_port: None,
            finish: None,
        })
    }

    fn serve(&mut self) -> i32 {
        let mut events = Events::with_capacity(64);
        self.tell(&Event::Tick);
        loop {
            let standing = self.standing();
            self.service_manager.look(standing, now());
            if matches!(standing, Standing::Serving { .. }) {
                self.leave_terminal();
            }
            if let Some(code) = self.finish {
                return code;
            }
            let limit = self.sleep_limit();
            match self.poll.poll(&mut events, limit) {
                Ok(()) => {}
                // The poll also ends early when the process was stopped and continues.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => {
                    tracing::error!(target: CRITICAL, %error, "waiting for events");
                    return EXIT_SETUP;
                }
            }
            let tokens: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            self.turn(&tokens);
        }
    }

    fn sleep_limit(&mut self) -> Option<Duration> {
        let now = now();
        let wakes = [
            self.supervisor.wake_at(now),
            self.measurements.watchdog.next_look(self.settings()),
            self.next_load(now),
            self.beat(now),
            self.service_manager.wake_at(),
            self.requests.wake_at(),
            self.processes.evaluation.as_ref().and_then(configuration::Evaluation::until),
            self.next_backlog(),
            self.processes.leftovers.wake_at(),
            self.waiting_for_port.as_ref().map(WaitingForPort::at),
        ];
        let limit = wakes.into_iter().flatten().min().map(|at| at.saturating_sub(now) + ROUND_UP);
        self.measurements.watchdog.sleeps(now, limit);
        limit
    }

    /// Returns the time of the next wake-up while there are deadlines: often enough to notice that the master itself
    /// was held up.
    fn beat(&self, now: Moment) -> Option<Moment> {
        self.supervisor.is_timing().then_some(now + BEAT)
    }

    /// Handles the events of one wake-up. Messages come before exits: a message of a process counts although it has
    /// died since.
    fn turn(&mut self, tokens: &[Token]) {
        let gap = self.measurements.watchdog.wakes(now());
        self.log_gap(gap);
        if tokens.contains(&OLD_MASTER) {
            self.take_over();
        }
        for token in tokens.iter().filter(|token| (ZYGOTES..STACKS).contains(&token.0)) {
            self.read_zygote((token.0 - ZYGOTES) as u64);
        }
        for token in tokens.iter().filter(|token| (WORKERS..ZYGOTES).contains(&token.0)) {
            self.read_worker(token.0 - WORKERS);
        }
        if tokens.contains(&SIGNALS) {
            self.obey_signals();
        }
        self.take_looked_up();
        self.read_clients(tokens);
        for (slot, busy) in self.processes.workers.look(&self.processes.generations) {
            self.tell(&Event::Seen(slot, busy));
        }
        self.look_at_load();
        self.look_at_memory();
        self.end_late_evaluation();
        self.look_at_leftovers(now());
        self.bind_again();
        self.tell(&Event::Tick);
        self.processes.forget_generations(self.supervisor.tried(), !self.succession.other.is_there());
        self.tell_statsd();
        self.pass_lines();
        let gap = self.measurements.watchdog.rests(now());
        self.log_gap(gap);
    }

    fn log_gap(&mut self, gap: Option<Duration>) {
        let Some(gap) = gap else { return };
        tracing::warn!(?gap, "the master was held up, deadlines move by as much");
        self.tell(&Event::Late(gap));
    }

    /// Tells the supervisor an event and carries out its actions.
    fn tell(&mut self, event: &Event) {
        if let Event::Spent(slot) = *event {
            self.processes.note_leaving(slot);
        }
        for action in self.supervisor.on(event, now()) {
            self.act(&action);
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::StartZygote(generation) => self.start_zygote(generation),
            Action::TraceZygote(generation) => self.trace_zygote(generation),
            Action::RetireZygote(generation) => self.retire_zygote(generation),
            Action::EndZygote(generation) => self.end_zygote(generation),
            Action::KillZygote(generation) => self.kill_zygote(generation),
            Action::Fork(slot, generation) => self.fork(slot, generation),
            Action::Retire(slot, pid) => self.retire(slot, pid),
            // Another master continues to serve.
            Action::Finish(slot, pid) if self.succession.other.is_there() => self.retire(slot, pid),
            Action::Finish(slot, pid) => {
                tracing::debug!(slot, pid, "worker asked to finish");
                self.order(slot, pid, &ToWorker::Finish, Signal::SIGTERM);
            }
            Action::Quit(slot, pid) => {
                tracing::debug!(slot, pid, "worker asked to end");
                self.order(slot, pid, &ToWorker::Quit, Signal::SIGQUIT);
            }
            Action::Trace(slot, pid, why) => self.trace(slot, pid, why),
            Action::Kill(slot, pid, why) => {
                log_lines::kill(slot, pid, why);
                self.signal(slot, pid, Signal::SIGKILL);
            }
            Action::Outlived(slot, pid) => {
                tracing::info!(slot, pid, "worker has lived for max_worker_lifetime, it will be replaced");
                self.processes.note_leaving(slot);
            }
            Action::Scaled { old, new } => self.scaled(old, new),
            Action::BackOff(delay) => tracing::warn!(
                wait = ?delay,
                "starts are held back\nhint: workers die soon after their start; the next one is started after this time"
            ),
            Action::Promote(generation) => self.promote(generation),
            Action::GiveUp(generation, cause) => self.give_up(generation, cause),
            Action::Reloaded(generation) => self.reloaded(generation),
            Action::CloseListeners => {
                self.stops_since.get_or_insert_with(now);
                self.release_sockets(|_| true);
            }
            Action::End(code) => self.finish = Some(code),
        }
    }

    fn trace(&self, slot: usize, pid: i32, why: Why) {
        let generation = self.processes.generation_of(slot);
        if let Some(generation) = generation {
            let oldest = generation.oldest_request(slot);
            let state = generation
                .late_request(slot, now())
                .or(oldest)
                .filter(|thread| thread.busy_since().is_some() || !self.processes.workers.is_stopped(slot));
            log_lines::stuck(slot, pid, why, state.as_ref(), &generation.settings);
        }
        process::trace(Pid::from_raw(pid));
    }

    /// Returns the settings of the generation in charge.
    fn settings(&self) -> &Settings {
        self.processes.settings()
    }
}

/// Writes the pid file; a check only tests whether that would work.
fn pidfile(first: &Generation, other: &OtherMaster, check: bool) -> Result<Option<PidFile>, AnyError> {
    if check {
        log_files::check_pidfile(&first.settings, &first.origins)?;
        return Ok(None);
    }
    other.write_pidfile(first).map_err(|error| first.origins.blame("pidfile", &error))
}

/// Opens the generation of the first reading of the settings.
fn first_generation(
    program: &Program,
    file: Option<&PythonFile>,
    read: &ReadSettings<'_>,
    arguments: &[String],
    check: bool,
) -> Result<Generation, AnyError> {
    let evaluated = file.map(|file| configuration::configured(program, file, arguments)).transpose()?;
    let (zygote, defined) = evaluated.unzip();
    let open = if check { LogFiles::check } else { LogFiles::open };
    let reading = read(defined.as_ref()).inspect_err(|_| zygote.iter().for_each(configuration::discard))?;
    let mut first = Generation::new(FIRST, reading, |settings, origins, identity| {
        let log_files = open(settings, origins, identity)?;
        log_files.take(settings)?;
        Ok(log_files)
    })?;
    first.take_hooks(defined.as_ref())?;
    first.zygote = zygote;
    Ok(first)
}

/// Opens the control socket; an old master keeps it until it ends.
fn control(
    check: bool,
    other: &OtherMaster,
    first: &Generation,
    poll: &Poll,
    directories: &[PathBuf],
) -> Result<ControlSocket, AnyError> {
    if check {
        ControlSocket::check(&first.settings, &first.origins)
    } else if other.is_successor() {
        Ok(ControlSocket::default())
    } else {
        ControlSocket::open(&first.settings, &first.origins, poll.registry(), directories)
    }
}

fn catch_signals(poll: &Poll) -> io::Result<Signals> {
    let resize = [Signal::SIGWINCH];
    let caught = command::signals().filter(|signal| *signal != libc::SIGWINCH).chain([libc::SIGCHLD]);
    let signals = Signals::register(&caught.collect::<Vec<_>>(), &resize)?;
    poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
    Ok(signals)
}

fn now() -> Moment {
    Duration::from_nanos(clock::monotonic())
}

/// The number of the first generation.
const FIRST: u64 = 1;
const SIGNALS: Token = Token(0);
/// Tokens from here on are workers, by slot.
const WORKERS: usize = 2;
/// Tokens from here on are zygotes, by generation.
const ZYGOTES: usize = 1 << 32;
/// Tokens from here on are the stacks of workers, by slot.
const STACKS: usize = 1 << 48;
/// Tokens from here on are clients of the control socket.
const CLIENTS: usize = 1 << 56;
const CONTROL: Token = Token(CLIENTS - 1);
/// gunicorn's code for a configuration that cannot be served.
const EXIT_SETUP: i32 = 1;
/// The interval of wake-ups while there are deadlines.
const BEAT: Duration = Duration::from_secs(1);
/// epoll counts milliseconds: waking late by less than one saves a second wake-up.
const ROUND_UP: Duration = Duration::from_millis(1);
