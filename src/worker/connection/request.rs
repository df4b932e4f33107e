//! A whole request on its way to the application, and what came of it on its way back. One value each way.

use super::body_budget::Charge;
use super::request_body::Body;
use super::streamed_body::StreamedBody;
use crate::http::response::Transfer;
use crate::http::{Head, Limits, Progress, Reject, Request, Scheme, lenient};

/// The protocol that a connection speaks: bytes in, a head out. What a head says is a [`Request`] whatever the
/// protocol, for the environ, the access log, the hooks and the handoff alike.
pub(crate) enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http1(Head),
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol::Http1(Head::default())
    }
}

impl Protocol {
    /// Looks for a whole head at the front of `input`, and returns its length in bytes, with the request; `None` while more
    /// is to come. What was known of the request before is forgotten at the first look at a new one.
    pub(crate) fn parse<'a>(
        &'a mut self,
        input: &'a mut Vec<u8>,
        limits: &Limits,
        is_first_look: bool,
    ) -> Result<Option<(usize, Request<'a>)>, Reject> {
        match self {
            Protocol::Http1(head) => {
                if is_first_look {
                    head.reset();
                }
                match lenient::parse(head, input, limits)? {
                    Progress::Complete { used } => Ok(Some((used, head.of(input)))),
                    Progress::NeedMore => Ok(None),
                }
            }
        }
    }

    /// Returns the request whose head was found at the front of `input`.
    pub(crate) fn request<'a>(&'a self, input: &'a [u8]) -> Request<'a> {
        match self {
            Protocol::Http1(head) => head.of(input),
        }
    }

    /// Returns what is known of a request whose head may not be whole.
    pub(crate) fn request_so_far<'a>(&'a self, input: &'a [u8]) -> Option<Request<'a>> {
        match self {
            Protocol::Http1(head) => head.so_far(input),
        }
    }
}

/// A request as a protocol has parsed it. Its head is at the front of the connection's input, where
/// [`Protocol::request`] reads it.
pub(crate) struct ParsedRequest {
    /// Length of the head in the connection's input.
    pub(crate) head_length: usize,
    /// Length of the body that follows the head in the connection's input; `body` is empty then.
    pub(crate) body_in_input: usize,
    pub(crate) body: Body<'static>,
    pub(crate) body_length: Option<u64>,
    /// A body that is still to be received. Boxed: nearly no request has one.
    pub(crate) streamed: Option<Box<StreamedBody>>,
    /// The body's share of the worker's memory and files, until the request is answered.
    pub(crate) charge: Option<Charge>,
}

impl ParsedRequest {
    /// A request whose body is `body`, of `body_length` bytes if that is known.
    pub(crate) fn new(head_length: usize, body: Body<'static>, body_length: Option<u64>) -> ParsedRequest {
        ParsedRequest { head_length, body_in_input: 0, body, body_length, streamed: None, charge: None }
    }

    /// Returns how many bytes of the connection's input belong to the request.
    pub(crate) fn length(&self) -> usize {
        self.head_length + self.body_in_input
    }
}

/// A whole request that a thread is to have answered: the one value that goes to the application's side. It stands in its
/// connection while no thread is free.
pub(crate) struct PendingRequest {
    pub(crate) parsed: ParsedRequest,
    /// The scheme by which the client came.
    pub(crate) scheme: Scheme,
    /// True if the worker would keep the connection after it.
    pub(crate) keep_alive: bool,
    /// The value of the `Date` field.
    pub(crate) date: [u8; 29],
    /// The moment when a thread took it, in ns of the monotonic clock; 0 before.
    pub(crate) started: u64,
}

/// The outcome of a request: the one value that comes back from the application's side.
pub(crate) struct Outcome {
    pub(crate) response: ResponseState,
    /// Length of the request in the connection's input.
    pub(crate) length: usize,
    /// Length of the response's body, as the application gave it.
    pub(crate) body_bytes: u64,
    /// A body that was received while the application ran.
    pub(crate) streamed: Option<Box<StreamedBody>>,
    /// The moment when a thread took the request, in ns of the monotonic clock.
    pub(crate) started: u64,
}

/// The state of the response to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseState {
    /// Nothing was sent.
    Open,
    /// The head is out; this is how the body goes.
    Sending {
        transfer: Transfer,
        /// True if the head says that the connection stays.
        keep_alive: bool,
    },
    /// All is out.
    Finished {
        /// True if the head said that the connection stays.
        keep_alive: bool,
    },
    /// The response cannot be completed: the connection is closed without a terminator, so that the client does not
    /// take it for whole.
    Broken,
    /// The application has hijacked the connection, and is done with it. Its last bytes may be on their way.
    Hijacked {
        /// True if a thread carries what is said, and ends the connection.
        is_relayed: bool,
    },
}
