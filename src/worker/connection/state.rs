//! Every transition of a connection.
//!
//! ```text
//! accepted --TLS--> Handshake --done--.
//!     '-----------------------------> Idle --first byte--> Head --head whole, with a body--> Body
//!                                      ^                    |                                 |
//!                                      |                    '---------- request whole --------'
//!                                      |                                       v
//!      Sending --all is with the kernel|            Answering <--a thread-- Whole (it waits while no thread is free)
//!         ^                            |                |
//!         '---the client is slow-------+--- answered ---'
//!
//! any --refused, or not kept with bytes unread--> Lingering --end, silence, or too long--> closed
//! ```
//!
//! | stage | the deadline is that of | once it is over |
//! |---|---|---|
//! | `Handshake` | the head, from the accept | closed |
//! | `Idle` | the head on a fresh connection, `keepalive` on a kept one | closed |
//! | `Head` | the head: from the accept on a fresh connection, from its first byte on a kept one | 408 |
//! | `Body` | the next piece of the body, at the least rate | 408 |
//! | `Body` that waits for room | the wait | 503 |
//! | `Whole` | the queue | 503 |
//! | `Sending` | the next look at what the client takes | closed, if it takes too little |
//! | `Lingering` | the next piece, and all of them | closed |
//!
//! Bytes that have come by then are read first.

use std::io;
use std::mem;
use std::path::Path;
use std::time::Duration;

use super::Connection;
use super::body_budget::Charge;
use super::context::{Drain, Entry, ServeContext};
use super::event::{Activity, Event, Next, Readiness, Standing, Work};
use super::request::{Outcome, ParsedRequest, PendingRequest, ResponseState};
use super::request_body::{Body, BodyProgress, READ_SIZE, Receiving, Refusal};
use super::send_buffer::SendBuffer;
use super::send_queue::Flushed;
use super::send_timeout::{GRACE, SendTimeout, Verdict};
use super::streamed_body::StreamedBody;
use super::tls_handshake::{Preface, SPEAKS_TLS};
use crate::http::access_log::EnvironValues;
use crate::http::response::ResponseHead;
use crate::http::{BodyDecoder, BodyLength, CONTINUE, ErrorPage, Reject, Scheme};
use crate::os::heap;
use crate::os::socket::Read;
use crate::tls::{Fault, Shaken};
use crate::worker::millis::{Millis, after, after_some};
use crate::worker::responder::Responder;

/// The state of a connection's reading. Edge-triggered: the kernel says once that there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing, until the kernel says so.
    Drained,
    /// There may be further bytes, or the end.
    More,
    /// The client will send no more.
    Ended,
}

/// The stage of a connection.
pub(super) enum Stage {
    /// Before all requests, with TLS; how far that was when it was last gone on with, and whether the client has begun.
    Handshake { shaken: Shaken, has_begun: bool },
    /// Before the first byte of a request.
    Idle,
    /// Inside a head.
    Head,
    /// The head is whole; this is its body.
    Body(Box<Receiving>),
    /// The request is whole, and no thread has it yet.
    Whole(PendingRequest),
    /// A thread has the request.
    Answering,
    /// The rest of a response waits for the client.
    Sending { keep_alive: bool, timeout: SendTimeout },
    /// The response is out and the sending side closed. The rest is read and dropped, so that the kernel does not
    /// answer it with a reset that would take the response along (RFC 9112, 9.6).
    Lingering { until: Millis },
}

impl Connection {
    /// Takes an event. Returns what the connection wants next, and how it stands then.
    pub(crate) fn on(&mut self, event: Event, context: &mut ServeContext<'_>) -> (Next, Standing) {
        let next = self.take(event, context);
        if let Next::Wait | Next::Again = next {
            fit(&mut self.input, &mut context.spare_input);
            take_back(&mut self.input, &mut context.spare_input);
            take_back(&mut self.output.bytes, &mut context.spare_output);
        }
        let writes = !self.output.is_empty() || self.stream.has_sealed();
        let asks_for_room = mem::take(&mut self.asks_for_room);
        (
            next,
            Standing { activity: self.activity(), since: self.since, deadline: self.deadline, writes, asks_for_room },
        )
    }

    fn take(&mut self, event: Event, context: &mut ServeContext<'_>) -> Next {
        match event {
            Event::Ready(readiness) => self.ready(readiness, context),
            Event::Turn => self.turn(context),
            // A connection that was handed off brings its request along.
            Event::Begun if !self.input.is_empty() => self.advance(context),
            Event::Begun => self.receive(context),
            Event::Deadline if self.deadline > context.now => Next::Wait,
            Event::Deadline => self.deadline_over(context),
            Event::Look => self.look_again(),
            Event::Missed(readiness) => {
                self.end_told |= readiness.has(Readiness::END);
                self.look_again()
            }
            Event::NoThread(mut request) => {
                let is_kept = self.hold_input(&mut request.parsed, context);
                self.stage = Stage::Whole(request);
                if !is_kept {
                    return self.refuse_for(Refusal::Memory, context);
                }
                let since = *self.waits_since.get_or_insert(context.now);
                self.deadline = after_some(since, context.rules.timeouts.queue);
                Next::Wait
            }
            Event::Unblocked(done) => self.unblocked(done, context),
            Event::Buffer(buffer) => {
                if let Stage::Body(receiving) = &mut self.stage {
                    receiving.give(buffer);
                }
                self.advance(context)
            }
            Event::Room => self.room_is_free(context),
            Event::Answered(outcome) => self.answered(outcome, context),
        }
    }

    /// Has a body that came with its head take memory while it waits. False if there is none.
    fn hold_input(&self, parsed: &mut ParsedRequest, context: &ServeContext<'_>) -> bool {
        if parsed.body_in_input == 0 || parsed.charge.is_some() {
            return true;
        }
        let mut charge = Charge::new(&context.rules.budget);
        let is_held = charge.overdraw(self.input.len());
        parsed.charge = Some(charge);
        is_held
    }

    /// Has the deadline be at `moment` at the latest.
    pub(crate) fn limit(&mut self, moment: Millis) {
        self.deadline = self.deadline.min(moment);
    }

    /// Returns its request that waits for a thread, for a thread that is free.
    pub(crate) fn take_waiting(&mut self) -> Option<PendingRequest> {
        match mem::replace(&mut self.stage, Stage::Answering) {
            Stage::Whole(request) => Some(request),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Does what may wait for a disk, or computes for long: keeps a body in a file, sends a part of one, goes on with a
    /// handshake. The caller holds no lock.
    pub(crate) fn block(&mut self, spill_directory: &Path) -> io::Result<Flushed> {
        match &mut self.stage {
            Stage::Handshake { shaken, has_begun } => {
                *has_begun |= self.stream.has_unread();
                *shaken = self.stream.shake_hands();
                Ok(Flushed::All)
            }
            Stage::Body(receiving) => receiving.spill(spill_directory).map(|()| Flushed::All),
            _ => self.output.flush(&self.stream),
        }
    }

    /// Gives its buffers back at its end.
    pub(crate) fn give_back(&mut self, context: &mut ServeContext<'_>) {
        self.input.clear();
        self.output.bytes.clear();
        take_back(&mut self.input, &mut context.spare_input);
        take_back(&mut self.output.bytes, &mut context.spare_output);
    }

    fn look_again(&mut self) -> Next {
        if self.reading == Reading::Drained {
            self.reading = Reading::More;
        }
        Next::Again
    }

    fn ready(&mut self, readiness: Readiness, context: &mut ServeContext<'_>) -> Next {
        let ends_now = readiness.has(Readiness::END) && !self.end_told;
        self.end_told |= ends_now;
        let is_broken = readiness.has(Readiness::BROKEN);
        match &self.stage {
            Stage::Whole(_) => {
                // Edge-triggered: what arrives meanwhile is not reported again.
                self.reading = Reading::More;
                let has_left = ends_now && context.now >= self.waits_since.unwrap_or(0).saturating_add(HALF_CLOSED);
                if has_left || is_broken {
                    tracing::info!(peer = %self.origin.peer, "client left before its request had its turn");
                    return Next::Close;
                }
                Next::Wait
            }
            Stage::Sending { .. } => {
                if readiness.has(Readiness::READ) || readiness.has(Readiness::END) {
                    self.reading = Reading::More;
                }
                if is_broken { Next::Close } else { self.flush(context) }
            }
            // A 100 that found the socket full goes first.
            _ if !self.output.bytes.is_empty() && self.output.flush(&self.stream).is_err() => Next::Close,
            _ => self.receive(context),
        }
    }

    fn turn(&mut self, context: &mut ServeContext<'_>) -> Next {
        match self.stage {
            Stage::Idle if !self.input.is_empty() => self.advance(context),
            Stage::Sending { .. } => self.flush(context),
            // What was received has been looked at, and was not enough.
            _ => self.receive(context),
        }
    }

    fn unblocked(&mut self, done: io::Result<Flushed>, context: &mut ServeContext<'_>) -> Next {
        match (&self.stage, done) {
            (Stage::Handshake { .. }, _) => self.shaken(context),
            (Stage::Sending { .. }, done) => self.flushed(&done, context),
            (_, Ok(_)) => self.advance(context),
            (_, Err(error)) => self.refuse_for(Refusal::Disk(error), context),
        }
    }

    /// Reads once and looks what is complete.
    fn receive(&mut self, context: &mut ServeContext<'_>) -> Next {
        match self.stage {
            Stage::Handshake { .. } => return self.shake_hands(context),
            Stage::Sending { .. } | Stage::Whole(_) | Stage::Answering => return Next::Wait,
            Stage::Lingering { until } => return self.drop_rest(until, context),
            Stage::Body(_) => {
                let next = self.receive_body(context);
                return next.unwrap_or_else(|refusal| self.refuse_for(refusal, context));
            }
            Stage::Idle | Stage::Head => {}
        }
        lend(&mut self.input, &mut context.spare_input);
        let read = self.stream.read(&mut self.input, READ_SIZE);
        if read == Read::NoMemory {
            return self.refuse_for(Refusal::Memory, context);
        }
        self.note_read(read);
        self.advance(context)
    }

    fn note_read(&mut self, read: Read) {
        self.reading = match read {
            Read::Closed => Reading::Ended,
            Read::Bytes { more, .. } if more || self.end_told => Reading::More,
            Read::Bytes { .. } | Read::Nothing | Read::NoMemory => Reading::Drained,
        };
    }

    /// Reads a piece of a body, if there is room for it.
    fn receive_body(&mut self, context: &mut ServeContext<'_>) -> Result<Next, Refusal> {
        let Stage::Body(receiving) = &mut self.stage else { return Ok(Next::Wait) };
        if !receiving.admits() {
            return Ok(self.wait_for_room(context));
        }
        let mut spare = mem::take(&mut context.spare_input);
        let read = receiving.read(&self.stream, &mut spare);
        let has_memory = heap::try_reserve(&mut self.input, spare.len()).is_ok();
        if has_memory {
            self.input.extend_from_slice(&spare);
        }
        spare.clear();
        context.spare_input = spare;
        let read = if has_memory { read? } else { return Err(Refusal::Memory) };
        let count = if let Read::Bytes { count, .. } = read { count } else { 0 };
        let is_slow = !receiving.rate().received(context.now, count);
        self.note_read(read);
        // Bytes that have come by now and are not read yet count as well.
        if is_slow && self.reading == Reading::Drained {
            return Ok(self.too_slow(context));
        }
        self.take_body(context)
    }

    /// Reads nothing of the body until there is room for it.
    fn wait_for_room(&mut self, context: &ServeContext<'_>) -> Next {
        self.reading = Reading::More;
        let Stage::Body(receiving) = &mut self.stage else { return Next::Wait };
        if !receiving.waits_for_room {
            receiving.waits_for_room = true;
            self.asks_for_room = true;
            self.deadline = after(context.now, context.rules.timeouts.receive.stall.unwrap_or(ROOM));
        }
        Next::Wait
    }

    fn room_is_free(&mut self, context: &mut ServeContext<'_>) -> Next {
        if let Stage::Body(receiving) = &mut self.stage {
            receiving.waits_for_room = false;
            receiving.rate().resume(context.now);
        }
        self.receive(context)
    }

    /// Looks how far the bytes received reach.
    fn advance(&mut self, context: &mut ServeContext<'_>) -> Next {
        let next = match self.stage {
            Stage::Idle | Stage::Head => self.take_head(context),
            _ => self.take_body(context),
        };
        next.unwrap_or_else(|refusal| self.refuse_for(refusal, context))
    }

    fn take_head(&mut self, context: &mut ServeContext<'_>) -> Result<Next, Refusal> {
        let rules = context.rules;
        if self.origin.awaits_proxy && !self.take_proxy_header(&rules.proxy)? {
            return Ok(self.need_more(context));
        }
        let own = self.own_scheme();
        let is_first_look = matches!(self.stage, Stage::Idle);
        let parsed = self.protocol.parse(&mut self.input, &rules.limits, is_first_look)?;
        let Some((head_length, request)) = parsed else {
            return Ok(self.need_more(context));
        };
        if heap::is_short() {
            return Err(Refusal::Memory);
        }
        let length = request.body_length();
        if length == BodyLength::None {
            let responder = Responder::of(request, self.origin.peer.ip(), own, &rules.trust);
            return self.respond(responder, ParsedRequest::new(head_length, Body::Empty, None), context);
        }
        let (expects_continue, all) = (request.expects_continue(), self.input.len());
        if let (BodyLength::Known(found), Some(limit)) = (length, rules.limits.body) {
            if found > limit {
                return Err(Reject::BodyTooLarge { limit }.into());
            }
        }
        if rules.post_buffering == 0 {
            return self.stream_body(head_length, context);
        }
        // Sent at once, before any byte of the body: the client waits for it (RFC 9110, 10.1.1).
        if expects_continue && all == head_length {
            self.output.bytes.extend_from_slice(CONTINUE);
            let _ = self.output.flush(&self.stream);
        }
        let buffered = known(length).and_then(|length| usize::try_from(length).ok());
        let buffered = buffered.filter(|length| *length <= rules.post_buffering);
        if let Some(body_in_input) = buffered.filter(|length| *length <= all - head_length) {
            let parsed = ParsedRequest::new(head_length, Body::Empty, known(length));
            return self.whole(ParsedRequest { body_in_input, ..parsed }, context);
        }
        let mut receiving = Box::new(Receiving::new(head_length, length, rules, context.now));
        let taken = receiving.take_read(&mut self.input);
        self.stage = Stage::Body(receiving);
        taken?;
        self.take_body(context)
    }

    /// Hands a body over as far as it has been received.
    fn stream_body(&mut self, head_length: usize, context: &mut ServeContext<'_>) -> Result<Next, Refusal> {
        let rules = context.rules;
        let request = self.request();
        let (length, awaits_continue) = (request.body_length(), request.expects_continue());
        let received = self.input.split_off(head_length);
        let decoder = BodyDecoder::new(length, &rules.limits);
        let streamed = StreamedBody::new(decoder, received, awaits_continue, rules.timeouts.receive);
        let parsed = ParsedRequest::new(head_length, Body::Streamed, known(length));
        self.whole(ParsedRequest { streamed: Some(Box::new(streamed)), ..parsed }, context)
    }

    fn take_body(&mut self, context: &mut ServeContext<'_>) -> Result<Next, Refusal> {
        let Stage::Body(receiving) = &mut self.stage else { return Ok(self.need_more(context)) };
        match receiving.progress()? {
            BodyProgress::NeedMore => Ok(self.need_more(context)),
            BodyProgress::Whole { head_length, body, length, charge } => {
                let parsed = ParsedRequest::new(head_length, body, Some(length));
                self.whole(ParsedRequest { charge: Some(charge), ..parsed }, context)
            }
            BodyProgress::Spill => Ok(Next::Work(Work::Blocking)),
            BodyProgress::Buffer(length) => Ok(Next::Work(Work::Buffer(length))),
        }
    }

    /// A head is to be whole within its time, however it dribbles.
    fn need_more(&mut self, context: &mut ServeContext<'_>) -> Next {
        if self.reading == Reading::Ended {
            return Next::Close;
        }
        let timeouts = &context.rules.timeouts;
        match &mut self.stage {
            Stage::Idle if !self.input.is_empty() => {
                self.stage = Stage::Head;
                self.since = context.now;
                if self.has_served() {
                    self.deadline = after_some(context.now, timeouts.head);
                } else {
                    // It may have come long ago, and have waited to be accepted.
                    self.since = self.since.saturating_sub(self.stream.quiet_for());
                }
            }
            Stage::Body(receiving) => self.deadline = receiving.rate().deadline(),
            _ => {}
        }
        self.wait_or_close(context)
    }

    /// The request is whole: what answers it is chosen now.
    fn whole(&mut self, parsed: ParsedRequest, context: &mut ServeContext<'_>) -> Result<Next, Refusal> {
        let (peer, own) = (self.origin.peer.ip(), self.own_scheme());
        self.respond(Responder::of(self.request(), peer, own, &context.rules.trust), parsed, context)
    }

    fn respond(
        &mut self,
        responder: Responder,
        parsed: ParsedRequest,
        context: &mut ServeContext<'_>,
    ) -> Result<Next, Refusal> {
        match responder {
            Responder::Application(scheme) => {
                self.stage = Stage::Answering;
                lend(&mut self.output.bytes, &mut context.spare_output);
                let date = context.dates.date;
                let request = PendingRequest { parsed, scheme, keep_alive: false, date, started: 0 };
                Ok(Next::Work(Work::Request(request)))
            }
            Responder::Refusal(reject) => {
                self.stage = Stage::Head;
                Err(reject.into())
            }
        }
    }

    fn own_scheme(&self) -> Scheme {
        if self.stream.session().is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// The application has returned: what follows on the connection, if anything may.
    fn answered(&mut self, outcome: Outcome, context: &mut ServeContext<'_>) -> Next {
        self.answered = outcome.response;
        self.waits_since = None;
        let ResponseState::Finished { keep_alive } = self.answered else { return Next::Close };
        match outcome.streamed.map(|streamed| streamed.into_rest()) {
            Some(Some(rest)) => self.input.extend_from_slice(&rest),
            // The rest of the body is in the way of whatever follows.
            Some(None) => self.reading = Reading::More,
            None => {}
        }
        if self.input.len() == outcome.length {
            self.input.clear();
        } else {
            self.input.drain(..outcome.length);
        }
        if self.output.is_empty() {
            return self.response_sent(keep_alive, context);
        }
        let timeout = SendTimeout::new(context.now, self.output.outstanding(&self.stream));
        self.stage = Stage::Sending { keep_alive, timeout };
        self.deadline = after(context.now, context.rules.timeouts.send.stall.unwrap_or(GRACE).min(GRACE));
        if self.output.is_ready() { Next::Again } else { Next::Wait }
    }

    /// Sends more of a response that waits for its client.
    fn flush(&mut self, context: &mut ServeContext<'_>) -> Next {
        if self.output.is_long() {
            return Next::Work(Work::Blocking);
        }
        let flushed = self.output.flush(&self.stream);
        self.flushed(&flushed, context)
    }

    fn flushed(&mut self, flushed: &io::Result<Flushed>, context: &mut ServeContext<'_>) -> Next {
        match (flushed, &self.stage) {
            (Ok(Flushed::All), Stage::Sending { keep_alive, .. }) => {
                let keep_alive = *keep_alive;
                self.response_sent(keep_alive, context)
            }
            (Ok(Flushed::TurnOver), _) => Next::Again,
            (Ok(Flushed::Full), _) => Next::Wait,
            (Ok(Flushed::All) | Err(_), _) => Next::Close,
        }
    }

    /// All of a response is with the kernel.
    fn response_sent(&mut self, keep_alive: bool, context: &mut ServeContext<'_>) -> Next {
        self.stage = Stage::Idle;
        self.since = context.now;
        let ends = context.drain == Some(Drain::Stopping);
        if !keep_alive || (ends && self.input.is_empty()) {
            // What came while the application ran has not been seen. Closing with unread bytes makes the kernel reset
            // the connection, and drop what it has not sent yet.
            let unread = !self.input.is_empty() || self.stream.has_unread();
            return if unread { self.linger(context) } else { Next::Close };
        }
        let timeouts = &context.rules.timeouts;
        let is_last = context.drain == Some(Drain::Retiring);
        let limit = if is_last { timeouts.drain } else { timeouts.keep_alive };
        self.deadline = after(context.now, limit);
        match self.reading {
            _ if !self.input.is_empty() => Next::Again,
            Reading::More => Next::Again,
            Reading::Ended => Next::Close,
            Reading::Drained => Next::Wait,
        }
    }

    /// A worker that shuts down does not wait for every connection.
    fn wait_or_close(&mut self, context: &ServeContext<'_>) -> Next {
        if let Some(drain) = context.drain {
            if self.is_idle() || matches!(self.stage, Stage::Handshake { .. }) {
                let limit = if drain == Drain::Retiring { context.rules.timeouts.drain } else { FIRST_REQUEST };
                self.limit(after(context.now, limit));
                if drain == Drain::Stopping && self.has_served() {
                    return Next::Close;
                }
            }
        }
        if self.reading == Reading::More { Next::Again } else { Next::Wait }
    }

    /// A handshake can go on, unless a PROXY header may still come: in plain text, before all TLS.
    fn shake_hands(&mut self, context: &mut ServeContext<'_>) -> Next {
        lend(&mut self.input, &mut context.spare_input);
        self.reading = Reading::Drained;
        match self.pass_proxy_header(&context.rules.proxy) {
            Preface::Over => Next::Work(Work::Blocking),
            Preface::NeedMore => self.wait_or_close(context),
            Preface::Gone => Next::Close,
            Preface::Refused(reject) => {
                self.stream.fall_back();
                self.stage = Stage::Head;
                self.refuse_for(reject.into(), context)
            }
        }
    }

    /// The handshake has come as far as its client let it.
    fn shaken(&mut self, context: &mut ServeContext<'_>) -> Next {
        let Stage::Handshake { shaken, .. } = &mut self.stage else { return Next::Close };
        match mem::replace(shaken, Shaken::Waiting) {
            Shaken::Done => {
                self.stage = Stage::Idle;
                // The request may have come with the end of the handshake.
                self.receive(context)
            }
            Shaken::Waiting => self.wait_or_close(context),
            Shaken::Failed(Fault::Gone) => Next::Close,
            Shaken::Failed(Fault::Refused(error)) => {
                tracing::info!(peer = %self.origin.peer, %error, "TLS handshake failed");
                // What the client has sent since must not make the kernel drop what it was told.
                self.stream.fall_back();
                self.linger(context)
            }
            Shaken::Failed(Fault::Plain) => {
                self.stream.fall_back();
                self.stage = Stage::Head;
                self.reject(&Reject::NoTls, Some(&SPEAKS_TLS), context)
            }
        }
    }

    fn refuse_for(&mut self, refusal: Refusal, context: &mut ServeContext<'_>) -> Next {
        match refusal {
            Refusal::Rejected(reject) => self.reject(&reject, None, context),
            Refusal::Disk(error) => {
                let directory = context.rules.spill_directory.display();
                tracing::error!(%error, %directory, "cannot keep a request body");
                let passes = error.raw_os_error().is_some_and(|code| PASSING.contains(&code));
                self.refuse(if passes { 503 } else { 500 }, None, context)
            }
            Refusal::Memory => {
                tracing::warn!(peer = %self.origin.peer, "no memory for a request, answered 503");
                self.refuse(503, None, context)
            }
        }
    }

    fn reject(&mut self, reject: &Reject, page: Option<&ErrorPage<'_>>, context: &mut ServeContext<'_>) -> Next {
        let (status, hint) = (reject.status(), reject.hint());
        tracing::warn!(peer = %self.origin.peer, status, reason = %reject, hint, "request refused");
        self.refuse(status, page, context)
    }

    /// Answers with an error page: one of the server's own, else `page`.
    fn refuse(&mut self, status: u16, page: Option<&ErrorPage<'_>>, context: &mut ServeContext<'_>) -> Next {
        self.output = SendBuffer::default();
        self.stream.forget_unwritten();
        lend(&mut self.output.bytes, &mut context.spare_output);
        let request = self.protocol.request_so_far(&self.input);
        let body_bytes = context.error_page(&mut self.output.bytes, status, request, page);
        let flushed = self.output.flush(&self.stream).is_ok() && self.output.is_empty();
        self.output = SendBuffer::default();
        let mut response = ResponseHead::default();
        response.start_error(status);
        let (environ, remote_addr) = (EnvironValues::default(), self.origin.client_ip());
        let entry = Entry { request, response: &response, environ: &environ, remote_addr, body_bytes };
        context.note(&entry, None);
        // A connection takes memory, which may be short.
        if flushed && !heap::is_short() { self.linger(context) } else { Next::Close }
    }

    fn linger(&mut self, context: &mut ServeContext<'_>) -> Next {
        self.input.clear();
        self.stream.finish_writing();
        self.since = context.now;
        let until = after(context.now, LINGER);
        self.stage = Stage::Lingering { until };
        self.deadline = after(context.now, context.rules.timeouts.lingering);
        self.drop_rest(until, context)
    }

    fn drop_rest(&mut self, until: Millis, context: &mut ServeContext<'_>) -> Next {
        lend(&mut self.input, &mut context.spare_input);
        let read = self.stream.read(&mut self.input, READ_SIZE);
        self.input.clear();
        match read {
            Read::Closed | Read::NoMemory => Next::Close,
            Read::Nothing => Next::Wait,
            Read::Bytes { more, .. } => {
                if context.drain.is_none() {
                    self.deadline = after(context.now, context.rules.timeouts.lingering).min(until);
                }
                match self.deadline > context.now {
                    true if more || self.end_told => Next::Again,
                    true => Next::Wait,
                    false => Next::Close,
                }
            }
        }
    }

    fn deadline_over(&mut self, context: &mut ServeContext<'_>) -> Next {
        let peer = self.origin.peer;
        if let Stage::Sending { timeout, .. } = &mut self.stage {
            let outstanding = self.output.outstanding(&self.stream);
            let verdict = timeout.look(context.now, outstanding, &context.rules.timeouts.send);
            if let Verdict::Until(at) = verdict {
                self.deadline = at;
                return Next::Wait;
            }
            tracing::info!(%peer, ?verdict, "client does not take its response, the connection is closed");
            return Next::Close;
        }
        // What came this instant, or while the whole process stood still, is read and not cut off.
        let reads = match &self.stage {
            Stage::Body(receiving) => !receiving.waits_for_room,
            Stage::Idle | Stage::Head => true,
            _ => false,
        };
        if reads && self.stream.has_unread() {
            self.reading = Reading::More;
            self.deadline = context.now.saturating_add(LAST_LOOK);
            return Next::Again;
        }
        match &self.stage {
            Stage::Whole(_) => {
                tracing::warn!(%peer, "request waited too long for a free thread, answered 503");
                self.refuse(503, None, context)
            }
            Stage::Body(receiving) if receiving.waits_for_room => {
                let hint = "request_memory and spill_space allow for more of them";
                tracing::warn!(%peer, "no room for a request body in time, answered 503\nhint: {hint}");
                self.refuse(503, None, context)
            }
            Stage::Body(_) => self.too_slow(context),
            Stage::Head => {
                tracing::info!(%peer, "client sent no whole request in time");
                self.refuse(408, None, context)
            }
            Stage::Handshake { .. } => {
                tracing::info!(%peer, "client did not finish its TLS handshake in time");
                Next::Close
            }
            _ => Next::Close,
        }
    }
}

impl Connection {
    fn too_slow(&mut self, context: &mut ServeContext<'_>) -> Next {
        tracing::info!(peer = %self.origin.peer, "client sent its request body too slowly");
        self.refuse(408, None, context)
    }

    /// True if it has a buffer of the application's side, which only an attached thread can release.
    pub(crate) fn has_buffer(&self) -> bool {
        matches!(&self.stage, Stage::Body(receiving) if receiving.has_buffer())
    }

    /// True if what comes is dropped.
    pub(crate) fn lingers(&self) -> bool {
        matches!(self.stage, Stage::Lingering { .. })
    }

    /// Returns what the connection is doing.
    pub(super) fn activity(&self) -> Activity {
        match &self.stage {
            // What has come already gets its turn.
            Stage::Handshake { .. } | Stage::Idle if self.reading == Reading::More => Activity::Reading,
            Stage::Idle if !self.input.is_empty() => Activity::Reading,
            Stage::Handshake { has_begun: false, .. } => Activity::Silent,
            Stage::Idle if self.has_served() => Activity::Idle,
            Stage::Idle => Activity::Silent,
            Stage::Handshake { .. } | Stage::Head => Activity::Head,
            Stage::Body(_) => Activity::Reading,
            Stage::Whole(_) => Activity::Waiting,
            Stage::Answering => Activity::Application,
            Stage::Sending { .. } => Activity::Writing,
            Stage::Lingering { .. } => Activity::Idle,
        }
    }
}

/// Lends a connection without a buffer the spare one.
fn lend(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.capacity() == 0 {
        mem::swap(buffer, spare);
    }
}

/// Takes an empty buffer back. One that grew beyond what a usual request needs is freed.
fn take_back(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > 0 {
        let buffer = mem::take(buffer);
        if buffer.capacity() <= LARGEST_SPARE && buffer.capacity() > spare.capacity() {
            *spare = buffer;
        }
    }
}

/// Puts what waits for more into a buffer of its own size: a head, and maybe the begin of a body, of which a worker may
/// have ten thousand.
fn fit(buffer: &mut Vec<u8>, spare: &mut Vec<u8>) {
    if buffer.is_empty() || buffer.capacity() < 2 * buffer.len() + FITTING {
        return;
    }
    let mut fitting = Vec::new();
    if heap::try_reserve_exact(&mut fitting, buffer.len()).is_ok() {
        fitting.extend_from_slice(buffer);
        buffer.clear();
        take_back(buffer, spare);
        *buffer = fitting;
    }
}

fn known(length: BodyLength) -> Option<u64> {
    if let BodyLength::Known(length) = length { Some(length) } else { None }
}

/// A buffer that is larger by no more than this is kept as it is.
const FITTING: usize = 2 * 1024;
/// The largest buffer that is kept for the next request.
const LARGEST_SPARE: usize = 256 * 1024;
/// Errors of files that pass: there is no descriptor, no space or no memory now.
const PASSING: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT, libc::ENOMEM];
/// The longest wait for room for a body, if `client_body_timeout` is none.
const ROOM: Duration = Duration::from_secs(60);
/// Beyond its time, for what has come already: the next turn reads it.
const LAST_LOOK: Millis = 100;
/// The longest time for which the rest of a client's bytes is dropped. nginx: 30 s. gunicorn: 2 s or 64 KiB, less than
/// any upload, because it blocks for it; here no thread waits.
const LINGER: Duration = Duration::from_secs(30);
/// A client that ends its sending within this many milliseconds after its request has said all it had to say, and waits
/// for the answer; one that does so later has given up.
const HALF_CLOSED: Millis = 1000;
/// From a stop to the first request of a connection that is there already: a round trip across the world and a
/// handshake before it. Browsers open connections that they may never use, and the stop waits for them.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_millis(500);
