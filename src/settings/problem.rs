//! What is wrong with settings, in words: where, what was expected, what was found; a remedy on its own line.
//! Decides nothing about what is wrong.

use std::fmt;

use super::source_value::{Origin, quoted};

/// Everything wrong with one set of sources; never empty. Exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// Why.
    pub cause: Cause,
    /// What would help.
    pub hint: Option<String>,
}

/// Why a source is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The file is no TOML; the parser's words.
    Syntax(String),
    /// A key that no setting has.
    UnknownKey(String),
    /// A setting of gunicorn that is not there.
    Absent {
        /// The key.
        key: String,
        /// Whether it will be, in words.
        state: &'static str,
    },
    /// A value that its setting does not take.
    Value {
        /// The setting.
        name: &'static str,
        /// What was expected, in words.
        expected: String,
        /// What was found, in words.
        found: String,
    },
    /// The configuration file cannot be of this kind; the words say which.
    File(String),
    /// A setting without which there is no start.
    Missing(&'static str),
}

/// A value that is refused, before it is known where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// What would help.
    pub hint: Option<String>,
    /// The line of the element, when it stood in a list of a file.
    pub line: Option<usize>,
}

impl Wrong {
    /// `text` was found where `expected` was.
    pub fn text(expected: impl Into<String>, text: &str) -> Self {
        Self::found(expected, quoted(text))
    }

    /// `found`, already in words, stood where `expected` was.
    pub fn found(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into(), hint: None, line: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl std::error::Error for Wrong {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        match &self.cause {
            Cause::Syntax(words) => write!(f, "not valid TOML: {words}")?,
            Cause::File(words) => f.write_str(words)?,
            Cause::UnknownKey(key) => write!(f, "{}: unknown setting", bare(key))?,
            Cause::Absent { key, state } => write!(f, "{key}: this setting of gunicorn is {state}")?,
            Cause::Value { name, expected, found } => {
                if matches!(self.origin, Origin::File { .. }) {
                    write!(f, "{name}: ")?;
                }
                write!(f, "expected {expected}, found {found}")?;
            }
            Cause::Missing(what) => write!(f, "expected {what}, found none")?,
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

/// A key as TOML would write it: bare if it can be.
pub fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { quoted(key) }
}

/// The one of `names` that differs least from `word`, if it differs by at most a third of its letters.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(word, name), name))
        .filter(|(distance, name)| *distance * 3 <= name.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be put in, left out, changed, or swapped with their neighbour to make `b` of `a`
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            next[j + 1] = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = row;
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn letters_are_put_in_left_out_changed_and_swapped() {
        for (a, b, expected) in
            [("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "xbcd", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_word_too_far_away_has_no_nearest() {
        let names = || ["bind", "workers"].into_iter();
        assert_eq!(nearest("worker", names()), Some("workers"));
        assert_eq!(nearest("colour", names()), None);
    }
}
