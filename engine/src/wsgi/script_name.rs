//! `SCRIPT_NAME`: the prefix of the paths under which the application is mounted, from the process's environment or from a
//! field that a trusted proxy has set.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use rwsgi::http::forwarded::{self, FieldPolicy, Trust};
use rwsgi::worker::Exchange;

/// Returns the prefix in the process's environment, which is usually empty.
pub(crate) fn from_environment(py: Python<'_>) -> PyResult<String> {
    let prefix: String = py.import("os")?.getattr("environ")?.call_method1("get", ("SCRIPT_NAME", ""))?.extract()?;
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && !prefix.starts_with('/') {
        return Err(PyValueError::new_err(format!("SCRIPT_NAME: expected a path from /, found {prefix:?}")));
    }
    Ok(prefix.to_owned())
}

/// Returns the prefix in a field of the request, if the peer is trusted and the settings name the field.
pub(crate) fn from_proxy<'e>(exchange: &Exchange<'e>, trust: &Trust) -> Option<&'e [u8]> {
    let given = exchange.request().field(b"script_name")?;
    let peer = exchange.peer().ip();
    let is_named = forwarded::field_policy(b"SCRIPT_NAME", peer, trust) == FieldPolicy::Keep;
    (is_named && trust.believes(peer)).then_some(given.strip_suffix(b"/").unwrap_or(given))
}

/// Returns the path without the prefix, or `None` if the path is not below it.
pub(crate) fn below<'a>(prefix: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let is_below = |rest: &&[u8]| prefix.is_empty() || rest.is_empty() || rest[0] == b'/';
    path.strip_prefix(prefix).filter(is_below)
}
