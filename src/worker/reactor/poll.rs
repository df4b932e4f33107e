//! The epoll instance of a worker: what is waited for, by which names, and what the kernel says.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

use crate::worker::connection::event::Readiness;

/// Returns what the kernel says of a socket.
pub(super) fn readiness(flags: EpollFlags) -> Readiness {
    let mut readiness = Readiness::default();
    readiness.add(Readiness::READ, flags.contains(EpollFlags::EPOLLIN));
    readiness.add(Readiness::WRITE, flags.contains(EpollFlags::EPOLLOUT));
    readiness.add(Readiness::END, flags.contains(EpollFlags::EPOLLRDHUP));
    readiness.add(Readiness::BROKEN, flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP));
    readiness
}

/// Returns what the kernel is to say of a connection, edge-triggered, by its `token`.
pub(super) fn of_connection(token: u64, writes: bool) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    flags.set(EpollFlags::EPOLLOUT, writes);
    EpollEvent::new(flags, token)
}

/// Waits for events. A signal ends the wait early.
pub(crate) fn wait(epoll: &Epoll, events: &mut [EpollEvent], limit: Option<Duration>) -> io::Result<usize> {
    let timeout = match limit {
        None => EpollTimeout::NONE,
        Some(limit) => EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX),
    };
    match epoll.wait(events, timeout) {
        Ok(count) => Ok(count),
        Err(Errno::EINTR) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) const SIGNALS: u64 = u64::MAX;
/// Ends the sleep of the thread that polls; says nothing more.
pub(crate) const WAKE: u64 = u64::MAX - 1;
/// The queue of connections that other workers hand off.
pub(super) const QUEUE: u64 = u64::MAX - 2;
/// The master's orders.
pub(super) const ORDERS: u64 = u64::MAX - 3;
/// Tokens from here on are listeners; connections stay below (62 bits).
pub(super) const LISTENERS: u64 = 1 << 62;
/// Events taken in one wait.
pub(crate) const EVENTS: usize = 64;
