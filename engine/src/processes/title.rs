//! The title of a process of the server, which the application may set by the package setproctitle.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use rwsgi::os::proctitle;

use crate::python_modules;

/// Sets the title of a process that begins.
pub(crate) fn begin(title: &str) {
    IS_APPLICATIONS.store(false, Ordering::Relaxed);
    proctitle::set(title);
}

/// Changes the title, unless the application has set one.
pub(crate) fn change(title: &str) {
    if !IS_APPLICATIONS.load(Ordering::Relaxed) {
        proctitle::set(title);
    }
}

/// Makes the package setproctitle work, once it is imported.
pub(crate) fn offer(py: Python<'_>) -> PyResult<()> {
    let set = pyo3::wrap_pyfunction!(set_title, py)?;
    python_modules::proctitle(py)?.call_method1("install", (set,)).map(drop)
}

#[pyfunction]
fn set_title(title: &str) {
    IS_APPLICATIONS.store(true, Ordering::Relaxed);
    proctitle::set(title);
}

static IS_APPLICATIONS: AtomicBool = AtomicBool::new(false);
