//! Types with a fixed set of names: the worker class, timeout modes, reload engines, log levels and formats.

use std::fmt;
use std::path::PathBuf;

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

/// The place of the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlSocket {
    /// There is none.
    Off,
    /// At this path.
    At(PathBuf),
}

impl Text for ControlSocket {
    const EXPECTED: &'static str = "a path or off";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            "off" => Ok(Self::Off),
            _ => PathBuf::parse(text)
                .map(Self::At)
                .map_err(|wrong| ValueError { expected: Self::EXPECTED.to_owned(), ..wrong }),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::At(path) => path.text(),
        }
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
        named(&Self::NAMES, text).ok_or_else(|| match text.to_ascii_lowercase().as_str() {
            "warn" => ValueError::text(Self::EXPECTED, text).hint("did you mean warning?"),
            "fatal" => ValueError::text(Self::EXPECTED, text).hint("did you mean critical?"),
            _ => ValueError::text(Self::EXPECTED, text),
        })
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

/// The target of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// `-`: standard output for the access log, standard error for the error log.
    Standard,
    /// A file, opened for appending.
    File(PathBuf),
}

impl Text for LogTarget {
    const EXPECTED: &'static str = "a path, or - for the standard stream";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == "-" { Ok(Self::Standard) } else { PathBuf::parse(text).map(Self::File) }
    }

    fn text(&self) -> String {
        match self {
            Self::Standard => "-".to_owned(),
            Self::File(path) => path.text(),
        }
    }
}

/// An environment variable for the application, `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvPair {
    /// The name: not empty, no `=`, no NUL.
    pub key: String,
    /// The value: no NUL.
    pub value: String,
}

impl Text for EnvPair {
    const EXPECTED: &'static str = "KEY=VALUE";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !text.contains('\0') => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(ValueError::text(Self::EXPECTED, text)),
        }
    }

    fn text(&self) -> String {
        format!("{}={}", self.key, self.value)
    }
}

impl Text for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let plain = !text.contains(['\0', '\n', '\r']);
        plain.then(|| text.to_owned()).ok_or_else(|| ValueError::text("text on one line", text))
    }

    fn text(&self) -> String {
        self.clone()
    }
}

impl Text for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let path = !text.is_empty() && !text.contains('\0');
        path.then(|| Self::from(text)).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        self.to_string_lossy().into_owned()
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
