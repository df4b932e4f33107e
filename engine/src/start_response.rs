//! `start_response` and `write`: what an application says about its response, checked as PEP 3333 asks.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use rwsgi::worker::{Delivery, Exchange};

use crate::call_application::{Detach, started};
use crate::exchange_ref::Current;

/// The two callables of a request. They act on the exchange that they were made for, or on none.
pub(crate) struct Callables<'py> {
    response: Bound<'py, Response>,
    /// A method of `response`, bound once: CPython calls such a builtin without making a tuple of its arguments.
    start: Bound<'py, PyAny>,
    /// The way to the exchange for what stands in every environ.
    latest: Bound<'py, Latest>,
}

impl<'py> Callables<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Callables<'py>> {
        let write = Bound::new(py, Write { current: Current::default() })?;
        let response = Bound::new(py, Response { current: Current::default(), write: write.unbind() })?;
        let start = response.getattr(intern!(py, "start_response"))?;
        let latest = Bound::new(py, Latest { response: Mutex::new(response.clone().unbind()) })?;
        Ok(Callables { response, start, latest })
    }

    /// What finds the exchange of the thread's request, whichever that is.
    pub(crate) fn latest(&self) -> &Bound<'py, Latest> {
        &self.latest
    }

    /// Makes the callables anew, for the next request.
    #[cold]
    fn renew(&mut self, py: Python<'py>) -> PyResult<()> {
        let Callables { response, start, .. } = Callables::new(py)?;
        *self.latest.get().response.lock().unwrap_or_else(PoisonError::into_inner) = response.clone().unbind();
        (self.response, self.start) = (response, start);
        Ok(())
    }

    /// `start_response`, for `exchange` until [`release`](Self::release).
    pub(crate) fn start_for(&mut self, exchange: &mut Exchange<'_>) -> &Bound<'py, PyAny> {
        let response = self.response.get();
        response.current.set(exchange);
        response.write.get().current.set(exchange);
        &self.start
    }

    /// The request is over: whoever kept the callables gets an error from now on. If somebody did, the next request
    /// gets new ones.
    pub(crate) fn release(&mut self, py: Python<'py>) -> PyResult<()> {
        let response = self.response.get();
        response.current.clear();
        response.write.get().current.clear();
        // SAFETY: all three are live objects, and the thread is attached. The method holds its object, and so does `latest`.
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

/// What PEP 3333's `start_response` is a method of.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct Response {
    current: Current,
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
        self.current.with(|exchange| {
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

/// The exchange that a thread is at.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct Latest {
    response: Mutex<Py<Response>>,
}

impl Latest {
    /// As [`Current::with`].
    pub(crate) fn with<T>(&self, py: Python<'_>, step: impl FnOnce(&mut Exchange<'_>) -> PyResult<T>) -> PyResult<T> {
        let response = self.response.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py);
        response.get().current.with(step)
    }
}

#[pymethods]
impl Latest {
    /// `wsgi.early_hints`: names and values, str or bytes.
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

fn octets(text: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u8>> {
    match text.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => Ok(native(text, what)?.into_owned()),
    }
}

/// The head is sent: the application's own exception is all that is left to say.
fn reraise(exc_info: &Bound<'_, PyAny>) -> PyErr {
    match exc_info.get_item(1) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

fn fill(exchange: &mut Exchange<'_>, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
    let head = exchange.head();
    let refuse = |error: rwsgi::http::BadResponse| PyValueError::new_err(error.to_string());
    head.start(&native(status, "status")?).map_err(refuse)?;
    let headers = headers.cast::<PyList>().map_err(|_| wrong_type("response_headers", "a list", headers))?;
    for header in headers {
        let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let pair = pair.ok_or_else(|| wrong_type("response_headers", "a tuple (name, value)", &header))?;
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        head.push(&native(&name, "header name")?, &native(&value, "header value")?).map_err(refuse)?;
    }
    Ok(())
}

/// The bytes of a "native string": code points up to 255, a byte each.
fn native<'a>(text: &'a Bound<'_, PyAny>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let mut length = 0;
    // SAFETY: a live object; the result is null, or points to the text's UTF-8, which lives as long as the text.
    let (utf8, is_ascii) = unsafe {
        let start = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut length);
        if start.is_null() {
            return Err(no_native(text, what));
        }
        // As many bytes as code points.
        let is_ascii = ffi::PyUnicode_GetLength(text.as_ptr()) == length;
        (std::slice::from_raw_parts(start.cast::<u8>(), length.unsigned_abs()), is_ascii)
    };
    if is_ascii { Ok(Cow::Borrowed(utf8)) } else { latin1(utf8, what).map(Cow::Owned) }
}

#[cold]
fn latin1(utf8: &[u8], what: &str) -> PyResult<Vec<u8>> {
    let text = String::from_utf8_lossy(utf8);
    let bytes: Result<Vec<u8>, char> = text.chars().map(|point| u8::try_from(point).map_err(|_| point)).collect();
    bytes.map_err(|found| {
        PyValueError::new_err(format!("{what}: expected characters up to U+00FF, found {}", found.escape_unicode()))
    })
}

/// What is no str, or has no UTF-8.
#[cold]
fn no_native(text: &Bound<'_, PyAny>, what: &str) -> PyErr {
    let error = PyErr::fetch(text.py());
    if text.is_instance_of::<PyString>() { error } else { wrong_type(what, "a str", text) }
}

fn wrong_type(what: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let kind = found.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what}: expected {expected}, found {kind}"))
}

/// The `write` callable that `start_response` returns.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct Write {
    current: Current,
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.current.with(|exchange| {
            // A second start_response that failed has taken the first one back.
            started(exchange)?;
            match exchange.send(&Detach(py), data.as_bytes()) {
                Delivery::Accepted => Ok(()),
                Delivery::Gone => Err(pyo3::exceptions::PyConnectionError::new_err("the client is gone")),
            }
        })
    }
}
