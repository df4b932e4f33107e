//! The facts of a request and its response as values of Python, for hooks and loggers. Knows neither.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use rwsgi::http::Version;
use rwsgi::http::forwarded::Scheme;
use rwsgi::os::listener::Peer;
use rwsgi::worker::Exchange;

use crate::native_string::from_bytes;

/// Returns a dict with the facts of the request.
pub(crate) fn facts<'py>(py: Python<'py>, exchange: &Exchange<'_>) -> PyResult<Bound<'py, PyDict>> {
    let request = exchange.request();
    let facts = PyDict::new(py);
    facts.set_item("method", from_bytes(py, request.method())?)?;
    facts.set_item("uri", from_bytes(py, request.target())?)?;
    facts.set_item("path", from_bytes(py, request.path())?)?;
    facts.set_item("query", from_bytes(py, request.query())?)?;
    facts.set_item("version", if request.version() == Version::Http10 { (1, 0) } else { (1, 1) })?;
    facts.set_item("scheme", if exchange.scheme() == Scheme::Https { "https" } else { "http" })?;
    facts.set_item("headers", pairs(py, request.fields(), <[u8]>::to_ascii_uppercase)?)?;
    match exchange.peer() {
        Peer::Tcp(address) => facts.set_item("peer_addr", (address.ip().to_string(), address.port()))?,
        Peer::Unix => facts.set_item("peer_addr", "")?,
    }
    Ok(facts)
}

/// Returns a list of names and values. `spelled` changes the spelling of a name.
pub(crate) fn pairs<'py, 'a>(
    py: Python<'py>,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    spelled: impl Fn(&[u8]) -> Vec<u8>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (name, value) in fields {
        list.append((from_bytes(py, &spelled(name))?, from_bytes(py, value)?))?;
    }
    Ok(list)
}
