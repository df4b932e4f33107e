//! Guards imports while a process has more rights than the application's user: nothing is run that this user could change. A
//! process of root has them while it evaluates a configuration file in Python or calls its first hooks.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyList;

use rwsgi::message::{BootFailure, Identity};
use rwsgi::os::access::Untrusted;

use crate::python;
use crate::python_modules;

/// A guard, which comes before all finders of Python's import system until it is removed.
pub(crate) struct Guard {
    object: Py<PyAny>,
    identity: Identity,
}

impl Guard {
    /// Refuses from now on all code that `identity` could change.
    pub(crate) fn install(py: Python<'_>, identity: &Identity) -> PyResult<Guard> {
        let object = python_modules::guard(py)?.getattr("Guard")?.call1((Judge { identity: identity.clone() },))?;
        object.call_method0("install")?;
        Ok(Guard { object: object.unbind(), identity: identity.clone() })
    }

    /// True if it guards against this user.
    pub(crate) fn is_against(&self, identity: &Identity) -> bool {
        self.identity == *identity
    }

    /// Removes the guard, after the process has lost its rights.
    pub(crate) fn remove(self, py: Python<'_>) -> PyResult<()> {
        self.object.bind(py).call_method0("remove").map(drop)
    }

    /// Fails if the user could have changed code that was run before the user was known.
    pub(crate) fn look_back(&self, py: Python<'_>, file: &Path) -> Result<(), BootFailure> {
        self.identity.distrust(file).map_err(|untrusted| refused(&untrusted))?;
        let problem = self.object.bind(py).call_method0("look_back").and_then(|found| found.extract());
        match problem.map_err(|error| BootFailure::setup(&error))? {
            None::<String> => Ok(()),
            Some(problem) => Err(BootFailure::setup(&problem)),
        }
    }
}

/// Returns the failure of a refusal, with its hint.
pub(crate) fn refused(untrusted: &Untrusted) -> BootFailure {
    BootFailure::setup(&format!("{untrusted}\nhint: {}", untrusted.hint_for_python()))
}

/// The callable by which the finder learns what is wrong with a path.
#[pyclass(frozen, module = "rwsgi")]
struct Judge {
    identity: Identity,
}

#[pymethods]
impl Judge {
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands it over")]
    fn __call__(&self, path: PathBuf) -> Option<String> {
        let untrusted = self.identity.distrust(&path).err()?;
        Some(format!("{untrusted}\nhint: {}", untrusted.hint_for_python()))
    }
}

/// Imports the modules of the standard library that the server needs while the path holds only the interpreter's own
/// directories: no directory of the application can hold a module of these names then.
pub(crate) fn import_own(py: Python<'_>) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    python::drop_current_directory(&path)?;
    OWN.iter().try_for_each(|name| py.import(*name).map(drop))
}

/// The modules that the engine and its modules in Python import.
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
