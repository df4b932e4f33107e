//! A SIGABRT that another process sends to a worker: the hook `worker_abort` is called, as by gunicorn, and the worker ends. A
//! process that aborts by itself has crashed and runs no Python any more.

use std::time::Duration;

use pyo3::prelude::*;

use rwsgi::os::sigabrt::Aborts;
use rwsgi::os::thread;

use crate::hooks::Hooks;
use crate::python::{self, Exit};
use crate::timeouts::caller::Caller;

/// Waits for the signal from now on. The hook runs in the main thread, on top of its stack, or in a thread of its own while the
/// main thread runs no Python.
pub(crate) fn install(main: &'static Caller, hooks: &'static Hooks) -> std::io::Result<()> {
    let aborts = Aborts::take()?;
    thread::start_large("rwsgi-abort", move || {
        if aborts.wait().is_ok() {
            main.abort_main();
            std::thread::sleep(GRACE);
            Python::attach(|py| {
                if main.takes_abort() {
                    end(py, hooks);
                }
            });
        }
    })
}

/// Calls the hooks of an aborted worker, and ends it.
pub(crate) fn end(py: Python<'_>, hooks: &Hooks) -> ! {
    tracing::error!("worker was told to abort");
    hooks.abort(py);
    python::log_exiting();
    hooks.call(py, "worker_exit");
    python::exit(py, EXIT_ABORTED, Exit::Quick)
}

/// The time that the main thread has to call the hook. While it waits for connections it does not.
const GRACE: Duration = Duration::from_millis(500);
/// The exit code of an aborted worker in gunicorn.
const EXIT_ABORTED: i32 = 1;
