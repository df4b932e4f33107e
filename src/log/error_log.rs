//! From `tracing`'s events to lines of the error log: a layer of `tracing-subscriber`. Writes nothing itself.

use std::error::Error;
use std::fmt::Debug;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::{self, Line};
use super::mirror;
use super::writer::Writer;
use super::{CRITICAL, Level};
use crate::os::clock;

/// The subscriber that feeds a writer's error log.
pub(super) struct ErrorLog {
    writer: &'static Writer,
}

impl ErrorLog {
    pub(super) fn new(writer: &'static Writer) -> ErrorLog {
        ErrorLog { writer }
    }
}

impl<S: Subscriber> Layer<S> for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        level(metadata).is_some_and(|level| level >= self.writer.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.writer.level() {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(level) = level(event.metadata()) else {
            return;
        };
        let mut found = Found::default();
        event.record(&mut found);
        let is_applications = event.metadata().target() == "wsgi.errors";
        let Found { event, message, fields } = found;
        let line = Line { wall: clock::wall(), pid: std::process::id(), level, event, message, fields };
        self.writer.error(&line.encode(self.writer.format()));
        self.writer.send_line(&line);
        // Text of the application is no line of the server.
        if !is_applications {
            mirror::note(&line);
        }
    }
}

/// Returns the level of an event; `None` for TRACE, which is not written.
fn level(metadata: &Metadata<'_>) -> Option<Level> {
    match *metadata.level() {
        tracing::Level::ERROR if metadata.target() == CRITICAL => Some(Level::Critical),
        tracing::Level::ERROR => Some(Level::Error),
        tracing::Level::WARN => Some(Level::Warning),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::DEBUG => Some(Level::Debug),
        tracing::Level::TRACE => None,
    }
}

#[derive(Default)]
struct Found {
    event: Option<String>,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Found {
    fn keep(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.push((field.name(), value.into()));
    }
}

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            // The first line may name a request, and leaves the room for a traceback to the others.
            let (first, others) = value.split_once('\n').unwrap_or((value, ""));
            let most = if others.is_empty() { LONGEST_MESSAGE } else { LONGEST_FIELD };
            self.message = line::cut(first, most).into_owned();
            if !others.is_empty() {
                self.message.extend(["\n", &line::cut(others, LONGEST_MESSAGE)]);
            }
        } else if field.name() == "event" {
            self.event = Some(value.to_owned());
        } else {
            self.keep(field, line::cut(value, LONGEST_FIELD));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value);
    }

    /// Writes a whole number as one: `timeout=2` in one line is not `timeout=2.0` in another.
    fn record_f64(&mut self, field: &Field, value: f64) {
        #[expect(clippy::cast_possible_truncation)] // The cut is compared below.
        let whole = value as i64;
        #[expect(clippy::cast_precision_loss, clippy::float_cmp)] // The comparison checks for equality.
        let is_whole = whole as f64 == value;
        if is_whole { self.keep(field, whole) } else { self.keep(field, value) }
    }
}

/// The longest message behind its first line, in bytes: its JSON, in which a control character has six, is shorter than a log's queue.
const LONGEST_MESSAGE: usize = 128 * 1024;
/// The longest value of a field, and first line of a message, in bytes. Request lines have 4 KiB by default.
const LONGEST_FIELD: usize = 16 * 1024;
