//! The threads of a worker that call the application. They are threads of Python's `threading`, except the first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use rwsgi::os::{signal, thread};
use rwsgi::worker::{Application as _, Worker};

use crate::exceptions;
use crate::processes::inheritance::Inheritance;
use crate::timeouts::caller::Caller;
use crate::wsgi::call_application::CallApplication;

/// The threads of a worker, and the application that they call.
pub(crate) struct WorkerThreads {
    pub(crate) worker: Worker<'static>,
    application: Py<PyAny>,
    pub(crate) inheritance: &'static Inheritance,
    callers: &'static [Caller],
    /// The lock that keeps threads waiting until all have started.
    gate: Mutex<()>,
}

impl WorkerThreads {
    pub(crate) fn new(
        worker: Worker<'static>,
        application: Py<PyAny>,
        inheritance: &'static Inheritance,
        callers: &'static [Caller],
    ) -> WorkerThreads {
        WorkerThreads { worker, application, inheritance, callers, gate: Mutex::default() }
    }

    /// Starts all threads except the calling one, which is number 0. They wait until the returned guard is dropped, because a
    /// request that never released the GIL would keep the others from starting and the worker from reporting that it is ready.
    pub(crate) fn start(&'static self, py: Python<'_>) -> PyResult<MutexGuard<'static, ()>> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        thread::start("rwsgi-io", || self.worker.run_io_thread())?;
        let patched_by = patched_by(py)?;
        if let (Some(module), 2..) = (&patched_by, self.worker.threads()) {
            tracing::info!(by = module, "threading is patched, requests are served by native threads all the same");
        }
        for number in 1..self.worker.threads() {
            match patched_by {
                None => self.start_thread(py, number)?,
                Some(_) => self.start_native(number)?,
            }
        }
        Ok(gate)
    }

    fn start_thread(&'static self, py: Python<'_>, number: usize) -> PyResult<()> {
        let keywords = PyDict::new(py);
        keywords.set_item("target", Bound::new(py, Thread { threads: self, number })?)?;
        keywords.set_item("name", format!("rwsgi-{number}"))?;
        // Not a daemon: threads that an application starts in a request would inherit that, and the exit would not wait
        // for them.
        keywords.set_item("daemon", false)?;
        py.import("threading")?.call_method("Thread", (), Some(&keywords))?.call_method0("start")?;
        Ok(())
    }

    /// Starts a thread without Python's help: what has replaced that makes a coroutine of the main thread of it, which would
    /// wait for itself.
    fn start_native(&'static self, number: usize) -> std::io::Result<()> {
        thread::start_large(&format!("rwsgi-{number}"), move || {
            // Programs that the application starts inherit the mask.
            let _ = signal::release();
            Python::attach(|py| {
                if let Err(error) = (Thread { threads: self, number }).__call__(py) {
                    tracing::error!("thread ended\n{}", exceptions::traceback(py, &error));
                }
            });
        })
    }

    /// Returns the application for the calling thread, which has this number.
    pub(crate) fn application<'py>(&self, py: Python<'py>, number: usize) -> PyResult<CallApplication<'py>> {
        let Inheritance { listeners, start, hooks, loggers, .. } = self.inheritance;
        let application = self.application.bind(py).clone();
        let call = CallApplication::new(py, application, listeners, &start.settings, &self.callers[number])?;
        let call = call.with_logged(&self.worker.environ_keys());
        let call = call.with_hooks(hooks.as_ref().and_then(|hooks| hooks.of_requests(py)));
        Ok(call.with_logger(loggers.as_ref().and_then(|loggers| loggers.of_requests(py))))
    }
}

/// Returns the module that has replaced the start of threads in `threading`, as gevent and eventlet do.
fn patched_by(py: Python<'_>) -> PyResult<Option<String>> {
    let threading = py.import("threading")?;
    // The first since Python 3.13.
    let names = ["_start_joinable_thread", "_start_new_thread"];
    let start = names.iter().find_map(|name| threading.getattr(*name).ok());
    let start = start.filter(|start| !start.is_exact_instance_of::<PyCFunction>());
    Ok(start.map(|start| start.getattr("__module__").map_or_else(|_| "unknown".to_owned(), |name| name.to_string())))
}

/// The target of a thread of Python's `threading`.
#[pyclass(frozen, module = "rwsgi")]
struct Thread {
    threads: &'static WorkerThreads,
    number: usize,
}

#[pymethods]
impl Thread {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let call = self.threads.application(py, self.number)?;
        call.detached(|| drop(self.threads.gate.lock()));
        self.threads.worker.work(&call, self.number)?;
        Ok(())
    }
}
