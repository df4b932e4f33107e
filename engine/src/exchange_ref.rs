//! The exchange behind objects that an application holds: reachable while its request runs, from the thread that runs
//! it, and by nobody else or afterwards.

use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use rwsgi::worker::Exchange;

/// The exchange of the request that runs; null when none does, or while a step uses it. Only [`Current::with`] follows it.
pub(crate) struct Current {
    exchange: Cell<*mut Exchange<'static>>,
    /// The thread that runs the request. A step may lay the interpreter down, so that another thread could otherwise
    /// come in meanwhile, or outlive the request within its step.
    owner: Cell<Option<Thread>>,
}

/// A thread that is alive: the address of something of its own. The owner of a request lives as long as it owns it, so that
/// no other thread can have its address meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Thread(usize);

impl Thread {
    fn current() -> Thread {
        thread_local!(static OWN: u8 = const { 0 });
        OWN.with(|own| Thread(ptr::from_ref(own).addr()))
    }
}

// SAFETY: the cells are read and written with the interpreter attached only, and CPython with a GIL attaches one thread
// at a time; free-threaded builds are refused at the start. The pointer is followed by the owner alone.
unsafe impl Sync for Current {}
// SAFETY: as above; the pointer means the same in every thread of the process.
unsafe impl Send for Current {}

impl Default for Current {
    fn default() -> Current {
        Current { exchange: Cell::new(ptr::null_mut()), owner: Cell::new(None) }
    }
}

impl Current {
    /// From now on this is `exchange`, until [`clear`](Self::clear), which must come before the exchange ends, in the
    /// same thread.
    pub(crate) fn set(&self, exchange: &mut Exchange<'_>) {
        self.exchange.set(ptr::from_mut(exchange).cast());
        self.owner.set(Some(Thread::current()));
    }

    /// From now on there is none.
    pub(crate) fn clear(&self) {
        self.exchange.set(ptr::null_mut());
        self.owner.set(None);
    }

    /// Runs `step` with the exchange, which is out of reach for anybody else meanwhile.
    pub(crate) fn with<T>(&self, step: impl FnOnce(&mut Exchange<'_>) -> PyResult<T>) -> PyResult<T> {
        match self.owner.get() {
            None => return Err(PyRuntimeError::new_err("the request that this belongs to is over")),
            Some(owner) if owner != Thread::current() => {
                let words = "a request's input and output can be used by the thread that serves it, and by no other";
                return Err(PyRuntimeError::new_err(words));
            }
            Some(_) => {}
        }
        let pointer = self.exchange.replace(ptr::null_mut());
        if pointer.is_null() {
            return Err(PyRuntimeError::new_err("the request's input or output is in use already"));
        }
        // SAFETY: the pointer was set from a live `&mut Exchange` in this thread by `set`, and `clear`, which this thread
        // calls before that ends, cannot run within the step; taking it out of the cell makes this the only use.
        let result = step(unsafe { &mut *pointer });
        self.exchange.set(pointer);
        result
    }
}
