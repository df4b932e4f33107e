//! What a worker does with one connection: read, serve what is complete, see the response off, refuse, linger. When a
//! connection's turn comes is the loop's business.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::sys::epoll::EpollFlags;

use super::Application;
use super::connection::{Arrived, BodyRules, Connection, Reading, Stage, Step};
use super::event_loop::{Worker, borrow, in_time};
use super::exchange::{Exchange, State};
use super::output::{Flushed, Output};
use super::patience::{GRACE, Patience, Verdict};
use super::timers::Millis;
use crate::http::access_log::AccessRecord;
use crate::http::error_page::error_response;
use crate::http::forwarded::{self, Scheme};
use crate::http::reject::Reject;
use crate::http::response::ResponseTo;
use crate::os::clock;
use crate::os::socket::{self, Read};

impl<A: Application, F: FnOnce()> Worker<'_, A, F> {
    pub(super) fn connection_event(&mut self, connection: &mut Connection, flags: EpollFlags) -> bool {
        connection.end_told |= flags.contains(EpollFlags::EPOLLRDHUP);
        if let Stage::Flushing { keep_alive, .. } = connection.stage {
            // Edge-triggered: what arrives meanwhile is not reported again.
            if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP) {
                connection.reading = Reading::More;
            }
            if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                return false;
            }
            return self.flush(connection, keep_alive);
        }
        // A 100 that found the socket full.
        if connection.output.flush(connection.stream.as_fd()).is_err() {
            return false;
        }
        self.receive(connection)
    }

    /// Sends more of a response that waits for its client.
    fn flush(&mut self, connection: &mut Connection, keep_alive: bool) -> bool {
        let (output, stream) = (&mut connection.output, connection.stream.as_fd());
        let flushed = if output.has_file() { self.app.detached(|| output.flush(stream)) } else { output.flush(stream) };
        match flushed {
            Err(_) => return false,
            Ok(Flushed::All) => {
                connection.stage = Stage::Idle;
                return self.after_response(connection, keep_alive);
            }
            Ok(Flushed::TurnOver) => self.ready.push_back(connection.token),
            Ok(Flushed::Full) => {}
        }
        true
    }

    /// Does what a connection among the leftovers waits for.
    pub(super) fn go_on(&mut self, connection: &mut Connection) -> bool {
        match connection.stage {
            Stage::Idle if !connection.input.is_empty() => self.serve_received(connection),
            Stage::Flushing { keep_alive, .. } => self.flush(connection, keep_alive),
            // What was received has been looked at, and was not enough.
            _ => self.receive(connection),
        }
    }

    /// Reads once and serves what is complete.
    pub(super) fn receive(&mut self, connection: &mut Connection) -> bool {
        match connection.stage {
            Stage::Flushing { .. } => return true,
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

    fn serve_received(&mut self, connection: &mut Connection) -> bool {
        let rules = BodyRules {
            limits: &self.setup.limits,
            post_buffering: self.setup.post_buffering,
            directory: &self.setup.spill_directory,
            timeout: self.setup.body_timeout,
        };
        match connection.step(&rules, self.app) {
            Step::Wait if connection.reading == Reading::Ended => false,
            Step::Wait => {
                if connection.reading == Reading::More {
                    self.ready.push_back(connection.token);
                }
                self.wait_for_more(connection);
                self.stopping.is_none() || self.stays(connection)
            }
            Step::Request(arrived) => match self.judge(connection) {
                Ok(scheme) => {
                    let head_length = arrived.head_length;
                    self.serve(connection, arrived, scheme);
                    self.after_request(connection, head_length)
                }
                Err(reject) => self.reject(connection, &reject),
            },
            Step::Refuse(reject) => self.reject(connection, &reject),
            Step::Spill(error) => {
                let directory = self.setup.spill_directory.display();
                tracing::error!(%error, %directory, "cannot keep a request body");
                self.refuse(connection, 500)
            }
        }
    }

    /// Sets the deadline of what has begun. A head is to be whole within its time from the first byte, however it dribbles.
    fn wait_for_more(&self, connection: &mut Connection) {
        match connection.stage {
            Stage::Idle if !connection.input.is_empty() => {
                connection.stage = Stage::Head;
                connection.deadline = in_time(self.setup.head_timeout.unwrap_or(Duration::MAX));
            }
            Stage::Body(_) => connection.deadline = in_time(self.setup.body_timeout.unwrap_or(Duration::MAX)),
            Stage::Idle | Stage::Head | Stage::Flushing { .. } | Stage::Lingering { .. } => {}
        }
    }

    /// What the client, or a proxy that is believed, says about the request.
    fn judge(&self, connection: &Connection) -> Result<Scheme, Reject> {
        let (request, peer) = (connection.head.of(&connection.input), connection.peer.ip());
        forwarded::check_names(request, peer, &self.setup.trust)?;
        forwarded::scheme(request, peer, &self.setup.trust)
    }

    fn serve(&mut self, connection: &mut Connection, arrived: Arrived, scheme: Scheme) {
        let Arrived { head_length, body, body_length, streamed } = arrived;
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
            streamed,
            failure_status: None,
            peer: &connection.peer,
            scheme,
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
            error_pages: &self.setup.error_pages,
            allowance: &self.setup.allowance,
            slot: &self.setup.slot,
            state: State::Open,
            body_bytes: 0,
        };
        exchange.head.clear();
        if catch_unwind(AssertUnwindSafe(|| self.app.call(&mut exchange))).is_err() {
            exchange.fail();
        }
        connection.answered = exchange.state;
        let (body_bytes, streamed) = (exchange.body_bytes, exchange.streamed.take());
        self.setup.slot.end();
        match streamed.map(|streamed| streamed.into_rest()) {
            None => {}
            Some(Some(rest)) => connection.input.extend_from_slice(&rest),
            // The rest of the body is in the way of whatever follows.
            Some(None) => connection.reading = Reading::More,
        }
        self.note(connection, body_bytes, Duration::from_nanos(clock::monotonic().saturating_sub(started)));
    }

    /// A line for the access log.
    fn note(&mut self, connection: &Connection, body_bytes: u64, elapsed: Duration) {
        let Some((log, format)) = &mut self.setup.access else { return };
        let address = connection.peer.to_string();
        let record = AccessRecord {
            request: connection.head.so_far(&connection.input),
            response: &self.response,
            remote_addr: &address,
            body_bytes: Some(body_bytes),
            time_text: self.texts.access_time(),
            elapsed,
            pid: self.pid,
        };
        self.line.clear();
        format.render(&record, &mut self.line);
        log.append(&self.line);
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
        if connection.output.is_empty() {
            return self.after_response(connection, keep_alive);
        }
        let patience = Patience::new(in_time(Duration::ZERO), connection.output.outstanding(connection.stream.as_fd()));
        connection.stage = Stage::Flushing { keep_alive, patience };
        if connection.output.has_file() {
            self.ready.push_back(connection.token);
        }
        connection.deadline = in_time(self.setup.allowance.stall.unwrap_or(GRACE).min(GRACE));
        true
    }

    /// All of a response is with the kernel.
    fn after_response(&mut self, connection: &mut Connection, keep_alive: bool) -> bool {
        let ends = self.stopping.is_some() && !self.retiring;
        if !keep_alive || (ends && connection.input.is_empty()) {
            // What came while the application ran has not been seen. Closing with unread bytes makes the kernel reset the
            // connection, and drop what it has not sent yet.
            let unread = !connection.input.is_empty() || socket::has_unread(connection.stream.as_fd());
            return unread && self.linger(connection);
        }
        if !connection.input.is_empty() || connection.reading == Reading::More {
            self.ready.push_back(connection.token);
        } else if connection.reading == Reading::Ended {
            return false;
        }
        let kept = if self.retiring { self.setup.lame_duck } else { self.setup.keep_alive };
        connection.deadline = in_time(kept);
        true
    }

    fn reject(&mut self, connection: &mut Connection, reject: &Reject) -> bool {
        let (status, hint) = (reject.status(), reject.hint());
        tracing::warn!(peer = %connection.peer, status, reason = %reject, hint, "request refused");
        self.refuse(connection, reject.status())
    }

    fn refuse(&mut self, connection: &mut Connection, status: u16) -> bool {
        connection.output = Output::default();
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        let (date, page) = (self.texts.date(), self.setup.error_pages.of(status));
        let request = connection.head.so_far(&connection.input);
        let body_bytes = error_response(&mut connection.output.bytes, status, date, request, page.as_ref());
        let flushed = connection.output.flush(connection.stream.as_fd()).is_ok() && connection.output.is_empty();
        connection.output = Output::default();
        self.response.start_error(status);
        self.note(connection, body_bytes, Duration::ZERO);
        flushed && self.linger(connection)
    }

    fn linger(&mut self, connection: &mut Connection) -> bool {
        connection.input.clear();
        socket::finish_writing(connection.stream.as_fd());
        let until = in_time(LINGER);
        connection.stage = Stage::Lingering { until };
        connection.deadline = in_time(self.setup.lingering);
        self.drop_rest(connection, until)
    }

    fn drop_rest(&mut self, connection: &mut Connection, until: Millis) -> bool {
        borrow(&mut connection.input, &mut self.spare_input);
        let read = connection.read();
        connection.input.clear();
        match read {
            Read::Closed => false,
            Read::Nothing => true,
            Read::Bytes { more, .. } => {
                if more || connection.end_told {
                    self.ready.push_back(connection.token);
                }
                if self.stopping.is_none() {
                    connection.deadline = in_time(self.setup.lingering).min(until);
                }
                connection.deadline > in_time(Duration::ZERO)
            }
        }
    }

    pub(super) fn time_is_up(&mut self, connection: &mut Connection) -> bool {
        if let Stage::Flushing { patience, .. } = &mut connection.stage {
            let outstanding = connection.output.outstanding(connection.stream.as_fd());
            let verdict = patience.look(in_time(Duration::ZERO), outstanding, &self.setup.allowance);
            if let Verdict::Until(at) = verdict {
                connection.deadline = at;
                return true;
            }
            let peer = connection.peer;
            tracing::info!(%peer, ?verdict, "client does not take its response, the connection is closed");
            return false;
        }
        // A request that came this instant is served, not cut off.
        if connection.is_idle() && socket::has_unread(connection.stream.as_fd()) {
            return self.receive(connection);
        }
        let begun = matches!(connection.stage, Stage::Head | Stage::Body(_));
        if begun {
            tracing::info!(peer = %connection.peer, "client sent no whole request in time");
        }
        begun && self.refuse(connection, 408)
    }
}

/// How long the rest of what a client sends is dropped, and how long it may send nothing meanwhile. nginx: 30 s and 5 s.
/// gunicorn: 2 s or 64 KiB, less than any upload, because it blocks for it; here nobody waits.
const LINGER: Duration = Duration::from_secs(30);
