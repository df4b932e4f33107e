//! A streamed body, as the threads of the application read it, one at a time, while its request is under way. It has a handle
//! of its own on the connection, because a thread that waits for the client may outlive the request by a moment.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::waiting;
use crate::http::CONTINUE;
use crate::os::clock;
use crate::os::scoreboard::Slot;
use crate::os::socket::{self, More, Read};
use crate::worker::Application;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::streamed_body::{BodyError, StreamedBody};

/// The reader of one request's body.
pub struct BodyReader {
    state: Mutex<State>,
    stream: io::Result<Stream>,
    slot: Slot,
    /// The thread that serves the request.
    owner: ThreadId,
}

struct State {
    /// The body, until the request has ended.
    body: Option<Box<StreamedBody>>,
    /// The rest of the 100 that the client waits for.
    unsent: &'static [u8],
    /// True once the response has begun: a 100 comes too late.
    is_begun: bool,
    /// The status for the error that has come up.
    failure: Option<u16>,
}

impl BodyReader {
    /// Makes the reader of a body that comes by `stream`. The calling thread serves the request.
    pub(crate) fn new(body: Box<StreamedBody>, stream: &Stream, slot: &Slot) -> Arc<BodyReader> {
        let state = State { body: Some(body), unsent: b"", is_begun: false, failure: None };
        let (stream, slot, owner) = (stream.copy(), slot.clone(), thread::current().id());
        Arc::new(BodyReader { state: Mutex::new(state), stream, slot, owner })
    }

    /// Appends up to `most` bytes to `out`, none at the end. Waits for the client, detached.
    pub fn read<A: Application>(&self, app: &A, out: &mut Vec<u8>, most: usize) -> Result<(), BodyError> {
        while let Some(limit) = self.step(out, most)? {
            let is_ready = self.wait(app, limit)?;
            if !is_ready {
                return Err(self.lock().note(BodyError::Slow(limit)));
            }
        }
        Ok(())
    }

    /// Takes what is there. Returns `None` if that were bytes, or the end, and else how long the client may take.
    fn step(&self, out: &mut Vec<u8>, most: usize) -> Result<Option<Duration>, BodyError> {
        let mut state = self.lock();
        let taken = state.take(self.stream.as_ref().map_err(|_| BodyError::NoDescriptor), out, most);
        taken.map_err(|error| state.note(error))
    }

    /// Waits for the client, at most for `limit`; true if it has sent something. The time is not the application's.
    fn wait<A: Application>(&self, app: &A, limit: Duration) -> Result<bool, BodyError> {
        let stream = self.stream.as_ref().map_err(|_| BodyError::NoDescriptor)?;
        if thread::current().id() == self.owner {
            return Ok(waiting(&self.slot, app, || socket::wait_readable(stream.as_fd(), limit)));
        }
        let mut left = limit;
        while !left.is_zero() {
            let (began, slice) = (clock::monotonic(), left.min(SLICE));
            let is_ready = app.detached(|| socket::wait_readable(stream.as_fd(), slice));
            // Another request may run in the slot once this one has ended.
            if self.lock().body.is_none() {
                return Err(BodyError::Ended);
            }
            self.slot.extend(clock::monotonic() - began);
            if is_ready {
                return Ok(true);
            }
            left -= slice;
        }
        Ok(false)
    }

    /// True if the body is whole.
    pub(crate) fn is_done(&self) -> bool {
        self.lock().body.as_ref().is_some_and(|body| body.is_done())
    }

    /// Notes that the response has begun.
    pub(crate) fn response_begins(&self) {
        let mut state = self.lock();
        state.is_begun = true;
        state.unsent = b"";
    }

    /// Returns the status for the error that has come up, if one has.
    pub(crate) fn failure(&self) -> Option<u16> {
        self.lock().failure
    }

    /// Ends the request: further reads give an error. Returns the body.
    pub(crate) fn end(&self) -> Option<Box<StreamedBody>> {
        self.lock().body.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(
        &mut self,
        stream: Result<&Stream, BodyError>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<Option<Duration>, BodyError> {
        let body = self.body.as_mut().ok_or(BodyError::Ended)?;
        let stream = stream?;
        while !body.decode(out, most)? {
            if body.take_awaits_continue() && !self.is_begun {
                self.unsent = CONTINUE;
            }
            if !self.unsent.is_empty() {
                let sent = stream.write(&[self.unsent, b"", b""], More::Ends).map_err(|_| BodyError::Gone)?;
                self.unsent = &self.unsent[sent..];
            }
            match body.receive(stream) {
                Read::Bytes { .. } => {}
                Read::Closed | Read::NoMemory => return Err(BodyError::Gone),
                Read::Nothing => return Ok(Some(body.begin_wait().min(FOR_EVER))),
            }
        }
        Ok(None)
    }

    fn note(&mut self, error: BodyError) -> BodyError {
        if !matches!(error, BodyError::Ended) {
            self.failure = Some(error.status());
        }
        error
    }
}

/// The longest time at a time that another thread than the request's own waits, so that it notices the end of the request.
const SLICE: Duration = Duration::from_millis(500);
/// A limit that is none.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
