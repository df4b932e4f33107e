//! `start_response` and `write`: what an application says about its response, checked as PEP 3333 asks.

use std::borrow::Cow;
use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use rwsgi::worker::{Delivery, Exchange};

use crate::cycle::{Detach, started};

/// The two callables of a request. They act on the exchange that they were made for, or on none.
pub(crate) struct Callables<'py> {
    start: Bound<'py, StartResponse>,
}

impl<'py> Callables<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Callables<'py>> {
        let write = Bound::new(py, Write { current: Current::default() })?;
        let start = Bound::new(py, StartResponse { current: Current::default(), write: write.unbind() })?;
        Ok(Callables { start })
    }

    /// `start_response`, for `exchange` until [`release`](Self::release).
    pub(crate) fn start_for(&mut self, exchange: &mut Exchange<'_>) -> &Bound<'py, StartResponse> {
        let pointer = ptr::from_mut(exchange).cast();
        let start = self.start.get();
        start.current.0.set(pointer);
        start.write.get().current.0.set(pointer);
        &self.start
    }

    /// The request is over: whoever kept the callables gets an error from now on. If somebody did, the next request
    /// gets new ones.
    pub(crate) fn release(&mut self, py: Python<'py>) -> PyResult<()> {
        let start = self.start.get();
        start.current.0.set(ptr::null_mut());
        start.write.get().current.0.set(ptr::null_mut());
        // SAFETY: both are live objects, and the thread is attached.
        let kept = unsafe { ffi::Py_REFCNT(self.start.as_ptr()) > 1 || ffi::Py_REFCNT(start.write.as_ptr()) > 1 };
        if kept {
            *self = Callables::new(py)?;
        }
        Ok(())
    }
}

/// The exchange of the request that runs; null when none does. It is only followed by [`Current::with`].
#[derive(Default)]
struct Current(Cell<*mut Exchange<'static>>);

// SAFETY: the cell is read and written with the interpreter attached only, and CPython with a GIL attaches one thread
// at a time; free-threaded builds are refused at the start.
unsafe impl Sync for Current {}
// SAFETY: as above; the pointer means the same in every thread of the process.
unsafe impl Send for Current {}

impl Current {
    /// Runs `step` with the exchange, which is out of reach for anybody else meanwhile.
    fn with<T>(&self, step: impl FnOnce(&mut Exchange<'_>) -> PyResult<T>) -> PyResult<T> {
        let pointer = self.0.replace(ptr::null_mut());
        if pointer.is_null() {
            return Err(PyRuntimeError::new_err(
                "the request that this belongs to is over, or in use by another thread",
            ));
        }
        // SAFETY: the pointer was set from a live `&mut Exchange` by `start_for`, and `release` clears it before that
        // ends; taking it out of the cell makes this the only use.
        let result = step(unsafe { &mut *pointer });
        self.0.set(pointer);
        result
    }
}

/// PEP 3333's `start_response`.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct StartResponse {
    current: Current,
    write: Py<Write>,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info = None, /))]
    fn __call__(
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
    let text = text.cast::<PyString>().map_err(|_| wrong_type(what, "a str", text))?;
    let utf8 = text.to_str()?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes: Result<Vec<u8>, char> = utf8.chars().map(|point| u8::try_from(point).map_err(|_| point)).collect();
    bytes.map(Cow::Owned).map_err(|found| {
        PyValueError::new_err(format!("{what}: expected characters up to U+00FF, found {}", found.escape_unicode()))
    })
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
            match exchange.send(&Detach(py), data.as_bytes(), false) {
                Delivery::Accepted => Ok(()),
                Delivery::Gone => Err(pyo3::exceptions::PyConnectionError::new_err("the client is gone")),
            }
        })
    }
}
