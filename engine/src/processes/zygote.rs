//! The zygote: the process that holds Python, serves nothing, and forks workers when the master asks. It has one thread.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;

use rwsgi::message::{BUILD_ID, BootFailure, Fork, FromZygote, Note, ToZygote};
use rwsgi::os::channel::{Channel, Received};
use rwsgi::os::fork_guard;
use rwsgi::os::limits;
use rwsgi::os::process::{self, Side};
use rwsgi::os::proctitle;
use rwsgi::os::signal::{self, Signals};

use crate::hooks::loggers::Loggers;
use crate::hooks::{Hooks, ServerFacts};
use crate::loading::app;
use crate::loading::config_file;
use crate::loading::guard::Guard;
use crate::processes::fork;
use crate::processes::hook_process;
use crate::processes::inheritance::{self, Inheritance};
use crate::processes::own_requests;
use crate::processes::privileges;
use crate::processes::program_limits;
use crate::processes::signals;
use crate::processes::spill_directory;
use crate::processes::title;
use crate::processes::worker as worker_process;
use crate::python::{self, Exit};
use crate::python_modules;
use crate::timeouts::request_timeout;
use crate::wsgi::banner;

/// Takes over the interpreter's main thread, and does not return.
pub(crate) fn main(py: Python<'_>, channel: i32, mode: &str) -> ! {
    // SAFETY: the bootstrap passes the descriptor of the channel, which nothing else in this process knows.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(channel) });
    if let Err(failure) = serve(py, &channel, mode) {
        let _ = channel.say(&FromZygote::Failed(failure.bounded()), &[]);
    }
    // The application may have started threads and processes here.
    python::exit(py, 0, Exit::Patient)
}

/// Serves the master's requests until the master is gone, or needs this zygote no more.
fn serve(py: Python<'_>, channel: &Channel, mode: &str) -> Result<(), BootFailure> {
    close_on_exec(channel);
    let mut signals = signals::install(py).map_err(|error| BootFailure::setup(&error))?;
    fork_guard::keep_private(fork::private(channel, &signals).collect());
    let Some((mut inheritance, guard)) = begin(py, channel)? else {
        return Ok(());
    };
    tracing::debug!(mode, build = BUILD_ID, "zygote starts");
    fork_guard::keep_private(fork::private(channel, &signals).chain(inheritance.descriptors()).collect());
    boot(py, &mut inheritance, guard, channel, &mut signals)?;
    channel.say(&FromZygote::Ready, &[]).map_err(|error| BootFailure::setup(&error))?;
    if inheritance.start.check {
        return Ok(());
    }
    inheritance.loggers.iter().for_each(Loggers::begin_relay);
    let (mut warned, mut has_forked) = (false, false);
    while let Some((message, mut fds)) = py.detach(|| receive_between_signals(channel, &signals))? {
        match message {
            ToZygote::Fork(fork) => {
                let (Some(stacks), Some(worker_end)) = (fds.pop(), fds.pop()) else { continue };
                warn_of_threads(py, &mut warned);
                // The reason is sent before the worker's end of its channel is closed, which would tell the master less.
                match start_worker(py, &inheritance, fork) {
                    Ok(Side::New) => {
                        python::write_stacks_to(py, stacks);
                        worker_process::main(py, inheritance, fork, channel, Channel::from_fd(worker_end))
                    }
                    Ok(Side::Caller(_)) => has_forked = true,
                    // Without a worker this zygote is of no use.
                    Err(NotForked::ByHook(failure)) if !has_forked => {
                        let _ = channel.say(&FromZygote::Failed(failure.bounded()), &[]);
                        return Ok(());
                    }
                    Err(failure) => report_failed_fork(channel, fork, failure),
                }
            }
            ToZygote::Reopen(reopen) => inheritance.reopen(py, reopen, fds),
            ToZygote::Connect(remotes) => inheritance::connect(&remotes),
            ToZygote::Line(line) => inheritance.loggers.iter().for_each(|loggers| loggers.relay_line(py, line.clone())),
            ToZygote::Note(note) => {
                note_event(py, &mut inheritance, note, channel)?;
                fork_guard::keep_private(fork::private(channel, &signals).chain(inheritance.descriptors()).collect());
            }
            ToZygote::Load(_) | ToZygote::Configure(_) | ToZygote::Start(_) => {}
        }
    }
    Ok(())
}

/// The reason why there is no new worker.
enum NotForked {
    /// The hook `pre_fork` has raised.
    ByHook(BootFailure),
    /// The kernel has refused.
    ByKernel(std::io::Error),
}

/// Calls `pre_fork` and forks a worker.
fn start_worker(py: Python<'_>, inheritance: &Inheritance, fork: Fork) -> Result<Side, NotForked> {
    let hooks = inheritance.hooks.as_ref();
    hooks.map_or(Ok(()), |hooks| hooks.fork(py, fork)).map_err(NotForked::ByHook)?;
    let side = fork::fork_away(py).map_err(NotForked::ByKernel)?;
    if let (Some(hooks), Side::Caller(pid)) = (hooks, &side) {
        hooks.started(py, pid.as_raw());
    }
    Ok(side)
}

fn report_failed_fork(channel: &Channel, fork: Fork, failure: NotForked) {
    let error = match failure {
        NotForked::ByHook(failure) => failure.bounded().to_string(),
        NotForked::ByKernel(error) => error.to_string(),
    };
    let _ = channel.say(&FromZygote::ForkFailed { slot: fork.slot, error }, &[]);
}

/// Evaluates the configuration file, if it is in Python, and receives the inheritance. Returns `None` if the master is gone.
fn begin(py: Python<'_>, channel: &Channel) -> Result<Option<(Inheritance, Option<Guard>)>, BootFailure> {
    let mut first = receive(channel)?;
    let (mut config, mut guard) = (None, None);
    if let Some((ToZygote::Configure(configure), fds)) = &mut first {
        inheritance::same_build(&configure.build)?;
        let evaluated;
        (evaluated, guard) = config_file::evaluate(py, configure, fds.pop().filter(|_| configure.has_file))?;
        let said = channel.say(&FromZygote::Configured(evaluated.defined.clone()), &[]);
        said.map_err(|error| BootFailure::setup(&error))?;
        config = Some(evaluated);
        first = py.detach(|| receive(channel))?;
    }
    let Some((ToZygote::Start(start), fds)) = first else { return Ok(None) };
    Ok(Some((Inheritance::receive(*start, fds, config)?, guard)))
}

/// Prepares the first fork. The server's own hooks are called with the master's rights, if there are any, and all else is done
/// with the application's rights. A preloaded application is loaded before the hooks, as under gunicorn, unless they are called
/// with more rights than it has.
fn boot(
    py: Python<'_>,
    inheritance: &mut Inheritance,
    guard: Option<Guard>,
    channel: &Channel,
    signals: &mut Signals,
) -> Result<(), BootFailure> {
    let guard = privileges::keep_for_hooks(py, &inheritance.start, inheritance.config.as_ref(), guard)?;
    prepare(py, inheritance).map_err(|error| BootFailure::setup(&error))?;
    inheritance.loggers = Some(Loggers::new(py, inheritance.config.as_ref(), &inheritance.start)?);
    let hooks = hooks(py, inheritance)?;
    let has_more_rights = inheritance.start.identity.is_change();
    let mut guard = guard;
    if !has_more_rights {
        privileges::drop_rights(py, &inheritance.start, guard.take())?;
    }
    let called = hooks.as_ref().filter(|_| !inheritance.start.check);
    called.map_or(Ok(()), |hooks| hooks.begin(py, &inheritance.start, inheritance.for_hooks.memory_before.as_ref()))?;
    if !has_more_rights {
        load(py, inheritance, hooks.as_ref())?;
    }
    if let Some(hooks) = called {
        hooks.first(py, inheritance.start.occasion)?;
        if let Some(master) = inheritance.for_hooks.hook_process.take() {
            hook_process::split(py, inheritance, hooks, signals, (master, channel))?;
        }
    }
    inheritance.hooks = hooks;
    if has_more_rights {
        become_user(py, inheritance, guard)?;
    }
    go_on(py, inheritance);
    if has_more_rights {
        load(py, inheritance, None)?;
    }
    if let Some(hooks) = inheritance.hooks.as_ref().filter(|_| !inheritance.start.check) {
        hooks.warn_of_lost(py);
    }
    Ok(())
}

/// Makes the hooks of the configuration file.
fn hooks(py: Python<'_>, inheritance: &mut Inheritance) -> Result<Option<Hooks>, BootFailure> {
    let memory = inheritance.for_hooks.memory.take();
    let Inheritance { config: Some(config), start, listeners, loggers, .. } = &*inheritance else { return Ok(None) };
    let facts = ServerFacts { start, listeners, loggers: loggers.as_ref(), defined: &config.defined };
    Hooks::new(py, config.names.bind(py), &facts, memory)
}

/// Drops the rights after the first hooks. The loggers are made again: their files are opened, and their classes imported, as the
/// application's user.
fn become_user(py: Python<'_>, inheritance: &mut Inheritance, guard: Option<Guard>) -> Result<(), BootFailure> {
    let was_guarded = guard.is_some();
    privileges::drop_rights(py, &inheritance.start, guard)?;
    if was_guarded {
        let loggers = Loggers::new(py, inheritance.config.as_ref(), &inheritance.start)?;
        inheritance.hooks.iter().try_for_each(|hooks| hooks.log_by(py, &loggers))?;
        inheritance.loggers = Some(loggers);
    }
    Ok(())
}

/// Loads the data that hooks of an earlier process have left, unless that is done, and saves those of this one.
fn go_on(py: Python<'_>, inheritance: &mut Inheritance) {
    let before = inheritance.for_hooks.memory_before.take();
    if let Some(hooks) = inheritance.hooks.as_ref().filter(|_| !inheritance.start.check) {
        hooks.go_on(py, before.as_ref());
    }
}

/// Loads the application, if it is preloaded or checked. Hooks that follow find it as `server.app.callable`.
fn load(py: Python<'_>, inheritance: &mut Inheritance, hooks: Option<&Hooks>) -> Result<(), BootFailure> {
    let settings = &inheritance.start.settings;
    inheritance.spill_directory = spill_directory::choose(settings)?;
    program_limits::install(py, inheritance.start.files_of_programs).map_err(|error| BootFailure::setup(&error))?;
    if settings.preload_app || inheritance.start.check {
        let loaded = app::load_configured(py, settings)?;
        hooks.map_or(Ok(()), |hooks| hooks.preloaded(py, &loaded))?;
        if settings.preload_app {
            own_requests::warm_up(py, &loaded, inheritance)?;
        }
        if inheritance.start.check {
            own_requests::check(py, &loaded, settings)?;
        }
        inheritance.application = Some(loaded.unbind());
    }
    Ok(())
}

/// Passes an event in the master to the hooks.
fn note_event(py: Python<'_>, inheritance: &mut Inheritance, note: Note, channel: &Channel) -> Result<(), BootFailure> {
    if note == Note::Closing {
        inheritance.listeners.clear();
    }
    match inheritance.hooks.as_ref().and_then(|hooks| hooks.note(py, note)) {
        Some(may) => channel.say(&FromZygote::MayUpgrade(may), &[]).map_err(|error| BootFailure::setup(&error)),
        None => Ok(()),
    }
}

/// Receives the master's next message. Signals that come meanwhile are noted only, because they are meant for the master.
fn receive_between_signals(
    channel: &Channel,
    signals: &Signals,
) -> Result<Option<(ToZygote, Vec<OwnedFd>)>, BootFailure> {
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
            return receive(channel);
        }
    }
}

/// Receives the master's next message, or returns `None` when the master is gone.
fn receive(channel: &Channel) -> Result<Option<(ToZygote, Vec<OwnedFd>)>, BootFailure> {
    match channel.receive().map_err(|error| BootFailure::setup(&error))? {
        Received::Closed | Received::Nothing => Ok(None),
        Received::Packet(packet) => {
            let message = serde_json::from_slice(&packet.bytes).map_err(|error| BootFailure::setup(&error))?;
            Ok(Some((message, packet.fds)))
        }
    }
}

/// Prepares the process and the interpreter, on which an import may rely.
fn prepare(py: Python<'_>, inheritance: &Inheritance) -> PyResult<()> {
    let start = &inheritance.start;
    proctitle::set(&format!("rwsgi: zygote [{}]", start.settings.title()));
    process::die_with_parent(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(start.master) {
        process::exit_now(0);
    }
    if let Some(bytes) = start.settings.limit_as.limit() {
        limits::address_space(bytes)?;
    }
    if let Some(directory) = &start.settings.chdir {
        std::env::set_current_dir(directory)?;
    }
    prepare_python(py, inheritance)
}

/// Prepares `os.environ`, `sys`, the module `rwsgi` and faulthandler.
fn prepare_python(py: Python<'_>, inheritance: &Inheritance) -> PyResult<()> {
    let start = &inheritance.start;
    let environ = py.import("os")?.getattr("environ")?;
    banner::read(py)?;
    // Libraries see by this that a server runs them.
    if !start.settings.raw_env.iter().any(|pair| pair.key == "SERVER_SOFTWARE") {
        environ.set_item("SERVER_SOFTWARE", banner::software())?;
    }
    if inheritance.config.is_some() {
        // Without a configuration file in Python they are set before this process starts.
        for pair in &start.settings.raw_env {
            environ.set_item(&pair.key, &pair.value)?;
        }
    }
    python::prepare_sys(py, &start.arguments, &start.settings.pythonpath)?;
    if start.error_log && start.settings.capture_output {
        python::print_by_lines(py)?;
    }
    if inheritance.config.is_none() {
        python_modules::offer_gunicorn_later(py)?;
    }
    title::offer(py)?;
    request_timeout::make_module(py)?;
    let faulthandler = py.import("faulthandler")?;
    faulthandler.call_method1("enable", (inheritance.error_fd,))?;
    faulthandler.call_method1("register", (process::trace_signal(), inheritance.error_fd))?;
    Ok(())
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
