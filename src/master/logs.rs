//! The files that a server writes, opened by the master: as whoever started it, before privileges are dropped. A check looks
//! whether that would work, and makes none.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{AnyError, Origins};
use crate::log::{self, Destination};
use crate::os;
use crate::os::pidfile::PidFile;
use crate::settings::Settings;
use crate::settings::types::LogTarget;

/// What a server writes to.
#[derive(Default)]
pub(super) struct Files {
    /// `None`: standard error.
    pub(super) error_log: Option<OwnedFd>,
    /// If there is to be an access log.
    pub(super) access_log: Option<OwnedFd>,
    pub(super) pidfile: Option<PidFile>,
}

impl Files {
    /// Opens and writes them, and sets up this process's error log.
    pub(super) fn open(settings: &Settings, origins: &Origins) -> Result<Files, AnyError> {
        let error_log = match &settings.errorlog {
            LogTarget::Standard => None,
            LogTarget::File(path) => Some(log_file(path).map_err(|error| origins.blame("errorlog", &error))?),
        };
        let destination = error_log.as_ref().map(|file| file.try_clone().map(Destination::Fd)).transpose()?;
        log::init(settings.loglevel, settings.log_format, destination.unwrap_or(Destination::Stderr))?;
        let access_log = match &settings.accesslog {
            None => None,
            Some(LogTarget::Standard) => Some(Destination::Stdout.into_fd()?),
            Some(LogTarget::File(path)) => Some(log_file(path).map_err(|error| origins.blame("accesslog", &error))?),
        };
        let pidfile = settings.pidfile.as_deref().map(PidFile::write).transpose();
        Ok(Files { error_log, access_log, pidfile: pidfile.map_err(|error| origins.blame("pidfile", &error))? })
    }

    /// Fails as [`Files::open`] would.
    pub(super) fn check(settings: &Settings, origins: &Origins) -> Result<Files, AnyError> {
        log::init(settings.loglevel, settings.log_format, Destination::Stderr)?;
        for (name, target) in [("errorlog", Some(&settings.errorlog)), ("accesslog", settings.accesslog.as_ref())] {
            if let Some(LogTarget::File(path)) = target {
                Destination::check(path).map_err(|error| origins.blame(name, &refused(path, &error)))?;
            }
        }
        settings.pidfile.as_deref().map_or(Ok(()), PidFile::check).map_err(|error| origins.blame("pidfile", &error))?;
        Ok(Files::default())
    }
}

fn log_file(path: &Path) -> Result<OwnedFd, String> {
    Destination::at(path).and_then(Destination::into_fd).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), os::words(error))
}
