//! The command line: words to a call. Here, and only here, the environment is read.

pub mod args;
pub mod ctl;
mod verb;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;

use args::{Call, Invocation, UsageError};
use ctl::Errand;

use crate::http::AccessFormat;
use crate::master::{self, AnyError, Launch, Origins, Reading};
use crate::message::Predecessor;
use crate::os::announce::Announcer;
use crate::os::successor::CommandLine;
use crate::os::{self, process};
use crate::settings::unread::unread;
use crate::settings::{Resolved, Sources, passed, resolve};

/// Does what the words ask for, and says with which code the process is to end. `engine` is the engine inside the
/// executable, empty if it holds none.
pub fn run(words: Vec<OsString>, engine: &[u8]) -> i32 {
    if words.first().is_some_and(|word| word == master::ROLE) {
        master::become_zygote(|name| std::env::var(name).ok());
        return EXIT_CONFIG;
    }
    let call = match args::parse(words) {
        Ok(call) => call,
        Err(error) => {
            complain(&error);
            return i32::from(error.exit_code());
        }
    };
    match call {
        Call::Print(text) => print(&text),
        Call::Settings(invocation) => show(&invocation),
        Call::Tell(errand, invocation) => tell(&errand, &invocation),
        Call::Check(invocation) => serve(&invocation, engine, true),
        Call::Start(invocation) => serve(&invocation, engine, false),
    }
}

fn show(invocation: &Invocation) -> i32 {
    warn_of_unread(invocation);
    match settings(invocation, std::process::id()) {
        Ok(resolved) => print(&resolved.to_string()),
        Err(problems) => {
            complain(&problems);
            EXIT_CONFIG
        }
    }
}

fn tell(errand: &Errand, invocation: &Invocation) -> i32 {
    match settings(invocation, std::process::id()) {
        Ok(resolved) => ctl::run(errand, &resolved.settings, invocation.config.as_deref()),
        Err(problems) => {
            complain(&problems);
            EXIT_CONFIG
        }
    }
}

fn serve(invocation: &Invocation, engine: &[u8], check: bool) -> i32 {
    warn_of_unread(invocation);
    // Before the processes get titles, which take the room of these words.
    let arguments = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let command_line = CommandLine::of_this_process();
    let predecessor: Option<Predecessor> =
        variable(Predecessor::VARIABLE).and_then(|text| serde_json::from_str(&text).ok());
    let me = addressee(predecessor.as_ref());
    warn_of_foreign_sockets(me);
    let read = || {
        let resolved = settings(invocation, me)?;
        invocation.app(&resolved.settings)?;
        if !check {
            verb::judge(invocation, &resolved.settings)?;
        }
        resolved.remarks.iter().for_each(|line| warn(line));
        process::close_on_exec(resolved.passed.descriptors());
        let origins = resolved.origins.keys().map(|name| (*name, resolved.origin_of(name))).collect();
        Ok(Reading { settings: resolved.settings, origins: Origins(origins) })
    };
    let announcer = if check { Announcer::silent() } else { announcer(me) };
    let addressed = ["LISTEN_PID", "WATCHDOG_PID"].into_iter().filter(|name| variable(name) == Some(me.to_string()));
    let addressed = addressed.collect();
    let launch = |reading| Launch {
        reading,
        read: &read,
        arguments,
        command_line,
        predecessor,
        engine,
        announcer,
        addressed,
        check,
    };
    match read().and_then(|reading| master::run(launch(reading))) {
        Ok(0) if check => print("configuration and application are sound\n"),
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            error.downcast_ref::<UsageError>().map_or(EXIT_CONFIG, |error| i32::from(error.exit_code()))
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The process that the service manager means when it names this one: a new master beside an old one stands in its place.
fn addressee(predecessor: Option<&Predecessor>) -> u32 {
    let parent = std::os::unix::process::parent_id();
    predecessor.filter(|old| u32::try_from(old.pid) == Ok(parent)).map_or(std::process::id(), |_| parent)
}

/// The service manager, if there is one.
fn announcer(me: u32) -> Announcer {
    Announcer::from_environment(variable, me).unwrap_or_else(|error| {
        warn(&error);
        Announcer::silent()
    })
}

/// The settings from all sources, or everything that is wrong with them.
fn settings(invocation: &Invocation, me: u32) -> Result<Resolved, AnyError> {
    let text = match &invocation.config {
        None => None,
        Some(path) => match fs::read_to_string(path) {
            Ok(text) => Some((path.as_str(), text)),
            Err(error) => return Err(format!("--config: {path}: {}", os::words(&error)).into()),
        },
    };
    let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    let resolved = resolve(&Sources { file, environment: &environment(me), flags: &invocation.flags })?;
    if let Err(error) = AccessFormat::parse(&resolved.settings.access_log_format) {
        return Err(format!("{}: {error}", resolved.origin_of("access_log_format")).into());
    }
    Ok(resolved)
}

/// The environment as far as it is text, without sockets that were passed to another process than `me`.
fn environment(me: u32) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name != Predecessor::VARIABLE)
        .collect();
    if passed::meant_for_another(&environment, me).is_some() {
        environment.retain(|(name, _)| !passed::VARIABLES.contains(&name.as_str()));
    }
    environment
}

fn warn_of_unread(invocation: &Invocation) {
    let is_python_file_there = invocation.config.is_none() && Path::new("gunicorn.conf.py").is_file();
    for line in unread(&environment(std::process::id()), is_python_file_there) {
        warn(&line);
    }
}

/// A shell stands between systemd and this process.
fn warn_of_foreign_sockets(me: u32) {
    let variables = ["LISTEN_PID", "LISTEN_FDS"];
    let environment: Vec<(String, String)> =
        variables.into_iter().filter_map(|name| Some((name.to_owned(), variable(name)?))).collect();
    if let Some(other) = passed::meant_for_another(&environment, me) {
        warn(&format!(
            "LISTEN_PID: expected {me}, found {other}; the sockets of LISTEN_FDS are not served\nhint: start rwsgi without \
             a shell in between, or by exec"
        ));
    }
}

fn warn(line: &dyn std::fmt::Display) {
    complain(&format!("warning: {line}"));
}

fn complain(problem: &dyn std::fmt::Display) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "{problem}");
}

fn print(text: &str) -> i32 {
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

/// gunicorn's code for a configuration that cannot be used.
const EXIT_CONFIG: i32 = 1;
