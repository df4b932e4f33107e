//! `gunicorn.socket`: the client's socket, for applications that take the connection for themselves. It stands in every
//! environ and becomes a socket when it is first used.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::worker::{Exchange, HijackedStream};

use crate::start_response::Latest;

/// Has the attributes of a `socket.socket`.
#[pyclass(frozen, module = "rwsgi")]
pub(crate) struct ClientSocket {
    of: Whose,
    /// The socket, and the connection that it was made of.
    made: Mutex<Option<(Arc<HijackedStream>, Py<PyAny>)>>,
}

enum Whose {
    /// That of the request which the thread is at.
    Latest(Py<Latest>),
    /// That of one request, for any thread, and for longer than the request.
    One(Arc<HijackedStream>),
}

impl ClientSocket {
    /// For the environ of every request of a thread.
    pub(crate) fn of_thread(latest: &Bound<'_, Latest>) -> ClientSocket {
        ClientSocket { of: Whose::Latest(latest.clone().unbind()), made: Mutex::default() }
    }

    /// Of a request that asks for another protocol.
    pub(crate) fn of_request(exchange: &mut Exchange<'_>) -> PyResult<ClientSocket> {
        Ok(ClientSocket { of: Whose::One(exchange.hijack()?), made: Mutex::default() })
    }

    fn socket(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let handed = match &self.of {
            Whose::One(handed) => Arc::clone(handed),
            Whose::Latest(latest) => latest.get().with(py, |exchange| Ok(exchange.hijack()?))?,
        };
        if matches!(self.of, Whose::Latest(_)) && handed.is_encrypted() {
            let words = "gunicorn.socket: with TLS it can be used in requests that have an Upgrade field alone";
            return Err(PyAttributeError::new_err(words));
        }
        if let Some((of, socket)) = &*self.made.lock().unwrap_or_else(PoisonError::into_inner) {
            if Arc::ptr_eq(of, &handed) {
                return Ok(socket.clone_ref(py));
            }
        }
        let socket = python_socket(py, handed.open()?)?;
        let kept = (handed, socket.clone_ref(py));
        let before = self.made.lock().unwrap_or_else(PoisonError::into_inner).replace(kept);
        // What it closes it closes without the lock.
        drop(before);
        Ok(socket)
    }
}

#[pymethods]
impl ClientSocket {
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        // What looks at an object without meaning the socket must not take it.
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
