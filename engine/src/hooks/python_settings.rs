//! The settings as values of Python, for the `cfg` that hooks and loggers are handed.

use std::fmt::Write as _;

use pyo3::prelude::*;

use rwsgi::settings::{Settings, TABLE};

/// Returns a dict with every setting, by way of the text that a configuration file would hold.
pub(crate) fn values<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyAny>> {
    let mut text = String::new();
    for row in TABLE {
        if let Some(value) = (row.show)(settings) {
            let _ = writeln!(text, "{} = {value}", row.name);
        }
    }
    let values = py.import("tomllib")?.call_method1("loads", (text,))?;
    for row in TABLE {
        values.call_method1("setdefault", (row.name, py.None()))?;
    }
    Ok(values)
}
