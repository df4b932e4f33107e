//! Releasing the GIL around steps that may block, and acquiring it again.

use pyo3::ffi;
use pyo3::prelude::*;

use rwsgi::worker::{Application, BodyBuffer, Exchange};

use crate::exceptions;
use crate::held_bytes::{self, IncomingBody};
use crate::timeouts::request_timeout::{self, RequestTimeout};

/// Runs steps that may block, from an attached thread. It is an [`Application`] without an application.
pub(crate) struct Detach<'py>(pub(crate) Python<'py>);

impl Application for Detach<'_> {
    fn call(&self, exchange: &mut Exchange<'_>) {
        exchange.fail();
    }

    fn body_buffer(&self, length: usize) -> Option<Box<dyn BodyBuffer>> {
        Some(Box::new(IncomingBody::new(self.0, length)?))
    }

    fn detached<T>(&self, step: impl FnOnce() -> T) -> T {
        // A signal that came while this thread was attached would not end the sleep.
        self.run_signal_handlers();
        // SAFETY: `Python` in hand says that this thread is attached; the guard attaches it again, also when `step`
        // panics, before anything Python is touched: `step` gets no `Python`.
        let result = unsafe {
            let _attached_again = Attach { state: ffi::PyEval_SaveThread(), was: held_bytes::set_attached(false) };
            step()
        };
        held_bytes::release_dropped(self.0);
        // A signal may have ended the sleep.
        self.run_signal_handlers();
        result
    }
}

impl Detach<'_> {
    /// Runs the application's own signal handlers, if a signal has come.
    fn run_signal_handlers(&self) {
        // SAFETY: the thread is attached.
        if unsafe { ffi::PyErr_CheckSignals() } == 0 {
            return;
        }
        let error = PyErr::fetch(self.0);
        if error.is_instance_of::<RequestTimeout>(self.0) {
            request_timeout::raise_later(self.0);
        } else {
            tracing::error!("error in a signal handler of the application\n{}", exceptions::traceback(self.0, &error));
        }
    }
}

/// Acquires the GIL when it is dropped.
struct Attach {
    /// The thread's state, as CPython has saved it.
    state: *mut ffi::PyThreadState,
    /// True if the thread had noted that it was attached.
    was: bool,
}

impl Drop for Attach {
    fn drop(&mut self) {
        // SAFETY: the state was saved by PyEval_SaveThread in this thread, which has not attached since.
        unsafe { ffi::PyEval_RestoreThread(self.state) };
        held_bytes::set_attached(self.was);
    }
}
