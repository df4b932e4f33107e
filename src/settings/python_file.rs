//! Takes the settings from the names that a Python configuration file defined. Runs no Python: the zygote evaluates the
//! file and reports the names.

use serde::{Deserialize, Serialize};

use super::foreign::gunicorn::{self, AbsenceReason, Absent};
use super::problem::{Problem, ProblemCause};
use super::source_value::{Item, Origin, SourceValue, Value};
use super::suggest::{nearest, similar_setting};
use super::table::Row;

/// A Python configuration file, or a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Script {
    /// A path, as given.
    File(String),
    /// A dotted module name.
    Module(String),
}

/// The names that the file defined, as far as the server uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defined {
    /// The path of the file, as shown in messages.
    pub path: String,
    /// Settings of rwsgi and gunicorn, and hooks.
    pub names: Vec<DefinedName>,
    /// Unknown names of plain values that the file does not use itself, with their lines.
    pub unused: Vec<(String, usize)>,
}

impl Defined {
    /// True if the file defines the hook.
    pub fn has_hook(&self, hook: &str) -> bool {
        self.names.iter().any(|name| name.name == hook && name.value != Plain::Nothing)
    }

    /// True if the file configures Python's logging by a dictionary.
    pub fn has_logconfig_dict(&self) -> bool {
        self.names.iter().any(|name| name.name == LOGCONFIG_DICT && name.value != Plain::Nothing)
    }
}

/// One defined name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinedName {
    /// The name.
    pub name: String,
    /// Its value at the end of the file.
    pub value: Plain,
    /// The line of the last assignment; 0 if unknown, as with `from base import *`.
    pub line: usize,
}

/// A Python value, as far as settings use such values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plain {
    /// `None`.
    Nothing,
    /// `True` or `False`.
    Bool(bool),
    /// An int that is not negative.
    Whole(u64),
    /// Any other number, as Python prints it.
    Number(String),
    /// A str, bytes or path.
    Text(String),
    /// A list, tuple or set.
    List(Vec<Plain>),
    /// A dict with str keys.
    Table(Vec<(String, Plain)>),
    /// A callable, by its qualified name.
    Callable(String),
    /// Any other object, by the name of its type.
    Other(String),
}

/// True if the name is a setting of rwsgi or gunicorn, or a hook.
pub fn is_known(name: &str) -> bool {
    Row::named(name).is_some() || HOOKS.contains(&name) || is_object(name) || Absent::named(name).is_some()
}

/// True if the value stays in the process that runs the file, whatever its type.
pub fn is_object(name: &str) -> bool {
    name == LOGCONFIG_DICT
}

/// True if the name resembles a setting.
pub fn is_mistaken(name: &str) -> bool {
    !is_known(name) && !name.starts_with('_') && similar_name(name).is_some()
}

/// True if the name resembles a hook. For callables only.
pub fn is_mistaken_hook(name: &str) -> bool {
    !is_known(name) && !name.starts_with('_') && similar_hook(name).is_some()
}

/// Appends the settings of the file to `given` and its errors to `problems`. Returns the warnings.
pub(super) fn from_python(defined: &Defined, given: &mut Vec<SourceValue>, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut warnings = Vec::new();
    let origin = |line| Origin::File { path: defined.path.clone(), line };
    for DefinedName { name, value, line } in &defined.names {
        let origin = origin(*line);
        if *value == Plain::Nothing {
            continue;
        }
        if is_object(name) {
            let is_table = matches!(value, Plain::Table(_));
            let cause = || ProblemCause::File(format!("{name}: expected a dictionary, found {}", word(value).found()));
            problems.extend((!is_table).then(|| Problem { origin, cause: cause(), hint: None }));
        } else if HOOKS.contains(&name.as_str()) {
            problems.extend(not_callable(name, value, origin));
        } else if let Some(row) = Row::named(name) {
            if row.name == "python" {
                warnings.push(format!(
                    "{origin}: python: not read, because this file is run by Python already; set --python or RWSGI_PYTHON"
                ));
            } else {
                given.push(SourceValue { name: row.name, value: setting_value(row, value), origin });
            }
        } else if name == "control_socket_disable" {
            if *value == Plain::Bool(true) {
                given.push(SourceValue { name: "control_socket", value: Value::Word("off".to_owned()), origin });
            }
        } else if let Some(absent) = Absent::named(name).filter(|_| !is_default(name, value)) {
            if absent.state == AbsenceReason::Needless {
                warnings.push(absent.warning(&format!("{origin}: {name}")));
                continue;
            }
            let cause = ProblemCause::Absent { key: name.clone(), state: absent.state() };
            problems.push(Problem { origin, cause, hint: Some(absent.hint.to_owned()) });
        }
    }
    let mistaken = defined.unused.iter().filter_map(|(name, line)| {
        let setting = similar_name(name).map(|meant| ("setting", meant));
        let (kind, meant) = setting.or_else(|| similar_hook(name).map(|meant| ("hook", meant)))?;
        Some(format!("{}: {name}: not read, no {kind} has this name; did you mean {meant}?", origin(*line)))
    });
    warnings.extend(mistaken);
    warnings
}

fn not_callable(name: &str, value: &Plain, origin: Origin) -> Option<Problem> {
    let found = match value {
        // A dotted name, which is imported when the workers start.
        Plain::Callable(_) | Plain::Text(_) => return None,
        Plain::Other(kind) => format!("a value of type {kind}"),
        other => word(other).found(),
    };
    let cause = ProblemCause::File(format!("{name}: expected a function, found {found}"));
    Some(Problem { origin, cause, hint: None })
}

/// Returns the setting that an unknown name resembles.
fn similar_name(name: &str) -> Option<&'static str> {
    let known = MISTAKEN.iter().find(|(wrong, _)| *wrong == name).map(|(_, right)| *right);
    known.or_else(|| similar_setting(name).map(|row| row.name))
}

fn similar_hook(name: &str) -> Option<&'static str> {
    nearest(name, HOOKS.iter().copied())
}

/// Converts a Python value to a source's value. Words can express every type, so `workers = "3"` and `user = 1000` have
/// the same meaning as in gunicorn.
fn setting_value(row: &Row, value: &Plain) -> Value {
    match value {
        // An int does not record its notation; for a mode, the bits count.
        Plain::Whole(number) if MODES.contains(&row.name) => Value::Word(format!("0o{number:o}")),
        _ => word(value),
    }
}

fn word(value: &Plain) -> Value {
    let item = |value| Item { value, line: None };
    match value {
        Plain::Nothing => Value::Other("None"),
        Plain::Bool(value) => Value::Bool(*value),
        Plain::Whole(number) => Value::Word(number.to_string()),
        Plain::Number(text) | Plain::Text(text) => Value::Word(text.clone()),
        Plain::List(values) => Value::List(values.iter().map(|value| item(word(value))).collect()),
        Plain::Table(entries) => {
            let entry = |(key, value): &(String, Plain)| match value {
                Plain::Text(text) => (key.clone(), item(Value::Text(text.clone()))),
                other => (key.clone(), item(word(other))),
            };
            Value::Table(entries.iter().map(entry).collect())
        }
        // A worker class may be given as the class itself.
        Plain::Callable(name) => Value::Word(name.clone()),
        Plain::Other(_) => Value::Other("an object"),
    }
}

/// True if the value of a missing setting equals gunicorn's default.
fn is_default(name: &str, value: &Plain) -> bool {
    match value {
        Plain::Nothing | Plain::Bool(false) | Plain::Whole(0) => true,
        Plain::Text(text) if text.is_empty() => true,
        Plain::List(values) if values.is_empty() => true,
        Plain::Table(entries) if entries.is_empty() => true,
        Plain::Bool(true) => gunicorn::DEFAULT_TRUE.contains(&name),
        Plain::Text(text) => gunicorn::DEFAULT_TEXTS.iter().any(|(known, default)| *known == name && default == text),
        _ => false,
    }
}

/// The hooks: functions of the file that the server calls.
pub const HOOKS: &[&str] = &[
    "nworkers_changed",
    "on_starting",
    "when_ready",
    "on_reload",
    "pre_fork",
    "post_fork",
    "post_worker_init",
    "pre_request",
    "post_request",
    "worker_int",
    "worker_abort",
    "worker_exit",
    "child_exit",
    "pre_exec",
    "on_exit",
];

/// The dictionary for `logging.config.dictConfig`, which may contain classes and functions.
pub const LOGCONFIG_DICT: &str = "logconfig_dict";

/// Settings whose ints are permission bits.
const MODES: &[&str] = &["umask", "unix_socket_mode"];

/// Common mistaken names that neither a flag nor the spelling leads to the setting.
const MISTAKEN: &[(&str, &str)] = &[
    ("logfile", "errorlog"),
    ("error_logfile", "errorlog"),
    ("access_logformat", "access_log_format"),
    ("access_log", "accesslog"),
    ("error_log", "errorlog"),
    ("pid_file", "pidfile"),
    ("worker_threads", "threads"),
];
