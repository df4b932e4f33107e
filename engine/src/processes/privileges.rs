//! Dropping the rights that the server was started with. They are kept longer only for hooks that are called with them.

use std::path::Path;

use nix::sys::signal::Signal;
use pyo3::prelude::*;

use rwsgi::message::{BootFailure, Occasion, Start};
use rwsgi::os::identity::Refused;
use rwsgi::os::process;

use crate::loading::config_file::ConfigFile;
use crate::loading::guard::Guard;

/// Drops the rights, unless a hook is to be called with them. Code that was run with them, for that hook or for a configuration
/// file that was evaluated before its settings named a user, must be code that the user could not change.
pub(crate) fn keep_for_hooks(
    py: Python<'_>,
    start: &Start,
    config: Option<&ConfigFile>,
    guard: Option<Guard>,
) -> Result<Option<Guard>, BootFailure> {
    let Some(config) = config.filter(|_| start.identity.is_change()) else {
        return Ok(guard);
    };
    let guard = match guard {
        Some(guard) if guard.is_against(&start.identity) => guard,
        other => {
            other.map_or(Ok(()), |guard| guard.remove(py)).map_err(|error| BootFailure::setup(&error))?;
            let guard = Guard::install(py, &start.identity).map_err(|error| BootFailure::setup(&error))?;
            guard.look_back(py, Path::new(&config.defined.path))?;
            guard
        }
    };
    let hooks: &[&str] = match start.occasion {
        Occasion::Starting => &["on_starting", "when_ready"],
        Occasion::Reloading => &["on_reload"],
        Occasion::Again => &[],
    };
    if !start.check && hooks.iter().any(|hook| config.defined.has_hook(hook)) {
        return Ok(Some(guard));
    }
    drop_rights(py, start, Some(guard))?;
    Ok(None)
}

/// Drops the rights. A master of root no longer trusts this process from here on.
pub(crate) fn drop_rights(py: Python<'_>, start: &Start, guard: Option<Guard>) -> Result<(), BootFailure> {
    start.identity.take().map_err(|error| BootFailure::setup(&Refused(error)))?;
    process::die_with_parent(Signal::SIGKILL).map_err(|error| BootFailure::setup(&error))?;
    guard.map_or(Ok(()), |guard| guard.remove(py)).map_err(|error| BootFailure::setup(&error))
}
