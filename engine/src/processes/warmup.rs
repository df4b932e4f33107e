//! The requests of the setting `warmup`, made in the zygote before workers are forked.

use pyo3::prelude::*;

use rwsgi::worker;

use crate::processes::inheritance::Inheritance;
use crate::timeouts::caller::Caller;
use crate::wsgi::call_application::CallApplication;

/// Makes the requests of the setting.
pub(crate) fn warm_up(py: Python<'_>, application: &Bound<'_, PyAny>, inheritance: &Inheritance) -> PyResult<()> {
    let settings = &inheritance.start.settings;
    if settings.warmup.is_empty() || inheritance.listeners.is_empty() {
        return Ok(());
    }
    let caller = Caller::without_worker(settings)?;
    let call = CallApplication::new(py, application.clone(), &inheritance.listeners, settings, caller)?;
    for request in &settings.warmup {
        let (target, host) = (request.target(), request.host());
        let mut status = 0;
        for _ in 0..WARMUP_ROUNDS {
            status = worker::warm_up(&call, target, host, request.is_https())?;
            // Further rounds would only repeat the traceback.
            if status >= 400 {
                break;
            }
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        if status < 400 {
            tracing::info!(path, query, host, status, "application warmed up");
        } else {
            tracing::warn!(path, query, host, status, "warm-up request failed, the server starts anyway");
        }
    }
    Ok(())
}

/// Rounds of each request. CPython specialises its bytecode after about 8 calls, and memory written later is no longer shared.
const WARMUP_ROUNDS: usize = 20;
