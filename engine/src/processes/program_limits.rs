//! The limit of open files in programs that the application starts: the one that the server was started with. The raised
//! one would make some of them slow, and break those that use select(2).

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use rwsgi::os::limits;

/// Has the functions by which Python starts programs lower the limit to `files` meanwhile; 0 leaves it as it is. Processes
/// that the application forks are seen to by the guard of forks.
pub(crate) fn install(py: Python<'_>, files: u64) -> PyResult<()> {
    limits::set_for_programs(files);
    if files == 0 {
        return Ok(());
    }
    // The second module of a line has taken the function from the first one, if it is there already.
    for (name, module, copy, copy_name) in [
        ("fork_exec", "_posixsubprocess", "subprocess", "_fork_exec"),
        ("posix_spawn", "posix", "os", "posix_spawn"),
        ("posix_spawnp", "posix", "os", "posix_spawnp"),
    ] {
        let module = py.import(module)?;
        let Some(function) = module.getattr_opt(name)? else { continue };
        let lowering = Bound::new(py, Lowering { function: function.clone().unbind() })?;
        module.setattr(name, &lowering)?;
        let loaded = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
        if let Some(copy) = loaded.get_item(copy)? {
            if copy.getattr_opt(copy_name)?.is_some_and(|known| known.is(&function)) {
                copy.setattr(copy_name, &lowering)?;
            }
        }
    }
    Ok(())
}

/// A function that starts a program. It holds the GIL from the fork to the exec.
#[pyclass(frozen, module = "rwsgi")]
struct Lowering {
    #[pyo3(get, name = "__wrapped__")]
    function: Py<PyAny>,
}

#[pymethods]
impl Lowering {
    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        limits::lowered(|| self.function.bind(py).call(arguments, keywords))
    }
}
