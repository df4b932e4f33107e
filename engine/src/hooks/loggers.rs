//! Python's `logging`: the loggers `gunicorn.error` and `gunicorn.access`, and an instance of a logger class, if the settings
//! name one or a configuration of `logging`. That instance writes the access log, which is slow: Python is called for each
//! request.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};

use rwsgi::http::Request;
use rwsgi::log::{self, CRITICAL};
use rwsgi::message::{BootCause, BootFailure, MirroredLine, Start};
use rwsgi::os::{clock, thread};
use rwsgi::settings::Settings;
use rwsgi::settings::python_file::LOGCONFIG_DICT;
use rwsgi::worker::Exchange;

use crate::exceptions;
use crate::hooks::python_settings;
use crate::hooks::request_facts;
use crate::loading::config_file::{self, ConfigFile};
use crate::native_string;
use crate::python_modules;

/// The loggers of a process.
pub(crate) struct Loggers {
    /// The module `engine/python/loggers.py`.
    module: Py<PyModule>,
    /// The object that hooks know as `server.log`.
    log: Py<PyAny>,
    /// The rest of a logger that writes the access log, if there is one.
    slow: Option<SlowLogger>,
}

/// The objects that such a logger is handed.
struct SlowLogger {
    cfg: Py<PyAny>,
    /// The module with classes of requests and responses.
    classes: Py<PyModule>,
}

impl Loggers {
    /// Makes the loggers that settings and configuration file ask for. Before rights are dropped these lead to rwsgi's own logs.
    pub(crate) fn new(py: Python<'_>, config: Option<&ConfigFile>, start: &Start) -> Result<Loggers, BootFailure> {
        let names = config.map(|config| config.names.bind(py));
        let dictionary = names.and_then(|names| names.get_item(LOGCONFIG_DICT).ok().flatten());
        let dictionary = dictionary.filter(|found| found.is_truthy().unwrap_or(true));
        let settings = &start.settings;
        let (name, is_slow) = reason(settings, dictionary.is_some());
        // Files that a configuration of `logging` names are not opened with more rights than the application has.
        let is_slow = is_slow && !start.identity.is_change();
        let make = || -> PyResult<Loggers> {
            let module = python_modules::loggers(py)?;
            let made = if is_slow { Some(construct(py, &module, names, dictionary.as_ref(), start)?) } else { None };
            let (log, slow) = match made {
                Some((log, slow)) => (log, Some(slow)),
                None => (fast(&module, settings)?, None),
            };
            Ok(Loggers { module: module.unbind(), log: log.unbind(), slow })
        };
        make().map_err(|error| {
            let message = format!("{name}: {}: {}", exceptions::kind(py, &error), error.value(py));
            BootFailure { cause: BootCause::Setup, message, traceback: Some(exceptions::traceback(py, &error)) }
        })
    }

    /// Returns the object that hooks know as `server.log`.
    pub(crate) fn log<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.log.bind(py)
    }

    /// Returns the settings as the logger was handed them, if it was.
    pub(crate) fn cfg<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.slow.as_ref().map(|slow| slow.cfg.bind(py))
    }

    /// True if they write the access log.
    pub(crate) fn write_access(&self) -> bool {
        self.slow.is_some()
    }

    /// Begins to pass the server's own lines to Python's logging, if settings ask for that.
    pub(crate) fn begin_relay(&self) {
        log::mirror(self.slow.is_some());
    }

    /// Passes a line of the master to Python's logging.
    pub(crate) fn relay_line(&self, py: Python<'_>, line: MirroredLine) {
        relay(self.module.bind(py), self.log.bind(py), vec![line]);
    }

    /// Passes this process's own lines to Python's logging.
    pub(crate) fn relay_own(&self, py: Python<'_>) {
        if self.slow.is_some() {
            relay(self.module.bind(py), self.log.bind(py), log::take_mirrored());
        }
    }

    /// Opens the files of Python's handlers anew, because they may have been renamed.
    pub(crate) fn reopen(&self, py: Python<'_>) {
        if let Err(error) = self.module.bind(py).call_method1("reopen", (self.log.bind(py),)) {
            tracing::error!("files of Python's loggers not opened anew\n{}", exceptions::traceback(py, &error));
        }
    }

    /// Does the same in a thread of its own, so that the caller need not acquire the GIL.
    pub(crate) fn reopen_soon(&'static self) {
        if let Err(error) = thread::start_large("rwsgi-reopen", || Python::attach(|py| self.reopen(py))) {
            tracing::error!(%error, "files of Python's loggers not opened anew");
        }
    }

    /// Returns the logger that is told of each request, if there is one.
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
    /// Logs a request that began at `started`, in ns of the monotonic clock. `request` is the one that hooks were handed.
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
                None => request_facts::facts(py, exchange)?.into_any(),
            };
            let (length, is_begun) = (exchange.body_bytes(), exchange.is_begun());
            let head = exchange.head();
            let status = if head.is_started() { head.status() } else { NO_STATUS };
            let (status, fields) =
                (native_string::from_bytes(py, status)?, request_facts::pairs(py, head.fields(), <[u8]>::to_vec)?);
            let answer = (&self.log, &self.classes, request, environ, status, fields, length, is_begun, elapsed);
            self.module.call_method1("access", answer).map(drop)
        };
        if let Err(error) = call(exchange) {
            tracing::error!("the logger failed at a request\n{}", exceptions::traceback(py, &error));
        }
        relay(&self.module, &self.log, log::take_mirrored());
    }

    /// Logs an exception of the application. True if the logger took it.
    pub(crate) fn exception(&self, request: Request<'_>, error: &PyErr) -> bool {
        let py = self.log.py();
        let line = [request.method(), b" ", request.target()].concat();
        let told = native_string::from_bytes(py, &line).and_then(|line| {
            let raised = (&self.log, line, error.value(py), error.traceback(py));
            self.module.call_method1("exception", raised)
        });
        rwsgi::log::count_exception();
        told.inspect_err(|error| tracing::error!("the logger failed\n{}", exceptions::traceback(py, error))).is_ok()
    }
}

/// Passes lines of the server to the logger. A handler that fails changes nothing.
fn relay(module: &Bound<'_, PyModule>, log: &Bound<'_, PyAny>, lines: Vec<MirroredLine>) {
    if lines.is_empty() {
        return;
    }
    let lines: Vec<_> = lines.into_iter().map(|line| (line.level, line.text, line.pid, line.created)).collect();
    if let Err(error) = module.call_method1("relay", (log, lines)) {
        tracing::debug!("the logger failed at a line of the server\n{}", exceptions::traceback(module.py(), &error));
    }
}

/// Returns the setting that asks for a logger class, and whether one does.
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

/// Returns loggers that lead to rwsgi's own logs.
fn fast<'py>(module: &Bound<'py, PyModule>, settings: &Settings) -> PyResult<Bound<'py, PyAny>> {
    use rwsgi::settings::types::Text as _;
    let py = module.py();
    let (write, access) = (pyo3::wrap_pyfunction!(write, py)?, pyo3::wrap_pyfunction!(write_access, py)?);
    module.getattr("Log")?.call1((settings.loglevel.text(), write, access))
}

/// Makes an instance of the class that the settings name.
fn construct<'py>(
    py: Python<'py>,
    module: &Bound<'py, PyModule>,
    names: Option<&Bound<'py, PyDict>>,
    dictionary: Option<&Bound<'py, PyAny>>,
    start: &Start,
) -> PyResult<(Bound<'py, PyAny>, SlowLogger)> {
    let settings = &start.settings;
    for path in [&settings.logconfig, &settings.logconfig_json].into_iter().flatten() {
        module.call_method1("find", (path,))?;
    }
    let values = python_settings::values(py, start)?;
    values.set_item(LOGCONFIG_DICT, dictionary.map_or_else(|| PyDict::new(py).into_any(), Clone::clone))?;
    let classes = python_modules::hooks(py)?;
    let cfg = classes.getattr("Config")?.call1((values, PyDict::new(py)))?;
    let log = module.call_method1("construct", (class(py, settings, names)?, &cfg))?;
    Ok((log, SlowLogger { cfg: cfg.unbind(), classes: classes.unbind() }))
}

/// Returns the class that the file defines, or the dotted name if another source has overridden the file.
fn class<'py>(py: Python<'py>, settings: &Settings, names: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
    if let Some(given) = names.map(|names| names.get_item("logger_class")).transpose()?.flatten() {
        if config_file::qualified(&given) == settings.logger_class {
            return Ok(given);
        }
    }
    Ok(PyString::new(py, &settings.logger_class).into_any())
}

/// Writes a line of the error log, with a level of Python's `logging`.
#[pyfunction]
fn write(level: i64, text: &str) {
    match level {
        ..20 => tracing::debug!("{text}"),
        20..30 => tracing::info!("{text}"),
        30..40 => tracing::warn!("{text}"),
        40..50 => tracing::error!("{text}"),
        50.. => tracing::error!(target: CRITICAL, "{text}"),
    }
}

/// Writes a line of the access log.
#[pyfunction]
fn write_access(_level: i64, text: &str) {
    rwsgi::log::access(&text.replace('\n', "\\n"));
}

/// The status of a request that ended without a response.
const NO_STATUS: &[u8] = b"500 Internal Server Error";
