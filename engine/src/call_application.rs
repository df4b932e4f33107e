//! The cycle of PEP 3333: an environ, a call, a response iterated and closed. What an application does wrong ends here,
//! in the error log and an error page.

use std::borrow::Cow;
use std::cell::RefCell;

use pyo3::exceptions::{PyOSError, PyStopIteration};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use rwsgi::os::clock;
use rwsgi::os::fork_guard;
use rwsgi::os::listener::Listener;
use rwsgi::settings::Settings;
use rwsgi::worker::{Application, BodyBuffer, Delivery, Exchange};

use crate::client_socket::ClientSocket;
use crate::environ::Environs;
use crate::errors::ErrorStream;
use crate::file_wrapper::{FileWrapper, Rest};
use crate::held_bytes::{self, Incoming, Outgoing};
use crate::hooks::RequestHooks;
use crate::loggers::RequestLogger;
use crate::python;
use crate::request_timeout::{self, Caller, RequestTimeout};
use crate::start_response::Callables;

/// An application, ready to be called by one thread.
pub(crate) struct Cycle<'py> {
    py: Python<'py>,
    application: Bound<'py, PyAny>,
    caller: &'static Caller,
    parts: RefCell<Parts<'py>>,
    hooks: Option<RequestHooks<'py>>,
    logger: Option<RequestLogger<'py>>,
    /// The keys of the environ that the access log reads when the application is through.
    logged: Vec<Logged<'py>>,
}

/// A key of the environ, as the format spells it and in capitals and small letters: gunicorn takes any spelling.
struct Logged<'py>([Bound<'py, PyString>; 3]);

impl<'py> Logged<'py> {
    fn new(py: Python<'py>, key: &str) -> Logged<'py> {
        Logged([key, &key.to_ascii_uppercase(), &key.to_ascii_lowercase()].map(|key| PyString::intern(py, key)))
    }

    fn of(&self, environ: &Bound<'py, PyDict>) -> Option<Bound<'py, PyAny>> {
        self.0.iter().find_map(|key| environ.get_item(key).ok().flatten())
    }
}

struct Parts<'py> {
    environs: Environs<'py>,
    callables: Callables<'py>,
}

impl<'py> Cycle<'py> {
    pub(crate) fn new(
        py: Python<'py>,
        application: Bound<'py, PyAny>,
        listeners: &[Listener],
        settings: &Settings,
        caller: &'static Caller,
    ) -> PyResult<Cycle<'py>> {
        caller.begin(py)?;
        let keys = shared_keys(py, settings)?;
        keys.update(request_timeout::keys(py, caller)?.as_mapping())?;
        let callables = Callables::new(py)?;
        keys.set_item("wsgi.early_hints", callables.latest().getattr("early_hints")?)?;
        keys.set_item("gunicorn.socket", Bound::new(py, ClientSocket::of_thread(callables.latest()))?)?;
        let environs = Environs::new(py, &keys, listeners, settings.trust())?;
        let parts = RefCell::new(Parts { environs, callables });
        held_bytes::set_attached(true);
        Ok(Cycle { py, application, caller, parts, hooks: None, logger: None, logged: Vec::new() })
    }

    /// The same, which tells the access log of these keys of the environ.
    pub(crate) fn with_logged(self, keys: &[String]) -> Cycle<'py> {
        Cycle { logged: keys.iter().map(|key| Logged::new(self.py, key)).collect(), ..self }
    }

    /// The same, with hooks that are called for each request.
    pub(crate) fn with_hooks(self, hooks: Option<RequestHooks<'py>>) -> Cycle<'py> {
        Cycle { hooks, ..self }
    }

    /// The same, with a logger that is told of each request.
    pub(crate) fn with_logger(self, logger: Option<RequestLogger<'py>>) -> Cycle<'py> {
        Cycle { logger, ..self }
    }

    /// One request between `pre_request` and `post_request`, with its line in a log of Python's. What goes wrong within is
    /// dealt with before these.
    fn respond_watched(&self, exchange: &mut Exchange<'_>) {
        let started = clock::monotonic();
        let hooks = self.hooks.as_ref();
        let (mut request, mut environ) = (None, None);
        match hooks.map(|hooks| hooks.before(exchange)).transpose() {
            Ok(seen) => {
                request = seen;
                self.respond_or_fail(exchange, |made| {
                    environ = Some(made.clone());
                    hooks.zip(request.as_ref()).map_or(Ok(()), |(hooks, request)| hooks.change(request, made))
                });
            }
            Err(error) => self.failed(exchange, &error, false),
        }
        if let Some(logger) = &self.logger {
            logger.note(request.as_ref(), environ.as_ref(), exchange, started);
        }
        if let Some((hooks, request)) = hooks.zip(request.as_ref()) {
            hooks.after(request, environ.as_ref(), exchange);
        }
    }

    fn respond_or_fail(&self, exchange: &mut Exchange<'_>, look: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>) {
        let outcome = self.respond(exchange, look);
        let timed_out = self.caller.leave();
        fork_guard::end_if_forked();
        match outcome {
            Ok(()) => {}
            // By which applications that have taken the socket say that there is no response, as to gunicorn.
            Err(error)
                if exchange.is_hijacked()
                    && !exchange.is_begun()
                    && error.is_instance_of::<PyStopIteration>(self.py) =>
            {
                exchange.end_hijacked();
            }
            Err(error) => self.failed(exchange, &error, timed_out),
        }
    }

    /// Says what went wrong, and answers in the application's place.
    fn failed(&self, exchange: &mut Exchange<'_>, error: &PyErr, timed_out: bool) {
        fork_guard::end_if_forked();
        let request = exchange.request();
        let (method, path) = (request.method().escape_ascii(), request.path().escape_ascii());
        let query =
            Some(request.query()).filter(|query| !query.is_empty()).map(|query| query.escape_ascii().to_string());
        if exchange.body_failed() && error.is_instance_of::<PyOSError>(self.py) {
            // The client's doing, which the application did not care to handle.
            tracing::info!(%method, %path, query, %error, "request body not whole");
        } else if timed_out && error.is_instance_of::<RequestTimeout>(self.py) {
            let answered = !exchange.is_begun();
            tracing::warn!(%method, %path, query, answered, "request ended by its timeout");
        } else if self.logger.as_ref().is_none_or(|logger| !logger.exception(request, error)) {
            tracing::error!(%method, %path, query, "error handling request\n{}", python::traceback(self.py, error));
        }
        if timed_out {
            exchange.refuse(504);
        } else {
            exchange.fail();
        }
    }

    /// `look` sees the environ before the application does.
    fn respond(
        &self,
        exchange: &mut Exchange<'_>,
        look: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = self.py;
        let mut parts = self.parts.borrow_mut();
        let Some(environ) = parts.environs.build(py, exchange)? else {
            exchange.refuse(404);
            return Ok(());
        };
        let start_response = parts.callables.start_for(exchange).clone();
        drop(parts);
        look(&environ)?;
        if self.logged.is_empty() {
            return self.answer(exchange, environ, start_response);
        }
        let outcome = self.answer(exchange, environ.clone(), start_response);
        for (place, key) in self.logged.iter().enumerate() {
            if let Some(text) = key.of(&environ).and_then(|value| value.str().ok()) {
                exchange.environ().set(place, &raw(&text.to_string_lossy()));
            }
        }
        outcome
    }

    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        environ: Bound<'py, PyDict>,
        start_response: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = self.py;
        self.caller.enter();
        let result = call(&self.application, &environ, &start_response)?;
        drop((environ, start_response));
        let sent = send(py, exchange, &result);
        // Whatever became of the response, the iterable is closed, once.
        let closed = close(py, &result);
        sent.and(closed)
    }
}

impl Application for Cycle<'_> {
    fn call(&self, exchange: &mut Exchange<'_>) {
        if self.hooks.is_none() && self.logger.is_none() {
            self.respond_or_fail(exchange, |_| Ok(()));
        } else {
            self.respond_watched(exchange);
        }
        fork_guard::end_if_forked();
        let mut parts = self.parts.borrow_mut();
        parts.environs.release();
        if let Err(error) = parts.callables.release(self.py) {
            tracing::error!(%error, "start_response cannot be renewed");
        }
    }

    fn body_buffer(&self, length: usize) -> Option<Box<dyn BodyBuffer>> {
        Detach(self.py).body_buffer(length)
    }

    fn detached<T>(&self, step: impl FnOnce() -> T) -> T {
        Detach(self.py).detached(step)
    }
}

/// Steps that may block, from a thread that is attached.
pub(crate) struct Detach<'py>(pub(crate) Python<'py>);

impl Application for Detach<'_> {
    fn call(&self, exchange: &mut Exchange<'_>) {
        exchange.fail();
    }

    fn body_buffer(&self, length: usize) -> Option<Box<dyn BodyBuffer>> {
        Some(Box::new(Incoming::new(self.0, length)?))
    }

    fn detached<T>(&self, step: impl FnOnce() -> T) -> T {
        // What came while this thread was attached would not end the sleep.
        self.run_signal_handlers();
        // SAFETY: `Python` in hand says that this thread is attached; the guard attaches it again, also when `step`
        // panics, before anything Python is touched: `step` gets no `Python`.
        let result = unsafe {
            let _attached_again = Attach { state: ffi::PyEval_SaveThread(), was: held_bytes::set_attached(false) };
            step()
        };
        held_bytes::give_up(self.0);
        // A signal may have ended the sleep.
        self.run_signal_handlers();
        result
    }
}

impl Detach<'_> {
    /// The application's own signal handlers get their turn.
    fn run_signal_handlers(&self) {
        // SAFETY: the thread is attached.
        if unsafe { ffi::PyErr_CheckSignals() } == 0 {
            return;
        }
        let error = PyErr::fetch(self.0);
        if error.is_instance_of::<RequestTimeout>(self.0) {
            request_timeout::put_off(self.0);
        } else {
            tracing::error!("error in a signal handler of the application\n{}", python::traceback(self.0, &error));
        }
    }
}

struct Attach {
    state: *mut ffi::PyThreadState,
    was: bool,
}

impl Drop for Attach {
    fn drop(&mut self) {
        // SAFETY: the state was saved by PyEval_SaveThread in this thread, which has not attached since.
        unsafe { ffi::PyEval_RestoreThread(self.state) };
        held_bytes::set_attached(self.was);
    }
}

/// The bytes that a text of an environ stands for (PEP 3333: a character a byte); UTF-8 if it stands for none.
fn raw(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.as_bytes().into();
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    bytes.map_or_else(|| text.as_bytes().into(), Cow::from)
}

/// Calls the application without making a tuple of the two arguments, if it needs none.
fn call<'py>(
    application: &Bound<'py, PyAny>,
    environ: &Bound<'py, PyDict>,
    start_response: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let end = std::ptr::null_mut::<ffi::PyObject>();
    // SAFETY: the thread is attached; all are live objects, and null ends the arguments. The result is a new reference, or
    // null with an exception set.
    unsafe {
        let result =
            ffi::PyObject_CallFunctionObjArgs(application.as_ptr(), environ.as_ptr(), start_response.as_ptr(), end);
        Bound::from_owned_ptr_or_err(application.py(), result)
    }
}

/// Sends what the application returned, each piece as it comes.
fn send<'py>(py: Python<'py>, exchange: &mut Exchange<'_>, result: &Bound<'py, PyAny>) -> PyResult<()> {
    let app = Detach(py);
    let file =
        result.cast_exact::<FileWrapper>().ok().filter(|_| exchange.takes_file()).and_then(|file| file.get().rest(py));
    if let Some(Rest { file, offset, length }) = file {
        started(exchange)?;
        exchange.send_file(&app, file, offset, length);
    } else if let Some(only) = only_piece(result) {
        let bytes = piece(&only)?;
        started(exchange)?;
        exchange.send_whole(&app, bytes.as_bytes(), || Outgoing::of(bytes));
    } else {
        let pieces = result.try_iter().map_err(|_| not_bytes(result))?;
        for item in pieces {
            let item = item?;
            let bytes = piece(&item)?;
            started(exchange)?;
            // PEP 3333: an empty piece is no reason to send the head.
            if !bytes.as_bytes().is_empty() && exchange.send(&app, bytes.as_bytes()) == Delivery::Gone {
                return Ok(());
            }
        }
        started(exchange)?;
    }
    exchange.finish();
    Ok(())
}

/// The piece of an iterable that is known to have one, so that its length is the body's.
fn only_piece<'py>(result: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if let Ok(list) = result.cast_exact::<PyList>() {
        return (list.len() == 1).then(|| list.get_item(0).ok()).flatten();
    }
    let tuple = result.cast_exact::<PyTuple>().ok()?;
    (tuple.len() == 1).then(|| tuple.get_item(0).ok()).flatten()
}

fn piece<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    item.cast::<PyBytes>().map_err(|_| not_bytes(item))
}

fn not_bytes(found: &Bound<'_, PyAny>) -> PyErr {
    let kind = found.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    pyo3::exceptions::PyTypeError::new_err(format!("response: expected an iterable of bytes, found {kind}"))
}

/// There is a head to send, or it is sent.
pub(crate) fn started(exchange: &mut Exchange<'_>) -> PyResult<()> {
    if exchange.is_begun() || exchange.head().is_started() {
        return Ok(());
    }
    Err(pyo3::exceptions::PyAssertionError::new_err("the application did not call start_response"))
}

fn close<'py>(py: Python<'py>, result: &Bound<'py, PyAny>) -> PyResult<()> {
    if result.is_exact_instance_of::<PyList>() || result.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    match result.getattr_opt(intern!(py, "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// The keys that are the same in every environ of this worker.
fn shared_keys<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyDict>> {
    let keys = PyDict::new(py);
    keys.set_item("wsgi.version", (1, 0))?;
    keys.set_item("wsgi.url_scheme", "http")?;
    keys.set_item("wsgi.errors", Bound::new(py, ErrorStream::default())?)?;
    keys.set_item("wsgi.multithread", settings.threads() > 1)?;
    keys.set_item("wsgi.multiprocess", settings.most_workers(1) > 1)?;
    keys.set_item("wsgi.run_once", false)?;
    keys.set_item("wsgi.input_terminated", true)?;
    keys.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
    keys.set_item("SERVER_SOFTWARE", python::SOFTWARE)?;
    if settings.tls().is_some() {
        keys.set_item("HTTPS", "on")?;
    }
    Ok(keys)
}
