//! Signals as Python sees them: the handlers that `signal.getsignal` returns for those that the server handles, and the
//! signals of a process that the application forks, in which they are as in any program of Python.
//!
//! Imports only builtin modules: no directory of `sys.path` is checked yet when this runs.

use nix::sys::signal::Signal;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use rwsgi::os::fork_guard;
use rwsgi::os::signal::{self, Signals};
use rwsgi::os::stack_dump;

/// Installs the zygote's handlers, which workers inherit, and watches the forks of the application. Signals that were held
/// until now are delivered then.
pub(crate) fn install(py: Python<'_>) -> PyResult<Signals> {
    fork_guard::watch_forks()?;
    let handler = Bound::new(py, Handler)?.into_any();
    let module = py.import("_signal")?;
    for signal in WITHOUT_MEANING.iter().chain(FOR_THE_MASTER) {
        // The interpreter takes note of the object; its own handler in C is replaced below.
        module.call_method1("signal", (*signal as i32, &handler))?;
    }
    let keywords = PyDict::new(py);
    keywords.set_item("after_in_child", Bound::new(py, AfterFork { handler: handler.unbind() })?)?;
    py.import("posix")?.call_method("register_at_fork", (), Some(&keywords))?;
    let signals = Signals::install(&[])?;
    signal::note_sent(FOR_THE_MASTER)?;
    signal::disregard(WITHOUT_MEANING)?;
    signal::disregard(IGNORED_BY_PYTHON)?;
    stack_dump::disregard()?;
    signal::take_hurry()?;
    signal::release()?;
    Ok(signals)
}

/// True if an application has set a handler of its own for `signal`, as far as Python knows.
pub(crate) fn is_taken(py: Python<'_>, signal: Signal) -> PyResult<bool> {
    let set = py.import("_signal")?.call_method1("getsignal", (signal as i32,))?;
    Ok(!set.is_instance_of::<Handler>())
}

/// The handler of the server's signals, for Python. An application may call it from a handler of its own, or set it again.
#[pyclass(frozen, module = "rwsgi")]
struct Handler;

#[allow(clippy::unused_self, reason = "Python's methods have a self")]
#[pymethods]
impl Handler {
    fn __call__(&self, signal: i32, _frame: &Bound<'_, PyAny>) -> PyResult<()> {
        if fork_guard::is_forked() && signal == libc::SIGINT {
            return Err(PyKeyboardInterrupt::new_err(()));
        }
        signal::handle(signal);
        Ok(())
    }

    fn __repr__(&self) -> &'static str {
        "<signal handler of rwsgi>"
    }
}

/// Called by Python in each forked process. The handlers in C are gone there already.
#[pyclass(frozen, module = "rwsgi")]
struct AfterFork {
    handler: Py<PyAny>,
}

#[pymethods]
impl AfterFork {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if !fork_guard::is_forked() {
            return Ok(());
        }
        let module = py.import("_signal")?;
        for signal in WITHOUT_MEANING.iter().chain(FOR_THE_MASTER) {
            let number = *signal as i32;
            let set = module.call_method1("getsignal", (number,))?;
            let wanted = match signal {
                // The application's own. The worker may have taken its place.
                _ if !set.is(&self.handler) => set,
                Signal::SIGINT => module.getattr("default_int_handler")?,
                _ => module.getattr("SIG_DFL")?,
            };
            // None is a handler that Python does not know.
            if !wanted.is_none() {
                module.call_method1("signal", (number, wanted))?;
            }
        }
        Ok(())
    }
}

/// Signals for the master, which `pkill` sends to all processes of its name. They are noted and passed over, also in workers.
const FOR_THE_MASTER: &[Signal] = &[Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];
/// Signals that do nothing. The master ends a zygote by its channel, while a service manager sends TERM to all processes. TTIN
/// and TTOU would stop the process; a terminal sends INT and QUIT to all processes at once.
const WITHOUT_MEANING: &[Signal] =
    &[Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGINT, Signal::SIGTTIN, Signal::SIGTTOU];
/// Signals that Python ignores, so that a write fails: handled instead, they are not ignored in a program that is started
/// without Python's help (`os.system`, `os.posix_spawn`).
const IGNORED_BY_PYTHON: &[Signal] = &[Signal::SIGPIPE, Signal::SIGXFSZ];
