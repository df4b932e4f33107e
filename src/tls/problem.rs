//! What is wrong with certificates and keys: the setting that is to blame, and a sentence.

use std::fmt;
use std::path::Path;

/// Something that keeps TLS from being served.
#[derive(Debug)]
pub struct Problem {
    /// The setting's name.
    pub setting: &'static str,
    text: String,
}

impl Problem {
    /// About a setting as a whole.
    pub(super) fn of(setting: &'static str, text: impl Into<String>) -> Problem {
        Problem { setting, text: text.into() }
    }

    /// About a file.
    pub(super) fn at(setting: &'static str, path: &Path, text: impl fmt::Display) -> Problem {
        Problem { setting, text: format!("{}: {text}", path.display()) }
    }
}

/// The sentence, without the setting.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}
