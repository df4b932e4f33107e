//! A worker, from the fork to its end.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use pyo3::prelude::*;

use rwsgi::log;
use rwsgi::message::{self, BootFailure, Fork, FromWorker, ToWorker};
use rwsgi::os::channel::{Channel, Received};
use rwsgi::os::signal::{self, Signals};
use rwsgi::os::{fork_guard, process, stack_dump};
use rwsgi::settings::Settings;
use rwsgi::worker::{Ending, Order, Orders, Spent, Worker};

use crate::exceptions;
use crate::file_watcher;
use crate::loading::app;
use crate::processes::fork;
use crate::processes::inheritance::{self, Inheritance};
use crate::processes::own_requests;
use crate::processes::setup;
use crate::processes::signals;
use crate::processes::threads::WorkerThreads;
use crate::processes::title;
use crate::python::{self, Exit};
use crate::timeouts::caller::Caller;
use crate::timeouts::late_request;
use crate::timeouts::quit;
use crate::timeouts::sigabrt;

/// Serves until told to end, and ends the process.
pub(crate) fn main(py: Python<'_>, inheritance: Inheritance, fork: Fork, zygote: &Channel, channel: Channel) -> ! {
    fork::close_channel_of_zygote(zygote);
    // The threads hold both until the process ends.
    let inheritance: &'static Inheritance = Box::leak(Box::new(inheritance));
    let channel: &'static Channel = Box::leak(Box::new(channel));
    let outcome = boot(py, inheritance, fork, channel).and_then(|threads| serve(py, threads, fork, channel));
    if matches!(outcome, Ok(Ending::Quick)) {
        quit::end_worker(py, inheritance.hooks.as_ref());
    }
    python::log_exiting();
    inheritance.loggers.iter().for_each(|loggers| loggers.relay_own(py));
    inheritance.hooks.iter().for_each(|hooks| hooks.call(py, "worker_exit"));
    match outcome {
        Ok(_) => python::exit(py, 0, Exit::Patient),
        Err(failure) => {
            let code = failure.cause.exit_code();
            let _ = channel.say(&FromWorker::Failed(failure.bounded()), &[]);
            python::exit(py, code, Exit::Quick)
        }
    }
}

/// Starts the threads, reports that the worker is ready, and serves in this thread.
fn serve(
    py: Python<'_>,
    threads: &'static WorkerThreads,
    fork: Fork,
    channel: &'static Channel,
) -> Result<Ending, BootFailure> {
    let settings = &threads.inheritance.start.settings;
    let call = threads.application(py, 0).map_err(|error| BootFailure::setup(&error))?;
    let gate = threads.start(py).map_err(|error| BootFailure::setup(&error))?;
    if let Err(error) = file_watcher::start(py, settings, channel) {
        tracing::warn!("changes of the code are not noticed\n{}", exceptions::traceback(py, &error));
    }
    if fork.is_tried {
        own_requests::try_requests(&call, settings)?;
    }
    set_title(settings, fork.slot, "");
    threads.inheritance.loggers.iter().for_each(|loggers| loggers.relay_own(py));
    channel.say(&FromWorker::Ready, &[]).map_err(|error| BootFailure::setup(&error))?;
    drop(gate);
    tracing::debug!(slot = fork.slot, age = fork.age, "worker serves");
    let ending = threads.worker.work(&call, 0).map_err(|error| BootFailure::setup(&error))?;
    // A patient exit would wait for an abandoned thread in vain.
    Ok(if threads.worker.has_lost_threads() { Ending::Quick } else { ending })
}

fn boot(
    py: Python<'_>,
    inheritance: &'static Inheritance,
    fork: Fork,
    channel: &'static Channel,
) -> Result<&'static WorkerThreads, BootFailure> {
    let settings = &inheritance.start.settings;
    title::begin(&title_of(settings, fork.slot, ", loading"));
    let noted = Signals::install(OURS).map_err(|error| BootFailure::setup(&error))?;
    let private = fork::private(channel, &noted).chain(inheritance.descriptors()).chain(stack_dump::descriptor());
    fork_guard::keep_private(private.collect());
    // Before the first message, which the master takes only from its own child.
    fork::wait_for_master(inheritance.start.master, || process::end_with_parent(LAST_REQUESTS))
        .map_err(|error| BootFailure::setup(&error))?;
    channel.say(&FromWorker::Hello, &[]).map_err(|error| BootFailure::setup(&error))?;
    let pid = std::process::id();
    // Written at once, not by the log's thread, so that it comes before all output of the application.
    tracing::info!(event = "worker_boots", said.pid = pid, slot = fork.slot, "Booting worker with pid: {pid}");
    log::start_thread();
    log::reopen_sockets().map_err(|error| BootFailure::setup(&error))?;
    let application = load(py, inheritance)?;
    // One that the application has put back is in place for Python alone.
    let restored = signal::restore(OURS).into_iter();
    for taken in restored.filter(|signal| signals::is_taken(py, *signal).unwrap_or(true)) {
        tracing::warn!(signal = taken.as_str(), "the application set a signal handler, rwsgi's own is restored");
    }
    let orders = Orders { channel: channel.as_fd(), next: Box::new(move || order(channel, inheritance, fork.slot)) };
    let setup = Box::leak(Box::new(setup::setup(inheritance, fork, noted, orders)?));
    let callers: Vec<Caller> = setup.slots.iter().map(|slot| Caller::new(slot.clone(), settings)).collect();
    let callers: &'static [Caller] = Box::leak(callers.into_boxed_slice());
    let hooks = inheritance.hooks.as_ref();
    setup.timeout = late_request::rules(settings, fork.slot, callers, hooks);
    setup.on_quit = hooks.map(|hooks| quit::on_quit(&callers[0], hooks));
    late_request::install(py, &callers[0], hooks).map_err(|error| BootFailure::setup(&error))?;
    if let Some(hooks) = hooks.filter(|hooks| hooks.of_timeouts) {
        sigabrt::install(&callers[0], hooks).map_err(|error| BootFailure::setup(&error))?;
    }
    let worker =
        Worker::new(setup, |why| ask_for_replacement(channel, why)).map_err(|error| BootFailure::setup(&error))?;
    Ok(Box::leak(Box::new(WorkerThreads::new(worker, application.unbind(), inheritance, callers))))
}

/// Returns the application, between the hooks `post_fork` and `post_worker_init`.
fn load<'py>(py: Python<'py>, inheritance: &Inheritance) -> Result<Bound<'py, PyAny>, BootFailure> {
    if let Some(hooks) = &inheritance.hooks {
        hooks.forked(py)?;
    }
    let application = match &inheritance.application {
        Some(application) => application.bind(py).clone(),
        None => app::load_configured(py, &inheritance.start.settings)?,
    };
    inheritance.hooks.as_ref().map_or(Ok(application.clone()), |hooks| hooks.loaded(py, &application))
}

fn ask_for_replacement(channel: &Channel, why: Spent) {
    let why = match why {
        Spent::Requests => message::SpentReason::Requests,
        Spent::Timeout => message::SpentReason::Timeout,
        Spent::Memory => message::SpentReason::Memory,
        Spent::Descriptors => message::SpentReason::Descriptors,
    };
    if let Err(error) = channel.say(&FromWorker::Spent(why), &[]) {
        tracing::error!(%error, "cannot ask for a replacement");
    }
}

/// Returns the master's next order. Messages that do not concern the loop are carried out here.
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
        Ok(ToWorker::Finish) => Order::Finish,
        Ok(ToWorker::Quit) => Order::Quit,
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
            inheritance::connect(&remotes);
            order(channel, inheritance, slot)
        }
        Err(error) => {
            tracing::error!(%error, "worker: expected a message");
            Order::Nothing
        }
    }
}

/// Sets the title that ps and top show. It does not change with each request, because that would make requests slower.
fn set_title(settings: &Settings, slot: usize, state: &str) {
    title::change(&title_of(settings, slot, state));
}

fn title_of(settings: &Settings, slot: usize, state: &str) -> String {
    format!("rwsgi: worker {slot} [{}]{state}", settings.title())
}

/// The signals that a worker handles.
const OURS: &[Signal] = &[Signal::SIGTERM, Signal::SIGQUIT];
/// The time that a worker has for the requests that it serves when its master dies.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
