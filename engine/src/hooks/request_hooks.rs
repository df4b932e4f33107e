//! The hooks that are called for each request, `pre_request` and `post_request`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::worker::Exchange;

use crate::exceptions;
use crate::hooks::request_facts;
use crate::native_string;

/// The hooks, as one thread calls them.
pub(crate) struct RequestHooks<'py> {
    object: Bound<'py, PyAny>,
}

impl<'py> RequestHooks<'py> {
    /// Takes an object of the class `Hooks` in `engine/python/hooks.py`.
    pub(crate) fn new(object: Bound<'py, PyAny>) -> RequestHooks<'py> {
        RequestHooks { object }
    }

    /// Calls `pre_request`. Returns the request as the hook has left it.
    pub(crate) fn before(&self, exchange: &Exchange<'_>) -> PyResult<Bound<'py, PyAny>> {
        self.object.call_method1("before", (request_facts::facts(self.object.py(), exchange)?,))
    }

    /// Changes the environ as the hook has changed the request.
    pub(crate) fn change(&self, request: &Bound<'py, PyAny>, environ: &Bound<'py, PyDict>) -> PyResult<()> {
        self.object.call_method1("change", (request, environ)).map(drop)
    }

    /// Calls `post_request`. Its failure is logged.
    pub(crate) fn after(
        &self,
        request: &Bound<'py, PyAny>,
        environ: Option<&Bound<'py, PyDict>>,
        exchange: &mut Exchange<'_>,
    ) {
        let py = self.object.py();
        let call = |exchange: &mut Exchange<'_>| -> PyResult<()> {
            let empty = PyDict::new(py);
            let (length, is_begun) = (exchange.body_bytes(), exchange.is_begun());
            let head = exchange.head();
            let status = head.is_started().then(|| native_string::from_bytes(py, head.status())).transpose()?;
            let headers = request_facts::pairs(py, head.fields(), <[u8]>::to_vec)?;
            let environ = environ.unwrap_or(&empty);
            self.object.call_method1("after", (request, environ, status, headers, length, is_begun)).map(drop)
        };
        if let Err(error) = call(exchange) {
            tracing::error!(hook = "post_request", "hook failed\n{}", exceptions::traceback(py, &error));
        }
    }
}
