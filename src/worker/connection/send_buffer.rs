//! The part of a response that is not with the kernel: bytes that were made last, and before them what its client has
//! not taken so far, if there is any. It never waits for the client.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::send_queue::{self, Flushed, SendQueue, SharedBody, SharedQueue};
use super::stream::Stream;
use crate::os::socket::More;

/// Bytes that wait for the socket to take them, and the queue of those before them. Nearly no response has one.
#[derive(Default)]
pub(crate) struct SendBuffer {
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    queue: Option<SharedQueue>,
}

impl SendBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.queue.is_none()
    }

    /// True if there is a queue: what is made goes behind it.
    pub(crate) fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    fn locked(&self) -> Option<MutexGuard<'_, SendQueue>> {
        self.queue.as_ref().map(send_queue::lock)
    }

    /// True if flushing takes long, or may wait for a disk.
    pub(crate) fn is_long(&self) -> bool {
        self.locked().is_some_and(|queue| queue.is_long())
    }

    /// True if the socket takes more, as far as is known.
    pub(crate) fn is_ready(&self) -> bool {
        self.locked().is_some_and(|queue| !queue.is_full())
    }

    /// Returns the bytes not yet taken, those of the queue left out.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Returns how many bytes the client has not taken, in this process and in the kernel.
    pub(crate) fn outstanding(&self, stream: &Stream) -> u64 {
        let queued = self.locked().map_or(0, |queue| queue.length());
        stream.outstanding(self.pending().len() as u64 + queued)
    }

    /// Writes the pending bytes, and two pieces behind them. Returns how many bytes of the pieces were written. There
    /// is no queue.
    pub(crate) fn write(&mut self, stream: &Stream, [one, other]: [&[u8]; 2], more: More) -> io::Result<usize> {
        let mut written = stream.write(&[self.pending(), one, other], more)?;
        self.consume(&mut written);
        Ok(written)
    }

    /// Drops what was written from the front of the bytes, and from `written`.
    fn consume(&mut self, written: &mut usize) {
        let taken = (*written).min(self.bytes.len() - self.sent);
        *written -= taken;
        self.sent += taken;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Moves the pending bytes to the queue, and returns that: what is made from here on goes behind it.
    pub(crate) fn begin_queue(&mut self) -> &SharedQueue {
        if let Some(queue) = &self.queue {
            send_queue::lock(queue).append(&self.bytes[self.sent..]);
            self.bytes.clear();
            self.sent = 0;
        }
        let (bytes, sent) = (&mut self.bytes, &mut self.sent);
        self.queue
            .get_or_insert_with(|| Arc::new(Mutex::new(SendQueue::behind(std::mem::take(bytes), std::mem::take(sent)))))
    }

    /// Puts the part from `from` to `to` of a body behind what is pending, if the worker may hold that much of its
    /// `memory`.
    pub(crate) fn keep(
        &mut self,
        part: (usize, usize),
        memory: usize,
        body: impl FnOnce() -> Option<Box<dyn SharedBody>>,
    ) -> bool {
        send_queue::lock(self.begin_queue()).keep(part, memory, body)
    }

    /// Puts `length` bytes of a file behind what is pending.
    pub(crate) fn append_file(&mut self, file: File, offset: u64, length: u64) {
        if length > 0 {
            send_queue::lock(self.begin_queue()).append_file(file, offset, length);
        }
    }

    /// Drops a queue in which nothing waits. No other thread has it any more.
    pub(crate) fn settle(&mut self) {
        if self.locked().is_some_and(|queue| queue.is_empty()) {
            self.queue = None;
        }
    }

    /// Sends what the socket takes now, of a file a part. Errors: the client is gone, or the file is shorter than it
    /// was.
    pub(crate) fn flush(&mut self, stream: &Stream) -> io::Result<Flushed> {
        if let Some(queue) = &self.queue {
            match send_queue::lock(queue).flush(stream, [b"", b""])? {
                (Flushed::All, _) => {}
                (flushed, _) => return Ok(flushed),
            }
            self.queue = None;
        }
        if !self.bytes.is_empty() {
            let mut written = stream.write(&[self.pending(), b"", b""], More::Ends)?;
            self.consume(&mut written);
            if !self.bytes.is_empty() {
                return Ok(Flushed::Full);
            }
        }
        Ok(Flushed::All)
    }
}
