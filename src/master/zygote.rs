//! The zygote from the master's side: starting it, and the code that a new process runs before it becomes Python.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::interpreter::{self, InterpreterError, LaunchOverride, PythonChoice};
use crate::message::{BootCause, BootFailure, FoundPython, FromZygote, Identity, LoadPython, Predecessor, ToZygote};
use crate::os::channel::{Channel, Received};
use crate::os::process::{self, CHANNEL_FD, Role};
use crate::os::program::Program;
use crate::os::sd_notify;
use crate::settings::{Settings, socket_activation};

/// The argument that makes this program a zygote; it is not for people.
pub const ROLE: &str = "__zygote";

/// A zygote that was started.
pub(super) struct Zygote {
    pub(super) pid: Pid,
    pub(super) channel: Channel,
    pub(super) stage: ZygoteStage,
    /// As in [`LoadPython::untrusted`].
    pub(super) untrusted: Option<Identity>,
    /// The Python that it has found, kept while a configuration file is evaluated.
    pub(super) found: Option<FoundPython>,
    /// True if it was told to end.
    pub(super) expected: bool,
    /// True if a signal has stopped it.
    pub(super) is_stopped: bool,
    /// True if the server stops and it has hooks to call until all workers are gone.
    pub(super) stays: bool,
}

impl Zygote {
    /// Tells it to end by closing the master's side of the channel. Its own messages are ignored from now on.
    pub(super) fn leave(&mut self) {
        self.expected = true;
        self.stage = match self.stage {
            ZygoteStage::Ready | ZygoteStage::Finishing => ZygoteStage::Finishing,
            _ => ZygoteStage::Unheard,
        };
        let _ = self.channel.shut_down();
    }

    /// True if its messages are ignored.
    pub(super) fn is_ignored(&self) -> bool {
        matches!(self.stage, ZygoteStage::Finishing | ZygoteStage::Unheard)
    }

    /// True if it has been told what to serve, and still reads messages.
    pub(super) fn is_listening(&self) -> bool {
        matches!(self.stage, ZygoteStage::Entering | ZygoteStage::Ready)
    }
}

/// The last message of a zygote, which decides the next one that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZygoteStage {
    /// It has sent nothing.
    Started,
    /// The Python that it enters; it was told to evaluate a configuration file.
    Configuring,
    /// The definitions of that file; it waits to be told what to serve.
    Configured,
    /// The Python that it enters, and the definitions of a configuration file, if there is one.
    Entering,
    /// It can fork.
    Ready,
    /// The reason why it ends.
    Failed,
    /// It was ready when it was told to end, and runs exit handlers: the master ignores it.
    Finishing,
    /// An invalid message, or it is not needed any more: the master ignores it.
    Unheard,
}

/// The rights with which a zygote enters Python.
#[derive(Clone, Copy, Debug)]
pub(super) enum ZygoteRights<'a> {
    /// Those of the application: it has become this user before the program is executed.
    Dropped(&'a Identity),
    /// Those of the master, until it has evaluated a configuration file in Python and called the hooks that come first.
    Kept {
        /// The user that the application runs as, if that is known and not the master's own.
        untrusted: Option<&'a Identity>,
    },
}

/// Starts a zygote and tells it which Python to enter.
pub(super) fn start(program: &Program, settings: &Settings, rights: ZygoteRights<'_>) -> io::Result<Zygote> {
    let (ours, theirs) = Channel::pair()?;
    let ours = ours.refuse_descriptors();
    ours.set_nonblocking(true)?;
    ours.pass_credentials()?;
    let environment: Vec<(String, String)> =
        settings.raw_env.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    let hidden = [&socket_activation::VARIABLES[..], &sd_notify::VARIABLES[..], &[Predecessor::VARIABLE]].concat();
    let role = Role {
        program: program.executable(),
        word: ROLE,
        channel: theirs.as_fd(),
        environment: &environment,
        hidden: &hidden,
        identity: match rights {
            ZygoteRights::Dropped(identity) => Some(identity),
            ZygoteRights::Kept { .. } => None,
        },
    };
    let pid = process::start(&role)?;
    let python = settings.python.as_ref().map(|path| path.to_string_lossy().into_owned());
    let untrusted = match rights {
        ZygoteRights::Kept { untrusted } => untrusted.filter(|identity| identity.is_change()).cloned(),
        ZygoteRights::Dropped(_) => None,
    };
    let path = program.path().to_string_lossy().into_owned();
    let load = LoadPython { python, program: path, directory: settings.chdir.clone(), untrusted: untrusted.clone() };
    ours.say(&ToZygote::Load(load), &[program.engine()])?;
    Ok(Zygote {
        pid,
        channel: ours,
        stage: ZygoteStage::Started,
        untrusted,
        found: None,
        expected: false,
        is_stopped: false,
        stays: false,
    })
}

/// Runs in the new process: finds the interpreter, reports it, and becomes it. Returns only on an error, which the
/// master has been told then. `variable` reads the environment.
pub fn run(variable: impl Fn(&str) -> Option<String>) {
    let channel = Channel::from_fd(process::inherited_channel());
    let _ = process::die_with_parent(Signal::SIGKILL);
    let Ok(Received::Packet(packet)) = channel.receive() else {
        return;
    };
    let (Ok(ToZygote::Load(load)), Some(engine)) = (serde_json::from_slice(&packet.bytes), packet.fds.first()) else {
        return;
    };
    let failure = match find(&load, variable) {
        Err(failure) => failure,
        Ok(interpreter) => {
            let found = FoundPython {
                version: interpreter.release.clone(),
                executable: interpreter.executable.to_string_lossy().into_owned(),
                launch: interpreter.launch.name().to_owned(),
                named_by: interpreter.named_by.to_string(),
            };
            if channel.say(&FromZygote::Found(found), &[]).is_err() {
                return;
            }
            setup(&interpreter.enter(engine.as_fd(), CHANNEL_FD))
        }
    };
    let _ = channel.say(&FromZygote::Failed(failure.bounded()), &[]);
}

fn find(load: &LoadPython, variable: impl Fn(&str) -> Option<String>) -> Result<interpreter::Interpreter, BootFailure> {
    let launch = match variable("RWSGI_LAUNCH").map(|text| text.parse::<LaunchOverride>()) {
        Some(Err(wrong)) => {
            let message = format!("RWSGI_LAUNCH: {wrong}");
            return Err(BootFailure { cause: BootCause::Setup, message, traceback: None });
        }
        Some(Ok(launch)) => Some(launch),
        None => None,
    };
    let virtual_env = variable("VIRTUAL_ENV");
    let path = variable("PATH");
    let python_path = variable("PYTHONPATH");
    let python_home = variable("PYTHONHOME");
    let home = variable("HOME").map(|home| format!("{home}/.local"));
    let user_base = variable("PYTHONUSERBASE").or(home);
    let choice = PythonChoice {
        setting: load.python.as_deref(),
        program: Some(Path::new(&load.program)),
        directory: load.directory.as_deref(),
        virtual_env: virtual_env.as_deref(),
        path: path.as_deref().map(AsRef::as_ref),
        launch,
        untrusted: load.untrusted.as_ref(),
        python_path: python_path.as_deref().map(AsRef::as_ref),
        python_home: python_home.as_deref(),
        user_base: user_base.as_deref(),
    };
    interpreter::find(&choice).map_err(|error| setup(&error))
}

fn setup(error: &InterpreterError) -> BootFailure {
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    BootFailure { cause: BootCause::Setup, message: format!("{error}{hint}"), traceback: None }
}
