//! Error messages of certificates and keys, with the setting that is wrong.

use std::fmt;
use std::path::Path;

/// An error that prevents TLS.
#[derive(Debug)]
pub struct TlsProblem {
    /// The setting's name.
    pub setting: &'static str,
    text: String,
}

impl TlsProblem {
    /// Creates an error about a setting.
    pub(super) fn of(setting: &'static str, text: impl Into<String>) -> TlsProblem {
        TlsProblem { setting, text: text.into() }
    }

    /// Creates an error about a file.
    pub(super) fn at(setting: &'static str, path: &Path, text: impl fmt::Display) -> TlsProblem {
        TlsProblem { setting, text: format!("{}: {text}", path.display()) }
    }
}

/// Formats the message without the setting.
impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsProblem {}
