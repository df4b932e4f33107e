//! Calls the application as PEP 3333 asks: an environ, a call, a response that is iterated and closed. Errors of the application
//! end here, in the error log and an error page.

use std::cell::RefCell;

use pyo3::exceptions::{PyOSError, PyStopIteration};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use rwsgi::os::clock;
use rwsgi::os::fork_guard;
use rwsgi::os::listener::Listener;
use rwsgi::settings::Settings;
use rwsgi::worker::{Application, BodyBuffer, Delivery, Exchange};

use crate::exceptions::{self, wrong_type};
use crate::gil::Detach;
use crate::held_bytes::{self, OutgoingBody};
use crate::hooks::loggers::RequestLogger;
use crate::hooks::request_hooks::RequestHooks;
use crate::timeouts::caller::{self, Caller};
use crate::timeouts::request_timeout::RequestTimeout;
use crate::wsgi::banner;
use crate::wsgi::client_socket::ClientSocket;
use crate::wsgi::environ::Environs;
use crate::wsgi::errors::ErrorStream;
use crate::wsgi::file_wrapper::{FileWrapper, Rest};
use crate::wsgi::logged_environ::LoggedKey;
use crate::wsgi::start_response::{Callables, check_started};

/// An application that one thread calls.
pub(crate) struct CallApplication<'py> {
    py: Python<'py>,
    application: Bound<'py, PyAny>,
    caller: &'static Caller,
    parts: RefCell<Parts<'py>>,
    hooks: Option<RequestHooks<'py>>,
    logger: Option<RequestLogger<'py>>,
    /// The keys of the environ that the access log reads after the application has returned.
    logged: Vec<LoggedKey<'py>>,
}

/// The parts that change while a request is served.
struct Parts<'py> {
    environs: Environs<'py>,
    callables: Callables<'py>,
}

impl<'py> CallApplication<'py> {
    pub(crate) fn new(
        py: Python<'py>,
        application: Bound<'py, PyAny>,
        listeners: &[Listener],
        settings: &Settings,
        caller: &'static Caller,
    ) -> PyResult<CallApplication<'py>> {
        caller.start();
        let keys = shared_keys(py, settings)?;
        keys.update(caller::environ_keys(py, caller)?.as_mapping())?;
        let callables = Callables::new(py, caller)?;
        keys.set_item("wsgi.early_hints", callables.current().getattr("early_hints")?)?;
        keys.set_item("gunicorn.socket", Bound::new(py, ClientSocket::of_thread(callables.current()))?)?;
        let environs = Environs::new(py, &keys, listeners, settings.trust())?;
        let parts = RefCell::new(Parts { environs, callables });
        held_bytes::set_attached(true);
        Ok(CallApplication { py, application, caller, parts, hooks: None, logger: None, logged: Vec::new() })
    }

    /// Passes the values of these keys of the environ to the access log.
    pub(crate) fn with_logged(self, keys: &[String]) -> CallApplication<'py> {
        CallApplication { logged: keys.iter().map(|key| LoggedKey::new(self.py, key)).collect(), ..self }
    }

    /// Calls these hooks for each request.
    pub(crate) fn with_hooks(self, hooks: Option<RequestHooks<'py>>) -> CallApplication<'py> {
        CallApplication { hooks, ..self }
    }

    /// Tells this logger of each request.
    pub(crate) fn with_logger(self, logger: Option<RequestLogger<'py>>) -> CallApplication<'py> {
        CallApplication { logger, ..self }
    }

    /// Serves a request between `pre_request` and `post_request`, and logs it with a logger of Python. Errors are answered and
    /// logged before these two.
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

    /// Serves a request, and answers in the application's place if it raises. `look` gets the environ before the application
    /// does.
    fn respond_or_fail(&self, exchange: &mut Exchange<'_>, look: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>) {
        let outcome = self.respond(exchange, look);
        let timed_out = self.caller.leave();
        fork_guard::end_if_forked();
        match outcome {
            Ok(()) => {}
            // An application that has taken over the socket raises this instead of responding, as with gunicorn.
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

    /// Logs the error, and answers in the application's place.
    fn failed(&self, exchange: &mut Exchange<'_>, error: &PyErr, timed_out: bool) {
        fork_guard::end_if_forked();
        let request = exchange.request();
        let (method, path) = (request.method().escape_ascii(), request.path().escape_ascii());
        let query =
            Some(request.query()).filter(|query| !query.is_empty()).map(|query| query.escape_ascii().to_string());
        if exchange.body_failed() && error.is_instance_of::<PyOSError>(self.py) {
            // Caused by the client, and not handled by the application.
            tracing::info!(%method, %path, query, %error, "request body is incomplete");
        } else if timed_out && error.is_instance_of::<RequestTimeout>(self.py) {
            let answered = !exchange.is_begun();
            tracing::warn!(%method, %path, query, answered, "request ended by its timeout");
        } else if self.logger.as_ref().is_none_or(|logger| !logger.exception(request, error)) {
            let target = request.target().escape_ascii();
            let traceback = exceptions::traceback(self.py, error);
            tracing::error!(
                event = "request_failed", said.method = %method, said.path = %path, said.query = query,
                "Error handling request {method} {target}\n{traceback}"
            );
        }
        if timed_out {
            exchange.refuse(504);
        } else {
            exchange.fail();
        }
    }

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
            key.note(place, &environ, exchange);
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
        let sent = send(py, exchange, &result, self.caller);
        // The iterable is closed once, also after an error.
        let closed = close(py, &result);
        sent.and(closed)
    }
}

impl Application for CallApplication<'_> {
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

/// Calls the application, without a tuple of the two arguments if it needs none.
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

/// Sends the response that the application returned, each piece as it comes.
fn send<'py>(
    py: Python<'py>,
    exchange: &mut Exchange<'_>,
    result: &Bound<'py, PyAny>,
    caller: &Caller,
) -> PyResult<()> {
    let app = Detach(py);
    let file =
        result.cast_exact::<FileWrapper>().ok().filter(|_| exchange.takes_file()).and_then(|file| file.get().rest(py));
    if let Some(Rest { file, offset, length }) = file {
        check_started(exchange)?;
        exchange.send_file(&app, file, offset, length);
    } else if let Some(only) = only_piece(result) {
        let bytes = piece(&only)?;
        check_started(exchange)?;
        exchange.send_whole(&app, bytes.as_bytes(), || OutgoingBody::of(bytes));
    } else if !exchange.drops_rest() {
        let pieces = result.try_iter().map_err(|_| wrong_type("response", "an iterable of bytes", result))?;
        for item in pieces {
            let item = item?;
            let bytes = piece(&item)?;
            check_started(exchange)?;
            // PEP 3333: an empty piece is no reason to send the head.
            if !bytes.as_bytes().is_empty() && exchange.send(&app, bytes.as_bytes()) == Delivery::Gone {
                return Ok(());
            }
            caller.gave_piece();
            if exchange.drops_rest() {
                break;
            }
        }
        check_started(exchange)?;
    }
    exchange.finish();
    Ok(())
}

/// Returns the piece of a list or tuple that has one, whose length is then the body's.
fn only_piece<'py>(result: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if let Ok(list) = result.cast_exact::<PyList>() {
        return (list.len() == 1).then(|| list.get_item(0).ok()).flatten();
    }
    let tuple = result.cast_exact::<PyTuple>().ok()?;
    (tuple.len() == 1).then(|| tuple.get_item(0).ok()).flatten()
}

fn piece<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    item.cast::<PyBytes>().map_err(|_| wrong_type("response", "an iterable of bytes", item))
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

/// Returns the keys that are the same in every environ of this worker.
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
    keys.set_item("SERVER_SOFTWARE", banner::software())?;
    if settings.tls().is_some() {
        keys.set_item("HTTPS", "on")?;
    }
    Ok(keys)
}
