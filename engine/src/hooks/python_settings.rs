//! The settings as values of Python, for the `cfg` that hooks and loggers are handed.

use std::fmt::Write as _;

use pyo3::prelude::*;

use rwsgi::message::Start;
use rwsgi::settings::TABLE;

/// Returns a dict with every setting, by way of the text that a configuration file would hold. User and group are numbers, and
/// the name of the processes is always there, as in gunicorn.
pub(crate) fn values<'py>(py: Python<'py>, start: &Start) -> PyResult<Bound<'py, PyAny>> {
    let settings = &start.settings;
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
    values.set_item("proc_name", settings.title())?;
    let me = py.import("os")?;
    let number =
        |given: Option<u32>, name: &str| given.map_or_else(|| me.call_method0(name)?.extract(), Ok::<u32, PyErr>);
    values.set_item("user", number(start.identity.user, "geteuid")?)?;
    values.set_item("group", number(start.identity.group, "getegid")?)?;
    Ok(values)
}
