//! Errors of the interpreter, with their messages and hints. Cannot find or launch one.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Virtualenv;
use super::probe::ProbeFailure;
use crate::os::access::Untrusted;

/// The source that named the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The setting `python`.
    Setting,
    /// The program is in this virtualenv.
    OwnVirtualenv,
    /// The environment variable `VIRTUAL_ENV`.
    VirtualEnv,
    /// The virtualenv is `.venv` in the application's directory.
    ProjectVirtualenv,
    /// None: the first `python3` on PATH.
    Path,
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setting => "python",
            Self::OwnVirtualenv => "rwsgi's virtualenv",
            Self::VirtualEnv => "VIRTUAL_ENV",
            Self::ProjectVirtualenv => ".venv",
            Self::Path => "PATH",
        })
    }
}

/// The file of an interpreter, and its source. `Display` gives the location of an error: `python:
/// /srv/venv/bin/python`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPython {
    /// The source.
    pub named_by: NamedBy,
    /// An absolute path; symlinks are not resolved.
    pub path: PathBuf,
}

impl NamedPython {
    /// Creates it from a path relative to the working directory.
    pub(super) fn new(named_by: NamedBy, path: &Path) -> Self {
        Self { named_by, path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) }
    }
}

impl fmt::Display for NamedPython {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.named_by, self.path.display())
    }
}

/// The reason why no interpreter can serve. `Display` gives one line: where, expected, found.
/// [`InterpreterError::hint`] gives the hint.
#[derive(Debug)]
pub enum InterpreterError {
    /// No program of this name on PATH.
    NotOnPath {
        /// The source.
        named_by: NamedBy,
        /// The name looked for.
        name: OsString,
        /// The PATH searched.
        path: OsString,
    },
    /// The file or directory does not exist.
    NoSuchFile {
        /// The file.
        place: NamedPython,
        /// The path as given.
        given: PathBuf,
    },
    /// A directory without bin/python.
    NoPythonIn(NamedPython),
    /// A file that is not executable.
    NotExecutable(NamedPython),
    /// The kernel could not execute it.
    NotStarted {
        /// The file.
        place: NamedPython,
        /// The kernel's error.
        cause: io::Error,
    },
    /// A virtualenv whose base Python was removed.
    BaseGone {
        /// The virtualenv's interpreter.
        place: NamedPython,
        /// The virtualenv.
        directory: PathBuf,
        /// The missing file that it leads to.
        gone: PathBuf,
    },
    /// An interpreter other than `CPython`, such as `PyPy` or `GraalPy`.
    NotCPython {
        /// The interpreter.
        place: NamedPython,
        /// Name and version.
        found: String,
    },
    /// Older than 3.11.
    TooOld {
        /// The interpreter.
        place: NamedPython,
        /// Its version.
        found: String,
    },
    /// A build without the GIL (PEP 703), which has no stable ABI of 3.11.
    FreeThreaded {
        /// The interpreter.
        place: NamedPython,
        /// Its version.
        found: String,
    },
    /// A build for another processor or C library.
    ForeignPlatform {
        /// The interpreter.
        place: NamedPython,
        /// The platform of this program, as in SOABI.
        expected: &'static str,
        /// The interpreter's.
        found: String,
    },
    /// A `PYTHONHOME` without the standard library of this Python.
    WrongHome {
        /// The value of the variable.
        home: String,
        /// The version of the interpreter.
        release: String,
    },
    /// A virtualenv whose packages belong to another Python, because its base was upgraded.
    OtherPythonsVirtualenv {
        /// The virtualenv's interpreter.
        place: NamedPython,
        /// The virtualenv.
        directory: PathBuf,
        /// The version in its pyvenv.cfg.
        made_for: String,
        /// The version that it leads to now.
        found: String,
    },
    /// It gave no valid answer.
    NoAnswer {
        /// The interpreter.
        place: NamedPython,
        /// Its exit status, as text.
        status: String,
        /// The relevant line of its stderr; may be empty.
        said: String,
    },
    /// It did not answer in time.
    TimedOut {
        /// The interpreter.
        place: NamedPython,
        /// The time that it had.
        after: Duration,
    },
    /// The application's user could change code that would run with more rights than that user has.
    Untrusted(Untrusted),
    /// The launch mode `library` was requested, and there is no libpython.
    NoLibrary {
        /// The interpreter.
        place: NamedPython,
        /// The paths searched; empty for a build without a shared library.
        searched: Vec<PathBuf>,
    },
    /// The loader refused libpython.
    LibraryUnloadable {
        /// The file.
        library: PathBuf,
        /// The loader's message, dlerror(3).
        cause: String,
    },
    /// libpython has another version than the interpreter.
    LibraryOfAnotherVersion {
        /// The file.
        library: PathBuf,
        /// The interpreter's version.
        expected: String,
        /// The library's.
        found: String,
    },
    /// The loader refused the engine, or the file is no engine.
    EngineUnloadable {
        /// The loader's message.
        cause: String,
    },
    /// The kernel refused to execute the interpreter or to pass the engine to it.
    NotEntered {
        /// The interpreter.
        executable: PathBuf,
        /// The kernel's error.
        cause: io::Error,
    },
}

impl fmt::Display for InterpreterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(untrusted) => untrusted.fmt(f),
            _ => write!(f, "{}: expected {}, found {}", self.at(), self.expected(), self.found()),
        }
    }
}

impl std::error::Error for InterpreterError {}

impl From<Untrusted> for InterpreterError {
    fn from(untrusted: Untrusted) -> Self {
        Self::Untrusted(untrusted)
    }
}

impl InterpreterError {
    fn at(&self) -> String {
        match self {
            Self::NotOnPath { named_by, .. } => named_by.to_string(),
            Self::NoSuchFile { place, given } => format!("{}: {}", place.named_by, given.display()),
            Self::NoPythonIn(place)
            | Self::NotExecutable(place)
            | Self::NotStarted { place, .. }
            | Self::BaseGone { place, .. }
            | Self::NotCPython { place, .. }
            | Self::TooOld { place, .. }
            | Self::FreeThreaded { place, .. }
            | Self::ForeignPlatform { place, .. }
            | Self::OtherPythonsVirtualenv { place, .. }
            | Self::NoAnswer { place, .. }
            | Self::TimedOut { place, .. }
            | Self::NoLibrary { place, .. } => place.to_string(),
            Self::LibraryUnloadable { library, .. } | Self::LibraryOfAnotherVersion { library, .. } => {
                library.display().to_string()
            }
            Self::EngineUnloadable { .. } => "engine".to_owned(),
            Self::WrongHome { home, .. } => format!("PYTHONHOME: {home}"),
            Self::Untrusted(untrusted) => untrusted.what.display().to_string(),
            Self::NotEntered { executable, .. } => executable.display().to_string(),
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::NotOnPath { named_by: NamedBy::Path, name, path } => {
                format!("{} in one of {}", Path::new(name).display(), Path::new(path).display())
            }
            Self::NotOnPath { name, .. } => format!("{} on PATH", Path::new(name).display()),
            Self::NoSuchFile { .. } => "a virtualenv or an interpreter".to_owned(),
            Self::NoPythonIn(_) => "a virtualenv".to_owned(),
            Self::NotExecutable(_) | Self::NotEntered { .. } => "an executable".to_owned(),
            Self::NotStarted { .. } | Self::NoAnswer { .. } => "an interpreter".to_owned(),
            Self::BaseGone { .. } => "the Python that the virtualenv was made from".to_owned(),
            Self::NotCPython { .. } => "CPython".to_owned(),
            Self::TooOld { .. } => "CPython 3.11 or newer".to_owned(),
            Self::FreeThreaded { .. } => "a CPython with the GIL".to_owned(),
            Self::ForeignPlatform { expected, .. } => format!("a CPython for {expected}"),
            Self::OtherPythonsVirtualenv { directory, found, .. } => {
                format!("the packages of Python {found} in {}", directory.display())
            }
            Self::TimedOut { after, .. } => format!("an answer within {} s", after.as_secs_f64()),
            Self::NoLibrary { .. } => "an interpreter with a libpython".to_owned(),
            Self::LibraryUnloadable { .. } => "a libpython that loads".to_owned(),
            Self::LibraryOfAnotherVersion { expected, .. } => {
                format!("the library of Python {expected}")
            }
            Self::EngineUnloadable { .. } => "a library that loads".to_owned(),
            Self::WrongHome { release, .. } => format!("the standard library of Python {release}"),
            Self::Untrusted(_) => "what its user cannot change".to_owned(),
        }
    }

    fn found(&self) -> String {
        match self {
            Self::NotOnPath { .. } | Self::TimedOut { .. } | Self::WrongHome { .. } => "none".to_owned(),
            Self::Untrusted(untrusted) => untrusted.found.display().to_string(),
            Self::NoSuchFile { place, given } if *given == place.path => "nothing there".to_owned(),
            Self::NoSuchFile { place, .. } => format!("nothing at {}", place.path.display()),
            Self::NoPythonIn(_) => "no bin/python in it".to_owned(),
            Self::NotExecutable(_) => "a file that is not executable".to_owned(),
            Self::NotStarted { cause, .. } | Self::NotEntered { cause, .. } => {
                format!("a file that does not run: {cause}")
            }
            Self::BaseGone { gone, .. } => format!("nothing at {}", gone.display()),
            Self::NotCPython { found, .. }
            | Self::TooOld { found, .. }
            | Self::LibraryOfAnotherVersion { found, .. } => found.clone(),
            Self::FreeThreaded { found, .. } => format!("the free-threaded build of {found}"),
            Self::ForeignPlatform { found, .. } => format!("one for {found}"),
            Self::OtherPythonsVirtualenv { made_for, .. } => {
                format!("a virtualenv made by {made_for}")
            }
            Self::NoAnswer { status, said, .. } if said.is_empty() => {
                format!("a program that does not answer: {status}")
            }
            Self::NoAnswer { status, said, .. } => format!("one that fails: {status}: {said}"),
            Self::NoLibrary { searched, .. } if searched.is_empty() => "one built without it".to_owned(),
            Self::NoLibrary { searched, .. } => {
                let files: Vec<_> = searched.iter().map(|file| file.display().to_string()).collect();
                format!("none at {}", files.join(" or "))
            }
            Self::LibraryUnloadable { cause, .. } | Self::EngineUnloadable { cause } => {
                format!("one that does not: {cause}")
            }
        }
    }

    /// Returns the hint, without the word `hint:`.
    pub fn hint(&self) -> Option<String> {
        self.fixed_hint().map(str::to_owned).or_else(|| match self {
            Self::NoSuchFile { given, .. } if !names_an_interpreter(given) => {
                Some(format!("python3 -m venv {}", given.display()))
            }
            Self::NoSuchFile { .. } => Some(NAME_ONE.to_owned()),
            Self::NoPythonIn(place) => Some(format!("python3 -m venv {}", place.path.display())),
            Self::Untrusted(untrusted) => Some(untrusted.hint_for_python()),
            Self::NotExecutable(place) => Some(format!("chmod +x {}", place.path.display())),
            // No command: `venv --clear` empties the directory, and a project may lie in it.
            Self::BaseGone { directory, .. } | Self::OtherPythonsVirtualenv { directory, .. } => {
                let directory = directory.display();
                Some(format!("create {directory} again and reinstall its packages"))
            }
            Self::NotStarted { place, .. } | Self::NoAnswer { place, .. } | Self::TimedOut { place, .. } => {
                Some(format!("try {} -c 'import sysconfig'", place.path.display()))
            }
            _ => None,
        })
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotOnPath { named_by: NamedBy::Path, .. } => {
                "install python3, or set --python to an interpreter or a virtualenv"
            }
            Self::NotOnPath { .. } => NAME_ONE,
            Self::NoSuchFile { place: NamedPython { named_by: NamedBy::VirtualEnv, .. }, .. } => {
                "activate a virtualenv that exists, or unset VIRTUAL_ENV"
            }
            Self::NotCPython { .. } | Self::TooOld { .. } => {
                "set --python to CPython 3.11 or newer, or to a virtualenv made with it"
            }
            Self::WrongHome { .. } => "unset PYTHONHOME; a virtualenv needs no such variable",
            Self::FreeThreaded { .. } => "set --python to the ordinary build, whose command does not end in t",
            Self::ForeignPlatform { .. } => "install a Python for this machine",
            Self::NoLibrary { .. } => "install libpython, or leave RWSGI_LAUNCH unset",
            Self::LibraryUnloadable { .. } | Self::LibraryOfAnotherVersion { .. } => {
                "RWSGI_LAUNCH=executable needs no library"
            }
            Self::EngineUnloadable { .. } => "install program and engine of the same build",
            _ => return None,
        })
    }
}

/// True if the last part of a path is an interpreter's name: `/usr/bin/python3.13`, `.venv/bin/pypy3`.
fn names_an_interpreter(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_program = path.parent().and_then(Path::file_name).is_some_and(|directory| directory == "bin");
    name.starts_with("python") || name.starts_with("pypy") || is_program
}

const NAME_ONE: &str = "give the path of an executable or of a virtualenv";

/// Converts a failed probe to an error. A virtualenv without its base fails with various messages.
pub(super) fn of_probe(place: NamedPython, failure: ProbeFailure) -> InterpreterError {
    match failure {
        ProbeFailure::NoAnswer { status, said } => match Virtualenv::of(&place.path) {
            Some(Virtualenv { directory, home, .. }) if !home.is_dir() => {
                InterpreterError::BaseGone { place, directory, gone: home }
            }
            // Python 2 does not know the option; its first line of stderr says so.
            _ if said.starts_with("Unknown option: -I") => {
                InterpreterError::TooOld { place, found: "one older than 3.4".to_owned() }
            }
            _ => InterpreterError::NoAnswer { place, status, said },
        },
        ProbeFailure::NotStarted(cause) => InterpreterError::NotStarted { place, cause },
        ProbeFailure::TimedOut(after) => InterpreterError::TimedOut { place, after },
    }
}
