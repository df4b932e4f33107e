//! The access log: gathers lines and hands them over in batches, and counts requests for statsd. Does not know what is
//! in a line.

use std::io;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sink::Sink;
use super::writer::{Hurry, Output, RemoteOutputs, Writer};
use super::{ACCESS_LOG, Destination, WRITER};
use crate::message::Statsd;

/// The access log of one process. [`AccessLog::append`] costs a copy; the file is written by the log's thread.
pub struct AccessLog {
    writer: &'static Writer,
    file: Option<Gathered>,
    /// The gathered lines, and the prefix of each.
    syslog: Option<(Gathered, Vec<u8>)>,
    statsd: Option<(Gathered, Statsd)>,
}

struct Gathered {
    output: Output,
    bytes: Mutex<Vec<u8>>,
}

impl AccessLog {
    /// Opens an access log to `destination`, to syslog if this process has one for it, and to statsd if it has one;
    /// returns `None` if there is none of these. `is_elsewhere` is true if another part of the process writes the
    /// lines. Call it once in a process: the opened logs stay open.
    pub fn open(destination: Option<Destination>, is_elsewhere: bool) -> io::Result<Option<AccessLog>> {
        let RemoteOutputs { syslog, statsd } = WRITER.remote_outputs();
        let syslog = syslog.filter(|(_, syslog)| syslog.has_access && !is_elsewhere);
        let file = destination.filter(|_| !is_elsewhere).map(Destination::into_fd).transpose()?;
        if file.is_none() && syslog.is_none() && statsd.is_none() {
            return Ok(None);
        }
        Ok(Some(AccessLog {
            writer: &WRITER,
            file: file.map(|file| Gathered::new(WRITER.add(Sink::new(file, ACCESS_LOG)))),
            syslog: syslog.map(|(output, syslog)| (Gathered::new(output), syslog.before_access(process::id()))),
            statsd: statsd.map(|(output, statsd)| (Gathered::new(output), statsd)),
        }))
    }

    /// True if it takes lines, false if it only counts.
    pub fn takes_lines(&self) -> bool {
        self.file.is_some() || self.syslog.is_some()
    }

    /// Adds a line, which has no newline in it. It reaches the file some time after the next [`AccessLog::hand_over`].
    pub fn append(&self, line: &[u8]) {
        let (line, cut) = if line.len() > LONGEST_LINE { (&line[..LONGEST_LINE], CUT) } else { (line, &b""[..]) };
        if let Some(file) = &self.file {
            file.add(self.writer, &[line, cut, b"\n"]);
        }
        if let Some((syslog, before)) = &self.syslog {
            syslog.add(self.writer, &[before, line, cut, b"\0"]);
        }
    }

    /// Counts a request for statsd, if there is one.
    pub fn count(&self, status: u16, elapsed: Duration) {
        if let Some((gathered, statsd)) = &self.statsd {
            let mut bytes = gathered.bytes();
            statsd.request(status, elapsed, &mut bytes);
            gathered.give_batch(self.writer, &mut bytes);
        }
    }

    /// Hands the gathered lines over. A worker calls it before it sleeps, and about every 100 ms while it does not. It
    /// costs next to nothing if there are none.
    pub fn hand_over(&self) {
        let remotes =
            [self.syslog.as_ref().map(|(gathered, _)| gathered), self.statsd.as_ref().map(|(gathered, _)| gathered)];
        for gathered in self.file.iter().chain(remotes.into_iter().flatten()) {
            let mut bytes = gathered.bytes();
            if !bytes.is_empty() {
                gathered.give(self.writer, &mut bytes);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn with(writer: &'static Writer, sink: Sink) -> AccessLog {
        AccessLog { writer, file: Some(Gathered::new(writer.add(sink))), syslog: None, statsd: None }
    }
}

impl Gathered {
    fn new(output: Output) -> Gathered {
        Gathered { output, bytes: Mutex::new(Vec::new()) }
    }

    fn add(&self, writer: &Writer, pieces: &[&[u8]]) {
        let mut bytes = self.bytes();
        for piece in pieces {
            bytes.extend_from_slice(piece);
        }
        self.give_batch(writer, &mut bytes);
    }

    fn give_batch(&self, writer: &Writer, bytes: &mut Vec<u8>) {
        if bytes.len() >= BATCH {
            self.give(writer, bytes);
        }
    }

    fn give(&self, writer: &Writer, bytes: &mut Vec<u8>) {
        writer.push(&self.output, bytes, Hurry::Later);
        bytes.clear();
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The size at which a batch is handed over at the latest, in bytes: some 500 lines, a sixteenth of the queue.
const BATCH: usize = 64 * 1024;
/// The longest line, in bytes; what is beyond is cut off. A fourth of the queue. A request line may have 1 MiB.
pub(super) const LONGEST_LINE: usize = 256 * 1024;
const CUT: &[u8] = b"[...]";
