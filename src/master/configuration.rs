//! The configuration file in Python, from the master's side: a zygote evaluates it before there are settings, and
//! becomes the zygote of the generation that they make. At the start the master waits for it; at a reload it continues
//! its work.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::zygote::{self, Zygote, ZygoteRights, ZygoteStage};
use super::{AnyError, Master, ZYGOTES, now};
use crate::message::{BUILD_ID, BootFailure, Configure, FromZygote, Identity, ToZygote};
use crate::os::channel::Received;
use crate::os::program::Program;
use crate::os::{descendants, process, read_file};
use crate::settings::{Defined, Script, Seconds, Settings};
use crate::supervisor::{Moment, Standing};

/// A configuration file in Python, and the settings of the environment and the command line, which name its Python and
/// limit its time.
#[derive(Clone, Debug)]
pub struct PythonFile {
    /// The file.
    pub script: Script,
    /// The settings of the other sources.
    pub settings: Settings,
}

/// A zygote that evaluates the file for a reload.
pub(super) struct Evaluation {
    pub(super) number: u64,
    pub(super) zygote: Zygote,
    until: Option<Moment>,
}

impl Evaluation {
    /// Returns its deadline, if there is one.
    pub(super) fn until(&self) -> Option<Moment> {
        self.until
    }
}

/// Evaluates the file and returns its definitions; leaves no process running. `engine` as in [`super::Launch`].
pub fn evaluate(engine: &[u8], file: &PythonFile, arguments: &[String]) -> Result<Defined, AnyError> {
    let program = Program::open(engine)?;
    process::become_subreaper()?;
    // A verb prints its answer to standard output; the file must not print there.
    let (zygote, defined) = process::with_stdout_apart(|| configured(&program, file, arguments))??;
    discard(&zygote);
    Ok(defined)
}

/// Starts a zygote and waits until it has evaluated the file.
pub(super) fn configured(
    program: &Program,
    file: &PythonFile,
    arguments: &[String],
) -> Result<(Zygote, Defined), AnyError> {
    // An unknown name is reported later, when the settings are read.
    let named = Identity::look_up(file.settings.user.as_deref(), file.settings.group.as_deref()).unwrap_or_default();
    let mut zygote = zygote::start(program, &file.settings, ZygoteRights::Kept { untrusted: Some(&named) })?;
    let until = file.settings.boot_timeout.limit().map(|limit| now() + limit);
    loop {
        let Some(message) = hear(&zygote, until)? else {
            discard(&zygote);
            return Err(match zygote.stage {
                ZygoteStage::Started => PythonLate(file.settings.boot_timeout).into(),
                _ => late(file).into(),
            });
        };
        match (message, zygote.stage) {
            (FromZygote::Found(found), ZygoteStage::Started) => {
                zygote.found = Some(found);
                zygote.stage = ZygoteStage::Configuring;
                say(&zygote, file, arguments)?;
            }
            (FromZygote::Configured(defined), ZygoteStage::Configuring) => {
                zygote.stage = ZygoteStage::Configured;
                return Ok((zygote, defined));
            }
            (FromZygote::Failed(failure), _) => return Err(failure.to_string().into()),
            _ => return Err("zygote: a message that is not allowed now".into()),
        }
    }
}

/// Python was not found or entered in time, before a configuration file could be evaluated.
#[derive(Debug)]
pub struct PythonLate(Seconds);

impl fmt::Display for PythonLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "python: expected an interpreter that starts within {} s, found none\nhint: boot_timeout sets this limit",
            self.0
        )
    }
}

impl std::error::Error for PythonLate {}

/// Receives its next message; `None` when the time is up.
fn hear(zygote: &Zygote, until: Option<Moment>) -> Result<Option<FromZygote>, AnyError> {
    loop {
        match zygote.channel.receive()? {
            Received::Packet(packet) => return Ok(Some(serde_json::from_slice(&packet.bytes)?)),
            Received::Closed => return Err("the process that evaluates the configuration file ended".into()),
            Received::Nothing => {}
        }
        let left = until.map(|until| until.saturating_sub(now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        let limit = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let mut waited = [PollFd::new(zygote.channel.as_fd(), PollFlags::POLLIN)];
        // A signal ends the poll early; the loop polls again.
        let _ = poll(&mut waited, limit);
    }
}

fn say(zygote: &Zygote, file: &PythonFile, arguments: &[String]) -> io::Result<()> {
    let opened = match &file.script {
        // If the file cannot be opened here, the zygote reports the reason.
        Script::File(path) => read_file::open_regular(Path::new(path)).ok(),
        Script::Module(_) => None,
    };
    let configure = Configure {
        build: BUILD_ID.to_owned(),
        script: file.script.clone(),
        arguments: arguments.to_owned(),
        untrusted: zygote.untrusted.clone(),
        has_file: opened.is_some(),
    };
    zygote.channel.say(&ToZygote::Configure(configure), &opened.iter().map(AsFd::as_fd).collect::<Vec<_>>())
}

fn late(file: &PythonFile) -> String {
    let name = match &file.script {
        Script::File(name) | Script::Module(name) => name,
    };
    let limit = file.settings.boot_timeout;
    format!("{name}: expected the file to end within {limit} s, found it running\nhint: boot_timeout sets this limit")
}

/// Kills a zygote that is not needed any more, and everything that it has started.
pub(super) fn discard(zygote: &Zygote) {
    descendants::kill(zygote.pid);
}

impl Master<'_> {
    /// Starts to evaluate the file for a reload, with the zygote of the next generation.
    pub(super) fn start_evaluation(&mut self, number: u64) {
        self.supersede_evaluation();
        let Some(file) = &self.startup.file else { return };
        let untrusted = Some(&self.processes.in_charge().identity);
        let started =
            zygote::start(&self.startup.program, &file.settings, ZygoteRights::Kept { untrusted }).and_then(|zygote| {
                let token = Token(ZYGOTES + usize::try_from(number).map_err(io::Error::other)?);
                self.poll.registry().register(&mut SourceFd(&zygote.channel.as_raw_fd()), token, Interest::READABLE)?;
                Ok(zygote)
            });
        match started {
            Ok(zygote) => {
                let until = file.settings.boot_timeout.limit().map(|limit| now() + limit);
                self.processes.evaluation = Some(Evaluation { number, zygote, until });
            }
            Err(error) => {
                tracing::error!(%error, "zygote not started");
                self.not_reloaded(number);
            }
        }
    }

    /// Sends the file to evaluate to a zygote that has found its Python.
    pub(super) fn configure(&mut self, number: u64) {
        let Some(file) = self.startup.file.clone() else { return };
        let evaluation = self
            .processes
            .evaluation
            .as_ref()
            .filter(|evaluation| evaluation.number == number)
            .map(|evaluation| &evaluation.zygote);
        let zygote = evaluation.or_else(|| self.processes.generations.get(&number)?.zygote.as_ref());
        let said = zygote.map(|zygote| say(zygote, &file, &self.startup.arguments));
        if let Some(Err(error)) = said {
            self.zygote_failed(number, &BootFailure::setup(&error));
        }
    }

    /// Handles the definitions of a file that a zygote has evaluated: for a reload, or only for the hooks if an earlier
    /// zygote of its generation has died.
    pub(super) fn configured(&mut self, number: u64, defined: &Defined) {
        if !self.is_evaluating(number) {
            return self.zygote_configured(number);
        }
        if let Some(Evaluation { zygote, .. }) = self.processes.evaluation.take() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&zygote.channel.as_raw_fd()));
            self.try_generation(number, Some(defined), Some(zygote));
        }
    }

    /// Tells a zygote that has evaluated the file what to serve.
    pub(super) fn zygote_configured(&mut self, number: u64) {
        let zygote = self.processes.generations.get_mut(&number).and_then(|generation| generation.zygote.as_mut());
        let Some(zygote) = zygote else { return };
        zygote.stage = ZygoteStage::Entering;
        if let Some(found) = zygote.found.clone() {
            self.zygote_found(number, &found);
        }
    }

    pub(super) fn is_evaluating(&self, number: u64) -> bool {
        self.processes.evaluation.as_ref().is_some_and(|evaluation| evaluation.number == number)
    }

    /// Reports that the file could not be evaluated.
    pub(super) fn evaluation_failed(&mut self, failure: &BootFailure) {
        let Some(evaluation) = self.take_evaluation() else { return };
        super::log_lines::boot_failure(failure);
        self.requests.failure = Some(failure.to_string());
        self.not_reloaded(evaluation.number);
    }

    /// True if this process was evaluating a file; reports its end.
    pub(super) fn is_evaluator(&mut self, pid: Pid) -> bool {
        let Some(number) = self
            .processes
            .evaluation
            .as_ref()
            .filter(|evaluation| evaluation.zygote.pid == pid)
            .map(|evaluation| evaluation.number)
        else {
            return false;
        };
        self.read_zygote(number);
        self.evaluation_failed(&BootFailure::setup(&"the process that evaluates the configuration file ended"));
        true
    }

    pub(super) fn end_late_evaluation(&mut self) {
        if self
            .processes
            .evaluation
            .as_ref()
            .is_some_and(|evaluation| evaluation.until().is_some_and(|until| until <= now()))
        {
            let words = self.startup.file.as_ref().map(late).unwrap_or_default();
            self.evaluation_failed(&BootFailure::setup(&words));
        }
    }

    /// Ends an evaluation, because a newer reload begins or the server stops.
    pub(super) fn supersede_evaluation(&mut self) {
        if let Some(evaluation) = self.take_evaluation() {
            tracing::warn!(generation = evaluation.number, "reload given up");
            self.reload_dropped(evaluation.number, "given up for a newer reload");
        }
    }

    fn take_evaluation(&mut self) -> Option<Evaluation> {
        let evaluation = self.processes.evaluation.take()?;
        let _ = self.poll.registry().deregister(&mut SourceFd(&evaluation.zygote.channel.as_raw_fd()));
        discard(&evaluation.zygote);
        Some(evaluation)
    }

    /// Returns the state of the server. The evaluation of a file counts as a reload.
    pub(super) fn standing(&self) -> Standing {
        match self.supervisor.standing() {
            Standing::Serving { .. } if self.processes.evaluation.is_some() => Standing::Reloading,
            standing => standing,
        }
    }
}
