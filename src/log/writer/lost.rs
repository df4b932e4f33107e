//! Reports of lost lines: in the error log for all logs, and in syslog for the error log itself.

use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Hurry, Level, Outcome, Sink, Writer, line};

impl Writer {
    /// Writes a line about lost lines to the error log at once; `None` if it has no room either.
    pub(super) fn write_notice(&self, notice: &[u8]) -> Option<()> {
        let error = self.error.get()?;
        let (written, outcome) = error.sink.write(notice);
        error.sink.note_torn(notice, written);
        (outcome == Outcome::Done).then_some(())
    }

    pub(super) fn is_error_log(&self, sink: &Arc<Sink>) -> bool {
        self.error.get().is_some_and(|error| Arc::ptr_eq(&error.sink, sink))
    }

    /// Reports that `sink` lost `lines` lines, if any. `write` takes the line about it, or returns `None` if it has no
    /// room either.
    pub(super) fn report(&self, sink: &Sink, lines: u64, write: impl FnOnce(&[u8]) -> Option<()>) {
        if lines > 0 && write(line::dropped(self.format(), sink.name(), lines).as_bytes()).is_none() {
            sink.add_dropped(lines);
        }
    }

    /// Reports lost lines from the thread: in the error log, or in syslog where the error log takes none.
    pub(super) fn report_while_stuck(&self, sink: &Arc<Sink>) {
        let is_error_log = self.is_error_log(sink);
        let syslog = if is_error_log { self.remote_outputs().syslog } else { None };
        if is_error_log && syslog.is_none() {
            return;
        }
        let lines = sink.take_dropped_at_times();
        if let (Some((output, syslog)), true) = (syslog, lines > 0) {
            let words = format!("{} lines dropped n={lines}", sink.name());
            self.queue(&output, &syslog.error(Level::Warning, process::id(), &words), Hurry::Now);
            return;
        }
        self.report(sink, lines, |notice| self.queue_notice(notice));
    }

    pub(super) fn queue_notice(&self, notice: &[u8]) -> Option<()> {
        let error = self.error.get()?;
        self.queue(error, notice, Hurry::Now).then_some(())
    }

    /// Reports, without the thread, lost lines that are not reported yet.
    pub(in crate::log) fn report_lost(&self) {
        if self.owner.load(Ordering::Relaxed) != process::id() {
            let sinks: Vec<Arc<Sink>> = self.lock().list.iter().map(|queue| Arc::clone(&queue.sink)).collect();
            for sink in sinks {
                self.report(&sink, sink.take_dropped(), |notice| self.write_notice(notice));
            }
        }
    }
}
