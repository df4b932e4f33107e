//! Bytes objects that the worker holds while the kernel reads or fills them, without the interpreter: a body received
//! straight into what `wsgi.input` will return, a response that its client has not taken yet. It knows no request.

use std::any::Any;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use rwsgi::worker::{BodyBuffer, SharedBody};

/// A bytes object, exactly of that type, so that its end runs no code. It may be dropped without the interpreter.
struct Held {
    object: Option<Py<PyBytes>>,
    start: *mut u8,
    length: usize,
}

// SAFETY: `start` points into the object, which neither moves nor ends before the reference is given up.
unsafe impl Send for Held {}

impl Held {
    fn new(object: Bound<'_, PyBytes>) -> Held {
        // SAFETY: a live bytes object; the result points to its bytes.
        let start = unsafe { ffi::PyBytes_AsString(object.as_ptr()) }.cast::<u8>();
        let length = object.as_bytes().len();
        Held { object: Some(object.unbind()), start, length }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            if !ATTACHED.get() {
                LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(object);
                IS_LEFT.store(true, Ordering::Release);
            }
        }
    }
}

/// A body on its way in.
pub(crate) struct Incoming(Held);

impl Incoming {
    /// A new object that nobody else has seen, for so many bytes; none if there is no memory.
    pub(crate) fn new(py: Python<'_>, length: usize) -> Option<Incoming> {
        let size = isize::try_from(length).ok()?;
        // SAFETY: the thread is attached. The result is a new bytes object with room for `size` bytes, or null with an
        // exception set.
        let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
        // SAFETY: as above.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }.ok()?;
        Some(Incoming(Held::new(object.cast_into_exact().ok()?)))
    }

    /// The object, once all of it was written.
    pub(crate) fn into_object(mut self, py: Python<'_>) -> Option<Bound<'_, PyBytes>> {
        self.0.object.take().map(|object| object.into_bound(py))
    }
}

impl BodyBuffer for Incoming {
    fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the object's bytes; nobody else has the object before it is taken out of here.
        unsafe { slice::from_raw_parts_mut(self.0.start.cast(), self.0.length) }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A response on its way out.
pub(crate) struct Outgoing(Held);

impl Outgoing {
    /// Holds on to the object, if it is of the exact type.
    pub(crate) fn of(bytes: &Bound<'_, PyBytes>) -> Option<Box<dyn SharedBody>> {
        let exact = bytes.cast_exact::<PyBytes>().ok()?;
        Some(Box::new(Outgoing(Held::new(exact.clone()))))
    }
}

impl SharedBody for Outgoing {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the object's bytes, which nothing changes while the object lives.
        unsafe { slice::from_raw_parts(self.0.start, self.0.length) }
    }
}

/// Says whether the calling thread holds the interpreter; says what was said before.
pub(crate) fn set_attached(attached: bool) -> bool {
    ATTACHED.replace(attached)
}

/// Gives up what was dropped without the interpreter. The caller holds it.
pub(crate) fn give_up(_: Python<'_>) {
    if IS_LEFT.load(Ordering::Relaxed) && IS_LEFT.swap(false, Ordering::Acquire) {
        let left = std::mem::take(&mut *LEFT.lock().unwrap_or_else(PoisonError::into_inner));
        drop(left);
    }
}

thread_local! {
    /// Only the threads that call applications ever say so; others leave what they drop to these.
    static ATTACHED: Cell<bool> = const { Cell::new(false) };
}
static LEFT: Mutex<Vec<Py<PyBytes>>> = Mutex::new(Vec::new());
static IS_LEFT: AtomicBool = AtomicBool::new(false);
