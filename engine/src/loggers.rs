//! Python's `logging`: the loggers `gunicorn.error` and `gunicorn.access` that applications and hooks know, and, if the
//! settings name a logger class or a configuration of `logging`, an instance of such a class, which then writes the access
//! log. That is the slow way: Python is called for each request. Without it nothing here is called for one.

use std::ffi::CString;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};

use rwsgi::http::Request;
use rwsgi::message::{BootCause, BootFailure, Start};
use rwsgi::os::{clock, thread};
use rwsgi::settings::Settings;
use rwsgi::settings::python_file::LOGCONFIG_DICT;
use rwsgi::worker::Exchange;

use crate::config_file::{self, Conf, offer_gunicorn};
use crate::environ::latin1;
use crate::{hooks, python};

/// The loggers of a process.
pub(crate) struct Loggers {
    /// What does the work, in Python.
    module: Py<PyModule>,
    /// What hooks know as `server.log`.
    log: Py<PyAny>,
    /// If the settings name a logger of Python's.
    slow: Option<Slow>,
}

/// What that logger is handed.
struct Slow {
    cfg: Py<PyAny>,
    /// The module with classes of requests and responses.
    classes: Py<PyModule>,
}

impl Loggers {
    /// Makes the loggers that settings and configuration file ask for; before the rights are dropped, those that lead to
    /// rwsgi's own logs.
    pub(crate) fn new(py: Python<'_>, conf: Option<&Conf>, start: &Start) -> Result<Loggers, BootFailure> {
        let names = conf.map(|conf| conf.names.bind(py));
        let dictionary = names.and_then(|names| names.get_item(LOGCONFIG_DICT).ok().flatten());
        let dictionary = dictionary.filter(|found| found.is_truthy().unwrap_or(true));
        let settings = &start.settings;
        let (name, is_slow) = reason(settings, dictionary.is_some());
        // Files that a configuration of `logging` names are not opened with more rights than the application has.
        let is_slow = is_slow && !start.identity.is_change();
        let make = || -> PyResult<Loggers> {
            let module = PyModule::from_code(
                py,
                &CString::new(include_str!("../python/loggers.py"))?,
                c"<rwsgi loggers>",
                c"_rwsgi_loggers",
            )?;
            let made = if is_slow { Some(construct(py, &module, names, dictionary.as_ref(), start)?) } else { None };
            let (log, slow) = match made {
                Some((log, slow)) => (log, Some(slow)),
                None => (fast(&module, settings)?, None),
            };
            Ok(Loggers { module: module.unbind(), log: log.unbind(), slow })
        };
        make().map_err(|error| {
            let message = format!("{name}: {}", words(py, &error));
            BootFailure { cause: BootCause::Setup, message, traceback: Some(python::traceback(py, &error)) }
        })
    }

    /// What hooks know as `server.log`.
    pub(crate) fn log<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.log.bind(py)
    }

    /// The settings as the logger was handed them, if it was.
    pub(crate) fn cfg<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.slow.as_ref().map(|slow| slow.cfg.bind(py))
    }

    /// Do they write the access log?
    pub(crate) fn write_access(&self) -> bool {
        self.slow.is_some()
    }

    /// The files of Python's handlers were renamed, maybe: opens them anew.
    pub(crate) fn reopen(&self, py: Python<'_>) {
        if let Err(error) = self.module.bind(py).call_method1("reopen", (self.log.bind(py),)) {
            tracing::error!("files of Python's loggers not opened anew\n{}", python::traceback(py, &error));
        }
    }

    /// The same, for whoever must not wait for the interpreter.
    pub(crate) fn reopen_soon(&'static self) {
        if let Err(error) = thread::start_large("rwsgi-reopen", || Python::attach(|py| self.reopen(py))) {
            tracing::error!(%error, "files of Python's loggers not opened anew");
        }
    }

    /// What is called for each request, if anything.
    pub(crate) fn of_requests<'py>(&self, py: Python<'py>) -> Option<RequestLogger<'py>> {
        let slow = self.slow.as_ref()?;
        Some(RequestLogger {
            module: self.module.bind(py).clone(),
            log: self.log.bind(py).clone(),
            classes: slow.classes.bind(py).clone(),
        })
    }
}

/// A logger that is told of each request.
pub(crate) struct RequestLogger<'py> {
    module: Bound<'py, PyModule>,
    log: Bound<'py, PyAny>,
    classes: Bound<'py, PyModule>,
}

impl<'py> RequestLogger<'py> {
    /// A request was answered that began at `started`, in ns of the monotonic clock. `request` is what hooks have seen of it.
    pub(crate) fn note(
        &self,
        request: Option<&Bound<'py, PyAny>>,
        environ: Option<&Bound<'py, PyDict>>,
        exchange: &mut Exchange<'_>,
        started: u64,
    ) {
        let py = self.log.py();
        let elapsed = clock::monotonic().saturating_sub(started) / 1000;
        let call = |exchange: &mut Exchange<'_>| -> PyResult<()> {
            let request = match request {
                Some(request) => request.clone(),
                None => hooks::facts(py, exchange)?.into_any(),
            };
            let (length, is_begun) = (exchange.body_bytes(), exchange.is_begun());
            let head = exchange.head();
            let status = if head.is_started() { head.status() } else { NO_STATUS };
            let (status, fields) = (latin1(py, status)?, hooks::pairs(py, head.fields(), <[u8]>::to_vec)?);
            let answer = (&self.log, &self.classes, request, environ, status, fields, length, is_begun, elapsed);
            self.module.call_method1("access", answer).map(drop)
        };
        if let Err(error) = call(exchange) {
            tracing::error!("the logger failed at a request\n{}", python::traceback(py, &error));
        }
    }

    /// The application has raised; says whether the logger knows now.
    pub(crate) fn exception(&self, request: Request<'_>, error: &PyErr) -> bool {
        let py = self.log.py();
        let line = [request.method(), b" ", request.target()].concat();
        let told = latin1(py, &line).and_then(|line| {
            let raised = (&self.log, line, error.value(py), error.traceback(py));
            self.module.call_method1("exception", raised)
        });
        rwsgi::log::count_exception();
        told.inspect_err(|error| tracing::error!("the logger failed\n{}", python::traceback(py, error))).is_ok()
    }
}

/// The setting that asks for the slow way, and whether one does.
fn reason(settings: &Settings, has_dictionary: bool) -> (&'static str, bool) {
    if has_dictionary {
        return (LOGCONFIG_DICT, true);
    }
    if settings.logconfig_json.is_some() {
        return ("logconfig_json", true);
    }
    if settings.logconfig.is_some() {
        return ("logconfig", true);
    }
    ("logger_class", settings.is_logged_by_python())
}

/// Loggers that lead to rwsgi's own logs.
fn fast<'py>(module: &Bound<'py, PyModule>, settings: &Settings) -> PyResult<Bound<'py, PyAny>> {
    use rwsgi::settings::types::Text as _;
    let py = module.py();
    let (write, access) = (pyo3::wrap_pyfunction!(hooks::write, py)?, pyo3::wrap_pyfunction!(write_access, py)?);
    module.getattr("Log")?.call1((settings.loglevel.text(), write, access))
}

/// An instance of the class that the settings name.
fn construct<'py>(
    py: Python<'py>,
    module: &Bound<'py, PyModule>,
    names: Option<&Bound<'py, PyDict>>,
    dictionary: Option<&Bound<'py, PyAny>>,
    start: &Start,
) -> PyResult<(Bound<'py, PyAny>, Slow)> {
    let settings = &start.settings;
    if names.is_none() {
        offer_gunicorn(py)?;
    }
    for path in [&settings.logconfig, &settings.logconfig_json].into_iter().flatten() {
        module.call_method1("find", (path,))?;
    }
    let values = hooks::values(py, settings)?;
    values.set_item(LOGCONFIG_DICT, dictionary.map_or_else(|| PyDict::new(py).into_any(), Clone::clone))?;
    values.set_item("proc_name", settings.title())?;
    let me = py.import("os")?;
    let number =
        |given: Option<u32>, name: &str| given.map_or_else(|| me.call_method0(name)?.extract(), Ok::<u32, PyErr>);
    values.set_item("user", number(start.identity.user, "geteuid")?)?;
    values.set_item("group", number(start.identity.group, "getegid")?)?;
    let classes = hooks::module(py)?;
    let cfg = classes.getattr("Config")?.call1((values, PyDict::new(py)))?;
    let log = module.call_method1("construct", (class(py, settings, names)?, &cfg))?;
    Ok((log, Slow { cfg: cfg.unbind(), classes: classes.unbind() }))
}

/// The class as the file defines it, or its dotted name. Another source than the file may have the last word.
fn class<'py>(py: Python<'py>, settings: &Settings, names: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
    if let Some(given) = names.map(|names| names.get_item("logger_class")).transpose()?.flatten() {
        if config_file::qualified(&given) == settings.logger_class {
            return Ok(given);
        }
    }
    Ok(PyString::new(py, &settings.logger_class).into_any())
}

/// A line of the access log.
#[pyfunction]
fn write_access(_level: i64, text: &str) {
    rwsgi::log::access(&text.replace('\n', "\\n"));
}

/// What went wrong, in a line.
fn words(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    format!("{kind}: {}", error.value(py))
}

/// A request that ended without a response.
const NO_STATUS: &[u8] = b"500 Internal Server Error";
