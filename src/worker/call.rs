//! One request on its way through the application: what is needed for it is taken along, so that nothing of the worker
//! is locked meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::body::Body;
use super::claim::Claim;
use super::connection::{Arrived, Connection, Reading};
use super::cork::{Cork, Pace};
use super::exchange::{Exchange, State};
use super::streamed::Streamed;
use super::{Allowance, Application, ErrorPages};
use crate::http::access_log::EnvironValues;
use crate::http::forwarded::Scheme;
use crate::http::response::{ResponseHead, ResponseTo};
use crate::os::clock;
use crate::os::scoreboard::Slot;

/// A request that is about to be answered.
pub(super) struct Call {
    pub(super) connection: Box<Connection>,
    pub(super) arrived: Arrived,
    pub(super) scheme: Scheme,
    /// May the connection be kept, as far as the worker is concerned?
    pub(super) keep_alive: bool,
    /// The value of the `Date` field.
    pub(super) date: [u8; 29],
    /// In ns of the monotonic clock.
    pub(super) started: u64,
}

/// A request that was answered.
pub(super) struct Served {
    pub(super) connection: Box<Connection>,
    /// Of what stands in the connection's input of it.
    pub(super) length: usize,
    pub(super) body_bytes: u64,
    /// In ns of the monotonic clock.
    pub(super) started: u64,
}

/// What a thread needs for one call after the other.
pub(super) struct Desk {
    pub(super) slot: Slot,
    pub(super) response: ResponseHead,
    /// Its number in the process, and among the worker's threads.
    pub(super) thread: i32,
    pub(super) number: usize,
    /// What the kernel holds back of its response.
    pub(super) cork: Arc<Cork>,
    /// When it last laid the interpreter down, in ns of the monotonic clock.
    pub(super) laid_down: u64,
    /// Does somebody want to know how busy it is?
    pub(super) is_measured: bool,
    /// What the application has left in its environ, as far as the access log wants it.
    pub(super) environ: EnvironValues,
}

impl Desk {
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
pub(super) struct Terms<'a> {
    pub(super) error_pages: &'a ErrorPages,
    pub(super) allowance: &'a Allowance,
    /// The worker has been told to end.
    pub(super) stopping: &'a AtomicBool,
    /// Who answers.
    pub(super) claim: &'a Claim,
    /// Nobody takes the bodies of responses.
    pub(super) drops_bodies: bool,
}

impl Call {
    /// Has the application answer it.
    pub(super) fn run<A: Application>(self, app: &A, desk: &mut Desk, terms: &Terms<'_>) -> Served {
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
            allowance: terms.allowance,
            slot: &desk.slot,
            stopping: terms.stopping,
            claim: terms.claim,
            state: State::Open,
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
        Served { connection, length, body_bytes, started }
    }
}

/// What follows the body of a request.
fn give_back(connection: &mut Connection, streamed: Streamed) {
    match streamed.into_rest() {
        Some(rest) => connection.input.extend_from_slice(&rest),
        // The rest of the body is in the way of whatever follows.
        None => connection.reading = Reading::More,
    }
}
