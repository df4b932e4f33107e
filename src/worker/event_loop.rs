//! The one loop of a worker: wait for sockets, read, call the application, write. It does not know Python or how the
//! worker came to be.
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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::body::Body;
use super::connection::{BodyRules, Connection, Output, Registered, Stage, Step};
use super::exchange::{Exchange, State};
use super::texts::Texts;
use super::timers::{Millis, Timers};
use super::{Application, Setup};
use crate::http::access_log::AccessRecord;
use crate::http::error_response;
use crate::http::response::{ResponseHead, ResponseTo};
use crate::os::clock;
use crate::os::socket::{self, Read};

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
        requests: 0,
        spent: Some(spent),
        setup,
    };
    worker.start_accepting();
    worker.run()
}

struct Worker<'a, A, F> {
    app: &'a A,
    setup: Setup<'a>,
    epoll: Epoll,
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    /// Connections that hold a further request already.
    ready: VecDeque<u64>,
    timers: Timers,
    /// Buffers that a connection borrows while it is served and gives back empty, so that an idle one holds none.
    spare_input: Vec<u8>,
    spare_output: Vec<u8>,
    response: ResponseHead,
    texts: Texts,
    line: Vec<u8>,
    pid: u32,
    /// Connections accepted, wrapping; part of their tokens.
    accepted: u32,
    accepting: bool,
    accept_again: Millis,
    stopping: Option<Ending>,
    requests: u64,
    spent: Option<F>,
}

impl<A: Application, F: FnOnce()> Worker<'_, A, F> {
    fn run(&mut self) -> io::Result<Ending> {
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut laid_down = clock::monotonic();
        loop {
            if self.is_done() {
                return Ok(self.stopping.unwrap_or(Ending::Graceful));
            }
            let mut count = self.poll(&mut events, Duration::ZERO)?;
            if count == 0 && self.ready.is_empty() {
                if let Some((log, _)) = &mut self.setup.access {
                    log.hand_over();
                }
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
                let Some(token) = self.ready.pop_front() else { break };
                self.with_connection(token, |worker, connection| worker.serve_received(connection));
            }
            self.expire(clock::monotonic() / 1_000_000);
            if clock::monotonic() - laid_down > OWN_WORK_NS {
                self.app.detached(|| ());
                laid_down = clock::monotonic();
            }
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
            token if token >= LISTENERS => {
                self.accept(usize::try_from(token - LISTENERS).unwrap_or(usize::MAX));
            }
            token => {
                let flags = event.events();
                self.with_connection(token, |worker, connection| worker.connection_event(connection, flags));
            }
        }
    }

    fn signals(&mut self) {
        while let Some(signal) = self.setup.signals.next() {
            match signal {
                libc::SIGTERM if self.stopping.is_none() => self.stop_gracefully(),
                libc::SIGQUIT => self.stopping = Some(Ending::Quick),
                _ => {}
            }
        }
    }

    /// What is in the backlog already is still served; what idles between requests is closed, after a look for one that
    /// is on its way. A connection that has not had its first one gets a moment to send it, and so does every one of a
    /// worker that was replaced by `max_requests`: nobody waits for its end.
    fn stop_gracefully(&mut self) {
        self.stopping = Some(Ending::Graceful);
        for index in 0..self.setup.listeners.len() {
            while self.accept(index) {}
        }
        self.stop_accepting();
        for index in 0..self.connections.len() {
            if let Some(token) = self.connections[index].as_ref().map(|connection| connection.token) {
                self.with_connection(token, |worker, connection| {
                    let alive = worker.receive(connection);
                    if alive && connection.is_idle() && (!connection.served || worker.spent.is_none()) {
                        connection.deadline = connection.deadline.min(worker.in_time(FIRST_REQUEST));
                        return true;
                    }
                    alive && !connection.is_idle()
                });
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

    fn stop_accepting(&mut self) {
        if mem::take(&mut self.accepting) {
            for listener in self.setup.listeners {
                let _ = self.epoll.delete(listener);
            }
        }
    }

    /// Takes one connection and serves what it has sent already. `false` when none was there.
    fn accept(&mut self, listener: usize) -> bool {
        let Some(socket) = self.setup.listeners.get(listener) else {
            return false;
        };
        match socket.accept() {
            Ok(Some((stream, peer))) => {
                let connection = Box::new(Connection::new(stream, peer, listener));
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

    fn insert(&mut self, mut connection: Box<Connection>) -> u64 {
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
    fn with_connection(&mut self, token: u64, step: impl FnOnce(&mut Self, &mut Connection) -> bool) {
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

    fn connection_event(&mut self, connection: &mut Connection, flags: EpollFlags) -> bool {
        if let Stage::Flushing { keep_alive } = connection.stage {
            // Edge-triggered: what arrives meanwhile is not reported again.
            connection.more |= flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
            if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                return false;
            }
            let Ok(()) = connection.output.flush(connection.stream.as_fd()) else {
                return false;
            };
            connection.deadline = self.in_time(SEND_STALL);
            if !connection.output.is_empty() {
                return true;
            }
            connection.stage = Stage::Head;
            return self.after_response(connection, keep_alive);
        }
        self.receive(connection)
    }

    /// Reads once and serves what is complete.
    fn receive(&mut self, connection: &mut Connection) -> bool {
        match connection.stage {
            Stage::Flushing { .. } => return true,
            Stage::Lingering { left } => return self.drop_rest(connection, left),
            Stage::Head | Stage::Body(_) => {}
        }
        borrow(&mut connection.input, &mut self.spare_input);
        match connection.read() {
            Read::Nothing => connection.more = false,
            Read::Closed => {
                connection.more = false;
                connection.ended = true;
            }
            Read::Bytes { more, .. } => connection.more = more,
        }
        self.serve_received(connection)
    }

    fn serve_received(&mut self, connection: &mut Connection) -> bool {
        if matches!(connection.stage, Stage::Flushing { .. } | Stage::Lingering { .. }) {
            return self.receive(connection);
        }
        if connection.input.is_empty() && connection.more {
            return self.receive(connection);
        }
        let rules = BodyRules {
            limits: &self.setup.limits,
            post_buffering: self.setup.post_buffering,
            directory: &self.setup.spill_directory,
        };
        match connection.step(&rules, self.app) {
            Step::Wait if connection.ended => false,
            Step::Wait => {
                if connection.more {
                    self.ready.push_back(connection.token);
                }
                self.wait_for_more(connection);
                true
            }
            Step::Request { head_length, body, body_length } => {
                self.serve(connection, head_length, body, body_length);
                self.after_request(connection, head_length)
            }
            Step::Refuse(reject) => {
                tracing::warn!(peer = %connection.peer, status = reject.status(), reason = %reject, "request refused");
                self.refuse(connection, reject.status())
            }
            Step::Spill(error) => {
                let directory = self.setup.spill_directory.display();
                tracing::error!(%error, %directory, "cannot keep a request body");
                self.refuse(connection, 500)
            }
        }
    }

    fn wait_for_more(&self, connection: &mut Connection) {
        let limit = match connection.stage {
            Stage::Body(_) => BODY_TIMEOUT,
            _ if connection.is_idle() && connection.served => self.setup.keep_alive,
            // A head is to be whole within this time from its first byte, however it dribbles.
            _ if connection.in_head => return,
            _ => HEAD_TIMEOUT,
        };
        connection.in_head = matches!(connection.stage, Stage::Head) && !connection.input.is_empty();
        connection.deadline = self.in_time(limit);
    }

    fn serve(&mut self, connection: &mut Connection, head_length: usize, body: Body, body_length: Option<u64>) {
        self.count_request();
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        // A worker that is to be replaced keeps nobody who would have to be sent away.
        let stays = self.stopping.is_none() && self.spent.is_some();
        let keep_alive = stays && !self.setup.keep_alive.is_zero();
        let request = connection.head.of(&connection.input);
        let started = clock::monotonic();
        self.setup.slot.begin(started, &connection.input[..head_length]);
        let mut exchange = Exchange {
            request,
            body,
            body_length,
            peer: &connection.peer,
            listener: connection.listener,
            head: &mut self.response,
            stream: connection.stream.as_fd(),
            output: &mut connection.output,
            to: ResponseTo {
                version: request.version(),
                head_only: request.is_head(),
                keep_alive: keep_alive && request.wants_keep_alive(),
            },
            date: self.texts.date(),
            slot: &self.setup.slot,
            state: State::Open,
            body_bytes: 0,
        };
        exchange.head.clear();
        if catch_unwind(AssertUnwindSafe(|| self.app.call(&mut exchange))).is_err() {
            exchange.fail();
        }
        connection.answered = exchange.state;
        let body_bytes = exchange.body_bytes;
        self.setup.slot.end();
        if let Some((log, format)) = &mut self.setup.access {
            let address = connection.peer.to_string();
            let record = AccessRecord {
                request,
                response: &self.response,
                remote_addr: &address,
                body_bytes: Some(body_bytes),
                time_text: self.texts.access_time(),
                elapsed: Duration::from_nanos(clock::monotonic().saturating_sub(started)),
                pid: self.pid,
            };
            self.line.clear();
            format.render(&record, &mut self.line);
            log.append(&self.line);
        }
    }

    fn count_request(&mut self) {
        self.requests += 1;
        if self.requests == self.setup.max_requests {
            if let Some(spent) = self.spent.take() {
                spent();
            }
        }
    }

    fn after_request(&mut self, connection: &mut Connection, head_length: usize) -> bool {
        let State::Finished { keep_alive } = connection.answered else {
            return false;
        };
        connection.next_request(head_length);
        connection.served = true;
        connection.in_head = false;
        if connection.output.is_empty() {
            return self.after_response(connection, keep_alive);
        }
        connection.stage = Stage::Flushing { keep_alive };
        connection.deadline = self.in_time(SEND_STALL);
        true
    }

    /// All of a response is with the kernel.
    fn after_response(&mut self, connection: &mut Connection, keep_alive: bool) -> bool {
        if !keep_alive || (self.stopping.is_some() && connection.input.is_empty()) {
            let unread = !connection.input.is_empty() || connection.more;
            return unread && self.linger(connection);
        }
        if !connection.input.is_empty() || connection.more {
            self.ready.push_back(connection.token);
        } else if connection.ended {
            return false;
        }
        connection.deadline = self.in_time(self.setup.keep_alive);
        true
    }

    fn refuse(&mut self, connection: &mut Connection, status: u16) -> bool {
        connection.output.bytes.clear();
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        error_response(&mut connection.output.bytes, status, self.texts.date(), None);
        let flushed = connection.output.flush(connection.stream.as_fd()).is_ok() && connection.output.is_empty();
        connection.output = Output::default();
        flushed && self.linger(connection)
    }

    fn linger(&mut self, connection: &mut Connection) -> bool {
        connection.input.clear();
        socket::finish_writing(connection.stream.as_fd());
        connection.stage = Stage::Lingering { left: LINGER_BYTES };
        connection.deadline = self.in_time(LINGER);
        self.drop_rest(connection, LINGER_BYTES)
    }

    fn drop_rest(&mut self, connection: &mut Connection, left: usize) -> bool {
        borrow(&mut connection.input, &mut self.spare_input);
        let read = connection.read();
        connection.input.clear();
        match read {
            Read::Closed => false,
            Read::Nothing => true,
            Read::Bytes { count, more } => {
                let Some(left) = left.checked_sub(count) else {
                    return false;
                };
                connection.stage = Stage::Lingering { left };
                if more {
                    self.ready.push_back(connection.token);
                }
                true
            }
        }
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

    fn time_is_up(&mut self, connection: &mut Connection) -> bool {
        let begun = matches!(connection.stage, Stage::Head | Stage::Body(_)) && !connection.is_idle();
        if begun {
            tracing::info!(peer = %connection.peer, "client sent no whole request in time");
        }
        begun && self.refuse(connection, 408)
    }

    fn in_time(&self, limit: Duration) -> Millis {
        (clock::monotonic() / 1_000_000).saturating_add(millis(limit))
    }
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
fn borrow(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
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
/// Tokens from here on are listeners; connections stay below (62 bits).
const LISTENERS: u64 = 1 << 62;
/// Events taken in one wait.
const EVENTS: usize = 64;
/// The server's own work after which the interpreter is laid down once, for the application's background threads.
const OWN_WORK_NS: u64 = 1_000_000;
/// After running out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// A whole head, from the first byte or the accept. nginx `client_header_timeout`: 60 s, granian 30 s.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// From a stop to the first request of a connection that is there already: a round trip across the world and a handshake
/// before it. Browsers open connections that they may never use, and the stop waits for them.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// Between two pieces of a body. nginx `client_body_timeout`: 60 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes no bytes of a buffered response. nginx `send_timeout`: 60 s.
const SEND_STALL: Duration = Duration::from_secs(60);
/// gunicorn lingers 2 s or 64 KiB, and blocks for it; here nobody waits.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;
/// The largest buffer that is kept for the next request.
const SPARE: usize = 256 * 1024;
