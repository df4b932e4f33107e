//! The rest of a response that waits for its client: bytes, and behind them the rest of a body that the application's
//! side shares, or of a file. It never blocks.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::stream::Stream;
use crate::os::socket::More;

/// Bytes, and a body or a file behind them, that wait for the socket to take them.
#[derive(Default)]
pub(crate) struct SendBuffer {
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    kept: Option<SharedPart>,
    file: Option<FilePart>,
}

/// A body that the application's side keeps until the client has taken it. Any thread may read or drop it, with or
/// without the GIL.
pub trait SharedBody: Send {
    /// Returns all of it; it never changes.
    fn bytes(&self) -> &[u8];
}

/// A part of a shared body.
struct SharedPart {
    body: Box<dyn SharedBody>,
    from: usize,
    to: usize,
}

impl SharedPart {
    fn pending(&self) -> &[u8] {
        &self.body.bytes()[self.from..self.to]
    }
}

impl Drop for SharedPart {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.to, Ordering::Relaxed);
    }
}

/// A part of a file. The descriptor is a duplicate: the application may close its own.
struct FilePart {
    file: File,
    offset: u64,
    left: u64,
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All is with the kernel.
    All,
    /// The socket is full; the kernel says when it takes more.
    Full,
    /// The socket may take more, but others have a turn.
    TurnOver,
}

impl SendBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.has_rest()
    }

    /// True if more waits for the client than bytes of its own.
    pub(crate) fn has_rest(&self) -> bool {
        self.kept.is_some() || self.file.is_some()
    }

    /// True if flushing takes long, or may wait for a disk.
    pub(crate) fn is_long(&self) -> bool {
        self.file.is_some() || self.kept.as_ref().is_some_and(|part| part.pending().len() > LONG)
    }

    /// Puts the part from `from` to `to` of a body behind what is pending, if the worker may keep that much.
    pub(crate) fn keep(&mut self, from: usize, to: usize, body: impl FnOnce() -> Option<Box<dyn SharedBody>>) -> bool {
        if KEPT.fetch_add(to, Ordering::Relaxed) + to <= KEPT_AT_MOST {
            if let Some(body) = body() {
                self.kept = Some(SharedPart { body, from, to });
                return true;
            }
        }
        KEPT.fetch_sub(to, Ordering::Relaxed);
        false
    }

    /// Returns the bytes not yet taken.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Returns how many bytes the client has not taken, in this process and in the kernel.
    pub(crate) fn outstanding(&self, stream: &Stream) -> u64 {
        let file = self.file.as_ref().map_or(0, |part| part.left);
        let kept = self.kept.as_ref().map_or(0, |part| part.pending().len());
        stream.outstanding((self.pending().len() + kept) as u64 + file)
    }

    /// True if flushing reads a file, which may wait for a disk.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Puts `length` bytes of a file behind what is pending.
    pub(crate) fn append_file(&mut self, file: File, offset: u64, length: u64) {
        if length > 0 {
            self.file = Some(FilePart { file, offset, left: length });
        }
    }

    /// Writes the pending bytes, and two pieces behind them. Returns how many bytes of the pieces were written.
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

    fn consume_kept(&mut self, written: usize) {
        if let Some(part) = &mut self.kept {
            part.from += written;
            if part.from == part.to {
                self.kept = None;
            }
        }
    }

    /// Sends what the socket takes now, of a file at most [`TURN`]. Errors: the client is gone, or the file is shorter
    /// than it was.
    pub(crate) fn flush(&mut self, stream: &Stream) -> io::Result<Flushed> {
        if !self.bytes.is_empty() || self.kept.is_some() {
            let more = if self.file.is_some() { More::Follows } else { More::Ends };
            let kept = self.kept.as_ref().map_or(&b""[..], SharedPart::pending);
            let mut written = stream.write(&[self.pending(), kept, b""], more)?;
            self.consume(&mut written);
            self.consume_kept(written);
            if !self.bytes.is_empty() || self.kept.is_some() {
                return Ok(Flushed::Full);
            }
        }
        let Some(part) = &mut self.file else { return Ok(Flushed::All) };
        match stream.send_file(&part.file, part.offset, part.left.min(TURN))? {
            None => Ok(Flushed::Full),
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(count) => {
                part.offset += count;
                part.left -= count;
                if part.left > 0 {
                    return Ok(Flushed::TurnOver);
                }
                self.file = None;
                Ok(Flushed::All)
            }
        }
    }
}

/// The part of a file that one client gets before the next has a turn. nginx `sendfile_max_chunk`: 2 MiB.
const TURN: u64 = 1 << 20;
/// Sending more than this takes long enough for another thread to use the GIL.
pub(crate) const LONG: usize = 64 * 1024;
/// The most bytes that a worker keeps of bodies that the application has made whole, so that no thread waits for their
/// clients. Beyond it the application waits, as it does for a body that is made while it is sent.
const KEPT_AT_MOST: usize = 32 << 20;
/// The bytes that are kept in this process.
static KEPT: AtomicUsize = AtomicUsize::new(0);
