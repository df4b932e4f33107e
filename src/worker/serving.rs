//! What a worker does with one connection: read, serve what is complete, see the response off, refuse, linger. When a
//! connection's turn comes is the loop's business.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::sys::epoll::EpollFlags;

use super::Application;
use super::body::Body;
use super::connection::{BodyRules, Connection, Output, Reading, Stage, Step};
use super::event_loop::{HEAD_TIMEOUT, Worker, borrow, in_time};
use super::exchange::{Exchange, State};
use crate::http::access_log::AccessRecord;
use crate::http::error_response;
use crate::http::response::ResponseTo;
use crate::os::clock;
use crate::os::socket::{self, Read};

impl<A: Application, F: FnOnce()> Worker<'_, A, F> {
    pub(super) fn connection_event(&mut self, connection: &mut Connection, flags: EpollFlags) -> bool {
        if let Stage::Flushing { keep_alive } = connection.stage {
            // Edge-triggered: what arrives meanwhile is not reported again.
            if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP) {
                connection.reading = Reading::More;
            }
            if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                return false;
            }
            let Ok(()) = connection.output.flush(connection.stream.as_fd()) else {
                return false;
            };
            connection.deadline = in_time(SEND_STALL);
            if !connection.output.is_empty() {
                return true;
            }
            connection.stage = Stage::Idle;
            return self.after_response(connection, keep_alive);
        }
        self.receive(connection)
    }

    /// Reads once and serves what is complete.
    pub(super) fn receive(&mut self, connection: &mut Connection) -> bool {
        match connection.stage {
            Stage::Flushing { .. } => return true,
            Stage::Lingering { left } => return self.drop_rest(connection, left),
            Stage::Idle | Stage::Head | Stage::Body(_) => {}
        }
        borrow(&mut connection.input, &mut self.spare_input);
        connection.reading = match connection.read() {
            Read::Closed => Reading::Ended,
            Read::Bytes { more: true, .. } => Reading::More,
            Read::Bytes { .. } | Read::Nothing => Reading::Drained,
        };
        self.serve_received(connection)
    }

    pub(super) fn serve_received(&mut self, connection: &mut Connection) -> bool {
        if matches!(connection.stage, Stage::Flushing { .. } | Stage::Lingering { .. }) {
            return self.receive(connection);
        }
        if connection.input.is_empty() && connection.reading == Reading::More {
            return self.receive(connection);
        }
        let rules = BodyRules {
            limits: &self.setup.limits,
            post_buffering: self.setup.post_buffering,
            directory: &self.setup.spill_directory,
        };
        match connection.step(&rules, self.app) {
            Step::Wait if connection.reading == Reading::Ended => false,
            Step::Wait => {
                if connection.reading == Reading::More {
                    self.ready.push_back(connection.token);
                }
                wait_for_more(connection);
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

    fn serve(&mut self, connection: &mut Connection, head_length: usize, body: Body, body_length: Option<u64>) {
        self.count_request();
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        let keep_alive = self.stopping.is_none() && !self.setup.keep_alive.is_zero();
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
        self.note(connection, body_bytes, started);
    }

    /// A line for the access log.
    fn note(&mut self, connection: &Connection, body_bytes: u64, started: u64) {
        let Some((log, format)) = &mut self.setup.access else { return };
        let address = connection.peer.to_string();
        let record = AccessRecord {
            request: Some(connection.head.of(&connection.input)),
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
        connection.stage = Stage::Flushing { keep_alive };
        connection.deadline = in_time(SEND_STALL);
        true
    }

    /// All of a response is with the kernel.
    fn after_response(&mut self, connection: &mut Connection, keep_alive: bool) -> bool {
        if !keep_alive || (self.stopping.is_some() && connection.input.is_empty()) {
            let unread = !connection.input.is_empty() || connection.reading == Reading::More;
            return unread && self.linger(connection);
        }
        if !connection.input.is_empty() || connection.reading == Reading::More {
            self.ready.push_back(connection.token);
        } else if connection.reading == Reading::Ended {
            return false;
        }
        connection.deadline = in_time(self.setup.keep_alive);
        true
    }

    fn refuse(&mut self, connection: &mut Connection, status: u16) -> bool {
        connection.output.bytes.clear();
        borrow(&mut connection.output.bytes, &mut self.spare_output);
        let request = connection.head.so_far(&connection.input);
        error_response(&mut connection.output.bytes, status, self.texts.date(), request, None);
        let flushed = connection.output.flush(connection.stream.as_fd()).is_ok() && connection.output.is_empty();
        connection.output = Output::default();
        flushed && self.linger(connection)
    }

    fn linger(&mut self, connection: &mut Connection) -> bool {
        connection.input.clear();
        socket::finish_writing(connection.stream.as_fd());
        connection.stage = Stage::Lingering { left: LINGER_BYTES };
        connection.deadline = in_time(LINGER);
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

    pub(super) fn time_is_up(&mut self, connection: &mut Connection) -> bool {
        let begun = matches!(connection.stage, Stage::Head | Stage::Body(_));
        if begun {
            tracing::info!(peer = %connection.peer, "client sent no whole request in time");
        }
        begun && self.refuse(connection, 408)
    }
}

/// Sets the deadline of what has begun. A head is to be whole within its time from the first byte, however it dribbles.
fn wait_for_more(connection: &mut Connection) {
    match connection.stage {
        Stage::Idle if !connection.input.is_empty() => {
            connection.stage = Stage::Head;
            connection.deadline = in_time(HEAD_TIMEOUT);
        }
        Stage::Body(_) => connection.deadline = in_time(BODY_TIMEOUT),
        Stage::Idle | Stage::Head | Stage::Flushing { .. } | Stage::Lingering { .. } => {}
    }
}

/// Between two pieces of a body. nginx `client_body_timeout`: 60 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes no bytes of a buffered response. nginx `send_timeout`: 60 s.
const SEND_STALL: Duration = Duration::from_secs(60);
/// gunicorn lingers 2 s or 64 KiB, and blocks for it; here nobody waits.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;
