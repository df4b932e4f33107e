//! A request's body, received before the application runs: in memory up to a limit, beyond it in an unlinked file.

use std::any::Any;
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::path::Path;

use crate::http::{BodyDecoder, BodyLength, Limits, Reject};
use crate::worker::spill_file::SpillFile;

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
    /// Its body cannot be kept.
    Disk(io::Error),
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Refusal {
        Refusal::Rejected(reject)
    }
}

/// The progress of a body.
pub(crate) enum BodyProgress {
    /// More is to come.
    NeedMore,
    /// The body is whole, and behind a head of this length.
    Whole { head_length: usize, body: Body<'static>, length: u64 },
    /// Enough is there to go to a file, by [`Receiving::spill`].
    Spill,
    /// A body of this length has begun to come, for which a buffer may be given, by [`Receiving::give`].
    Buffer(usize),
}

/// A body under way.
pub(crate) struct Receiving {
    /// Length of the head before it, in the connection's input.
    head_length: usize,
    place: Place,
}

/// The place where a body goes.
enum Place {
    /// Through the connection's input to memory or a file. `wished` is the length of a buffer that may still be given.
    Decoded { decoder: BodyDecoder, collected: CollectedBody, wished: Option<usize> },
    /// Straight to where the application will read it.
    Given(Option<PartialBody>),
}

impl Receiving {
    /// Begins a body behind a head. `buffered` is its length if that is known and stays in memory.
    pub(crate) fn new(head_length: usize, length: BodyLength, limits: &Limits, buffered: Option<usize>) -> Receiving {
        let decoder = BodyDecoder::new(length, limits);
        let wished = buffered.filter(|length| *length >= WORTH_A_BUFFER);
        Receiving { head_length, place: Place::Decoded { decoder, collected: CollectedBody::default(), wished } }
    }

    /// Returns the rest of the buffer that was given for the body, if there is one.
    pub(crate) fn room(&mut self) -> Option<&mut [MaybeUninit<u8>]> {
        match &mut self.place {
            Place::Given(Some(body)) => Some(body.room()),
            Place::Given(None) | Place::Decoded { .. } => None,
        }
    }

    /// Records that `count` bytes were written to the [`room`](Self::room).
    pub(crate) fn advance(&mut self, count: usize) {
        if let Place::Given(Some(body)) = &mut self.place {
            body.advance(count);
        }
    }

    /// Takes a buffer of the length that was asked for, and moves what has come into it. Without one the body goes to
    /// memory of the worker.
    pub(crate) fn give(&mut self, buffer: Option<Box<dyn BodyBuffer>>, input: &mut Vec<u8>) {
        if let Place::Decoded { wished, .. } = &mut self.place {
            *wished = None;
        }
        if let Some(buffer) = buffer {
            let mut body = PartialBody::new(buffer);
            let count = body.room().len().min(input.len() - self.head_length);
            body.take(&input[self.head_length..][..count]);
            input.drain(self.head_length..self.head_length + count);
            self.place = Place::Given(Some(body));
        }
    }

    /// Moves what the connection's input holds of the body to its place.
    pub(crate) fn receive(&mut self, input: &mut Vec<u8>, post_buffering: usize) -> Result<BodyProgress, Refusal> {
        let head_length = self.head_length;
        let (decoder, collected) = match &mut self.place {
            Place::Decoded { wished: Some(length), .. } => return Ok(BodyProgress::Buffer(*length)),
            Place::Decoded { decoder, collected, .. } => (decoder, collected),
            Place::Given(body) => {
                return Ok(match body.take().map(PartialBody::finish) {
                    Some(Ok((body, length))) => BodyProgress::Whole { head_length, body, length },
                    unfinished => {
                        *body = unfinished.and_then(Result::err);
                        BodyProgress::NeedMore
                    }
                });
            }
        };
        let used = decoder.decode(&input[head_length..], collected.buffer(), usize::MAX)?;
        input.drain(head_length..head_length + used);
        if collected.overflows(post_buffering) {
            return Ok(BodyProgress::Spill);
        }
        if !decoder.is_done() {
            return Ok(BodyProgress::NeedMore);
        }
        let (body, length) = mem::take(collected).finish().map_err(Refusal::Disk)?;
        Ok(BodyProgress::Whole { head_length, body, length })
    }

    /// Moves what is in memory to the body's file. It may block.
    pub(crate) fn spill(&mut self, directory: &Path) -> io::Result<()> {
        match &mut self.place {
            Place::Decoded { collected, .. } => collected.spill(directory),
            Place::Given(_) => Ok(()),
        }
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

/// A body that is received into memory of the worker, and beyond a limit into a file.
#[derive(Debug, Default)]
struct CollectedBody {
    memory: Vec<u8>,
    file: Option<SpillFile>,
}

impl CollectedBody {
    /// Returns the buffer that decoders append to.
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// True if the buffer holds what belongs into a file, as the body is beyond `limit`.
    fn overflows(&self, limit: usize) -> bool {
        self.memory.len() > if self.file.is_some() { 0 } else { limit }
    }

    /// Moves what the buffer holds to the file.
    fn spill(&mut self, directory: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(SpillFile::create(directory)?),
        };
        file.append(&[&self.memory], u64::MAX)?;
        self.memory.clear();
        Ok(())
    }

    /// Returns the whole body, which must not overflow, and its length in bytes.
    fn finish(self) -> io::Result<(Body<'static>, u64)> {
        Ok(match self.file {
            Some(file) => (Body::File(file.handle()?), file.length()),
            None if self.memory.is_empty() => (Body::Empty, 0),
            None => {
                let length = self.memory.len() as u64;
                (Body::Memory(self.memory), length)
            }
        })
    }
}

/// Smaller bodies mostly come with their head, and may have to be handed off to another worker with it.
const WORTH_A_BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_small_body_stays_in_memory() {
        let mut collected = CollectedBody::default();
        collected.buffer().extend_from_slice(b"hello");
        assert!(!collected.overflows(5));
        let (body, length) = collected.finish().unwrap();
        assert!(matches!(body, Body::Memory(bytes) if bytes == b"hello"));
        assert_eq!(length, 5);
    }

    #[test]
    fn a_large_body_goes_to_a_file_whole() {
        let mut collected = CollectedBody::default();
        for piece in [&b"hello "[..], b"large ", b"world"] {
            collected.buffer().extend_from_slice(piece);
            if collected.overflows(8) {
                collected.spill(&std::env::temp_dir()).unwrap();
            }
        }
        let (body, length) = collected.finish().unwrap();
        let Body::File(mut file) = body else { panic!("expected a file") };
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), length), ("hello large world", 17));
    }
}
