//! A worker that is told to end at once while its main thread is in the application: the hook `worker_int` is called on top of
//! the request, as by gunicorn, and the worker ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use rwsgi::os::thread;

use crate::hooks::Hooks;
use crate::python::{self, Exit};
use crate::timeouts::caller::Caller;

/// Returns what the loop of the worker calls when it is told to end at once. The hook runs in the main thread, on top of its
/// stack, or in a thread of its own while the main thread runs no Python.
pub(crate) fn on_quit(main: &'static Caller, hooks: &'static Hooks) -> Box<dyn Fn() + Send + Sync> {
    Box::new(move || {
        let started = thread::start_large("rwsgi-quit", move || {
            main.quit_main();
            std::thread::sleep(GRACE);
            Python::attach(|py| end(py, Some(hooks)));
        });
        if let Err(error) = started {
            tracing::error!(%error, "cannot start the thread that calls worker_int");
        }
    })
}

/// Calls the hooks of a worker that ends at once, and ends it. Returns if another thread does so already.
pub(crate) fn end(py: Python<'_>, hooks: Option<&Hooks>) {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    if !HAS_BEGUN.swap(true, Ordering::SeqCst) {
        python::log_exiting();
        for name in ["worker_int", "worker_exit"] {
            if let Some(hooks) = hooks {
                hooks.call(py, name);
            }
        }
        python::exit(py, 0, Exit::Quick)
    }
}

/// As [`end`]; while another thread ends the worker, it sleeps, detached.
pub(crate) fn end_worker(py: Python<'_>, hooks: Option<&Hooks>) -> ! {
    end(py, hooks);
    loop {
        py.detach(std::thread::park);
    }
}

/// The time that the main thread has to call the hook. The master kills a worker that has not ended a second after QUIT.
const GRACE: Duration = Duration::from_millis(300);
