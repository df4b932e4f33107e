//! A request that has passed its deadline: its stack is logged, `worker_abort` is called, and it is ended by an exception.
//! The worker says when a deadline has passed.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use rwsgi::log::CRITICAL;
use rwsgi::os::{process, thread};
use rwsgi::settings::types::TimeoutMode;
use rwsgi::settings::{Seconds, Settings};
use rwsgi::worker::{Late, Then, TimeoutRules};

use crate::exceptions;
use crate::hooks::Hooks;
use crate::timeouts::caller::Caller;
use crate::timeouts::quit;

use crate::timeouts::request_timeout::RequestTimeout;
use crate::timeouts::sigabrt;

/// Returns the rules for requests that take too long, if there is a timeout. `callers` are the threads of the worker.
pub(crate) fn rules(
    settings: &Settings,
    worker: usize,
    callers: &'static [Caller],
    hooks: Option<&'static Hooks>,
) -> Option<TimeoutRules<'static>> {
    let timeout = settings.timeout;
    let hooks = hooks.filter(|hooks| hooks.of_timeouts && settings.timeout_mode != TimeoutMode::Warn);
    let context = Context { worker, callers, hooks, timeout };
    Some(TimeoutRules {
        timeout: timeout.limit()?,
        then: match settings.timeout_mode {
            TimeoutMode::Warn => Then::Warn,
            TimeoutMode::Soft => Then::Raise(settings.timeout_grace.duration()),
            TimeoutMode::Hard => Then::Cut,
        },
        patience: settings.graceful_timeout.duration(),
        recycle: settings.timeout_recycle,
        worker,
        tell: Box::new(move |late| start(late, context)),
    })
}

/// Installs the handler of the signal that interrupts the main thread. It is called in the main thread.
pub(crate) fn install(py: Python<'_>, main: &'static Caller, hooks: Option<&'static Hooks>) -> PyResult<()> {
    let alarm = Bound::new(py, Alarm { main, hooks })?;
    py.import("signal")?.call_method1("signal", (process::interrupt_signal(), alarm))?;
    Ok(())
}

/// The worker of a late request.
#[derive(Clone, Copy)]
struct Context {
    /// The worker's slot.
    worker: usize,
    callers: &'static [Caller],
    /// The hooks, if one is called at a timeout.
    hooks: Option<&'static Hooks>,
    timeout: Seconds,
}

/// Starts a thread for one late request, because acquiring the GIL may take long.
fn start(late: Late, context: Context) {
    let started = thread::start_large("rwsgi-deadline", move || {
        Python::attach(|py| end(py, &late, context));
    });
    if let Err(error) = started {
        tracing::error!(%error, "cannot start the thread that logs where a request is");
    }
}

/// Logs the stack of the request, calls the hook, and has the exception raised.
fn end(py: Python<'_>, late: &Late, context: Context) {
    let Some(caller) = context.callers.get(late.thread).filter(|caller| caller.is_in(late.request)) else { return };
    late.heard.store(late.request, Ordering::Release);
    log_stack(py, late, context, caller);
    // Writing a stack may read source files, with the GIL released.
    if !caller.is_in(late.request) {
        return;
    }
    if late.thread == 0 && (late.raise || context.hooks.is_some()) {
        return caller.interrupt_main(context.hooks.is_some(), late.raise);
    }
    if let Some(hooks) = context.hooks {
        hooks.abort(py);
    }
    if late.raise && caller.is_in(late.request) {
        caller.raise(py);
    }
}

fn log_stack(py: Python<'_>, late: &Late, context: Context, caller: &Caller) {
    let (slot, thread, timeout) = (context.worker, late.thread, context.timeout);
    match stack(py, caller.ident()) {
        Ok(stack) => {
            tracing::error!(target: CRITICAL, slot, thread, %timeout, "where the request is\n{stack}");
        }
        Err(error) => {
            tracing::error!(slot, thread, "cannot tell where the request is\n{}", exceptions::traceback(py, &error));
        }
    }
}

/// Returns the stack of a thread, as a traceback shows it.
fn stack(py: Python<'_>, ident: u64) -> PyResult<String> {
    let frame = py.import("sys")?.call_method0("_current_frames")?.get_item(ident)?;
    let lines: Vec<String> = py.import("traceback")?.call_method1("format_stack", (frame,))?.extract()?;
    Ok(format!("Stack (most recent call last):\n{}", lines.concat().trim_end()))
}

/// The handler that Python calls in the main thread.
#[pyclass(frozen, module = "rwsgi")]
struct Alarm {
    main: &'static Caller,
    hooks: Option<&'static Hooks>,
}

#[pymethods]
impl Alarm {
    fn __call__(&self, py: Python<'_>, _signal: &Bound<'_, PyAny>, _frame: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(hooks) = self.hooks.filter(|_| self.main.takes_abort()) {
            sigabrt::end(py, hooks);
        }
        if let Some(hooks) = self.hooks.filter(|_| self.main.takes_quit()) {
            quit::end(py, Some(hooks));
        }
        if self.main.takes_hook() {
            // On top of the frame that is stuck, as in gunicorn.
            self.hooks.iter().for_each(|hooks| hooks.abort(py));
        }
        if self.main.takes_raise() { Err(RequestTimeout::new_err(())) } else { Ok(()) }
    }
}
