//! `start_response` and `write`: the head of a response as PEP 3333 passes it, checked as that asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::Borrowed;
use pyo3::exceptions::{PyAssertionError, PyConnectionError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySequence, PyString, PyTuple};

use rwsgi::http::{BadResponse, Pushed};
use rwsgi::worker::{Delivery, Exchange};

use crate::exceptions::{type_name, wrong_type};
use crate::gil::Detach;
use crate::native_string;
use crate::timeouts::caller::Caller;
use crate::wsgi::banner;
use crate::wsgi::exchange_ref::ExchangeRef;

/// The two callables of a request. They act on the exchange that they were made for, or on none.
pub(crate) struct Callables<'py> {
    response: Bound<'py, Response>,
    /// A method of `response`, bound once: CPython calls such a builtin without making a tuple of its arguments.
    start: Bound<'py, PyAny>,
    /// The reference to the exchange for the objects that are the same in every environ.
    current: Bound<'py, CurrentExchange>,
}

impl<'py> Callables<'py> {
    pub(crate) fn new(py: Python<'py>, caller: &'static Caller) -> PyResult<Callables<'py>> {
        let write = Bound::new(py, Write { exchange: ExchangeRef::default(), caller })?;
        let response = Bound::new(py, Response { exchange: ExchangeRef::default(), write: write.unbind() })?;
        let start = response.getattr(intern!(py, "start_response"))?;
        let current = Bound::new(py, CurrentExchange { response: Mutex::new(response.clone().unbind()) })?;
        Ok(Callables { response, start, current })
    }

    /// Returns the reference to the exchange of the thread's request, whichever request that is.
    pub(crate) fn current(&self) -> &Bound<'py, CurrentExchange> {
        &self.current
    }

    /// Makes the callables anew, for the next request.
    #[cold]
    fn renew(&mut self, py: Python<'py>) -> PyResult<()> {
        let caller = self.response.get().write.get().caller;
        let Callables { response, start, .. } = Callables::new(py, caller)?;
        *self.current.get().response.lock().unwrap_or_else(PoisonError::into_inner) = response.clone().unbind();
        (self.response, self.start) = (response, start);
        Ok(())
    }

    /// Returns `start_response`, which acts on `exchange` until [`release`](Self::release).
    pub(crate) fn start_for(&mut self, exchange: &mut Exchange<'_>) -> &Bound<'py, PyAny> {
        let response = self.response.get();
        response.exchange.set(exchange);
        response.write.get().exchange.set(exchange);
        &self.start
    }

    /// Ends the request: callables that an application has kept raise from now on, and the next request gets new ones.
    pub(crate) fn release(&mut self, py: Python<'py>) -> PyResult<()> {
        let response = self.response.get();
        response.exchange.clear();
        response.write.get().exchange.clear();
        // SAFETY: all three are live objects, and the thread is attached. The method holds its object, and so does `current`.
        let kept = unsafe {
            ffi::Py_REFCNT(self.start.as_ptr()) > 1
                || ffi::Py_REFCNT(self.response.as_ptr()) > 3
                || ffi::Py_REFCNT(response.write.as_ptr()) > 1
        };
        if kept {
            self.renew(py)?;
        }
        Ok(())
    }
}

/// The object of the method `start_response`.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct Response {
    exchange: ExchangeRef,
    write: Py<Write>,
}

#[pymethods]
impl Response {
    #[pyo3(signature = (status, response_headers, /, exc_info = None))]
    fn start_response(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Write>> {
        self.exchange.with(|exchange| {
            let exc_info = exc_info.filter(|given| !given.is_none());
            match exc_info {
                Some(exc_info) if exchange.is_begun() => return Err(reraise(exc_info)),
                None if exchange.head().is_started() => {
                    return Err(PyAssertionError::new_err(
                        "start_response was called before, and exc_info is not given",
                    ));
                }
                _ => {}
            }
            fill(exchange, status, response_headers).inspect_err(|_| exchange.head().clear())?;
            banner::add_to(exchange);
            Ok(())
        })?;
        Ok(self.write.clone_ref(py))
    }
}

/// The exchange of a thread's request, for objects that live longer than the request.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct CurrentExchange {
    response: Mutex<Py<Response>>,
}

impl CurrentExchange {
    /// Runs `step` with the exchange, as [`ExchangeRef::with`] does.
    pub(crate) fn with<T>(&self, py: Python<'_>, step: impl FnOnce(&mut Exchange<'_>) -> PyResult<T>) -> PyResult<T> {
        let response = self.response.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py);
        response.get().exchange.with(step)
    }
}

#[pymethods]
impl CurrentExchange {
    /// Implements `wsgi.early_hints`, which takes names and values as str or bytes.
    #[pyo3(signature = (headers, /))]
    fn early_hints(&self, py: Python<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut fields = Vec::new();
        for header in headers.try_iter()? {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = header?.extract()?;
            fields.push((octets(&name, "header name")?, octets(&value, "header value")?));
        }
        let fields = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        self.with(py, |exchange| exchange.early_hints(fields).map_err(|error| refuse(&error)))
    }
}

/// The `write` callable that `start_response` returns.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct Write {
    exchange: ExchangeRef,
    caller: &'static Caller,
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.exchange.with(|exchange| {
            // A second start_response that failed has taken the first one back.
            check_started(exchange)?;
            match exchange.send(&Detach(py), data.as_bytes()) {
                Delivery::Accepted => {
                    self.caller.gave_piece();
                    Ok(())
                }
                Delivery::Gone => Err(PyConnectionError::new_err("the client is gone")),
            }
        })
    }
}

/// Checks that there is a head to send, or that it was sent.
pub(crate) fn check_started(exchange: &mut Exchange<'_>) -> PyResult<()> {
    if exchange.is_begun() || exchange.head().is_started() {
        return Ok(());
    }
    Err(PyAssertionError::new_err("the application did not call start_response"))
}

fn octets(text: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u8>> {
    match text.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => Ok(native_string::to_bytes(text, what)?.into_owned()),
    }
}

/// Returns the application's own exception, because the head was sent and can no longer change.
fn reraise(exc_info: &Bound<'_, PyAny>) -> PyErr {
    match exc_info.get_item(1) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

fn fill(exchange: &mut Exchange<'_>, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
    exchange.head().start(&native_string::to_bytes(status, "status")?).map_err(|error| refuse(&error))?;
    let Ok(headers) = headers.cast::<PyList>() else {
        return fill_from_iterable(exchange, headers);
    };
    for header in headers {
        match header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2) {
            Some(pair) => push(exchange, pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?)?,
            None => push_other(exchange, &header)?,
        }
    }
    Ok(())
}

fn push(exchange: &mut Exchange<'_>, name: Borrowed<'_, '_, PyAny>, value: Borrowed<'_, '_, PyAny>) -> PyResult<()> {
    let name = native_string::to_bytes(&name, "header name")?;
    let pushed = exchange
        .head()
        .push(&name, &native_string::to_bytes(&value, "header value")?)
        .map_err(|error| refuse(&error))?;
    if pushed == Pushed::HopByHop {
        warn_of_hop_by_hop(exchange, &name);
    }
    Ok(())
}

/// Takes fields that are in no list: another sequence, or an object that gives one pair after the other.
#[cold]
fn fill_from_iterable(exchange: &mut Exchange<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
    let wrong = || wrong_type("response_headers", "a list", headers);
    let is_text = headers.is_instance_of::<PyString>() || headers.is_instance_of::<PyBytes>();
    if is_text || headers.is_instance_of::<PyDict>() {
        return Err(wrong());
    }
    for header in headers.try_iter().map_err(|_| wrong())? {
        push_other(exchange, &header?)?;
    }
    warn_of_type(headers, "a list of tuples");
    Ok(())
}

/// Takes a field that is no tuple, but another sequence of a name and a value.
#[cold]
fn push_other(exchange: &mut Exchange<'_>, header: &Bound<'_, PyAny>) -> PyResult<()> {
    let is_text = header.is_instance_of::<PyString>() || header.is_instance_of::<PyBytes>();
    let pair = header.cast::<PySequence>().ok().filter(|pair| !is_text && pair.len().is_ok_and(|length| length == 2));
    let pair = pair.ok_or_else(|| wrong_type("response_headers", "a tuple (name, value)", header))?;
    push(exchange, pair.get_item(0)?.as_borrowed(), pair.get_item(1)?.as_borrowed())?;
    if !header.is_instance_of::<PyTuple>() {
        warn_of_type(header, "tuples (name, value)");
    }
    Ok(())
}

/// Logs, once a process, that a field was left out.
#[cold]
fn warn_of_hop_by_hop(exchange: &Exchange<'_>, name: &[u8]) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        let (name, path) = (name.escape_ascii(), exchange.request().path().escape_ascii());
        tracing::warn!(
            %name, %path,
            "response field left out, only the server may send it; further ones are left out silently\n\
             hint: leave hop-by-hop fields out, the server manages the connection"
        );
    }
}

/// Logs, once a process, that fields came in another type than PEP 3333 asks for.
#[cold]
fn warn_of_type(found: &Bound<'_, PyAny>, expected: &str) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        let found = type_name(found);
        tracing::warn!("response_headers: expected {expected}, found {found}; they are sent all the same");
    }
}

fn refuse(error: &BadResponse) -> PyErr {
    PyValueError::new_err(error.to_string())
}
