//! The state of the interpreter that belongs to the process: `sys`, standard streams, threads, and the exit.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;

use rwsgi::os::{process, stack_dump};

use crate::exceptions;

/// The name of the server in environs and in the environment of its processes.
pub(crate) const SOFTWARE: &str = concat!("rwsgi/", env!("CARGO_PKG_VERSION"));

/// Prepares `sys` for an application: its arguments, and the path with the working directory and `pythonpath` first.
pub(crate) fn prepare_sys(py: Python<'_>, arguments: &[String], extra: &[impl AsRef<Path>]) -> PyResult<()> {
    let sys = py.import("sys")?;
    sys.setattr("argv", arguments)?;
    let path = sys.getattr("path")?.cast_into::<PyList>()?;
    drop_current_directory(&path)?;
    let directory = std::env::current_dir()?;
    if path.len() == 0 || path.get_item(0)?.extract::<String>().map_or(true, |first| Path::new(&first) != directory) {
        path.insert(0, directory.as_os_str())?;
    }
    for entry in extra {
        let entry = py.import("os.path")?.call_method1("abspath", (entry.as_ref().as_os_str(),))?;
        if !path.contains(&entry)? {
            path.insert(0, entry)?;
        }
    }
    // It asks for a prompt when the program ends, and a server has none.
    py.import("os")?.getattr("environ")?.call_method1("pop", ("PYTHONINSPECT", py.None()))?;
    Ok(())
}

/// Removes "", the directory of the moment, with which `python -c` starts the path unless PYTHONSAFEPATH is set.
pub(crate) fn drop_current_directory(path: &Bound<'_, PyList>) -> PyResult<()> {
    if path.len() > 0 && path.get_item(0)?.extract::<String>().is_ok_and(|first| first.is_empty()) {
        path.del_item(0)?;
    }
    Ok(())
}

/// Flushes `sys.stdout` and `sys.stderr`.
pub(crate) fn flush_standard(py: Python<'_>) {
    if let Ok(sys) = py.import("sys") {
        for name in ["stdout", "stderr"] {
            // The application may have closed or replaced them.
            let _ = sys.getattr(name).and_then(|stream| stream.call_method0("flush"));
        }
    }
}

/// Has `sys.stdout` written line by line, also when it is a file.
pub(crate) fn print_by_lines(py: Python<'_>) -> PyResult<()> {
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item("line_buffering", true)?;
    let stdout = py.import("sys")?.getattr("stdout")?;
    // None if the process was started without one.
    if stdout.is_none() { Ok(()) } else { stdout.call_method("reconfigure", (), Some(&keywords)).map(drop) }
}

/// The work of Python that is done before the process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Threads are waited for, exit handlers run.
    Patient,
    /// Neither.
    Quick,
}

/// Logs that this worker ends, before its last hook.
pub(crate) fn log_exiting() {
    let pid = std::process::id();
    tracing::info!(event = "worker_exits", said.pid = pid, "Worker exiting (pid: {pid})");
}

/// Ends the process without finalising the interpreter, which hangs on threads and dirties pages. Streams are flushed.
pub(crate) fn exit(py: Python<'_>, code: i32, exit: Exit) -> ! {
    if exit == Exit::Patient {
        let ended = threading(py)
            .and_then(|threading| threading.map(|threading| threading.call_method0("_shutdown")).transpose())
            .and_then(|_| py.import("atexit")?.call_method0("_run_exitfuncs"));
        if let Err(error) = ended {
            tracing::warn!("error in an exit handler\n{}", exceptions::traceback(py, &error));
        }
    }
    flush_standard(py);
    rwsgi::log::flush(LOG_FLUSH);
    process::exit_now(code)
}

/// Has the stacks of all threads of this worker written to `pipe` on the master's signal.
pub(crate) fn write_stacks_to(py: Python<'_>, pipe: OwnedFd) {
    let registered = stack_dump::take(pipe).map_err(PyErr::from).and_then(|fd| {
        let faulthandler = py.import("faulthandler")?;
        // All threads; then the signal goes to the handler that was there before, which marks the end.
        faulthandler.call_method1("register", (stack_dump::signal(), fd, true, true))
    });
    if let Err(error) = registered {
        tracing::warn!(%error, "stacks of this worker cannot be written");
    }
}

/// Returns the names of the threads that Python knows, without the calling one.
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

/// Returns the number of the calling thread in Python's `threading`, whatever has patched that.
pub(crate) fn own_ident() -> u64 {
    // SAFETY: asks for the thread's own handle, which is that number (CPython, thread_pthread.h).
    unsafe { libc::pthread_self() }
}

/// Returns the module `threading` if it was imported: before that Python knows no thread by name.
fn threading(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let modules = py.import("sys")?.getattr("modules")?;
    let found = modules.call_method1("get", ("threading",))?;
    Ok((!found.is_none()).then_some(found))
}

/// The longest that a full disk may delay the exit.
const LOG_FLUSH: Duration = Duration::from_secs(1);
