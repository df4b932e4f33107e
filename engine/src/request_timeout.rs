//! What a request can be told about its deadline, and what it can say to it: the exception that ends it, and more time. When
//! the deadline is over is the worker's business.
//!
//! CPython raises in another thread only between two steps of Python: code that waits in C does not see it. The main thread
//! is better off: a signal ends its wait, and a handler of Python's own raises there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use rwsgi::log::CRITICAL;
use rwsgi::os::scoreboard::{Scoreboard, Slot};
use rwsgi::os::{clock, process, thread};
use rwsgi::settings::types::TimeoutMode;
use rwsgi::settings::{Seconds, Settings};
use rwsgi::worker::{Late, Then, TimeoutRules};

use crate::hooks::Hooks;
use crate::{python, sigabrt};

pyo3::create_exception!(
    rwsgi,
    RequestTimeout,
    PyBaseException,
    "The request has taken longer than the setting timeout allows. No Exception: what catches all of those would answer 500."
);

/// A thread that calls the application, and its request. Everything here is read and written by who holds the interpreter,
/// so that a request cannot end between a look and what follows.
#[derive(Debug)]
pub(crate) struct Caller {
    slot: Slot,
    timeout: Option<Duration>,
    /// The number that Python's `threading` knows it by; 0 before it begins.
    ident: AtomicU64,
    /// Is it in the application's code?
    inside: AtomicBool,
    /// The main thread's handler is to call `worker_abort`.
    told: AtomicBool,
    /// The main thread's handler is to raise.
    wanted: AtomicBool,
    /// Its request was ended.
    ended: AtomicBool,
    /// The worker is to end as one that somebody has sent SIGABRT.
    aborting: AtomicBool,
}

impl Caller {
    pub(crate) fn new(slot: Slot, settings: &Settings) -> Caller {
        Caller {
            slot,
            timeout: settings.timeout.limit(),
            ident: AtomicU64::new(0),
            inside: AtomicBool::new(false),
            told: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
        }
    }

    /// One without a worker, whose requests nobody watches. It lives as long as the process.
    pub(crate) fn alone(settings: &Settings) -> PyResult<&'static Caller> {
        let (board, _) = Scoreboard::create(1)?;
        let slot = board.slot(0).ok_or_else(|| PyRuntimeError::new_err("a board without a slot"))?;
        Ok(Box::leak(Box::new(Caller::new(slot, settings))))
    }

    /// The thread that calls this is the one.
    pub(crate) fn begin(&self, py: Python<'_>) -> PyResult<()> {
        let ident = own_ident(py)?;
        self.ident.store(ident, Ordering::Relaxed);
        self.slot.set_ident(ident);
        Ok(())
    }

    /// From now on the application's code runs.
    pub(crate) fn enter(&self) {
        self.inside.store(true, Ordering::Relaxed);
    }

    /// The request is over: what was to end it does not reach the next one. Says whether it was ended.
    pub(crate) fn leave(&self) -> bool {
        self.inside.store(false, Ordering::Relaxed);
        self.ended.load(Ordering::Relaxed) && self.forget()
    }

    #[cold]
    fn forget(&self) -> bool {
        self.ended.store(false, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
        // SAFETY: the thread is attached, and null takes back what was not raised yet.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.ident(), std::ptr::null_mut()) };
        true
    }

    /// Has the thread raise at the next step of Python.
    fn raise(&self, py: Python<'_>) {
        self.ended.store(true, Ordering::Relaxed);
        let class = py.get_type::<RequestTimeout>();
        // SAFETY: the thread is attached; CPython takes a reference of its own to the class, and knows no thread by a number
        // that is none's.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.ident(), class.as_ptr()) };
    }

    /// Has the main thread call `worker_abort` and raise, wherever it waits.
    fn interrupt_main(&self, tell: bool, raise: bool) {
        self.ended.fetch_or(raise, Ordering::Relaxed);
        self.wanted.store(raise, Ordering::Relaxed);
        self.told.store(tell, Ordering::Relaxed);
        // SAFETY: the main thread lives as long as the process.
        unsafe { libc::pthread_kill(self.ident.load(Ordering::Relaxed), process::interrupt_signal()) };
    }

    /// Has the main thread end the worker, if it is at Python or waits in a way that a signal ends.
    pub(crate) fn abort_main(&self) {
        self.aborting.store(true, Ordering::SeqCst);
        let thread = self.ident.load(Ordering::Relaxed);
        if thread != 0 {
            // SAFETY: the main thread lives as long as the process.
            unsafe { libc::pthread_kill(thread, process::interrupt_signal()) };
        }
    }

    /// Is the worker to be ended by who asks? Once.
    pub(crate) fn takes_abort(&self) -> bool {
        self.aborting.swap(false, Ordering::SeqCst)
    }

    fn ident(&self) -> std::ffi::c_long {
        // A pthread_t is an address.
        std::ffi::c_long::try_from(self.ident.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn is_in(&self, request: u64) -> bool {
        self.inside.load(Ordering::Relaxed) && self.slot.busy_since().is_some_and(|(_, number)| number == request)
    }
}

/// The exception reached the main thread where nothing can be raised: it does so as soon as that is over.
pub(crate) fn put_off(py: Python<'_>) {
    if let Ok(ident) = own_ident(py).map(|ident| std::ffi::c_long::try_from(ident).unwrap_or(0)) {
        // SAFETY: the thread is attached; CPython takes a reference of its own to the class.
        unsafe { ffi::PyThreadState_SetAsyncExc(ident, py.get_type::<RequestTimeout>().as_ptr()) };
    }
}

fn own_ident(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.call_method0("get_ident")?.extract()
}

/// The keys of an environ by which an application speaks with its deadline.
pub(crate) fn keys<'py>(py: Python<'py>, caller: &'static Caller) -> PyResult<Bound<'py, PyDict>> {
    let keys = PyDict::new(py);
    keys.set_item("rwsgi.extend_deadline", Bound::new(py, ExtendDeadline { caller })?.getattr("extend_deadline")?)?;
    keys.set_item("rwsgi.RequestTimeout", py.get_type::<RequestTimeout>())?;
    Ok(keys)
}

/// Makes `import rwsgi` possible, which gives an application the exception's class by name.
pub(crate) fn make_module(py: Python<'_>) -> PyResult<()> {
    let module = PyModule::new(py, "rwsgi")?;
    module.setattr("__doc__", "What rwsgi offers to the applications that it runs.")?;
    module.setattr("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("RequestTimeout", py.get_type::<RequestTimeout>())?;
    py.import("sys")?.getattr("modules")?.set_item("rwsgi", module)
}

/// Has the main thread, in which this is called, raise on the signal that ends its waits; `hooks` are told before.
pub(crate) fn install(py: Python<'_>, main: &'static Caller, hooks: Option<&'static Hooks>) -> PyResult<()> {
    let alarm = Bound::new(py, Alarm { main, hooks })?;
    py.import("signal")?.call_method1("signal", (process::interrupt_signal(), alarm))?;
    Ok(())
}

/// What a worker does about requests that take too long; `callers` are its threads, `hooks` are told.
pub(crate) fn deadline(
    settings: &Settings,
    worker: usize,
    callers: &'static [Caller],
    hooks: Option<&'static Hooks>,
) -> Option<TimeoutRules<'static>> {
    let timeout = settings.timeout;
    let hooks = hooks.filter(|hooks| hooks.of_timeouts && settings.timeout_mode != TimeoutMode::Warn);
    let team = Team { worker, callers, hooks, timeout };
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
        tell: Box::new(move |late| tell(late, team)),
    })
}

/// The threads of a worker, and who is told when a request of theirs takes too long.
#[derive(Clone, Copy)]
struct Team {
    worker: usize,
    callers: &'static [Caller],
    hooks: Option<&'static Hooks>,
    timeout: Seconds,
}

/// The interpreter may not be had for long, so that a thread of its own waits for it.
fn tell(late: Late, team: Team) {
    let started = thread::start_large("rwsgi-deadline", move || {
        Python::attach(|py| end(py, &late, team));
    });
    if let Err(error) = started {
        tracing::error!(%error, "cannot look where a request is stuck");
    }
}

fn end(py: Python<'_>, late: &Late, team: Team) {
    let Team { worker, callers, hooks, timeout } = team;
    let Some(caller) = callers.get(late.thread) else { return };
    if !caller.is_in(late.request) {
        return;
    }
    late.heard.store(late.request, Ordering::Release);
    let (slot, thread) = (worker, late.thread);
    match stack(py, caller.ident.load(Ordering::Relaxed)) {
        Ok(stack) => {
            tracing::error!(target: CRITICAL, slot, thread, %timeout, "where the request is\n{stack}");
        }
        Err(error) => {
            tracing::error!(slot, thread, "where the request is, is not known\n{}", python::traceback(py, &error));
        }
    }
    // Writing a stack may read source files, with the interpreter laid down.
    if !caller.is_in(late.request) {
        return;
    }
    if late.thread == 0 && (late.raise || hooks.is_some()) {
        return caller.interrupt_main(hooks.is_some(), late.raise);
    }
    if let Some(hooks) = hooks {
        hooks.abort(py);
    }
    if late.raise && caller.is_in(late.request) {
        caller.raise(py);
    }
}

/// The stack of a thread, as a traceback has it.
fn stack(py: Python<'_>, ident: u64) -> PyResult<String> {
    let frame = py.import("sys")?.call_method0("_current_frames")?.get_item(ident)?;
    let lines: Vec<String> = py.import("traceback")?.call_method1("format_stack", (frame,))?.extract()?;
    Ok(format!("Stack (most recent call last):\n{}", lines.concat().trim_end()))
}

/// Python's own handler of the signal.
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
        if self.main.told.swap(false, Ordering::Relaxed) && self.main.inside.load(Ordering::Relaxed) {
            // On top of the frame that is stuck, as in gunicorn.
            self.hooks.iter().for_each(|hooks| hooks.abort(py));
        }
        let due = self.main.wanted.swap(false, Ordering::Relaxed) && self.main.inside.load(Ordering::Relaxed);
        if due { Err(RequestTimeout::new_err(())) } else { Ok(()) }
    }
}

/// What `environ["rwsgi.extend_deadline"]` is a method of: one a thread, for whatever request that runs.
#[pyclass(frozen, module = "rwsgi")]
struct ExtendDeadline {
    caller: &'static Caller,
}

#[pymethods]
impl ExtendDeadline {
    /// The request may take `seconds` from now on, at least. It never shortens the time that is left.
    #[pyo3(signature = (seconds, /))]
    fn extend_deadline(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let caller = self.caller;
        let more = Duration::try_from_secs_f64(seconds).ok().filter(|more| *more <= MOST);
        let Some(more) = more else {
            let words = format!("expected seconds from 0 to {}, found {seconds}", MOST.as_secs());
            return Err(PyValueError::new_err(words));
        };
        if !caller.inside.load(Ordering::Relaxed) || own_ident(py)? != caller.ident.load(Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err(
                "a request's deadline can be extended by the thread that serves it, while it does",
            ));
        }
        let (Some(timeout), Some((since, _))) = (caller.timeout, caller.slot.busy_since()) else { return Ok(()) };
        let wanted = clock::monotonic().saturating_add(nanoseconds(more));
        let due = since.saturating_add(nanoseconds(timeout)).saturating_add(caller.slot.extended());
        caller.slot.extend(wanted.saturating_sub(due));
        Ok(())
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// 31 years, as in the settings.
const MOST: Duration = Duration::from_secs(1_000_000_000);
