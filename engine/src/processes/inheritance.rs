//! The inheritance: settings, sockets, files and Python objects that a zygote receives or makes, and that its workers get by
//! being forked.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use rwsgi::log;
use rwsgi::message::{BUILD_ID, BootCause, BootFailure, Remotes, Reopen, Start, Streams};
use rwsgi::os::channel::Channel;
use rwsgi::os::listener::Listener;
use rwsgi::os::memfd;
use rwsgi::os::scoreboard::Scoreboard;
use rwsgi::settings::{Settings, TlsTerms};
use rwsgi::tls::{Identity, Material};
use rwsgi::worker::HandoffEnds;

use crate::hooks::Hooks;
use crate::hooks::loggers::Loggers;
use crate::loading::config_file::ConfigFile;
use crate::python;

/// The inheritance of a worker.
pub(crate) struct Inheritance {
    pub(crate) start: Start,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) scoreboard: Scoreboard,
    /// The certificates and keys, if connections are encrypted. One value for all workers, so that each can resume the others'
    /// sessions.
    pub(crate) tls: Option<Identity>,
    /// The sockets over which workers hand connections to each other.
    pub(crate) handoff: HandoffEnds,
    /// The file of the access log, which changes when logs are opened anew.
    pub(crate) access_log: Mutex<Option<OwnedFd>>,
    /// The descriptor to which faulthandler writes.
    pub(crate) error_fd: i32,
    /// The configuration file, if it is in Python.
    pub(crate) config: Option<ConfigFile>,
    /// The loggers of Python.
    pub(crate) loggers: Option<Loggers>,
    /// The hooks of the configuration file, if it has any.
    pub(crate) hooks: Option<Hooks>,
    /// The descriptors for these hooks.
    pub(crate) for_hooks: ForHooks,
    /// The application, if it is preloaded.
    pub(crate) application: Option<Py<PyAny>>,
    /// The directory for bodies that memory is too small for.
    pub(crate) spill_directory: PathBuf,
}

/// The descriptors that the hooks of a configuration file need of the master.
#[derive(Default)]
pub(crate) struct ForHooks {
    /// The file for the attributes of `server`.
    pub(crate) memory: Option<OwnedFd>,
    /// The file for those of the generation before.
    pub(crate) memory_before: Option<OwnedFd>,
    /// The hook process's end of its channel, if one is to be started.
    pub(crate) hook_process: Option<Channel>,
}

/// Sends log lines to syslog and statsd as well from now on.
pub(crate) fn connect(remotes: &Remotes) {
    if let Err(error) = log::connect(remotes) {
        tracing::warn!(%error, "no socket for syslog or statsd");
    }
}

impl Inheritance {
    /// Takes the descriptors that came with the message, starts the log, and takes `config`.
    pub(crate) fn receive(
        start: Start,
        fds: Vec<OwnedFd>,
        config: Option<ConfigFile>,
    ) -> Result<Inheritance, BootFailure> {
        same_build(&start.build)?;
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| BootFailure::setup(&"the master sent too few descriptors"));
        let scoreboard = Scoreboard::attach(next()?).map_err(|error| BootFailure::setup(&error))?;
        let mut listeners = Vec::new();
        for _ in 0..start.listeners {
            listeners.push(Listener::from_fd(next()?).map_err(|error| BootFailure::setup(&error))?);
        }
        let error_log = start.error_log.then(&mut next).transpose()?;
        let access_log = Mutex::new(start.access_log.then(&mut next).transpose()?);
        let tls = start.settings.tls().map(|terms| identity(&terms, next()?)).transpose()?;
        let for_hooks = ForHooks {
            memory: start.hooks.memory.then(&mut next).transpose()?,
            memory_before: start.hooks.memory_before.then(&mut next).transpose()?,
            hook_process: start.hooks.hook_process.then(&mut next).transpose()?.map(Channel::from_fd),
        };
        if start.streams == Streams::Sent {
            log::print_to(&next()?, &next()?).map_err(|error| BootFailure::setup(&error))?;
        }
        let error_fd = error_log.as_ref().map_or(libc::STDERR_FILENO, AsRawFd::as_raw_fd);
        start_log(&start, error_log)?;
        let handoff = HandoffEnds::new().map_err(|error| BootFailure::setup(&error))?;
        let (loggers, hooks, application) = (None, None, None);
        Ok(Inheritance {
            start,
            listeners,
            scoreboard,
            tls,
            handoff,
            access_log,
            error_fd,
            config,
            loggers,
            hooks,
            for_hooks,
            application,
            spill_directory: PathBuf::new(),
        })
    }

    /// Takes the log files that were opened anew, for this process and for the workers to come.
    pub(crate) fn reopen(&self, py: Python<'_>, reopen: Reopen, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let error_log = reopen.error_log.then(|| fds.next()).flatten();
        python::flush_standard(py);
        let redirected = log::redirect(error_log.as_ref(), None);
        if let Err(error) = redirected.and_then(|()| self.capture(error_log.as_ref())) {
            tracing::error!(%error, "log file not opened anew");
        }
        if let Some(loggers) = &self.loggers {
            loggers.reopen(py);
        }
        if reopen.access_log {
            *self.access_log.lock().unwrap_or_else(PoisonError::into_inner) = fds.next();
        }
    }

    /// Returns the descriptors that are for the server's processes only.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.listeners.iter().map(AsRawFd::as_raw_fd).chain(self.handoff.descriptors())
    }

    /// Sends standard output and error to the file of the error log, if the settings ask for that.
    pub(crate) fn capture(&self, error_log: Option<&OwnedFd>) -> std::io::Result<()> {
        capture(&self.start.settings, error_log)
    }
}

/// Fails if program and engine were not built together.
pub(crate) fn same_build(build: &str) -> Result<(), BootFailure> {
    if build == BUILD_ID {
        return Ok(());
    }
    let message =
        format!("engine: expected build {build}, found {BUILD_ID}\nhint: install program and engine together");
    Err(BootFailure { cause: BootCause::Setup, message, traceback: None })
}

fn capture(settings: &Settings, error_log: Option<&OwnedFd>) -> std::io::Result<()> {
    error_log.filter(|_| settings.capture_output).map_or(Ok(()), log::capture)
}

fn start_log(start: &Start, file: Option<OwnedFd>) -> Result<(), BootFailure> {
    let settings = &start.settings;
    capture(settings, file.as_ref()).map_err(|error| BootFailure::setup(&error))?;
    let destination = file.map_or(log::Destination::Stderr, log::Destination::Fd);
    log::init(settings.loglevel, settings.log_format, destination).map_err(|error| BootFailure::setup(&error))?;
    log::connect(&start.remotes).map_err(|error| BootFailure::setup(&error))
}

/// Returns certificates and keys. The master has read and checked them, and this process may have no right to do so.
fn identity(terms: &TlsTerms, file: OwnedFd) -> Result<Identity, BootFailure> {
    let bytes = memfd::read(file).map_err(|error| BootFailure::setup(&error))?;
    let material: Material = serde_json::from_slice(&bytes).map_err(|error| BootFailure::setup(&error))?;
    Identity::new(&material, terms).map_err(|problem| BootFailure::setup(&format!("{}: {problem}", problem.setting)))
}
