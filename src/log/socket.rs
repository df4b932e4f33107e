//! A socket to which lines go: syslog's or statsd's. Never waits; what does not go at once is the caller's to keep or to lose.
//!
//! Datagrams are sent from an unconnected socket: so a daemon that starts anew, at the same path, gets what follows, and
//! nobody's refusal of one datagram is told to the next. A connection that breaks is made anew, at most once a second.

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

/// Where lines go, and how they are cut.
#[derive(Debug)]
pub(super) struct LogSocket {
    place: Place,
    /// Where that is, once it is looked up.
    found: OnceLock<Place>,
    cut: Cut,
    /// When a connection was last tried for, in ns of the monotonic clock.
    tried: AtomicU64,
}

/// How far a write came.
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
    /// One each; a NUL ends it and goes along.
    OneEach,
    /// As many as fit so many bytes; a newline between them.
    Packed(usize),
}

impl Cut {
    /// The byte that ends a line.
    pub(super) fn end(self) -> u8 {
        if self == Cut::OneEach { 0 } else { b'\n' }
    }

    /// The length of what goes in one datagram, of bytes that hold whole lines.
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

    /// True if it is still to be looked up.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.place(), Place::Awaited(..))
    }

    /// It is looked up: answers a socket for it, in place of the one until now. A connection is not waited for.
    pub(super) fn resolved(&self, place: &Place) -> io::Result<OwnedFd> {
        let place = self.found.get_or_init(|| place.clone());
        match place {
            Place::Tcp(to) => begin(to).map(OwnedFd::from),
            _ => self.open(),
        }
    }

    /// A socket for it. A connection is waited for, but not for long.
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
                // Nobody there is no reason to have no log: the socket is one that is not connected, for now.
                let stream = connect_at_once(path).or_else(|_| UnixStream::pair().map(|(one, _)| one.into()))?;
                Ok(stream)
            }
        }
    }

    /// Sends what goes at once; says how many bytes are dealt with. `renew` gets another socket in place of a broken one.
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
                            // A line that is begun would have no beginning.
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
                // poll(2) knows nothing of the room behind a unix socket that is not connected.
                Err(Errno::EAGAIN) if matches!(self.place(), Place::Udp(_)) => return (sent, Outcome::Full),
                // A traceback that no datagram takes: the others are none the worse.
                Ok(_) | Err(Errno::EMSGSIZE) => sent += length,
                Err(_) => return (sent, Outcome::Refused),
            }
        }
        (sent, Outcome::Done)
    }

    /// Another connection, begun and not waited for; none if it is too early for that.
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

/// A connection that is being made.
fn begin(to: &SocketAddr) -> io::Result<std::net::TcpStream> {
    let stream = mio::net::TcpStream::connect(*to)?;
    Ok(OwnedFd::from(stream).into())
}

/// A daemon whose backlog is full is not waited for: that counts as nobody there.
fn connect_at_once(path: &Path) -> io::Result<OwnedFd> {
    let stream = OwnedFd::from(mio::net::UnixStream::connect(path)?);
    rights::refuse(stream.as_fd());
    Ok(stream)
}

fn stream(socket: &OwnedFd, bytes: &[u8]) -> (usize, Outcome) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // A daemon that has left is told by the end of what it sends; a first write would succeed all the same.
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

/// How long a process that starts waits for a connection.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a broken connection is tried for again, in ns.
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
