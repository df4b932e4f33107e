//! Bytes that a worker keeps in a file: request bodies that are too large for memory, and responses that wait for slow
//! clients. The file has no name. It does not know whose bytes they are.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::os::late_close::ClosedLate;

/// A file without a name, and the number of bytes that were appended to it. They count in [`count`], as the fields
/// say.
#[derive(Debug)]
pub(crate) struct SpillFile {
    file: ClosedLate,
    /// Bytes that count until the file is dropped.
    length: u64,
    /// Bytes that the caller counts.
    counted_elsewhere: u64,
}

impl SpillFile {
    /// Creates an empty file in `directory`.
    pub(crate) fn create(directory: &Path) -> io::Result<SpillFile> {
        Ok(SpillFile { file: tempfile::tempfile_in(directory)?.into(), length: 0, counted_elsewhere: 0 })
    }

    /// Appends `pieces`. Errors leave it as it was: that of the disk, or `StorageFull` if all files of this process
    /// together would have more than `most` bytes.
    pub(crate) fn append(&mut self, pieces: &[&[u8]], most: u64) -> io::Result<()> {
        let count = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let written = if SPILLED.fetch_add(count, Ordering::Relaxed).saturating_add(count) > most {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            self.write_behind(pieces)
        };
        match written {
            Ok(()) => self.length += count,
            Err(_) => drop(SPILLED.fetch_sub(count, Ordering::Relaxed)),
        }
        written
    }

    /// Appends `pieces` that the caller counts itself, in [`count`]. Errors leave the file as it was.
    pub(crate) fn append_counted(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        self.write_behind(pieces)?;
        self.counted_elsewhere += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        Ok(())
    }

    fn write_behind(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let mut end = self.length();
        for piece in pieces {
            self.file.write_all_at(piece, end)?;
            end += piece.len() as u64;
        }
        Ok(())
    }

    /// Returns how many bytes were appended.
    pub(crate) fn length(&self) -> u64 {
        self.length + self.counted_elsewhere
    }

    /// Returns the file. What a failed append has left may follow behind its [`length`](Self::length).
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns a second handle of the file, cut to its length and positioned at its start.
    pub(crate) fn handle(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.set_len(self.length())?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        SPILLED.fetch_sub(self.length, Ordering::Relaxed);
    }
}

/// Creates a file in `directory`, writes to it and removes it, as a body that goes there would.
pub fn try_spilling(directory: &Path) -> io::Result<()> {
    SpillFile::create(directory)?.append_counted(&[b"written"])
}

/// Returns the number of bytes of this process that are in files, for those that take their share ahead of writing.
pub(crate) fn count() -> &'static AtomicU64 {
    &SPILLED
}

/// The bytes of this process that are in files.
static SPILLED: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_was_appended_is_read_in_order_and_a_failure_leaves_no_trace() {
        let mut file = SpillFile::create(&std::env::temp_dir()).unwrap();
        file.append(&[b"hello ", b"large "], u64::MAX).unwrap();
        assert_eq!(file.append(&[b"lost"], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.append(&[b"world"], u64::MAX).unwrap();
        let mut text = String::new();
        file.handle().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), file.length()), ("hello large world", 17));
    }
}
