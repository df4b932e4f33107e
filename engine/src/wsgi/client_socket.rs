//! `gunicorn.socket`: the client's socket, for applications that take over the connection. It is in every environ and becomes
//! a socket when it is first used.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::worker::{Exchange, HijackedStream};

use crate::wsgi::start_response::CurrentExchange;

/// An object with the attributes of a `socket.socket`.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct ClientSocket {
    of: Source,
    /// The socket, and the stream that it was made of.
    made: Mutex<Option<(Arc<HijackedStream>, Py<PyAny>)>>,
}

/// The request from which the stream is taken.
enum Source {
    /// The request that the thread serves at the moment.
    Current(Py<CurrentExchange>),
    /// One request. Its stream can be used by any thread, and for longer than the request.
    One(Arc<HijackedStream>),
}

impl ClientSocket {
    /// Returns the object for the environ of every request of a thread.
    pub(crate) fn of_thread(current: &Bound<'_, CurrentExchange>) -> ClientSocket {
        ClientSocket { of: Source::Current(current.clone().unbind()), made: Mutex::default() }
    }

    /// Returns the object for one request, which asks for another protocol.
    pub(crate) fn of_request(exchange: &mut Exchange<'_>) -> PyResult<ClientSocket> {
        Ok(ClientSocket { of: Source::One(exchange.hijack()?), made: Mutex::default() })
    }

    fn socket(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let stream = match &self.of {
            Source::One(stream) => Arc::clone(stream),
            Source::Current(current) => current.get().with(py, |exchange| Ok(exchange.hijack()?))?,
        };
        if matches!(self.of, Source::Current(_)) && stream.is_encrypted() {
            let words = "gunicorn.socket: with TLS it can be used only in requests that have an Upgrade field";
            return Err(PyAttributeError::new_err(words));
        }
        if let Some((of, socket)) = &*self.made.lock().unwrap_or_else(PoisonError::into_inner) {
            if Arc::ptr_eq(of, &stream) {
                return Ok(socket.clone_ref(py));
            }
        }
        let socket = python_socket(py, stream.open()?)?;
        let made = (stream, socket.clone_ref(py));
        let before = self.made.lock().unwrap_or_else(PoisonError::into_inner).replace(made);
        // Dropped without the lock, because it closes a socket.
        drop(before);
        Ok(socket)
    }
}

#[pymethods]
impl ClientSocket {
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        // Code that inspects any object does not mean to take over the socket.
        if name.starts_with("__") {
            return Err(PyAttributeError::new_err(name.to_owned()));
        }
        self.socket(py)?.into_bound(py).getattr(name)
    }
}

fn python_socket(py: Python<'_>, fd: OwnedFd) -> PyResult<Py<PyAny>> {
    let keywords = PyDict::new(py);
    keywords.set_item("fileno", fd.into_raw_fd())?;
    let socket = py.import(intern!(py, "socket"))?.getattr(intern!(py, "socket"))?.call((), Some(&keywords))?;
    socket.call_method1(intern!(py, "setblocking"), (true,))?;
    Ok(socket.unbind())
}
