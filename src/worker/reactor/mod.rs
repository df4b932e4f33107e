//! What the kernel says of a worker's sockets, signals and deadlines, turned into work: each connection gets its turn.
//! Everything here happens with the worker locked and never waits; what has to wait is handed out as a [`Task`]. It does
//! not know which thread asks, nor Python.
//!
//! ```text
//! turn:  look         -> what the kernel has now; deadlines that are over
//!        events       -> listener: take one connection and read it; connection: flush, read
//!        leftovers    -> connections with a pipelined request or more to read, one step each
//! ```
//!
//! Connections are edge-triggered and enter the epoll instance only when they have to wait, so that a short connection
//! costs no system call for it. Listeners are level-triggered: a connection that this turn does not take wakes a
//! worker again.

pub(crate) mod accept;
pub(crate) mod connections;
pub(crate) mod handoff;
pub(crate) mod shutdown;
pub(crate) mod timers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

use crate::http::forwarded::Scheme;
use crate::os::{clock, signal, socket};
use crate::worker::connection::buffer_pool::give_back;
use crate::worker::connection::date_cache::DateCache;
use crate::worker::connection::send_buffer::Flushed;
use crate::worker::connection::{Arrived, Connection, Reading, Registered};
use crate::worker::reactor::accept::{Door, LISTENERS, QUEUE};
use crate::worker::reactor::connections::{PendingEvents, Table};
use crate::worker::reactor::timers::{Millis, Timers};
use crate::worker::threads::request_timeout::RequestTimeouts;
use crate::worker::threads::states::ThreadStates;
use crate::worker::{Setup, Spent};

/// How a worker's loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Asked to, with every request served.
    Graceful,
    /// Asked to, at once.
    Quick,
}

/// What cannot be done while the worker is locked.
pub(crate) enum Task {
    /// A request for the application.
    Request(Request),
    /// A disk may have to be waited for, or a handshake computed: a body is to be kept, or a file sent.
    Disk(Box<Connection>),
    /// Memory of this length is wished for a body.
    Memory(Box<Connection>, usize),
}

/// A whole request, and the connection that it came by.
pub(crate) struct Request {
    pub(crate) connection: Box<Connection>,
    pub(crate) arrived: Arrived,
    pub(crate) scheme: Scheme,
}

/// What becomes of a connection after a step.
pub(crate) enum After {
    /// It waits for the kernel, a deadline, or its turn among the leftovers.
    Keep,
    /// It is over.
    Close,
    /// Its request is whole.
    Request(Arrived, Scheme),
    /// What follows may wait for a disk.
    Disk,
    /// Memory of this length is wished for its body.
    Memory(usize),
}

pub(crate) struct Reactor<'a> {
    pub(crate) setup: &'a Setup<'a>,
    pub(crate) epoll: Arc<Epoll>,
    pub(crate) table: Table,
    /// What the kernel said and nobody has looked at. With edges nothing of it may be lost, whoever polled.
    inbox: VecDeque<EpollEvent>,
    events: Vec<EpollEvent>,
    /// Connections that have more to read, or hold a further request already.
    pub(crate) ready: VecDeque<u64>,
    /// How many of them this turn looks at.
    pub(crate) quota: usize,
    /// When this turn began, in ns of the monotonic clock.
    pub(crate) now: u64,
    /// How many ns before the turn before it began.
    pub(crate) turn: u64,
    /// Whole requests that wait for a thread.
    pub(crate) requests: VecDeque<u64>,
    timers: Timers,
    /// Buffers that a connection borrows while it is served and gives back empty, so that an idle one holds none.
    pub(crate) spare_input: Vec<u8>,
    pub(crate) spare_output: Vec<u8>,
    pub(crate) texts: DateCache,
    pub(crate) line: Vec<u8>,
    pub(crate) pid: u32,
    pub(crate) door: Door,
    pub(crate) stopping: Option<Ending>,
    /// It stops, while others serve.
    pub(crate) retiring: bool,
    /// That it stops, for who does not hold the lock.
    pub(crate) stops: Arc<AtomicBool>,
    pub(crate) served: u64,
    /// How many ns the last request took, where there are other workers.
    pub(crate) pace: u64,
    /// No other worker is looked for that has nothing to do, until then (ns of the monotonic clock).
    pub(crate) none_idle_until: u64,
    pub(crate) spent: Option<Box<dyn FnOnce(Spent) + Send + 'a>>,
    pub(crate) states: ThreadStates,
    pub(crate) deadlines: RequestTimeouts,
}

impl<'a> Reactor<'a> {
    pub(crate) fn new(
        setup: &'a Setup<'a>,
        epoll: Arc<Epoll>,
        stops: Arc<AtomicBool>,
        spent: Box<dyn FnOnce(Spent) + Send + 'a>,
    ) -> io::Result<Reactor<'a>> {
        epoll.add(&setup.signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        epoll.add(setup.orders.channel, EpollEvent::new(EpollFlags::EPOLLIN, ORDERS))?;
        let mut event_loop = Reactor {
            setup,
            epoll,
            table: Table::default(),
            inbox: VecDeque::new(),
            events: vec![EpollEvent::empty(); EVENTS],
            ready: VecDeque::new(),
            quota: 0,
            now: 0,
            turn: 0,
            requests: VecDeque::new(),
            timers: Timers::default(),
            spare_input: Vec::new(),
            spare_output: Vec::new(),
            texts: DateCache::new(),
            line: Vec::new(),
            pid: std::process::id(),
            door: Door::Shut,
            stopping: None,
            retiring: false,
            stops,
            served: 0,
            pace: 0,
            spent: Some(spent),
            states: ThreadStates::new(setup.slots.len()),
            deadlines: RequestTimeouts::new(setup.slots.len()),
            none_idle_until: 0,
        };
        event_loop.open_door();
        Ok(event_loop)
    }

    /// Begins a turn with what the kernel has now. `false` when there is nothing to do.
    pub(crate) fn look(&mut self) -> io::Result<bool> {
        let count = wait(&self.epoll, &mut self.events, Some(Duration::ZERO))?;
        self.inbox.extend(&self.events[..count]);
        self.begin_turn();
        Ok(!self.inbox.is_empty() || !self.ready.is_empty())
    }

    /// Begins a turn with what somebody has waited for.
    pub(crate) fn take_in(&mut self, events: &[EpollEvent]) {
        self.inbox.extend(events);
        self.begin_turn();
    }

    fn begin_turn(&mut self) {
        self.texts.refresh();
        // A stop is not kept waiting by what stands in line.
        self.quota = if signal::is_noted() { 0 } else { self.ready.len() };
        let before = std::mem::replace(&mut self.now, clock::monotonic());
        self.turn = self.now.saturating_sub(before);
        self.expire(self.now / 1_000_000);
    }

    /// The next of what this turn has to do that cannot be done here.
    pub(crate) fn next_task(&mut self) -> Option<Task> {
        loop {
            let task = if let Some(event) = self.inbox.pop_front() {
                self.event(event)
            } else if self.quota > 0 {
                self.quota -= 1;
                let token = self.ready.pop_front()?;
                self.with_connection(token, PendingEvents::default(), Self::go_on)
            } else {
                return None;
            };
            if task.is_some() {
                return task;
            }
        }
    }

    /// Is anything left that nobody needs to wait for?
    pub(crate) fn has_work(&self) -> bool {
        !self.requests.is_empty() || !self.inbox.is_empty() || !self.ready.is_empty()
    }

    /// Has the worker ended, and how?
    pub(crate) fn ended(&self) -> Option<Ending> {
        match self.stopping {
            // Threads that are given up keep their connections, and nobody waits for them.
            Some(Ending::Graceful) if self.table.len() > self.deadlines.lost() => None,
            stopping => stopping,
        }
    }

    /// How long nothing will have to be done unless the kernel says so.
    pub(crate) fn sleep_limit(&self) -> Option<Duration> {
        if !self.inbox.is_empty() || !self.ready.is_empty() || self.ended().is_some() {
            return Some(Duration::ZERO);
        }
        let next = self.timers.next().into_iter().chain(self.door.opens_at()).min()?;
        Some(Duration::from_millis(next.saturating_sub(clock::monotonic() / 1_000_000).saturating_add(1)))
    }

    /// How much, of what the kernel has said, nobody has looked at.
    pub(crate) fn unseen(&self) -> usize {
        self.inbox.len()
    }

    pub(crate) fn hand_over_access(&self) {
        if let Some((log, _)) = &self.setup.access {
            log.hand_over();
        }
    }

    fn event(&mut self, event: EpollEvent) -> Option<Task> {
        match event.data() {
            SIGNALS => self.signals(),
            WAKE => {}
            QUEUE => return self.take_over(),
            ORDERS => self.orders(),
            token if token >= LISTENERS => {
                return self.accept(usize::try_from(token - LISTENERS).unwrap_or(usize::MAX));
            }
            token => {
                let flags = event.events();
                let missed = PendingEvents { flags, timer: false };
                return self
                    .with_connection(token, missed, |this, connection| this.connection_event(connection, flags));
            }
        }
        None
    }

    /// Runs `step` on a connection that nobody else has.
    pub(crate) fn with_connection(
        &mut self,
        token: u64,
        missed: PendingEvents,
        step: impl FnOnce(&mut Self, &mut Connection) -> After,
    ) -> Option<Task> {
        let mut connection = self.table.take(token, missed)?;
        let after = step(self, &mut connection);
        self.settle(connection, after)
    }

    /// Does with a connection what its step came to.
    pub(crate) fn settle(&mut self, mut connection: Box<Connection>, after: After) -> Option<Task> {
        match after {
            After::Keep => {
                self.resume_missed(&mut connection);
                if self.watch(&mut connection) {
                    self.table.put(connection);
                } else {
                    self.close(&mut connection);
                }
                None
            }
            After::Close => {
                self.close(&mut connection);
                None
            }
            After::Request(arrived, scheme) => Some(Task::Request(Request { connection, arrived, scheme })),
            After::Disk => Some(Task::Disk(connection)),
            After::Memory(length) => Some(Task::Memory(connection, length)),
        }
    }

    /// What came up for a connection while it was out gets its turn.
    fn resume_missed(&mut self, connection: &mut Connection) {
        let missed = self.table.missed(connection.token);
        if missed.timer {
            connection.scheduled = Millis::MAX;
        }
        if !missed.flags.is_empty() {
            connection.end_told |= missed.flags.contains(EpollFlags::EPOLLRDHUP);
            if connection.reading == Reading::Drained {
                connection.reading = Reading::More;
            }
            self.ready.push_back(connection.token);
        }
    }

    /// Before a connection is left to itself: gives back its empty buffers, and has the kernel and the timers watch it.
    fn watch(&mut self, connection: &mut Connection) -> bool {
        give_back(&mut connection.input, &mut self.spare_input);
        give_back(&mut connection.output.bytes, &mut self.spare_output);
        if connection.deadline < connection.scheduled {
            connection.scheduled = connection.deadline;
            self.timers.push(connection.deadline, connection.token);
        }
        let writes = !connection.output.is_empty() || connection.stream.has_sealed();
        let wanted = if writes { Registered::ReadsAndWrites } else { Registered::Reads };
        if connection.registered >= wanted {
            return true;
        }
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        flags.set(EpollFlags::EPOLLOUT, wanted == Registered::ReadsAndWrites);
        let mut event = EpollEvent::new(flags, connection.token);
        let known = connection.registered != Registered::Nothing;
        connection.registered = wanted;
        let told = if known {
            self.epoll.modify(&connection.stream, &mut event)
        } else {
            self.epoll.add(&connection.stream, event)
        };
        told.is_ok()
    }

    /// The application may have forked, so that closing alone would neither end the connection nor its events.
    fn close(&mut self, connection: &mut Connection) {
        if connection.registered != Registered::Nothing {
            let _ = self.epoll.delete(&connection.stream);
        }
        if connection.is_whole() {
            connection.stream.say_goodbye();
        }
        if !connection.is_taken() {
            socket::finish(connection.stream.as_fd());
        }
        connection.input.clear();
        connection.output.bytes.clear();
        give_back(&mut connection.input, &mut self.spare_input);
        give_back(&mut connection.output.bytes, &mut self.spare_output);
        self.table.remove(connection.token);
        self.place_is_free();
    }

    /// The connection is somebody else's now: it does not end with its descriptor here.
    pub(crate) fn forget(&mut self, connection: &Connection) {
        if connection.registered != Registered::Nothing {
            let _ = self.epoll.delete(&connection.stream);
        }
        self.table.remove(connection.token);
        self.place_is_free();
    }

    /// Somebody else is to take this worker's place. Said once.
    pub(crate) fn ask_for_replacement(&mut self, why: Spent) {
        if let Some(spent) = self.spent.take() {
            spent(why);
        }
    }

    /// Memory was given for a body, or none was.
    pub(crate) fn after_memory(&mut self, mut connection: Box<Connection>) -> Option<Task> {
        let after = self.serve_received(&mut connection);
        self.settle(connection, after)
    }

    /// The disk has done its part.
    pub(crate) fn after_disk(&mut self, mut connection: Box<Connection>, done: io::Result<Flushed>) -> Option<Task> {
        let after = self.go_on_after_disk(&mut connection, done);
        self.settle(connection, after)
    }

    fn expire(&mut self, now: Millis) {
        if self.door.opens_at().is_some_and(|at| at <= now) {
            self.open_door();
        }
        while let Some(token) = self.timers.pop(now) {
            let missed = PendingEvents { timer: true, ..PendingEvents::default() };
            let task = self.with_connection(token, missed, |this, connection| {
                connection.scheduled = Millis::MAX;
                if connection.deadline > now { After::Keep } else { this.time_is_up(connection) }
            });
            debug_assert!(task.is_none());
        }
    }
}

/// Waits for events; a signal ends the wait early.
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

const SIGNALS: u64 = u64::MAX;
/// Ends the sleep of whoever polls; says nothing more.
pub(crate) const WAKE: u64 = u64::MAX - 1;
/// The master's orders.
const ORDERS: u64 = u64::MAX - 3;
/// Events taken in one wait.
pub(crate) const EVENTS: usize = 64;
