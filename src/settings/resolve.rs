//! From sources to settings: default < file < environment < command line, a setting at a time, and everything that is
//! wrong at once. Reads no file and no environment: the caller hands over texts.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::foreign::gunicorn::Absent;
use super::foreign::{others, uwsgi};
use super::problem::{Cause, Problem, Problems, nearest};
use super::python_file::{Defined, from_python};
use super::socket_activation::Passed;
use super::source_value::{Given, Item, Origin, Value, shown};
use super::table::{Row, Settings, TABLE};
use super::types::{Bind, TimeoutMode, WorkerClass};

/// Where settings come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The configuration file in TOML: its path as given, and its text.
    pub file: Option<(&'a str, &'a str)>,
    /// What the configuration file in Python defined.
    pub defined: Option<&'a Defined>,
    /// The words of `GUNICORN_CMD_ARGS`.
    pub words: &'a [Given],
    /// The environment, without the sockets that were passed to another process.
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
    /// The sockets that were passed.
    pub passed: Passed,
    /// What is to be known about them and about the configuration file, a line each.
    pub remarks: Vec<String>,
}

/// Settles every setting, or says everything that is wrong.
pub fn resolve(sources: &Sources<'_>) -> Result<Resolved, Problems> {
    let (mut resolved, mut problems) = collect(sources);
    if problems.is_empty() {
        let problems = resolved.contradictions();
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        resolved.note_unused();
        resolved.settle_passed();
        resolved.settle_idle();
        resolved.settle_timeout();
        resolved.settle_class();
        resolved.settle_warmup();
        return Ok(resolved);
    }
    problems.sort_by_key(|problem| match &problem.origin {
        Origin::File { line, .. } => (0, *line),
        Origin::Env(_) => (1, 0),
        Origin::Default | Origin::Flag(_) => (2, 0),
    });
    Err(Problems(problems))
}

/// The settings that are sound; those that are not have their defaults. To find a server by, not to start one.
pub fn sound(sources: &Sources<'_>) -> Settings {
    collect(sources).0.settings
}

/// Every setting as it was given, and what is wrong with values.
fn collect(sources: &Sources<'_>) -> (Resolved, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut given = Vec::new();
    if let Some((path, text)) = sources.file {
        from_file(path, text, &mut given, &mut problems);
    }
    let remarks = sources.defined.map(|defined| from_python(defined, &mut given, &mut problems)).unwrap_or_default();
    given.extend_from_slice(sources.words);
    from_environment(sources.environment, &mut given);
    given.extend_from_slice(sources.flags);
    instead_of_defaults(sources.environment, &mut given, &mut problems);

    let mut settings = Settings::default();
    let mut origins: BTreeMap<_, _> = TABLE.iter().map(|row| (row.name, Origin::Default)).collect();
    for Given { name, value, origin } in given {
        let row = Row::named(name).expect("what is given has a row");
        match (row.set)(&mut settings, &value) {
            Ok(()) => drop(origins.insert(name, origin)),
            Err(wrongs) => problems.extend(wrongs.into_iter().map(|wrong| Problem {
                origin: at_line(&origin, wrong.line),
                cause: Cause::Value { name, expected: wrong.expected, found: wrong.found },
                hint: wrong.hint,
            })),
        }
    }
    let passed = Passed::read(sources.environment).unwrap_or_else(|problem| {
        problems.push(problem);
        Passed::default()
    });
    (Resolved { settings, origins, passed, remarks }, problems)
}

impl Resolved {
    /// Sockets that were passed take the place of `bind`, or are what it names.
    fn settle_passed(&mut self) {
        let settled = self.passed.settle(&self.settings.bind);
        if !self.passed.descriptors().is_empty() {
            if self.origins["bind"] != Origin::Default {
                self.remarks.extend(self.passed.remarks(&self.settings.bind, &self.origin_of("bind"), &settled));
            }
            if settled != self.settings.bind {
                self.origins.insert("bind", Origin::Env("LISTEN_FDS".to_owned()));
            }
        }
        self.settings.bind = settled;
    }

    /// Nobody would start a server again whose sockets end with it.
    fn settle_idle(&mut self) {
        if self.settings.die_on_idle && !self.settings.dies_on_idle() {
            let origin = self.origin_of("die_on_idle");
            self.remarks.push(format!(
                "{origin}: not done, no socket is passed (LISTEN_FDS) by which it would be started again"
            ));
        }
    }

    /// gunicorn has never bounded a thread's request: who did not ask for that is warned only.
    fn settle_timeout(&mut self) {
        let is_default = |name| self.origins[name] == Origin::Default;
        let unasked = is_default("timeout") && is_default("timeout_mode");
        if unasked && self.settings.class() == WorkerClass::Gthread {
            self.settings.timeout_mode = TimeoutMode::Warn;
        }
    }

    /// Each worker would have to be warmed up by itself, and nothing would be shared.
    fn settle_warmup(&mut self) {
        if !self.settings.warmup.is_empty() && !self.settings.preload_app {
            let origin = self.origin_of("warmup");
            self.remarks
                .push(format!("{origin}: not done without preload_app, which loads the application before the fork"));
        }
    }

    /// Several threads make the class `gthread`, whatever is said: what is printed is what holds.
    fn settle_class(&mut self) {
        if self.settings.worker_class != self.settings.class() {
            self.settings.worker_class = self.settings.class();
            self.origins.insert("worker_class", self.origins["threads"].clone());
        }
    }

    /// The "where" of a problem with a setting, if it is found only later, against the system: `rwsgi.toml:3: chdir`,
    /// `RWSGI_CHDIR`, `--chdir`; the name alone if nobody gave it.
    pub fn origin_of(&self, name: &'static str) -> String {
        match self.origins.get(name) {
            Some(origin @ Origin::File { .. }) => format!("{origin}: {name}"),
            Some(origin @ (Origin::Env(_) | Origin::Flag(_))) => origin.to_string(),
            Some(Origin::Default) | None => name.to_owned(),
        }
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
    // The parser skips a byte order mark; without one, its offsets are those of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let origin = |line| Origin::File { path: path.to_owned(), line };
    let (table, errors) = DeTable::parse_recoverable(text);
    // One mistake makes many errors; the first of a line is the one that says it.
    let mut broken = BTreeMap::new();
    for error in &errors {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        broken.entry(line).or_insert_with(|| plain_words(error.message()));
    }
    for (key, value) in table.into_inner() {
        let line = line_of(text, key.span().start);
        if broken.range(line..=line_of(text, value.span().end)).next().is_some() {
            continue;
        }
        match Row::named(key.get_ref()) {
            Some(row) => given.push(Given { name: row.name, value: written(text, &value), origin: origin(line) }),
            None => problems.push(unknown(key.get_ref(), value.get_ref(), origin(line))),
        }
    }
    problems.extend(broken.into_iter().map(|(line, words)| Problem {
        origin: origin(line),
        cause: Cause::Syntax(words.to_owned()),
        hint: text.lines().nth(line - 1).and_then(in_quotes),
    }));
}

/// The parser's words on one line, less what it adds when it expected nothing in particular.
fn plain_words(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.strip_suffix(", expected nothing").unwrap_or(line)
}

/// What most often is no TOML: text without its quotes.
fn in_quotes(line: &str) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.split('#').next()?.trim());
    let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}']);
    (is_bare && DeValue::parse(value).is_err() && Row::named(name).is_some())
        .then(|| format!("text is written in quotes: {name} = \"{value}\""))
}

fn unknown(key: &str, value: &DeValue<'_>, origin: Origin) -> Problem {
    if let Some(absent) = Absent::named(key) {
        let cause = Cause::Absent { key: key.to_owned(), state: absent.state() };
        return Problem { origin, cause, hint: Some(absent.hint.to_owned()) };
    }
    let hint = match meant(key) {
        _ if value.is_table() => Some("settings stand at the top level, in no table".to_owned()),
        meant => uwsgi::hint(key)
            .or_else(|| others::hint(key))
            .or_else(|| meant.map(|row| format!("did you mean {}?", row.name))),
    };
    Problem { origin, cause: Cause::UnknownKey(key.to_owned()), hint }
}

/// The setting that a name almost is, or that has a flag of this name.
pub(super) fn meant(name: &str) -> Option<&'static Row> {
    let spelled = name.to_ascii_lowercase().replace('-', "_");
    let is_flag = |flag: &str| flag.trim_start_matches('-').replace('-', "_") == spelled;
    let by_flag = TABLE.iter().find(|row| row.flags.iter().any(|flag| is_flag(flag)));
    by_flag.or_else(|| nearest(&spelled, TABLE.iter().map(|row| row.name)).and_then(Row::named))
}

fn written(text: &str, value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(string) => Value::Text(string.clone().into_owned()),
        DeValue::Integer(number) => Value::Number { text: number.to_string(), radix: number.radix() },
        DeValue::Float(number) => Value::Number { text: number.as_str().to_owned(), radix: 10 },
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| written_item(text, item)).collect()),
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let written = entries.into_iter().map(|(key, item)| (key.get_ref().to_string(), written_item(text, item)));
            Value::Table(written.collect())
        }
    }
}

fn written_item(text: &str, item: &Spanned<DeValue<'_>>) -> Item {
    Item { value: written(text, item), line: Some(line_of(text, item.span().start)) }
}

fn from_environment(environment: &[(String, String)], given: &mut Vec<Given>) {
    for row in TABLE {
        let name = row.env_name();
        if let Some(word) = variable(environment, &name) {
            given.push(Given { name: row.name, value: Value::Word(word.to_owned()), origin: Origin::Env(name) });
        }
    }
}

/// The variables that hosting platforms set count only where nothing else is said, as in gunicorn.
fn instead_of_defaults(environment: &[(String, String)], given: &mut Vec<Given>, problems: &mut Vec<Problem>) {
    let is_given = |given: &[Given], name| given.iter().any(|given| given.name == name);
    let origin = |name: &str| Origin::Env(name.to_owned());
    if let Some(count) = variable(environment, "WEB_CONCURRENCY").filter(|_| !is_given(given, "workers")) {
        let value = Value::Word(count.to_owned());
        given.push(Given { name: "workers", value, origin: origin("WEB_CONCURRENCY") });
    }
    if let Some(peers) =
        variable(environment, "FORWARDED_ALLOW_IPS").filter(|_| !is_given(given, "forwarded_allow_ips"))
    {
        let value = Value::Word(peers.to_owned());
        given.push(Given { name: "forwarded_allow_ips", value, origin: origin("FORWARDED_ALLOW_IPS") });
    }
    if let Some(port) = variable(environment, "PORT").filter(|_| !is_given(given, "bind")) {
        let address = format!("0.0.0.0:{}", port.trim());
        if Bind::parse(&address).is_ok() {
            given.push(Given { name: "bind", value: Value::Word(address), origin: origin("PORT") });
        } else {
            let expected = "a port number from 0 to 65535".to_owned();
            let cause = Cause::Value { name: "bind", expected, found: shown(port) };
            problems.push(Problem { origin: origin("PORT"), cause, hint: None });
        }
    }
}

/// A variable that is set to something: compose files and unit files often set what they mean to leave out to nothing.
pub(super) fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = environment.iter().find(|(key, _)| key == name)?;
    (!value.trim().is_empty()).then_some(value)
}

fn at_line(origin: &Origin, line: Option<usize>) -> Origin {
    match (origin, line) {
        (Origin::File { path, .. }, Some(line)) => Origin::File { path: path.clone(), line },
        _ => origin.clone(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}
