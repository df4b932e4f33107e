//! The hooks of a configuration file in Python: functions that it defines, called in gunicorn's order with objects that have
//! gunicorn's names. Where no hook is defined nothing here is made. Which process calls which, the callers know.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule};

use rwsgi::http::Version;
use rwsgi::http::forwarded::Scheme;
use rwsgi::log::CRITICAL;
use rwsgi::message::{BootCause, BootFailure, Fork, Note, Occasion, Start};
use rwsgi::os::listener::{Listener, Peer};
use rwsgi::settings::python_file::HOOKS;
use rwsgi::settings::types::AppName;
use rwsgi::settings::{Settings, TABLE};
use rwsgi::worker::Exchange;

use crate::environ::latin1;
use crate::loggers::Loggers;
use crate::{app, python};

/// The hooks of a process, and `server` and `worker` as they are handed to them.
pub(crate) struct Hooks {
    object: Py<PyAny>,
    /// Is anything to be called for a request?
    of_requests: bool,
    /// Is anything to be called for one that takes too long?
    pub(crate) of_timeouts: bool,
    /// Where the next zygote finds what was put on `server`.
    _memory: OwnedFd,
}

impl Hooks {
    /// The hooks among the names of a file, if there are any.
    pub(crate) fn new(
        py: Python<'_>,
        names: &Bound<'_, PyDict>,
        start: &Start,
        listeners: &[Listener],
        memory: Option<OwnedFd>,
        loggers: Option<&Loggers>,
    ) -> Result<Option<Hooks>, BootFailure> {
        let is_there =
            |name: &&str| names.get_item(name).is_ok_and(|value| value.is_some_and(|value| !value.is_none()));
        let Some(memory) = memory.filter(|_| HOOKS.iter().any(is_there)) else { return Ok(None) };
        let make = || -> PyResult<Hooks> {
            let module = module(py)?;
            let facts = PyDict::new(py);
            facts.set_item("master", start.master)?;
            facts.set_item("title", start.settings.title())?;
            facts.set_item("hooks", HOOKS)?;
            facts.set_item("memory", memory.as_raw_fd())?;
            let listeners: Vec<String> = listeners.iter().map(|listener| listener.address().to_string()).collect();
            facts.set_item("listeners", listeners)?;
            facts.set_item("load", Bound::new(py, Load { name: start.settings.wsgi_app.clone() })?)?;
            facts.set_item("log", loggers.map(|loggers| loggers.log(py)))?;
            facts.set_item("cfg", loggers.and_then(|loggers| loggers.cfg(py)))?;
            let object = module.call_method1("Hooks", (values(py, &start.settings)?, names, facts))?;
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

    /// Calls a worker's hook whose failure is noted and changes nothing.
    pub(crate) fn may(&self, py: Python<'_>, name: &str) {
        noted(py, name, &self.object.bind(py).call_method1("call", (name,)));
    }

    /// The hooks that come before all others, with the rights that the server was started with. What hooks have left to the
    /// next process is taken over before; if that is to lose rights, only after: who left it may have had fewer.
    pub(crate) fn begin(&self, py: Python<'_>, start: &Start, before: Option<&OwnedFd>) -> Result<(), BootFailure> {
        let loses_rights = start.identity.is_change();
        if !loses_rights {
            self.remember(py, before);
        }
        let object = self.object.bind(py);
        let must = |name: &str, called: PyResult<Bound<'_, PyAny>>| {
            called.map(drop).map_err(|error| failure(py, name, &error, BootCause::Setup))
        };
        let first = match start.occasion {
            Occasion::Starting => "on_starting",
            Occasion::Reloading => "on_reload",
            Occasion::Again => return Ok(()),
        };
        must("nworkers_changed", object.call_method1("begin", (start.hooks.workers_before,)))?;
        must(first, object.call_method1("in_master", (first,)))
    }

    /// From now on `server.log` and `server.cfg` are these.
    pub(crate) fn log_by(&self, py: Python<'_>, loggers: &Loggers) -> Result<(), BootFailure> {
        let set = self.object.bind(py).call_method1("log_by", (loggers.log(py), loggers.cfg(py)));
        set.map(drop).map_err(|error| BootFailure::setup(&error))
    }

    /// The rights are what they will be.
    pub(crate) fn go_on(&self, py: Python<'_>, before: Option<&OwnedFd>) {
        self.remember(py, before);
        noted(py, "server", &self.object.bind(py).call_method0("save"));
    }

    fn remember(&self, py: Python<'_>, before: Option<&OwnedFd>) {
        let before = before.map_or(-1, AsRawFd::as_raw_fd);
        noted(py, "server", &self.object.bind(py).call_method1("remember", (before,)));
    }

    /// Calls `when_ready`, in the hook process.
    pub(crate) fn keep(&self, py: Python<'_>) -> Result<(), BootFailure> {
        let kept = self.object.bind(py).call_method0("keep");
        kept.map(drop).map_err(|error| failure(py, "when_ready", &error, BootCause::Setup))
    }

    /// All workers are gone.
    pub(crate) fn end(&self, py: Python<'_>) {
        noted(py, "on_exit", &self.object.bind(py).call_method1("in_master", ("on_exit",)));
    }

    /// A worker is about to be forked.
    pub(crate) fn fork(&self, py: Python<'_>, fork: Fork) -> Result<(), BootFailure> {
        let called = self.object.bind(py).call_method1("fork", (fork.age, fork.max_requests));
        called.map(drop).map_err(|error| failure(py, "pre_fork", &error, BootCause::Raised))
    }

    /// That worker has this pid.
    pub(crate) fn started(&self, py: Python<'_>, pid: i32) {
        noted(py, "pre_fork", &self.object.bind(py).call_method1("started", (pid,)));
    }

    /// Something has happened in the master. Answers what is to be said about an upgrade, if that is asked.
    pub(crate) fn note(&self, py: Python<'_>, note: Note) -> Option<bool> {
        let object = self.object.bind(py);
        match note {
            Note::Workers { new, old } => {
                noted(py, "nworkers_changed", &object.call_method1("workers", (new, old)));
            }
            Note::Leaving(age) => {
                noted(py, "server", &object.call_method1("leaving", (age,)));
            }
            Note::Exited(gone) => {
                noted(py, "child_exit", &object.call_method1("exited", (gone.age, gone.pid, gone.call)));
            }
            Note::Upgrading => return Some(noted(py, "pre_exec", &object.call_method1("in_master", ("pre_exec",)))),
            Note::Ending => self.end(py),
            Note::Closing => {}
        }
        None
    }

    /// A request has taken too long.
    pub(crate) fn abort(&self, py: Python<'_>) {
        noted(py, "worker_abort", &self.object.bind(py).call_method0("abort"));
    }

    /// This process is the worker.
    pub(crate) fn forked(&self, py: Python<'_>) -> Result<(), BootFailure> {
        let object = self.object.bind(py);
        let called = object.call_method0("forked").and_then(|_| object.call_method1("call", ("post_fork",)));
        called.map(drop).map_err(|error| failure(py, "post_fork", &error, BootCause::Raised))
    }

    /// The application is loaded: answers what is to be called in its place.
    pub(crate) fn loaded<'py>(
        &self,
        py: Python<'py>,
        application: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>, BootFailure> {
        let wrapped = self.object.bind(py).call_method1("loaded", (application,));
        wrapped.map_err(|error| failure(py, "post_worker_init", &error, BootCause::Raised))
    }

    /// These hooks, if anything is to be called for a request.
    pub(crate) fn of_requests<'py>(&self, py: Python<'py>) -> Option<RequestHooks<'py>> {
        self.of_requests.then(|| RequestHooks { object: self.object.bind(py).clone() })
    }
}

/// The hooks that are called for each request.
pub(crate) struct RequestHooks<'py> {
    object: Bound<'py, PyAny>,
}

impl<'py> RequestHooks<'py> {
    /// Calls `pre_request`, and answers with the request as the hook has left it.
    pub(crate) fn before(&self, exchange: &Exchange<'_>) -> PyResult<Bound<'py, PyAny>> {
        self.object.call_method1("before", (facts(self.object.py(), exchange)?,))
    }

    /// Changes the environ as the hook has changed the request.
    pub(crate) fn change(&self, request: &Bound<'py, PyAny>, environ: &Bound<'py, PyDict>) -> PyResult<()> {
        self.object.call_method1("change", (request, environ)).map(drop)
    }

    /// Calls `post_request`.
    pub(crate) fn after(
        &self,
        request: &Bound<'py, PyAny>,
        environ: Option<&Bound<'py, PyDict>>,
        exchange: &mut Exchange<'_>,
    ) {
        let py = self.object.py();
        let call = |exchange: &mut Exchange<'_>| -> PyResult<()> {
            let empty = PyDict::new(py);
            let (length, is_begun) = (exchange.body_bytes(), exchange.is_begun());
            let head = exchange.head();
            let status = head.is_started().then(|| latin1(py, head.status())).transpose()?;
            let headers = pairs(py, head.fields(), <[u8]>::to_vec)?;
            let environ = environ.unwrap_or(&empty);
            self.object.call_method1("after", (request, environ, status, headers, length, is_begun)).map(drop)
        };
        if let Err(error) = call(exchange) {
            tracing::error!(hook = "post_request", "hook failed\n{}", python::traceback(py, &error));
        }
    }
}

/// The classes of what hooks are handed.
pub(crate) fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    PyModule::from_code(py, &CString::new(include_str!("../python/hooks.py"))?, c"<rwsgi hooks>", c"_rwsgi_hooks")
}

/// What a request says.
pub(crate) fn facts<'py>(py: Python<'py>, exchange: &Exchange<'_>) -> PyResult<Bound<'py, PyDict>> {
    let request = exchange.request();
    let facts = PyDict::new(py);
    facts.set_item("method", latin1(py, request.method())?)?;
    facts.set_item("uri", latin1(py, request.target())?)?;
    facts.set_item("path", latin1(py, request.path())?)?;
    facts.set_item("query", latin1(py, request.query())?)?;
    facts.set_item("version", if request.version() == Version::Http10 { (1, 0) } else { (1, 1) })?;
    facts.set_item("scheme", if exchange.scheme() == Scheme::Https { "https" } else { "http" })?;
    facts.set_item("must_close", !request.wants_keep_alive())?;
    facts.set_item("headers", pairs(py, request.fields(), <[u8]>::to_ascii_uppercase)?)?;
    match exchange.peer() {
        Peer::Tcp(address) => facts.set_item("peer_addr", (address.ip().to_string(), address.port()))?,
        Peer::Unix => facts.set_item("peer_addr", "")?,
    }
    Ok(facts)
}

/// Names and values, the names as they are to be spelled.
pub(crate) fn pairs<'py, 'a>(
    py: Python<'py>,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    spelled: impl Fn(&[u8]) -> Vec<u8>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (name, value) in fields {
        list.append((latin1(py, &spelled(name))?, latin1(py, value)?))?;
    }
    Ok(list)
}

/// The settings as Python has them: by way of the text that a file would hold.
pub(crate) fn values<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyAny>> {
    let mut text = String::new();
    for row in TABLE {
        if let Some(value) = (row.show)(settings) {
            let _ = writeln!(text, "{} = {value}", row.name);
        }
    }
    let values = py.import("tomllib")?.call_method1("loads", (text,))?;
    for row in TABLE {
        values.call_method1("setdefault", (row.name, py.None()))?;
    }
    Ok(values)
}

/// A line of the error log, with a level of Python's `logging`.
#[pyfunction]
pub(crate) fn write(level: i64, text: &str) {
    match level {
        ..20 => tracing::debug!("{text}"),
        20..30 => tracing::info!("{text}"),
        30..40 => tracing::warn!("{text}"),
        40..50 => tracing::error!("{text}"),
        50.. => tracing::error!(target: CRITICAL, "{text}"),
    }
}

/// What `server.app.wsgi()` loads where the application is not loaded otherwise.
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

/// Says in the log what a hook raised, if it did, and whether it did not.
fn noted(py: Python<'_>, name: &str, called: &PyResult<Bound<'_, PyAny>>) -> bool {
    if let Err(error) = called {
        tracing::warn!(hook = name, "hook failed\n{}", python::traceback(py, error));
    }
    called.is_ok()
}

fn failure(py: Python<'_>, name: &str, error: &PyErr, cause: BootCause) -> BootFailure {
    let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    let message = format!("{name}: the hook raised {kind}");
    BootFailure { cause, message, traceback: Some(python::traceback(py, error)) }
}
