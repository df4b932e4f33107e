//! Lines of this process that Python's logging gets as well. They are kept until something that can call Python takes
//! them: the zygote for the master, a worker for itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Level;
use super::line::Line;
use crate::message::MirroredLine;

/// Begins or ends to keep lines. Those that are kept already are dropped at the end.
pub fn mirror(on: bool) {
    IS_ON.store(on, Ordering::Relaxed);
    if !on {
        take_mirrored();
    }
}

/// Returns the lines since the last call.
pub fn take_mirrored() -> Vec<MirroredLine> {
    std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps a line, if lines are kept and there is room.
pub(super) fn note(line: &Line) {
    if !IS_ON.load(Ordering::Relaxed) {
        return;
    }
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() < MOST {
        let mut text = line.words();
        let end = (0..=MOST_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        let level = match line.level {
            Level::Debug => 10,
            Level::Info => 20,
            Level::Warning => 30,
            Level::Error => 40,
            Level::Critical => 50,
        };
        lines.push(MirroredLine { level, pid: line.pid, created: line.wall.as_secs_f64(), text });
    }
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static LINES: Mutex<Vec<MirroredLine>> = Mutex::new(Vec::new());
/// More than a start or a stop of a thousand workers has.
const MOST: usize = 4096;
/// Fits a message of a channel, tracebacks included.
const MOST_BYTES: usize = 16 * 1024;
