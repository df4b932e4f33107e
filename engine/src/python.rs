//! What is asked of CPython beside the application: exceptions as text, the parts of `sys`, the way out.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTraceback};

use rwsgi::os::{process, stack_dump};

/// What the server is called in environs and in the environment of its processes.
pub(crate) const SOFTWARE: &str = concat!("rwsgi/", env!("CARGO_PKG_VERSION"));

/// A whole traceback, as Python would print it.
pub(crate) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        // The frames are named: before Python 3.12 a caught exception does not carry them.
        let parts = (error.get_type(py), error.value(py), below_import(error.traceback(py)));
        let lines = py.import("traceback")?.call_method1("format_exception", parts)?;
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        // A message may hold halves of surrogate pairs, as names of files do.
        let bytes: Vec<u8> = text.call_method1("encode", ("utf-8", "backslashreplace"))?.extract()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    formatted().unwrap_or_else(|_| error.to_string())
}

/// The frames without those of the import machinery at their head, as Python's own import statement shows them.
fn below_import(traceback: Option<Bound<'_, PyTraceback>>) -> Option<Bound<'_, PyTraceback>> {
    let is_machinery = |frame: &Bound<'_, PyTraceback>| -> PyResult<bool> {
        let file: String = frame.getattr("tb_frame")?.getattr("f_code")?.getattr("co_filename")?.extract()?;
        Ok(file.starts_with("<frozen importlib") || file.ends_with("/importlib/__init__.py"))
    };
    let mut rest = traceback;
    while let Some(frame) = &rest {
        if !is_machinery(frame).unwrap_or(false) {
            return rest;
        }
        rest = frame.getattr("tb_next").ok()?.cast_into().ok();
    }
    // Nothing but machinery: a syntax error, say, which has its place in its message.
    None
}

/// Prepares `sys` for an application: its arguments, and the path with the working directory and `pythonpath` first.
pub(crate) fn prepare_sys(py: Python<'_>, arguments: &[String], extra: &[impl AsRef<Path>]) -> PyResult<()> {
    let sys = py.import("sys")?;
    sys.setattr("argv", arguments)?;
    let path = sys.getattr("path")?.cast_into::<PyList>()?;
    // `python -c` starts the path with "", the directory of the moment; PYTHONSAFEPATH leaves it out.
    if path.len() > 0 && path.get_item(0)?.extract::<String>().is_ok_and(|first| first.is_empty()) {
        path.del_item(0)?;
    }
    let directory = std::env::current_dir()?;
    if path.len() == 0 || path.get_item(0)?.extract::<String>().map_or(true, |first| Path::new(&first) != directory) {
        path.insert(0, directory.as_os_str())?;
    }
    for entry in extra {
        path.insert(0, directory.join(entry).as_os_str())?;
    }
    // Set for a person at a prompt; a server must not end in one.
    py.import("os")?.getattr("environ")?.call_method1("pop", ("PYTHONINSPECT", py.None()))?;
    Ok(())
}

/// Flushes what the application printed.
pub(crate) fn flush_standard(py: Python<'_>) {
    if let Ok(sys) = py.import("sys") {
        for name in ["stdout", "stderr"] {
            // The application may have closed or replaced them.
            let _ = sys.getattr(name).and_then(|stream| stream.call_method0("flush"));
        }
    }
}

/// What is printed is written line by line, also where it goes to a file.
pub(crate) fn print_by_lines(py: Python<'_>) -> PyResult<()> {
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item("line_buffering", true)?;
    let stdout = py.import("sys")?.getattr("stdout")?;
    // None where the process was started without one.
    if stdout.is_none() { Ok(()) } else { stdout.call_method("reconfigure", (), Some(&keywords)).map(drop) }
}

/// Ends the process as Python would, without finalising the interpreter, which hangs on threads and dirties pages:
/// threads are waited for (`patient`), atexit handlers run, streams are flushed.
pub(crate) fn exit(py: Python<'_>, code: i32, patient: bool) -> ! {
    if patient {
        let ended = threading(py)
            .and_then(|threading| threading.map(|threading| threading.call_method0("_shutdown")).transpose())
            .and_then(|_| py.import("atexit")?.call_method0("_run_exitfuncs"));
        if let Err(error) = ended {
            tracing::warn!("error in an exit handler\n{}", traceback(py, &error));
        }
    }
    flush_standard(py);
    rwsgi::log::flush(LOG_FLUSH);
    process::exit_now(code)
}

/// From now on, what the threads of this worker do is written there on the master's signal.
pub(crate) fn write_stacks_to(py: Python<'_>, pipe: OwnedFd) {
    let registered = stack_dump::take(pipe).map_err(PyErr::from).and_then(|fd| {
        let faulthandler = py.import("faulthandler")?;
        // All threads; and then the signal goes to the handler that was there before, which says that it is the end.
        faulthandler.call_method1("register", (stack_dump::signal(), fd, true, true))
    });
    if let Err(error) = registered {
        tracing::warn!(%error, "the stacks of this worker cannot be asked for");
    }
}

/// Names of the threads that Python knows, the calling one aside.
pub(crate) fn other_threads(py: Python<'_>) -> Vec<String> {
    let names = || -> PyResult<Vec<String>> {
        let Some(threading) = threading(py)? else { return Ok(Vec::new()) };
        let me = threading.call_method0("current_thread")?;
        let mut names = Vec::new();
        for thread in threading.call_method0("enumerate")?.try_iter()? {
            let thread = thread?;
            if !thread.is(&me) {
                names.push(thread.getattr("name")?.extract()?);
            }
        }
        Ok(names)
    };
    names().unwrap_or_default()
}

/// The module, if anybody has imported it: before that there is no thread that Python knows by name.
fn threading(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let modules = py.import("sys")?.getattr("modules")?;
    let found = modules.call_method1("get", ("threading",))?;
    Ok((!found.is_none()).then_some(found))
}

/// What a full disk may hold up the exit for.
const LOG_FLUSH: Duration = Duration::from_secs(1);
