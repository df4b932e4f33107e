//! Turns this process into the interpreter: loads libpython, or executes the interpreter. Knows no virtualenv and no
//! rule about versions; its input has been checked.
//!
//! In both modes `CPython` reads a command line, `<executable> -c <bootstrap>`, and so configures itself exactly as the
//! virtualenv's own python does. When the bootstrap runs, `sys.path[0]` is the working directory, which may contain any
//! `json.py`. Therefore a bootstrap imports only builtin and frozen modules.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{Interpreter, InterpreterError, LaunchMode};

/// `rwsgi_engine_main` of the engine, with argc, argv and exit code as in a C `main`.
type EngineMain = unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int;

/// `Py_GetVersion`, which may be called before Python is initialised and returns static storage.
type GetVersion = unsafe extern "C" fn() -> *const c_char;

impl Interpreter {
    /// Enters Python, which calls `_rwsgi.main(channel_fd, mode)` in its main thread. Returns only on failure.
    ///
    /// Requires a process with one thread, no Python yet, `/proc` mounted, and both fds above 2. SIGINT is to be blocked:
    /// `CPython` installs a handler that raises `KeyboardInterrupt`, which the engine replaces. The interpreter inherits
    /// `channel_fd`.
    pub fn enter(&self, engine: BorrowedFd<'_>, channel_fd: RawFd) -> InterpreterError {
        self.environment.iter().for_each(|environment| take_environment(environment));
        let entered = match &self.launch {
            LaunchMode::LoadLibrary(library) => self.load_library(library, engine, channel_fd),
            LaunchMode::ExecPython => self.exec_python(engine, channel_fd),
        };
        match entered {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn load_library(
        &self,
        library: &Path,
        engine: BorrowedFd<'_>,
        channel_fd: RawFd,
    ) -> Result<Infallible, InterpreterError> {
        let arguments = self.arguments(&library_bootstrap(channel_fd))?;
        let unloadable = |cause| InterpreterError::LibraryUnloadable { library: library.to_owned(), cause };
        // RTLD_GLOBAL: extension modules are not linked with libpython; they look for its symbols in the process.
        let libpython = load(library.as_os_str(), libc::RTLD_GLOBAL).map_err(unloadable)?;
        let found = version_of(libpython).map_err(unloadable)?;
        if found != self.release {
            let (library, expected) = (library.to_owned(), self.release.clone());
            return Err(InterpreterError::LibraryOfAnotherVersion { library, expected, found });
        }
        let unloadable = |cause| InterpreterError::EngineUnloadable { cause };
        let mapped = load(OsStr::new(&path_of(engine)), libc::RTLD_LOCAL).map_err(unloadable)?;
        let main = symbol(mapped, c"rwsgi_engine_main").map_err(unloadable)?;
        // The owner of the fd does not run any more, and the mapping does not need it.
        let _ = nix::unistd::close(engine.as_raw_fd());
        let mut words = pointers(&arguments);
        let count = c_int::try_from(arguments.len()).expect("three arguments");
        // SAFETY: the engine exports this name with this type (engine/src/lib.rs). The words end with NULL, and they
        // and what they point to live as long as the process, since this call ends in exit.
        let code = unsafe {
            let main = std::mem::transmute::<*mut c_void, EngineMain>(main);
            main(count, words.as_mut_ptr().cast())
        };
        std::process::exit(code)
    }

    fn exec_python(&self, engine: BorrowedFd<'_>, channel_fd: RawFd) -> Result<Infallible, InterpreterError> {
        let not_entered = |cause| InterpreterError::NotEntered { executable: self.executable.clone(), cause };
        let arguments = self.arguments(&executable_bootstrap(engine.as_raw_fd(), channel_fd))?;
        let executable = &arguments[0];
        // SAFETY: both are open: one is borrowed; the other is the caller's, and at worst fcntl fails with EBADF.
        let channel = unsafe { BorrowedFd::borrow_raw(channel_fd) };
        for fd in [engine, channel] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| not_entered(errno.into()))?;
        }
        let words = pointers(&arguments);
        // SAFETY: the words are NUL-terminated strings that outlive the call, and end with NULL.
        unsafe { libc::execv(executable.as_ptr(), words.as_ptr()) };
        Err(not_entered(io::Error::last_os_error()))
    }

    fn arguments(&self, bootstrap: &str) -> Result<Vec<CString>, InterpreterError> {
        [self.executable.as_os_str(), OsStr::new("-c"), OsStr::new(bootstrap)]
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|nul| InterpreterError::NotEntered { executable: self.executable.clone(), cause: nul.into() })
    }
}

/// Takes over the environment that a wrapper has made for the interpreter.
fn take_environment(environment: &[(OsString, OsString)]) {
    // SAFETY: this process has one thread.
    unsafe { libc::clearenv() };
    for (name, value) in environment {
        if !name.is_empty() {
            // SAFETY: as above. A name and a value from an environment have no equals sign and no NUL.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Returns the first word of a libpython's version. Ex.: `3.13.5`.
fn version_of(libpython: *mut c_void) -> Result<String, String> {
    let get_version = symbol(libpython, c"Py_GetVersion")?;
    // SAFETY: the symbol is CPython's, of this type since 1.5; the string it returns is static.
    let version = unsafe {
        let get_version = std::mem::transmute::<*mut c_void, GetVersion>(get_version);
        CStr::from_ptr(get_version())
    };
    let version = version.to_string_lossy();
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}

/// Returns the code for a loaded libpython. The engine has added `_rwsgi` to the builtin modules, which come before any
/// directory.
fn library_bootstrap(channel_fd: RawFd) -> String {
    format!("import _rwsgi; _rwsgi.main({channel_fd}, 'library')")
}

/// Returns the code for an executed interpreter. It uses only the frozen halves of `importlib`, and closes the engine's
/// fd once it is mapped.
fn executable_bootstrap(engine: RawFd, channel_fd: RawFd) -> String {
    format!(
        "import sys, posix, _frozen_importlib as f, _frozen_importlib_external as e; \
         s = e.spec_from_file_location('_rwsgi', '/proc/self/fd/{engine}', \
         loader=e.ExtensionFileLoader('_rwsgi', '/proc/self/fd/{engine}')); \
         m = sys.modules['_rwsgi'] = f.module_from_spec(s); s.loader.exec_module(m); \
         posix.close({engine}); m.main({channel_fd}, 'executable')"
    )
}

/// Returns a path for dlopen(3), which accepts no fd.
fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn pointers(arguments: &[CString]) -> Vec<*const c_char> {
    arguments.iter().map(|argument| argument.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Loads a file by dlopen(3), with all symbols resolved now: a missing symbol fails here, not in a request.
fn load(file: &OsStr, scope: c_int) -> Result<*mut c_void, String> {
    let file = CString::new(file.as_bytes()).map_err(|nul| nul.to_string())?;
    // SAFETY: a NUL-terminated name; the initialisers that run are those of libpython or of our engine.
    let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | scope) };
    if handle.is_null() { Err(loader_error()) } else { Ok(handle) }
}

fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: the handle is dlopen's and is never closed; the name ends with NUL.
    let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if symbol.is_null() { Err(loader_error()) } else { Ok(symbol) }
}

fn loader_error() -> String {
    // SAFETY: dlerror returns NULL or a string that is valid until the next call of the loader in this thread.
    let said = unsafe {
        let said = libc::dlerror();
        if said.is_null() { None } else { Some(CStr::from_ptr(said).to_string_lossy().into_owned()) }
    };
    said.unwrap_or_else(|| "the loader gives no reason".to_owned())
}
