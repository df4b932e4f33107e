//! The hooks of a configuration file in Python: functions that it defines, called in gunicorn's order with objects that have
//! gunicorn's names. Without a hook nothing here is made. The callers know which process calls which hook.

pub(crate) mod loggers;
pub(crate) mod python_settings;
pub(crate) mod request_facts;
pub(crate) mod request_hooks;

use std::os::fd::{AsRawFd, OwnedFd};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::message::{BootCause, BootFailure, Fork, Note, Occasion, Start};
use rwsgi::os::listener::Listener;
use rwsgi::settings::Defined;
use rwsgi::settings::python_file::HOOKS;
use rwsgi::settings::types::AppName;

use crate::exceptions;
use crate::hooks::loggers::Loggers;
use crate::hooks::request_hooks::RequestHooks;
use crate::loading::app;
use crate::python_modules;

/// The hooks of a process, with the objects `server` and `worker` that they are handed.
pub(crate) struct Hooks {
    object: Py<PyAny>,
    /// True if a hook is called for each request.
    of_requests: bool,
    /// True if a hook is called for a request that takes too long.
    pub(crate) of_timeouts: bool,
    /// The file with the attributes of `server`, for the next zygote.
    _memory: OwnedFd,
}

/// The facts that the object `server` is made of.
pub(crate) struct ServerFacts<'a> {
    pub(crate) start: &'a Start,
    pub(crate) listeners: &'a [Listener],
    pub(crate) loggers: Option<&'a Loggers>,
    /// The names that the configuration file defines.
    pub(crate) defined: &'a Defined,
}

impl ServerFacts<'_> {
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        facts.set_item("master", self.start.master)?;
        facts.set_item("title", self.start.settings.title())?;
        facts.set_item("hooks", HOOKS)?;
        let lines = PyDict::new(py);
        self.defined.names.iter().try_for_each(|name| lines.set_item(&name.name, name.line))?;
        facts.set_item("lines", lines)?;
        let listeners: Vec<String> = self.listeners.iter().map(|listener| listener.address().to_string()).collect();
        facts.set_item("listeners", listeners)?;
        facts.set_item("load", Bound::new(py, Load { name: self.start.settings.wsgi_app.clone() })?)?;
        facts.set_item("log", self.loggers.map(|loggers| loggers.log(py)))?;
        facts.set_item("cfg", self.loggers.and_then(|loggers| loggers.cfg(py)))?;
        Ok(facts)
    }
}

impl Hooks {
    /// Finds the hooks among the names of a file. Returns `None` if it has none.
    pub(crate) fn new(
        py: Python<'_>,
        names: &Bound<'_, PyDict>,
        facts: &ServerFacts<'_>,
        memory: Option<OwnedFd>,
    ) -> Result<Option<Hooks>, BootFailure> {
        let is_there =
            |name: &&str| names.get_item(name).is_ok_and(|value| value.is_some_and(|value| !value.is_none()));
        let Some(memory) = memory.filter(|_| HOOKS.iter().any(is_there)) else { return Ok(None) };
        let make = || -> PyResult<Hooks> {
            let values = python_settings::values(py, facts.start)?;
            let facts = facts.to_dict(py)?;
            facts.set_item("memory", memory.as_raw_fd())?;
            let object = python_modules::hooks(py)?.call_method1("Hooks", (values, names, facts))?;
            let has = |name: &str| object.call_method1("has", (name,))?.is_truthy();
            let of_requests = has("pre_request")? || has("post_request")?;
            let of_timeouts = has("worker_abort")?;
            Ok(Hooks { object: object.unbind(), of_requests, of_timeouts, _memory: memory })
        };
        make().map(Some).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(py) {
                return BootFailure::setup(&error.value(py));
            }
            failure(py, "hooks", &error, BootCause::Setup)
        })
    }

    /// Calls a worker's hook. Its failure is logged and changes nothing.
    pub(crate) fn call(&self, py: Python<'_>, name: &str) {
        log_failure(py, name, &self.object.bind(py).call_method1("call", (name,)));
    }

    /// Calls `nworkers_changed` for the number of workers at the start, with the rights of the server's start. Data of an earlier
    /// process is loaded before, except while these rights are still to be dropped, because that process may have had fewer.
    pub(crate) fn begin(&self, py: Python<'_>, start: &Start, before: Option<&OwnedFd>) -> Result<(), BootFailure> {
        let loses_rights = start.identity.is_change();
        if !loses_rights {
            self.load_memory(py, before);
        }
        if start.occasion == Occasion::Again {
            return Ok(());
        }
        let called = self.object.bind(py).call_method1("begin", (start.hooks.workers_before,));
        called.map(drop).map_err(|error| failure(py, "nworkers_changed", &error, BootCause::Setup))
    }

    /// Calls the hook of the occasion, with the same rights.
    pub(crate) fn first(&self, py: Python<'_>, occasion: Occasion) -> Result<(), BootFailure> {
        let name = match occasion {
            Occasion::Starting => "on_starting",
            Occasion::Reloading => "on_reload",
            Occasion::Again => return Ok(()),
        };
        let called = self.object.bind(py).call_method1("in_master", (name,));
        called.map(drop).map_err(|error| failure(py, name, &error, BootCause::Setup))
    }

    /// Notes the application that was preloaded, as `server.app.callable`.
    pub(crate) fn preloaded(&self, py: Python<'_>, application: &Bound<'_, PyAny>) -> Result<(), BootFailure> {
        let noted = self.object.bind(py).call_method1("preloaded", (application,));
        noted.map(drop).map_err(|error| BootFailure::setup(&error))
    }

    /// Sets `server.log` and `server.cfg`.
    pub(crate) fn log_by(&self, py: Python<'_>, loggers: &Loggers) -> Result<(), BootFailure> {
        let set = self.object.bind(py).call_method1("log_by", (loggers.log(py), loggers.cfg(py)));
        set.map(drop).map_err(|error| BootFailure::setup(&error))
    }

    /// Loads and saves the data of `server`, after rights were dropped.
    pub(crate) fn go_on(&self, py: Python<'_>, before: Option<&OwnedFd>) {
        self.load_memory(py, before);
        log_failure(py, "server", &self.object.bind(py).call_method0("save"));
    }

    fn load_memory(&self, py: Python<'_>, before: Option<&OwnedFd>) {
        let before = before.map_or(-1, AsRawFd::as_raw_fd);
        log_failure(py, "server", &self.object.bind(py).call_method1("remember", (before,)));
    }

    /// Notes that this process is the hook process, which calls hooks as gunicorn's master does until it ends.
    pub(crate) fn stay(&self, py: Python<'_>) {
        log_failure(py, "when_ready", &self.object.bind(py).call_method0("stay"));
    }

    /// Calls `when_ready`.
    pub(crate) fn when_ready(&self, py: Python<'_>) -> Result<(), BootFailure> {
        let called = self.object.bind(py).call_method0("when_ready");
        called.map(drop).map_err(|error| failure(py, "when_ready", &error, BootCause::Setup))
    }

    /// Warns of modules that `when_ready` has imported in an earlier process, and that workers will not find loaded.
    pub(crate) fn warn_of_lost(&self, py: Python<'_>) {
        log_failure(py, "when_ready", &self.object.bind(py).call_method0("warn_of_lost"));
    }

    /// Calls `on_exit`, after all workers have ended.
    pub(crate) fn end(&self, py: Python<'_>) {
        log_failure(py, "on_exit", &self.object.bind(py).call_method1("in_master", ("on_exit",)));
    }

    /// Calls `pre_fork`, before a worker is forked.
    pub(crate) fn fork(&self, py: Python<'_>, fork: Fork) -> Result<(), BootFailure> {
        let called = self.object.bind(py).call_method1("fork", (fork.age, fork.max_requests));
        called.map(drop).map_err(|error| failure(py, "pre_fork", &error, BootCause::Raised))
    }

    /// Notes the pid of that worker.
    pub(crate) fn started(&self, py: Python<'_>, pid: i32) {
        log_failure(py, "pre_fork", &self.object.bind(py).call_method1("started", (pid,)));
    }

    /// Calls the hook of an event in the master. Returns the answer to the master about an upgrade, if it asks for one.
    pub(crate) fn note(&self, py: Python<'_>, note: Note) -> Option<bool> {
        let object = self.object.bind(py);
        match note {
            Note::Workers { new, old } => {
                log_failure(py, "nworkers_changed", &object.call_method1("workers", (new, old)));
            }
            Note::Leaving(age) => {
                log_failure(py, "server", &object.call_method1("leaving", (age,)));
            }
            Note::Exited(gone) => {
                log_failure(py, "child_exit", &object.call_method1("exited", (gone.age, gone.pid, gone.call)));
            }
            Note::Upgrading => {
                return Some(log_failure(py, "pre_exec", &object.call_method1("in_master", ("pre_exec",))));
            }
            Note::Ending => self.end(py),
            Note::Closing => {}
        }
        None
    }

    /// Calls `worker_abort`, for a request that has taken too long or a worker that is aborted.
    pub(crate) fn abort(&self, py: Python<'_>) {
        log_failure(py, "worker_abort", &self.object.bind(py).call_method0("abort"));
    }

    /// Calls `post_fork`, in the worker.
    pub(crate) fn forked(&self, py: Python<'_>) -> Result<(), BootFailure> {
        let object = self.object.bind(py);
        let called = object.call_method0("forked").and_then(|_| object.call_method1("call", ("post_fork",)));
        called.map(drop).map_err(|error| failure(py, "post_fork", &error, BootCause::Raised))
    }

    /// Calls `post_worker_init`. Returns the application, which that hook may have wrapped.
    pub(crate) fn loaded<'py>(
        &self,
        py: Python<'py>,
        application: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>, BootFailure> {
        let wrapped = self.object.bind(py).call_method1("loaded", (application,));
        wrapped.map_err(|error| failure(py, "post_worker_init", &error, BootCause::Raised))
    }

    /// Returns the hooks of requests, if there is one.
    pub(crate) fn of_requests<'py>(&self, py: Python<'py>) -> Option<RequestHooks<'py>> {
        self.of_requests.then(|| RequestHooks::new(self.object.bind(py).clone()))
    }
}

/// The callable that `server.app.wsgi()` uses to load an application that is not loaded yet.
#[pyclass(frozen, module = "rwsgi")]
struct Load {
    name: Option<AppName>,
}

#[pymethods]
impl Load {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let name = self.name.as_ref().ok_or_else(|| PyRuntimeError::new_err("no application is named"))?;
        app::load(py, name).map_err(|failure| PyRuntimeError::new_err(failure.to_string()))
    }
}

/// Logs the exception of a hook, if it has raised. True if it has not.
fn log_failure(py: Python<'_>, name: &str, called: &PyResult<Bound<'_, PyAny>>) -> bool {
    if let Err(error) = called {
        tracing::warn!(hook = name, "hook failed\n{}", exceptions::traceback(py, error));
    }
    called.is_ok()
}

fn failure(py: Python<'_>, name: &str, error: &PyErr, cause: BootCause) -> BootFailure {
    let message = format!("{name}: the hook raised {}", exceptions::kind(py, error));
    BootFailure { cause, message, traceback: Some(exceptions::traceback(py, error)) }
}
