//! One call of the application: from a request that a thread has taken to its outcome. Nothing of the worker is locked
//! meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::body_reader::BodyReader;
use super::cork::{Cork, Pace};
use super::response_owner::ResponseOwner;
use super::{Exchange, Received};
use crate::http::access_log::EnvironValues;
use crate::http::response::{ResponseHead, ResponseTo};
use crate::os::clock;
use crate::os::scoreboard::Slot;
use crate::worker::Application;
use crate::worker::connection::Connection;
use crate::worker::connection::context::ServeRules;
use crate::worker::connection::request::{Outcome, ParsedRequest, PendingRequest, ResponseState};
use crate::worker::connection::request_body::Body;

/// The things that a thread needs for one call after the other.
pub(crate) struct ThreadContext {
    pub(crate) slot: Slot,
    pub(crate) response: ResponseHead,
    /// Values of the environ after the call, as far as the access log wants them.
    pub(crate) environ: EnvironValues,
    /// The number of the thread among those of the worker.
    pub(crate) number: usize,
    /// The number of the thread in the process.
    pub(crate) thread: i32,
    /// The bytes of its response that the kernel holds back.
    pub(crate) cork: Arc<Cork>,
    /// The moment when it was last detached, in ns of the monotonic clock.
    pub(crate) detached_at: u64,
    /// True if the scoreboard says how busy it is.
    pub(crate) is_measured: bool,
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

/// The terms of one call.
pub(crate) struct CallTerms<'a> {
    /// The rules by which connections are served.
    pub(crate) rules: &'a ServeRules,
    /// The value of the `Date` field.
    pub(crate) date: [u8; 29],
    /// Set when the worker has been told to end.
    pub(crate) stopping: &'a AtomicBool,
    /// The right to answer.
    pub(crate) owner: &'a ResponseOwner,
    /// True if the bodies of responses are dropped.
    pub(crate) drops_bodies: bool,
}

/// Has the application answer `request`, which came by `connection`.
pub(crate) fn call<A: Application>(
    app: &A,
    connection: &mut Connection,
    request: PendingRequest,
    context: &mut ThreadContext,
    terms: &CallTerms<'_>,
) -> Outcome {
    let PendingRequest { parsed, scheme, keep_alive, started, .. } = request;
    let length = parsed.length();
    // The body's charge ends with the call.
    let ParsedRequest { head_length, body_in_input, body, body_length, streamed, charge: _charge } = parsed;
    terms.owner.open(&connection.stream);
    context.begin(started, &connection.input[..head_length]);
    let request = connection.protocol.request(&connection.input);
    let body = if body_in_input > 0 { Body::Received(&connection.input[head_length..length]) } else { body };
    let behind = connection.input.get(length..).unwrap_or_default();
    let reader = streamed.map(|body| BodyReader::new(body, &connection.stream, &context.slot));
    let mut exchange = Exchange {
        request,
        received: Received { body, body_length, streamed: reader.clone(), failure_status: None, behind },
        origin: &connection.origin,
        scheme,
        head: &mut context.response,
        environ: &mut context.environ,
        stream: &connection.stream,
        output: &mut connection.output,
        to: ResponseTo {
            version: request.version(),
            head_only: request.is_head() || terms.drops_bodies,
            keep_alive: keep_alive && request.wants_keep_alive(),
        },
        terms,
        slot: &context.slot,
        state: ResponseState::Open,
        body_bytes: 0,
        pace: Pace::new(&context.cork),
        hijacked: None,
    };
    if catch_unwind(AssertUnwindSafe(|| app.call(&mut exchange))).is_err() {
        exchange.fail();
    }
    if exchange.pace.is_held || exchange.hijacked.is_some() {
        exchange.finish_call();
    }
    let (response, body_bytes) = (exchange.state, exchange.body_bytes);
    let streamed = reader.and_then(|reader| reader.end());
    context.end();
    Outcome { response, length, body_bytes, streamed, started }
}
