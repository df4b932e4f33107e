//! A thread that calls the application: its request, and what is to happen to it at its deadline. Applications extend the
//! deadline here. Everything is read and written by attached threads, so that a request cannot end between two steps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::os::scoreboard::{Scoreboard, Slot};
use rwsgi::os::{clock, process};
use rwsgi::settings::Settings;
use rwsgi::settings::types::{TimeoutMode, WorkerClass};

use crate::python;
use crate::timeouts::request_timeout::{self, RequestTimeout};

/// A thread that calls the application.
#[derive(Debug)]
pub(crate) struct Caller {
    slot: Slot,
    timeout: Option<Duration>,
    /// True if the time of a request counts from the last piece of its response.
    counts_from_pieces: bool,
    /// The number of the thread in Python's `threading`; 0 before it has started.
    ident: AtomicU64,
    /// True while it is in the application's code.
    inside: AtomicBool,
    /// True if its request was ended.
    ended: AtomicBool,
    /// True if the signal handler of the main thread is to call `worker_abort`.
    to_call_hook: AtomicBool,
    /// True if the signal handler of the main thread is to raise.
    to_raise: AtomicBool,
    /// True if the worker is to end as after a SIGABRT.
    to_abort: AtomicBool,
    /// True if the worker is to end at once.
    to_quit: AtomicBool,
}

impl Caller {
    pub(crate) fn new(slot: Slot, settings: &Settings) -> Caller {
        Caller {
            slot,
            timeout: settings.timeout.limit(),
            counts_from_pieces: settings.class() == WorkerClass::Gthread
                && settings.timeout_mode != TimeoutMode::Hard
                && settings.timeout.limit().is_some(),
            ident: AtomicU64::new(0),
            inside: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            to_call_hook: AtomicBool::new(false),
            to_raise: AtomicBool::new(false),
            to_abort: AtomicBool::new(false),
            to_quit: AtomicBool::new(false),
        }
    }

    /// Returns a caller outside of a worker, whose requests have no deadline. It lives as long as the process.
    pub(crate) fn without_worker(settings: &Settings) -> PyResult<&'static Caller> {
        let (board, _) = Scoreboard::create(1)?;
        let slot = board.slot(0).ok_or_else(|| PyRuntimeError::new_err("scoreboard: expected a slot, found none"))?;
        Ok(Box::leak(Box::new(Caller::new(slot, settings))))
    }

    /// Notes that the calling thread is this one.
    pub(crate) fn start(&self) {
        let ident = python::own_ident();
        self.ident.store(ident, Ordering::Relaxed);
        self.slot.set_ident(ident);
    }

    /// Notes that the application's code runs from now on.
    pub(crate) fn enter(&self) {
        self.inside.store(true, Ordering::Relaxed);
    }

    /// Notes that the request has ended, so that nothing meant for it reaches the next one. True if it was ended by its
    /// deadline.
    pub(crate) fn leave(&self) -> bool {
        self.inside.store(false, Ordering::Relaxed);
        self.ended.load(Ordering::Relaxed) && self.forget()
    }

    /// Notes that the application has given a piece of its response. With threads a response that goes on is not stuck: its time
    /// counts from here.
    pub(crate) fn gave_piece(&self) {
        if !self.counts_from_pieces {
            return;
        }
        if let Some((since, _)) = self.slot.busy_since() {
            let elapsed = clock::monotonic().saturating_sub(since);
            self.slot.extend(elapsed.saturating_sub(self.slot.extended()));
        }
    }

    #[cold]
    fn forget(&self) -> bool {
        self.ended.store(false, Ordering::Relaxed);
        self.to_raise.store(false, Ordering::Relaxed);
        self.to_call_hook.store(false, Ordering::Relaxed);
        request_timeout::take_back(self.ident());
        true
    }

    /// Has the thread raise at its next step of Python.
    pub(crate) fn raise(&self, py: Python<'_>) {
        self.ended.store(true, Ordering::Relaxed);
        request_timeout::raise_in(py, self.ident());
    }

    /// Has the main thread call `worker_abort` (`call_hook`) and raise (`raise`), also while it waits in C.
    pub(crate) fn interrupt_main(&self, call_hook: bool, raise: bool) {
        self.ended.fetch_or(raise, Ordering::Relaxed);
        self.to_raise.store(raise, Ordering::Relaxed);
        self.to_call_hook.store(call_hook, Ordering::Relaxed);
        self.interrupt();
    }

    /// Has the main thread end the worker, if it runs Python or waits in a way that a signal ends.
    pub(crate) fn abort_main(&self) {
        self.to_abort.store(true, Ordering::SeqCst);
        if self.ident() != 0 {
            self.interrupt();
        }
    }

    /// Has the main thread end the worker at once, if it is in the application and a signal reaches it there.
    pub(crate) fn quit_main(&self) {
        if self.ident() != 0 && self.inside.load(Ordering::SeqCst) {
            self.to_quit.store(true, Ordering::SeqCst);
            self.interrupt();
        }
    }

    /// True if the worker is to end at once by the calling thread, which is in the application; true once.
    pub(crate) fn takes_quit(&self) -> bool {
        self.to_quit.swap(false, Ordering::SeqCst) && self.inside.load(Ordering::SeqCst)
    }

    fn interrupt(&self) {
        // SAFETY: the main thread lives as long as the process.
        unsafe { libc::pthread_kill(self.ident(), process::interrupt_signal()) };
    }

    /// True if the worker is to be aborted by the calling thread; true once.
    pub(crate) fn takes_abort(&self) -> bool {
        self.to_abort.swap(false, Ordering::SeqCst)
    }

    /// True if the signal handler is to call `worker_abort` for a request that still runs; true once.
    pub(crate) fn takes_hook(&self) -> bool {
        self.to_call_hook.swap(false, Ordering::Relaxed) && self.inside.load(Ordering::Relaxed)
    }

    /// True if the signal handler is to raise in a request that still runs; true once.
    pub(crate) fn takes_raise(&self) -> bool {
        self.to_raise.swap(false, Ordering::Relaxed) && self.inside.load(Ordering::Relaxed)
    }

    /// Returns the number of the thread in Python's `threading`.
    pub(crate) fn ident(&self) -> u64 {
        self.ident.load(Ordering::Relaxed)
    }

    /// True while the thread is in the application's code for this request.
    pub(crate) fn is_in(&self, request: u64) -> bool {
        self.inside.load(Ordering::Relaxed) && self.slot.busy_since().is_some_and(|(_, number)| number == request)
    }
}

/// Returns the keys of an environ that let an application extend its deadline and catch its end.
pub(crate) fn environ_keys<'py>(py: Python<'py>, caller: &'static Caller) -> PyResult<Bound<'py, PyDict>> {
    let keys = PyDict::new(py);
    keys.set_item("rwsgi.extend_deadline", Bound::new(py, ExtendDeadline { caller })?.getattr("extend_deadline")?)?;
    keys.set_item("rwsgi.RequestTimeout", py.get_type::<RequestTimeout>())?;
    Ok(keys)
}

/// The object of the method `environ["rwsgi.extend_deadline"]`: one for each thread, whichever request it serves.
#[pyclass(frozen, module = "rwsgi")]
struct ExtendDeadline {
    caller: &'static Caller,
}

#[pymethods]
impl ExtendDeadline {
    /// Gives the request at least `seconds` from now on. It never shortens the time that is left.
    #[pyo3(signature = (seconds, /))]
    fn extend_deadline(&self, seconds: f64) -> PyResult<()> {
        let caller = self.caller;
        let more = Duration::try_from_secs_f64(seconds).ok().filter(|more| *more <= MOST);
        let Some(more) = more else {
            let words = format!("expected seconds from 0 to {}, found {seconds}", MOST.as_secs());
            return Err(PyValueError::new_err(words));
        };
        if !caller.inside.load(Ordering::Relaxed) || python::own_ident() != caller.ident() {
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
