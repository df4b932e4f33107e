//! What can be wrong with the Python that was asked for, in words. Knows no way to find or enter one.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Virtualenv;
use super::probe::Failure;

/// Who named the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The setting `python`.
    Setting,
    /// The environment variable `VIRTUAL_ENV`.
    VirtualEnv,
    /// Nobody: the first `python3` on PATH.
    Path,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setting => "python",
            Self::VirtualEnv => "VIRTUAL_ENV",
            Self::Path => "PATH",
        })
    }
}

/// An interpreter's file, and who named it. Prints as the "where" of an error: `python: /srv/venv/bin/python`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who named it.
    pub origin: Origin,
    /// Absolute; symlinks are not resolved.
    pub path: PathBuf,
}

impl Place {
    /// A path as the user wrote it is relative to the working directory.
    pub(super) fn new(origin: Origin, path: &Path) -> Self {
        Self {
            origin,
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.path.display())
    }
}

/// Why there is no Python to serve with. `Display` is one line (where, expected, found); [`InterpreterError::hint`] the remedy.
#[derive(Debug)]
pub enum InterpreterError {
    /// Nothing of this name on PATH.
    NotOnPath {
        /// Who asked.
        origin: Origin,
        /// The name looked for.
        name: OsString,
        /// The PATH searched.
        path: OsString,
    },
    /// The file or directory named does not exist.
    NoSuchFile(Place),
    /// A directory without bin/python.
    NoPythonIn(Place),
    /// A file that may not be executed.
    NotExecutable(Place),
    /// The kernel did not run it.
    NotStarted {
        /// The file.
        place: Place,
        /// The kernel's reason.
        cause: io::Error,
    },
    /// A virtualenv that outlived the Python it was made from.
    BaseGone {
        /// The virtualenv's interpreter.
        place: Place,
        /// What it leads to, and is not there.
        gone: PathBuf,
    },
    /// `PyPy`, `GraalPy`: no `CPython` inside.
    NotCPython {
        /// The interpreter.
        place: Place,
        /// Name and version.
        found: String,
    },
    /// Older than 3.11.
    TooOld {
        /// The interpreter.
        place: Place,
        /// Its version.
        found: String,
    },
    /// A build without the GIL (PEP 703), which has no stable ABI of 3.11.
    FreeThreaded {
        /// The interpreter.
        place: Place,
        /// Its version.
        found: String,
    },
    /// For another processor or another C library.
    ForeignPlatform {
        /// The interpreter.
        place: Place,
        /// Ours, in the words of SOABI.
        expected: &'static str,
        /// The interpreter's.
        found: String,
    },
    /// A virtualenv whose packages are another Python's: its base was upgraded beneath it.
    OtherPythonsVirtualenv {
        /// The virtualenv's interpreter.
        place: Place,
        /// The virtualenv.
        directory: PathBuf,
        /// The version in its pyvenv.cfg.
        made_for: String,
        /// The version that it leads to now.
        found: String,
    },
    /// It did not answer, and said this.
    NoAnswer {
        /// The interpreter.
        place: Place,
        /// How it ended, in words.
        status: String,
        /// The telling line of its stderr; may be empty.
        said: String,
    },
    /// It did not answer in time.
    TimedOut {
        /// The interpreter.
        place: Place,
        /// How long it had.
        after: Duration,
    },
    /// The library door was asked for, and there is no libpython.
    NoLibrary {
        /// The interpreter.
        place: Place,
        /// Where it would have been; empty for a build that has none at all.
        searched: Vec<PathBuf>,
    },
    /// The loader refused libpython.
    LibraryUnloadable {
        /// The file.
        library: PathBuf,
        /// The loader's words, dlerror(3).
        cause: String,
    },
    /// libpython is of another version than the interpreter.
    LibraryOfAnotherVersion {
        /// The file.
        library: PathBuf,
        /// The interpreter's version.
        expected: String,
        /// The library's.
        found: String,
    },
    /// The loader refused the engine, or it is not the engine.
    EngineUnloadable {
        /// The loader's words.
        cause: String,
    },
    /// The kernel refused to execute the interpreter or to hand it the engine.
    NotEntered {
        /// The interpreter.
        executable: PathBuf,
        /// The kernel's reason.
        cause: io::Error,
    },
}

/// Gives a failed probe its cause: a virtualenv whose base is gone fails in many words.
pub(super) fn blame(place: &Place, failure: Failure) -> InterpreterError {
    let place = place.clone();
    let home = Virtualenv::of(&place.path).map(|virtualenv| virtualenv.home);
    match (failure, home) {
        (Failure::NoAnswer { .. }, Some(home)) if !home.is_dir() => {
            InterpreterError::BaseGone { place, gone: home }
        }
        (Failure::NoAnswer { said, .. }, _) if said.starts_with("Unknown option: -I") => {
            InterpreterError::TooOld {
                place,
                found: "one older than 3.4".to_owned(),
            }
        }
        (Failure::NoAnswer { status, said }, _) => InterpreterError::NoAnswer {
            place,
            status,
            said,
        },
        (Failure::NotStarted(cause), _) => InterpreterError::NotStarted { place, cause },
        (Failure::TimedOut(after), _) => InterpreterError::TimedOut { place, after },
    }
}

impl fmt::Display for InterpreterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnPath {
                origin: origin @ Origin::Path,
                name,
                path,
            } => {
                write!(
                    f,
                    "{origin}: expected {} in one of {}, found none",
                    Path::new(name).display(),
                    Path::new(path).display()
                )
            }
            Self::NotOnPath { origin, name, .. } => {
                write!(
                    f,
                    "{origin}: expected {} on PATH, found none",
                    Path::new(name).display()
                )
            }
            Self::NoSuchFile(place) => write!(
                f,
                "{place}: expected an interpreter or a virtualenv, found nothing there"
            ),
            Self::NoPythonIn(place) => write!(
                f,
                "{place}: expected a virtualenv, found no bin/python in it"
            ),
            Self::NotExecutable(place) => write!(
                f,
                "{place}: expected an executable, found a file that may not be executed"
            ),
            Self::NotStarted { place, cause } => write!(
                f,
                "{place}: expected an interpreter, found a file that does not run: {cause}"
            ),
            Self::BaseGone { place, gone } => {
                write!(
                    f,
                    "{place}: expected the Python that the virtualenv was made from, found nothing at {}",
                    gone.display()
                )
            }
            Self::NotCPython { place, found } => {
                write!(f, "{place}: expected CPython, found {found}")
            }
            Self::TooOld { place, found } => {
                write!(f, "{place}: expected CPython 3.11 or newer, found {found}")
            }
            Self::FreeThreaded { place, found } => {
                write!(
                    f,
                    "{place}: expected a CPython with the GIL, found the free-threaded build of {found}"
                )
            }
            Self::ForeignPlatform {
                place,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{place}: expected a CPython for {expected}, found one for {found}"
                )
            }
            Self::OtherPythonsVirtualenv {
                place,
                directory,
                made_for,
                found,
            } => {
                let directory = directory.display();
                write!(
                    f,
                    "{place}: expected the packages of Python {found} in {directory}, found a virtualenv made by {made_for}"
                )
            }
            Self::NoAnswer {
                place,
                status,
                said,
            } if said.is_empty() => {
                write!(
                    f,
                    "{place}: expected an interpreter, found a program that said nothing: {status}"
                )
            }
            Self::NoAnswer {
                place,
                status,
                said,
            } => {
                write!(
                    f,
                    "{place}: expected an interpreter, found one that does not start: {status}: {said}"
                )
            }
            Self::TimedOut { place, after } => {
                write!(
                    f,
                    "{place}: expected an answer within {} s, found none",
                    after.as_secs_f64()
                )
            }
            _ => self.fmt_door(f),
        }
    }
}

impl InterpreterError {
    /// The causes on the way in.
    fn fmt_door(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLibrary { place, searched } if searched.is_empty() => {
                write!(
                    f,
                    "{place}: expected an interpreter with a libpython, found one built without"
                )
            }
            Self::NoLibrary { place, searched } => {
                let searched: Vec<_> = searched
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                write!(
                    f,
                    "{place}: expected a libpython, found none at {}",
                    searched.join(" or ")
                )
            }
            Self::LibraryUnloadable { library, cause } => {
                write!(
                    f,
                    "{}: expected a libpython that loads, found: {cause}",
                    library.display()
                )
            }
            Self::LibraryOfAnotherVersion {
                library,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{}: expected the library of Python {expected}, found {found}",
                    library.display()
                )
            }
            Self::EngineUnloadable { cause } => {
                write!(f, "engine: expected a library that loads, found: {cause}")
            }
            Self::NotEntered { executable, cause } => {
                write!(
                    f,
                    "{}: expected to become this interpreter, found: {cause}",
                    executable.display()
                )
            }
            _ => Ok(()),
        }
    }

    /// What can be done about it, without the word `hint:`.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotOnPath { origin: Origin::Path, .. } => "install python3, or name an interpreter or a virtualenv by --python".to_owned(),
            Self::NotOnPath { .. } => "give the path of an executable or of a virtualenv".to_owned(),
            Self::NoSuchFile(Place { origin: Origin::VirtualEnv, .. }) => {
                "activate a virtualenv that exists, unset VIRTUAL_ENV, or name one by --python".to_owned()
            }
            Self::NoSuchFile(_) => "make a virtualenv with python3 -m venv, or name an interpreter that exists".to_owned(),
            Self::NoPythonIn(place) => format!("python3 -m venv {} makes one", place.path.display()),
            Self::NotExecutable(place) => format!("chmod +x {}, or name the interpreter itself", place.path.display()),
            Self::BaseGone { place, .. } => remake(place.path.parent().and_then(Path::parent).unwrap_or(&place.path)),
            Self::OtherPythonsVirtualenv { directory, .. } => remake(directory),
            Self::NotCPython { .. } | Self::TooOld { .. } => {
                "name a CPython 3.11 or newer, or a virtualenv made with one, by --python".to_owned()
            }
            Self::FreeThreaded { .. } => "name the ordinary build of the same version (its command has no t at the end) by --python".to_owned(),
            Self::ForeignPlatform { .. } => "install a Python for this machine, or the rwsgi built for that one".to_owned(),
            Self::NotStarted { place, .. } | Self::NoAnswer { place, .. } | Self::TimedOut { place, .. } => {
                format!("try it by hand: {} -c 'import sysconfig'", place.path.display())
            }
            Self::NoLibrary { .. } => "install libpython (Debian: libpython3.x), or leave RWSGI_DOOR unset".to_owned(),
            Self::LibraryUnloadable { .. } | Self::LibraryOfAnotherVersion { .. } => {
                "install the libpython of the same package, or go by RWSGI_DOOR=executable".to_owned()
            }
            Self::EngineUnloadable { .. } => "install program and engine of the same build".to_owned(),
            Self::NotEntered { .. } => return None,
        })
    }
}

fn remake(virtualenv: &Path) -> String {
    format!(
        "python3 -m venv --clear {} makes it anew; then install its packages again",
        virtualenv.display()
    )
}

impl std::error::Error for InterpreterError {}
