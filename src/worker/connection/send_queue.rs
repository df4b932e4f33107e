//! What a client has not taken of its response, in the order in which it is sent: bytes in a file of the worker, bytes,
//! the rest of a body that the application's side shares, the rest of a file of the application. It never waits for the
//! client.
//!
//! ```text
//! spilled -> bytes -> shared -> file
//! ```
//!
//! What is appended goes to `bytes`, or moves with all of them to the end of the spilled part. Nothing is appended
//! behind a shared body or a file.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::ServeRules;
use super::stream::Stream;
use crate::os::socket::More;
use crate::worker::spill_file::{self, SpillFile};

/// The parts that wait for the client.
#[derive(Default)]
pub(crate) struct SendQueue {
    spilled: Option<SpilledPart>,
    bytes: Vec<u8>,
    sent: usize,
    shared: Option<SharedPart>,
    file: Option<FilePart>,
    /// True if the socket took no more at the last attempt: the kernel says when it does.
    is_full: bool,
    /// True once the client is gone.
    is_gone: bool,
    /// Bytes of memory that count for it in [`HELD`].
    held: usize,
}

/// A queue that the thread of a request and the I/O thread send from.
pub(crate) type SharedQueue = Arc<Mutex<SendQueue>>;

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

/// The rest of a file in which the worker keeps bytes.
struct SpilledPart {
    file: SpillFile,
    offset: u64,
}

/// A part of a file of the application. The descriptor is a duplicate: the application may close its own.
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

impl SendQueue {
    /// A queue that begins with `bytes`, after the socket took no more.
    pub(super) fn behind(bytes: Vec<u8>, sent: usize) -> SendQueue {
        let mut queue = SendQueue::default();
        (queue.bytes, queue.sent, queue.is_full) = (bytes, sent, true);
        queue.count();
        queue
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.spilled.is_none() && self.bytes.is_empty() && self.shared.is_none() && self.file.is_none()
    }

    /// True if the kernel says when the socket takes more.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// True if flushing takes long, or may wait for a disk.
    pub(crate) fn is_long(&self) -> bool {
        let is_long = |part: &SharedPart| part.pending().len() > LONG;
        self.spilled.is_some() || self.file.is_some() || self.shared.as_ref().is_some_and(is_long)
    }

    /// Returns how many bytes wait.
    pub(super) fn length(&self) -> u64 {
        let spilled = self.spilled.as_ref().map_or(0, |part| part.file.length() - part.offset);
        let shared = self.shared.as_ref().map_or(0, |part| part.pending().len());
        spilled + (self.pending().len() + shared) as u64 + self.file.as_ref().map_or(0, |part| part.left)
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Appends bytes to those in memory.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.count();
    }

    /// Appends `pieces` to the bytes in memory, if the worker holds no more than `memory` bytes then. False if they
    /// belong into a file.
    pub(crate) fn hold(&mut self, pieces: [&[u8]; 2], memory: usize) -> bool {
        let more = pieces[0].len() + pieces[1].len();
        let length = self.pending().len() + more;
        let is_held = || HELD.load(Ordering::Relaxed).saturating_add(more) <= memory;
        let fits = length <= FEW || self.spilled.is_none() && length <= BUFFERED && is_held();
        if fits {
            self.bytes.extend_from_slice(pieces[0]);
            self.append(pieces[1]);
        }
        fits
    }

    /// Keeps the part from `from` to `to` of a body, if the worker may hold that much.
    pub(super) fn keep(
        &mut self,
        (from, to): (usize, usize),
        memory: usize,
        body: impl FnOnce() -> Option<Box<dyn SharedBody>>,
    ) -> bool {
        if HELD.load(Ordering::Relaxed).saturating_add(to) <= memory {
            self.shared = body().map(|body| SharedPart { body, from, to });
            self.count();
        }
        self.shared.is_some()
    }

    /// Puts `length` bytes of a file behind what waits.
    pub(super) fn append_file(&mut self, file: File, offset: u64, length: u64) {
        self.file = Some(FilePart { file, offset, left: length });
    }

    /// Moves the bytes in memory to the worker's file, and `pieces` behind them. One response gets no more than is left
    /// for all others. It may block. Errors: that of the disk, or `StorageFull`; nothing has happened then.
    pub(crate) fn spill(&mut self, pieces: [&[u8]; 2], rules: &ServeRules) -> io::Result<()> {
        let length = self.spilled.as_ref().map_or(0, |part| part.file.length());
        let most = rules.responses.files;
        if length > most.saturating_sub(spill_file::count().load(Ordering::Relaxed)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut part = match self.spilled.take() {
            Some(part) => part,
            None => SpilledPart { file: SpillFile::create(&rules.spill_directory)?, offset: 0 },
        };
        let appended = part.file.append(&[self.pending(), pieces[0], pieces[1]], most);
        if part.file.length() > 0 {
            self.spilled = Some(part);
        }
        appended?;
        (self.bytes, self.sent) = (Vec::new(), 0);
        self.count();
        Ok(())
    }

    /// Sends what the socket takes now, of a file at most [`TURN`], and `behind` where only bytes wait before it.
    /// Returns how many bytes of `behind` were sent. Errors: the client is gone, or the file is shorter than it was.
    pub(crate) fn flush(&mut self, stream: &Stream, behind: [&[u8]; 2]) -> io::Result<(Flushed, usize)> {
        if self.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let flushed = self.flush_parts(stream, behind);
        self.is_gone = flushed.is_err();
        self.is_full = matches!(flushed, Ok((Flushed::Full, _)));
        self.count();
        flushed
    }

    fn flush_parts(&mut self, stream: &Stream, behind: [&[u8]; 2]) -> io::Result<(Flushed, usize)> {
        if let Some(part) = &mut self.spilled {
            let left = part.file.length() - part.offset;
            match send_file(stream, part.file.file(), &mut part.offset, left)? {
                Flushed::All => self.spilled = None,
                flushed => return Ok((flushed, 0)),
            }
        }
        let written = self.write(stream, behind)?;
        if !self.bytes.is_empty() || self.shared.is_some() || written < behind[0].len() + behind[1].len() {
            return Ok((Flushed::Full, written));
        }
        let Some(part) = &mut self.file else { return Ok((Flushed::All, written)) };
        let before = part.offset;
        let flushed = send_file(stream, &part.file, &mut part.offset, part.left)?;
        part.left -= part.offset - before;
        if part.left == 0 {
            self.file = None;
        }
        Ok((flushed, written))
    }

    /// Writes the bytes, and with them the shared body, or what is `behind`. Returns how much of that was written.
    fn write(&mut self, stream: &Stream, behind: [&[u8]; 2]) -> io::Result<usize> {
        let (pieces, more) = match (&self.shared, &self.file) {
            (None, None) => ([self.pending(), behind[0], behind[1]], More::Ends),
            (Some(part), None) => ([self.pending(), part.pending(), b""], More::Ends),
            (None, Some(_)) => ([self.pending(), b"", b""], More::Follows),
            (Some(part), Some(_)) => ([self.pending(), part.pending(), b""], More::Follows),
        };
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Ok(0);
        }
        let mut written = stream.write(&pieces, more)?;
        let taken = written.min(self.pending().len());
        written -= taken;
        self.sent += taken;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        let Some(part) = &mut self.shared else { return Ok(written) };
        part.from += written;
        if part.from == part.to {
            self.shared = None;
        }
        Ok(0)
    }

    /// Counts the memory that it holds now.
    fn count(&mut self) {
        let holds = self.bytes.capacity() + self.shared.as_ref().map_or(0, |part| part.to);
        let before = std::mem::replace(&mut self.held, holds);
        if holds > before {
            HELD.fetch_add(holds - before, Ordering::Relaxed);
        } else {
            HELD.fetch_sub(before - holds, Ordering::Relaxed);
        }
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        HELD.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Sends of a file what the socket takes now, at most [`TURN`] of the `left` bytes at `offset`.
fn send_file(stream: &Stream, file: &File, offset: &mut u64, left: u64) -> io::Result<Flushed> {
    if left == 0 {
        return Ok(Flushed::All);
    }
    match stream.send_file(file, *offset, left.min(TURN))? {
        None => Ok(Flushed::Full),
        Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(count) => {
            *offset += count;
            Ok(if count < left { Flushed::TurnOver } else { Flushed::All })
        }
    }
}

/// Locks a queue. A panic within a step was caught for one exchange, which the queue does not outlive.
pub(crate) fn lock(queue: &SharedQueue) -> MutexGuard<'_, SendQueue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a file that one client gets before the next has a turn. nginx `sendfile_max_chunk`: 2 MiB.
const TURN: u64 = 1 << 20;
/// Sending more than this takes long enough for another thread to use the GIL.
pub(crate) const LONG: usize = 64 * 1024;
/// The bytes of a response that wait in memory before they go to a file. nginx: 64 KiB, waitress: 1 MiB.
const BUFFERED: usize = 256 * 1024;
/// This many bytes stay in memory in any case: small pieces share a write.
const FEW: usize = 16 * 1024;
/// The bytes of memory that this process holds for clients.
static HELD: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::worker::connection::tests::rules;

    /// Takes all that the queue sends.
    fn drained(queue: &mut SendQueue, stream: &Stream, client: &mut UnixStream) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            let (flushed, _) = queue.flush(stream, [b"", b""]).unwrap();
            while let Ok(count) = client.read(&mut part) {
                all.extend_from_slice(&part[..count]);
            }
            if flushed == Flushed::All {
                return all;
            }
        }
    }

    #[test]
    fn all_parts_are_sent_in_the_order_in_which_they_came() {
        let (ours, mut client) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::plain(ours.into());
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at >> 8).to_le_bytes()[0]).collect();
        let mut queue = SendQueue::behind(bytes[..10].to_vec(), 5);
        assert!(queue.is_full() && !queue.is_long());
        assert!(queue.hold([&bytes[10..100], &bytes[100..200_000]], usize::MAX));
        assert!(!queue.hold([&bytes[..100_000], b""], usize::MAX), "more than stays in memory");
        queue.spill([&bytes[200_000..1_000_000], &bytes[1_000_000..2_500_000]], &rules()).unwrap();
        assert!(queue.is_long() && queue.length() == 2_500_000 - 5);
        assert!(queue.hold([&bytes[2_500_000..2_510_000], b""], 0), "few bytes always stay in memory");
        let (_, behind) = queue.flush(&stream, [&bytes[2_510_000..], b""]).unwrap();
        assert_eq!(behind, 0, "a file goes first");
        queue.spill([&bytes[2_510_000..], b""], &rules()).unwrap();
        assert!(drained(&mut queue, &stream, &mut client) == bytes[5..]);
        assert!(queue.is_empty() && !queue.is_full() && queue.length() == 0);
        let (flushed, behind) = queue.flush(&stream, [b"one", b" two"]).unwrap();
        assert_eq!(
            (flushed, behind, drained(&mut queue, &stream, &mut client)),
            (Flushed::All, 7, b"one two".to_vec())
        );
    }

    #[test]
    fn without_memory_and_room_in_files_nothing_is_taken() {
        let mut queue = SendQueue::behind(b"begun".to_vec(), 0);
        let piece = vec![b'x'; 20_000];
        assert!(!queue.hold([&piece, b""], 0));
        let mut rules = rules();
        rules.responses.files = 0;
        assert_eq!(queue.spill([&piece, b""], &rules).unwrap_err().kind(), io::ErrorKind::StorageFull);
        rules.responses.files = u64::MAX;
        rules.spill_directory = "/nonexistent".into();
        assert_eq!(queue.spill([&piece, b""], &rules).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(queue.length() == 5 && !queue.is_long());
    }
}
