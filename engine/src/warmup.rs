//! The requests that are made in the zygote, before workers are forked.

use pyo3::prelude::*;

use rwsgi::worker;

use crate::call_application::Cycle;
use crate::request_timeout::Caller;
use crate::zygote::Inheritance;

/// Makes the requests that are to come before all others.
pub(crate) fn warm_up(py: Python<'_>, application: &Bound<'_, PyAny>, inheritance: &Inheritance) -> PyResult<()> {
    let settings = &inheritance.start.settings;
    if settings.warmup.is_empty() || inheritance.listeners.is_empty() {
        return Ok(());
    }
    let cycle = Cycle::new(py, application.clone(), &inheritance.listeners, settings, Caller::alone(settings)?)?;
    for request in &settings.warmup {
        let (target, host) = (request.target(), request.host());
        let mut status = 0;
        for _ in 0..WARMUP_ROUNDS {
            status = worker::warm_up(&cycle, target, host, request.is_https())?;
            // Nothing comes of further ones but more tracebacks.
            if status >= 400 {
                break;
            }
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        if status < 400 {
            tracing::info!(path, query, host, status, "application warmed up");
        } else {
            tracing::warn!(path, query, host, status, "warm-up request failed, the server starts all the same");
        }
    }
    Ok(())
}

/// CPython specialises its bytecode after some 8 calls, and memory that is written later is shared no more.
const WARMUP_ROUNDS: usize = 20;
