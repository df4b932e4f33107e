//! One request and its response, as the application's side sees them. It writes to the connection's socket and knows
//! how the response is delimited; it does not know the reactor.

mod bodiless;
pub(crate) mod body_reader;
pub(crate) mod call;
pub(crate) mod cork;
pub(crate) mod early_hints;
pub(crate) mod hijack;
pub(crate) mod own_request;
pub(crate) mod response_owner;
mod slow_client;

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use body_reader::BodyReader;
use call::CallTerms;
use cork::Pace;
use hijack::HijackedStream;

use super::Application;
use super::connection::Origin;
use super::connection::request::ResponseState;
use super::connection::request_body::Body;
use super::connection::send_buffer::SendBuffer;
use super::connection::send_queue::{LONG, SharedBody};
use super::connection::stream::Stream;
use crate::http::access_log::EnvironValues;
use crate::http::error_page::error_response;
use crate::http::response::{self, LAST_CHUNK, ResponseHead, ResponseTo, Transfer};
use crate::http::{Request, Scheme, imf_fixdate};
use crate::os::listener::Peer;
use crate::os::scoreboard::Slot;
use crate::os::socket::{self, More};
use crate::os::{clock, fork_guard, signal};

/// One request and the response that is being made of it.
pub struct Exchange<'c> {
    request: Request<'c>,
    received: Received<'c>,
    origin: &'c Origin,
    scheme: Scheme,
    head: &'c mut ResponseHead,
    /// Values of the environ for the access log.
    environ: &'c mut EnvironValues,
    stream: &'c Stream,
    output: &'c mut SendBuffer,
    to: ResponseTo,
    terms: &'c CallTerms<'c>,
    slot: &'c Slot,
    state: ResponseState,
    body_bytes: u64,
    pace: Pace<'c>,
    /// The connection, if the application has asked for its socket.
    hijacked: Option<Arc<HijackedStream>>,
}

/// The bytes that the client has sent beside the head.
struct Received<'c> {
    body: Body<'c>,
    body_length: Option<u64>,
    /// A body that is received while the application reads it.
    streamed: Option<Arc<BodyReader>>,
    /// The status of the error page, if it is not 500.
    failure_status: Option<u16>,
    /// The bytes behind the request.
    behind: &'c [u8],
}

/// The fate of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// They are in the kernel or in the bounded buffer.
    Accepted,
    /// The client takes no more; the application may stop.
    Gone,
}

impl Received<'_> {
    fn failure_status(&self) -> Option<u16> {
        self.failure_status.or_else(|| self.streamed.as_ref()?.failure())
    }
}

impl<'c> Exchange<'c> {
    /// Returns the request.
    pub fn request(&self) -> Request<'c> {
        self.request
    }

    /// Returns the request's body; the second call gets an empty one.
    pub fn take_body(&mut self) -> Body<'c> {
        std::mem::replace(&mut self.received.body, Body::Empty)
    }

    /// Returns the reader of a [`Body::Streamed`].
    pub fn body_reader(&self) -> Option<Arc<BodyReader>> {
        self.received.streamed.clone()
    }

    /// True if the body could not be read to its end.
    pub fn body_failed(&self) -> bool {
        self.received.failure_status().is_some()
    }

    /// Returns the body's length in bytes, if it is known.
    pub fn body_length(&self) -> Option<u64> {
        self.received.body_length
    }

    /// Returns the peer of the connection.
    pub fn peer(&self) -> &'c Peer {
        &self.origin.peer
    }

    /// Returns the scheme by which the client came.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The index of the listener in [`crate::worker::Setup::listeners`].
    pub fn listener(&self) -> usize {
        self.origin.listener
    }

    /// Returns the response's head, to be filled in before anything is sent.
    pub fn head(&mut self) -> &mut ResponseHead {
        self.head
    }

    /// Returns what the access log is to know of the environ, in the places of [`crate::worker::Worker::environ_keys`].
    pub fn environ(&mut self) -> &mut EnvironValues {
        self.environ
    }

    /// Returns how many bytes of the response's body the application has given.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// True if the head has been sent.
    pub fn is_begun(&self) -> bool {
        self.state != ResponseState::Open
    }

    /// Sends a piece of the body, the head before the first.
    pub fn send<A: Application>(&mut self, app: &A, piece: &[u8]) -> Delivery {
        self.deliver(app, piece, None, || None)
    }

    /// Sends all of the body in one piece, which `keep` may hold on to until the client has taken it.
    pub fn send_whole<A: Application>(
        &mut self,
        app: &A,
        piece: &[u8],
        keep: impl FnOnce() -> Option<Box<dyn SharedBody>>,
    ) -> Delivery {
        self.deliver(app, piece, Some(piece.len() as u64), keep)
    }

    fn deliver<A: Application>(
        &mut self,
        app: &A,
        piece: &[u8],
        known_length: Option<u64>,
        keep: impl FnOnce() -> Option<Box<dyn SharedBody>>,
    ) -> Delivery {
        fork_guard::end_if_forked();
        if self.state == ResponseState::Open {
            self.begin(known_length);
        }
        let ResponseState::Sending { transfer, keep_alive } = self.state else {
            return Delivery::Gone;
        };
        match transfer {
            Transfer::Nothing => self.flush(),
            Transfer::Length(left) => {
                let fitting = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                if fitting < piece.len() {
                    let surplus = piece.len() - fitting;
                    let path = self.request.path().escape_ascii();
                    tracing::error!(%path, surplus, "response longer than its Content-Length, the rest is dropped");
                }
                let transfer = Transfer::Length(left - fitting as u64);
                self.state = ResponseState::Sending { transfer, keep_alive };
                self.push(app, &piece[..fitting], b"", keep)
            }
            Transfer::UntilClose => self.push(app, piece, b"", keep),
            Transfer::Chunked if piece.is_empty() => self.flush(),
            Transfer::Chunked => {
                response::chunk_head(&mut self.output.bytes, piece.len() as u64);
                self.push(app, piece, b"\r\n", || None)
            }
        }
    }

    /// Sends `length` bytes of `file` from `offset` on as the body, or what fits the response's Content-Length. The
    /// kernel sends them while the application goes on; the file stays open for that.
    pub fn send_file<A: Application>(&mut self, app: &A, file: File, offset: u64, length: u64) -> Delivery {
        fork_guard::end_if_forked();
        if self.state == ResponseState::Open {
            self.begin(Some(length));
        }
        let ResponseState::Sending { transfer, keep_alive } = self.state else {
            return Delivery::Gone;
        };
        let fitting = match transfer {
            Transfer::Length(left) => left.min(length),
            Transfer::UntilClose => length,
            Transfer::Nothing | Transfer::Chunked => 0,
        };
        if let Transfer::Length(left) = transfer {
            self.state = ResponseState::Sending { transfer: Transfer::Length(left - fitting), keep_alive };
        }
        self.body_bytes += fitting;
        self.output.append_file(file, offset, fitting);
        app.detached(|| self.flush())
    }

    /// True if the kernel may send a file as the body: not once a chunked body has begun.
    pub fn takes_file(&self) -> bool {
        !matches!(self.state, ResponseState::Sending { transfer: Transfer::Chunked, .. })
    }

    /// Ends the response: the application has no more to say.
    pub fn finish(&mut self) {
        fork_guard::end_if_forked();
        if self.state == ResponseState::Open {
            self.begin(Some(0));
        }
        let ResponseState::Sending { transfer, keep_alive } = self.state else {
            return;
        };
        self.state = ResponseState::Finished { keep_alive };
        match transfer {
            Transfer::Length(missing) if missing > 0 => {
                let path = self.request.path().escape_ascii();
                tracing::error!(%path, missing, "response shorter than its Content-Length, the connection is closed");
                // What still waits for the client of a file or a kept body is sent; the early end tells that it is not
                // all.
                let waits = self.output.has_queue();
                self.state = if waits { ResponseState::Finished { keep_alive: false } } else { ResponseState::Broken };
            }
            Transfer::Chunked => self.output.bytes.extend_from_slice(LAST_CHUNK),
            _ => {}
        }
        if !self.output.bytes.is_empty() {
            self.send_last();
        }
        if transfer == Transfer::Chunked {
            self.pace.let_go();
        }
    }

    fn send_last(&mut self) {
        if self.output.has_queue() {
            self.output.begin_queue();
        } else {
            self.flush();
        }
    }

    /// The application has returned: nothing more is written by it.
    fn finish_call(&mut self) {
        self.pace.end(self.stream.as_fd());
        self.output.settle();
        if self.is_hijacked() {
            // Python has made it one that blocks.
            socket::never_block(self.stream.as_fd());
        }
    }

    /// Answers with an error page in the application's place.
    pub fn refuse(&mut self, status: u16) {
        self.received.failure_status = Some(status);
        self.fail();
    }

    /// Ends a response that went wrong: by an error page if nothing was sent yet, else the connection breaks off.
    pub fn fail(&mut self) {
        match self.state {
            ResponseState::Open => self.fail_unbegun(),
            ResponseState::Sending { transfer, .. } => {
                // What was made before is sent; the early end tells that it is not all.
                let waits = self.output.has_queue() && transfer != Transfer::UntilClose;
                self.state = if waits { ResponseState::Finished { keep_alive: false } } else { ResponseState::Broken };
            }
            // The client has its response, or will never have it.
            ResponseState::Finished { .. } | ResponseState::Broken | ResponseState::Hijacked { .. } => {}
        }
    }

    fn fail_unbegun(&mut self) {
        if !self.terms.owner.take() {
            return self.too_late();
        }
        let status = self.received.failure_status().unwrap_or(500);
        self.head.start_error(status);
        let page = self.terms.rules.error_pages.of(status);
        let date = imf_fixdate(clock::wall_seconds());
        self.body_bytes = error_response(&mut self.output.bytes, status, &date, Some(self.request), page.as_ref());
        self.state = ResponseState::Finished { keep_alive: false };
        self.flush();
    }

    /// Notes that the client was answered in the application's place, and its connection ended.
    #[cold]
    fn too_late(&mut self) {
        self.head.start_error(504);
        self.state = ResponseState::Broken;
    }

    fn begin(&mut self, known_length: Option<u64>) {
        if !self.terms.owner.take() {
            return self.too_late();
        }
        // What is not read by now may never be, and the next request stands behind it.
        if let Some(reader) = &self.received.streamed {
            reader.response_begins();
            self.to.keep_alive &= reader.is_done();
        }
        // The application could write to it meanwhile.
        self.to.keep_alive &= !self.is_hijacked();
        // Told to stop while the application ran: the client learns that the connection ends with this response.
        self.to.keep_alive &= !(self.terms.stopping.load(Ordering::Relaxed) || signal::is_noted());
        let begun = self.head.encode(&mut self.output.bytes, &self.to, known_length, &self.terms.date);
        self.state = ResponseState::Sending { transfer: begun.transfer, keep_alive: begun.keep_alive };
    }

    /// Sends `piece` and `end` behind what is pending. Small ones are copied, so that one call carries all. Where there
    /// is something to `keep`, there is no `end`, and nothing follows.
    fn push<A: Application>(
        &mut self,
        app: &A,
        mut piece: &[u8],
        mut end: &[u8],
        keep: impl FnOnce() -> Option<Box<dyn SharedBody>>,
    ) -> Delivery {
        self.body_bytes += piece.len() as u64;
        if self.output.has_queue() {
            return self.push_behind(app, [piece, end]);
        }
        let length = piece.len();
        let mut more = More::Ends;
        if piece.len() <= COPIED {
            self.output.bytes.extend_from_slice(piece);
            self.output.bytes.extend_from_slice(end);
            piece = b"";
            end = b"";
            // The last piece sends what came before.
            if !self.is_whole() && matches!(self.origin.peer, Peer::Tcp(_)) {
                more = self.pace.next(self.stream.as_fd());
            }
        }
        let (stream, output) = (self.stream, &mut *self.output);
        let written = if piece.len() > LONG {
            app.detached(|| output.write(stream, [piece, end], more))
        } else {
            output.write(stream, [piece, end], more)
        };
        let Ok(mut written) = written else { return self.gone() };
        if self.output.bytes.is_empty() && written == piece.len() + end.len() {
            return Delivery::Accepted;
        }
        consume(&mut piece, &mut written);
        consume(&mut end, &mut written);
        let memory = self.terms.rules.responses.memory;
        if piece.len() > COPIED && self.output.keep((length - piece.len(), length), memory, keep) {
            return Delivery::Accepted;
        }
        self.push_rest(app, [piece, end])
    }

    /// True if the application has sent all bytes that it announced.
    fn is_whole(&self) -> bool {
        matches!(self.state, ResponseState::Sending { transfer: Transfer::Length(0), .. })
    }

    fn flush(&mut self) -> Delivery {
        if self.output.flush(self.stream).is_err() { self.gone() } else { Delivery::Accepted }
    }

    fn gone(&mut self) -> Delivery {
        self.state = ResponseState::Broken;
        Delivery::Gone
    }
}

/// Waits for the client, detached. That is not the application's time.
fn waiting<A: Application, T>(slot: &Slot, app: &A, wait: impl FnOnce() -> T) -> T {
    let pause = slot.pause();
    let began = clock::monotonic();
    let ready = app.detached(wait);
    slot.resume(pause, clock::monotonic() - began);
    ready
}

/// Drops what was written from the front of `piece`, and from `written`.
fn consume(piece: &mut &[u8], written: &mut usize) {
    let taken = (*written).min(piece.len());
    *piece = &piece[taken..];
    *written -= taken;
}

/// Copying this much costs less than a second entry in the kernel's list of pieces.
const COPIED: usize = 4 * 1024;
