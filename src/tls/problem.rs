//! Error messages of certificates and keys, with the setting that is wrong.

use std::fmt;
use std::path::Path;

/// An error that prevents TLS.
#[derive(Debug)]
pub struct Problem {
    /// The setting's name.
    pub setting: &'static str,
    text: String,
}

impl Problem {
    /// Creates an error about a setting.
    pub(super) fn of(setting: &'static str, text: impl Into<String>) -> Problem {
        Problem { setting, text: text.into() }
    }

    /// Creates an error about a file.
    pub(super) fn at(setting: &'static str, path: &Path, text: impl fmt::Display) -> Problem {
        Problem { setting, text: format!("{}: {text}", path.display()) }
    }
}

/// Formats the message without the setting.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}
