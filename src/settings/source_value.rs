//! A value as one source gave it: a name, the value as written, and its origin. Knows no types of settings and checks
//! nothing.

use std::fmt;

/// The value of one setting from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceValue {
    /// The setting's name, as in the table (`workers`).
    pub name: &'static str,
    /// The value as written.
    pub value: Value,
    /// The origin.
    pub origin: Origin,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No source: the default.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The path, as given.
        path: String,
        /// The line; 0 if unknown, in a Python file.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A flag in its long form (`--workers`), or `APP`.
    Flag(String),
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word of the command line or the environment, which can express any type.
    Word(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer or float, as written (`0x10`, `1.5`). TOML's `0o17` has radix 8.
    Number {
        /// The digits, without underscores.
        text: String,
        /// 2, 8, 10 or 16.
        radix: u32,
    },
    /// A TOML boolean, or a flag without a value.
    Bool(bool),
    /// A TOML array, or the words of a repeated flag.
    List(Vec<Item>),
    /// A TOML table, in the order of its lines.
    Table(Vec<(String, Item)>),
    /// A TOML value that no setting accepts, by its type (`a date or time`).
    Other(&'static str),
}

/// An element of a list or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The element.
    pub value: Value,
    /// Its line in a file.
    pub line: Option<usize>,
}

impl Value {
    /// Formats the value for "found ...".
    pub fn found(&self) -> String {
        match self {
            Self::Word(text) => shown(text),
            Self::Text(text) => quoted(text),
            Self::Number { text, .. } => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(what) => (*what).to_owned(),
        }
    }
}

/// Quotes text on one line, cut after 80 characters.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{:?}", format!("{start}..."))
}

/// Formats a word: numbers bare, other text in quotes.
pub fn shown(text: &str) -> String {
    if is_number(text) { text.to_owned() } else { quoted(text) }
}

/// True if the text is a decimal number; signs and fractions are allowed.
pub fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Returns a variable that is not blank. Compose and unit files often set a variable to nothing to leave it out.
pub(super) fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = environment.iter().find(|(key, _)| key == name)?;
    (!value.trim().is_empty()).then_some(value)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => f.write_str(path),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}
