//! Python's exceptions as text, and the exception for a value of the wrong type.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTraceback, PyType};

/// Returns a whole traceback, as Python would print it.
pub(crate) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        // The frames are passed on their own: before Python 3.12 a caught exception does not carry them.
        let parts = (error.get_type(py), error.value(py), below_import(error.traceback(py)));
        let lines = py.import("traceback")?.call_method1("format_exception", parts)?;
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        // A message may hold halves of surrogate pairs, as names of files do.
        let bytes: Vec<u8> = text.call_method1("encode", ("utf-8", "backslashreplace"))?.extract()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    formatted().unwrap_or_else(|_| error.to_string())
}

/// Returns the frames without those of the import machinery at their head, as Python's import statement shows them.
fn below_import(traceback: Option<Bound<'_, PyTraceback>>) -> Option<Bound<'_, PyTraceback>> {
    let is_machinery = |frame: &Bound<'_, PyTraceback>| -> PyResult<bool> {
        let file: String = frame.getattr("tb_frame")?.getattr("f_code")?.getattr("co_filename")?.extract()?;
        Ok(file.starts_with("<frozen importlib") || file.ends_with("/importlib/__init__.py"))
    };
    let mut rest = traceback;
    while let Some(frame) = &rest {
        if !is_machinery(frame).unwrap_or(false) {
            return rest;
        }
        rest = frame.getattr("tb_next").ok()?.cast_into().ok();
    }
    // Only machinery: a syntax error, for one, has its place in its message.
    None
}

/// Returns the name of an exception's class.
pub(crate) fn kind(py: Python<'_>, error: &PyErr) -> String {
    name(&error.get_type(py), "an exception")
}

/// Returns the name of a value's type.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    name(&value.get_type(), "something else")
}

fn name(kind: &Bound<'_, PyType>, otherwise: &str) -> String {
    kind.name().map_or_else(|_| otherwise.to_owned(), |name| name.to_string())
}

/// Returns a TypeError that says what was expected where, and the type that was found.
pub(crate) fn wrong_type(place: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{place}: expected {expected}, found {}", type_name(found)))
}
