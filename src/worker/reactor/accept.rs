//! Where a worker takes new connections, and when it does not: while no thread is free, while there are as many as there
//! may be, without descriptors, and at its end.

use std::mem;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::http::ProxyMode;
use crate::os::clock;
use crate::os::listener::Peer;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::{Connection, Reading};
use crate::worker::reactor::connections::PendingEvents;
use crate::worker::reactor::timers::{Millis, in_time};
use crate::worker::reactor::{After, Reactor, Task};
use crate::worker::threads::states::Place;

/// Are new connections taken?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Not while every thread is in the application: another worker may have a free one.
    Busy,
    /// There are as many connections as there may be.
    Crowded,
    /// Out of descriptors.
    Pausing {
        until: Millis,
    },
    /// Never again.
    Shut,
}

impl Door {
    /// When it opens by itself.
    pub(crate) fn opens_at(self) -> Option<Millis> {
        if let Door::Pausing { until } = self { Some(until) } else { None }
    }
}

impl Reactor<'_> {
    /// Takes new connections, unless the worker ends.
    pub(crate) fn open_door(&mut self) {
        if self.stopping.is_none() {
            self.move_door(Door::Open);
        }
    }

    /// Takes no new connections for this reason.
    pub(crate) fn shut_door(&mut self, why: Door) {
        self.move_door(why);
    }

    fn move_door(&mut self, to: Door) {
        let from = mem::replace(&mut self.door, to);
        if self.listens(from) != self.listens(to) {
            self.watch_listeners(self.listens(to));
        }
        if (from == Door::Open) != (to == Door::Open) {
            self.watch_queue(to == Door::Open);
        }
        self.setup.slots[0].set_open(to == Door::Open);
    }

    /// Are connections accepted? How long a request has waited is known only of those that were.
    fn listens(&self, door: Door) -> bool {
        door == Door::Open || door == Door::Busy && self.setup.queue_timeout.is_some()
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

    /// Connections of other workers are for those with a free thread only: from any other they would wander on.
    fn watch_queue(&self, wanted: bool) {
        let queue = self.setup.handoff.queue();
        if !wanted {
            let _ = self.epoll.delete(queue);
        } else if let Err(error) = self.epoll.add(queue, EpollEvent::new(EpollFlags::EPOLLIN, QUEUE)) {
            tracing::error!(%error, "cannot wait for connections of other workers");
        }
    }

    /// Takes a connection that another worker has no thread for. Its request is there already.
    pub(crate) fn take_over(&mut self) -> Option<Task> {
        // The door may have been shut in this turn, after the kernel spoke of the queue.
        if self.door != Door::Open {
            return None;
        }
        // What an application wrote into the queue may name any listener.
        let connection = self.taken_over()?;
        let token = self.table.insert(connection);
        for _ in 0..self.others_at_once() {
            let Some(connection) = self.taken_over() else { break };
            self.take_on(connection);
        }
        self.make_room();
        self.with_connection(token, PendingEvents::default(), Self::serve_received)
    }

    /// How many who wait at the door are taken on at once, beside the first: as many as have a turn meanwhile. With one a
    /// turn they would wait the longer the more is to do.
    fn others_at_once(&self) -> usize {
        if self.turn < LONG_TURN_NS { 0 } else { self.unseen() }
    }

    fn taken_over(&self) -> Option<Box<Connection>> {
        self.setup.handoff.take().filter(|one| one.listener < self.setup.listeners.len()).map(Box::new)
    }

    /// A connection that gets its turn behind those that have one already.
    pub(crate) fn take_on(&mut self, mut connection: Box<Connection>) {
        connection.reading = Reading::More;
        let token = self.table.insert(connection);
        self.ready.push_back(token);
        self.quota += 1;
    }

    /// Hands what waits behind a request that is about to begin to workers that have nothing to do. Reading and passing on
    /// takes longer than a request that is over at once.
    pub(crate) fn spread(&mut self) {
        if self.pace < WORTH_MOVING_NS || self.unseen() == 0 || self.stopping.is_some() {
            return;
        }
        let now = clock::monotonic();
        if now < self.none_idle_until {
            return;
        }
        let idle = self.setup.handoff.idle(self.unseen());
        if idle == 0 {
            self.none_idle_until = now.saturating_add(LOOK_AGAIN_NS);
            return;
        }
        for _ in 0..idle {
            match self.next_task() {
                Some(Task::Request(request)) => self.enqueue(request),
                Some(Task::Disk(connection) | Task::Memory(connection, _)) => {
                    self.ready.push_front(connection.token);
                    self.quota += 1;
                    let nothing = self.settle(connection, After::Keep);
                    debug_assert!(nothing.is_none());
                }
                None => break,
            }
        }
        // A signal may have been among that: a worker that stops looks into the queue no more.
        if self.stopping.is_none() {
            self.hand_over();
        }
    }

    /// Gives connections whose requests wait to workers that have a thread for them.
    pub(crate) fn hand_over(&mut self) {
        // A session is this process's own.
        if self.setup.tls.is_some() {
            return;
        }
        for _ in 0..self.setup.handoff.takers(self.requests.len()) {
            // One may have shut its door meanwhile.
            if self.setup.handoff.takers(1) == 0 {
                return;
            }
            let Some(token) = self.requests.pop_front() else { return };
            if !self.pass_on(token) {
                self.requests.push_back(token);
            }
        }
    }

    /// Puts the connection of a request that waits into the queue of all workers; `false` if it has to stay.
    pub(crate) fn pass_on(&mut self, token: u64) -> bool {
        let Some(connection) = self.table.take(token, PendingEvents::default()) else { return true };
        let given = self.setup.handoff.give(&connection);
        if given {
            self.forget(&connection);
        } else {
            let task = self.settle(connection, After::Keep);
            debug_assert!(task.is_none());
        }
        given
    }

    /// A thread has the interpreter, and looks after the connections from here on.
    pub(crate) fn arrives(&mut self, number: usize) {
        self.states.moves(number, Place::Attending);
        self.thread_is_free();
    }

    /// A thread is free again.
    pub(crate) fn thread_is_free(&mut self) {
        if self.door == Door::Busy {
            self.open_door();
        }
    }

    /// A connection has ended, or idles and may be closed.
    pub(crate) fn place_is_free(&mut self) {
        if self.door == Door::Crowded {
            self.open_door();
        }
    }

    /// No thread is free.
    pub(crate) fn all_are_busy(&mut self) {
        if self.door == Door::Open {
            self.shut_door(Door::Busy);
        }
    }

    /// Takes one connection and reads what it has sent already.
    pub(crate) fn accept(&mut self, listener: usize) -> Option<Task> {
        // The door may have been shut in this turn, after the kernel spoke of a connection.
        let socket = self.setup.listeners.get(listener).filter(|_| self.listens(self.door))?;
        match socket.accept() {
            Ok(Some((stream, peer))) => {
                let connection = self.accepted(stream, peer, listener)?;
                let token = self.table.insert(connection);
                for _ in 0..self.others_at_once() {
                    self.make_room();
                    let is_open = self.listens(self.door);
                    let Ok(Some((stream, peer))) = (if is_open { socket.accept() } else { Ok(None) }) else { break };
                    let Some(connection) = self.accepted(stream, peer, listener) else { continue };
                    self.take_on(connection);
                }
                self.make_room();
                self.with_connection(token, PendingEvents::default(), Self::receive)
            }
            Ok(None) => None,
            Err(error) => {
                // Out of descriptors or memory: those who are served are served on, those who idle make room.
                if !self.close_longest_idle() {
                    tracing::error!(%error, pause = ?ACCEPT_PAUSE, "cannot accept");
                    self.shut_door(Door::Pausing { until: in_time(ACCEPT_PAUSE) });
                }
                None
            }
        }
    }

    pub(crate) fn accepted(&self, stream: OwnedFd, peer: Peer, listener: usize) -> Option<Box<Connection>> {
        let mut connection = Box::new(Connection::new(self.wrapped(stream)?, peer, listener));
        connection.awaits_proxy = self.setup.proxy.mode != ProxyMode::Off;
        connection.deadline = in_time(self.setup.head_timeout.unwrap_or(Duration::MAX));
        Some(connection)
    }

    /// With the encryption that this worker has.
    fn wrapped(&self, socket: OwnedFd) -> Option<Stream> {
        let Some(identity) = &self.setup.tls else { return Some(Stream::plain(socket)) };
        match identity.session() {
            Ok(session) => Some(Stream::encrypted(socket, session)),
            Err(error) => {
                tracing::error!(%error, "cannot begin TLS, a connection is closed");
                None
            }
        }
    }

    /// At the limit those who idle make room for the next one; where nobody does, it waits.
    fn make_room(&mut self) {
        let most = self.setup.worker_connections;
        if self.table.len() > most {
            self.close_longest_idle();
        }
        if self.table.len() >= most && self.table.longest_idle().is_none() {
            self.shut_door(Door::Crowded);
        }
    }

    /// A kept connection may be closed at any time; its client opens another. `false` when none idles.
    fn close_longest_idle(&mut self) -> bool {
        while let Some(token) = self.table.longest_idle() {
            let mut closed = true;
            let task = self.with_connection(token, PendingEvents::default(), |this, connection| {
                closed = !connection.stream.has_unread();
                if closed {
                    return After::Close;
                }
                // Its next request has come, and nobody has looked at it yet.
                connection.reading = Reading::More;
                this.ready.push_back(token);
                After::Keep
            });
            debug_assert!(task.is_none());
            if closed {
                return true;
            }
        }
        false
    }
}

/// The queue of connections that other workers hand over.
pub(crate) const QUEUE: u64 = u64::MAX - 2;
/// Tokens from here on are listeners; connections stay below (62 bits).
pub(crate) const LISTENERS: u64 = 1 << 62;
/// Who waits for one turn of this length is not better off with another worker.
const LONG_TURN_NS: u64 = 1_000_000;
/// Moving a connection costs two workers some 50 us.
const WORTH_MOVING_NS: u64 = 200_000;
/// While no other worker is without work: looking at all of them takes its time, too.
const LOOK_AGAIN_NS: u64 = 1_000_000;
/// After running out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
