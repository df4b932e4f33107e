//! Accepting: a worker takes new connections, except while no thread is free, while there are as many as there
//! may be, without descriptors, and at its end.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::poll::{LISTENERS, QUEUE};
use super::{Reactor, Setup};
use crate::http::ProxyMode;
use crate::os::listener::Peer;
use crate::os::{limits, socket};
use crate::worker::Spent;
use crate::worker::connection::event::Event;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::{Connection, Origin};
use crate::worker::millis::{Millis, after, after_some};

/// Whether new connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    Yes,
    /// Every thread is in the application: another worker may have a free one.
    ThreadsBusy,
    /// There are as many connections as there may be, and none gives way before this moment.
    ConnectionLimit {
        until: Millis,
    },
    /// There is no free descriptor, or no memory.
    NoDescriptors {
        until: Millis,
    },
    /// The worker ends.
    Stopped,
}

/// The listeners, and the queue of connections that other workers hand off.
pub(super) struct Acceptor<'a> {
    setup: &'a Setup<'a>,
    epoll: Arc<Epoll>,
    accepting: Accepting,
    /// Since when no descriptor was to be had, and when that was so last.
    lacked: Option<(Millis, Millis)>,
}

impl<'a> Acceptor<'a> {
    pub(super) fn new(setup: &'a Setup<'a>, epoll: Arc<Epoll>) -> Acceptor<'a> {
        let closed = Accepting::ConnectionLimit { until: Millis::MAX };
        let mut acceptor = Acceptor { setup, epoll, accepting: closed, lacked: None };
        acceptor.set(Accepting::Yes);
        acceptor
    }

    /// True if connections of other workers are taken: a thread is free.
    pub(super) fn is_open(&self) -> bool {
        self.accepting == Accepting::Yes
    }

    /// True if the limit of connections keeps new ones out.
    pub(super) fn is_at_limit(&self) -> bool {
        matches!(self.accepting, Accepting::ConnectionLimit { .. })
    }

    /// Returns when it looks again by itself.
    pub(super) fn opens_at(&self) -> Option<Millis> {
        match self.accepting {
            Accepting::ConnectionLimit { until } if until == Millis::MAX => None,
            Accepting::ConnectionLimit { until } | Accepting::NoDescriptors { until } => Some(until),
            Accepting::Yes | Accepting::ThreadsBusy | Accepting::Stopped => None,
        }
    }

    /// Takes new connections again, if that is what it waits for.
    pub(super) fn thread_is_free(&mut self) {
        if self.accepting == Accepting::ThreadsBusy {
            self.set(Accepting::Yes);
        }
    }

    /// Leaves new connections to other workers, which may have a free thread.
    pub(super) fn threads_are_busy(&mut self) {
        if self.accepting == Accepting::Yes {
            self.set(Accepting::ThreadsBusy);
        }
    }

    /// True if no descriptor can be opened, as was so before.
    fn still_lacks_descriptors(&self) -> bool {
        let lacked = matches!(self.accepting, Accepting::NoDescriptors { .. });
        lacked && self.setup.orders.channel.try_clone_to_owned().is_err()
    }

    /// Takes no new connections for a while, for want of a descriptor. Returns for how long that has been so.
    fn lacks_descriptors(&mut self, now: Millis) -> Millis {
        self.set(Accepting::NoDescriptors { until: after(now, PAUSE) });
        // One that is free for a moment is taken by the same application.
        let before = self.lacked.filter(|(_, last)| now < after(*last, 3 * PAUSE));
        let since = before.map_or(now, |(since, _)| since);
        self.lacked = Some((since, now));
        now.saturating_sub(since)
    }

    /// Takes no new connections for a while, for want of memory.
    pub(super) fn lacks_memory(&mut self, now: Millis) {
        self.set(Accepting::NoDescriptors { until: after(now, PAUSE) });
    }

    /// Changes whether connections are taken. [`Accepting::Stopped`] is for good.
    pub(super) fn set(&mut self, to: Accepting) {
        if self.accepting == Accepting::Stopped {
            return;
        }
        let from = mem::replace(&mut self.accepting, to);
        if self.listens_in(from) != self.listens_in(to) {
            self.watch_listeners(self.listens_in(to));
        }
        let (was_open, is_open) = (from == Accepting::Yes, to == Accepting::Yes);
        if was_open != is_open {
            self.watch_queue(is_open);
            self.setup.slots[0].set_open(is_open);
        }
    }

    /// True if connections are accepted now.
    fn listens(&self) -> bool {
        self.listens_in(self.accepting)
    }

    /// The time that a request has waited is known only of connections that were accepted.
    fn listens_in(&self, accepting: Accepting) -> bool {
        let counts_waiting = self.setup.serve.timeouts.queue.is_some();
        accepting == Accepting::Yes || accepting == Accepting::ThreadsBusy && counts_waiting
    }

    fn watch_listeners(&self, wanted: bool) {
        for (index, listener) in self.setup.listeners.iter().enumerate() {
            if !wanted {
                let _ = self.epoll.delete(listener);
                continue;
            }
            let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENERS + index as u64);
            if let Err(error) = self.epoll.add(listener, event) {
                tracing::error!(%error, listener = %listener.address(), "cannot wait for connections");
            }
        }
    }

    /// Connections of other workers are for workers with a free thread only: from any other they would wander on.
    fn watch_queue(&self, wanted: bool) {
        let queue = self.setup.handoff.queue();
        if !wanted {
            let _ = self.epoll.delete(queue);
        } else if let Err(error) = self.epoll.add(queue, EpollEvent::new(EpollFlags::EPOLLIN, QUEUE)) {
            tracing::error!(%error, "cannot wait for connections of other workers");
        }
    }

    /// Accepts a connection. None if there is none, or if accepting has ended after the kernel spoke of one.
    fn accept(&self, listener: usize) -> io::Result<Option<(OwnedFd, Peer)>> {
        let Some(socket) = self.setup.listeners.get(listener).filter(|_| self.listens()) else { return Ok(None) };
        match socket.accept() {
            // Without a free descriptor the kernel does not look whether there is a connection.
            Err(_) if !socket::wait_readable(socket.as_fd(), Duration::ZERO) => Ok(None),
            accepted => accepted,
        }
    }
}

impl Reactor<'_> {
    /// Takes new connections again, after a pause or when a place is free.
    pub(super) fn reopen(&mut self) {
        if self.acceptor.still_lacks_descriptors() && !self.give_way_for_descriptors() {
            self.lacks_descriptors();
        } else {
            self.acceptor.set(Accepting::Yes);
        }
    }

    /// Takes connections, and reads what the first one has sent already.
    pub(super) fn accept(&mut self, listener: usize) {
        match self.acceptor.accept(listener) {
            Ok(Some((stream, peer))) => {
                self.acceptor.lacked = None;
                let Some(mut first) = self.accepted(stream, peer, listener) else { return };
                self.connections.insert(&mut first);
                for _ in 0..self.others_at_once() {
                    self.make_room();
                    let Ok(Some((stream, peer))) = self.acceptor.accept(listener) else { break };
                    let Some(connection) = self.accepted(stream, peer, listener) else { continue };
                    self.take_on(connection);
                }
                self.make_room();
                self.on(first, Event::Begun);
            }
            Ok(None) => {}
            Err(error) => {
                // Out of descriptors or memory: connections without a request make room.
                if !self.give_way_for_descriptors() {
                    tracing::error!(%error, pause = ?PAUSE, "cannot accept");
                    self.lacks_descriptors();
                }
            }
        }
    }

    /// Takes no new connections for a while. A worker that could take none for long, and whose connections are not the
    /// reason, asks to be replaced: the application keeps descriptors open, and will not close them.
    pub(super) fn lacks_descriptors(&mut self) {
        let lacking = self.acceptor.lacks_descriptors(self.serve.now);
        let of_connections = MOST_FOR_ONE.saturating_mul(self.connections.len() as u64);
        if lacking >= LEAKED && limits::most_open_files().is_some_and(|most| of_connections < most) {
            self.ask_for_replacement(Spent::Descriptors);
        }
    }

    /// Makes a connection of a socket, with the encryption that this worker has.
    pub(super) fn accepted(&self, socket: OwnedFd, peer: Peer, listener: usize) -> Option<Box<Connection>> {
        let stream = match &self.setup.tls {
            None => Stream::plain(socket),
            Some(identity) => match identity.session() {
                Ok(session) => Stream::encrypted(socket, session),
                Err(error) => {
                    tracing::error!(%error, "cannot begin TLS, a connection is closed");
                    return None;
                }
            },
        };
        let rules = self.serve.rules;
        let mut origin = Origin::new(peer, listener);
        origin.awaits_proxy = rules.proxy.mode != ProxyMode::Off;
        let deadline = after_some(self.serve.now, rules.timeouts.head);
        Some(Box::new(Connection::accepted(stream, origin, self.serve.now, deadline)))
    }

    /// Has a connection get its turn behind those that have one already.
    pub(super) fn take_on(&mut self, mut connection: Box<Connection>) {
        self.connections.insert(&mut connection);
        self.on(connection, Event::Look);
        self.turn.quota += 1;
    }

    /// Returns how many further connections are taken at once: as many as have a turn meanwhile. With one a turn they
    /// would wait the longer the more is to do.
    pub(super) fn others_at_once(&self) -> usize {
        if self.turn.length < LONG_TURN_NS { 0 } else { self.inbox.len() }
    }
}

/// A client that waits for one turn of this length is not better off with another worker.
const LONG_TURN_NS: u64 = 1_000_000;
/// The time in milliseconds without a descriptor after which a worker asks to be replaced. Clients that wait for one
/// that is busy are served by then.
const LEAKED: Millis = 5_000;
/// The most descriptors for one connection: its socket, the file of a body or a response, and a handle of one of them.
const MOST_FOR_ONE: u64 = 3;
/// The pause of a worker that has run out of descriptors.
const PAUSE: Duration = Duration::from_millis(500);
