//! What a process may run while it has more rights than the application's user: nothing that this user could change. That is
//! the case only where a configuration file in Python is evaluated, or its first hooks are called, for a master of root.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule};

use rwsgi::message::{BootFailure, Identity, Occasion, Start};
use rwsgi::os::access::Untrusted;
use rwsgi::os::identity::Refused;
use rwsgi::os::process;

use crate::zygote::Inheritance;

/// Stands before all finders of Python's import system until it is removed.
pub(crate) struct Guard {
    object: Py<PyAny>,
    identity: Identity,
}

impl Guard {
    /// Refuses from now on what `identity` could change.
    pub(crate) fn install(py: Python<'_>, identity: &Identity) -> PyResult<Guard> {
        let code = std::ffi::CString::new(include_str!("../python/guard.py"))?;
        let module = PyModule::from_code(py, &code, c"<rwsgi guard>", c"_rwsgi_guard")?;
        let object = module.getattr("Guard")?.call1((Judge { identity: identity.clone() },))?;
        object.call_method0("install")?;
        Ok(Guard { object: object.unbind(), identity: identity.clone() })
    }

    /// True if this is the user whom it guards against.
    pub(crate) fn is_against(&self, identity: &Identity) -> bool {
        self.identity == *identity
    }

    /// The process has no more rights than the user.
    pub(crate) fn remove(self, py: Python<'_>) -> PyResult<()> {
        self.object.bind(py).call_method0("remove").map(drop)
    }

    /// Fails if something that was run before the user was known could have been changed by it.
    pub(crate) fn look_back(&self, py: Python<'_>, file: &Path) -> Result<(), BootFailure> {
        self.identity.distrust(file).map_err(|untrusted| refused(&untrusted))?;
        let problem = self.object.bind(py).call_method0("look_back").and_then(|found| found.extract());
        match problem.map_err(|error| BootFailure::setup(&error))? {
            None::<String> => Ok(()),
            Some(problem) => Err(BootFailure::setup(&problem)),
        }
    }
}

/// Gives up the master's rights unless a hook is to be called with them. For that one, and for a configuration file that was
/// evaluated before its settings named a user, that user must not have been able to change what has run.
pub(crate) fn keep_rights(
    py: Python<'_>,
    inheritance: &Inheritance,
    guard: Option<Guard>,
) -> Result<Option<Guard>, BootFailure> {
    let Inheritance { start, conf, .. } = inheritance;
    let Some(conf) = conf.as_ref().filter(|_| start.identity.is_change()) else {
        return Ok(guard);
    };
    let guard = match guard {
        Some(guard) if guard.is_against(&start.identity) => guard,
        other => {
            other.map_or(Ok(()), |guard| guard.remove(py)).map_err(|error| BootFailure::setup(&error))?;
            let guard = Guard::install(py, &start.identity).map_err(|error| BootFailure::setup(&error))?;
            guard.look_back(py, Path::new(&conf.defined.path))?;
            guard
        }
    };
    let hooks: &[&str] = match start.occasion {
        Occasion::Starting => &["on_starting", "when_ready"],
        Occasion::Reloading => &["on_reload"],
        Occasion::Again => &[],
    };
    if !start.check && hooks.iter().any(|hook| conf.defined.has_hook(hook)) {
        return Ok(Some(guard));
    }
    drop_rights(py, start, Some(guard))?;
    Ok(None)
}

/// From here on nothing that this process says is trusted by a root master.
pub(crate) fn drop_rights(py: Python<'_>, start: &Start, guard: Option<Guard>) -> Result<(), BootFailure> {
    start.identity.take().map_err(|error| BootFailure::setup(&Refused(error)))?;
    process::die_with_parent(Signal::SIGKILL).map_err(|error| BootFailure::setup(&error))?;
    guard.map_or(Ok(()), |guard| guard.remove(py)).map_err(|error| BootFailure::setup(&error))
}

/// The words of a refusal, with the hint.
pub(crate) fn refused(untrusted: &Untrusted) -> BootFailure {
    BootFailure::setup(&format!("{untrusted}\nhint: {}", untrusted.hint()))
}

/// Says what is wrong with a path, to the finder.
#[pyclass(frozen, module = "rwsgi")]
struct Judge {
    identity: Identity,
}

#[pymethods]
impl Judge {
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands it over")]
    fn __call__(&self, path: PathBuf) -> Option<String> {
        let untrusted = self.identity.distrust(&path).err()?;
        Some(format!("{untrusted}\nhint: {}", untrusted.hint()))
    }
}

/// Imports what the server needs of the standard library while the path holds the interpreter's own directories alone: no
/// directory of the application can hold a module of these names then.
pub(crate) fn import_own(py: Python<'_>) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    // `python -c` starts the path with "", the directory of the moment.
    if path.len() > 0 && path.get_item(0)?.extract::<String>().is_ok_and(|first| first.is_empty()) {
        path.del_item(0)?;
    }
    OWN.iter().try_for_each(|name| py.import(*name).map(drop))
}

/// What the engine and its parts in Python import.
const OWN: &[&str] = &[
    "ast",
    "atexit",
    "builtins",
    "configparser",
    "faulthandler",
    "gc",
    "importlib",
    "importlib.util",
    "inspect",
    "io",
    "json",
    "logging",
    "logging.config",
    "logging.handlers",
    "os",
    "pickle",
    "re",
    "shlex",
    "signal",
    "socket",
    "struct",
    "sys",
    "tempfile",
    "threading",
    "time",
    "tomllib",
    "traceback",
    "types",
    "zlib",
];
