//! The settings on the command line, and the names of the options that are no settings.

use std::cell::OnceCell;
use std::path::Path;

use toml::de::DeTable;

use super::usage_error::UsageError;
use crate::settings::source_value::quoted;
use crate::settings::{AppName, AppSource, Problem, Row, Script, Settings, SourceValue, Value};

/// The settings on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The configuration file.
    pub config: Option<Config>,
    /// The settings in `GUNICORN_CMD_ARGS`.
    pub words: Vec<SourceValue>,
    /// The settings given by flags.
    pub flags: Vec<SourceValue>,
    /// Warnings for options of gunicorn that were skipped.
    pub skipped: Vec<String>,
    /// The text of a configuration file that can be read only once, such as a pipe.
    pub read_once: OnceCell<String>,
}

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// The path of a TOML file.
    Toml(String),
    /// A Python file or module.
    Python(Script),
}

impl Invocation {
    /// Returns the application, or an error if there is none. A hint names an option that may have taken the
    /// application's name as its value.
    pub fn app<'a>(&self, settings: &'a Settings) -> Result<&'a AppName, Problem> {
        settings.app().map_err(|problem| {
            let hints: Vec<String> = self.taken_app().into_iter().chain(problem.hint).collect();
            Problem { hint: Some(hints.join("\nhint: ")), ..problem }
        })
    }

    /// Returns a hint about the first option that accepts any word and was given a possible application name.
    fn taken_app(&self) -> Option<String> {
        self.flags.iter().find_map(|given| {
            let row = Row::named(given.name)?;
            let word = match &given.value {
                Value::Word(word) => word,
                Value::List(items) => items.iter().find_map(|item| match &item.value {
                    Value::Word(word) => Some(word),
                    _ => None,
                })?,
                _ => return None,
            };
            let (flag, metavar) = (row.flag_name(), row.metavar);
            (takes_any_word(row) && looks_like_app(word)).then(|| {
                format!("{flag} took {} for its {metavar}; if that is APP: {flag} {metavar} {word}", quoted(word))
            })
        })
    }
}

impl Config {
    /// Returns the path or the module, as given.
    pub(super) fn place(&self) -> &str {
        match self {
            Config::Toml(path) | Config::Python(Script::File(path) | Script::Module(path)) => path,
        }
    }

    /// Returns the error for a file whose name ends as those of another format do.
    pub(super) fn refuse_foreign(text: &str) -> Result<(), UsageError> {
        let path = Path::new(text.strip_prefix("file:").unwrap_or(text));
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        if text.starts_with("python:") || !FOREIGN_FORMATS.contains(&ending.as_str()) {
            return Ok(());
        }
        Err(UsageError::of_words(format!(
            "--{CONFIG}: {text}: expected a file in TOML or Python, found one in {}\nhint: a setting in TOML is a line \
             such as workers = 2; `rwsgi settings` prints all of them",
            ending.to_ascii_uppercase()
        )))
    }

    /// Returns the path of a file whose name does not tell what it is.
    pub(super) fn undecided(&self) -> Option<&str> {
        match self {
            Config::Toml(path) if Path::new(path).extension().is_none_or(|end| end != "toml") => Some(path),
            _ => None,
        }
    }

    /// Returns what such a file is: Python, unless its text is TOML. With Python comes a remark that says so.
    pub(super) fn decided(path: &str, text: &str) -> (Config, Option<String>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Err(error) = DeTable::parse(text) else { return (Config::Toml(path.to_owned()), None) };
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let remark = format!(
            "--config: {path}: read as Python, because line {line} is not TOML; a name that ends in .toml or .py is not guessed"
        );
        (Config::Python(Script::File(path.to_owned())), Some(remark))
    }

    /// Parses `PATH`, `file:PATH` or `python:MODULE`. A path that ends in `.py` is Python, any other TOML until its text
    /// is looked at.
    pub(super) fn parse(text: &str) -> Config {
        if let Some(module) = text.strip_prefix("python:") {
            return Config::Python(Script::Module(module.to_owned()));
        }
        let path = text.strip_prefix("file:").unwrap_or(text).to_owned();
        if Path::new(&path).extension().is_some_and(|end| end == "py") {
            return Config::Python(Script::File(path));
        }
        Config::Toml(path)
    }
}

fn takes_any_word(row: &Row) -> bool {
    (row.set)(&mut Settings::default(), &Value::Word("any.word".to_owned())).is_ok()
}

/// True for `hello`, `mysite.wsgi`, `hello:app` and `hello.py`, but not for `www-data`, `access.log` and
/// `/run/app.pid`.
fn looks_like_app(word: &str) -> bool {
    let ends_in = |ends: &[&str]| Path::new(word).extension().is_some_and(|end| ends.iter().any(|known| end == *known));
    match AppName::parse(word).map(|app| app.source) {
        Ok(AppSource::Module(name)) => !name.contains('-') && !ends_in(&["log", "pid"]),
        // With a callable it can be nothing else.
        Ok(AppSource::File(_)) => word.contains(".py:") || ends_in(&["py", "wsgi"]),
        Err(_) => false,
    }
}

/// Endings of the names of files that are neither TOML nor Python.
const FOREIGN_FORMATS: [&str; 4] = ["yaml", "yml", "json", "xml"];
/// gunicorn's variable for options.
pub const CMD_ARGS: &str = "GUNICORN_CMD_ARGS";
/// Options of verbs.
pub(super) const WAIT: &str = "wait";
pub(super) const JSON: &str = "json";
pub(super) const WITHIN: &str = "within";
pub(super) const CONFIG: &str = "config";
/// The verb that lists servers.
pub(super) const LIST: &str = "ls";
