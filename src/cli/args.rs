//! Parses the command line. Starts nothing, reads no file and no environment, checks no value: `settings::resolve` gets
//! the word of a flag unchanged.

use std::ffi::OsString;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use super::ctl::ControlCall;
use super::gunicorn::translate;
pub use super::invocation::{CMD_ARGS, Config, Invocation};
use super::invocation::{CONFIG, JSON, WAIT, WITHIN};
use super::shell;
use super::unknown;
pub use super::usage_error::UsageError;
use super::verb;
use crate::command::{self, Command};
use crate::control::ControlRequest;
use crate::settings::parse::FlagKind;
use crate::settings::source_value::{Item, quoted};
use crate::settings::types::Text as _;
use crate::settings::{Origin, Row, Seconds, SourceValue, TABLE, Value};

/// A parsed command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Serve.
    Start(Invocation),
    /// Load settings and application, and report whether a start would work.
    Check(Invocation),
    /// Print the settings and their origins.
    Settings(Invocation),
    /// Ask a running server, which the settings identify.
    Tell(ControlCall, Invocation),
    /// Print this text on standard output: help or version.
    Print(String),
}

/// Parses the words after the program's name.
///
/// The first word that is no option is the verb, if it is `check`, `settings` or the name of a command. An application
/// of that name is written `check:application`.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Call, UsageError> {
    let (words, skipped) = translate(words);
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return refused(&error),
    };
    let mut plain = matches.get_many::<String>(WORDS).unwrap_or_default().map(String::as_str).peekable();
    if plain.next_if_eq(&"help").is_some() {
        return Ok(Call::Print(command().render_help().to_string()));
    }
    if let Some(verb) = plain.peek().copied().and_then(Command::by_verb) {
        return tell(verb, &plain.skip(1).collect::<Vec<_>>(), &matches);
    }
    if let Some(option) = [WAIT, JSON, WITHIN].into_iter().find(|name| is_given(&matches, name)) {
        let words = format!("--{option}: expected a verb with it, such as status, found none");
        return Err(with_hint(words, plain.peek().and_then(|word| verb::hint(word, None))));
    }
    let verb = plain.next_if(|word| ["check", "settings"].contains(word));
    let app = plain.next();
    if let Some(word) = plain.next() {
        let words = format!("expected one application, found also {}", quoted(word));
        return Err(with_hint(words, app.filter(|_| verb.is_none()).and_then(|app| verb::hint(app, Some(word)))));
    }
    let invocation = Invocation { skipped, ..invocation(&matches, app) };
    Ok(match verb {
        Some("check") => Call::Check(invocation),
        Some(_) => Call::Settings(invocation),
        None if matches.get_flag(CHECK_CONFIG) => Call::Check(invocation),
        None if matches.get_flag(PRINT_CONFIG) => Call::Settings(invocation),
        None => Call::Start(invocation),
    })
}

/// Creates an error with this hint, or with the default one.
fn with_hint(words: String, hint: Option<String>) -> UsageError {
    match hint {
        Some(hint) => UsageError::of_words(format!("{words}\nhint: {hint}")),
        None => UsageError::usage(words),
    }
}

fn is_given(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(name).is_some_and(|source| source != clap::parser::ValueSource::DefaultValue)
}

fn tell(verb: Command, words: &[&str], matches: &ArgMatches) -> Result<Call, UsageError> {
    if matches.get_flag(WAIT) && verb != Command::Reload {
        let words = format!("{}: --{WAIT} is an option of reload only", verb.row().name);
        return Err(UsageError::usage(words));
    }
    let ask = ControlRequest::from_words(verb, words, matches.get_flag(WAIT)).map_err(|problem| {
        match format!("{}: {problem}", verb.row().name) {
            words if words.contains("\nhint: ") => UsageError::of_words(words),
            words => UsageError::usage(words),
        }
    })?;
    let within = matches.get_one::<String>(WITHIN).map(|text| {
        let seconds = Seconds::parse(text).map_err(|wrong| UsageError::usage(format!("--{WITHIN}: {wrong}")))?;
        match seconds.duration() {
            Duration::ZERO => Err(UsageError::usage(format!("--{WITHIN}: expected more than 0 seconds, found {text}"))),
            limit => Ok(limit),
        }
    });
    let call = ControlCall { request: ask, json: matches.get_flag(JSON), within: within.transpose()? };
    Ok(Call::Tell(call, invocation(matches, None)))
}

fn invocation(matches: &ArgMatches, app: Option<&str>) -> Invocation {
    let config = matches.get_one::<String>(CONFIG).map(|text| Config::parse(text));
    Invocation { config, flags: flags(matches, app), ..Invocation::default() }
}

impl Invocation {
    /// Adds the options of `GUNICORN_CMD_ARGS`, which count less than those of the command line. As in gunicorn, an
    /// application in it is ignored.
    pub fn with_words(mut self, text: &str) -> Result<Invocation, UsageError> {
        let refuse = |words: &str| UsageError::of_words(format!("{CMD_ARGS}: {words}"));
        let words = shell::split(text).ok_or_else(|| refuse("expected closing quotes, found none"))?;
        let (words, skipped) = translate(words.into_iter().map(OsString::from));
        let matches = match command().try_get_matches_from(words) {
            Ok(matches) => matches,
            Err(error) => {
                return match refused(&error) {
                    Err(error) => Err(refuse(&error.to_string())),
                    Ok(_) => Err(refuse("expected options that are settings, found --help or --version")),
                };
            }
        };
        if let Some(flag) = [CHECK_CONFIG, PRINT_CONFIG].into_iter().find(|flag| matches.get_flag(flag)) {
            let words =
                format!("expected options that are settings, found --{flag}\nhint: it belongs on the command line");
            return Err(refuse(&words));
        }
        let Invocation { config, flags, .. } = invocation(&matches, None);
        self.config = self.config.or(config);
        self.skipped.extend(skipped);
        let origin = Origin::Env(CMD_ARGS.to_owned());
        self.words = flags.into_iter().map(|given| SourceValue { origin: origin.clone(), ..given }).collect();
        Ok(self)
    }
}

const WORDS: &str = "words";
/// gunicorn's flags for `check` and `settings`.
const CHECK_CONFIG: &str = "check-config";
const PRINT_CONFIG: &str = "print-config";
/// The width of the help, which fits any terminal.
const WIDTH: usize = 100;
const USAGE: &str = "\
rwsgi [OPTIONS] [APP]           serve APP
       rwsgi check [OPTIONS] [APP]     load settings and APP, and report errors
       rwsgi settings [OPTIONS] [APP]  print every setting and its origin
       rwsgi VERB [OPTIONS]            ask the running server of --pid or --config";
const AFTER: &str = "\
Options can also be set in a file (TOML or gunicorn's Python) and in the environment: --max-requests 100 is
max_requests = 100 in the file and RWSGI_MAX_REQUESTS=100 in the environment. `rwsgi settings`
prints every name and value.";

fn command() -> clap::Command {
    let app = Row::named("wsgi_app").expect("the table has a row for the application");
    clap::Command::new("rwsgi")
        .no_binary_name(true)
        .infer_long_args(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .term_width(WIDTH)
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage(USAGE)
        .before_help(verbs())
        .help_template("{usage-heading} {usage}\n\n{before-help}{all-args}\n{after-help}\n")
        .after_help(AFTER)
        .arg(
            Arg::new(WORDS)
                .value_name(app.metavar)
                .num_args(1..)
                .allow_negative_numbers(true)
                .action(ArgAction::Append)
                .help(app.help)
                .help_heading(app.section.title()),
        )
        .args(TABLE.iter().filter(|row| !row.flags.is_empty()).map(argument))
        .next_help_heading("Other")
        .args(others())
}

/// Lists the verbs for running servers, one per line.
fn verbs() -> String {
    let lines = command::TABLE.iter().filter_map(|row| Some(format!("  {:16} {}", row.usage?, row.help)));
    format!("Verbs:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Returns the options that are no settings.
fn others() -> [Arg; 8] {
    let hidden = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).hide(true);
    [
        Arg::new(CONFIG)
            .short('c')
            .long(CONFIG)
            .value_name("FILE")
            .help("read settings from this file, TOML or Python"),
        Arg::new("help").short('h').long("help").action(ArgAction::Help).help("print this help"),
        Arg::new("version")
            .short('v')
            .short_alias('V')
            .long("version")
            .action(ArgAction::Version)
            .help("print the version"),
        Arg::new(WAIT)
            .long(WAIT)
            .action(ArgAction::SetTrue)
            .help("reload: wait until only the new code serves, or the reload has failed"),
        Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("verbs: answer in JSON"),
        Arg::new(WITHIN).long(WITHIN).value_name("SECONDS").help("verbs: longest time to wait for the answer"),
        hidden(CHECK_CONFIG),
        hidden(PRINT_CONFIG),
    ]
}

fn argument(row: &'static Row) -> Arg {
    let mut arg = Arg::new(row.name).help(row.help).help_heading(row.section.title());
    for flag in row.flags {
        arg = match (flag.strip_prefix("--"), flag.strip_prefix('-').and_then(|letter| letter.chars().next())) {
            (Some(name), _) if arg.get_long().is_none() => arg.long(name),
            (Some(name), _) => arg.visible_alias(name),
            (None, Some(letter)) => arg.short(letter),
            (None, None) => arg,
        };
    }
    let arg = arg.aliases(unambiguous_prefixes(row));
    match row.kind {
        FlagKind::Switch => arg.action(ArgAction::SetTrue),
        // A negative number is no option; the setting reports the error.
        FlagKind::One => arg.action(ArgAction::Set).value_name(row.metavar).allow_negative_numbers(true),
        FlagKind::List => arg.action(ArgAction::Append).value_name(row.metavar),
    }
}

/// Returns prefixes that mean the shorter of two flags, such as `--time` for `--timeout` beside `--timeout-mode`.
/// gunicorn has only the shorter one.
fn unambiguous_prefixes(row: &Row) -> Vec<&'static str> {
    let all = || TABLE.iter().flat_map(|row| row.flags).copied();
    let shortened = |flag: &'static str| {
        let is_longer = |other: &str| other != flag && other.starts_with(flag);
        let from = if all().any(is_longer) { "--".len() + 1 } else { flag.len() };
        (from..flag.len())
            .map(move |end| &flag[..end])
            .filter(move |short| all().all(|other| other.starts_with(flag) || !other.starts_with(short)))
    };
    let long = row.flags.iter().copied().filter(|flag| flag.starts_with("--"));
    long.flat_map(shortened).map(|flag| flag.trim_start_matches('-')).collect()
}

fn flags(matches: &ArgMatches, app: Option<&str>) -> Vec<SourceValue> {
    let given =
        |row: &Row, value| SourceValue { name: row.name, value, origin: Origin::Flag(row.flag_name().to_owned()) };
    let word = |text: &str| Value::Word(text.to_owned());
    let item = |text: &String| Item { value: word(text), line: None };
    let of_row = |row: &'static Row| {
        let value = match row.kind {
            _ if row.flags.is_empty() => word(app.filter(|_| row.name == "wsgi_app")?),
            FlagKind::Switch => Value::Bool(Some(true).filter(|_| matches.get_flag(row.name))?),
            FlagKind::One => word(matches.get_one::<String>(row.name)?),
            FlagKind::List => Value::List(matches.get_many::<String>(row.name)?.map(item).collect()),
        };
        Some(given(row, value))
    };
    TABLE.iter().filter_map(of_row).collect()
}

/// Translates clap's errors; help and version are among them.
fn refused(error: &clap::Error) -> Result<Call, UsageError> {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default(),
        _ => "",
    };
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Ok(Call::Print(error.to_string()));
        }
        ErrorKind::UnknownArgument => unknown::refusal(argument),
        ErrorKind::InvalidValue => UsageError::usage(format!("{argument}: expected a value, found none")),
        ErrorKind::TooManyValues => UsageError::usage(format!("{argument}: expected no value, found one")),
        ErrorKind::InvalidUtf8 => UsageError::usage("expected words in UTF-8, found other bytes"),
        kind => UsageError::usage(format!("expected another command line: {kind}")),
    })
}
