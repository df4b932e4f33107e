//! Parses the command line: verb, options, application. Starts nothing, reads no file and no environment, checks no
//! value: `settings::resolve` gets the word of a flag unchanged.

use std::ffi::OsString;
use std::time::Duration;

use clap::ArgMatches;

use super::ctl::ControlCall;
use super::gunicorn::translate;
use super::help;
pub use super::invocation::{CMD_ARGS, Config, Invocation};
use super::invocation::{CONFIG, JSON, LIST, WAIT, WITHIN};
use super::options::{CHECK_CONFIG, HELP, HELP_ALL, PRINT_CONFIG, Unread, WORDS, flags, read};
use super::shell;
pub use super::usage_error::UsageError;
use super::verb;
use crate::command::Command;
use crate::control::ControlRequest;
use crate::settings::source_value::quoted;
use crate::settings::types::Text as _;
use crate::settings::{Origin, Seconds, SourceValue};

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
    /// List the servers of this user.
    List {
        /// True to print JSON, for programs.
        json: bool,
    },
    /// Print this text on standard output: help or version.
    Print(String),
}

/// Parses the words after the program's name.
///
/// The first word that is no option is the verb, if it is `check`, `settings` or the name of a command. An application
/// of that name is written `check:application`.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Call, UsageError> {
    let (words, skipped) = translate(words);
    let matches = match read(words) {
        Ok(matches) => matches,
        Err(Unread::Text(text)) => return Ok(Call::Print(text)),
        Err(Unread::Wrong(error)) => return Err(error),
    };
    if let Some(config) = matches.get_one::<String>(CONFIG) {
        Config::refuse_foreign(config)?;
    }
    if let Some(text) = help(&matches) {
        return Ok(Call::Print(text));
    }
    let mut plain = matches.get_many::<String>(WORDS).unwrap_or_default().map(String::as_str).peekable();
    if plain.next_if_eq(&LIST).is_some() {
        return list(plain.next(), &matches);
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

/// Returns the help that is asked for by an option or the verb `help`.
fn help(matches: &ArgMatches) -> Option<String> {
    let mut words = matches.get_many::<String>(WORDS).unwrap_or_default().map(String::as_str).peekable();
    let by_verb = words.next_if_eq(&HELP).is_some();
    if matches.get_flag(HELP_ALL) {
        return Some(help::all());
    }
    (by_verb || matches.get_flag(HELP)).then(|| words.next().and_then(help::of_verb).unwrap_or_else(help::short))
}

fn list(more: Option<&str>, matches: &ArgMatches) -> Result<Call, UsageError> {
    match more {
        Some(word) => Err(UsageError::usage(format!("expected nothing after {LIST}, found {}", quoted(word)))),
        None => Ok(Call::List { json: matches.get_flag(JSON) }),
    }
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
        let matches = match read(words) {
            Ok(matches) => matches,
            Err(Unread::Wrong(error)) => return Err(refuse(&error.to_string())),
            Err(Unread::Text(_)) => return Err(refuse(NO_SETTINGS)),
        };
        if matches.get_flag(HELP) || matches.get_flag(HELP_ALL) {
            return Err(refuse(NO_SETTINGS));
        }
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

const NO_SETTINGS: &str = "expected options that are settings, found --help or --version";
