//! The command line: parses the words and runs the call. The environment is read only here.

pub mod args;
mod config_file;
pub mod ctl;
mod env_file;
mod gunicorn;
pub mod help;
mod invocation;
mod options;
mod servers;
mod shell;
mod unknown;
mod usage_error;
mod verb;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use args::Call;
use ctl::ControlCall;
use invocation::{CMD_ARGS, Config, Invocation};
use usage_error::UsageError;

use crate::log;
use crate::master::{self, AnyError, Launch, Origins, PythonFile, ResolvedSettings};
use crate::message::Predecessor;
use crate::os::daemonize::{self, Background, Side};
use crate::os::read_file::{self, Source};
use crate::os::reexec::CommandLine;
use crate::os::runtime_directory;
use crate::os::sd_notify::Announcer;
use crate::os::{self, process};
use crate::settings::foreign::unknown_env::unknown_variables;
use crate::settings::{
    Defined, Origin, Resolved, Script, Settings, Sources, resolve, socket_activation, valid_settings,
};

/// Runs the call and returns the exit code. `engine` is the engine inside the executable, empty if it contains none.
pub fn run(words: Vec<OsString>, engine: &[u8]) -> i32 {
    if words.first().is_some_and(|word| word == master::ROLE) {
        master::become_zygote(|name| std::env::var(name).ok());
        return EXIT_CONFIG;
    }
    let call = match args::parse(words).and_then(complete) {
        Ok(call) => call,
        Err(error) => {
            complain(&error);
            return i32::from(error.exit_code());
        }
    };
    match call {
        Call::Print(text) => print(&text),
        Call::Settings(invocation) => show(&invocation, engine),
        Call::Tell(call, invocation) => tell(&call, &invocation, engine),
        Call::List { json } => servers::list(json, &directories()),
        Call::Check(invocation) => serve(&invocation, engine, true),
        Call::Start(invocation) => serve(&invocation, engine, false),
    }
}

/// Adds gunicorn's other sources to the call: its variable, and its file in this directory.
fn complete(call: Call) -> Result<Call, UsageError> {
    let is_verb = matches!(call, Call::Tell(..));
    let complete = |mut invocation: Invocation| {
        if let Some(words) = variable(CMD_ARGS) {
            invocation = invocation.with_words(&words)?;
        }
        if invocation.config.is_none() {
            invocation.config = config_file::of_directory(is_verb)?;
        }
        config_file::decide_by_content(&mut invocation);
        Ok(invocation)
    };
    Ok(match call {
        Call::Print(_) | Call::List { .. } => call,
        Call::Start(invocation) => Call::Start(complete(invocation)?),
        Call::Check(invocation) => Call::Check(complete(invocation)?),
        Call::Settings(invocation) => Call::Settings(complete(invocation)?),
        Call::Tell(call, invocation) => Call::Tell(call, complete(invocation)?),
    })
}

fn show(invocation: &Invocation, engine: &[u8]) -> i32 {
    warn_of_unknown_variables();
    match settings_of_all(invocation, engine) {
        Ok(resolved) => {
            resolved.warnings.iter().for_each(|line| warn(line));
            print(&resolved.to_string())
        }
        Err(problems) => {
            complain(&problems);
            EXIT_CONFIG
        }
    }
}

fn tell(call: &ControlCall, invocation: &Invocation, engine: &[u8]) -> i32 {
    // If the path of the socket is given, a configuration file in Python is not run.
    let me = std::process::id();
    let is_said = |resolved: &Resolved| resolved.settings.control_path().is_some();
    let said = settings(invocation, me, None).ok().filter(is_said);
    match said.map_or_else(|| settings_of_all(invocation, engine), Ok) {
        Ok(resolved) => {
            let has_address = resolved.origins["bind"] != Origin::Default;
            let settings = resolved.settings.seen_from_start();
            let path = socket_of(&settings, has_address);
            ctl::run(call, &settings, path)
        }
        Err(problems) => {
            complain(&problems);
            // A wrong word of this very command, which may be the one that names the server.
            if resolve(&Sources { flags: &invocation.flags, ..Sources::default() }).is_err() {
                return EXIT_CONFIG;
            }
            // The running server was started with a valid file. The valid settings of this one may still name its
            // socket.
            let settings = with_sources(invocation, me, None, valid_settings).unwrap_or_default().seen_from_start();
            match socket_of(&settings, false) {
                Ok(path) => ctl::run(call, &settings, Ok(path)),
                Err(_) => {
                    complain(&"hint: --pid FILE finds the running server without the other settings");
                    EXIT_CONFIG
                }
            }
        }
    }
}

/// Returns the path of the running server's control socket. An error is a sentence.
fn socket_of(settings: &Settings, has_address: bool) -> Result<PathBuf, String> {
    if settings.has_default_control() {
        return servers::find(settings, has_address, &directories()).map_err(|error| error.to_string());
    }
    settings.control_path().ok_or_else(|| {
        "expected the control socket of a running server, found control_socket turned off\nhint: the server obeys signals: \
         kill -HUP reloads the code, kill -TERM stops it"
            .to_owned()
    })
}

/// Reads the settings from all sources, including a Python file.
fn settings_of_all(invocation: &Invocation, engine: &[u8]) -> Result<Resolved, AnyError> {
    let me = std::process::id();
    let Some(file) = python_file(invocation, me)? else { return settings(invocation, me, None) };
    let defined = master::evaluate(engine, &file, &arguments())?;
    settings(invocation, me, Some(&defined))
}

/// Returns the configuration file if it is in Python, with the settings of the other sources.
fn python_file(invocation: &Invocation, me: u32) -> Result<Option<PythonFile>, AnyError> {
    let Some(Config::Python(script)) = &invocation.config else { return Ok(None) };
    if let Script::File(path) = script {
        if let Err(error) = read_file::check_file(Path::new(path)) {
            return Err(format!("--config: {path}: {}", os::words(&error)).into());
        }
    }
    let resolved = settings(invocation, me, None)?;
    Ok(Some(PythonFile { script: script.clone(), settings: resolved.settings }))
}

fn arguments() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn serve(invocation: &Invocation, engine: &[u8], check: bool) -> i32 {
    warn_of_unknown_variables();
    // A Python file may set `daemon` too, which is known only after it has run.
    let known = settings(invocation, std::process::id(), None);
    if !check && !is_successor() && known.is_ok_and(|resolved| resolved.settings.daemon) {
        return in_background(invocation, engine);
    }
    match attempt(invocation, engine, check, None) {
        Ok(code) => code,
        Err(error) if error.is::<AsksForBackground>() => in_background(invocation, engine),
        Err(error) => failed(&error),
    }
}

/// Starts the server in the background. The calling process waits until it serves or has failed.
fn in_background(invocation: &Invocation, engine: &[u8]) -> i32 {
    if variable("NOTIFY_SOCKET").is_some() {
        warn(&"daemon: the service manager cannot follow a server in the background\nhint: leave it out of a unit");
    }
    match daemonize::enter() {
        Ok(Side::Caller(code)) => code,
        Ok(Side::Background(background)) => {
            let outcome = attempt(invocation, engine, false, Some(&background));
            let code = outcome.unwrap_or_else(|error| failed(&error));
            background.ended(code);
            code
        }
        Err(error) => failed(&format!("daemon: {}", os::words(&error)).into()),
    }
}

fn is_successor() -> bool {
    variable(Predecessor::VARIABLE).is_some()
}

fn failed(error: &AnyError) -> i32 {
    complain(error);
    if error.is::<master::PythonLate>() {
        return EXIT_BOOT;
    }
    error.downcast_ref::<UsageError>().map_or(EXIT_CONFIG, |error| i32::from(error.exit_code()))
}

/// The Python file sets `daemon`, and this process is in the foreground. Nothing was started yet.
#[derive(Debug)]
struct AsksForBackground;

impl std::fmt::Display for AsksForBackground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("daemon: expected to be in the background already")
    }
}

impl std::error::Error for AsksForBackground {}

fn attempt(
    invocation: &Invocation,
    engine: &[u8],
    check: bool,
    background: Option<&Background>,
) -> Result<i32, AnyError> {
    // Copied before the processes get titles, which overwrite these words.
    let arguments = arguments();
    let command_line = CommandLine::of_this_process(std::env::var_os("PATH").unwrap_or_default());
    let predecessor: Option<Predecessor> =
        variable(Predecessor::VARIABLE).and_then(|text| serde_json::from_str(&text).ok());
    let me = addressee(predecessor.as_ref());
    warn_of_foreign_sockets(me);
    let is_first = Cell::new(true);
    let read = |defined: Option<&Defined>| {
        let resolved = settings(invocation, me, defined)?;
        let may_ask = is_first.replace(false) && !check && background.is_none() && !is_successor();
        if resolved.settings.daemon && may_ask {
            return Err(AsksForBackground.into());
        }
        invocation.app(&resolved.settings)?;
        if !check {
            verb::refuse_misspelled(invocation, &resolved.settings)?;
        }
        resolved.warnings.iter().for_each(|line| warn(line));
        process::close_on_exec(resolved.passed.descriptors());
        let origins = resolved.origins.keys().map(|name| (*name, resolved.origin_of(name))).collect();
        let env_place = resolved.origin_of("env_file");
        let mut settings = resolved.settings.seen_from_start();
        env_file::add(&mut settings, &env_place, |name| std::env::var_os(name).is_some())?;
        let file = acted_by(invocation, settings.env_file.as_ref().map(|path| (env_place, path.clone())));
        Ok(ResolvedSettings { settings, origins: Origins(origins), file })
    };
    let announcer = if check { Announcer::silent() } else { announcer(me) };
    let addressed = ["LISTEN_PID", "WATCHDOG_PID"].into_iter().filter(|name| variable(name) == Some(me.to_string()));
    let addressed = addressed.collect();
    let launch = |file| Launch {
        file,
        read: &read,
        arguments,
        command_line,
        predecessor,
        engine,
        announcer,
        directories: directories(),
        addressed,
        check,
        directory: start_directory(),
        background,
    };
    let code = python_file(invocation, me).and_then(|file| master::run(launch(file)))?;
    Ok(if code == 0 && check { print("configuration and application are sound\n") } else { code })
}

/// Returns the file that the application's user must not be able to change, with its source. `variables` is `env_file`.
fn acted_by(invocation: &Invocation, variables: Option<(String, PathBuf)>) -> Option<(String, PathBuf)> {
    match &invocation.config {
        Some(Config::Toml(path)) if invocation.read_once.get().is_none() => {
            Some(("--config".to_owned(), PathBuf::from(path)))
        }
        // The variables are set in a process that runs the configuration as root.
        Some(Config::Python(_)) => variables,
        _ => None,
    }
}

/// Returns the directories of control sockets that no setting names.
fn directories() -> Vec<PathBuf> {
    runtime_directory::candidates(variable("XDG_RUNTIME_DIR").as_deref())
}

/// Returns `$PWD`, if it names the working directory by a symbolic link.
fn start_directory() -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os("PWD")?);
    let about = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
    let is_same = named.is_absolute() && about(&named).is_some_and(|named| about(Path::new(".")) == Some(named));
    (is_same && std::env::current_dir().ok()? != named).then_some(named)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns the process that the service manager addresses. For a new master beside an old one it is the old one.
fn addressee(predecessor: Option<&Predecessor>) -> u32 {
    let parent = std::os::unix::process::parent_id();
    predecessor.filter(|old| u32::try_from(old.pid) == Ok(parent)).map_or(std::process::id(), |_| parent)
}

/// Returns the connection to the service manager, if there is one.
fn announcer(me: u32) -> Announcer {
    Announcer::from_environment(variable, me).unwrap_or_else(|error| {
        warn(&error);
        Announcer::silent()
    })
}

/// Returns the settings from all sources, or all problems. `defined` is the result of a Python file.
fn settings(invocation: &Invocation, me: u32, defined: Option<&Defined>) -> Result<Resolved, AnyError> {
    let mut resolved = with_sources(invocation, me, defined, resolve)??;
    resolved.warnings.extend(invocation.skipped.iter().cloned());
    if let (Some(config), Some(_)) = (&invocation.config, invocation.read_once.get()) {
        let place = config.place();
        resolved
            .warnings
            .push(format!("--config: {place}: not a regular file, so it is read once: a reload keeps its settings"));
    }
    Ok(resolved)
}

/// Reads the sources of settings.
fn with_sources<T>(
    invocation: &Invocation,
    me: u32,
    defined: Option<&Defined>,
    read: impl FnOnce(&Sources<'_>) -> T,
) -> Result<T, AnyError> {
    let text = match &invocation.config {
        None | Some(Config::Python(_)) => None,
        Some(Config::Toml(path)) => match text_of(invocation, path) {
            Ok(text) => Some((path.as_str(), text)),
            Err(error) => return Err(format!("--config: {path}: {}", os::words(&error)).into()),
        },
    };
    let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    let environment = environment(me);
    let Invocation { words, flags, .. } = invocation;
    Ok(read(&Sources { file, defined, words, environment: &environment, flags }))
}

/// Returns the text of the configuration file. A pipe can be read once; its text is kept for reloads.
fn text_of(invocation: &Invocation, path: &str) -> io::Result<String> {
    if let Some(text) = invocation.read_once.get() {
        return Ok(text.clone());
    }
    let Source { text, stays } = read_file::read(Path::new(path))?;
    if !stays {
        let _ = invocation.read_once.set(text.clone());
    }
    Ok(text)
}

/// Returns the environment as far as it is text, without sockets passed to another process than `me`.
fn environment(me: u32) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name != Predecessor::VARIABLE)
        .collect();
    if socket_activation::meant_for_another(&environment, me).is_some() {
        environment.retain(|(name, _)| !socket_activation::VARIABLES.contains(&name.as_str()));
    }
    environment
}

fn warn_of_unknown_variables() {
    for line in unknown_variables(&environment(std::process::id())) {
        warn(&line);
    }
}

/// Warns that sockets were passed to another process: a shell between systemd and this one.
fn warn_of_foreign_sockets(me: u32) {
    let variables = ["LISTEN_PID", "LISTEN_FDS"];
    let environment: Vec<(String, String)> =
        variables.into_iter().filter_map(|name| Some((name.to_owned(), variable(name)?))).collect();
    if let Some(other) = socket_activation::meant_for_another(&environment, me) {
        warn(&format!(
            "LISTEN_PID: expected {me}, found {other}; the sockets of LISTEN_FDS are not served\nhint: start rwsgi without \
             a shell, or with exec"
        ));
    }
}

fn warn(line: &dyn std::fmt::Display) {
    complain(&format!("warning: {line}"));
}

fn complain(problem: &dyn std::fmt::Display) {
    // If standard error is closed, the message is lost. It may contain an application's traceback.
    let _ = writeln!(std::io::stderr(), "{}", log::escaped(&problem.to_string()));
}

fn print(text: &str) -> i32 {
    // A reader that closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

/// gunicorn's code for a configuration that cannot be used.
const EXIT_CONFIG: i32 = 1;
/// gunicorn's code for an application that cannot be booted.
const EXIT_BOOT: i32 = 3;
