//! The access log: gathers lines and hands them over in batches. Knows not what is in a line.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sink::Sink;
use super::writer::{Hurry, Output, Writer};
use super::{ACCESS_LOG, Destination, WRITER};

/// The access log of one process. [`AccessLog::append`] costs a copy; the file is written by the log's thread.
pub struct AccessLog {
    writer: &'static Writer,
    output: Output,
    gathered: Mutex<Vec<u8>>,
}

impl AccessLog {
    /// An access log to `destination`. One a process: what is opened stays open.
    pub fn open(destination: Destination) -> io::Result<AccessLog> {
        Ok(AccessLog::with(&WRITER, Sink::new(destination.into_fd()?, ACCESS_LOG)))
    }

    /// Adds a line, which has no newline in it. It reaches the file some time after the next [`AccessLog::hand_over`].
    pub fn append(&self, line: &[u8]) {
        let mut gathered = self.gathered();
        gathered.extend_from_slice(line);
        gathered.push(b'\n');
        if gathered.len() >= BATCH {
            self.give(&mut gathered);
        }
    }

    /// Hands the gathered lines over. A worker does it before it sleeps, and about every 100 ms while it does not. Nothing
    /// gathered costs next to nothing.
    pub fn hand_over(&self) {
        let mut gathered = self.gathered();
        if !gathered.is_empty() {
            self.give(&mut gathered);
        }
    }

    pub(super) fn with(writer: &'static Writer, sink: Sink) -> AccessLog {
        AccessLog { writer, output: writer.add(sink), gathered: Mutex::new(Vec::new()) }
    }

    fn give(&self, gathered: &mut Vec<u8>) {
        self.writer.push(&self.output, gathered, Hurry::Later);
        gathered.clear();
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<u8>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch is handed over at this size at the latest, in bytes: some 500 lines, a sixteenth of the queue.
const BATCH: usize = 64 * 1024;
