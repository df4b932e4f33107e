//! Errors of the command line that are found before the settings are resolved.

use std::fmt;

/// A command line that is refused before the settings are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    words: String,
    exit_code: u8,
}

impl UsageError {
    /// Returns the exit code; 2 for words that cannot be parsed.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Creates an error whose message contains its hints.
    pub(super) fn of_words(words: String) -> Self {
        Self { words, exit_code: 2 }
    }

    /// Creates one error of several.
    pub(super) fn all(errors: &[UsageError]) -> Self {
        Self::of_words(errors.iter().map(|error| error.words.as_str()).collect::<Vec<_>>().join("\n"))
    }

    /// Creates an error with a hint to the help.
    pub(super) fn usage(words: impl fmt::Display) -> Self {
        Self { words: format!("{words}\nhint: rwsgi --help lists the options"), exit_code: 2 }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for UsageError {}
