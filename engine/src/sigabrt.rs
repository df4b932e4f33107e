//! SIGABRT that somebody sends to a worker: the hook `worker_abort` is called, as by gunicorn, and the worker ends. A process
//! that aborts by itself has crashed, and no Python of it runs any more.

use std::time::Duration;

use pyo3::prelude::*;

use rwsgi::os::sigabrt::Aborts;
use rwsgi::os::thread;

use crate::hooks::Hooks;
use crate::python;
use crate::request_timeout::Caller;

/// Waits for the signal from now on. The hook runs in the main thread, on top of what that does; where that does no Python, in
/// a thread of its own.
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

/// Calls the hooks of such an end, and ends.
pub(crate) fn end(py: Python<'_>, hooks: &Hooks) -> ! {
    tracing::error!("worker was told to abort");
    hooks.abort(py);
    hooks.may(py, "worker_exit");
    python::exit(py, EXIT_ABORTED, false)
}

/// How long the main thread has until it calls the hook: while it waits for connections it does not.
const GRACE: Duration = Duration::from_millis(500);
/// gunicorn's code for such a worker.
const EXIT_ABORTED: i32 = 1;
