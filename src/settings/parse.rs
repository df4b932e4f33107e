//! Converts a source's value to the type of its setting, with one function for each kind of setting. A list reports all
//! its errors at once.

use std::path::PathBuf;

use super::problem::{ValueError, bare};
use super::source_value::{Item, Value, quoted};
use super::types::{
    Bind, EnvPair, FieldName, InToml, Peers, ProxyMode, SchemeFields, Text, UrlPath, WarmupRequest, parse_whole,
};

/// A value, or everything that is wrong with it.
pub type Parsed<T> = Result<T, Vec<ValueError>>;

/// Behaviour that all types of settings share: the kind of flag, and printing.
pub trait Setting {
    /// The kind of its flag.
    const KIND: FlagKind;

    /// Returns the value in TOML syntax, or `None` if it is not set.
    fn toml(&self) -> Option<String>;
}

/// The kinds of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// A flag without a value.
    Switch,
    /// A flag with one value; the last one counts.
    One,
    /// A flag that can be given several times.
    List,
}

/// The type of a list's elements.
pub trait Element: Text {
    /// The expected text of the list, for "expected ...".
    const LIST: &'static str;
    /// The separator of the elements in a single string or word.
    const SEPARATOR: char;

    /// Returns a hint for a table in place of the list.
    fn hint_for_table(_entries: &[(String, Item)]) -> Option<String> {
        None
    }
}

impl Element for Bind {
    const LIST: &'static str = "a list of addresses (HOST:PORT, unix:PATH, fd://N or fd://NAME)";
    const SEPARATOR: char = ',';
}

impl Element for PathBuf {
    const LIST: &'static str = "a list of paths";
    const SEPARATOR: char = ',';
}

impl Element for EnvPair {
    const LIST: &'static str = "a list of KEY=VALUE";
    // A value may contain commas, and a secret any character except a line break.
    const SEPARATOR: char = '\n';

    fn hint_for_table(entries: &[(String, Item)]) -> Option<String> {
        Some(format!("write a list: {}", list_of_pairs(entries)))
    }
}

impl Element for Peers {
    const LIST: &'static str = "a list of IP addresses and networks, or *";
    const SEPARATOR: char = ',';
}

impl Element for FieldName {
    const LIST: &'static str = "a list of header fields' names, or *";
    const SEPARATOR: char = ',';
}

impl Element for WarmupRequest {
    const LIST: &'static str = "a list of paths and URLs";
    const SEPARATOR: char = ',';
}

impl Element for UrlPath {
    const LIST: &'static str = "a list of paths";
    const SEPARATOR: char = ',';
}

/// Parses a boolean.
pub fn switch(value: &Value) -> Parsed<bool> {
    const EXPECTED: &str = "true or false";
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Word(word) => match word.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => wrong(ValueError::text(EXPECTED, word)),
        },
        other => wrong(ValueError::found(EXPECTED, other.found())),
    }
}

/// Parses an integer from `LOW` to `HIGH`.
pub fn whole<const LOW: u64, const HIGH: u64>(value: &Value) -> Parsed<u64> {
    let expected =
        if HIGH == u64::MAX { "a whole number".to_owned() } else { format!("a whole number from {LOW} to {HIGH}") };
    let refuse = || ValueError::found(expected.clone(), value.found());
    let number = match value {
        Value::Word(text) | Value::Number { text, .. } => parse_whole(text.trim()),
        Value::Text(text) if parse_whole(text.trim()).is_some() => {
            return wrong(refuse().hint(UNQUOTED));
        }
        _ => None,
    };
    number.filter(|number| (LOW..=HIGH).contains(number)).ok_or_else(|| vec![refuse()])
}

/// Parses an integer from `LOW` to `HIGH` that fits 32 bits.
pub fn whole_u32<const LOW: u64, const HIGH: u64>(value: &Value) -> Parsed<u32> {
    const { assert!(HIGH <= u32::MAX as u64) };
    whole::<LOW, HIGH>(value).map(|number| u32::try_from(number).expect("HIGH fits"))
}

/// Parses a type that is written as text.
pub fn one<T: Text>(value: &Value) -> Parsed<T> {
    let parsed = match value {
        Value::Word(text) => T::parse(text.trim()),
        Value::Text(text) => from_text(text.trim()),
        Value::Number { text, radix } => from_number(text, *radix),
        _ => Err(ValueError::found(T::EXPECTED, "")),
    };
    parsed.map_err(|wrong| {
        // The value is shown as the source wrote it, quotes included. A more specific text is kept.
        let is_spelled = matches!(value, Value::Word(_) | Value::Text(_)) && T::IN_TOML == InToml::Text;
        vec![if is_spelled { wrong } else { ValueError { found: value.found(), ..wrong } }]
    })
}

/// Parses a string of a TOML file.
fn from_text<T: Text>(text: &str) -> Result<T, ValueError> {
    let parsed = T::parse(text)?;
    let is_number = text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    match T::IN_TOML {
        InToml::Number | InToml::NumberOrText if is_number => Err(ValueError::text(T::EXPECTED, text).hint(UNQUOTED)),
        _ => Ok(parsed),
    }
}

/// Parses a number of a TOML file.
fn from_number<T: Text>(text: &str, radix: u32) -> Result<T, ValueError> {
    let parsed = T::parse(text)?;
    let refuse = |hint: String| Err(ValueError::found(T::EXPECTED, text).hint(hint));
    match T::IN_TOML {
        InToml::Text => refuse(QUOTED.to_owned()),
        InToml::Octal if radix != 8 && text != "0" => {
            refuse(format!("write 0o{text} or \"{text}\"; {text} is a decimal number"))
        }
        _ => Ok(parsed),
    }
}

/// Parses a value that may be empty, which means not set.
pub fn optional<T: Text>(value: &Value) -> Parsed<Option<T>> {
    match value {
        Value::Word(text) | Value::Text(text) if text.trim().is_empty() => Ok(None),
        _ => one(value).map(Some),
    }
}

/// Parses the path of a pid file. A number is a port, or the id of a process, on the wrong option.
pub fn pid_file(value: &Value) -> Parsed<Option<PathBuf>> {
    let path: Option<PathBuf> = optional(value)?;
    let Some(number) = path.as_ref().and_then(|path| path.to_str()).filter(|path| parse_whole(path).is_some()) else {
        return Ok(path);
    };
    let hint = format!("--bind 127.0.0.1:{number} sets a port; a pid file of this name is ./{number}");
    wrong(ValueError::found("the path of a file", number).hint(hint))
}

/// Returns the list of `raw_env` for a table. Its values can be secrets, so they are left out.
pub(super) fn list_of_pairs(entries: &[(String, Item)]) -> String {
    const SHOWN: usize = 3;
    let pair = |(name, _): &(String, Item)| quoted(&format!("{name}=..."));
    let mut pairs: Vec<String> = entries.iter().take(SHOWN).map(pair).collect();
    pairs.extend((entries.len() > SHOWN).then(|| "...".to_owned()));
    format!("raw_env = [{}]", pairs.join(", "))
}

/// Parses a list, or one string with separators.
pub fn list<T: Element>(value: &Value) -> Parsed<Vec<T>> {
    let mut elements = Vec::new();
    let mut problems = Vec::new();
    let mut add = |value: &Value, line| match split::<T>(value) {
        Ok(more) => elements.extend(more),
        Err(wrongs) => problems.extend(wrongs.into_iter().map(|wrong| ValueError { line, ..wrong })),
    };
    match value {
        Value::List(items) => items.iter().for_each(|Item { value, line }| add(value, *line)),
        value => add(value, None),
    }
    if problems.is_empty() { Ok(elements) } else { Err(problems) }
}

/// Parses a list that must not be empty.
pub fn some<T: Element>(value: &Value) -> Parsed<Vec<T>> {
    let elements = list::<T>(value)?;
    if elements.is_empty() {
        return wrong(ValueError::found(T::LIST, "an empty one"));
    }
    Ok(elements)
}

/// Parses a PROXY mode, or gunicorn's boolean.
pub fn proxy_mode(value: &Value) -> Parsed<ProxyMode> {
    match value {
        Value::Bool(true) => Ok(ProxyMode::Auto),
        Value::Bool(false) => Ok(ProxyMode::Off),
        other => one(other),
    }
}

/// Parses a table of texts, or one word of `NAME=VALUE` pairs separated by commas.
pub fn scheme_fields(value: &Value) -> Parsed<SchemeFields> {
    let mut fields = SchemeFields::default();
    let mut problems = Vec::new();
    match value {
        Value::Table(entries) => {
            for (name, Item { value, line }) in entries {
                let added = match value {
                    Value::Text(https) => fields.add(name, https),
                    other => Err(ValueError::found(format!("text as the value of {name}"), other.found())),
                };
                problems.extend(added.err().map(|wrong| ValueError { line: *line, ..wrong }));
            }
        }
        Value::Word(text) => {
            for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                let added = match pair.split_once('=') {
                    Some((name, https)) => fields.add(name.trim(), https),
                    None => Err(ValueError::text("NAME=VALUE", pair)),
                };
                problems.extend(added.err());
            }
        }
        other => problems.push(ValueError::found(SchemeFields::EXPECTED, other.found())),
    }
    if problems.is_empty() { Ok(fields) } else { Err(problems) }
}

const QUOTED: &str = "write it in quotes";
const UNQUOTED: &str = "write the number without quotes";

fn split<T: Element>(value: &Value) -> Parsed<Vec<T>> {
    let text = match value {
        Value::Word(text) | Value::Text(text) => text,
        Value::Number { text, .. } => {
            let hint = T::parse(text).err().and_then(|wrong| wrong.hint);
            return wrong(ValueError { hint, ..ValueError::found(T::LIST, value.found()) });
        }
        Value::Table(entries) => {
            return wrong(ValueError { hint: T::hint_for_table(entries), ..ValueError::found(T::LIST, value.found()) });
        }
        _ => return wrong(ValueError::found(T::LIST, value.found())),
    };
    let parts = text.split(T::SEPARATOR).map(str::trim).filter(|part| !part.is_empty());
    parts.map(T::parse).collect::<Result<_, _>>().map_err(|wrong| vec![wrong])
}

fn wrong<T>(wrong: ValueError) -> Parsed<T> {
    Err(vec![wrong])
}

impl Setting for bool {
    const KIND: FlagKind = FlagKind::Switch;

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u32 {
    const KIND: FlagKind = FlagKind::One;

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u64 {
    const KIND: FlagKind = FlagKind::One;

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for SchemeFields {
    const KIND: FlagKind = FlagKind::One;

    fn toml(&self) -> Option<String> {
        let entry = |(name, https): (&str, &str)| format!("{} = {}", bare(name), toml::Value::String(https.to_owned()));
        let entries: Vec<String> = self.iter().map(entry).collect();
        Some(if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) })
    }
}

impl<T: Text> Setting for T {
    const KIND: FlagKind = FlagKind::One;

    fn toml(&self) -> Option<String> {
        Some(scalar(self))
    }
}

impl<T: Text> Setting for Option<T> {
    const KIND: FlagKind = FlagKind::One;

    fn toml(&self) -> Option<String> {
        self.as_ref().map(scalar)
    }
}

impl<T: Text> Setting for Vec<T> {
    const KIND: FlagKind = FlagKind::List;

    fn toml(&self) -> Option<String> {
        let elements: Vec<String> = self.iter().map(scalar).collect();
        Some(format!("[{}]", elements.join(", ")))
    }
}

fn scalar<T: Text>(value: &T) -> String {
    let text = value.text();
    let is_bare = match T::IN_TOML {
        InToml::Text => false,
        InToml::Number | InToml::Octal => true,
        InToml::NumberOrText => text.bytes().all(|c| c.is_ascii_digit()),
    };
    if is_bare { text } else { toml::Value::String(text).to_string() }
}
