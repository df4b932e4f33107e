//! The texts of `--help`, `--help-all` and `VERB --help`, and the description of the command line for manual pages and
//! completions. Parses nothing.

use clap::{Arg, ArgAction, Command, ValueHint};

use super::invocation::{CONFIG, JSON, LIST, WAIT, WITHIN};
use super::options;
use crate::command::{self, CommandRow};
use crate::settings::Row;

/// Returns the help that fits a screen.
pub(super) fn short() -> String {
    format!("rwsgi {}: {PURPOSE}\n\n{SHORT}", env!("CARGO_PKG_VERSION"))
}

/// Returns the help with every option.
pub(super) fn all() -> String {
    options::command().render_help().to_string()
}

/// Returns the help of a verb, if the word is one.
pub(super) fn of_verb(word: &str) -> Option<String> {
    let mut verb = verbs().into_iter().find(|verb| verb.get_name() == word)?;
    Some(verb.render_help().to_string())
}

/// Returns the command line with its verbs as subcommands, for manual pages and completions.
pub fn described() -> Command {
    let files = |arg: Arg| {
        let names = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
        match names.first().map(String::as_str) {
            Some("FILE" | "PATH") => arg.value_hint(ValueHint::AnyPath),
            Some("DIR" | "DIRS") => arg.value_hint(ValueHint::DirPath),
            _ => arg,
        }
    };
    let of_settings = |verb: Command| match verb.get_name() {
        "check" | "settings" => verb.args(options::command().get_arguments().filter(|arg| is_of_a_start(arg)).cloned()),
        _ => verb,
    };
    let verbs = verbs().into_iter().map(of_settings).map(move |verb| verb.mut_args(files));
    options::command().no_binary_name(false).about(PURPOSE).subcommands(verbs).mut_args(files)
}

/// True for the options of a start: settings and the configuration file.
fn is_of_a_start(arg: &Arg) -> bool {
    arg.get_id() == CONFIG || Row::named(arg.get_id().as_str()).is_some()
}

/// Returns the verbs.
pub fn verbs() -> Vec<Command> {
    let of_servers = command::TABLE.iter().filter_map(|row| Some(of_server(row, row.usage?)));
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("answer in JSON");
    let others = [
        verb("check", "check [OPTIONS] [APP]").about(CHECK).after_help(AS_A_START),
        verb("settings", "settings [OPTIONS] [APP]").about(SETTINGS).after_help(AS_A_START),
        verb(LIST, "ls [--json]").about("list the servers of this user").arg(json),
    ];
    of_servers.chain(others).collect()
}

fn of_server(row: &'static CommandRow, usage: &'static str) -> Command {
    let signals: Vec<&str> = row.signals.iter().map(|(_, name)| *name).collect();
    let by_signal =
        if signals.is_empty() { String::new() } else { format!("The same by signal: {}.", signals.join(", ")) };
    let naming = ["bind", "pidfile", "control_socket"].into_iter().filter_map(Row::named);
    let command =
        verb(row.name, usage).about(row.help).after_help(format!("{WHICH}\n\n{by_signal}").trim_end().to_owned());
    let command = command.args(options::others().into_iter().filter(|arg| {
        let id = arg.get_id().as_str();
        id == JSON || id == WITHIN || (id == WAIT && row.command == command::Command::Reload)
    }));
    let config = options::others().into_iter().filter(|arg| arg.get_id() == CONFIG);
    command
        .next_help_heading("Which server")
        .args(config)
        .args(naming.map(options::argument))
        .mut_args(|arg| if arg.get_help_heading().is_some() { arg.help_heading("Which server") } else { arg })
}

fn verb(name: &'static str, usage: &'static str) -> Command {
    Command::new(name)
        .disable_help_flag(true)
        .term_width(options::WIDTH)
        .override_usage(format!("rwsgi {usage}"))
        .help_template("{usage-heading} {usage}\n\n{about}\n\n{all-args}\n\n{after-help}\n")
}

/// What the program is.
pub const PURPOSE: &str = "WSGI application server";
const CHECK: &str = "load settings and application as a start does, and report what is wrong with them";
const SETTINGS: &str = "print every setting with its value and its origin, as a TOML file";
const AS_A_START: &str = "The options are those of a start: rwsgi --help-all lists them.";
const WHICH: &str = "\
Without one of these options it is the server that was started in this directory, or the one at
127.0.0.1:8000. rwsgi ls lists your servers.";
const SHORT: &str = "\
Usage: rwsgi [OPTIONS] APP      APP is a module such as mysite.wsgi, or module:callable
       rwsgi VERB [OPTIONS]

  rwsgi mysite.wsgi                     serve it at http://127.0.0.1:8000
  rwsgi -w 4 -b :8000 mysite.wsgi       with 4 workers, on every IPv4 address
  rwsgi --reload mysite.wsgi            while you write it: load changed code
  rwsgi -c rwsgi.toml                   with settings from a file
  rwsgi reload --wait                   load new code into the running server

Verbs for a running server: status, requests, stack, reload, scale, recycle, reopen-logs,
upgrade, stop, quit. Before a start: check, settings. All servers of this user: ls.

  rwsgi --help-all       every option, with its default
  rwsgi VERB --help      one verb
  rwsgi settings         every setting, with its value and its origin
  man rwsgi, man rwsgi.toml
";
