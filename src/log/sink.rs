//! One open log file, pipe, terminal or socket: writes bytes without waiting, and counts the lines that were lost.
//! Knows no queue.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::write;

use super::socket::{LogSocket, Outcome};
use crate::message::Place;
use crate::os::clock;

/// One destination.
#[derive(Debug)]
pub(super) struct Sink {
    fd: OwnedFd,
    /// The name in the line about lost lines.
    name: &'static str,
    /// The address, if it is a socket that was made for a log.
    socket: Option<LogSocket>,
    /// True if it takes any amount at once: a file on a disk.
    regular: AtomicBool,
    dropped: AtomicU64,
    /// The moment when lost lines were last reported while it takes none, in ns of the monotonic clock; 0 is never.
    reported: AtomicU64,
    /// Lines that were taken from the queue and are not written yet.
    unwritten: AtomicU64,
    /// True if the last byte written was within a line whose rest was lost.
    torn: AtomicBool,
}

impl Sink {
    pub(super) fn new(fd: OwnedFd, name: &'static str) -> Sink {
        let regular = AtomicBool::new(is_regular(&fd));
        Sink {
            fd,
            name,
            socket: None,
            regular,
            dropped: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            torn: AtomicBool::new(false),
        }
    }

    /// Makes a sink of a socket.
    pub(super) fn to_socket(socket: LogSocket, name: &'static str) -> io::Result<Sink> {
        let fd = socket.open()?;
        // A name server gets as long as a working one takes before lost lines are reported.
        let reported = AtomicU64::new(if socket.is_awaited() { clock::monotonic() } else { 0 });
        Ok(Sink { socket: Some(socket), reported, ..Sink::new(fd, name) })
    }

    /// True if it leads to a host whose name is still being looked up.
    pub(super) fn is_awaited(&self) -> bool {
        self.socket.as_ref().is_some_and(LogSocket::is_awaited)
    }

    /// Leads it to that host, which was found.
    pub(super) fn resolved(&self, place: &Place) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| self.redirect(&socket.resolved(place)?))
    }

    /// Gives this process a connection of its own: its parent keeps the old one.
    pub(super) fn reopen_socket(&self) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| self.redirect(&socket.open()?))
    }

    /// Returns the byte that ends a line.
    fn end(&self) -> u8 {
        self.socket.as_ref().map_or(b'\n', LogSocket::end)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Leads further bytes to another file, in one step, also for a thread that is writing.
    pub(super) fn redirect(&self, to: &OwnedFd) -> io::Result<()> {
        // SAFETY: replaces what our own descriptor refers to; its number stays open and stays ours throughout (dup3(2)).
        let got = unsafe { libc::dup3(to.as_raw_fd(), self.fd.as_raw_fd(), libc::O_CLOEXEC) };
        Errno::result(got)?;
        self.regular.store(is_regular(to), Ordering::Relaxed);
        self.torn.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Writes as much as goes without waiting; returns the number of bytes. A pipe that poll(2) calls writable takes
    /// [`PIECE`] bytes (unless another process fills it that instant); a file on a disk takes all.
    pub(super) fn write(&self, bytes: &[u8]) -> (usize, Outcome) {
        if self.torn.load(Ordering::Relaxed) {
            match self.write_from(&[self.end()]) {
                (_, Outcome::Done) => self.torn.store(false, Ordering::Relaxed),
                (_, other) => return (0, other),
            }
        }
        self.write_from(bytes)
    }

    fn write_from(&self, bytes: &[u8]) -> (usize, Outcome) {
        if let Some(socket) = &self.socket {
            return socket.write(&self.fd, bytes, |renewed| self.redirect(renewed));
        }
        let regular = self.regular.load(Ordering::Relaxed);
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let piece = if regular { rest } else { &rest[..rest.len().min(PIECE)] };
            if !regular && !wait_writable(&[self.as_fd()], PollTimeout::ZERO) {
                return (written, Outcome::Full);
            }
            match write(&self.fd, piece) {
                Ok(0) => return (written, Outcome::Refused),
                Ok(n) => written += n,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return (written, Outcome::Full),
                Err(_) => return (written, Outcome::Refused),
            }
        }
        (written, Outcome::Done)
    }

    /// Counts the lines of `bytes` from `written` on as lost.
    pub(super) fn lose(&self, bytes: &[u8], written: usize) {
        self.note_torn(bytes, written);
        self.add_dropped(self.lines(&bytes[written..]));
    }

    /// Notes that these bytes were taken from the queue, and nothing else is on its way.
    pub(super) fn note_taken(&self, bytes: &[u8]) {
        self.unwritten.store(self.lines(bytes), Ordering::Relaxed);
    }

    /// Notes that these of them are written.
    pub(super) fn note_written(&self, bytes: &[u8]) {
        self.unwritten.fetch_sub(self.lines(bytes), Ordering::Relaxed);
    }

    /// Returns the number of lines that were taken from the queue and are not written yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Returns the number of lines that end in these bytes.
    pub(super) fn lines(&self, bytes: &[u8]) -> u64 {
        let end = self.end();
        (bytes.split(|byte| *byte == end).count() - 1) as u64
    }

    /// True if it leads to another process by a socket that was made for it.
    pub(super) fn is_remote(&self) -> bool {
        self.socket.is_some()
    }

    /// Notes that of `bytes` only the first `written` ones were written: the next bytes start a new line.
    pub(super) fn note_torn(&self, bytes: &[u8], written: usize) {
        if written > 0 && bytes[written - 1] != self.end() {
            self.torn.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn add_dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Returns the number of lines that were lost since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        // Nearly always 0: no locked exchange for that.
        if self.dropped.load(Ordering::Relaxed) == 0 { 0 } else { self.dropped.swap(0, Ordering::Relaxed) }
    }

    /// Returns the same while it takes none: 0 until [`REPORT_EVERY`] is over since the last report.
    pub(super) fn take_dropped_at_times(&self) -> u64 {
        if self.dropped.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let (now, reported) = (clock::monotonic(), self.reported.load(Ordering::Relaxed));
        if reported != 0 && now.saturating_sub(reported) < REPORT_EVERY {
            return 0;
        }
        self.reported.store(now, Ordering::Relaxed);
        self.take_dropped()
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until one of them takes bytes, or has an error that writing will report. False if the time is over first.
pub(super) fn wait_writable(fds: &[BorrowedFd<'_>], limit: PollTimeout) -> bool {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLOUT)).collect();
    poll(&mut polled, limit).is_ok_and(|ready| ready > 0)
}

fn is_regular(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits())
}

/// The interval of reports of lost lines while nothing is taken, in ns: a log of one line in five seconds can be read.
const REPORT_EVERY: u64 = 5_000_000_000;

/// `PIPE_BUF` on Linux (pipe(7)): written whole or not at all, so that lines of several processes do not mix.
const PIECE: usize = 4096;
