//! The hooks of a configuration file in Python: functions that it defines, called in gunicorn's order with objects that have
//! gunicorn's names. Where no hook is defined nothing here is made. Which process calls which, the callers know.

use std::ffi::CString;
use std::fmt::Write as _;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule};

use rwsgi::http::Version;
use rwsgi::http::forwarded::Scheme;
use rwsgi::log::CRITICAL;
use rwsgi::message::{BootCause, BootFailure, Fork, Start};
use rwsgi::os::listener::Peer;
use rwsgi::settings::python_file::HOOKS;
use rwsgi::settings::{Settings, TABLE};
use rwsgi::worker::Exchange;

use crate::environ::latin1;
use crate::loggers::Loggers;
use crate::python;

/// The hooks of a process, and `server` and `worker` as they are handed to them.
pub(crate) struct Hooks {
    object: Py<PyAny>,
    /// Is anything to be called for a request?
    of_requests: bool,
}

impl Hooks {
    /// The hooks among the names of a file, if there are any.
    pub(crate) fn new(
        py: Python<'_>,
        names: &Bound<'_, PyDict>,
        start: &Start,
        loggers: Option<&Loggers>,
    ) -> Result<Option<Hooks>, BootFailure> {
        let is_there =
            |name: &&str| names.get_item(name).is_ok_and(|value| value.is_some_and(|value| !value.is_none()));
        if !HOOKS.iter().any(is_there) {
            return Ok(None);
        }
        let make = || -> PyResult<Hooks> {
            let module = module(py)?;
            let facts = PyDict::new(py);
            facts.set_item("master", start.master)?;
            facts.set_item("title", start.settings.title())?;
            facts.set_item("hooks", HOOKS)?;
            facts.set_item("log", loggers.map(|loggers| loggers.log(py)))?;
            facts.set_item("cfg", loggers.and_then(|loggers| loggers.cfg(py)))?;
            let object = module.call_method1("Hooks", (values(py, &start.settings)?, names, facts))?;
            let has = |name: &str| object.call_method1("has", (name,))?.is_truthy();
            let of_requests = has("pre_request")? || has("post_request")?;
            Ok(Hooks { object: object.unbind(), of_requests })
        };
        make().map(Some).map_err(|error| failure(py, "hooks", &error, BootCause::Setup))
    }

    /// Calls a hook without which the server or the worker is not to go on.
    pub(crate) fn must(&self, py: Python<'_>, name: &str, cause: BootCause) -> Result<(), BootFailure> {
        self.call(py, name).map_err(|error| failure(py, name, &error, cause))
    }

    /// Calls a hook whose failure is noted and changes nothing.
    pub(crate) fn may(&self, py: Python<'_>, name: &str) {
        if let Err(error) = self.call(py, name) {
            tracing::warn!(hook = name, "hook failed\n{}", python::traceback(py, &error));
        }
    }

    fn call(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.object.bind(py).call_method1("call", (name,)).map(drop)
    }

    /// A worker is about to be forked.
    pub(crate) fn fork(&self, py: Python<'_>, fork: Fork) -> Result<(), BootFailure> {
        let made = self.object.bind(py).call_method1("fork", (fork.age, fork.max_requests));
        made.map_err(|error| failure(py, "pre_fork", &error, BootCause::Raised))?;
        self.must(py, "pre_fork", BootCause::Raised)
    }

    /// This process is the worker.
    pub(crate) fn forked(&self, py: Python<'_>) -> Result<(), BootFailure> {
        let made = self.object.bind(py).call_method0("forked");
        made.map_err(|error| failure(py, "post_fork", &error, BootCause::Raised))?;
        self.must(py, "post_fork", BootCause::Raised)
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
    PyModule::from_code(py, &CString::new(include_str!("hooks.py"))?, c"<rwsgi hooks>", c"_rwsgi_hooks")
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

fn failure(py: Python<'_>, name: &str, error: &PyErr, cause: BootCause) -> BootFailure {
    let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    let message = format!("{name}: the hook raised {kind}");
    BootFailure { cause, message, traceback: Some(python::traceback(py, error)) }
}
