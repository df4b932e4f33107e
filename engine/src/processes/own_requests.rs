//! The requests of the settings `warmup`, made in the zygote before workers are forked, and `reload_check`, made where
//! new code is tried.

use pyo3::prelude::*;

use rwsgi::message::{BootCause, BootFailure};
use rwsgi::os::listener::{Listener, PortUse, Where};
use rwsgi::settings::{Settings, WarmupRequest};
use rwsgi::worker::{self, Application, OwnRequest};

use crate::processes::inheritance::Inheritance;
use crate::timeouts::caller::Caller;
use crate::wsgi::call_application::CallApplication;

/// Makes the requests of `warmup`.
pub(crate) fn warm_up(
    py: Python<'_>,
    application: &Bound<'_, PyAny>,
    inheritance: &Inheritance,
) -> Result<(), BootFailure> {
    let settings = &inheritance.start.settings;
    if settings.warmup.is_empty() || inheritance.listeners.is_empty() {
        return Ok(());
    }
    let call = without_worker(py, application, &inheritance.listeners, settings)?;
    for request in &settings.warmup {
        let mut status = 0;
        for _ in 0..WARMUP_ROUNDS {
            status = answer(&call, request, "rwsgi-warmup")?;
            // Further rounds would only repeat the traceback.
            if status >= 400 {
                break;
            }
        }
        let (path, query) = split(request);
        let host = request.host();
        if status < 400 {
            tracing::info!(path, query, host, status, "application warmed up");
        } else if settings.warmup_required && status >= 500 {
            return Err(refused("warmup", request, status));
        } else {
            tracing::warn!(path, query, host, status, "warm-up request failed, the server starts anyway");
        }
    }
    Ok(())
}

/// Makes the requests of `reload_check` to an application that no worker serves.
pub(crate) fn check(py: Python<'_>, application: &Bound<'_, PyAny>, settings: &Settings) -> Result<(), BootFailure> {
    if settings.reload_check.is_empty() {
        return Ok(());
    }
    // The addresses of `bind` may be in use. The environ needs one.
    let here = Where::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::open(&here, 1, PortUse::Alone).map_err(|error| BootFailure::setup(&error))?;
    let call = without_worker(py, application, &[listener], settings)?;
    try_requests(&call, settings)
}

/// Makes the requests of `reload_check`. An error is an answer of 500 or above.
pub(crate) fn try_requests<A: Application>(call: &A, settings: &Settings) -> Result<(), BootFailure> {
    for request in &settings.reload_check {
        let status = answer(call, request, "rwsgi-check")?;
        if status >= 500 {
            return Err(refused("reload_check", request, status));
        }
        let (path, query) = split(request);
        let host = request.host();
        if status == 400 {
            tracing::warn!(
                path,
                query,
                host,
                status,
                "application tried\nhint: if it refuses the host, name one that it serves: http://HOST{path}"
            );
        } else {
            tracing::info!(path, query, host, status, "application tried");
        }
    }
    Ok(())
}

fn without_worker<'py>(
    py: Python<'py>,
    application: &Bound<'py, PyAny>,
    listeners: &[Listener],
    settings: &Settings,
) -> Result<CallApplication<'py>, BootFailure> {
    let caller = Caller::without_worker(settings).map_err(|error| BootFailure::setup(&error))?;
    CallApplication::new(py, application.clone(), listeners, settings, caller)
        .map_err(|error| BootFailure::setup(&error))
}

fn answer<A: Application>(call: &A, request: &WarmupRequest, user_agent: &str) -> Result<u16, BootFailure> {
    let (target, host, is_https) = (request.target(), request.host(), request.is_https());
    worker::answer(call, OwnRequest { target, host, is_https, user_agent }).map_err(|error| BootFailure::setup(&error))
}

/// Returns the failure of code whose answer to a request shows that it does not work.
fn refused(setting: &str, request: &WarmupRequest, status: u16) -> BootFailure {
    let (target, host) = (request.target(), request.host());
    let message = format!(
        "{setting}: expected a status below 500 for GET {target} of {host}, found {status}\n\
         hint: the application's lines before this one say why"
    );
    BootFailure { cause: BootCause::Raised, message, traceback: None }
}

/// Returns a request's path and query.
fn split(request: &WarmupRequest) -> (&str, Option<&str>) {
    let target = request.target();
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Rounds of each request. CPython specialises its bytecode after about 8 calls, and memory written later is no longer shared.
const WARMUP_ROUNDS: usize = 20;
