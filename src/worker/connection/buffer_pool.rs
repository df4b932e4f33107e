//! Buffers that a connection borrows while it is served and gives back empty, so that an idle one holds none.

use std::mem;

/// One buffer for what is received, and one for what is sent.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    pub(crate) input: Spare,
    pub(crate) output: Spare,
}

/// A buffer that waits for its next use.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<u8>);

impl Spare {
    /// Lends the buffer to a connection that has none.
    pub(crate) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            mem::swap(buffer, &mut self.0);
        }
    }

    /// Takes an empty buffer back. One that grew beyond what a usual request needs is freed.
    pub(crate) fn take_back(&mut self, buffer: &mut Vec<u8>) {
        if buffer.is_empty() && buffer.capacity() > 0 {
            let buffer = mem::take(buffer);
            if buffer.capacity() <= LARGEST && buffer.capacity() > self.0.capacity() {
                self.0 = buffer;
            }
        }
    }
}

/// The largest buffer that is kept for the next request.
const LARGEST: usize = 256 * 1024;
