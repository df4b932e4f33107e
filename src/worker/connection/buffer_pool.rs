//! Buffers that a connection borrows while it is served and gives back empty, so that an idle one holds none.

use std::mem;

/// Lends a connection without a buffer the worker's.
pub(crate) fn borrow(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.capacity() == 0 {
        mem::swap(buffer, spare);
    }
}

/// Takes an empty buffer back; one that grew beyond what a usual request needs is freed.
pub(crate) fn give_back(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > 0 {
        let buffer = mem::take(buffer);
        if buffer.capacity() <= SPARE && buffer.capacity() > spare.capacity() {
            *spare = buffer;
        }
    }
}

/// The largest buffer that is kept for the next request.
const SPARE: usize = 256 * 1024;
