//! `wsgi.input`. A body is whole before the application runs, so that Python's own streams serve: `io.BytesIO` over bytes in
//! memory, a buffered reader over a spilled file. A request without a body gets a shared stream that is always empty.
//! With `post_buffering = 0` a buffered reader receives the body while the application reads it.

use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyConnectionAbortedError, PyMemoryError, PyOSError, PyRuntimeError, PyTimeoutError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice};

use rwsgi::worker::{Body, BodyError, BodyReader, Exchange};

use crate::gil::Detach;
use crate::held_bytes::IncomingBody;

/// Makes the streams `wsgi.input`.
pub(crate) struct Inputs<'py> {
    empty: Bound<'py, PyAny>,
    bytes_io: Bound<'py, PyAny>,
    open: Bound<'py, PyAny>,
    buffered: Bound<'py, PyAny>,
    /// The stream of the request that runs, if its body is in a file.
    file: Option<Bound<'py, PyAny>>,
}

impl<'py> Inputs<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Inputs<'py>> {
        let io = py.import("io")?;
        Ok(Inputs {
            empty: Bound::new(py, EmptyInput)?.into_any(),
            bytes_io: io.getattr("BytesIO")?,
            open: io.getattr("open")?,
            buffered: io.getattr("BufferedReader")?,
            file: None,
        })
    }

    /// Returns the stream of every request without a body.
    pub(crate) fn empty(&self) -> &Bound<'py, PyAny> {
        &self.empty
    }

    /// Returns the stream of a request, or `None` for a request without a body.
    pub(crate) fn of(&mut self, py: Python<'py>, exchange: &mut Exchange<'_>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let stream = match exchange.take_body() {
            Body::Empty => return Ok(None),
            Body::Received(bytes) => self.bytes_io.call1((copied(py, exchange, bytes)?,)),
            Body::Memory(bytes) => self.bytes_io.call1((copied(py, exchange, &bytes)?,)),
            // The stream takes the object itself, and returns it to a reader that asks for all of it.
            Body::Given(memory) => match memory.into_any().downcast::<IncomingBody>() {
                Ok(incoming) => self.bytes_io.call1((incoming.into_object(py),)),
                Err(_) => return Err(PyOSError::new_err("the request body is not in the buffer that received it")),
            },
            // The stream owns the descriptor from here on and closes it with itself.
            Body::File(file) => self.open.call1((file.into_raw_fd(), intern!(py, "rb"))).inspect(|stream| {
                self.file = Some(stream.clone());
            }),
            Body::Streamed => {
                let reader = exchange.body_reader();
                let reader = reader.ok_or_else(|| PyOSError::new_err("the request body has no reader"))?;
                let streamed = Bound::new(py, StreamedInput { reader, closed: AtomicBool::new(false) })?;
                self.buffered.call1((streamed, STREAM_BUFFER))
            }
        };
        stream.map(Some)
    }

    /// Ends the request: the file of its body is closed.
    pub(crate) fn release(&mut self) {
        if let Some(file) = self.file.take() {
            // The application may have closed it; nothing was written to it.
            let _ = file.call_method0(intern!(file.py(), "close"));
        }
    }
}

/// The raw stream, in the sense of `io.RawIOBase`, of a body that is received while it is read.
#[pyclass(frozen, name = "StreamedInput", module = "rwsgi")]
struct StreamedInput {
    reader: Arc<BodyReader>,
    closed: AtomicBool,
}

#[pymethods]
#[allow(clippy::unused_self, reason = "Python's methods have a self")]
impl StreamedInput {
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        // The buffered reader hands over a memoryview of bytes.
        let room = buffer.len()?;
        let mut bytes = Vec::new();
        self.receive(py, &mut bytes, room)?;
        let filled = PySlice::new(py, 0, isize::try_from(bytes.len())?, 1);
        buffer.set_item(filled, PyBytes::new(py, &bytes))?;
        Ok(bytes.len())
    }

    fn readall<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            self.receive(py, &mut bytes, STREAM_BUFFER)?;
            if bytes.len() == before {
                return Ok(PyBytes::new(py, &bytes));
            }
        }
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    /// Does nothing. A buffered reader flushes the stream that it closes.
    fn flush(&self) {}

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl StreamedInput {
    fn receive(&self, py: Python<'_>, bytes: &mut Vec<u8>, most: usize) -> PyResult<()> {
        self.reader.read(&Detach(py), bytes, most).map_err(|error| match error {
            BodyError::Gone => PyConnectionAbortedError::new_err(error.to_string()),
            BodyError::Slow(_) => PyTimeoutError::new_err(error.to_string()),
            BodyError::Ended => PyRuntimeError::new_err(error.to_string()),
            BodyError::Refused(_) | BodyError::NoDescriptor => PyOSError::new_err(error.to_string()),
        })
    }
}

/// Returns a new object of these bytes. Without memory for it the request is answered 503.
fn copied<'py>(py: Python<'py>, exchange: &mut Exchange<'_>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    IncomingBody::copy_of(py, bytes).ok_or_else(|| {
        exchange.refuse(503);
        PyMemoryError::new_err("no memory for the request body")
    })
}

/// Most bytes of a streamed body that are asked for at once.
const STREAM_BUFFER: usize = 64 * 1024;

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

    /// Does nothing. Some libraries close a stream after its end, and the next request has the same one.
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
