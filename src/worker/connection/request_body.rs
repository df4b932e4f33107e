//! A request's body, collected before the application runs: in memory up to a limit, beyond it in an unlinked file.

use std::any::Any;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::mem::MaybeUninit;
use std::path::Path;

/// A whole request body.
pub enum Body<'c> {
    /// There is none, or it has no bytes.
    Empty,
    /// All of it, as it was received with its head.
    Received(&'c [u8]),
    /// All of it.
    Memory(Vec<u8>),
    /// All of it, in what the application's side gave for it.
    Given(Box<dyn BodyBuffer>),
    /// All of it, in an unlinked file positioned at the start.
    File(File),
    /// Still to be received, by [`Exchange::read_body`](crate::worker::Exchange::read_body).
    Streamed,
}

/// Memory of the application's side, of the length that was asked for. A body is received straight into it, so that the
/// application gets it without a copy. It may be dropped by any thread, with or without the interpreter.
pub trait BodyBuffer: Send {
    /// All of it. Nobody else reads it before the body is whole.
    fn room(&mut self) -> &mut [MaybeUninit<u8>];

    /// For the application's side, which knows what it gave; every byte was written.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A body that is being received into what the application's side gave for it.
pub(crate) struct PartialBody {
    memory: Box<dyn BodyBuffer>,
    filled: usize,
}

impl PartialBody {
    pub(crate) fn new(memory: Box<dyn BodyBuffer>) -> PartialBody {
        PartialBody { memory, filled: 0 }
    }

    /// What is still to be received.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.memory.room()[self.filled..]
    }

    /// Takes what came together with the head, which is not more than there is room for.
    pub(crate) fn take(&mut self, received: &[u8]) {
        for (room, byte) in self.room().iter_mut().zip(received) {
            room.write(*byte);
        }
        self.filled += received.len();
    }

    /// So many bytes of the room were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// The body and its length in bytes, if it is whole.
    pub(crate) fn finish(mut self) -> Result<(Body<'static>, u64), PartialBody> {
        if self.room().is_empty() { Ok((Body::Given(self.memory), self.filled as u64)) } else { Err(self) }
    }
}

/// A body that is being received.
#[derive(Debug, Default)]
pub(crate) struct CollectedBody {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl CollectedBody {
    /// The buffer that decoders append to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// Does the buffer hold what belongs into a file, as the body is beyond `limit`?
    pub(crate) fn overflows(&self, limit: usize) -> bool {
        self.memory.len() > if self.file.is_some() { 0 } else { limit }
    }

    /// Moves what the buffer holds to the file.
    pub(crate) fn spill(&mut self, directory: &Path) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(directory)?,
        };
        file.write_all(&self.memory)?;
        self.file = Some(file);
        self.length += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// The whole body, which must not overflow, and its length in bytes.
    pub(crate) fn finish(self) -> io::Result<(Body<'static>, u64)> {
        let length = self.length + self.memory.len() as u64;
        Ok(match self.file {
            Some(mut file) => {
                file.rewind()?;
                (Body::File(file), length)
            }
            None if self.memory.is_empty() => (Body::Empty, 0),
            None => (Body::Memory(self.memory), length),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

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
