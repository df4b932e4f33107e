//! Socket addresses between Rust's types and the kernel's `sockaddr`: bind, getsockname, accept. Chooses no address.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use libc::{
    AF_INET, AF_INET6, AF_UNIX, sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t,
};
use nix::errno::Errno;

use super::{Address, Peer};
use crate::os::socket::wait_readable;

/// Gives a TCP socket its address.
pub(super) fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno> {
    let name = Name::of(address);
    // SAFETY: `name` holds an address of `name.length` bytes.
    let got = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name.storage).cast(), name.length) };
    Errno::result(got).map(drop)
}

/// Returns the address that a socket is bound to; `None` for a family that is neither IP nor unix.
pub(super) fn name_of(socket: BorrowedFd<'_>) -> Result<Option<Address>, Errno> {
    let mut name = Name::empty();
    // SAFETY: `name.storage` is writable for `name.length` bytes.
    let got = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut name.storage).cast(), &raw mut name.length) };
    Errno::result(got)?;
    Ok(name.address())
}

/// Takes one connection, non-blocking and close-on-exec.
pub(super) fn accept(socket: BorrowedFd<'_>) -> Result<(OwnedFd, Peer), Errno> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let mut name = Name::empty();
    // SAFETY: `name.storage` is writable for `name.length` bytes.
    let got = unsafe { libc::accept4(socket.as_raw_fd(), (&raw mut name.storage).cast(), &raw mut name.length, flags) };
    let fd = Errno::result(got)?;
    // SAFETY: the kernel just made this descriptor; nothing else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((socket, name.ip().map_or(Peer::Unix, Peer::Tcp)))
}

/// Returns the number of connections that wait at a listening TCP socket (tcp(7), `TCP_INFO`: there, `tcpi_unacked` is
/// the length of its queue). For another socket, 1 if one waits, else 0.
pub(super) fn waiting(socket: BorrowedFd<'_>) -> usize {
    // SAFETY: tcp_info is a C struct for which all zeros is a valid value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = length_of::<libc::tcp_info>();
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut info).cast(), &raw mut length) };
    match got {
        0 => info.tcpi_unacked as usize,
        _ => usize::from(wait_readable(socket, Duration::ZERO)),
    }
}

/// A `sockaddr` of any family and its length in bytes.
struct Name {
    storage: sockaddr_storage,
    length: socklen_t,
}

impl Name {
    fn empty() -> Name {
        // SAFETY: sockaddr_storage is a C struct for which all zeros is a valid value.
        let storage: sockaddr_storage = unsafe { mem::zeroed() };
        Name { storage, length: length_of::<sockaddr_storage>() }
    }

    fn of(address: SocketAddr) -> Name {
        let mut name = Name::empty();
        let start = &raw mut name.storage;
        match address {
            SocketAddr::V4(v4) => {
                let encoded = sockaddr_in {
                    sin_family: family(AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is bigger than any sockaddr and aligned for each (POSIX, sys/socket.h).
                unsafe { start.cast::<sockaddr_in>().write(encoded) };
                name.length = length_of::<sockaddr_in>();
            }
            SocketAddr::V6(v6) => {
                let encoded = sockaddr_in6 {
                    sin6_family: family(AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { start.cast::<sockaddr_in6>().write(encoded) };
                name.length = length_of::<sockaddr_in6>();
            }
        }
        name
    }

    fn ip(&self) -> Option<SocketAddr> {
        let start = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            AF_INET => {
                // SAFETY: the family says so, and the storage is big enough and initialised throughout.
                let v4 = unsafe { start.cast::<sockaddr_in>().read() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { start.cast::<sockaddr_in6>().read() };
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    fn address(&self) -> Option<Address> {
        if i32::from(self.storage.ss_family) != AF_UNIX {
            return self.ip().map(Address::Tcp);
        }
        // SAFETY: as in `ip`.
        let unix = unsafe { (&raw const self.storage).cast::<sockaddr_un>().read() };
        Some(unix_address(&unix, self.length as usize))
    }
}

/// Returns one of the three kinds of unix(7), "Address format": unnamed, a path, a name after a zero byte.
fn unix_address(name: &sockaddr_un, length: usize) -> Address {
    let bytes: Vec<u8> = name.sun_path.iter().map(|char| char.to_ne_bytes()[0]).collect();
    let length = length.saturating_sub(mem::offset_of!(sockaddr_un, sun_path)).min(bytes.len());
    match &bytes[..length] {
        [0, name @ ..] => Address::Abstract(name.to_vec()),
        path => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Address::Unix(PathBuf::from(OsStr::from_bytes(&path[..end])))
        }
    }
}

fn family(number: i32) -> sa_family_t {
    sa_family_t::try_from(number).expect("the families of this file are below 65536")
}

fn length_of<T>() -> socklen_t {
    socklen_t::try_from(mem::size_of::<T>()).unwrap_or(socklen_t::MAX)
}
