//! The log files, opened by the master: as whoever started it, before privileges are dropped.

use std::os::fd::OwnedFd;

use super::AnyError;
use crate::log::{self, Destination};
use crate::os;
use crate::settings::Settings;
use crate::settings::types::LogTarget;

/// Sets up this process's error log; answers with its file, `None` for standard error.
pub(super) fn open_error(settings: &Settings) -> Result<Option<OwnedFd>, AnyError> {
    let file = match &settings.errorlog {
        LogTarget::Standard => None,
        target @ LogTarget::File(_) => Some(open("errorlog", target)?),
    };
    let destination = file.as_ref().map(|file| file.try_clone().map(Destination::Fd)).transpose()?;
    log::init(settings.loglevel, settings.log_format, destination.unwrap_or(Destination::Stderr))?;
    Ok(file)
}

/// The access log's file, if there is to be one.
pub(super) fn open_access(settings: &Settings) -> Result<Option<OwnedFd>, AnyError> {
    settings.accesslog.as_ref().map(|target| open("accesslog", target)).transpose()
}

fn open(name: &str, target: &LogTarget) -> Result<OwnedFd, AnyError> {
    let destination = match target {
        LogTarget::Standard => Destination::Stdout,
        LogTarget::File(path) => {
            Destination::at(path).map_err(|error| format!("{name}: {}: {}", path.display(), os::words(&error)))?
        }
    };
    Ok(destination.into_fd()?)
}
