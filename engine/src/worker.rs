//! A worker, from the fork to its end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::http::access_log::AccessFormat;
use rwsgi::log::{self, AccessLog, Destination};
use rwsgi::message::{self, BootFailure, Fork, FromWorker, ToWorker};
use rwsgi::os::channel::{Channel, Received};
use rwsgi::os::scoreboard::Slot;
use rwsgi::os::signal::{self, Signals};
use rwsgi::os::{fork_guard, process, proctitle, thread};
use rwsgi::settings::Settings;
use rwsgi::worker::{
    Application as _, Ending, ErrorPages, Handoff, Order, Orders, SendLimits, ServeRules, Setup, Spent, Timeouts,
    Worker,
};

use crate::call_application::Cycle;
use crate::loggers::Loggers;
use crate::request_timeout::Caller;
use crate::zygote::{Inheritance, app_name};
use crate::{app, file_watcher, python, request_timeout, sigabrt};

/// Serves until told to end. The zygote's channel is the zygote's alone: a copy here would hide its end.
pub(crate) fn main(py: Python<'_>, inheritance: Inheritance, fork: Fork, zygote: &Channel, channel: Channel) -> ! {
    // SAFETY: this process never returns to where the zygote would use or drop its channel.
    unsafe { libc::close(zygote.as_raw_fd()) };
    // The threads hold on to both until the process ends.
    let inheritance: &'static Inheritance = Box::leak(Box::new(inheritance));
    let channel: &'static Channel = Box::leak(Box::new(channel));
    let outcome = boot(py, inheritance, fork, channel).and_then(|team| {
        let cycle = team.cycle(py, 0).map_err(|error| BootFailure::setup(&error))?;
        let gate = team.start(py).map_err(|error| BootFailure::setup(&error))?;
        if let Err(error) = file_watcher::start(py, &inheritance.start.settings, channel) {
            tracing::warn!("changes of the code are not noticed\n{}", python::traceback(py, &error));
        }
        set_title(&inheritance.start.settings, fork.slot, "");
        let said = channel.say(&FromWorker::Ready, &[]);
        said.map_err(|error| BootFailure::setup(&error))?;
        drop(gate);
        tracing::debug!(slot = fork.slot, age = fork.age, "worker serves");
        let ending = team.worker.work(&cycle, 0).map_err(|error| BootFailure::setup(&error))?;
        // A thread that was given up would be waited for in vain.
        Ok(if team.worker.has_lost_threads() { Ending::Quick } else { ending })
    });
    if let Some(hooks) = &inheritance.hooks {
        if matches!(outcome, Ok(Ending::Quick)) {
            hooks.may(py, "worker_int");
        }
        hooks.may(py, "worker_exit");
    }
    match outcome {
        Ok(Ending::Graceful) => python::exit(py, 0, true),
        Ok(Ending::Quick) => python::exit(py, 0, false),
        Err(failure) => {
            let code = failure.cause.exit_code();
            let _ = channel.say(&FromWorker::Failed(failure.bounded()), &[]);
            python::exit(py, code, false)
        }
    }
}

fn boot(
    py: Python<'_>,
    inheritance: &'static Inheritance,
    fork: Fork,
    channel: &'static Channel,
) -> Result<&'static Team, BootFailure> {
    let start = &inheritance.start;
    let settings = &start.settings;
    set_title(settings, fork.slot, ", loading");
    let signals = Signals::install(OURS).map_err(|error| BootFailure::setup(&error))?;
    // Before the first word: the master takes nobody for a worker who is not its child.
    if !process::wait_for_parent(Pid::from_raw(start.master), ADOPTION) {
        // The master died meanwhile: nobody waits for this worker.
        process::exit_now(0);
    }
    process::end_with_parent(LAST_REQUESTS).map_err(|error| BootFailure::setup(&error))?;
    if getppid() != Pid::from_raw(start.master) {
        // It died before the kernel was told to say so.
        process::exit_now(0);
    }
    channel.say(&FromWorker::Hello, &[]).map_err(|error| BootFailure::setup(&error))?;
    fork_guard::mark_forks().map_err(|error| BootFailure::setup(&error))?;
    log::start_thread();
    log::part().map_err(|error| BootFailure::setup(&error))?;
    if let Some(hooks) = &inheritance.hooks {
        hooks.forked(py)?;
    }
    let mut application = match &inheritance.application {
        Some(application) => application.bind(py).clone(),
        None => app::load(py, app_name(settings)?)?,
    };
    if let Some(hooks) = &inheritance.hooks {
        application = hooks.loaded(py, &application)?;
    }
    for taken in signal::restore(OURS) {
        tracing::warn!(signal = taken.as_str(), "the application set a handler of its own, rwsgi's is put back");
    }
    let setup = Box::leak(Box::new(setup(inheritance, fork, signals, channel)?));
    let callers: Vec<Caller> = setup.slots.iter().map(|slot| Caller::new(slot.clone(), settings)).collect();
    let callers: &'static [Caller] = Box::leak(callers.into_boxed_slice());
    let hooks = inheritance.hooks.as_ref();
    setup.timeout = request_timeout::deadline(settings, fork.slot, callers, hooks);
    request_timeout::install(py, &callers[0], hooks).map_err(|error| BootFailure::setup(&error))?;
    if let Some(hooks) = hooks.filter(|hooks| hooks.of_timeouts) {
        sigabrt::install(&callers[0], hooks).map_err(|error| BootFailure::setup(&error))?;
    }
    let worker =
        Worker::new(setup, |why| ask_for_replacement(channel, why)).map_err(|error| BootFailure::setup(&error))?;
    Ok(Box::leak(Box::new(Team {
        worker,
        application: application.unbind(),
        inheritance,
        callers,
        gate: Mutex::default(),
    })))
}

fn ask_for_replacement(channel: &Channel, why: Spent) {
    let why = match why {
        Spent::Requests => message::Spent::Requests,
        Spent::Timeout => message::Spent::Timeout,
    };
    if let Err(error) = channel.say(&FromWorker::Spent(why), &[]) {
        tracing::error!(%error, "cannot ask for a replacement");
    }
}

fn setup(
    inheritance: &'static Inheritance,
    fork: Fork,
    signals: Signals,
    channel: &'static Channel,
) -> Result<Setup<'static>, BootFailure> {
    let settings = &inheritance.start.settings;
    let threads = settings.threads();
    let slots = (fork.slot * threads..(fork.slot + 1) * threads).map(|number| inheritance.scoreboard.slot(number));
    let slots: Vec<Slot> = slots.collect::<Option<_>>().ok_or_else(|| BootFailure::setup(&"no such slot"))?;
    slots.iter().for_each(Slot::clear);
    Ok(Setup {
        listeners: &inheritance.listeners,
        tls: inheritance.tls.clone(),
        signals,
        orders: Orders { channel: channel.as_fd(), next: Box::new(move || order(channel, inheritance, fork.slot)) },
        slots,
        is_measured: settings.is_measured(),
        handoff: handoff(inheritance, fork, threads),
        has_others: has_others(settings),
        worker_connections: usize::try_from(settings.worker_connections).unwrap_or(usize::MAX),
        max_requests: fork.max_requests,
        serve: rules(settings)?,
        timeout: None,
        access: access(inheritance)?,
    })
}

/// The rules by which the worker serves connections.
fn rules(settings: &Settings) -> Result<ServeRules, BootFailure> {
    Ok(ServeRules {
        limits: settings.limits(),
        proxy: settings.proxy(),
        trust: settings.trust(),
        error_pages: error_pages(settings)?,
        timeouts: Timeouts {
            keep_alive: settings.keepalive.duration(),
            head: settings.client_header_timeout.limit(),
            body: settings.client_body_timeout.limit(),
            queue: settings.queue_timeout.limit(),
            send: SendLimits { stall: settings.send_timeout.limit(), rate: settings.minimum_send_rate.limit() },
            lingering: settings.lingering_timeout.duration(),
            // What comes then has to be finished in time, too.
            drain: settings.time_to_fade(),
        },
        post_buffering: usize::try_from(settings.post_buffering.0).unwrap_or(usize::MAX),
        spill_directory: settings.worker_tmp_dir.clone().unwrap_or_else(std::env::temp_dir),
    })
}

/// The threads of a worker, and what they serve.
struct Team {
    worker: Worker<'static>,
    application: Py<PyAny>,
    inheritance: &'static Inheritance,
    callers: &'static [Caller],
    /// Held until all threads have started.
    gate: Mutex<()>,
}

impl Team {
    /// Starts every thread but the one that calls this, which is to work as number 0. They wait until what is returned is
    /// dropped: a request that held the interpreter for good would keep those to come, and the word that the worker is
    /// ready.
    fn start(&'static self, py: Python<'_>) -> PyResult<MutexGuard<'static, ()>> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        thread::start("rwsgi-io", || self.worker.run_io_thread())?;
        for number in 1..self.worker.threads() {
            let threading = py.import("threading")?;
            let keywords = PyDict::new(py);
            keywords.set_item("target", Bound::new(py, Member { team: self, number })?)?;
            keywords.set_item("name", format!("rwsgi-{number}"))?;
            // Not a daemon: threads that an application starts in a request inherit that, and would not be waited for.
            keywords.set_item("daemon", false)?;
            threading.call_method("Thread", (), Some(&keywords))?.call_method0("start")?;
        }
        Ok(gate)
    }

    /// The application, ready to be called by the thread that calls this, which has this number.
    fn cycle<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Cycle<'py>> {
        let Inheritance { listeners, start, hooks, loggers, .. } = self.inheritance;
        let application = self.application.bind(py).clone();
        let cycle = Cycle::new(py, application, listeners, &start.settings, &self.callers[number])?;
        let cycle = cycle.with_logged(&self.worker.environ_keys());
        let cycle = cycle.with_hooks(hooks.as_ref().and_then(|hooks| hooks.of_requests(py)));
        Ok(cycle.with_logger(loggers.as_ref().and_then(|loggers| loggers.of_requests(py))))
    }
}

/// What a thread of Python's own `threading` runs.
#[pyclass(frozen, module = "rwsgi")]
struct Member {
    team: &'static Team,
    number: usize,
}

#[pymethods]
impl Member {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let cycle = self.team.cycle(py, self.number)?;
        cycle.detached(|| drop(self.team.gate.lock()));
        self.team.worker.work(&cycle, self.number)?;
        Ok(())
    }
}

/// A TLS session is its process's own.
fn has_others(settings: &Settings) -> bool {
    settings.most_workers(1) > 1 && settings.tls().is_none()
}

fn handoff(inheritance: &'static Inheritance, fork: Fork, threads: usize) -> Handoff<'static> {
    // Slots are given out from the first on; replacements stand beside those that end.
    let workers = 2 * inheritance.start.settings.most_workers(1) + SCALED_UP;
    Handoff::new(&inheritance.handoff, inheritance.scoreboard.clone(), workers, threads, fork.slot)
}

/// The next word of the master, as far as it is the loop's business.
fn order(channel: &Channel, inheritance: &'static Inheritance, slot: usize) -> Order {
    let packet = match channel.try_receive() {
        Ok(Received::Packet(packet)) => packet,
        Ok(Received::Nothing) => return Order::Nothing,
        Ok(Received::Closed) => return Order::Closed,
        Err(error) => {
            tracing::error!(%error, "worker: expected a message");
            return Order::Nothing;
        }
    };
    match serde_json::from_slice(&packet.bytes) {
        Ok(ToWorker::Retire) => {
            set_title(&inheritance.start.settings, slot, ", retiring");
            Order::Retire
        }
        Ok(ToWorker::Reopen(reopen)) => {
            let mut files = packet.fds.iter();
            let mut file_if = |is_there: bool| is_there.then(|| files.next()).flatten();
            let (error_log, access_log) = (file_if(reopen.error_log), file_if(reopen.access_log));
            let redirected = log::redirect(error_log, access_log);
            if let Err(error) = redirected.and_then(|()| inheritance.capture(error_log)) {
                tracing::error!(%error, "log files not opened anew");
            }
            if let Some(loggers) = &inheritance.loggers {
                loggers.reopen_soon();
            }
            order(channel, inheritance, slot)
        }
        Ok(ToWorker::Connect(remotes)) => {
            crate::zygote::connect(&remotes);
            order(channel, inheritance, slot)
        }
        Err(error) => {
            tracing::error!(%error, "worker: expected a message");
            Order::Nothing
        }
    }
}

/// What ps and top show. What changes with each request is not in it: that would cost one.
fn set_title(settings: &Settings, slot: usize, state: &str) {
    proctitle::set(&format!("rwsgi: worker {slot} [{}]{state}", settings.title()));
}

fn error_pages(settings: &Settings) -> Result<ErrorPages, BootFailure> {
    let Some(directory) = &settings.error_pages else { return Ok(ErrorPages::default()) };
    ErrorPages::read(directory)
        .map_err(|error| BootFailure::setup(&format!("error_pages: {}: {error}", directory.display())))
}

fn access(inheritance: &Inheritance) -> Result<Option<(AccessLog, AccessFormat)>, BootFailure> {
    let file = inheritance.access_log.lock().unwrap_or_else(PoisonError::into_inner);
    let file = file.as_ref().map(OwnedFd::try_clone).transpose().map_err(|error| BootFailure::setup(&error))?;
    let is_elsewhere = inheritance.loggers.as_ref().is_some_and(Loggers::write_access);
    let log = AccessLog::open(file.map(Destination::Fd), is_elsewhere).map_err(|error| BootFailure::setup(&error))?;
    let Some(log) = log else { return Ok(None) };
    if is_elsewhere {
        // It counts, and takes no lines.
        return Ok(Some((log, AccessFormat::default())));
    }
    let format = AccessFormat::parse(&inheritance.start.settings.access_log_format)
        .map_err(|error| BootFailure::setup(&error))?;
    Ok(Some((log, format)))
}

/// The signals that mean something to a worker.
const OURS: &[Signal] = &[Signal::SIGTERM, Signal::SIGQUIT];
/// From the fork to being the master's child; the middle process only has to end.
pub(crate) const ADOPTION: Duration = Duration::from_secs(5);
/// What a worker whose master died has for the requests that it holds.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// Workers that may have come by TTIN and are still seen as takers of connections.
const SCALED_UP: usize = 32;
