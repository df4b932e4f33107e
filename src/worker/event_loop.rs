//! The one loop of a worker: waits for sockets, signals and deadlines, and gives each connection its turn. It does not
//! know Python or how the worker came to be.
//!
//! ```text
//! turn:  events that are there already  ->  none: note the log lines, lay the interpreter down, sleep
//!        listener     -> take one connection and serve it
//!        connection   -> flush what is pending, read, serve what is complete
//!        leftovers    -> connections with a pipelined request, one request each
//!        timers       -> close what has waited too long
//! ```
//!
//! Connections are edge-triggered and enter the epoll instance only when they have to wait, so that a short connection
//! costs no system call for it. Listeners are level-triggered: a connection that this turn does not take wakes a
//! worker again.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::{Connection, Registered};
use super::texts::Texts;
use super::timers::{Millis, Timers};
use super::{Application, Setup};
use crate::http::response::ResponseHead;
use crate::os::clock;
use crate::os::{signal, socket};

/// How a worker's loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Asked to, with every request served.
    Graceful,
    /// Asked to, at once.
    Quick,
}

/// Serves until a signal ends it. `spent` is called once, when `max_requests` is reached.
pub fn run<A: Application>(app: &A, setup: Setup<'_>, spent: impl FnOnce()) -> io::Result<Ending> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&setup.signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
    epoll.add(setup.orders.channel, EpollEvent::new(EpollFlags::EPOLLIN, ORDERS))?;
    let mut worker = Worker {
        app,
        epoll,
        connections: Vec::new(),
        free: Vec::new(),
        ready: VecDeque::new(),
        timers: Timers::default(),
        spare_input: Vec::new(),
        spare_output: Vec::new(),
        response: ResponseHead::default(),
        texts: Texts::new(),
        line: Vec::new(),
        pid: std::process::id(),
        accepted: 0,
        accepting: false,
        accept_again: Millis::MAX,
        stopping: None,
        retiring: false,
        requests: 0,
        spent: Some(spent),
        setup,
    };
    worker.start_accepting();
    worker.run()
}

pub(super) struct Worker<'a, A, F> {
    pub(super) app: &'a A,
    pub(super) setup: Setup<'a>,
    pub(super) epoll: Epoll,
    pub(super) connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    /// Connections that hold a further request already.
    pub(super) ready: VecDeque<u64>,
    timers: Timers,
    /// Buffers that a connection borrows while it is served and gives back empty, so that an idle one holds none.
    pub(super) spare_input: Vec<u8>,
    pub(super) spare_output: Vec<u8>,
    pub(super) response: ResponseHead,
    pub(super) texts: Texts,
    pub(super) line: Vec<u8>,
    pub(super) pid: u32,
    /// Connections accepted, wrapping; part of their tokens.
    accepted: u32,
    accepting: bool,
    pub(super) accept_again: Millis,
    pub(super) stopping: Option<Ending>,
    /// It stops, while others serve.
    pub(super) retiring: bool,
    pub(super) requests: u64,
    pub(super) spent: Option<F>,
}

impl<A: Application, F: FnOnce()> Worker<'_, A, F> {
    fn run(&mut self) -> io::Result<Ending> {
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut laid_down = clock::monotonic();
        loop {
            if self.is_done() {
                self.hand_over_access();
                return Ok(self.stopping.unwrap_or(Ending::Graceful));
            }
            let mut count = self.poll(&mut events, Duration::ZERO)?;
            if count == 0 && self.ready.is_empty() {
                self.hand_over_access();
                let limit = self.sleep_limit();
                let (app, epoll) = (self.app, &self.epoll);
                count = app.detached(|| wait(epoll, &mut events, limit))?;
                laid_down = clock::monotonic();
            }
            self.texts.refresh();
            for event in &events[..count] {
                self.event(event);
            }
            for _ in 0..self.ready.len() {
                // A stop is not kept waiting by what stands in line.
                if signal::is_noted() {
                    break;
                }
                let Some(token) = self.ready.pop_front() else { break };
                self.with_connection(token, Self::go_on);
            }
            self.expire(clock::monotonic() / 1_000_000);
            if clock::monotonic() - laid_down > OWN_WORK_NS {
                // Who is never idle does not keep its lines to itself either.
                self.hand_over_access();
                self.app.detached(|| ());
                laid_down = clock::monotonic();
            }
        }
    }

    fn hand_over_access(&self) {
        if let Some((log, _)) = &self.setup.access {
            log.hand_over();
        }
    }

    fn is_done(&self) -> bool {
        match self.stopping {
            None => false,
            Some(Ending::Quick) => true,
            Some(Ending::Graceful) => self.connections.iter().all(Option::is_none),
        }
    }

    fn poll(&self, events: &mut [EpollEvent], limit: Duration) -> io::Result<usize> {
        wait(&self.epoll, events, Some(limit))
    }

    fn sleep_limit(&self) -> Option<Duration> {
        let next = self
            .timers
            .next()
            .into_iter()
            .chain((self.accept_again != Millis::MAX).then_some(self.accept_again))
            .min()?;
        Some(Duration::from_millis(next.saturating_sub(clock::monotonic() / 1_000_000).saturating_add(1)))
    }

    fn event(&mut self, event: &EpollEvent) {
        match event.data() {
            SIGNALS => self.signals(),
            ORDERS => self.orders(),
            token if token >= LISTENERS => {
                self.accept(usize::try_from(token - LISTENERS).unwrap_or(usize::MAX));
            }
            token => {
                let flags = event.events();
                self.with_connection(token, |worker, connection| worker.connection_event(connection, flags));
            }
        }
    }

    fn start_accepting(&mut self) {
        self.accept_again = Millis::MAX;
        for (index, listener) in self.setup.listeners.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENERS + index as u64);
            if let Err(error) = self.epoll.add(listener, event) {
                tracing::error!(%error, listener = %listener.address(), "cannot wait for connections");
            }
        }
        self.accepting = true;
    }

    pub(super) fn stop_accepting(&mut self) {
        if mem::take(&mut self.accepting) {
            for listener in self.setup.listeners {
                let _ = self.epoll.delete(listener);
            }
        }
    }

    /// Takes one connection and serves what it has sent already. `false` when none was there.
    fn accept(&mut self, listener: usize) -> bool {
        // It may have stopped in this turn, after the kernel spoke of a connection.
        let Some(socket) = self.setup.listeners.get(listener).filter(|_| self.accepting) else {
            return false;
        };
        match socket.accept() {
            Ok(Some((stream, peer))) => {
                let mut connection = Box::new(Connection::new(stream, peer, listener));
                connection.deadline = in_time(self.setup.head_timeout.unwrap_or(Duration::MAX));
                let token = self.insert(connection);
                self.with_connection(token, Self::receive);
                true
            }
            Ok(None) => false,
            Err(error) => {
                // Out of descriptors or memory: those who are connected are served on.
                tracing::error!(%error, pause = ?ACCEPT_PAUSE, "cannot accept");
                self.stop_accepting();
                self.accept_again = clock::monotonic() / 1_000_000 + millis(ACCEPT_PAUSE);
                false
            }
        }
    }

    pub(super) fn insert(&mut self, mut connection: Box<Connection>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        // A token names the slot and the connection in it, so that a late event meets nobody else.
        self.accepted = self.accepted.wrapping_add(1) & 0x3fff_ffff;
        connection.token = index as u64 | (u64::from(self.accepted) << 32);
        let token = connection.token;
        self.connections[index] = Some(connection);
        token
    }

    /// Runs `step` on a connection that is still there; it says whether the connection lives on.
    pub(super) fn with_connection(&mut self, token: u64, step: impl FnOnce(&mut Self, &mut Connection) -> bool) {
        let index = usize::try_from(token & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else {
            return;
        };
        if connection.token != token {
            self.connections[index] = Some(connection);
            return;
        }
        if step(self, &mut connection) && self.settle(&mut connection) {
            self.connections[index] = Some(connection);
        } else {
            self.free.push(index);
            self.close(&mut connection);
        }
    }

    /// Before a connection is left to itself: gives back its empty buffers, and has the kernel and the timers watch it.
    fn settle(&mut self, connection: &mut Connection) -> bool {
        give_back(&mut connection.input, &mut self.spare_input);
        give_back(&mut connection.output.bytes, &mut self.spare_output);
        if connection.deadline < connection.scheduled {
            connection.scheduled = connection.deadline;
            self.timers.push(connection.deadline, connection.token);
        }
        let wanted = if connection.output.is_empty() { Registered::Reads } else { Registered::ReadsAndWrites };
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
        socket::finish(connection.stream.as_fd());
        connection.input.clear();
        connection.output.bytes.clear();
        give_back(&mut connection.input, &mut self.spare_input);
        give_back(&mut connection.output.bytes, &mut self.spare_output);
    }

    fn expire(&mut self, now: Millis) {
        if self.accept_again <= now {
            self.start_accepting();
        }
        while let Some(token) = self.timers.pop(now) {
            self.with_connection(token, |worker, connection| {
                connection.scheduled = Millis::MAX;
                connection.deadline > now || worker.time_is_up(connection)
            });
        }
    }
}

/// The moment that is `limit` away.
pub(super) fn in_time(limit: Duration) -> Millis {
    (clock::monotonic() / 1_000_000).saturating_add(millis(limit))
}

/// Waits for events; a signal ends the wait early.
fn wait(epoll: &Epoll, events: &mut [EpollEvent], limit: Option<Duration>) -> io::Result<usize> {
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

/// Lends a connection without a buffer the worker's.
pub(super) fn borrow(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.capacity() == 0 {
        mem::swap(buffer, spare);
    }
}

/// Takes an empty buffer back; one that grew beyond what a usual request needs is freed.
fn give_back(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > 0 {
        let buffer = mem::take(buffer);
        if buffer.capacity() <= SPARE && buffer.capacity() > spare.capacity() {
            *spare = buffer;
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

const SIGNALS: u64 = u64::MAX;
const ORDERS: u64 = u64::MAX - 1;
/// Tokens from here on are listeners; connections stay below (62 bits).
const LISTENERS: u64 = 1 << 62;
/// Events taken in one wait.
const EVENTS: usize = 64;
/// After so long without a sleep the interpreter is laid down once. Longer than CPython's switch interval (5 ms): a thread
/// that waits has asked for the interpreter by then, and gets it for sure. An earlier release is taken back before the
/// waiter is awake, and makes it begin its 5 ms anew: with 1 ms threads starved for the length of a burst.
const OWN_WORK_NS: u64 = 6_000_000;
/// After running out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The largest buffer that is kept for the next request.
const SPARE: usize = 256 * 1024;
