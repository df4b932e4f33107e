//! The options: what clap is told of them, and the errors of words that are none. Checks no value, except beside other
//! errors.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use super::invocation::{CONFIG, JSON, LIST, WAIT, WITHIN};
use super::unknown;
use super::usage_error::UsageError;
use crate::command;
use crate::settings::parse::FlagKind;
use crate::settings::resolve::set;
use crate::settings::source_value::Item;
use crate::settings::{Origin, Row, Settings, SourceValue, TABLE, Value};

/// The reason why words give no options.
pub(super) enum Unread {
    /// They ask for this text: help or version.
    Text(String),
    /// They are wrong.
    Wrong(UsageError),
}

/// Parses the words, or returns all unknown options, with the wrong values beside them.
pub(super) fn read(words: Vec<OsString>) -> Result<ArgMatches, Unread> {
    let mut errors: Vec<UsageError> = Vec::new();
    let (foreign, mut words): (Vec<_>, Vec<_>) = words.into_iter().partition(unknown::is_foreign);
    errors.extend(foreign.iter().filter_map(|word| word.to_str()).map(|word| unknown::refusal(name_of(word))));
    loop {
        let error = match command().try_get_matches_from(&words) {
            Ok(matches) if errors.is_empty() => return Ok(matches),
            Ok(matches) => {
                errors.extend(wrong_values(&matches));
                break;
            }
            Err(error) => error,
        };
        let argument = argument_of(&error);
        match error.kind() {
            ErrorKind::DisplayVersion if errors.is_empty() => return Err(Unread::Text(error.to_string())),
            ErrorKind::DisplayVersion => break,
            ErrorKind::UnknownArgument => {
                errors.push(unknown::refusal(argument));
                // Left out, so that the next one is found.
                let is_it = |word: &OsString| word.to_str().is_some_and(|word| name_of(word) == argument);
                match words.iter().position(is_it) {
                    Some(place) => drop(words.remove(place)),
                    None => break,
                }
            }
            kind => {
                errors.push(refused(kind, argument));
                break;
            }
        }
    }
    Err(Unread::Wrong(UsageError::all(&errors)))
}

/// Returns the option that a clap error is about.
fn argument_of(error: &clap::Error) -> &str {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default(),
        _ => "",
    }
}

/// Returns the option of a word, without its value.
fn name_of(word: &str) -> &str {
    word.split('=').next().unwrap_or_default()
}

/// Translates clap's errors, except those of unknown options.
fn refused(kind: ErrorKind, argument: &str) -> UsageError {
    match kind {
        ErrorKind::InvalidValue => UsageError::usage(format!("{argument}: expected a value, found none")),
        ErrorKind::TooManyValues => UsageError::usage(format!("{argument}: expected no value, found one")),
        ErrorKind::InvalidUtf8 => UsageError::usage("expected words in UTF-8, found other bytes"),
        kind => UsageError::usage(format!("expected another command line: {kind}")),
    }
}

/// Returns the errors of single values.
fn wrong_values(matches: &ArgMatches) -> Vec<UsageError> {
    let given = flags(matches, None);
    let problems = given.iter().flat_map(|given| set(&mut Settings::default(), given));
    problems.map(|problem| UsageError::of_words(problem.to_string())).collect()
}

pub(super) const WORDS: &str = "words";
/// gunicorn's flags for `check` and `settings`.
pub(super) const CHECK_CONFIG: &str = "check-config";
pub(super) const PRINT_CONFIG: &str = "print-config";
/// The options that ask for help.
pub(super) const HELP: &str = "help";
pub(super) const HELP_ALL: &str = "help-all";
/// The width of the help, which fits any terminal.
pub(super) const WIDTH: usize = 100;
const USAGE: &str = "\
rwsgi [OPTIONS] [APP]           serve APP
       rwsgi check [OPTIONS] [APP]     load settings and APP, and report errors
       rwsgi settings [OPTIONS] [APP]  print every setting and its origin
       rwsgi VERB [OPTIONS]            ask the running server of --pid or --config";
const AFTER: &str = "\
Options can also be set in a file (TOML or gunicorn's Python) and in the environment: --max-requests 100 is
max_requests = 100 in the file and RWSGI_MAX_REQUESTS=100 in the environment. `rwsgi settings`
prints every name and value.";

/// Returns the options for the parser.
pub(super) fn command() -> clap::Command {
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
    let list = format!("  {LIST:16} list the servers of this user");
    format!("Verbs:\n{}", lines.chain([list]).collect::<Vec<_>>().join("\n"))
}

/// Returns the options that are no settings.
pub(super) fn others() -> [Arg; 9] {
    let hidden = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).hide(true);
    [
        Arg::new(CONFIG)
            .short('c')
            .long(CONFIG)
            .value_name("FILE")
            .help("read settings from this file, TOML or Python"),
        Arg::new(HELP)
            .short('h')
            .long(HELP)
            .action(ArgAction::SetTrue)
            .help("print the usual commands, or the help of a verb"),
        Arg::new(HELP_ALL).long(HELP_ALL).action(ArgAction::SetTrue).help("print this help"),
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

/// Returns the option of a setting, with its default in the help.
pub(super) fn argument(row: &'static Row) -> Arg {
    let default = (row.show)(&Settings::default())
        .filter(|value| row.kind != FlagKind::Switch && !["[]", "\"\""].contains(&value.as_str()));
    let help = default.map_or_else(|| row.help.to_owned(), |value| format!("{} [default: {value}]", row.help));
    let mut arg = Arg::new(row.name).help(help).help_heading(row.section.title());
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

/// Returns the settings given by flags.
pub(super) fn flags(matches: &ArgMatches, app: Option<&str>) -> Vec<SourceValue> {
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
