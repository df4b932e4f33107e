//! The exchange behind objects that an application holds: reachable while its request runs, and by nobody afterwards.

use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use rwsgi::worker::Exchange;

/// The exchange of the request that runs; null when none does. It is only followed by [`Current::with`].
#[derive(Default)]
pub(crate) struct Current(Cell<*mut Exchange<'static>>);

// SAFETY: the cell is read and written with the interpreter attached only, and CPython with a GIL attaches one thread
// at a time; free-threaded builds are refused at the start.
unsafe impl Sync for Current {}
// SAFETY: as above; the pointer means the same in every thread of the process.
unsafe impl Send for Current {}

impl Current {
    /// From now on this is `exchange`, until [`clear`](Self::clear), which must come before the exchange ends.
    pub(crate) fn set(&self, exchange: &mut Exchange<'_>) {
        self.0.set(ptr::from_mut(exchange).cast());
    }

    /// From now on there is none.
    pub(crate) fn clear(&self) {
        self.0.set(ptr::null_mut());
    }

    /// Runs `step` with the exchange, which is out of reach for anybody else meanwhile.
    pub(crate) fn with<T>(&self, step: impl FnOnce(&mut Exchange<'_>) -> PyResult<T>) -> PyResult<T> {
        let pointer = self.0.replace(ptr::null_mut());
        if pointer.is_null() {
            return Err(PyRuntimeError::new_err(
                "the request that this belongs to is over, or in use by another thread",
            ));
        }
        // SAFETY: the pointer was set from a live `&mut Exchange` by `set`, and `clear` comes before that
        // ends; taking it out of the cell makes this the only use.
        let result = step(unsafe { &mut *pointer });
        self.0.set(pointer);
        result
    }
}
