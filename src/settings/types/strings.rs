//! Types that are free text: paths, targets of logs, the control socket, `KEY=VALUE`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::Text;

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

/// The path of a URL, as requests have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlPath(String);

impl UrlPath {
    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for UrlPath {
    const EXPECTED: &'static str = "the path of a URL, such as /healthz";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let is_path =
            text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        is_path.then(|| UrlPath(text.to_owned())).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        self.0.clone()
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
