//! A request's body, received before the application runs: in memory up to a limit, beyond it in an unlinked file.

use std::any::Any;
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::path::Path;

use super::body_budget::Charge;
use super::collected_body::{Collected, CollectedBody, NoRoom};
use super::context::ServeRules;
use super::receive_rate::ReceiveRate;
use super::stream::Stream;
use crate::http::{BodyDecoder, BodyLength, Reject};
use crate::os::socket::Read;
use crate::worker::millis::Millis;

/// A whole request body.
pub enum Body<'c> {
    /// There is none, or it has no bytes.
    Empty,
    /// All of it, as it was received with its head.
    Received(&'c [u8]),
    /// All of it.
    Memory(Vec<u8>),
    /// All of it, in a buffer that the application's side gave for it.
    Given(Box<dyn BodyBuffer>),
    /// All of it, in an unlinked file positioned at the start.
    File(File),
    /// Still to be received, by [`Exchange::read_body`](crate::worker::Exchange::read_body).
    Streamed,
}

/// A buffer of the application's side, of the length that was asked for. A body is received straight into it, so that
/// the application gets it without a copy. Any thread may drop it, with or without the GIL.
pub trait BodyBuffer: Send {
    /// Returns all of it. It is read only once the body is whole.
    fn room(&mut self) -> &mut [MaybeUninit<u8>];

    /// Returns the buffer to the side that gave it; every byte was written.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Why a request is refused while it is received.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is wrong, or asks for too much.
    Rejected(Reject),
    /// Its body cannot be kept in a file.
    Disk(io::Error),
    /// There is no memory for it.
    Memory,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Refusal {
        Refusal::Rejected(reject)
    }
}

impl From<NoRoom> for Refusal {
    fn from(_: NoRoom) -> Refusal {
        Refusal::Memory
    }
}

/// The progress of a body.
pub(crate) enum BodyProgress {
    /// More is to come.
    NeedMore,
    /// The body is whole, and behind a head of this length.
    Whole { head_length: usize, body: Body<'static>, length: u64, charge: Charge },
    /// Enough is there to go to a file, by [`Receiving::spill`].
    Spill,
    /// Enough has come of a body of this length to have a buffer for it, by [`Receiving::give`].
    Buffer(usize),
}

/// A body under way.
pub(crate) struct Receiving {
    /// Length of the head before it, in the connection's input.
    head_length: usize,
    place: Place,
    rate: ReceiveRate,
    /// True while it is not read, because no room is to be had for it.
    pub(super) waits_for_room: bool,
}

/// The place where a body goes.
enum Place {
    Decoded(Box<Decoded>),
    /// Straight to where the application will read it.
    Given(PartialBody, Charge),
    /// Nowhere any more.
    Over,
}

/// A body that is taken out of its framing, to memory or a file.
struct Decoded {
    decoder: BodyDecoder,
    collected: CollectedBody,
    /// The most that stays in memory.
    limit: usize,
    /// The body's length, if it is known and stays in memory.
    length: Option<usize>,
    /// The bytes that are still to come, if that is known.
    left: Option<u64>,
    /// True until a buffer was asked for.
    wants_buffer: bool,
}

impl Receiving {
    /// Begins a body behind a head.
    pub(crate) fn new(head_length: usize, length: BodyLength, rules: &ServeRules, now: Millis) -> Receiving {
        let limit = rules.post_buffering;
        let known = if let BodyLength::Known(length) = length { Some(length) } else { None };
        let in_memory = known.and_then(|length| usize::try_from(length).ok()).filter(|length| *length <= limit);
        let collected = CollectedBody::new(Charge::new(&rules.budget), known.is_some() && in_memory.is_none());
        let place = Place::Decoded(Box::new(Decoded {
            decoder: BodyDecoder::new(length, &rules.limits),
            collected,
            limit,
            length: in_memory,
            left: known,
            wants_buffer: in_memory.is_some_and(|length| length >= WORTH_A_BUFFER),
        }));
        Receiving { head_length, place, rate: ReceiveRate::new(rules.timeouts.receive, now), waits_for_room: false }
    }

    /// True if a further piece may be read: there is room for it.
    pub(crate) fn admits(&mut self) -> bool {
        match &mut self.place {
            Place::Decoded(decoded) => decoded.collected.admit(decoded.next_piece(READ_SIZE)).is_ok(),
            Place::Given(..) | Place::Over => true,
        }
    }

    /// Reads a piece that was admitted. `spare` is an empty buffer; what it holds then lies behind the body.
    pub(crate) fn read(&mut self, stream: &Stream, spare: &mut Vec<u8>) -> Result<Read, Refusal> {
        let read = match &mut self.place {
            Place::Given(body, _) => {
                let room = body.room();
                let most = room.len().min(READ_STRAIGHT);
                let read = stream.read_into(&mut room[..most]);
                if let Read::Bytes { count, .. } = read {
                    body.advance(count);
                }
                read
            }
            Place::Decoded(decoded) => {
                let read = stream.read(spare, READ_SIZE);
                match read {
                    Read::Bytes { .. } => decoded.take(spare)?,
                    Read::NoMemory => return Err(Refusal::Memory),
                    Read::Nothing | Read::Closed => {}
                }
                read
            }
            Place::Over => Read::Nothing,
        };
        Ok(read)
    }

    /// Takes what the connection's input holds of the body, which came with the head.
    pub(crate) fn take_read(&mut self, input: &mut Vec<u8>) -> Result<(), Refusal> {
        let Place::Decoded(decoded) = &mut self.place else { return Ok(()) };
        let came = &input[self.head_length..];
        decoded.collected.admit_read(came.len())?;
        let used = decoded.decode(came)?;
        input.drain(self.head_length..self.head_length + used);
        Ok(())
    }

    /// Takes a buffer of the length that was asked for, and moves what has come into it. Without one the body goes on
    /// to memory of the worker.
    pub(crate) fn give(&mut self, buffer: Option<Box<dyn BodyBuffer>>) {
        let Some(buffer) = buffer else { return };
        match mem::replace(&mut self.place, Place::Over) {
            Place::Decoded(decoded) => {
                let (came, charge) = decoded.collected.into_buffered();
                let mut body = PartialBody::new(buffer);
                body.take(&came);
                self.place = Place::Given(body, charge);
            }
            other => self.place = other,
        }
    }

    /// Returns how far the body has come.
    pub(crate) fn progress(&mut self) -> Result<BodyProgress, Refusal> {
        match mem::replace(&mut self.place, Place::Over) {
            Place::Decoded(mut decoded) => {
                let next = decoded.next_step();
                if let Some(next) = next {
                    self.place = Place::Decoded(decoded);
                    return Ok(next);
                }
                let (body, length, charge) = decoded.collected.finish().map_err(Refusal::Disk)?;
                let body = match body {
                    Collected::Empty => Body::Empty,
                    Collected::Memory(bytes) => Body::Memory(bytes),
                    Collected::File(file) => Body::File(file),
                };
                Ok(BodyProgress::Whole { head_length: self.head_length, body, length, charge })
            }
            Place::Given(body, charge) => match body.finish() {
                Ok((body, length)) => Ok(BodyProgress::Whole { head_length: self.head_length, body, length, charge }),
                Err(unfinished) => {
                    self.place = Place::Given(unfinished, charge);
                    Ok(BodyProgress::NeedMore)
                }
            },
            Place::Over => Ok(BodyProgress::NeedMore),
        }
    }

    /// Moves what is in memory to the body's file. It may block.
    pub(crate) fn spill(&mut self, directory: &Path) -> io::Result<()> {
        match &mut self.place {
            Place::Decoded(decoded) => decoded.collected.spill(directory),
            Place::Given(..) | Place::Over => Ok(()),
        }
    }

    /// True if it has a buffer of the application's side, which only an attached thread can release.
    pub(crate) fn has_buffer(&self) -> bool {
        matches!(self.place, Place::Given(..))
    }

    /// Returns the rate at which it comes.
    pub(super) fn rate(&mut self) -> &mut ReceiveRate {
        &mut self.rate
    }
}

impl Decoded {
    /// Takes all of `came`, except what lies behind the body.
    fn take(&mut self, came: &mut Vec<u8>) -> Result<(), Refusal> {
        let used = self.decode(came)?;
        came.drain(..used);
        Ok(())
    }

    fn decode(&mut self, came: &[u8]) -> Result<usize, Refusal> {
        let most = self.length.unwrap_or(self.limit.saturating_add(READ_SIZE));
        let more = self.next_piece(came.len());
        let room = self.collected.room(more, most)?;
        let used = self.decoder.decode(came, room, usize::MAX)?;
        self.left = self.left.map(|left| left.saturating_sub(used as u64));
        self.collected.settle(self.limit);
        Ok(used)
    }

    /// Returns how much of `most` bytes is of the body, at most.
    fn next_piece(&self, most: usize) -> usize {
        self.left.and_then(|left| usize::try_from(left).ok()).map_or(most, |left| left.min(most))
    }

    /// Returns what the body needs next, or none if it is whole.
    fn next_step(&mut self) -> Option<BodyProgress> {
        if self.collected.has_to_spill() {
            return Some(BodyProgress::Spill);
        }
        if self.decoder.is_done() {
            return None;
        }
        let came = self.collected.in_memory();
        let length = self.length.filter(|length| self.wants_buffer && came >= length / BUFFER_AFTER);
        let Some(length) = length else { return Some(BodyProgress::NeedMore) };
        self.wants_buffer = false;
        let is_held = self.collected.hold_buffer(length);
        Some(if is_held { BodyProgress::Buffer(length) } else { BodyProgress::NeedMore })
    }
}

/// A body that is received into a buffer of the application's side.
struct PartialBody {
    buffer: Box<dyn BodyBuffer>,
    filled: usize,
}

impl PartialBody {
    fn new(buffer: Box<dyn BodyBuffer>) -> PartialBody {
        PartialBody { buffer, filled: 0 }
    }

    /// Returns the part that is still to be received.
    fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.buffer.room()[self.filled..]
    }

    /// Takes what came together with the head, which is not more than there is room for.
    fn take(&mut self, received: &[u8]) {
        for (room, byte) in self.room().iter_mut().zip(received) {
            room.write(*byte);
        }
        self.filled += received.len();
    }

    /// Records that `count` bytes of the room were written.
    fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// Returns the body and its length in bytes, if it is whole.
    fn finish(mut self) -> Result<(Body<'static>, u64), PartialBody> {
        if self.room().is_empty() { Ok((Body::Given(self.buffer), self.filled as u64)) } else { Err(self) }
    }
}

/// Smaller bodies mostly come with their head, and may have to be handed off to another worker with it.
const WORTH_A_BUFFER: usize = 64 * 1024;
/// A buffer of a body's whole length is had once this part of it has come, so that announcing takes no memory.
const BUFFER_AFTER: usize = 16;
/// One read. nginx reads heads by 1 KiB and bodies by 16 KiB.
pub(super) const READ_SIZE: usize = 64 * 1024;
/// The same for bytes that are not looked at: copying this amount takes the kernel less than an application takes for a
/// page.
const READ_STRAIGHT: usize = 256 * 1024;
