//! What a source said: a name, a value as written, and where it stood. Knows no types of settings and judges nothing.

use std::fmt;

/// One setting given by one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The setting's name, as in the table (`workers`).
    pub name: &'static str,
    /// The value as written.
    pub value: Value,
    /// Where it stood.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A line of the configuration file, the first being 1.
    File {
        /// The path as it was given.
        path: String,
        /// The line; 0 where it is not known, in a Python file.
        line: usize,
    },
    /// An environment variable, by name.
    Env(String),
    /// A flag in its long form (`--workers`), or `APP`.
    Flag(String),
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word of the command line or the environment, in which any type may be spelled.
    Word(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer or float, as written (`0x10`, `1.5`); TOML's `0o17` has radix 8.
    Number {
        /// As written, underscores removed.
        text: String,
        /// 2, 8, 10 or 16.
        radix: u32,
    },
    /// A TOML boolean, or a flag that takes no value.
    Bool(bool),
    /// A TOML array, or the words of a flag that was given several times.
    List(Vec<Item>),
    /// A TOML table, in the order of its lines.
    Table(Vec<(String, Item)>),
    /// A TOML value that no setting takes, by what it is called (`a date or time`).
    Other(&'static str),
}

/// An element of a list or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The element.
    pub value: Value,
    /// Its line, when it stands in a file.
    pub line: Option<usize>,
}

impl Value {
    /// The value as it is shown in "found ...".
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

/// Text in quotes, on one line whatever it holds, cut after 80 characters.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{:?}", format!("{start}..."))
}

/// A word as it is shown: numbers bare, everything else in quotes.
pub fn shown(text: &str) -> String {
    if is_number(text) { text.to_owned() } else { quoted(text) }
}

/// Whether the text is a decimal number, be it negative or broken.
pub fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && text.parse::<f64>().is_ok_and(f64::is_finite)
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
