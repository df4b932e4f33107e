//! Types with a fixed set of names: the worker class, timeout modes, reload engines, log levels and formats.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::super::source_value::quoted;
use super::Text;

/// The worker class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerClass {
    /// One request at a time.
    Sync,
    /// Several threads, one request each.
    Gthread,
}

impl WorkerClass {
    /// Parts of the names of gunicorn's other classes: `gevent_pywsgi`.
    const ELSEWHERE: [&'static str; 3] = ["gevent", "eventlet", "tornado"];
    /// Parts of the names of asynchronous classes: `uvicorn.workers.UvicornWorker`.
    const ASGI: [&'static str; 2] = ["asgi", "uvicorn"];
    /// The hint for a class with a dotted name, which is not one of gunicorn's.
    const CUSTOM: &'static str = "rwsgi has workers of its own: leave worker_class out; what such a class does when a worker starts, \
                                  at a request or at the end can be done in hooks (post_fork, post_worker_init, pre_request, \
                                  worker_exit)";
}

impl Text for WorkerClass {
    const EXPECTED: &'static str = "sync or gthread";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let refuse = |state: &str| ValueError::found(Self::EXPECTED, format!("{}, which is {state}", quoted(text)));
        match text {
            "sync" | "gunicorn.workers.sync.SyncWorker" | "egg:gunicorn#sync" => Ok(Self::Sync),
            "gthread" | "gunicorn.workers.gthread.ThreadWorker" | "egg:gunicorn#gthread" => Ok(Self::Gthread),
            _ if Self::ASGI.iter().any(|part| text.contains(part)) => {
                Err(refuse("not planned").hint("rwsgi serves WSGI applications; use an ASGI server for ASGI"))
            }
            _ if Self::ELSEWHERE.iter().any(|part| text.contains(part)) => {
                Err(refuse("not planned").hint("rwsgi uses processes and threads, not greenlets: --threads N"))
            }
            _ if text.contains("meinheld") => Err(refuse("not planned")
                .hint("rwsgi's workers are native code, too: leave worker_class out, or --threads N")),
            _ if text.contains('.') => Err(ValueError::text(Self::EXPECTED, text).hint(Self::CUSTOM)),
            _ => Err(ValueError::text(Self::EXPECTED, text)),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for WorkerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
        })
    }
}

/// The treatment of a request that takes longer than `timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeoutMode {
    /// Its stack is logged.
    Warn,
    /// An exception is raised in it; the request is aborted if that does not help.
    Soft,
    /// The request is aborted.
    Hard,
}

impl Text for TimeoutMode {
    const EXPECTED: &'static str = "soft, hard or warn";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            "warn" => Ok(Self::Warn),
            "soft" => Ok(Self::Soft),
            "hard" => Ok(Self::Hard),
            _ => Err(ValueError::text(Self::EXPECTED, text)),
        }
    }

    fn text(&self) -> String {
        let word = match self {
            Self::Warn => "warn",
            Self::Soft => "soft",
            Self::Hard => "hard",
        };
        word.to_owned()
    }
}

/// The order in which workers are replaced, in the words of Docker's `update_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadOrder {
    /// A replacement is ready before a worker ends.
    StartFirst,
    /// A worker has ended before its replacement is started.
    StopFirst,
}

impl Text for ReloadOrder {
    const EXPECTED: &'static str = "start-first or stop-first";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            "start-first" => Ok(Self::StartFirst),
            "stop-first" => Ok(Self::StopFirst),
            _ => Err(ValueError::text(Self::EXPECTED, text)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::StartFirst => "start-first",
            Self::StopFirst => "stop-first",
        }
        .to_owned()
    }
}

/// The method of detecting changed code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadEngine {
    /// inotify where it works, else polling.
    Auto,
    /// inotify(7).
    Inotify,
    /// Comparing the modification times of files.
    Poll,
}

impl ReloadEngine {
    const NAMES: [(&'static str, Self); 3] = [("auto", Self::Auto), ("inotify", Self::Inotify), ("poll", Self::Poll)];
}

impl Text for ReloadEngine {
    const EXPECTED: &'static str = "auto, inotify or poll";

    fn parse(text: &str) -> Result<Self, ValueError> {
        named(&Self::NAMES, text).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

/// The lowest level of the error log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Normal operation, and above.
    Info,
    /// Conditions that need attention, and above.
    Warning,
    /// Failures, and above.
    Error,
    /// The end of the service.
    Critical,
}

impl LogLevel {
    const NAMES: [(&'static str, Self); 5] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("critical", Self::Critical),
    ];

    /// Names that gunicorn takes as `info`, because it does not know them, each with the name of the level that it
    /// resembles.
    const AS_INFO: [(&'static str, &'static str); 4] =
        [("warn", "warning"), ("fatal", "critical"), ("trace", "debug"), ("notset", "debug")];

    /// Returns the name of the level that the text resembles, if gunicorn takes the text as `info`.
    pub fn resembled(text: &str) -> Option<&'static str> {
        named(&Self::AS_INFO, text)
    }

    /// Returns the label in a log line: `WARNING`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

impl Text for LogLevel {
    const EXPECTED: &'static str = "debug, info, warning, error or critical";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let as_info = || Self::resembled(text).map(|_| Self::Info);
        named(&Self::NAMES, text).or_else(as_info).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

/// The format of the error log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Time, pid and level in brackets, then the message.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    const NAMES: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

impl Text for LogFormat {
    const EXPECTED: &'static str = "text or json";

    fn parse(text: &str) -> Result<Self, ValueError> {
        named(&Self::NAMES, text).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

/// Returns the value of that name, in any case.
pub(super) fn named<T: Copy>(names: &[(&str, T)], text: &str) -> Option<T> {
    names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}

/// Returns the name of a value.
pub(super) fn name_of<T: Copy + PartialEq>(names: &[(&str, T)], value: T) -> String {
    let (name, _) = names.iter().find(|(_, named)| *named == value).expect("every value has a name");
    (*name).to_owned()
}
