//! What a worker does with one connection: read, hand out what is complete, see the response off, refuse, linger. When a
//! connection's turn comes is the loop's business.

use std::io;
use std::time::Duration;

use nix::sys::epoll::EpollFlags;

use crate::http::access_log::{AccessRecord, EnvironValues};
use crate::http::error_page::{ErrorPage, error_response};
use crate::http::forwarded::{self, Scheme};
use crate::http::reject::Reject;
use crate::http::response::ResponseHead;
use crate::os::clock;
use crate::os::socket::Read;
use crate::worker::Spent;
use crate::worker::connection::buffer_pool::borrow;
use crate::worker::connection::send_buffer::{Flushed, SendBuffer};
use crate::worker::connection::send_timeout::{GRACE, SendTimeout, Verdict};
use crate::worker::connection::{BodyRules, Connection, Reading, Stage, Step, Waiting};
use crate::worker::exchange::ResponseState;
use crate::worker::exchange::call::{Call, Outcome, ThreadContext};
use crate::worker::reactor::connections::PendingEvents;
use crate::worker::reactor::timers::{Millis, in_about, in_time, millis};
use crate::worker::reactor::{After, Reactor, Request, Task};

impl Reactor<'_> {
    pub(crate) fn connection_event(&mut self, connection: &mut Connection, flags: EpollFlags) -> After {
        let ends_now = flags.contains(EpollFlags::EPOLLRDHUP) && !connection.end_told;
        connection.end_told |= ends_now;
        match &connection.stage {
            Stage::Waiting(waiting) => {
                // Edge-triggered: what arrives meanwhile is not reported again.
                connection.reading = Reading::More;
                let left = ends_now && in_time(Duration::ZERO) >= waiting.since.saturating_add(HALF_CLOSED);
                if left || flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                    tracing::info!(peer = %connection.peer, "client left before its request had its turn");
                    return After::Close;
                }
                After::Keep
            }
            Stage::Flushing { keep_alive, .. } => {
                let keep_alive = *keep_alive;
                if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP) {
                    connection.reading = Reading::More;
                }
                if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                    return After::Close;
                }
                self.flush(connection, keep_alive)
            }
            _ => {
                // A 100 that found the socket full.
                if connection.output.flush(&connection.stream).is_err() {
                    return After::Close;
                }
                self.receive(connection)
            }
        }
    }

    /// Sends more of a response that waits for its client.
    fn flush(&mut self, connection: &mut Connection, keep_alive: bool) -> After {
        if connection.output.is_long() {
            return After::Disk;
        }
        let flushed = connection.output.flush(&connection.stream);
        self.flushed(connection, keep_alive, &flushed)
    }

    fn flushed(&mut self, connection: &mut Connection, keep_alive: bool, flushed: &io::Result<Flushed>) -> After {
        match flushed {
            Err(_) => After::Close,
            Ok(Flushed::All) => {
                connection.stage = Stage::Idle;
                self.after_response(connection, keep_alive)
            }
            Ok(Flushed::TurnOver) => {
                self.ready.push_back(connection.token);
                After::Keep
            }
            Ok(Flushed::Full) => After::Keep,
        }
    }

    /// Does what a connection among the leftovers waits for.
    pub(crate) fn go_on(&mut self, connection: &mut Connection) -> After {
        match connection.stage {
            Stage::Idle if !connection.input.is_empty() => self.serve_received(connection),
            Stage::Flushing { keep_alive, .. } => self.flush(connection, keep_alive),
            // What was received has been looked at, and was not enough.
            _ => self.receive(connection),
        }
    }

    /// Goes on where a disk was waited for.
    pub(crate) fn go_on_after_disk(&mut self, connection: &mut Connection, done: io::Result<Flushed>) -> After {
        match (&connection.stage, done) {
            (Stage::Handshake(_), _) => self.shaken(connection),
            (Stage::Flushing { keep_alive, .. }, done) => {
                let keep_alive = *keep_alive;
                self.flushed(connection, keep_alive, &done)
            }
            (_, Ok(_)) => self.serve_received(connection),
            (_, Err(error)) => self.body_lost(connection, &error),
        }
    }

    fn body_lost(&mut self, connection: &mut Connection, error: &io::Error) -> After {
        let directory = self.setup.spill_directory.display();
        tracing::error!(%error, %directory, "cannot keep a request body");
        self.refuse(connection, 500)
    }

    /// Reads once and looks what is complete.
    pub(crate) fn receive(&mut self, connection: &mut Connection) -> After {
        match connection.stage {
            Stage::Handshake(_) => return self.shake_hands(connection),
            Stage::Flushing { .. } | Stage::Waiting(_) => return After::Keep,
            Stage::Lingering { until } => return self.drop_rest(connection, until),
            Stage::Idle | Stage::Head | Stage::Body(_) => {}
        }
        borrow(&mut connection.input, &mut self.spare_input);
        connection.reading = match connection.read() {
            Read::Closed => Reading::Ended,
            Read::Bytes { more, .. } if more || connection.end_told => Reading::More,
            Read::Bytes { .. } | Read::Nothing => Reading::Drained,
        };
        self.serve_received(connection)
    }

    pub(crate) fn serve_received(&mut self, connection: &mut Connection) -> After {
        let rules = BodyRules {
            limits: &self.setup.limits,
            proxy: &self.setup.proxy,
            post_buffering: self.setup.post_buffering,
            timeout: self.setup.body_timeout,
        };
        match connection.step(&rules) {
            Step::Wait if connection.reading == Reading::Ended => After::Close,
            Step::Wait => {
                if connection.reading == Reading::More {
                    self.ready.push_back(connection.token);
                }
                self.wait_for_more(connection);
                if self.stopping.is_none() || self.stays(connection) { After::Keep } else { After::Close }
            }
            Step::Request(arrived) => match self.judge(connection) {
                Ok(scheme) => After::Request(arrived, scheme),
                Err(reject) => self.reject(connection, &reject),
            },
            Step::Refuse(reject) => self.reject(connection, &reject),
            Step::Spill => After::Disk,
            Step::Memory(length) => After::Memory(length),
            Step::Failed(error) => self.body_lost(connection, &error),
        }
    }

    /// Has a request wait until a thread is free. Its client may leave meanwhile, or wait too long.
    pub(crate) fn enqueue(&mut self, request: Request) {
        let Request { mut connection, arrived, scheme } = request;
        let since = connection.waits_since.take().unwrap_or_else(|| in_time(Duration::ZERO));
        connection.stage = Stage::Waiting(Box::new(Waiting { arrived, scheme, since }));
        connection.deadline = since.saturating_add(millis(self.setup.queue_timeout.unwrap_or(Duration::MAX)));
        self.requests.push_back(connection.token);
        let task = self.settle(connection, After::Keep);
        debug_assert!(task.is_none());
    }

    /// A request is about to be answered by the thread that holds it.
    pub(crate) fn begin(&mut self, request: Request) -> Call {
        let Request { mut connection, arrived, scheme } = request;
        connection.waits_since = None;
        self.served += 1;
        if self.served == self.setup.max_requests {
            self.ask_for_replacement(Spent::Requests);
        }
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        // A worker that is to be replaced keeps nobody who would have to be sent away.
        let stays = self.stopping.is_none() && self.spent.is_some();
        let keep_alive = stays && !self.setup.keep_alive.is_zero();
        let started = clock::monotonic();
        Call { connection, arrived, scheme, keep_alive, date: *self.texts.date(), started }
    }

    /// A request was answered. What follows on its connection may be a task again.
    pub(crate) fn finish(&mut self, served: Outcome, desk: &ThreadContext) -> Option<Task> {
        let Outcome { mut connection, length, body_bytes, started } = served;
        if self.setup.has_others {
            self.pace = clock::monotonic().saturating_sub(started);
        }
        if !matches!(connection.answered, ResponseState::Taken { .. }) {
            self.note(&connection, &desk.response, &desk.environ, body_bytes, Some(started));
        }
        let after = self.after_request(&mut connection, length);
        self.settle(connection, after)
    }

    /// The request that has waited the longest.
    pub(crate) fn next_request(&mut self) -> Option<Request> {
        while let Some(token) = self.requests.pop_front() {
            // Who has left is not there any more.
            let Some(mut connection) = self.table.take(token, PendingEvents::default()) else { continue };
            match std::mem::replace(&mut connection.stage, Stage::Head) {
                Stage::Waiting(waiting) => {
                    let Waiting { arrived, scheme, since } = *waiting;
                    connection.waits_since = Some(since);
                    return Some(Request { connection, arrived, scheme });
                }
                other => {
                    connection.stage = other;
                    let task = self.settle(connection, After::Keep);
                    debug_assert!(task.is_none());
                }
            }
        }
        None
    }

    /// Since when the request that has waited the longest waits.
    pub(crate) fn waiting_since(&mut self) -> Option<Millis> {
        while let Some(&token) = self.requests.front() {
            match self.table.get(token).map(|connection| &connection.stage) {
                Some(Stage::Waiting(waiting)) => return Some(waiting.since),
                _ => self.requests.pop_front(),
            };
        }
        None
    }

    /// Sets the deadline of what has begun. A head is to be whole within its time from the first byte, however it dribbles.
    fn wait_for_more(&self, connection: &mut Connection) {
        match connection.stage {
            Stage::Idle if !connection.input.is_empty() => {
                connection.stage = Stage::Head;
                connection.deadline = in_time(self.setup.head_timeout.unwrap_or(Duration::MAX));
            }
            Stage::Body(_) => connection.deadline = in_time(self.setup.body_timeout.unwrap_or(Duration::MAX)),
            _ => {}
        }
    }

    /// What the client, or a proxy that is believed, says about the request.
    fn judge(&self, connection: &Connection) -> Result<Scheme, Reject> {
        let (request, peer) = (connection.head.of(&connection.input), connection.peer.ip());
        forwarded::check_names(request, peer, &self.setup.trust)?;
        let own = if connection.stream.session().is_some() { Scheme::Https } else { Scheme::Http };
        forwarded::scheme(request, own, peer, &self.setup.trust)
    }

    /// A line for the access log. A request that was not served has not `started`.
    pub(crate) fn note(
        &mut self,
        connection: &Connection,
        response: &ResponseHead,
        environ: &EnvironValues,
        body_bytes: u64,
        started: Option<u64>,
    ) {
        let Some((log, format)) = &self.setup.access else { return };
        let elapsed = started.map_or(0, |started| clock::monotonic().saturating_sub(started));
        let elapsed = Duration::from_nanos(elapsed);
        log.count(response.code(), elapsed);
        if !log.takes_lines() {
            return;
        }
        let record = AccessRecord {
            request: connection.head.so_far(&connection.input),
            response,
            environ,
            remote_addr: connection.client_ip(),
            body_bytes: Some(body_bytes),
            time_text: self.texts.access_time(),
            elapsed,
            pid: self.pid,
        };
        self.line.clear();
        format.render(&record, &mut self.line);
        log.append(&self.line);
    }

    pub(crate) fn after_request(&mut self, connection: &mut Connection, length: usize) -> After {
        let ResponseState::Finished { keep_alive } = connection.answered else {
            return After::Close;
        };
        connection.next_request(length);
        if connection.output.is_empty() {
            return self.after_response(connection, keep_alive);
        }
        let patience = SendTimeout::new(in_time(Duration::ZERO), connection.output.outstanding(&connection.stream));
        connection.stage = Stage::Flushing { keep_alive, patience };
        if connection.output.has_file() {
            self.ready.push_back(connection.token);
        }
        connection.deadline = in_time(self.setup.send_limits.stall.unwrap_or(GRACE).min(GRACE));
        After::Keep
    }

    /// All of a response is with the kernel.
    fn after_response(&mut self, connection: &mut Connection, keep_alive: bool) -> After {
        let ends = self.stopping.is_some() && !self.retiring;
        if !keep_alive || (ends && connection.input.is_empty()) {
            // What came while the application ran has not been seen. Closing with unread bytes makes the kernel reset the
            // connection, and drop what it has not sent yet.
            let unread = !connection.input.is_empty() || connection.stream.has_unread();
            return if unread { self.linger(connection) } else { After::Close };
        }
        if !connection.input.is_empty() || connection.reading == Reading::More {
            self.ready.push_back(connection.token);
        } else if connection.reading == Reading::Ended {
            return After::Close;
        }
        connection.deadline =
            if self.retiring { in_time(self.setup.lame_duck) } else { in_about(self.setup.keep_alive) };
        self.place_is_free();
        After::Keep
    }

    pub(crate) fn reject(&mut self, connection: &mut Connection, reject: &Reject) -> After {
        let (status, hint) = (reject.status(), reject.hint());
        tracing::warn!(peer = %connection.peer, status, reason = %reject, hint, "request refused");
        self.refuse(connection, reject.status())
    }

    pub(crate) fn refuse(&mut self, connection: &mut Connection, status: u16) -> After {
        self.refuse_with(connection, status, None)
    }

    /// Answers with an error page: one of the server's own, else `page`.
    pub(crate) fn refuse_with(
        &mut self,
        connection: &mut Connection,
        status: u16,
        page: Option<&ErrorPage<'_>>,
    ) -> After {
        connection.output = SendBuffer::default();
        connection.stream.forget_unwritten();
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        let (date, own) = (self.texts.date(), self.setup.error_pages.of(status));
        let page = own.or_else(|| page.copied());
        let request = connection.head.so_far(&connection.input);
        let body_bytes = error_response(&mut connection.output.bytes, status, date, request, page.as_ref());
        let flushed = connection.output.flush(&connection.stream).is_ok() && connection.output.is_empty();
        connection.output = SendBuffer::default();
        let mut response = ResponseHead::default();
        response.start_error(status);
        self.note(connection, &response, &EnvironValues::default(), body_bytes, None);
        if flushed { self.linger(connection) } else { After::Close }
    }

    pub(crate) fn linger(&mut self, connection: &mut Connection) -> After {
        connection.input.clear();
        connection.stream.finish_writing();
        let until = in_time(LINGER);
        connection.stage = Stage::Lingering { until };
        connection.deadline = in_time(self.setup.lingering);
        self.drop_rest(connection, until)
    }

    fn drop_rest(&mut self, connection: &mut Connection, until: Millis) -> After {
        borrow(&mut connection.input, &mut self.spare_input);
        let read = connection.read();
        connection.input.clear();
        match read {
            Read::Closed => After::Close,
            Read::Nothing => After::Keep,
            Read::Bytes { more, .. } => {
                if more || connection.end_told {
                    self.ready.push_back(connection.token);
                }
                if self.stopping.is_none() {
                    connection.deadline = in_time(self.setup.lingering).min(until);
                }
                if connection.deadline > in_time(Duration::ZERO) { After::Keep } else { After::Close }
            }
        }
    }

    pub(crate) fn time_is_up(&mut self, connection: &mut Connection) -> After {
        if let Stage::Flushing { patience, .. } = &mut connection.stage {
            let outstanding = connection.output.outstanding(&connection.stream);
            let verdict = patience.look(in_time(Duration::ZERO), outstanding, &self.setup.send_limits);
            if let Verdict::Until(at) = verdict {
                connection.deadline = at;
                return After::Keep;
            }
            let peer = connection.peer;
            tracing::info!(%peer, ?verdict, "client does not take its response, the connection is closed");
            return After::Close;
        }
        // What came this instant, or while the whole process stood still, is read and not cut off.
        let reads = matches!(connection.stage, Stage::Idle | Stage::Head | Stage::Body(_));
        if reads && connection.stream.has_unread() {
            connection.reading = Reading::More;
            connection.deadline = in_time(LAST_LOOK);
            self.ready.push_back(connection.token);
            return After::Keep;
        }
        match connection.stage {
            Stage::Waiting(_) => {
                tracing::warn!(peer = %connection.peer, "request waited too long for a free thread, answered 503");
                self.refuse(connection, 503)
            }
            Stage::Head | Stage::Body(_) => {
                tracing::info!(peer = %connection.peer, "client sent no whole request in time");
                self.refuse(connection, 408)
            }
            Stage::Handshake(_) => {
                tracing::info!(peer = %connection.peer, "client did not finish its TLS handshake in time");
                After::Close
            }
            Stage::Idle | Stage::Flushing { .. } | Stage::Lingering { .. } => After::Close,
        }
    }
}

/// Beyond its time, for what has come already: the next turn reads it.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// How long the rest of what a client sends is dropped, and how long it may send nothing meanwhile. nginx: 30 s and 5 s.
/// gunicorn: 2 s or 64 KiB, less than any upload, because it blocks for it; here nobody waits.
const LINGER: Duration = Duration::from_secs(30);
/// A client that ends its sending within this many milliseconds after its request has said all it had to say, and waits
/// for the answer; one that does so later has given up.
const HALF_CLOSED: Millis = 1000;
