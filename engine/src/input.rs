//! `wsgi.input`. A body is whole before the application runs, so Python's own streams do: `io.BytesIO` over bytes in
//! memory, a buffered reader over a spilled file. A request without a body gets a shared stream that is always empty.

use std::os::fd::IntoRawFd;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use rwsgi::worker::Body;

/// Makes `wsgi.input` of a body.
pub(crate) struct Inputs<'py> {
    empty: Bound<'py, PyAny>,
    bytes_io: Bound<'py, PyAny>,
    open: Bound<'py, PyAny>,
}

impl<'py> Inputs<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Inputs<'py>> {
        let io = py.import("io")?;
        Ok(Inputs {
            empty: Bound::new(py, EmptyInput)?.into_any(),
            bytes_io: io.getattr("BytesIO")?,
            open: io.getattr("open")?,
        })
    }

    /// The stream for one request.
    pub(crate) fn of(&self, py: Python<'py>, body: Body) -> PyResult<Bound<'py, PyAny>> {
        match body {
            Body::Empty => Ok(self.empty.clone()),
            Body::Memory(bytes) => self.bytes_io.call1((PyBytes::new(py, &bytes),)),
            // The stream owns the descriptor from here on and closes it with itself.
            Body::File(file) => self.open.call1((file.into_raw_fd(), intern!(py, "rb"))),
        }
    }
}

/// A stream at its end. It holds nothing, so every request can share it.
#[pyclass(frozen, name = "EmptyInput", module = "rwsgi")]
struct EmptyInput;

#[pymethods]
#[allow(clippy::unused_self, reason = "Python's methods have a self")]
impl EmptyInput {
    #[pyo3(signature = (_size = None, /))]
    fn read<'py>(&self, py: Python<'py>, _size: Option<isize>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, b"")
    }

    #[pyo3(signature = (_size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, _size: Option<isize>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, b"")
    }

    #[pyo3(signature = (_hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, _hint: Option<isize>) -> Bound<'py, PyList> {
        PyList::empty(py)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    /// Some libraries close what they read to its end; the next request's must not be closed by that.
    fn close(&self) {}

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    fn readable(&self) -> bool {
        true
    }

    fn seekable(&self) -> bool {
        false
    }
}
