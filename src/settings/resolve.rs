//! Combines the sources to settings: default < file < environment < command line, per setting, with all problems at
//! once. Reads no file and no environment: the caller passes texts.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::foreign::gunicorn::Absent;
use super::foreign::{others, uwsgi};
use super::parse::list_of_pairs;
use super::problem::{Problem, ProblemCause, Problems, ValueError};
use super::python_file::{Defined, from_python};
use super::socket_activation::PassedSockets;
use super::source_value::{Item, Origin, SourceValue, Value, shown, variable};
use super::suggest::similar_setting;
use super::table::{Row, Settings, TABLE};
use super::types::{Bind, LogLevel, TimeoutMode, WorkerClass};

/// The sources of settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The path and the text of the TOML file.
    pub file: Option<(&'a str, &'a str)>,
    /// The definitions of the Python file.
    pub defined: Option<&'a Defined>,
    /// The values in `GUNICORN_CMD_ARGS`.
    pub words: &'a [SourceValue],
    /// The environment, without sockets passed to another process.
    pub environment: &'a [(String, String)],
    /// The values on the command line.
    pub flags: &'a [SourceValue],
}

/// Settings, and the origin of each.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// The origin of every setting by name.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The passed sockets.
    pub passed: PassedSockets,
    /// Warnings about settings and the configuration file, one per line.
    pub warnings: Vec<String>,
}

/// Resolves every setting, or returns all problems.
pub fn resolve(sources: &Sources<'_>) -> Result<Resolved, Problems> {
    let (mut resolved, mut problems) = collect(sources);
    resolved.pass_over_tls(&mut problems);
    let wrong: Vec<&str> = problems.iter().filter_map(Problem::setting).collect();
    let contradictions = resolved.contradictions(&wrong);
    problems.extend(contradictions);
    problems.extend(resolved.check_access_format(sources.defined.is_some_and(Defined::has_logconfig_dict)));
    if problems.is_empty() {
        resolved.warn_of_unused();
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

/// Returns the valid settings, with defaults for the others. Serves to find a running server only.
pub fn valid_settings(sources: &Sources<'_>) -> Settings {
    collect(sources).0.settings
}

/// Collects every setting from its sources, and the problems of single values.
fn collect(sources: &Sources<'_>) -> (Resolved, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut given = Vec::new();
    if let Some((path, text)) = sources.file {
        from_file(path, text, &mut given, &mut problems);
    }
    let mut warnings =
        sources.defined.map(|defined| from_python(defined, &mut given, &mut problems)).unwrap_or_default();
    given.extend_from_slice(sources.words);
    from_environment(sources.environment, &mut given);
    given.extend_from_slice(sources.flags);
    from_platform(sources.environment, &mut given, &mut problems);

    let mut settings = Settings::default();
    let mut origins: BTreeMap<_, _> = TABLE.iter().map(|row| (row.name, Origin::Default)).collect();
    for given in &given {
        if given.name == "loglevel" {
            warnings.extend(remark_on_level(&given.value, &given.origin));
        }
        let wrong = set(&mut settings, given);
        if wrong.is_empty() {
            origins.insert(given.name, given.origin.clone());
        }
        problems.extend(wrong);
    }
    let passed = PassedSockets::read(sources.environment).unwrap_or_else(|problem| {
        problems.push(problem);
        PassedSockets::default()
    });
    (Resolved { settings, origins, passed, warnings }, problems)
}

/// Sets one setting, or returns everything that is wrong with the value.
pub fn set(settings: &mut Settings, given: &SourceValue) -> Vec<Problem> {
    let SourceValue { name, value, origin } = given;
    let row = Row::named(name).expect("what is given has a row");
    let wrongs = (row.set)(settings, value).err().unwrap_or_default();
    let problem = |wrong: ValueError| Problem {
        origin: at_line(origin, wrong.line),
        cause: ProblemCause::Value { name, expected: wrong.expected, found: wrong.found },
        hint: wrong.hint,
    };
    wrongs.into_iter().map(problem).collect()
}

impl Resolved {
    /// Replaces `bind` by the passed sockets, or by those of them that it names.
    fn settle_passed(&mut self) {
        let settled = self.passed.settle(&self.settings.bind);
        if !self.passed.descriptors().is_empty() {
            if self.origins["bind"] != Origin::Default {
                self.warnings.extend(self.passed.warnings(&self.settings.bind, &self.origin_of("bind"), &settled));
            }
            if settled != self.settings.bind {
                self.origins.insert("bind", Origin::Env("LISTEN_FDS".to_owned()));
            }
        }
        self.settings.bind = settled;
    }

    /// Warns that `die_on_idle` has no effect without passed sockets: nothing would start the server again.
    fn settle_idle(&mut self) {
        if self.settings.die_on_idle && !self.settings.dies_on_idle() {
            let origin = self.origin_of("die_on_idle");
            self.warnings.push(format!(
                "{origin}: no effect without a passed socket (LISTEN_FDS), since nothing would start the server again"
            ));
        }
    }

    /// Sets `timeout_mode` to `warn` by default: for gthread workers, because gunicorn does not limit requests in threads,
    /// and with `reload`, because a debugger holds a request (`breakpoint()`).
    fn settle_timeout(&mut self) {
        let is_default = |name| self.origins[name] == Origin::Default;
        let is_threaded = is_default("timeout") && self.settings.class() == WorkerClass::Gthread;
        if is_default("timeout_mode") && (is_threaded || self.settings.reload) {
            self.settings.timeout_mode = TimeoutMode::Warn;
        }
    }

    /// Warns that `warmup` has no effect without `preload_app`: nothing would be shared between workers.
    fn settle_warmup(&mut self) {
        if !self.settings.warmup.is_empty() && !self.settings.preload_app {
            let origin = self.origin_of("warmup");
            self.warnings
                .push(format!("{origin}: no effect without preload_app, which loads the application before the fork"));
        }
    }

    /// Sets the class to `gthread` where there are several threads, so that the printed settings are the effective
    /// ones.
    fn settle_class(&mut self) {
        if self.settings.worker_class != self.settings.class() {
            self.settings.worker_class = self.settings.class();
            self.origins.insert("worker_class", self.origins["threads"].clone());
        }
    }

    /// Returns the location of a setting for problems that are found later: `rwsgi.toml:3: chdir`, `RWSGI_CHDIR`,
    /// `--chdir`. A default has only the name.
    pub fn origin_of(&self, name: &'static str) -> String {
        self.origins.get(name).map_or_else(|| name.to_owned(), |origin| place(origin, name))
    }
}

/// Returns the location of a setting in a source.
pub(super) fn place(origin: &Origin, name: &str) -> String {
    match origin {
        Origin::File { .. } => format!("{origin}: {name}"),
        Origin::Env(_) | Origin::Flag(_) => origin.to_string(),
        Origin::Default => name.to_owned(),
    }
}

/// Returns the remark on a level that is no level of gunicorn's, which takes it as `info`.
fn remark_on_level(value: &Value, origin: &Origin) -> Option<String> {
    let (Value::Word(text) | Value::Text(text)) = value else { return None };
    let meant = LogLevel::resembled(text.trim())?;
    Some(format!("{}: {} means info, as in gunicorn; the level is {meant}", place(origin, "loglevel"), text.trim()))
}

impl fmt::Display for Resolved {
    /// Formats a TOML file with the same settings, each with its origin as a comment.
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

fn from_file(path: &str, text: &str, given: &mut Vec<SourceValue>, problems: &mut Vec<Problem>) {
    // The parser skips a byte order mark; without it, the offsets match the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let origin = |line| Origin::File { path: path.to_owned(), line };
    let (table, errors) = DeTable::parse_recoverable(text);
    // One mistake can cause several errors; the first one of a line is the relevant one.
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
            Some(row) => {
                given.push(SourceValue { name: row.name, value: toml_value(text, &value), origin: origin(line) });
            }
            None => problems.push(unknown(key.get_ref(), &toml_value(text, &value), origin(line))),
        }
    }
    problems.extend(broken.into_iter().map(|(line, words)| {
        let of_value =
            text.lines().nth(line - 1).and_then(bare_value).map(|(row, value)| of_bare_value(row, value, words));
        let (cause, hint) = of_value.unwrap_or_else(|| (ProblemCause::Syntax(words.to_owned()), None));
        Problem { origin: origin(line), cause, hint }
    }));
}

/// Returns the first line of the parser's message, without its empty expectation.
fn plain_words(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.strip_suffix(", expected nothing").unwrap_or(line)
}

/// Returns the setting and the value of a line whose value is a word without quotes, the most frequent mistake.
fn bare_value(line: &str) -> Option<(&'static Row, &str)> {
    let (name, value) = line.split_once('=')?;
    let value = value.split('#').next()?.trim();
    let is_bare =
        !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}']) && DeValue::parse(value).is_err();
    Row::named(name.trim()).filter(|_| is_bare).map(|row| (row, value))
}

/// Returns the cause and the hint of such a line. A value that is also wrong in quotes is judged as a value.
fn of_bare_value(row: &Row, value: &str, words: &str) -> (ProblemCause, Option<String>) {
    let name = row.name;
    let syntax = |hint| (ProblemCause::Syntax(words.to_owned()), Some(hint));
    let judged = |value: &Value| (row.set)(&mut Settings::default(), value).map_err(|mut wrongs| wrongs.swap_remove(0));
    if ["None", "null", "nil"].contains(&value) {
        return syntax(format!("TOML has no {value}: leave the line out"));
    }
    if let boolean @ ("true" | "false") = value.to_ascii_lowercase().as_str() {
        return match judged(&Value::Bool(boolean == "true")) {
            Ok(()) => syntax(format!("TOML writes it in lower case: {name} = {boolean}")),
            Err(wrong) => {
                let example = (row.show)(&Settings::default()).map(|value| format!("for example {name} = {value}"));
                let example = example.map(|example| format!("{example}; TOML writes a boolean as {boolean}"));
                let cause = ProblemCause::Value { name, expected: wrong.expected, found: value.to_owned() };
                (cause, wrong.hint.or(example))
            }
        };
    }
    match judged(&Value::Word(value.to_owned())) {
        Ok(()) => syntax(format!("write text in quotes: {name} = \"{value}\"")),
        Err(wrong) => (ProblemCause::Value { name, expected: wrong.expected, found: wrong.found }, wrong.hint),
    }
}

fn unknown(key: &str, value: &Value, origin: Origin) -> Problem {
    if let Some(absent) = Absent::named(key) {
        let cause = ProblemCause::Absent { key: key.to_owned(), state: absent.state() };
        return Problem { origin, cause, hint: Some(absent.hint.to_owned()) };
    }
    let hint = match (similar_setting(key), value) {
        (Some(row), Value::Table(entries)) if row.name == "raw_env" => {
            Some(format!("write {}", list_of_pairs(entries)))
        }
        (_, Value::Table(_)) => Some("settings belong at the top level, not in a table".to_owned()),
        (meant, _) => uwsgi::hint(key)
            .or_else(|| others::hint(key))
            .or_else(|| meant.map(|row| format!("did you mean {}?", row.name))),
    };
    Problem { origin, cause: ProblemCause::UnknownKey(key.to_owned()), hint }
}

fn toml_value(text: &str, value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(string) => Value::Text(string.clone().into_owned()),
        DeValue::Integer(number) => Value::Number { text: number.to_string(), radix: number.radix() },
        DeValue::Float(number) => Value::Number { text: number.as_str().to_owned(), radix: 10 },
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| toml_item(text, item)).collect()),
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let items = entries.into_iter().map(|(key, item)| (key.get_ref().to_string(), toml_item(text, item)));
            Value::Table(items.collect())
        }
    }
}

fn toml_item(text: &str, item: &Spanned<DeValue<'_>>) -> Item {
    Item { value: toml_value(text, item), line: Some(line_of(text, item.span().start)) }
}

fn from_environment(environment: &[(String, String)], given: &mut Vec<SourceValue>) {
    for row in TABLE {
        let name = row.env_name();
        if let Some(word) = variable(environment, &name) {
            given.push(SourceValue { name: row.name, value: Value::Word(word.to_owned()), origin: Origin::Env(name) });
        }
    }
}

/// Adds the variables of hosting platforms. As in gunicorn, they count only where no other source sets the value.
fn from_platform(environment: &[(String, String)], given: &mut Vec<SourceValue>, problems: &mut Vec<Problem>) {
    let is_given = |given: &[SourceValue], name| given.iter().any(|given| given.name == name);
    let origin = |name: &str| Origin::Env(name.to_owned());
    if let Some(count) = variable(environment, "WEB_CONCURRENCY").filter(|_| !is_given(given, "workers")) {
        let value = Value::Word(count.to_owned());
        given.push(SourceValue { name: "workers", value, origin: origin("WEB_CONCURRENCY") });
    }
    if let Some(peers) =
        variable(environment, "FORWARDED_ALLOW_IPS").filter(|_| !is_given(given, "forwarded_allow_ips"))
    {
        let value = Value::Word(peers.to_owned());
        given.push(SourceValue { name: "forwarded_allow_ips", value, origin: origin("FORWARDED_ALLOW_IPS") });
    }
    if let Some(port) = variable(environment, "PORT").filter(|_| !is_given(given, "bind")) {
        let address = format!("0.0.0.0:{}", port.trim());
        if Bind::parse(&address).is_ok() {
            given.push(SourceValue { name: "bind", value: Value::Word(address), origin: origin("PORT") });
        } else {
            let expected = "a port number from 0 to 65535".to_owned();
            let cause = ProblemCause::Value { name: "bind", expected, found: shown(port) };
            problems.push(Problem { origin: origin("PORT"), cause, hint: None });
        }
    }
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
