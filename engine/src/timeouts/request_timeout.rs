//! The exception `rwsgi.RequestTimeout`, and raising it in a thread.
//!
//! CPython raises in another thread only between two steps of Python: code that waits in C does not see it. In the main
//! thread a signal ends the wait, and a handler of Python raises there (`late_request`).

use std::ffi::c_long;

use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyModule;

use crate::python;

pyo3::create_exception!(
    rwsgi,
    RequestTimeout,
    PyBaseException,
    "The request has taken longer than the setting timeout allows. It is not an Exception, because code that catches all of \
     those would answer 500."
);

/// Has a thread raise at its next step of Python. An unknown `ident` is passed over.
pub(crate) fn raise_in(py: Python<'_>, ident: u64) {
    // SAFETY: the thread is attached; CPython takes a reference of its own to the class, and looks the number up.
    unsafe { ffi::PyThreadState_SetAsyncExc(as_long(ident), py.get_type::<RequestTimeout>().as_ptr()) };
}

/// Takes back what a thread has not raised yet. The calling thread is attached.
pub(crate) fn take_back(ident: u64) {
    // SAFETY: the thread is attached, and null takes back what was not raised yet.
    unsafe { ffi::PyThreadState_SetAsyncExc(as_long(ident), std::ptr::null_mut()) };
}

/// Raises in this thread as soon as that is possible: the exception has come where nothing can be raised.
pub(crate) fn raise_later(py: Python<'_>) {
    raise_in(py, python::own_ident());
}

/// Makes `import rwsgi` possible, which gives an application the exception's class by name.
pub(crate) fn make_module(py: Python<'_>) -> PyResult<()> {
    let module = PyModule::new(py, "rwsgi")?;
    module.setattr("__doc__", "The names that rwsgi has for the applications that it runs.")?;
    module.setattr("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("RequestTimeout", py.get_type::<RequestTimeout>())?;
    py.import("sys")?.getattr("modules")?.set_item("rwsgi", module)
}

/// Returns the number as CPython takes it. It is a pthread_t, which is an address.
fn as_long(ident: u64) -> c_long {
    c_long::try_from(ident).unwrap_or(0)
}
