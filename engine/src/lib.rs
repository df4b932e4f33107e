//! The CPython room of rwsgi. It calls the application; it never sees the master, and a socket only through the
//! exchange that it was handed.
//!
//! | file | what it is |
//! |---|---|
//! | `lib` | entry points: how this file becomes part of a Python process |
//! | `zygote` | the process that holds Python, serves nothing and forks workers |
//! | `worker` | what a forked worker does until it ends |
//! | `app` | loading the application by its name |
//! | `config_file` | the configuration file in Python |
//! | `call_application` | the PEP 3333 cycle: one request through the application |
//! | `environ`, `input`, `errors`, `start_response`, `file_wrapper`, `client_socket` | what an application is handed |
//! | `request_timeout` | requests that take too long, from Python's side |
//! | `held_bytes` | bytes objects that the worker holds without the interpreter |
//! | `exchange_ref` | the way from such an object back to its exchange |
//! | `loggers` | Python's `logging`: the loggers that gunicorn has, and the slow way to log |
//! | `guard` | what may run while a process has more rights than the application's user |
//! | `hooks` | the hooks of that file, and what they are handed |
//! | `hook_process` | the process of `when_ready` |
//! | `python` | what is asked of CPython besides: exceptions as text, exits, `sys` |

mod app;
mod call_application;
mod client_socket;
mod config_file;
mod environ;
mod errors;
mod exchange_ref;
mod file_watcher;
mod file_wrapper;
mod guard;
mod held_bytes;
mod hook_process;
mod hooks;
mod input;
mod loggers;
mod python;
mod request_timeout;
mod sigabrt;
mod start_response;
mod variables;
mod warmup;
mod worker;
mod zygote;

use std::ffi::{c_char, c_int};

use pyo3::prelude::*;

/// The module that the bootstrap imports, in both launch modes.
#[pymodule]
mod _rwsgi {
    use pyo3::prelude::*;

    /// Takes the main thread; does not return. `channel` is the descriptor on which the master speaks.
    #[pyfunction]
    fn main(py: Python<'_>, channel: i32, mode: &str) {
        crate::zygote::main(py, channel, mode)
    }
}

/// The launch by library: makes the module known and lets CPython configure itself as the executable in `words[0]` would.
///
/// # Safety
///
/// `words` is `count` pointers to NUL-terminated strings, ended by a null pointer, that live as long as the process;
/// libpython is loaded and not initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rwsgi_engine_main(count: c_int, words: *mut *mut c_char) -> c_int {
    pyo3::append_to_inittab!(_rwsgi);
    // SAFETY: the caller's promise is what Py_BytesMain asks for.
    unsafe { pyo3::ffi::Py_BytesMain(count, words) }
}
