//! The queues of a process's logs and the one thread that empties them.
//!
//! The thread has four states. *Asleep* it waits for the first line and costs nothing. *Writing* it takes the queued
//! lines, writes without the lock, and goes on until nothing is left; a destination that is full is polled, the others
//! go on. *Napping*, for a moment after it wrote, only an urgent line wakes it: a busy worker wakes it a few times a
//! second, not once a line. *Stuck* is the same while a socket of syslog or statsd takes no more: its lines wait, the
//! others do not.
//!
//! Lost lines are counted, and reported in the error log: once there is room again, and every few seconds while there
//! is none.
//!
//! `owner` is the process whose thread runs. Any other process (before the thread, or forked by the application)
//! touches no lock that its thread could have held at the fork, and writes directly.

mod lost;
mod remotes;

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::poll::PollTimeout;

use super::line::{self, Line};
use super::sink::{Sink, wait_writable};
use super::socket::{Cut, LogSocket, Outcome};
use super::{ERROR_LOG, Format, Level, STATSD, SYSLOG};
use crate::message::{Statsd, Syslog};
use crate::os::thread;

/// The logs of one process.
pub(super) struct Writer {
    owner: AtomicU32,
    level: AtomicU8,
    format: AtomicU8,
    error: OnceLock<Output>,
    remotes: Mutex<RemoteOutputs>,
    queues: Mutex<Queues>,
    /// Wakes the thread.
    wake: Condvar,
    /// Wakes [`Writer::flush`].
    rested: Condvar,
}

/// The outputs besides the files.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteOutputs {
    pub(super) syslog: Option<(Output, Syslog)>,
    pub(super) statsd: Option<(Output, Statsd)>,
}

/// A log that was added to a writer.
#[derive(Clone, Debug)]
pub(super) struct Output {
    sink: Arc<Sink>,
    number: usize,
}

pub(super) struct Queues {
    list: Vec<Queue>,
    state: State,
    /// True if a line must not wait for the end of the nap.
    hurried: bool,
}

struct Queue {
    sink: Arc<Sink>,
    pending: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asleep,
    Napping,
    Writing,
    Stuck,
}

impl Writer {
    pub(super) const fn new() -> Writer {
        Writer {
            owner: AtomicU32::new(0),
            level: AtomicU8::new(Level::Info as u8),
            format: AtomicU8::new(Format::Text as u8),
            error: OnceLock::new(),
            remotes: Mutex::new(RemoteOutputs { syslog: None, statsd: None }),
            queues: Mutex::new(Queues { list: Vec::new(), state: State::Asleep, hurried: false }),
            wake: Condvar::new(),
            rested: Condvar::new(),
        }
    }

    pub(super) fn choose(&self, level: Level, format: Format) {
        self.level.store(level as u8, Ordering::Relaxed);
        self.format.store(format as u8, Ordering::Relaxed);
    }

    pub(super) fn level(&self) -> Level {
        let level = self.level.load(Ordering::Relaxed);
        let all = [Level::Debug, Level::Info, Level::Warning, Level::Error];
        all.into_iter().find(|known| *known as u8 == level).unwrap_or(Level::Critical)
    }

    pub(super) fn format(&self) -> Format {
        if self.format.load(Ordering::Relaxed) == Format::Json as u8 { Format::Json } else { Format::Text }
    }

    /// Sets the error log's destination, or changes it.
    pub(super) fn set_error(&self, fd: OwnedFd) -> io::Result<()> {
        if let Some(output) = self.error.get() {
            return output.sink.redirect(&fd);
        }
        let output = self.add(Sink::new(fd, ERROR_LOG));
        // Another thread was faster: impossible before the first thread, harmless after.
        let _ = self.error.set(output);
        Ok(())
    }

    /// Leads the logs of this name to another file.
    pub(super) fn redirect(&self, name: &str, to: &OwnedFd) -> io::Result<()> {
        let queues = self.lock();
        queues.list.iter().filter(|queue| queue.sink.name() == name).try_for_each(|queue| queue.sink.redirect(to))
    }

    /// Adds a log. It stays for the life of the process.
    pub(super) fn add(&self, sink: Sink) -> Output {
        let sink = Arc::new(sink);
        let mut queues = self.lock();
        queues.list.push(Queue { sink: Arc::clone(&sink), pending: Vec::new() });
        Output { sink, number: queues.list.len() - 1 }
    }

    /// Writes one line to the error log.
    pub(super) fn error(&self, line: &str) {
        if let Some(output) = self.error.get() {
            self.push(output, line.as_bytes(), Hurry::Now);
        }
    }

    /// Writes whole lines to the log of this name.
    pub(super) fn push_named(&self, name: &str, lines: &[u8]) {
        if self.owner.load(Ordering::Relaxed) != process::id() {
            return;
        }
        let found = self
            .lock()
            .list
            .iter()
            .enumerate()
            .find(|(_, queue)| queue.sink.name() == name)
            .map(|(number, queue)| Output { sink: Arc::clone(&queue.sink), number });
        if let Some(output) = found {
            self.push(&output, lines, Hurry::Later);
        }
    }

    /// Writes whole lines to a log.
    pub(super) fn push(&self, output: &Output, lines: &[u8], hurry: Hurry) {
        if lines.is_empty() {
            return;
        }
        if self.owner.load(Ordering::Relaxed) != process::id() {
            self.write_now(output, lines);
            return;
        }
        if !self.queue(output, lines, hurry) {
            output.sink.lose(lines, 0);
        }
    }

    /// Queues lines for the thread; false if there is no room.
    fn queue(&self, output: &Output, lines: &[u8], hurry: Hurry) -> bool {
        let mut queues = self.lock();
        let pending = &mut queues.list[output.number].pending;
        if pending.len() + lines.len() > LIMIT {
            return false;
        }
        pending.extend_from_slice(lines);
        queues.hurried |= hurry == Hurry::Now || pending.len() > LIMIT / 2;
        let naps = matches!(queues.state, State::Napping | State::Stuck);
        if queues.state == State::Asleep || (naps && queues.hurried) {
            self.wake.notify_one();
        }
        true
    }

    /// Writes without the thread: lines that do not go at once are lost and counted.
    fn write_now(&self, output: &Output, lines: &[u8]) {
        // Lost lines of the error log are reported before the next line, if it has room again.
        if self.is_error_log(&output.sink) {
            self.report(&output.sink, output.sink.take_dropped(), |notice| self.write_notice(notice));
        }
        let (written, outcome) = output.sink.write(lines);
        let dropped = if outcome == Outcome::Done {
            output.sink.take_dropped()
        } else {
            output.sink.lose(lines, written);
            if self.is_error_log(&output.sink) { 0 } else { output.sink.take_dropped_at_times() }
        };
        self.report(&output.sink, dropped, |notice| self.write_notice(notice));
    }

    /// Starts the thread, with every signal blocked: signals are for the threads that wait for them.
    pub(super) fn start(&'static self) -> io::Result<()> {
        if self.owner.load(Ordering::Relaxed) == process::id() {
            return Ok(());
        }
        thread::start("rwsgi-log", || self.run())?;
        self.owner.store(process::id(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits until nothing is queued and nothing is being written; false if `limit` is over first. Lines that are lost,
    /// or are still on their way, are reported in the error log.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        if self.owner.load(Ordering::Relaxed) != process::id() {
            return true;
        }
        let mut queues = self.lock();
        queues.hurried = true;
        self.wake.notify_one();
        let busy = |queues: &mut Queues| matches!(queues.state, State::Writing | State::Stuck) || !queues.is_empty();
        let waited = self.rested.wait_timeout_while(queues, limit, busy).unwrap_or_else(PoisonError::into_inner);
        for Queue { sink, pending } in &waited.0.list {
            let lines = sink.take_dropped() + sink.lines(pending) + sink.unwritten();
            self.report(sink, lines, |notice| self.write_notice(notice));
        }
        !waited.1.timed_out()
    }

    fn run(&self) {
        let mut batches: Vec<Batch> = Vec::new();
        loop {
            self.collect(&mut batches);
            let full: Vec<&Sink> = batches.iter_mut().filter_map(|batch| self.advance(batch)).collect();
            // A short wait: the other logs may get lines meanwhile.
            if full.iter().any(|sink| !sink.is_remote()) {
                let full: Vec<BorrowedFd<'_>> = full.iter().map(|sink| sink.as_fd()).collect();
                wait_writable(&full, PollTimeout::from(STUCK));
            } else if !full.is_empty() {
                self.nap_stuck();
            }
        }
    }

    /// Waits for a socket, and for urgent lines of the other logs.
    fn nap_stuck(&self) {
        let mut queues = self.lock();
        queues.state = State::Stuck;
        let limit = Duration::from_millis(STUCK.into());
        let _ = self.wake.wait_timeout_while(queues, limit, |queues| !queues.hurried);
    }

    /// Takes the queued lines of each log whose last batch is written; if all are, waits for a line.
    fn collect(&self, batches: &mut Vec<Batch>) {
        let mut queues = self.lock();
        if batches.iter().all(Batch::is_done) {
            queues = self.rest(queues);
        }
        queues.state = State::Writing;
        queues.hurried = false;
        for queue in queues.list.iter().skip(batches.len()) {
            batches.push(Batch { sink: Arc::clone(&queue.sink), bytes: Vec::new(), written: 0 });
        }
        for (queue, batch) in queues.list.iter_mut().zip(batches) {
            if batch.is_done() {
                batch.empty();
                mem::swap(&mut queue.pending, &mut batch.bytes);
                batch.sink.note_taken(&batch.bytes);
            }
        }
    }

    fn rest<'a>(&self, mut queues: MutexGuard<'a, Queues>) -> MutexGuard<'a, Queues> {
        if queues.state == State::Writing {
            queues.state = State::Napping;
            self.rested.notify_all();
            let napped = self.wake.wait_timeout_while(queues, NAP, |queues| !queues.hurried);
            queues = napped.unwrap_or_else(PoisonError::into_inner).0;
        }
        queues.state = State::Asleep;
        self.wake.wait_while(queues, |queues| queues.is_empty()).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the next part of a batch; returns the sink if it is full.
    fn advance<'a>(&self, batch: &'a mut Batch) -> Option<&'a Sink> {
        if batch.is_done() {
            return None;
        }
        let (written, outcome) = batch.sink.write(&batch.bytes[batch.written..]);
        batch.sink.note_written(&batch.bytes[batch.written..batch.written + written]);
        batch.written += written;
        match outcome {
            Outcome::Full => self.report_while_stuck(&batch.sink),
            Outcome::Refused => {
                batch.sink.lose(&batch.bytes, batch.written);
                batch.written = batch.bytes.len();
                batch.sink.note_taken(&[]);
                self.report_while_stuck(&batch.sink);
            }
            Outcome::Done => {
                self.report(&batch.sink, batch.sink.take_dropped(), |notice| self.queue_notice(notice));
            }
        }
        (outcome == Outcome::Full).then_some(&*batch.sink)
    }

    /// Locks the queues. No code under this lock can panic and leave them half changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.list.iter().all(|queue| queue.pending.is_empty())
    }
}

/// The urgency of lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hurry {
    Now,
    Later,
}

/// The lines that the thread is writing to one log.
struct Batch {
    sink: Arc<Sink>,
    bytes: Vec<u8>,
    written: usize,
}

impl Batch {
    fn is_done(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn empty(&mut self) {
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

/// The most bytes that may be queued for each log; as many again may be on their way to the file. Some ten thousand
/// lines: a stalled disk or a slow reader costs a busy worker these in a second.
const LIMIT: usize = 1 << 20;

/// The capacity beyond which an emptied buffer is freed, in bytes.
const KEPT: usize = 256 * 1024;

/// The longest time that lines of the access log wait for more of them: too short for a reader to notice.
const NAP: Duration = Duration::from_millis(50);

/// The interval of looks at the other logs while one is full, in milliseconds.
const STUCK: u8 = 50;
