//! A socket that lines are sent to: syslog's or statsd's. Never waits; the caller keeps or loses bytes that do not go
//! at once.
//!
//! Datagrams are sent from an unconnected socket: a daemon that starts again, at the same path, gets the further ones,
//! and a refusal of one datagram is not reported for the next. A connection that breaks is made again, at most once a
//! second.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, UnixAddr, recv, send, sendto};

use crate::message::Place;
use crate::os::{clock, rights};

/// The address of a daemon, and the way in which lines are cut.
#[derive(Debug)]
pub(super) struct LogSocket {
    place: Place,
    /// The address that was found for a host's name.
    found: OnceLock<Place>,
    cut: Cut,
    /// The moment of the last attempt to connect, in ns of the monotonic clock.
    tried: AtomicU64,
}

/// The result of a write that does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is written.
    Done,
    /// The destination takes no more now.
    Full,
    /// The kernel refused: no space, no reader.
    Refused,
}

/// How lines become datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// One line each; a NUL ends it and is sent, too.
    OneEach,
    /// As many lines as fit this number of bytes; a newline between them.
    Packed(usize),
}

impl Cut {
    /// Returns the byte that ends a line.
    pub(super) fn end(self) -> u8 {
        if self == Cut::OneEach { 0 } else { b'\n' }
    }

    /// Returns the length of the next datagram, of bytes that hold whole lines.
    fn next(self, bytes: &[u8]) -> usize {
        let most = if let Cut::Packed(most) = self { most } else { 0 };
        let fitting = &bytes[..bytes.len().min(most + 1)];
        let end = fitting.iter().rposition(|byte| *byte == self.end());
        let end = end.or_else(|| bytes.iter().position(|byte| *byte == self.end()));
        end.map_or(bytes.len(), |end| end + 1)
    }
}

impl LogSocket {
    pub(super) fn new(place: Place, cut: Cut) -> LogSocket {
        LogSocket { place, found: OnceLock::new(), cut, tried: AtomicU64::new(0) }
    }

    pub(super) fn end(&self) -> u8 {
        self.cut.end()
    }

    fn place(&self) -> &Place {
        self.found.get().unwrap_or(&self.place)
    }

    /// True if its name is still to be looked up.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.place(), Place::Awaited(..))
    }

    /// Notes the address that was found, and returns a socket for it, in place of the current one. Does not wait for a
    /// connection.
    pub(super) fn resolved(&self, place: &Place) -> io::Result<OwnedFd> {
        let place = self.found.get_or_init(|| place.clone());
        match place {
            Place::Tcp(to) => begin(to).map(OwnedFd::from),
            _ => self.open(),
        }
    }

    /// Opens a socket for it. Waits for a connection, but only briefly.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        match self.place() {
            Place::Udp(to) => {
                let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                Ok(UdpSocket::bind(from)?.into())
            }
            Place::UnixDatagrams(_) | Place::Awaited(..) => Ok(UnixDatagram::unbound()?.into()),
            Place::Tcp(to) => {
                self.tried.store(clock::monotonic(), Ordering::Relaxed);
                let stream = std::net::TcpStream::connect_timeout(to, PATIENCE).or_else(|_| begin(to))?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Place::UnixStream(path) => {
                self.tried.store(clock::monotonic(), Ordering::Relaxed);
                // Without a daemon there is still a log: the socket is one that is not connected, for now.
                let stream = connect_at_once(path).or_else(|_| UnixStream::pair().map(|(one, _)| one.into()))?;
                Ok(stream)
            }
        }
    }

    /// Sends as much as goes at once; returns the number of bytes that are done. `renew` gets another socket in place
    /// of a broken one.
    pub(super) fn write(
        &self,
        socket: &OwnedFd,
        bytes: &[u8],
        renew: impl Fn(&OwnedFd) -> io::Result<()>,
    ) -> (usize, Outcome) {
        match self.place() {
            Place::Awaited(..) => (0, Outcome::Refused),
            Place::Udp(to) => self.datagrams(socket, bytes, &SockaddrStorage::from(*to)),
            Place::UnixDatagrams(path) => match UnixAddr::new(path.as_path()) {
                Ok(to) => self.datagrams(socket, bytes, &to),
                Err(_) => (0, Outcome::Refused),
            },
            Place::Tcp(_) | Place::UnixStream(_) => {
                let outcome = stream(socket, bytes);
                if outcome.1 == Outcome::Refused {
                    if let Some(socket) = self.again() {
                        if renew(&socket).is_ok() {
                            // The rest of a line whose beginning is lost is not sent.
                            return if outcome.0 == 0 { stream(&socket, bytes) } else { outcome };
                        }
                    }
                }
                outcome
            }
        }
    }

    fn datagrams(&self, socket: &OwnedFd, bytes: &[u8], to: &dyn nix::sys::socket::SockaddrLike) -> (usize, Outcome) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut sent = 0;
        while sent < bytes.len() {
            let length = self.cut.next(&bytes[sent..]);
            let datagram = &bytes[sent..sent + length];
            let datagram =
                if self.cut == Cut::OneEach { datagram } else { datagram.strip_suffix(b"\n").unwrap_or(datagram) };
            match sendto(socket.as_raw_fd(), datagram, to, flags) {
                Err(Errno::EINTR) => {}
                // poll(2) does not know the room behind a unix socket that is not connected.
                Err(Errno::EAGAIN) if matches!(self.place(), Place::Udp(_)) => return (sent, Outcome::Full),
                // A traceback that is too long for a datagram: the other lines are sent all the same.
                Ok(_) | Err(Errno::EMSGSIZE) => sent += length,
                Err(_) => return (sent, Outcome::Refused),
            }
        }
        (sent, Outcome::Done)
    }

    /// Begins another connection without waiting for it; `None` if it is too early for that.
    fn again(&self) -> Option<OwnedFd> {
        let now = clock::monotonic();
        let tried = self.tried.load(Ordering::Relaxed);
        if now.saturating_sub(tried) < AGAIN || self.tried.swap(now, Ordering::Relaxed) != tried {
            return None;
        }
        match self.place() {
            Place::Tcp(to) => begin(to).ok().map(OwnedFd::from),
            // It is accepted or refused at once.
            Place::UnixStream(path) => connect_at_once(path).ok(),
            Place::Udp(_) | Place::UnixDatagrams(_) | Place::Awaited(..) => None,
        }
    }
}

/// Begins a connection.
fn begin(to: &SocketAddr) -> io::Result<std::net::TcpStream> {
    let stream = mio::net::TcpStream::connect(*to)?;
    Ok(OwnedFd::from(stream).into())
}

/// Connects to a daemon, and does not wait for one whose backlog is full: that counts as no daemon.
fn connect_at_once(path: &Path) -> io::Result<OwnedFd> {
    let stream = OwnedFd::from(mio::net::UnixStream::connect(path)?);
    rights::refuse(stream.as_fd());
    Ok(stream)
}

fn stream(socket: &OwnedFd, bytes: &[u8]) -> (usize, Outcome) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // A daemon that has left shows by the end of its side; a first write would still succeed.
    if recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) == Ok(0) {
        return (0, Outcome::Refused);
    }
    let mut sent = 0;
    while sent < bytes.len() {
        match send(socket.as_fd().as_raw_fd(), &bytes[sent..], flags) {
            Ok(count) => sent += count,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return (sent, Outcome::Full),
            Err(_) => return (sent, Outcome::Refused),
        }
    }
    (sent, Outcome::Done)
}

/// The longest wait for a connection in a process that starts.
const PATIENCE: Duration = Duration::from_millis(500);
/// The interval of attempts to connect again, in ns.
const AGAIN: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn lines_are_cut_into_datagrams_at_their_ends() {
        let cut = |cut: Cut, bytes: &[u8]| {
            let (mut lengths, mut rest) = (Vec::new(), bytes);
            while !rest.is_empty() {
                let length = cut.next(rest);
                lengths.push(length);
                rest = &rest[length..];
            }
            lengths
        };
        assert_eq!(cut(Cut::OneEach, b"one\0\0three\0"), [4, 1, 6]);
        assert_eq!(cut(Cut::Packed(8), b"one\ntwo\nthree\nlonger than that\nx\n"), [8, 6, 17, 2]);
        // The newline behind the last line is not sent.
        assert_eq!(cut(Cut::Packed(7), b"one\ntwo\n"), [8]);
        assert_eq!(cut(Cut::Packed(6), b"one\ntwo\n"), [4, 4]);
    }
}
