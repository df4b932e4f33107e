//! A body that is collected outside of the application's side: in memory, which grows with the bytes that came, or in
//! an unlinked file. It reads no socket and knows no framing.
//!
//! ```text
//! memory --longer than post_buffering, or no memory is to be had--> file
//! ```
//!
//! A body in a file keeps only the piece that is written next.

use std::fs::File;
use std::io;
use std::mem;
use std::path::Path;

use super::body_budget::Charge;
use crate::os::heap;
use crate::worker::spill_file::SpillFile;

/// A body under way.
#[derive(Debug)]
pub(super) struct CollectedBody {
    memory: Vec<u8>,
    /// The piece that is to be written behind what the file holds.
    piece: Vec<u8>,
    file: Option<SpillFile>,
    goes_to_file: bool,
    /// True if it is too long for memory, and no file is to be had yet.
    is_beyond: bool,
    charge: Charge,
}

/// A whole body.
#[derive(Debug)]
pub(super) enum Collected {
    /// It has no bytes.
    Empty,
    Memory(Vec<u8>),
    /// An unlinked file positioned at the start.
    File(File),
}

/// There is no room for a body, neither in memory nor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl CollectedBody {
    /// A body of which nothing has come. `goes_to_file` if it is known to be too long for memory.
    pub(super) fn new(charge: Charge, goes_to_file: bool) -> CollectedBody {
        CollectedBody { memory: Vec::new(), piece: Vec::new(), file: None, goes_to_file, is_beyond: false, charge }
    }

    /// Has `more` bytes admitted that are to be read.
    pub(super) fn admit(&mut self, more: usize) -> Result<(), NoRoom> {
        let stays = !self.goes_to_file && !self.is_beyond;
        if stays && self.charge.hold_memory(self.memory.capacity().max(self.memory.len() + more)) {
            return Ok(());
        }
        let length = self.written() + (self.memory.len() + more) as u64;
        let is_held = self.charge.hold_file(length);
        self.goes_to_file |= is_held;
        if is_held { Ok(()) } else { Err(NoRoom) }
    }

    /// Has bytes admitted that were read already.
    pub(super) fn admit_read(&mut self, more: usize) -> Result<(), NoRoom> {
        self.admit(more).or_else(|none| if self.charge.overdraw(more) { Ok(()) } else { Err(none) })
    }

    /// Returns the buffer that `more` bytes can be appended to, which were admitted. Memory grows to twice what it was
    /// at most, or to `most`, the length that it will not exceed.
    pub(super) fn room(&mut self, more: usize, most: usize) -> Result<&mut Vec<u8>, NoRoom> {
        if !self.goes_to_file && self.grow(more, most) {
            return Ok(&mut self.memory);
        }
        if !self.goes_to_file {
            // There is none, though the budget has it.
            self.charge.hold_memory(self.memory.capacity());
            if !self.charge.hold_file((self.memory.len() + more) as u64) {
                return Err(NoRoom);
            }
            self.goes_to_file = true;
        }
        heap::try_reserve_exact(&mut self.piece, more).map_err(|_| NoRoom)?;
        Ok(&mut self.piece)
    }

    fn grow(&mut self, more: usize, most: usize) -> bool {
        let (length, capacity) = (self.memory.len(), self.memory.capacity());
        let needed = length + more;
        if needed <= capacity {
            return true;
        }
        let doubled = needed.max(most.min(2 * capacity));
        let wanted = if self.charge.hold_memory(doubled) { doubled } else { needed };
        heap::try_reserve_exact(&mut self.memory, wanted - length).is_ok()
    }

    /// Notes that what came is appended: gives back what was admitted beyond it, and has a body beyond `limit` go to a
    /// file.
    pub(super) fn settle(&mut self, limit: usize) {
        let in_memory = self.memory.len();
        self.is_beyond = in_memory > limit;
        if self.goes_to_file || self.is_beyond {
            let is_held = self.charge.hold_file(self.written() + (in_memory + self.piece.len()) as u64);
            // Without room there it waits for that, with what it has.
            self.goes_to_file |= is_held;
        }
        self.charge.hold_memory(self.memory.capacity());
    }

    /// Returns how many bytes are in the file.
    fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, SpillFile::length)
    }

    /// True if it holds bytes that belong into its file.
    pub(super) fn has_to_spill(&self) -> bool {
        self.goes_to_file && !(self.memory.is_empty() && self.piece.is_empty())
    }

    /// Moves what is in memory to the file.
    pub(super) fn spill(&mut self, directory: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(SpillFile::create(directory)?),
        };
        file.append_counted(&[&self.memory, &self.piece])?;
        (self.memory, self.piece) = (Vec::new(), Vec::new());
        self.charge.hold_memory(0);
        Ok(())
    }

    /// Returns how many bytes are in memory.
    pub(super) fn in_memory(&self) -> usize {
        if self.goes_to_file { 0 } else { self.memory.len() }
    }

    /// Takes memory for a buffer of the application's side, of `length` bytes. False if it is not to be had.
    pub(super) fn hold_buffer(&mut self, length: usize) -> bool {
        self.charge.hold_memory(length)
    }

    /// Returns what is in memory, and the charge of the whole, for a buffer of the application's side.
    pub(super) fn into_buffered(mut self) -> (Vec<u8>, Charge) {
        (mem::take(&mut self.memory), self.charge)
    }

    /// Returns the whole body, its length in bytes, and what it takes until it is dropped.
    pub(super) fn finish(mut self) -> io::Result<(Collected, u64, Charge)> {
        let length = self.written() + self.memory.len() as u64;
        let body = match self.file {
            Some(file) => {
                let handle = file.handle()?;
                self.charge.keep(file);
                Collected::File(handle)
            }
            None if self.memory.is_empty() => Collected::Empty,
            None => Collected::Memory(self.memory),
        };
        Ok((body, length, self.charge))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::super::body_budget::BodyBudget;
    use super::*;

    fn budget(memory: u64, files: u64) -> Arc<BodyBudget> {
        BodyBudget::alone(Some(memory), Some(files))
    }

    fn take(collected: &mut CollectedBody, piece: &[u8], limit: usize) -> Result<(), NoRoom> {
        collected.admit(piece.len())?;
        collected.room(piece.len(), limit)?.extend_from_slice(piece);
        collected.settle(limit);
        if collected.has_to_spill() {
            collected.spill(&std::env::temp_dir()).unwrap();
        }
        Ok(())
    }

    fn text(collected: CollectedBody) -> (String, u64) {
        let (body, length, _) = collected.finish().unwrap();
        let mut text = String::new();
        match body {
            Collected::File(mut file) => assert!(file.read_to_string(&mut text).unwrap() > 0),
            Collected::Memory(bytes) => text.push_str(&String::from_utf8(bytes).unwrap()),
            Collected::Empty => panic!("expected a body"),
        }
        (text, length)
    }

    #[test]
    fn a_small_body_stays_in_memory_and_takes_what_came() {
        let budget = budget(1000, 0);
        let mut collected = CollectedBody::new(Charge::new(&budget), false);
        take(&mut collected, b"hello", 1000).unwrap();
        assert!(collected.file.is_none() && collected.memory.capacity() < 64);
        assert_eq!(text(collected), ("hello".to_owned(), 5));
        assert!(Charge::new(&budget).hold_memory(1000));
    }

    #[test]
    fn a_large_body_goes_to_a_file_whole_and_keeps_no_memory() {
        let budget = budget(1000, 1000);
        let mut collected = CollectedBody::new(Charge::new(&budget), false);
        for piece in [&b"hello "[..], b"large ", b"world"] {
            take(&mut collected, piece, 8).unwrap();
        }
        assert_eq!((collected.memory.capacity(), collected.piece.capacity(), collected.written()), (0, 0, 17));
        assert!(Charge::new(&budget).hold_memory(1000));
        assert_eq!(text(collected), ("hello large world".to_owned(), 17));
    }

    #[test]
    fn a_body_that_is_known_to_be_long_is_in_its_file_from_the_first_byte() {
        let mut collected = CollectedBody::new(Charge::new(&budget(0, 1000)), true);
        take(&mut collected, b"h", 8).unwrap();
        assert_eq!((collected.written(), text(collected).1), (1, 1));
    }

    #[test]
    fn a_body_that_memory_is_not_to_be_had_for_goes_to_a_file_and_waits_without_room_there() {
        let budget = budget(8, 10);
        let mut collected = CollectedBody::new(Charge::new(&budget), false);
        take(&mut collected, b"12345", 1000).unwrap();
        assert_eq!(collected.written(), 0);
        take(&mut collected, b"6789", 1000).unwrap();
        assert_eq!(collected.written(), 9);
        assert_eq!(take(&mut collected, b"ab", 1000), Err(NoRoom));
        assert_eq!(take(&mut collected, b"a", 1000), Ok(()));
        let mut other = CollectedBody::new(Charge::new(&budget), false);
        assert_eq!((other.admit(9), other.admit_read(9)), (Err(NoRoom), Ok(())));
        assert_eq!(text(collected), ("123456789a".to_owned(), 10));
    }
}
