//! From sources to settings: default < file < environment < command line, a setting at a time, and everything that is
//! wrong at once. Reads no file and no environment: the caller hands over texts.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::{Given, Item, Origin, Value};
use super::problem::{Cause, Problem, Problems, nearest};
use super::table::{NOT_YET, Row, Settings, TABLE};
use super::types::parse_whole;

/// Where settings come from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The configuration file: its path as given, and its text.
    pub file: Option<(&'a str, &'a str)>,
    /// The environment.
    pub environment: &'a [(String, String)],
    /// The command line.
    pub flags: &'a [Given],
}

/// Settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// The source that counted, for every setting by name.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// Settles every setting, or says everything that is wrong.
pub fn resolve(sources: &Sources<'_>) -> Result<Resolved, Problems> {
    let mut problems = Vec::new();
    let mut given = Vec::new();
    if let Some((path, text)) = sources.file {
        from_file(path, text, &mut given, &mut problems);
    }
    from_environment(sources.environment, &mut given);
    given.extend_from_slice(sources.flags);
    instead_of_defaults(sources.environment, &mut given);

    let mut settings = Settings::default();
    let mut origins: BTreeMap<_, _> = TABLE
        .iter()
        .map(|row| (row.name, Origin::Default))
        .collect();
    for Given {
        name,
        value,
        origin,
    } in given
    {
        let row = Row::named(name).expect("what is given has a row");
        match (row.set)(&mut settings, &value) {
            Ok(()) => drop(origins.insert(name, origin)),
            Err(wrongs) => problems.extend(wrongs.into_iter().map(|wrong| Problem {
                origin: at_line(&origin, wrong.line),
                cause: Cause::Value {
                    name,
                    expected: wrong.expected,
                    found: wrong.found,
                },
                hint: wrong.hint,
            })),
        }
    }
    if problems.is_empty() {
        Ok(Resolved { settings, origins })
    } else {
        Err(Problems(problems))
    }
}

impl fmt::Display for Resolved {
    /// A TOML file that would give the same settings, with the origin of each behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in TABLE {
            let origin = &self.origins[row.name];
            match (row.show)(&self.settings) {
                Some(value) => writeln!(f, "{} = {value}  # {origin}", row.name)?,
                None => writeln!(f, "# {} is not set  # {origin}", row.name)?,
            }
        }
        Ok(())
    }
}

fn from_file(path: &str, text: &str, given: &mut Vec<Given>, problems: &mut Vec<Problem>) {
    // toml 1.x reports positions in the text without a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let origin = |line| Origin::File {
        path: path.to_owned(),
        line,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        let words = error.message().replace('\n', ": ");
        problems.push(Problem {
            origin: origin(line),
            cause: Cause::Syntax(words),
            hint: None,
        });
    }
    let mut keys: Vec<_> = table.into_inner().into_iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let line = line_of(text, key.span().start);
        match Row::named(key.get_ref()) {
            Some(row) => given.push(Given {
                name: row.name,
                value: written(text, &value),
                origin: origin(line),
            }),
            None => problems.push(unknown(key.get_ref(), origin(line))),
        }
    }
}

fn unknown(key: &str, origin: Origin) -> Problem {
    if NOT_YET.contains(&key) {
        return Problem {
            origin,
            cause: Cause::NotYet(key.to_owned()),
            hint: None,
        };
    }
    let spelled = key.to_ascii_lowercase().replace('-', "_");
    let by_flag = TABLE.iter().find(|row| {
        row.flags
            .iter()
            .any(|flag| flag.trim_start_matches('-').replace('-', "_") == spelled)
    });
    let meant = by_flag
        .map(|row| row.name)
        .or_else(|| nearest(&spelled, TABLE.iter().map(|row| row.name)));
    let hint = meant.map(|name| format!("did you mean {name}?"));
    Problem {
        origin,
        cause: Cause::UnknownKey(key.to_owned()),
        hint,
    }
}

fn written(text: &str, value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(string) => Value::Text(string.clone().into_owned()),
        DeValue::Integer(number) => Value::Number {
            text: number.to_string(),
            radix: number.radix(),
        },
        DeValue::Float(number) => Value::Number {
            text: number.as_str().to_owned(),
            radix: 10,
        },
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Table(_) => Value::Other("a table"),
        DeValue::Array(items) => {
            let item = |item: &Spanned<_>| Item {
                value: written(text, item),
                line: Some(line_of(text, item.span().start)),
            };
            Value::List(items.iter().map(item).collect())
        }
    }
}

fn from_environment(environment: &[(String, String)], given: &mut Vec<Given>) {
    for row in TABLE {
        let name = row.env_name();
        if let Some(word) = variable(environment, &name) {
            given.push(Given {
                name: row.name,
                value: Value::Word(word.to_owned()),
                origin: Origin::Env(name),
            });
        }
    }
}

/// The variables that hosting platforms set count only where nothing else is said, as in gunicorn.
fn instead_of_defaults(environment: &[(String, String)], given: &mut Vec<Given>) {
    for (variable_name, name) in [("PORT", "bind"), ("WEB_CONCURRENCY", "workers")] {
        let Some(word) = variable(environment, variable_name) else {
            continue;
        };
        if given.iter().any(|given| given.name == name) {
            continue;
        }
        let is_port = name == "bind" && parse_whole(word).is_some();
        let word = if is_port {
            format!("0.0.0.0:{word}")
        } else {
            word.to_owned()
        };
        given.push(Given {
            name,
            value: Value::Word(word),
            origin: Origin::Env(variable_name.to_owned()),
        });
    }
}

/// A variable that is set to something: compose files and unit files often set what they mean to leave out to nothing.
fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = environment.iter().find(|(key, _)| key == name)?;
    (!value.trim().is_empty()).then_some(value)
}

fn at_line(origin: &Origin, line: Option<usize>) -> Origin {
    match (origin, line) {
        (Origin::File { path, .. }, Some(line)) => Origin::File {
            path: path.clone(),
            line,
        },
        _ => origin.clone(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
}
