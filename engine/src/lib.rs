//! The CPython room of rwsgi. It calls the application; it never sees the master, and a socket only through the exchange that
//! it was handed.
//!
//! | files | |
//! |---|---|
//! | `lib` | entry points: how this file becomes part of a Python process |
//! | `zygote`, `inheritance`, `fork`, `hook_process` | the process that holds Python and forks workers |
//! | `worker`, `worker_setup`, `worker_threads` | a forked worker, from its start to its end |
//! | `app`, `signature`, `warmup` | loading the application, and its first requests |
//! | `config_file`, `guard`, `privileges` | the configuration file in Python, and code that may run with the rights of root |
//! | `call_application` | the cycle of PEP 3333: one request through the application |
//! | `environ`, `variables`, `script_name`, `peer_texts` | the environ |
//! | `input`, `errors`, `start_response`, `file_wrapper`, `client_socket`, `exchange_ref` | the objects in it |
//! | `gil`, `held_bytes`, `native_string` | the GIL, and data between Python and the worker |
//! | `hooks`, `request_hooks`, `request_facts`, `loggers`, `python_settings`, `python_modules` | hooks and loggers |
//! | `caller`, `late_request`, `request_timeout`, `sigabrt` | requests that take too long, and workers that are aborted |
//! | `file_watcher` | the setting `reload` |
//! | `exceptions`, `python` | exceptions as text; `sys`, streams, threads and the exit |

mod app;
mod call_application;
mod caller;
mod client_socket;
mod config_file;
mod environ;
mod errors;
mod exceptions;
mod exchange_ref;
mod file_watcher;
mod file_wrapper;
mod fork;
mod gil;
mod guard;
mod held_bytes;
mod hook_process;
mod hooks;
mod inheritance;
mod input;
mod late_request;
mod loggers;
mod native_string;
mod peer_texts;
mod privileges;
mod python;
mod python_modules;
mod python_settings;
mod request_facts;
mod request_hooks;
mod request_timeout;
mod script_name;
mod sigabrt;
mod signature;
mod start_response;
mod variables;
mod warmup;
mod worker;
mod worker_setup;
mod worker_threads;
mod zygote;

use std::ffi::{c_char, c_int};

use pyo3::prelude::*;

/// The module that the bootstrap imports, in both launch modes.
#[pymodule]
mod _rwsgi {
    use pyo3::prelude::*;

    /// Takes over the main thread, and does not return. `channel` is the descriptor of the master's channel.
    #[pyfunction]
    fn main(py: Python<'_>, channel: i32, mode: &str) {
        crate::zygote::main(py, channel, mode)
    }
}

/// Launches by library: makes the module known, and lets CPython configure itself as the executable in `words[0]` would.
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
