//! Bytes objects that a worker holds while the kernel reads or fills them, without the GIL: a body received straight into
//! the object that `wsgi.input` will return, a response that its client has not taken yet. Knows no request.

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

/// A bytes object, exactly of that type, so that its end runs no code. It may be dropped by a detached thread.
struct HeldBytes {
    object: Option<Py<PyBytes>>,
    start: *mut u8,
    length: usize,
}

// SAFETY: `start` points into the object, which neither moves nor ends before the reference is released.
unsafe impl Send for HeldBytes {}

impl HeldBytes {
    fn new(object: Bound<'_, PyBytes>) -> HeldBytes {
        // SAFETY: a live bytes object; the result points to its bytes.
        let start = unsafe { ffi::PyBytes_AsString(object.as_ptr()) }.cast::<u8>();
        let length = object.as_bytes().len();
        HeldBytes { object: Some(object.unbind()), start, length }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            if !ATTACHED.get() {
                DROPPED.lock().unwrap_or_else(PoisonError::into_inner).push(object);
                HAS_DROPPED.store(true, Ordering::Release);
            }
        }
    }
}

/// A request's body that is being received.
pub(crate) struct IncomingBody(HeldBytes);

impl IncomingBody {
    /// Returns a new object of `length` bytes, to which nothing else refers, or `None` if there is no memory for it.
    pub(crate) fn new(py: Python<'_>, length: usize) -> Option<IncomingBody> {
        let size = isize::try_from(length).ok()?;
        // SAFETY: the thread is attached. The result is a new bytes object with room for `size` bytes, or null with an
        // exception set.
        let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
        // SAFETY: as above.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }.ok()?;
        Some(IncomingBody(HeldBytes::new(object.cast_into_exact().ok()?)))
    }

    /// Returns a new object of these bytes, or `None` if there is no memory for it.
    pub(crate) fn copy_of<'py>(py: Python<'py>, bytes: &[u8]) -> Option<Bound<'py, PyBytes>> {
        let mut copy = IncomingBody::new(py, bytes.len())?;
        for (room, byte) in copy.room().iter_mut().zip(bytes) {
            room.write(*byte);
        }
        copy.into_object(py)
    }

    /// Returns the object, once all of it was written.
    pub(crate) fn into_object(mut self, py: Python<'_>) -> Option<Bound<'_, PyBytes>> {
        self.0.object.take().map(|object| object.into_bound(py))
    }
}

impl BodyBuffer for IncomingBody {
    fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the object's bytes; nothing else refers to the object before it is taken out of here.
        unsafe { slice::from_raw_parts_mut(self.0.start.cast(), self.0.length) }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A response's body that is being sent.
pub(crate) struct OutgoingBody(HeldBytes);

impl OutgoingBody {
    /// Holds the object, if it is of the exact type.
    pub(crate) fn of(bytes: &Bound<'_, PyBytes>) -> Option<Box<dyn SharedBody>> {
        let exact = bytes.cast_exact::<PyBytes>().ok()?;
        Some(Box::new(OutgoingBody(HeldBytes::new(exact.clone()))))
    }
}

impl SharedBody for OutgoingBody {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the object's bytes, which nothing changes while the object lives.
        unsafe { slice::from_raw_parts(self.0.start, self.0.length) }
    }
}

/// Notes whether the calling thread is attached. Returns the former note.
pub(crate) fn set_attached(attached: bool) -> bool {
    ATTACHED.replace(attached)
}

/// Releases the objects that detached threads have dropped. The caller is attached.
pub(crate) fn release_dropped(_: Python<'_>) {
    if HAS_DROPPED.load(Ordering::Relaxed) && HAS_DROPPED.swap(false, Ordering::Acquire) {
        let dropped = std::mem::take(&mut *DROPPED.lock().unwrap_or_else(PoisonError::into_inner));
        drop(dropped);
    }
}

thread_local! {
    /// True in attached threads that call applications. Other threads leave to these the objects that they drop.
    static ATTACHED: Cell<bool> = const { Cell::new(false) };
}
static DROPPED: Mutex<Vec<Py<PyBytes>>> = Mutex::new(Vec::new());
static HAS_DROPPED: AtomicBool = AtomicBool::new(false);
