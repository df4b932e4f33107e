//! The modules in Python that the engine consists of, `engine/python/`, compiled when they are needed.

use std::ffi::{CStr, CString};

use pyo3::prelude::*;
use pyo3::types::PyModule;

/// Returns the classes of the objects that hooks and loggers are handed.
pub(crate) fn hooks(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    module(py, include_str!("../python/hooks.py"), c"<rwsgi hooks>", c"_rwsgi_hooks")
}

/// Returns the loggers of Python.
pub(crate) fn loggers(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    module(py, include_str!("../python/loggers.py"), c"<rwsgi loggers>", c"_rwsgi_loggers")
}

/// Returns the finder that guards imports.
pub(crate) fn guard(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    module(py, include_str!("../python/guard.py"), c"<rwsgi guard>", c"_rwsgi_guard")
}

/// Returns the list of files of the application's modules.
pub(crate) fn module_files(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    module(py, include_str!("../python/module_files.py"), c"<rwsgi reload>", c"_rwsgi_reload")
}

/// Makes `import gunicorn` work, also where no such package is installed.
pub(crate) fn offer_gunicorn(py: Python<'_>) -> PyResult<()> {
    let shim = module(py, include_str!("../python/gunicorn/shim.py"), c"<rwsgi gunicorn>", c"_rwsgi_gunicorn")?;
    let texts = (include_str!("../python/gunicorn/glogging.py"), include_str!("../python/gunicorn/statsd.py"));
    shim.call_method1("offer", texts).map(drop)
}

/// Makes `import gunicorn` work as [`offer_gunicorn`] does, once something imports it.
pub(crate) fn offer_gunicorn_later(py: Python<'_>) -> PyResult<()> {
    let lazy = module(py, include_str!("../python/gunicorn/lazy.py"), c"<rwsgi gunicorn>", c"_rwsgi_gunicorn_later")?;
    lazy.call_method1("offer_later", (pyo3::wrap_pyfunction!(offer, py)?,)).map(drop)
}

#[pyfunction]
fn offer(py: Python<'_>) -> PyResult<()> {
    offer_gunicorn(py)
}

fn module<'py>(py: Python<'py>, code: &str, file: &CStr, name: &CStr) -> PyResult<Bound<'py, PyModule>> {
    PyModule::from_code(py, &CString::new(code)?, file, name)
}
