//! One request on its way through the application: what is needed for it is taken along, so that nothing of the worker
//! is locked meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::http::access_log::EnvironValues;
use crate::http::forwarded::Scheme;
use crate::http::response::{ResponseHead, ResponseTo};
use crate::os::clock;
use crate::os::scoreboard::Slot;
use crate::worker::connection::request_body::Body;
use crate::worker::connection::streamed_body::StreamedBody;
use crate::worker::connection::{Arrived, Connection, Reading};
use crate::worker::exchange::cork::{Cork, Pace};
use crate::worker::exchange::response_owner::ResponseOwner;
use crate::worker::exchange::{Exchange, ResponseState};
use crate::worker::{Application, ErrorPages, SendLimits};

/// A request that is about to be answered.
pub(crate) struct Call {
    pub(crate) connection: Box<Connection>,
    pub(crate) arrived: Arrived,
    pub(crate) scheme: Scheme,
    /// May the connection be kept, as far as the worker is concerned?
    pub(crate) keep_alive: bool,
    /// The value of the `Date` field.
    pub(crate) date: [u8; 29],
    /// In ns of the monotonic clock.
    pub(crate) started: u64,
}

/// A request that was answered.
pub(crate) struct Outcome {
    pub(crate) connection: Box<Connection>,
    /// Of what stands in the connection's input of it.
    pub(crate) length: usize,
    pub(crate) body_bytes: u64,
    /// In ns of the monotonic clock.
    pub(crate) started: u64,
}

/// What a thread needs for one call after the other.
pub(crate) struct ThreadContext {
    pub(crate) slot: Slot,
    pub(crate) response: ResponseHead,
    /// Its number in the process, and among the worker's threads.
    pub(crate) thread: i32,
    pub(crate) number: usize,
    /// What the kernel holds back of its response.
    pub(crate) cork: Arc<Cork>,
    /// When it last laid the interpreter down, in ns of the monotonic clock.
    pub(crate) laid_down: u64,
    /// Does somebody want to know how busy it is?
    pub(crate) is_measured: bool,
    /// What the application has left in its environ, as far as the access log wants it.
    pub(crate) environ: EnvironValues,
}

impl ThreadContext {
    fn begin(&mut self, started: u64, head: &[u8]) {
        self.response.clear();
        self.environ.clear();
        self.slot.begin(started, head);
        if self.is_measured {
            self.slot.enter(started);
        }
    }

    fn end(&self) {
        self.slot.end();
        if self.is_measured {
            self.slot.leave(clock::monotonic());
        }
    }
}

/// What is the same for every call of a thread.
pub(crate) struct Terms<'a> {
    pub(crate) error_pages: &'a ErrorPages,
    pub(crate) send_limits: &'a SendLimits,
    /// The worker has been told to end.
    pub(crate) stopping: &'a AtomicBool,
    /// Who answers.
    pub(crate) claim: &'a ResponseOwner,
    /// Nobody takes the bodies of responses.
    pub(crate) drops_bodies: bool,
}

impl Call {
    /// Has the application answer it.
    pub(crate) fn run<A: Application>(self, app: &A, desk: &mut ThreadContext, terms: &Terms<'_>) -> Outcome {
        let Call { mut connection, arrived, scheme, keep_alive, date, started } = self;
        let Arrived { head_length, beside, body, body_length, streamed } = arrived;
        let length = head_length + beside;
        let request = connection.head.of(&connection.input);
        let keep_alive = keep_alive && request.wants_keep_alive();
        terms.claim.open(&connection.stream);
        desk.begin(started, &connection.input[..head_length]);
        let mut exchange = Exchange {
            request,
            body: if beside > 0 { Body::Received(&connection.input[head_length..length]) } else { body },
            body_length,
            streamed,
            failure_status: None,
            peer: &connection.peer,
            proxied: connection.proxied.as_deref(),
            scheme,
            listener: connection.listener,
            head: &mut desk.response,
            environ: &mut desk.environ,
            stream: &connection.stream,
            output: &mut connection.output,
            to: ResponseTo {
                version: request.version(),
                head_only: request.is_head() || terms.drops_bodies,
                keep_alive,
            },
            date: &date,
            error_pages: terms.error_pages,
            send_limits: terms.send_limits,
            slot: &desk.slot,
            stopping: terms.stopping,
            claim: terms.claim,
            state: ResponseState::Open,
            body_bytes: 0,
            pace: Pace::new(&desk.cork),
            behind: connection.input.get(length..).unwrap_or_default(),
            handed: None,
        };
        if catch_unwind(AssertUnwindSafe(|| app.call(&mut exchange))).is_err() {
            exchange.fail();
        }
        exchange.come_back();
        let (answered, body_bytes, streamed) = (exchange.state, exchange.body_bytes, exchange.streamed.take());
        connection.answered = answered;
        desk.end();
        if let Some(streamed) = streamed {
            give_back(&mut connection, *streamed);
        }
        Outcome { connection, length, body_bytes, started }
    }
}

/// What follows the body of a request.
fn give_back(connection: &mut Connection, streamed: StreamedBody) {
    match streamed.into_rest() {
        Some(rest) => connection.input.extend_from_slice(&rest),
        // The rest of the body is in the way of whatever follows.
        None => connection.reading = Reading::More,
    }
}
