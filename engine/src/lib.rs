//! The CPython room of rwsgi. It calls the application; it never sees the master, and a socket only through the exchange that
//! it was handed.
//!
//! | | |
//! |---|---|
//! | `lib` | entry points: how this file becomes part of a Python process |
//! | `processes/` | the zygote, the hook process and the workers |
//! | `wsgi/` | PEP 3333: one request through the application, and the objects of its environ |
//! | `timeouts/` | requests that take too long, and workers that are aborted |
//! | `hooks/` | hooks and loggers, and the values that they are handed |
//! | `loading/` | the application, the configuration file in Python, and the guard while that runs as root |
//! | `gil`, `held_bytes`, `native_string` | the GIL, and data between Python and the worker |
//! | `file_watcher` | the setting `reload` |
//! | `exceptions`, `python`, `python_modules` | exceptions as text; `sys`, streams, threads and the exit; `engine/python/` |

mod exceptions;
mod file_watcher;
mod gil;
mod held_bytes;
mod hooks;
mod loading;
mod native_string;
mod processes;
mod python;
mod python_modules;
mod timeouts;
mod wsgi;

use std::ffi::{c_char, c_int};

use pyo3::prelude::*;

/// The module that the bootstrap imports, in both launch modes.
#[pymodule]
mod _rwsgi {
    use pyo3::prelude::*;

    /// Takes over the main thread, and does not return. `channel` is the descriptor of the master's channel.
    #[pyfunction]
    fn main(py: Python<'_>, channel: i32, mode: &str) {
        crate::processes::zygote::main(py, channel, mode)
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
