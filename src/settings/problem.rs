//! Error messages of settings: location, expected, found, and a hint on its own line. Makes no decisions.

use std::fmt;

use super::source_value::{Origin, quoted};

/// All problems of one set of sources; never empty. Exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The location.
    pub origin: Origin,
    /// The cause.
    pub cause: ProblemCause,
    /// The hint.
    pub hint: Option<String>,
}

/// The cause of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemCause {
    /// A file with invalid TOML, with the parser's message.
    Syntax(String),
    /// An unknown key.
    UnknownKey(String),
    /// A setting of gunicorn that rwsgi does not have.
    Absent {
        /// The key.
        key: String,
        /// Its status, for the message.
        state: &'static str,
    },
    /// A value that the setting does not accept.
    Value {
        /// The setting.
        name: &'static str,
        /// The expected value, for the message.
        expected: String,
        /// The found value, for the message.
        found: String,
    },
    /// A configuration file that cannot be used, with the message.
    File(String),
    /// A required setting that is missing.
    Missing(&'static str),
}

/// A rejected value, without its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// The expected value, for the message.
    pub expected: String,
    /// The found value, for the message.
    pub found: String,
    /// The hint.
    pub hint: Option<String>,
    /// The line of the element in a list of a file.
    pub line: Option<usize>,
}

impl ValueError {
    /// Creates an error for `text`, which is quoted.
    pub fn text(expected: impl Into<String>, text: &str) -> Self {
        Self::found(expected, quoted(text))
    }

    /// Creates an error for `found`, which is already formatted.
    pub fn found(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into(), hint: None, line: None }
    }

    /// Returns the error with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl std::error::Error for ValueError {}

impl Problem {
    /// Returns the setting whose value is wrong, if the problem is about one.
    pub(super) fn setting(&self) -> Option<&'static str> {
        match self.cause {
            ProblemCause::Value { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        match &self.cause {
            ProblemCause::Syntax(words) => write!(f, "not valid TOML: {words}")?,
            ProblemCause::File(words) => f.write_str(words)?,
            ProblemCause::UnknownKey(key) => write!(f, "{}: unknown setting", bare(key))?,
            ProblemCause::Absent { key, state } => write!(f, "{key}: this setting of gunicorn is {state}")?,
            ProblemCause::Value { name, expected, found } => {
                if matches!(self.origin, Origin::File { .. }) {
                    write!(f, "{name}: ")?;
                }
                write!(f, "expected {expected}, found {found}")?;
            }
            ProblemCause::Missing(what) => write!(f, "expected {what}, found none")?,
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { "\n" };
            write!(f, "{before}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Returns a key in TOML syntax, without quotes where possible.
pub fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { quoted(key) }
}
