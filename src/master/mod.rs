//! The master: one loop that waits, asks the supervisor, and does. It holds the sockets and the signals, runs no Python
//! and does not know a request.

mod conversation;
mod logs;
mod pool;
mod report;
mod service;
mod sockets;
mod zygote;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use zygote::{ROLE, run as become_zygote};

use crate::command::{self, Command};
use crate::log::CRITICAL;
use crate::os::announce::Announcer;
use crate::os::clock;
use crate::os::listener::Listener;
use crate::os::pidfile::PidFile;
use crate::os::process::{self, Exit, Identity, IdentityError};
use crate::os::program::Program;
use crate::os::scoreboard::Scoreboard;
use crate::os::signal::Signals;
use crate::settings::{Settings, Workers};
use crate::supervisor::{Action, Event, Moment, Plan, Standing, Stop, Supervisor};
use logs::Files;
use pool::Pool;
use service::Service;
use zygote::Zygote;

/// Something that keeps a server from starting, in words for a person.
pub type AnyError = Box<dyn std::error::Error>;

/// Where settings come from, by name, as a problem with one calls it: `rwsgi.toml:3: chdir`.
#[derive(Clone, Debug, Default)]
pub struct Origins(pub BTreeMap<&'static str, String>);

impl Origins {
    /// The problem, with where it is to be mended before it.
    fn blame(&self, name: &str, problem: &dyn fmt::Display) -> AnyError {
        let origin = self.0.get(name).map_or(name, String::as_str);
        format!("{origin}: {problem}").into()
    }
}

/// What a master starts from.
pub struct Launch<'a> {
    /// All settings, resolved.
    pub settings: Settings,
    /// Where they come from.
    pub origins: Origins,
    /// The words of the command line, for the application's `sys.argv`.
    pub arguments: Vec<String>,
    /// The engine inside the executable, if it holds one.
    pub engine: &'a [u8],
    /// The service manager, if one has started this process.
    pub announcer: Announcer,
    /// Load the application and say whether that works, serve nothing.
    pub check: bool,
}

/// Serves until told to stop, and says with which code the process is to end. An error is one of the surroundings:
/// nothing was started.
pub fn run(launch: Launch<'_>) -> Result<i32, AnyError> {
    let mut master = Master::new(launch)?;
    let code = master.serve();
    master.close(code);
    Ok(code)
}

struct Master {
    settings: Settings,
    arguments: Vec<String>,
    check: bool,
    program: Program,
    identity: Identity,
    poll: Poll,
    signals: Signals,
    supervisor: Supervisor,
    scoreboard: Scoreboard,
    scoreboard_file: OwnedFd,
    error_log: Option<OwnedFd>,
    access_log: Option<OwnedFd>,
    pidfile: Option<PidFile>,
    service: Service,
    listeners: Vec<Listener>,
    zygote: Option<Zygote>,
    generations: u64,
    pool: Pool,
    finish: Option<i32>,
}

impl Master {
    fn new(launch: Launch<'_>) -> Result<Master, AnyError> {
        let Launch { mut settings, origins, arguments, engine, announcer, check } = launch;
        let workers = if check { 0 } else { settings.workers.number(process::usable_cpus()) };
        settings.workers = Workers::Count(u32::try_from(workers).unwrap_or(u32::MAX));
        settings.app()?;
        sockets::check_directories(&settings, &origins)?;
        let identity = look_up(&settings, &origins)?;
        let program = Program::open(engine)?;
        let Files { error_log, access_log, pidfile } =
            if check { Files::check(&settings, &origins)? } else { Files::open(&settings, &origins)? };
        process::become_subreaper()?;
        process::raise_file_limit();
        process::set_title(&format!("rwsgi: master [{}]", settings.title()));
        let signals = Signals::register(&command::signals().chain([libc::SIGCHLD]).collect::<Vec<_>>())?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        let slots = Supervisor::slots_for(workers);
        let (scoreboard, scoreboard_file) = Scoreboard::create(slots)?;
        let supervisor = Supervisor::new(Plan {
            workers,
            timeout: settings.timeout.limit(),
            graceful_timeout: settings.graceful_timeout.duration(),
            shutdown_delay: settings.shutdown_delay.duration(),
            boot_timeout: settings.boot_timeout.limit().unwrap_or(FOR_EVER),
        });
        Ok(Master {
            arguments,
            check,
            program,
            identity,
            poll,
            signals,
            supervisor,
            scoreboard,
            scoreboard_file,
            error_log,
            access_log,
            pidfile,
            service: Service::new(announcer),
            listeners: Vec::new(),
            zygote: None,
            generations: 0,
            pool: Pool::new(slots, settings.max_requests, settings.max_requests_jitter),
            finish: None,
            settings,
        })
    }

    fn serve(&mut self) -> i32 {
        let mut events = Events::with_capacity(64);
        self.tell(&Event::Tick);
        loop {
            let now = now();
            self.service.look(self.supervisor.standing(), now);
            if let Some(code) = self.finish {
                return code;
            }
            let wake_at = self.supervisor.wake_at(now).into_iter().chain(self.service.wake_at()).min();
            let limit = wake_at.map(|at| at.saturating_sub(now) + ROUND_UP);
            match self.poll.poll(&mut events, limit) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(target: CRITICAL, %error, "waiting for events");
                    return EXIT_SETUP;
                }
            }
            let tokens: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            self.turn(&tokens);
        }
    }

    /// Messages before exits: what a process said before it died counts.
    fn turn(&mut self, tokens: &[Token]) {
        if tokens.contains(&ZYGOTE) {
            self.hear_zygote();
        }
        for token in tokens.iter().filter(|token| token.0 >= WORKERS) {
            self.hear_worker(token.0 - WORKERS);
        }
        if tokens.contains(&SIGNALS) {
            self.obey_signals();
        }
        for (slot, busy) in self.pool.look(&self.scoreboard) {
            self.tell(&Event::Seen(slot, busy));
        }
        self.tell(&Event::Tick);
    }

    /// Tells the supervisor and does what it says.
    fn tell(&mut self, event: &Event) {
        for action in self.supervisor.on(event, now()) {
            self.act(&action);
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::StartZygote => self.start_zygote(),
            Action::TraceZygote => {
                if let Some(Zygote { pid, .. }) = &self.zygote {
                    tracing::error!(
                        target: CRITICAL, pid = pid.as_raw(), boot_timeout = %self.settings.boot_timeout,
                        "zygote not ready in time, it is killed"
                    );
                    process::trace(*pid);
                }
            }
            Action::KillZygote => {
                if let Some(zygote) = &self.zygote {
                    let _ = process::signal(zygote.pid, Signal::SIGKILL);
                }
            }
            Action::Fork(slot) => self.fork(slot),
            Action::Retire(slot, pid) => {
                tracing::debug!(slot, pid, "worker asked to finish");
                self.end(slot, pid, Signal::SIGTERM);
            }
            Action::Quit(slot, pid) => {
                tracing::debug!(slot, pid, "worker asked to end");
                self.end(slot, pid, Signal::SIGQUIT);
            }
            Action::Trace(slot, pid, why) => {
                report::stuck(slot, pid, why, self.scoreboard.slot(slot).as_ref(), &self.settings);
                process::trace(Pid::from_raw(pid));
            }
            Action::Kill(slot, pid, why) => {
                report::kill(slot, pid, why);
                self.end(slot, pid, Signal::SIGKILL);
            }
            Action::BackOff(delay) => tracing::warn!(wait = ?delay, "starts are held back"),
            Action::CloseListeners => self.close_listeners(),
            Action::Finish(code) => self.finish = Some(code),
        }
    }

    fn end(&mut self, slot: usize, pid: i32, signal: Signal) {
        self.pool.expect_end(slot);
        if let Err(error) = process::signal(Pid::from_raw(pid), signal) {
            tracing::error!(slot, pid, signal = signal.as_str(), %error, "worker not signalled");
        }
    }

    fn start_zygote(&mut self) {
        self.generations += 1;
        let started = zygote::start(&self.program, &self.settings).and_then(|zygote| {
            let fd = zygote.channel.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), ZYGOTE, Interest::READABLE)?;
            Ok(zygote)
        });
        match started {
            Ok(zygote) => self.zygote = Some(zygote),
            Err(error) => {
                tracing::error!(target: CRITICAL, %error, "zygote not started");
                self.tell(&Event::ZygoteGone);
            }
        }
    }

    fn fork(&mut self, slot: usize) {
        let Some(zygote) = &self.zygote else { return };
        let asked = self.pool.ask(slot, zygote).and_then(|fd| {
            self.poll.registry().register(&mut SourceFd(&fd), Token(WORKERS + slot), Interest::READABLE)
        });
        if let Err(error) = asked {
            tracing::error!(slot, %error, "worker not forked");
            self.pool.forget(slot);
            self.tell(&Event::ForkFailed(slot));
        }
    }

    fn obey_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match Command::by_signal(signal) {
                Some(Command::Stop) => self.stop(signal, Stop::Graceful),
                Some(Command::Quit) => self.stop(signal, Stop::Quick),
                Some(other) => {
                    let signal = command::signal_name(signal).unwrap_or_default();
                    tracing::warn!(signal, command = other.row().name, "not there yet, nothing is done");
                }
                None => {}
            }
        }
        while let Some((pid, exit)) = process::reap() {
            self.reaped(pid, exit);
        }
    }

    fn stop(&mut self, signal: i32, stop: Stop) {
        let signal = command::signal_name(signal).unwrap_or_default();
        tracing::info!(signal, graceful = stop == Stop::Graceful, "stopping");
        if self.check {
            self.finish = Some(EXIT_SETUP);
        }
        self.tell(&Event::Stop(stop));
        if self.supervisor.standing() == Standing::Leaving {
            tracing::info!(shutdown_delay = %self.settings.shutdown_delay, "requests are served until the stop begins");
        }
    }

    fn reaped(&mut self, pid: Pid, exit: Exit) {
        if self.zygote.as_ref().is_some_and(|zygote| zygote.pid == pid) {
            self.hear_zygote();
            self.zygote_closed();
            self.zygote = None;
            if self.finish.is_none() && !self.supervisor.is_stopping() {
                tracing::error!(pid = pid.as_raw(), by = %exit, "zygote ended");
            }
            self.tell(&Event::ZygoteGone);
        } else if let Some(slot) = self.pool.slot_of(pid) {
            self.hear_worker(slot);
            self.worker_exited(slot, exit);
        } else {
            // A worker that has not been heard yet, or an orphan of the application.
            self.pool.keep_exit(pid, exit);
        }
    }

    fn worker_exited(&mut self, slot: usize, exit: Exit) {
        if let Some(fd) = self.pool.channel(slot) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        report::exit(slot, self.pool.forget(slot), exit);
        self.tell(&Event::Exited(slot));
    }

    fn close_listeners(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.unlink();
        }
    }

    /// The end: the zygote is told by its channel's end, given a moment for what the application does at exit, and
    /// killed.
    fn close(&mut self, code: i32) {
        self.close_listeners();
        if let Some(Zygote { pid, channel, .. }) = self.zygote.take() {
            drop(channel);
            let end = now() + ZYGOTE_END;
            while process::is_child(pid) && !self.has_ended(pid) && now() < end {
                let mut events = Events::with_capacity(8);
                let _ = self.poll.poll(&mut events, Some(ROUND_UP * 10));
            }
            let _ = process::signal(pid, Signal::SIGKILL);
        }
        if let Some(pidfile) = &self.pidfile {
            pidfile.remove();
        }
        if !self.check {
            tracing::info!(code, "stopped");
        }
    }

    fn has_ended(&mut self, zygote: Pid) -> bool {
        while self.signals.next().is_some() {}
        std::iter::from_fn(process::reap).any(|(pid, _)| pid == zygote)
    }
}

fn look_up(settings: &Settings, origins: &Origins) -> Result<Identity, AnyError> {
    Identity::look_up(settings.user.as_deref(), settings.group.as_deref()).map_err(|error| match error {
        IdentityError::NoUser(_) => origins.blame("user", &error),
        IdentityError::NoGroup(_) => origins.blame("group", &error),
        other => other.into(),
    })
}

fn now() -> Moment {
    Duration::from_nanos(clock::monotonic())
}

const SIGNALS: Token = Token(0);
const ZYGOTE: Token = Token(1);
/// Tokens from here on are workers, by slot.
const WORKERS: usize = 2;
/// gunicorn's code for a configuration that cannot be served.
const EXIT_SETUP: i32 = 1;
/// A limit that is none: a hundred years.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// What the zygote may take for atexit handlers.
const ZYGOTE_END: Duration = Duration::from_secs(1);
/// epoll counts milliseconds: a deadline is met late rather than looked at twice.
const ROUND_UP: Duration = Duration::from_millis(1);
