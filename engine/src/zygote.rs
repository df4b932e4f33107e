//! The zygote: the process that holds Python, serves nothing, and forks workers on the master's word. One thread.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;

use rwsgi::log;
use rwsgi::message::{
    BUILD_ID, BootCause, BootFailure, Fork, FromZygote, Note, Remotes, Reopen, Start, Streams, ToZygote,
};
use rwsgi::os::channel::{Channel, Received};
use rwsgi::os::limits;
use rwsgi::os::listener::Listener;
use rwsgi::os::memfd;
use rwsgi::os::process::{self, Side};
use rwsgi::os::proctitle;
use rwsgi::os::scoreboard::Scoreboard;
use rwsgi::os::signal::{self, Signals};
use rwsgi::os::stack_dump;
use rwsgi::settings::{Settings, TlsTerms};
use rwsgi::tls::{Identity, Material};
use rwsgi::worker::HandoffEnds;

use crate::config_file::Conf;
use crate::guard::{Guard, drop_rights, keep_rights};
use crate::hooks::Hooks;
use crate::loggers::Loggers;
use crate::request_timeout;
use crate::{app, config_file, hook_process, python, warmup, worker as worker_process};

/// What the zygote was handed, and hands on to each worker by forking.
pub(crate) struct Inheritance {
    pub(crate) start: Start,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) scoreboard: Scoreboard,
    /// What connections are encrypted with, if they are. One for all workers, so that each can resume the others' sessions.
    pub(crate) tls: Option<Identity>,
    /// By which workers hand connections to each other.
    pub(crate) handoff: HandoffEnds,
    /// Another one when the logs were opened anew.
    pub(crate) access_log: Mutex<Option<OwnedFd>>,
    /// Where `wsgi.errors` and faulthandler write.
    pub(crate) error_fd: i32,
    /// The configuration file, if it is in Python.
    pub(crate) conf: Option<Conf>,
    /// The loggers that Python's code finds.
    pub(crate) loggers: Option<Loggers>,
    /// The hooks of that file, if it has any.
    pub(crate) hooks: Option<Hooks>,
    /// What came for them.
    pub(crate) for_hooks: ForHooks,
    /// The application, if it is preloaded.
    pub(crate) application: Option<Py<PyAny>>,
}

/// What the hooks of a configuration file need of the master.
#[derive(Default)]
pub(crate) struct ForHooks {
    /// Where they keep what they put on `server`.
    memory: Option<OwnedFd>,
    /// Where those of the generation before did.
    memory_before: Option<OwnedFd>,
    /// The hook process's end of its channel, if one is to be started.
    hook_process: Option<Channel>,
}

/// Takes over the interpreter's main thread.
pub(crate) fn main(py: Python<'_>, channel: i32, mode: &str) -> ! {
    // SAFETY: the bootstrap says that the descriptor is the channel, which nobody else in this process knows.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(channel) });
    if let Err(failure) = serve(py, &channel, mode) {
        let _ = channel.say(&FromZygote::Failed(failure.bounded()), &[]);
    }
    python::flush_standard(py);
    process::exit_now(0)
}

/// Returns when the master is gone, or wants no more of this zygote.
fn serve(py: Python<'_>, channel: &Channel, mode: &str) -> Result<(), BootFailure> {
    close_on_exec(channel);
    let Some((mut inheritance, guard)) = begin(py, channel)? else {
        return Ok(());
    };
    tracing::debug!(mode, build = BUILD_ID, "zygote starts");
    let signals = boot(py, &mut inheritance, guard, channel)?;
    channel.say(&FromZygote::Ready, &[]).map_err(|error| BootFailure::setup(&error))?;
    if inheritance.start.check {
        return Ok(());
    }
    let (mut warned, mut has_forked) = (false, false);
    while let Some((message, mut fds)) = py.detach(|| hear_between(channel, &signals))? {
        match message {
            ToZygote::Fork(fork) => {
                let (Some(stacks), Some(worker_end)) = (fds.pop(), fds.pop()) else { continue };
                warn_of_threads(py, &mut warned);
                let asked = inheritance.hooks.as_ref().map_or(Ok(()), |hooks| hooks.fork(py, fork));
                if let Err(failure) = asked {
                    not_forked(channel, fork, failure, has_forked);
                    if has_forked {
                        continue;
                    }
                    return Ok(());
                }
                match fork_away(py) {
                    Ok(Side::Caller(pid)) => {
                        has_forked = true;
                        inheritance.hooks.iter().for_each(|hooks| hooks.started(py, pid.as_raw()));
                    }
                    Ok(Side::New) => {
                        python::write_stacks_to(py, stacks);
                        worker_process::main(py, inheritance, fork, channel, Channel::from_fd(worker_end))
                    }
                    Err(error) => fork_failed(channel, fork, &error),
                }
            }
            ToZygote::Reopen(reopen) => inheritance.reopen(py, reopen, fds),
            ToZygote::Connect(remotes) => connect(&remotes),
            ToZygote::Note(note) => inheritance.note(py, note, channel)?,
            ToZygote::Load(_) | ToZygote::Configure(_) | ToZygote::Start(_) => {}
        }
    }
    Ok(())
}

/// Does what comes before the first fork: the server's own hooks with the master's rights, if it has any, and all else with
/// those of the application.
fn boot(
    py: Python<'_>,
    inheritance: &mut Inheritance,
    guard: Option<Guard>,
    channel: &Channel,
) -> Result<Signals, BootFailure> {
    let guard = keep_rights(py, inheritance, guard)?;
    let signals = prepare(py, inheritance).map_err(|error| BootFailure::setup(&error))?;
    inheritance.loggers = Some(Loggers::new(py, inheritance.conf.as_ref(), &inheritance.start)?);
    inheritance.hooks = hooks(py, inheritance, channel)?;
    let was_guarded = guard.is_some();
    drop_rights(py, &inheritance.start, guard)?;
    if was_guarded {
        // Its files are opened, and its classes imported, as the application's user.
        let loggers = Loggers::new(py, inheritance.conf.as_ref(), &inheritance.start)?;
        inheritance.hooks.iter().try_for_each(|hooks| hooks.log_by(py, &loggers))?;
        inheritance.loggers = Some(loggers);
    }
    load(py, inheritance)?;
    Ok(signals)
}

/// Lines go there besides, from now on.
pub(crate) fn connect(remotes: &Remotes) {
    if let Err(error) = log::connect(remotes) {
        tracing::warn!(%error, "no socket for syslog or statsd");
    }
}

/// Evaluates the configuration file, if there is one to evaluate, and takes over what there is to serve.
fn begin(py: Python<'_>, channel: &Channel) -> Result<Option<(Inheritance, Option<Guard>)>, BootFailure> {
    let mut first = hear(channel)?;
    let (mut conf, mut guard) = (None, None);
    if let Some((ToZygote::Configure(configure), fds)) = &mut first {
        same_build(&configure.build)?;
        let evaluated;
        (evaluated, guard) = config_file::evaluate(py, configure, fds.pop().filter(|_| configure.has_file))?;
        let said = channel.say(&FromZygote::Configured(evaluated.defined.clone()), &[]);
        said.map_err(|error| BootFailure::setup(&error))?;
        conf = Some(evaluated);
        first = py.detach(|| hear(channel))?;
    }
    let Some((ToZygote::Start(start), fds)) = first else { return Ok(None) };
    let inheritance = inherit(*start, fds)?;
    Ok(Some((Inheritance { conf, ..inheritance }, guard)))
}

/// The hooks of the configuration file; those of the server's own life are called, with the rights that it was started with.
fn hooks(py: Python<'_>, inheritance: &mut Inheritance, channel: &Channel) -> Result<Option<Hooks>, BootFailure> {
    let memory = inheritance.for_hooks.memory.take();
    let Inheritance { conf: Some(conf), start, listeners, loggers, .. } = &*inheritance else { return Ok(None) };
    let hooks = Hooks::new(py, conf.names.bind(py), start, listeners, memory, loggers.as_ref())?;
    if let Some(hooks) = hooks.as_ref().filter(|_| !start.check) {
        hooks.begin(py, start, inheritance.for_hooks.memory_before.as_ref())?;
        if let Some(master) = inheritance.for_hooks.hook_process.take() {
            hook_process::start(py, inheritance, hooks, master, channel)?;
        }
    }
    Ok(hooks)
}

/// Loads the application, if it is preloaded or checked. What hooks of an earlier process have left reaches it.
fn load(py: Python<'_>, inheritance: &mut Inheritance) -> Result<(), BootFailure> {
    let before = inheritance.for_hooks.memory_before.take();
    if let Some(hooks) = inheritance.hooks.as_ref().filter(|_| !inheritance.start.check) {
        hooks.go_on(py, before.as_ref());
    }
    let settings = &inheritance.start.settings;
    if settings.preload_app || inheritance.start.check {
        let loaded = app::load(py, app_name(settings)?)?;
        if settings.preload_app {
            warmup::warm_up(py, &loaded, inheritance).map_err(|error| BootFailure::setup(&error))?;
        }
        inheritance.application = Some(loaded.unbind());
    }
    Ok(())
}

impl Inheritance {
    /// Something has happened in the master, which is the business of hooks.
    fn note(&mut self, py: Python<'_>, note: Note, channel: &Channel) -> Result<(), BootFailure> {
        if note == Note::Closing {
            self.listeners.clear();
        }
        match self.hooks.as_ref().and_then(|hooks| hooks.note(py, note)) {
            Some(may) => channel.say(&FromZygote::MayUpgrade(may), &[]).map_err(|error| BootFailure::setup(&error)),
            None => Ok(()),
        }
    }

    /// The log files were opened anew: takes them, for this process and for the workers to come.
    fn reopen(&self, py: Python<'_>, reopen: Reopen, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let error_log = reopen.error_log.then(|| fds.next()).flatten();
        python::flush_standard(py);
        let redirected = log::redirect(error_log.as_ref(), None);
        if let Err(error) = redirected.and_then(|()| self.capture(error_log.as_ref())) {
            tracing::error!(%error, "log file not opened anew");
        }
        if let Some(loggers) = &self.loggers {
            loggers.reopen(py);
        }
        if reopen.access_log {
            *self.access_log.lock().unwrap_or_else(PoisonError::into_inner) = fds.next();
        }
    }
}

impl Inheritance {
    /// Sends what is printed to the error log's file, if there is one and that is asked for.
    pub(crate) fn capture(&self, error_log: Option<&OwnedFd>) -> std::io::Result<()> {
        error_log.filter(|_| self.start.settings.capture_output).map_or(Ok(()), log::capture)
    }
}

/// Waits for the master's next word. Signals are noted meanwhile: they are the master's business.
fn hear_between(channel: &Channel, signals: &Signals) -> Result<Option<(ToZygote, Vec<OwnedFd>)>, BootFailure> {
    loop {
        let mut waited =
            [PollFd::new(channel.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(BootFailure::setup(&std::io::Error::from(errno))),
        }
        while let Some(signal) = signals.next() {
            signal::pass_over(signal);
        }
        if waited[0].any().unwrap_or(false) {
            return hear(channel);
        }
    }
}

/// A `pre_fork` hook has raised: where nothing was forked yet this zygote is of no use. Said before the worker's end of its
/// channel is closed, which says less.
fn not_forked(channel: &Channel, fork: Fork, failure: BootFailure, has_forked: bool) {
    let said = if has_forked {
        FromZygote::ForkFailed { slot: fork.slot, error: failure.bounded().to_string() }
    } else {
        FromZygote::Failed(failure.bounded())
    };
    let _ = channel.say(&said, &[]);
}

fn fork_failed(channel: &Channel, fork: Fork, error: &std::io::Error) {
    let said = FromZygote::ForkFailed { slot: fork.slot, error: error.to_string() };
    let _ = channel.say(&said, &[]);
}

/// The next word of the master, or `None` when it is gone.
fn hear(channel: &Channel) -> Result<Option<(ToZygote, Vec<OwnedFd>)>, BootFailure> {
    match channel.receive().map_err(|error| BootFailure::setup(&error))? {
        Received::Closed | Received::Nothing => Ok(None),
        Received::Packet(packet) => {
            let message = serde_json::from_slice(&packet.bytes).map_err(|error| BootFailure::setup(&error))?;
            Ok(Some((message, packet.fds)))
        }
    }
}

fn same_build(build: &str) -> Result<(), BootFailure> {
    if build == BUILD_ID {
        return Ok(());
    }
    let message =
        format!("engine: expected build {build}, found {BUILD_ID}\nhint: install program and engine together");
    Err(BootFailure { cause: BootCause::Setup, message, traceback: None })
}

fn inherit(start: Start, fds: Vec<OwnedFd>) -> Result<Inheritance, BootFailure> {
    same_build(&start.build)?;
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| BootFailure::setup(&"the master sent too few descriptors"));
    let scoreboard = Scoreboard::attach(next()?).map_err(|error| BootFailure::setup(&error))?;
    let mut listeners = Vec::new();
    for _ in 0..start.listeners {
        listeners.push(Listener::from_fd(next()?).map_err(|error| BootFailure::setup(&error))?);
    }
    let error_log = start.error_log.then(&mut next).transpose()?;
    let access_log = Mutex::new(start.access_log.then(&mut next).transpose()?);
    let tls = start.settings.tls().map(|terms| identity(&terms, next()?)).transpose()?;
    let for_hooks = ForHooks {
        memory: start.hooks.memory.then(&mut next).transpose()?,
        memory_before: start.hooks.memory_before.then(&mut next).transpose()?,
        hook_process: start.hooks.hook_process.then(&mut next).transpose()?.map(Channel::from_fd),
    };
    if start.streams == Streams::Sent {
        log::print_to(&next()?, &next()?).map_err(|error| BootFailure::setup(&error))?;
    }
    let error_fd = error_log.as_ref().map_or(libc::STDERR_FILENO, AsRawFd::as_raw_fd);
    if let Some(file) = error_log.as_ref().filter(|_| start.settings.capture_output) {
        log::capture(file).map_err(|error| BootFailure::setup(&error))?;
    }
    start_log(&start.settings, error_log)?;
    log::connect(&start.remotes).map_err(|error| BootFailure::setup(&error))?;
    let handoff = HandoffEnds::new().map_err(|error| BootFailure::setup(&error))?;
    Ok(Inheritance {
        start,
        listeners,
        scoreboard,
        tls,
        handoff,
        access_log,
        error_fd,
        conf: None,
        loggers: None,
        hooks: None,
        for_hooks,
        application: None,
    })
}

/// What the master has read and checked, which this process may have no right to read.
fn identity(terms: &TlsTerms, file: OwnedFd) -> Result<Identity, BootFailure> {
    let bytes = memfd::read(file).map_err(|error| BootFailure::setup(&error))?;
    let material: Material = serde_json::from_slice(&bytes).map_err(|error| BootFailure::setup(&error))?;
    Identity::new(&material, terms).map_err(|problem| BootFailure::setup(&format!("{}: {problem}", problem.setting)))
}

fn start_log(settings: &Settings, file: Option<OwnedFd>) -> Result<(), BootFailure> {
    let destination = file.map_or(log::Destination::Stderr, log::Destination::Fd);
    log::init(settings.loglevel, settings.log_format, destination).map_err(|error| BootFailure::setup(&error))
}

/// Directory, `sys`, signals, faulthandler: what an import may rely on.
fn prepare(py: Python<'_>, inheritance: &mut Inheritance) -> PyResult<Signals> {
    let start = &inheritance.start;
    let name = start.settings.title();
    proctitle::set(&format!("rwsgi: zygote [{name}]"));
    process::die_with_parent(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(start.master) {
        process::exit_now(0);
    }
    signal::ignore(IGNORED)?;
    stack_dump::ignore()?;
    let signals = Signals::install(&[])?;
    signal::note_sent(FOR_THE_MASTER)?;
    if let Some(bytes) = start.settings.limit_as.limit() {
        limits::address_space(bytes)?;
    }
    if let Some(directory) = &start.settings.chdir {
        std::env::set_current_dir(directory)?;
    }
    let environ = py.import("os")?.getattr("environ")?;
    // By which libraries see that a server runs them.
    if !start.settings.raw_env.iter().any(|pair| pair.key == "SERVER_SOFTWARE") {
        environ.set_item("SERVER_SOFTWARE", python::SOFTWARE)?;
    }
    if inheritance.conf.is_some() {
        // Without a file that may give some they were there from this process's start.
        for pair in &start.settings.raw_env {
            environ.set_item(&pair.key, &pair.value)?;
        }
    }
    python::prepare_sys(py, &start.arguments, &start.settings.pythonpath)?;
    if start.error_log && start.settings.capture_output {
        python::print_by_lines(py)?;
    }
    request_timeout::make_module(py)?;
    let faulthandler = py.import("faulthandler")?;
    faulthandler.call_method1("enable", (inheritance.error_fd,))?;
    faulthandler.call_method1("register", (process::trace_signal(), inheritance.error_fd))?;
    Ok(signals)
}

pub(crate) fn app_name(settings: &Settings) -> Result<&rwsgi::settings::types::AppName, BootFailure> {
    settings.app().map_err(|problem| BootFailure::setup(&problem))
}

/// Forks as `os.fork` does, but away: the new process becomes the master's child.
pub(crate) fn fork_away(py: Python<'_>) -> std::io::Result<Side> {
    python::flush_standard(py);
    // What is alive now is shared with every worker; a collection must not write to it.
    if let Err(error) = py.import("gc").and_then(|gc| gc.call_method0("freeze")) {
        tracing::warn!(%error, "gc.freeze");
    }
    // SAFETY: the interpreter is attached, and the calls come in the order that CPython's os.fork makes them.
    unsafe { pyo3::ffi::PyOS_BeforeFork() };
    let side = process::fork_away();
    match side {
        // SAFETY: this is the new process, in which the forking thread is the only one.
        Ok(Side::New) => unsafe { pyo3::ffi::PyOS_AfterFork_Child() },
        // SAFETY: this is the process that called PyOS_BeforeFork.
        _ => unsafe { pyo3::ffi::PyOS_AfterFork_Parent() },
    }
    side
}

fn warn_of_threads(py: Python<'_>, warned: &mut bool) {
    let names = python::other_threads(py);
    if !names.is_empty() && !*warned {
        *warned = true;
        let names = names.join(", ");
        tracing::warn!(names, "threads found before the fork, they do not exist in workers");
    }
}

fn close_on_exec(channel: &Channel) {
    // SAFETY: F_SETFD on an open descriptor reads no memory.
    unsafe { libc::fcntl(channel.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Meant for the master, though `pkill` sends them to everybody of its name: noted, and passed over. Workers inherit that.
const FOR_THE_MASTER: &[Signal] = &[Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];
/// TTIN and TTOU would stop the process; INT comes from a terminal to everybody at once.
const IGNORED: &[Signal] = &[Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGINT];
