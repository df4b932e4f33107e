//! A body that the application reads while it is received (`post_buffering = 0`). It may hold the application's thread.

use std::time::Duration;

use super::receive_rate::{ReceiveLimits, ReceiveRate};
use super::stream::Stream;
use crate::http::{BodyDecoder, Reject};
use crate::os::socket::Read;
use crate::worker::millis;

/// A body under way.
pub(crate) struct StreamedBody {
    decoder: BodyDecoder,
    /// Bytes received behind the head and not decoded.
    received: Vec<u8>,
    /// True while the client waits for a 100 before it sends the body.
    awaits_continue: bool,
    rate: ReceiveRate,
    /// True from the begin of a wait for the client to its next bytes.
    is_waited_for: bool,
    /// The first error of the decoder, which is of no use after it.
    refused: Option<Box<Reject>>,
}

/// An error that keeps a body from being read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The client closed the connection before the body was whole.
    Gone,
    /// The client sent nothing, or too little, for this time.
    Slow(Duration),
    /// The body's framing is broken, or it is too large.
    Refused(Reject),
    /// The request has ended.
    Ended,
    /// There is no descriptor to read it by.
    NoDescriptor,
}

impl BodyError {
    /// Returns the status of the answer, if the application has none of its own.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::Gone => 400,
            BodyError::Slow(_) => 408,
            BodyError::Refused(reject) => reject.status(),
            BodyError::Ended | BodyError::NoDescriptor => 503,
        }
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BodyError::Gone => f.write_str("the client closed the connection before the request body was whole"),
            BodyError::Slow(limit) => write!(f, "the client sent too little of the request body in {limit:?}"),
            BodyError::Refused(reject) => reject.fmt(f),
            BodyError::Ended => f.write_str("the request of this object has ended"),
            BodyError::NoDescriptor => f.write_str("the worker has no free descriptor to read the request body by"),
        }
    }
}

impl std::error::Error for BodyError {}

impl StreamedBody {
    pub(crate) fn new(
        decoder: BodyDecoder,
        received: Vec<u8>,
        awaits_continue: bool,
        limits: ReceiveLimits,
    ) -> StreamedBody {
        let rate = ReceiveRate::new(limits, millis::now());
        StreamedBody { decoder, received, awaits_continue, rate, is_waited_for: false, refused: None }
    }

    /// True if the body is whole.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Appends up to `most` of the bytes that are there. True if there were any, or the body is at its end.
    pub(crate) fn decode(&mut self, out: &mut Vec<u8>, most: usize) -> Result<bool, BodyError> {
        if let Some(reject) = &self.refused {
            return Err(BodyError::Refused((**reject).clone()));
        }
        let before = out.len();
        let used = self.decoder.decode(&self.received, out, most).map_err(|reject| {
            self.refused = Some(Box::new(reject.clone()));
            BodyError::Refused(reject)
        })?;
        self.received.drain(..used);
        Ok(out.len() > before || self.decoder.is_done())
    }

    /// Receives more, without waiting.
    pub(crate) fn receive(&mut self, stream: &Stream) -> Read {
        let read = stream.read(&mut self.received, READ_SIZE);
        if let Read::Bytes { count, .. } = read {
            let now = millis::now();
            if !std::mem::take(&mut self.is_waited_for) {
                // Only the time in which it was waited for counts.
                self.rate.resume(now);
            }
            self.rate.received(now, count);
        }
        read
    }

    /// Returns how long the client may send nothing from now on.
    pub(crate) fn begin_wait(&mut self) -> Duration {
        let now = millis::now();
        if !std::mem::replace(&mut self.is_waited_for, true) {
            self.rate.resume(now);
        }
        Duration::from_millis(self.rate.deadline().saturating_sub(now))
    }

    /// True, once, if the client waits for a 100 before it sends the body.
    pub(crate) fn take_awaits_continue(&mut self) -> bool {
        std::mem::take(&mut self.awaits_continue)
    }

    /// Returns the bytes that follow the body, if the body is whole.
    pub(crate) fn into_rest(self) -> Option<Vec<u8>> {
        self.decoder.is_done().then_some(self.received)
    }
}

/// As much as a connection reads at a time.
const READ_SIZE: usize = 64 * 1024;
