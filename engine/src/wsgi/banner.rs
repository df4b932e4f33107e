//! The name of the server, as a configuration file may have changed it: `gunicorn.SERVER` and `gunicorn.SERVER_SOFTWARE`.

use std::sync::OnceLock;

use pyo3::prelude::*;

use rwsgi::worker::Exchange;

use crate::python;

/// Reads what the configuration file has set. It is called once, before the first fork.
pub(crate) fn read(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    let gunicorn = modules.call_method1("get", ("gunicorn",))?;
    if gunicorn.is_none() {
        return Ok(());
    }
    let text = |name: &str| gunicorn.getattr(name).and_then(|value| value.extract::<String>()).ok();
    let version = text("__version__").unwrap_or_default();
    let name = text("SERVER").filter(|name| name != "gunicorn");
    let software = text("SERVER_SOFTWARE").filter(|software| *software != format!("gunicorn/{version}"));
    if let Some(name) = name.or_else(|| software.clone()) {
        let _ = NAME.set(name.into_bytes());
    }
    if let Some(software) = software {
        let _ = SOFTWARE.set(software);
    }
    Ok(())
}

/// Returns the value of `SERVER_SOFTWARE`.
pub(crate) fn software() -> &'static str {
    SOFTWARE.get().map_or(python::SOFTWARE, String::as_str)
}

/// Adds the field Server to a response, unless the application has set one or the name is rwsgi's own. A name that no field can
/// have changes nothing.
pub(crate) fn add_to(exchange: &mut Exchange<'_>) {
    let Some(name) = NAME.get() else { return };
    let head = exchange.head();
    if head.field(b"server").is_none() {
        let _ = head.push(b"Server", name);
    }
}

static NAME: OnceLock<Vec<u8>> = OnceLock::new();
static SOFTWARE: OnceLock<String> = OnceLock::new();
