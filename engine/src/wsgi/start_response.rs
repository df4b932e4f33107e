//! `start_response` and `write`: the head of a response as PEP 3333 passes it, checked as that asks.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyAssertionError, PyConnectionError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use rwsgi::worker::{Delivery, Exchange};

use crate::exceptions::wrong_type;
use crate::gil::Detach;
use crate::native_string;
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
    pub(crate) fn new(py: Python<'py>) -> PyResult<Callables<'py>> {
        let write = Bound::new(py, Write { exchange: ExchangeRef::default() })?;
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
        let Callables { response, start, .. } = Callables::new(py)?;
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
    #[pyo3(signature = (status, response_headers, exc_info = None, /))]
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
            fill(exchange, status, response_headers).inspect_err(|_| exchange.head().clear())
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
        let refuse = |error: rwsgi::http::BadResponse| PyValueError::new_err(error.to_string());
        self.with(py, |exchange| exchange.early_hints(fields).map_err(refuse))
    }
}

/// The `write` callable that `start_response` returns.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct Write {
    exchange: ExchangeRef,
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.exchange.with(|exchange| {
            // A second start_response that failed has taken the first one back.
            check_started(exchange)?;
            match exchange.send(&Detach(py), data.as_bytes()) {
                Delivery::Accepted => Ok(()),
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
    let head = exchange.head();
    let refuse = |error: rwsgi::http::BadResponse| PyValueError::new_err(error.to_string());
    head.start(&native_string::to_bytes(status, "status")?).map_err(refuse)?;
    let headers = headers.cast::<PyList>().map_err(|_| wrong_type("response_headers", "a list", headers))?;
    for header in headers {
        let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let pair = pair.ok_or_else(|| wrong_type("response_headers", "a tuple (name, value)", &header))?;
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let name = native_string::to_bytes(&name, "header name")?;
        head.push(&name, &native_string::to_bytes(&value, "header value")?).map_err(refuse)?;
    }
    Ok(())
}
