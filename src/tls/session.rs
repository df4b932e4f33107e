//! TLS of one connection: the handshake, reading and writing. It works on a non-blocking socket and returns what reads
//! and writes on that would return. The caller decides when to call again.
//!
//! Encrypted bytes that the kernel has not taken count as not written. [`Session::write`] encrypts at most [`SEALED`]
//! bytes at a time, and reports them as written once the kernel has them. Until then the caller passes the same bytes
//! again.

use std::fs::File;
use std::io::{self, BufRead, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustls::{Error, ServerConfig, ServerConnection};

use super::Variables;
use crate::os::heap;
use crate::os::socket::{self, More, Read};

/// The TLS state of one connection.
#[derive(Debug)]
pub struct Session {
    connection: ServerConnection,
    /// The number of encrypted bytes that were not yet reported as written.
    owed: usize,
    /// The number of bytes that the kernel has taken since they were encrypted.
    sent: usize,
    variables: Option<Arc<Variables>>,
}

/// The state of a handshake.
#[derive(Debug)]
pub enum Shaken {
    /// The handshake is complete.
    Done,
    /// The client has to send next.
    Waiting,
    /// The handshake failed.
    Failed(Fault),
}

/// The reason for a failed handshake.
#[derive(Debug)]
pub enum Fault {
    /// The client speaks HTTP without TLS.
    Plain,
    /// The client closed the connection.
    Gone,
    /// Client and server have nothing in common; the client was told.
    Refused(Error),
}

/// The result of reading from the socket.
enum Decrypted {
    Some,
    Nothing,
    Closed,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Session, Error> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(Some(2 * SEALED));
        Ok(Session { connection, owed: 0, sent: 0, variables: None })
    }

    /// Continues the handshake until the client has to send. With an RSA key it computes for a millisecond.
    pub fn shake_hands(&mut self, stream: BorrowedFd<'_>) -> Shaken {
        loop {
            match self.flush(stream, More::Ends) {
                Err(_) => return Shaken::Failed(Fault::Gone),
                Ok(false) => return Shaken::Waiting,
                Ok(true) if !self.connection.is_handshaking() => {
                    self.variables = Some(Arc::new(Variables::of(&self.connection)));
                    return Shaken::Done;
                }
                Ok(true) => {}
            }
            let mut wire = Wire { stream, more: More::Ends, written: 0, first: None };
            match self.connection.read_tls(&mut wire) {
                Ok(0) => return Shaken::Failed(Fault::Gone),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Shaken::Waiting,
                Err(_) => return Shaken::Failed(Fault::Gone),
                Ok(_) => {}
            }
            if let Err(error) = self.connection.process_new_packets() {
                if wire.first.is_some_and(|byte| byte.is_ascii_alphabetic()) {
                    return Shaken::Failed(Fault::Plain);
                }
                let _ = self.flush(stream, More::Ends);
                return Shaken::Failed(Fault::Refused(error));
            }
        }
    }

    /// Returns the variables for the environ, or `None` before the handshake is complete.
    pub fn variables(&self) -> Option<Arc<Variables>> {
        self.variables.clone()
    }

    /// Reads as [`socket::read`] does.
    pub fn read(&mut self, stream: BorrowedFd<'_>, buffer: &mut Vec<u8>, room: usize) -> Read {
        if heap::try_reserve(buffer, room).is_err() {
            return Read::NoMemory;
        }
        self.read_by(stream, room, |chunk| buffer.extend_from_slice(chunk))
    }

    /// Reads as [`socket::read_into`] does.
    pub fn read_into(&mut self, stream: BorrowedFd<'_>, room: &mut [MaybeUninit<u8>]) -> Read {
        let length = room.len();
        let mut rest = room.iter_mut();
        self.read_by(stream, length, |chunk| {
            // The shorter one first: `zip` would take one more of the other.
            for (byte, place) in chunk.iter().zip(&mut rest) {
                place.write(*byte);
            }
        })
    }

    /// Passes up to `room` bytes to `take`, in order.
    fn read_by(&mut self, stream: BorrowedFd<'_>, room: usize, mut take: impl FnMut(&[u8])) -> Read {
        let mut count = 0;
        let closed = loop {
            match self.connection.reader().fill_buf() {
                Ok([]) => break true,
                Ok(chunk) => {
                    let length = chunk.len().min(room - count);
                    take(&chunk[..length]);
                    self.connection.reader().consume(length);
                    count += length;
                    if count == room {
                        return Read::Bytes { count, more: true };
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break true,
            }
            match self.receive(stream) {
                Decrypted::Some => {}
                Decrypted::Nothing => break false,
                Decrypted::Closed => break true,
            }
        };
        match (count, closed) {
            (0, true) => Read::Closed,
            (0, false) => Read::Nothing,
            // The next read finds the end again.
            (count, closed) => Read::Bytes { count, more: closed },
        }
    }

    fn receive(&mut self, stream: BorrowedFd<'_>) -> Decrypted {
        let mut wire = Wire { stream, more: More::Ends, written: 0, first: None };
        match self.connection.read_tls(&mut wire) {
            Ok(0) => {
                // An end without close_notify is treated the same: requests have their own delimiters.
                return Decrypted::Closed;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A response to a client's key update, or bytes that are still unsent.
                return if self.flush(stream, More::Ends).is_ok() { Decrypted::Nothing } else { Decrypted::Closed };
            }
            Err(_) => return Decrypted::Closed,
        }
        match self.connection.process_new_packets() {
            Ok(_) => Decrypted::Some,
            Err(_) => {
                let _ = self.flush(stream, More::Ends);
                Decrypted::Closed
            }
        }
    }

    /// True if received bytes were not read yet.
    pub fn has_unread(&mut self) -> bool {
        matches!(self.connection.reader().fill_buf(), Ok([_, ..]))
    }

    /// True if encrypted bytes wait for the kernel.
    pub fn has_sealed(&self) -> bool {
        self.connection.wants_write()
    }

    /// Returns how many bytes the kernel has taken beyond those that [`write`](Self::write) has reported, at least.
    pub fn sent_ahead(&self) -> usize {
        self.sent.min(self.owed)
    }

    /// Writes as [`socket::write`] does.
    pub fn write(&mut self, stream: BorrowedFd<'_>, pieces: &[&[u8]; 3], more: More) -> io::Result<usize> {
        let Some(mut written) = self.settle(stream, more)? else { return Ok(0) };
        let mut skipped = written;
        for piece in pieces {
            let passed = skipped.min(piece.len());
            skipped -= passed;
            for part in piece[passed..].chunks(SEALED) {
                let length = self.seal(part)?;
                if !self.flush(stream, more)? {
                    return Ok(written);
                }
                written += std::mem::take(&mut self.owed);
                if length < part.len() {
                    return Ok(written);
                }
            }
        }
        Ok(written)
    }

    /// Sends as [`socket::send_file`] does.
    pub fn send_file(
        &mut self,
        stream: BorrowedFd<'_>,
        file: &File,
        offset: u64,
        most: u64,
    ) -> io::Result<Option<u64>> {
        let Some(written) = self.settle(stream, More::Ends)? else { return Ok(None) };
        let mut written = written as u64;
        let mut part = vec![0; usize::try_from(most).unwrap_or(SEALED).min(SEALED)];
        while written < most {
            let room = usize::try_from(most - written).unwrap_or(SEALED).min(part.len());
            let length = file.read_at(&mut part[..room], offset + written)?;
            if length == 0 {
                break;
            }
            self.seal(&part[..length])?;
            if !self.flush(stream, More::Ends)? {
                return Ok(if written > 0 { Some(written) } else { None });
            }
            written += std::mem::take(&mut self.owed) as u64;
        }
        Ok(Some(written))
    }

    /// Sends encrypted bytes. Returns how many of the bytes that the caller passes again were among them, or `None` if
    /// the kernel takes no more.
    fn settle(&mut self, stream: BorrowedFd<'_>, more: More) -> io::Result<Option<usize>> {
        Ok(self.flush(stream, more)?.then(|| std::mem::take(&mut self.owed)))
    }

    fn seal(&mut self, part: &[u8]) -> io::Result<usize> {
        self.owed = self.connection.writer().write(part)?;
        self.sent = 0;
        Ok(self.owed)
    }

    /// Sends encrypted bytes; returns `false` when the kernel takes no more.
    fn flush(&mut self, stream: BorrowedFd<'_>, more: More) -> io::Result<bool> {
        while self.connection.wants_write() {
            let mut wire = Wire { stream, more, written: 0, first: None };
            let done = self.connection.write_tls(&mut wire);
            self.sent += wire.written;
            match done {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Forgets encrypted bytes that the caller will not pass again.
    pub fn forget_unwritten(&mut self) {
        self.owed = 0;
    }

    /// Sends close_notify (RFC 8446, 6.1), as far as the kernel takes it now.
    pub fn say_goodbye(&mut self, stream: BorrowedFd<'_>) {
        self.connection.send_close_notify();
        let _ = self.flush(stream, More::Ends);
    }
}

/// The socket, as rustls's reader and writer.
struct Wire<'s> {
    stream: BorrowedFd<'s>,
    more: More,
    written: usize,
    /// The first byte that was read.
    first: Option<u8>,
}

impl io::Read for Wire<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match socket::read_slice(self.stream, room) {
            Read::Bytes { count, .. } => {
                self.first = self.first.or(room.first().copied());
                Ok(count)
            }
            Read::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Read::Closed | Read::NoMemory => Ok(0),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let piece = |at: usize| pieces.get(at).map_or(&b""[..], |piece| &**piece);
        match socket::write(self.stream, &[piece(0), piece(1), piece(2)], self.more)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            written => {
                self.written += written;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The number of bytes encrypted at a time: four of the largest records, little enough to buffer for each slow client.
const SEALED: usize = 64 * 1024;
