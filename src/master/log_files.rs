//! The files that a server writes, opened by the master: with the rights of the user that started it, before privileges
//! are dropped. A check tests whether that would work, and creates none.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::{AnyError, Generation, Master, Origins};
use crate::log::{self, Destination};
use crate::message::Reopen;
use crate::os;
use crate::os::identity::Identity;
use crate::os::pidfile::PidFile;
use crate::os::place;
use crate::os::std_streams;
use crate::settings::Settings;
use crate::settings::types::LogTarget;

/// The log files of one generation.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    /// `None`: standard error.
    pub(super) error: Option<OwnedFd>,
    /// The access log, if there is one.
    pub(super) access: Option<OwnedFd>,
}

impl LogFiles {
    /// Opens them. Files belong to the user that the application runs as, as under gunicorn.
    pub(super) fn open(settings: &Settings, origins: &Origins, identity: &Identity) -> Result<LogFiles, AnyError> {
        if settings.daemon && settings.enable_stdio_inheritance {
            std_streams::keep()?;
        }
        let error = match &settings.errorlog {
            LogTarget::Standard => None,
            LogTarget::File(path) => Some(log_file(path, identity).map_err(|error| origins.blame("errorlog", &error))?),
        };
        let access = match &settings.accesslog {
            None => None,
            Some(LogTarget::Standard) => Some(Destination::Stdout.into_fd()?),
            Some(LogTarget::File(path)) => {
                Some(log_file(path, identity).map_err(|error| origins.blame("accesslog", &error))?)
            }
        };
        Ok(LogFiles { error, access })
    }

    /// Fails as [`LogFiles::open`] would, and opens none.
    pub(super) fn check(settings: &Settings, origins: &Origins, _: &Identity) -> Result<LogFiles, AnyError> {
        for (name, target) in [("errorlog", Some(&settings.errorlog)), ("accesslog", settings.accesslog.as_ref())] {
            if let Some(LogTarget::File(path)) = target {
                Destination::check(path).map_err(|error| origins.blame(name, &refused(path, &error)))?;
            }
        }
        Ok(LogFiles::default())
    }

    /// Makes the error log that of this process.
    pub(super) fn take(&self, settings: &Settings) -> io::Result<()> {
        let destination = self.error.as_ref().map(|file| file.try_clone().map(Destination::Fd)).transpose()?;
        log::init(settings.loglevel, settings.log_format, destination.unwrap_or(Destination::Stderr))
    }

    /// Returns their descriptors, as messages take them along.
    pub(super) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.error.iter().chain(&self.access).map(AsFd::as_fd)
    }

    /// Returns which of them exist.
    pub(super) fn reopen(&self) -> Reopen {
        Reopen { error_log: self.error.is_some(), access_log: self.access.is_some() }
    }
}

impl Master<'_> {
    /// Tells the process that started a server in the background that it serves, and moves the log from the terminal to
    /// its file.
    pub(super) fn leave_terminal(&mut self) {
        let Some(background) = self.startup.background.take() else { return };
        let Generation { log_files, settings, .. } = self.processes.in_charge();
        background.serves(|| {
            if let Err(error) = log_files.take(settings) {
                tracing::error!(%error, "log file not taken");
            }
        });
    }
}

/// Fails as writing the pid file would, and writes none.
pub(super) fn check_pidfile(settings: &Settings, origins: &Origins) -> Result<(), AnyError> {
    settings.pidfile.as_deref().map_or(Ok(()), PidFile::check).map_err(|error| origins.blame("pidfile", &error))
}

fn log_file(path: &Path, identity: &Identity) -> Result<OwnedFd, String> {
    let opened = Destination::at(path).map_err(|error| refused(path, &error))?;
    let Destination::Fd(file) = opened else { return opened.into_fd().map_err(|error| refused(path, &error)) };
    let file = File::from(file);
    if let Err(error) = place::give(&file, identity.user, identity.group) {
        tracing::warn!(path = %path.display(), %error, "the owner of the log file could not be changed to the application's user");
    }
    Ok(file.into())
}

fn refused(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), os::words(error))
}
