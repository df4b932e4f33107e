//! The reference from objects that an application holds to the exchange of their request. It leads to the exchange while the
//! request runs, in the thread that runs it, and to an error otherwise.

use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use rwsgi::worker::Exchange;

/// A reference to the exchange of the request that runs. Only [`ExchangeRef::with`] follows it.
pub(crate) struct ExchangeRef {
    /// The pointer, which is null when no request runs, and while a step uses the exchange.
    exchange: Cell<*mut Exchange<'static>>,
    /// The thread that runs the request. A step may release the GIL, so that another thread could otherwise enter
    /// meanwhile, or outlive the request within its step.
    owner: Cell<Option<Thread>>,
}

/// A live thread: the address of a thread-local of its own. The owner of a request lives as long as it owns it, so that no
/// other thread can have its address meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Thread(usize);

impl Thread {
    fn current() -> Thread {
        thread_local!(static OWN: u8 = const { 0 });
        OWN.with(|own| Thread(ptr::from_ref(own).addr()))
    }
}

// SAFETY: the cells are read and written by attached threads only, and CPython with a GIL attaches one thread at a time;
// free-threaded builds are refused at the start. The pointer is followed by the owner alone.
unsafe impl Sync for ExchangeRef {}
// SAFETY: as above; the pointer means the same in every thread of the process.
unsafe impl Send for ExchangeRef {}

impl Default for ExchangeRef {
    fn default() -> ExchangeRef {
        ExchangeRef { exchange: Cell::new(ptr::null_mut()), owner: Cell::new(None) }
    }
}

impl ExchangeRef {
    /// Refers to `exchange` until [`clear`](Self::clear), which must come before the exchange ends, in the same thread.
    pub(crate) fn set(&self, exchange: &mut Exchange<'_>) {
        self.exchange.set(ptr::from_mut(exchange).cast());
        self.owner.set(Some(Thread::current()));
    }

    /// Refers to no exchange from now on.
    pub(crate) fn clear(&self) {
        self.exchange.set(ptr::null_mut());
        self.owner.set(None);
    }

    /// Runs `step` with the exchange, which is out of reach for all others meanwhile.
    pub(crate) fn with<T>(&self, step: impl FnOnce(&mut Exchange<'_>) -> PyResult<T>) -> PyResult<T> {
        match self.owner.get() {
            None => return Err(PyRuntimeError::new_err("the request of this object has ended")),
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
