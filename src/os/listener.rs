//! Listening sockets: TCP, unix, or inherited as `fd://N`. Opens them, accepts from them, and explains in words why a
//! socket does not listen. Knows no settings and no HTTP.
#![allow(unsafe_code)]

mod address;
mod error;
mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, getsockopt, listen, setsockopt, socket, sockopt};

use super::rights;
pub use error::{Cause, ListenError};
use file::SocketFile;

/// The address to listen on, as it was asked for. Displays as it is written in settings: `127.0.0.1:8000`,
/// `[::1]:8000`, `unix:/path`, `fd://3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// A host name or address (with or without the brackets of IPv6; empty for every IPv4 address) and a port, 0 for any
    /// free one. A name is looked up; an IPv4 address of it is preferred.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A socket file.
    Unix {
        /// Its path, at most 107 bytes.
        path: PathBuf,
        /// Its permission bits; by default 0777 less the umask.
        mode: Option<u32>,
        /// Its user and group.
        owner: Option<(u32, u32)>,
    },
    /// A descriptor of this process that listens already.
    Fd(RawFd),
    /// The same, by a name under which none was passed.
    Named(String),
}

/// The owners of a TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortUse {
    /// Only this socket, and what inherits it.
    Alone,
    /// All sockets of this user that ask for it (`SO_REUSEPORT`, socket(7)); the kernel distributes connections.
    Shared,
}

/// The address on which a socket listens. Displays as gunicorn writes it: `http://127.0.0.1:8000`, `http://[::1]:8000`,
/// `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A socket file, by the path it was bound to; empty for a socket without name.
    Unix(PathBuf),
    /// A name in Linux's abstract namespace, without the leading zero byte (unix(7)); displays as `unix:@name`.
    Abstract(Vec<u8>),
}

/// The client's address. Displays as `REMOTE_ADDR` (the IP address; empty for a unix socket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// IPv4 or IPv6; IPv4 on an IPv6 socket is the mapped address, as the kernel reports it.
    Tcp(SocketAddr),
    /// A process of this machine.
    Unix,
}

/// A listening socket: non-blocking, close-on-exec. Closing it removes no socket file; see [`Listener::unlink`].
#[derive(Debug)]
pub struct Listener {
    /// The socket. A unix one refuses descriptors: a client could have them wait unseen in the queue.
    socket: rights::Socket,
    address: Address,
    file: Option<SocketFile>,
}

impl Listener {
    /// Binds and listens. `backlog` is the number of connections that may wait to be accepted; the kernel caps it at
    /// `somaxconn`. TCP sockets get `SO_REUSEADDR`; the system's default decides if an IPv6 one takes IPv4 too. A stale
    /// socket file is removed, a served one is an error. A descriptor by number is duplicated and the original made
    /// close-on-exec.
    pub fn open(at: &Where, backlog: u32, ports: PortUse) -> Result<Listener, ListenError> {
        let backlog = backlog_of(backlog);
        let opened = match at {
            Where::Tcp { host, port } => open_tcp(host, *port, backlog, ports),
            Where::Unix { path, mode, owner } => {
                file::open(path, *mode, *owner, backlog).and_then(|(socket, file)| adopt(socket, Some(file)))
            }
            Where::Fd(fd) => inherited(*fd).and_then(|socket| adopt(socket, None)),
            Where::Named(_) => Err(Cause::NotPassed),
        };
        opened.map_err(|cause| ListenError { at: at.clone(), cause })
    }

    /// Fails as [`Listener::open`] would, as far as that can be told of a socket file and its directory; binds nothing.
    pub fn check(at: &Where) -> Result<(), ListenError> {
        match at {
            Where::Unix { path, .. } => file::check(path).map_err(|cause| ListenError { at: at.clone(), cause }),
            Where::Tcp { .. } | Where::Fd(_) | Where::Named(_) => Ok(()),
        }
    }

    /// Takes a listening socket, and its file, from another process that serves there.
    pub fn take_over(socket: OwnedFd, at: &Where) -> Result<Listener, ListenError> {
        let file = match at {
            Where::Unix { path, .. } => SocketFile::at(path).map(Some).map_err(|errno| Cause::kernel("stat", errno)),
            Where::Tcp { .. } | Where::Fd(_) | Where::Named(_) => Ok(None),
        };
        file.and_then(|file| adopt(socket, file)).map_err(|cause| ListenError { at: at.clone(), cause })
    }

    /// Takes a listening socket that was received from another process.
    pub fn from_fd(socket: OwnedFd) -> Result<Listener, ListenError> {
        let at = Where::Fd(socket.as_raw_fd());
        adopt(socket, None).map_err(|cause| ListenError { at, cause })
    }

    /// Returns the address on which it listens, with the real port if 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// True if the way to it is still there: a socket file may have been removed or replaced.
    pub fn is_reachable(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }

    /// Applies new settings to a socket that listens already: the backlog, mode and owner of its file.
    pub fn renew(&self, at: &Where, backlog: u32) -> Result<(), ListenError> {
        let listened =
            listen(&self.socket.as_fd(), backlog_of(backlog)).map_err(|errno| Cause::kernel("listen", errno));
        let renewed = listened.and_then(|()| match (at, &self.file) {
            (Where::Unix { path, mode, owner }, Some(_)) => file::prepare(path, *mode, *owner),
            _ => Ok(()),
        });
        renewed.map_err(|cause| ListenError { at: at.clone(), cause })
    }

    /// Closes the socket in this process, which accepts nothing here any more; other processes that have the socket
    /// listen on.
    pub fn close(&self) -> io::Result<()> {
        let silent = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // SAFETY: replaces what our own descriptor refers to; its number stays open and stays ours throughout (dup3(2)).
        let got = unsafe { libc::dup3(silent.as_raw_fd(), self.socket.as_raw_fd(), libc::O_CLOEXEC) };
        Errno::result(got)?;
        Ok(())
    }

    /// Returns the number of connections that wait to be accepted. The kernel reports it for TCP; for a unix socket it
    /// only reports if there is one.
    pub fn waiting(&self) -> usize {
        address::waiting(self.socket.as_fd())
    }

    /// Takes the next connection, non-blocking and close-on-exec, with `TCP_NODELAY` (inherited from the listener), or
    /// returns `None` if none is waiting. A connection that broke before it was taken is passed over (accept(2)).
    /// Errors are a lack of this process: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`; the connection stays in the queue
    /// then.
    pub fn accept(&self) -> io::Result<Option<(OwnedFd, Peer)>> {
        loop {
            match address::accept(self.socket.as_fd()) {
                Ok(connection) => return Ok(Some(connection)),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(cause) if PASSED_OVER.contains(&cause) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Removes the socket file, if this listener made it and it is still the same file (device and inode). True if a
    /// file was removed. Only for the master: workers have the socket without the file.
    pub fn unlink(&self) -> bool {
        self.file.as_ref().is_some_and(SocketFile::unlink)
    }
}

fn backlog_of(number: u32) -> Backlog {
    Backlog::new(i32::try_from(number.min(MAX_BACKLOG)).unwrap_or(0)).unwrap_or(Backlog::MAXCONN)
}

fn open_tcp(host: &str, port: u16, backlog: Backlog, ports: PortUse) -> Result<Listener, Cause> {
    let address = resolve(host, port)?;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
        .map_err(|errno| Cause::kernel("socket", errno))?;
    setsockopt(&socket, sockopt::ReuseAddr, &true).map_err(|errno| Cause::kernel("SO_REUSEADDR", errno))?;
    if ports == PortUse::Shared {
        setsockopt(&socket, sockopt::ReusePort, &true).map_err(|errno| Cause::kernel("SO_REUSEPORT", errno))?;
    }
    for outcome in [address::bind(socket.as_fd(), address), listen(&socket, backlog)] {
        outcome.map_err(|errno| match errno {
            Errno::EADDRINUSE => Cause::InUse { port },
            Errno::EACCES | Errno::EPERM => Cause::PortDenied { port },
            Errno::EADDRNOTAVAIL => Cause::NotAvailable,
            other => Cause::kernel("bind", other),
        })?;
    }
    adopt(socket, None)
}

/// Returns the address to bind for a host: gunicorn binds names to IPv4, and so do most users of `localhost`.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, Cause> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let bare = if bare.is_empty() { "0.0.0.0" } else { bare };
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found: Vec<SocketAddr> =
        (bare, port).to_socket_addrs().map_err(|cause| Cause::Unresolvable(cause.to_string()))?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| Cause::Unresolvable("the name has no address".into()))
}

/// Duplicates a descriptor of this process, and keeps the original from processes that are started later. The original
/// stays open: an upgraded program finds it at the same number.
fn inherited(fd: RawFd) -> Result<OwnedFd, Cause> {
    if fd < 0 {
        return Err(Cause::NotOpen);
    }
    // SAFETY: the borrow ends with this function, which does not close `fd`; a number that is not open is EBADF.
    let original = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = original.try_clone_to_owned().map_err(|_| Cause::NotOpen)?;
    fcntl(original, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| Cause::kernel("fcntl", errno))?;
    Ok(copy)
}

/// Checks that this is a listening stream socket, and sets the options of every listener.
fn adopt(socket: OwnedFd, file: Option<SocketFile>) -> Result<Listener, Cause> {
    match getsockopt(&socket, sockopt::SockType) {
        Ok(SockType::Stream) => {}
        Ok(SockType::Datagram) => return Err(Cause::NotStream("a datagram socket")),
        Err(Errno::ENOTSOCK) => return Err(Cause::NotStream("an open file that is no socket")),
        Ok(_) | Err(_) => return Err(Cause::NotStream("a socket of another kind")),
    }
    if !getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false) {
        return Err(Cause::NotListening);
    }
    let address = address::name_of(socket.as_fd())
        .map_err(|errno| Cause::kernel("getsockname", errno))?
        .ok_or(Cause::NotStream("a socket of another family"))?;
    let flags = fcntl(&socket, FcntlArg::F_GETFL).map_err(|errno| Cause::kernel("fcntl", errno))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    for set in [FcntlArg::F_SETFL(flags), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)] {
        fcntl(&socket, set).map_err(|errno| Cause::kernel("fcntl", errno))?;
    }
    if matches!(address, Address::Tcp(_)) {
        // Set once here: Linux lets accepted sockets inherit it.
        setsockopt(&socket, sockopt::TcpNoDelay, &true).map_err(|errno| Cause::kernel("TCP_NODELAY", errno))?;
    }
    let socket = match address {
        Address::Tcp(_) => rights::Socket::open(socket),
        Address::Unix(_) | Address::Abstract(_) => rights::Socket::refusing(socket),
    };
    Ok(Listener { socket, address, file })
}

impl Peer {
    /// Returns the IP address; `None` for a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    /// Returns `REMOTE_PORT`; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Peer::Tcp(address) => Some(address.port()),
            Peer::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().map_or(Ok(()), |ip| ip.fmt(f))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "http://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Where::Tcp { host, port } if host.contains(':') && !host.starts_with('[') => {
                write!(f, "[{host}]:{port}")
            }
            Where::Tcp { host, port } => write!(f, "{host}:{port}"),
            Where::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Where::Fd(fd) => write!(f, "fd://{fd}"),
            Where::Named(name) => write!(f, "fd://{name}"),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// More than any `somaxconn` (4096 by default since Linux 5.4); only keeps the number within C's int.
const MAX_BACKLOG: u32 = 65_535;

/// Errors of a connection that is gone already, which accept(2) says to treat like "try again", and a signal.
const PASSED_OVER: [Errno; 9] = [
    Errno::EINTR,
    Errno::ECONNABORTED,
    Errno::EPROTO,
    Errno::ENETDOWN,
    Errno::ENOPROTOOPT,
    Errno::EHOSTDOWN,
    Errno::ENONET,
    Errno::EHOSTUNREACH,
    Errno::ENETUNREACH,
];
