//! What waits for a client to take it: bytes, and behind them perhaps the rest of a file. It never blocks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::os::socket::{self, More};

/// Bytes, and a file behind them, that wait for the socket to take them.
#[derive(Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    sent: usize,
    file: Option<FilePart>,
}

/// A part of a file. The descriptor is a duplicate: the application may close its own.
struct FilePart {
    file: File,
    offset: u64,
    left: u64,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All is with the kernel.
    All,
    /// The socket is full; the kernel says when it takes more.
    Full,
    /// The socket may take more, but others have a turn.
    TurnOver,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.file.is_none()
    }

    /// Bytes not yet taken.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Bytes that the client has not taken, in this process and in the kernel.
    pub(super) fn outstanding(&self, stream: BorrowedFd<'_>) -> u64 {
        let file = self.file.as_ref().map_or(0, |part| part.left);
        self.pending().len() as u64 + file + socket::unacknowledged(stream)
    }

    /// Does flushing read a file, which may wait for a disk?
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Puts `length` bytes of a file behind what is pending.
    pub(super) fn append_file(&mut self, file: File, offset: u64, length: u64) {
        if length > 0 {
            self.file = Some(FilePart { file, offset, left: length });
        }
    }

    /// Takes what was written off the front of the bytes.
    pub(super) fn consume(&mut self, written: &mut usize) {
        let taken = (*written).min(self.bytes.len() - self.sent);
        *written -= taken;
        self.sent += taken;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Sends what the socket takes now, of a file at most [`TURN`]. An error when the client is gone, or the file is
    /// shorter than it was.
    pub(super) fn flush(&mut self, stream: BorrowedFd<'_>) -> io::Result<Flushed> {
        if !self.pending().is_empty() {
            let more = if self.file.is_some() { More::Follows } else { More::Ends };
            let mut written = socket::write(stream, &[self.pending(), b"", b""], more)?;
            self.consume(&mut written);
            if !self.bytes.is_empty() {
                return Ok(Flushed::Full);
            }
        }
        let Some(part) = &mut self.file else { return Ok(Flushed::All) };
        match socket::send_file(stream, part.file.as_fd(), part.offset, part.left.min(TURN))? {
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

/// What one client gets before the next has a turn. nginx `sendfile_max_chunk`: 2 MiB.
const TURN: u64 = 1 << 20;
