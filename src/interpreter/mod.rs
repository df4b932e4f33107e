//! Finds the Python that is to serve, and the door through which the engine gets into it.
//!
//! Knows executables, virtualenvs, libpython and the loader; knows no Python API, no settings, no environment
//! variables (they are arguments) and nothing of what the engine does once it is in.
//!
//! | file | question |
//! |---|---|
//! | `mod` | which interpreter is meant, and can it serve? |
//! | `probe` | what does that interpreter say of itself? |
//! | `launch` | how does this process become it? |
//! | `startup_code` | can its start be trusted with more rights than the application has? |
//! | `error` | what went wrong, and what can be done about it? |
//!
//! The build uses the stable ABI of 3.11, so every `CPython` from 3.11 on is let in. Tried up to 3.15; a newer one is
//! not refused, because the stable ABI promises that it works.

mod error;
mod launch;
mod probe;
mod startup_code;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use error::{InterpreterError, Origin, Place};
use probe::Answer;

use crate::os::identity::Identity;

/// What the user asked for; the caller reads the settings and the environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// The setting `python`: an executable, a virtualenv's directory, or a program's bare name, to be looked up on PATH.
    pub setting: Option<&'a str>,
    /// `VIRTUAL_ENV`; empty means unset.
    pub virtual_env: Option<&'a str>,
    /// `PATH`; empty entries (the working directory) are skipped.
    pub path: Option<&'a OsStr>,
    /// `RWSGI_DOOR`: takes one door whether or not it is the one that would be chosen.
    pub door: Option<DoorWish>,
    /// A user with fewer rights than this process, who may change nothing of what the interpreter's start runs.
    pub untrusted: Option<&'a Identity>,
    /// `PYTHONPATH`; looked at only beside `untrusted`.
    pub python_path: Option<&'a OsStr>,
    /// `PYTHONHOME`, likewise.
    pub python_home: Option<&'a str>,
    /// The directory of the user's own site-packages, likewise.
    pub user_base: Option<&'a str>,
}

/// A door asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoorWish {
    /// Only by libpython; an error where there is none.
    Library,
    /// By the executable, even where there is a libpython.
    Executable,
}

impl FromStr for DoorWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "library" => Ok(Self::Library),
            "executable" => Ok(Self::Executable),
            other => Err(format!("expected library or executable, found {other:?}")),
        }
    }
}

/// An interpreter that answered the probe and can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Absolute, symlinks not resolved: `CPython` finds `pyvenv.cfg`, and with it the virtualenv, beside this name.
    pub executable: PathBuf,
    /// Major, minor, micro.
    pub version: (u8, u8, u8),
    /// The first word of `sys.version`: as `version`, with what a pre-release adds. Ex.: `3.15.0rc1`.
    pub release: String,
    /// `sys.implementation.name`; always `cpython`, as nothing else is let in.
    pub implementation: String,
    /// What `sys.prefix` will be: the virtualenv, or the installation where there is none.
    pub prefix: PathBuf,
    /// The file named by INSTSONAME, where it really exists.
    pub libpython: Option<PathBuf>,
    /// The way in.
    pub door: Door,
}

/// A way for the engine into an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// This process loads libpython (the path) and the engine, and becomes the interpreter.
    Library(PathBuf),
    /// This process executes the interpreter, which loads the engine: a Python linked statically, as Debian's is.
    Executable,
}

impl Door {
    /// The word for logs, for `RWSGI_DOOR` and for the engine's `main`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Library(_) => "library",
            Self::Executable => "executable",
        }
    }
}

/// Finds the interpreter: the setting, else `VIRTUAL_ENV`, else `python3` on PATH. The first that is named counts; one
/// that cannot serve is an error, not a reason to look further.
///
/// Runs `<python> -I -S - <probe` once, for at most ten seconds.
pub fn find(wish: &Wish<'_>) -> Result<Interpreter, InterpreterError> {
    let place = locate(wish)?;
    startup_code::check(&place.path, wish)?;
    match probe::ask(&place.path, probe::PATIENCE) {
        Ok(answer) => {
            let found = judge(place, answer, wish.door)?;
            // What a wrapper has led to was not known before.
            startup_code::check(&found.executable, wish)?;
            Ok(found)
        }
        Err(failure) => Err(error::blame(place, failure)),
    }
}

/// Names the file to run, without running it.
fn locate(wish: &Wish<'_>) -> Result<Place, InterpreterError> {
    if let Some(setting) = wish.setting {
        let at = Path::new(setting);
        if !is_path(setting) && at.symlink_metadata().is_err() {
            return search(OsStr::new(setting), wish.path, Origin::Setting);
        }
        return python_at(Origin::Setting, at);
    }
    match wish.virtual_env {
        Some(directory) if !directory.is_empty() => {
            let given = Path::new(directory);
            if given.is_dir() {
                return python_at(Origin::VirtualEnv, given);
            }
            let place = Place::new(Origin::VirtualEnv, given);
            Err(InterpreterError::NoSuchFile { place, given: given.to_owned() })
        }
        _ => search(OsStr::new("python3"), wish.path, Origin::Path),
    }
}

/// Whether a name is that of a file or directory, and not of a program to be looked up: `./python`, `.venv`, `env`.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.starts_with('.') || name.to_ascii_lowercase().contains("env")
}

fn search(name: &OsStr, path: Option<&OsStr>, origin: Origin) -> Result<Place, InterpreterError> {
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file() && is_executable(file))
        .map(|file| Place::new(origin, &file))
        .ok_or_else(|| InterpreterError::NotOnPath { origin, name: name.to_owned(), path: path.to_owned() })
}

/// From a file or a directory that was named to the executable in it.
fn python_at(origin: Origin, given: &Path) -> Result<Place, InterpreterError> {
    let mut place = Place::new(origin, given);
    if place.path.is_dir() {
        let found = ["bin/python", "bin/python3"]
            .map(|name| place.path.join(name))
            .into_iter()
            .find(|python| python.symlink_metadata().is_ok());
        let Some(python) = found else {
            return Err(InterpreterError::NoPythonIn(place));
        };
        place.path = python;
    }
    if place.path.is_file() {
        return if is_executable(&place.path) { Ok(place) } else { Err(InterpreterError::NotExecutable(place)) };
    }
    // A virtualenv's bin/python leads to its base; PEP 405's file tells it from any other broken link.
    match Virtualenv::of(&place.path) {
        Some(Virtualenv { directory, .. }) if place.path.is_symlink() => {
            let gone = end_of_links(&place.path);
            Err(InterpreterError::BaseGone { place, directory, gone })
        }
        _ => Err(InterpreterError::NoSuchFile { place, given: given.to_owned() }),
    }
}

fn end_of_links(start: &Path) -> PathBuf {
    let mut at = start.to_owned();
    // 40: where the kernel gives up too, path_resolution(7).
    for _ in 0..40 {
        match at.read_link() {
            Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    at
}

fn is_executable(file: &Path) -> bool {
    nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Decides whether the interpreter that gave this answer can serve, and by which door.
fn judge(place: Place, answer: Answer, wish: Option<DoorWish>) -> Result<Interpreter, InterpreterError> {
    check_build(&place, &answer)?;
    // A wrapper (pyenv's shim) is what was run, and sys.executable is what it led to: the interpreter itself.
    let own = Some(&answer.executable).filter(|file| file.is_file());
    let executable = own.unwrap_or(&place.path).clone();
    let prefix = match Virtualenv::of(&executable) {
        Some(virtualenv) => virtualenv.check(&place, &answer)?,
        None => answer.prefix.clone(),
    };
    let libpython = library_candidates(&answer).into_iter().find(|file| file.is_file());
    // A libpython beside an interpreter that does not use it (Debian's) is the slower of the two: it is compiled as
    // position-independent code.
    let uses_library = !answer.library_mapped.as_os_str().is_empty();
    let door = match (wish, &libpython) {
        (None, Some(library)) if uses_library => Door::Library(library.clone()),
        (Some(DoorWish::Executable) | None, _) => Door::Executable,
        (Some(DoorWish::Library), Some(library)) => Door::Library(library.clone()),
        (Some(DoorWish::Library), None) => {
            let searched = library_candidates(&answer);
            return Err(InterpreterError::NoLibrary { place, searched });
        }
    };
    let Answer { version, release, implementation, .. } = answer;
    Ok(Interpreter { executable, version, release, implementation, prefix, libpython, door })
}

/// Whether the engine can run in this kind of Python at all.
fn check_build(place: &Place, answer: &Answer) -> Result<(), InterpreterError> {
    let place = place.clone();
    let found = answer.release.clone();
    if answer.implementation != "cpython" {
        let found = format!("{} {found}", answer.implementation);
        return Err(InterpreterError::NotCPython { place, found });
    }
    if (answer.version.0, answer.version.1) < OLDEST {
        return Err(InterpreterError::TooOld { place, found });
    }
    if answer.free_threaded {
        return Err(InterpreterError::FreeThreaded { place, found });
    }
    match foreign_platform(&answer.abi) {
        Some(found) => Err(InterpreterError::ForeignPlatform { place, expected: PLATFORM, found }),
        None => Ok(()),
    }
}

/// Where the libpython of this very interpreter may be, best first. What is in its own memory leads: a runpath or
/// `LD_LIBRARY_PATH` chose it. `Py_ENABLE_SHARED` says nothing: Debian's static python3 has it set. Where ld.so would
/// find a file of that name is not asked: that may be another build's, and the executable's door is as good.
fn library_candidates(answer: &Answer) -> Vec<PathBuf> {
    // A build without --enable-shared names its static archive here.
    if !answer.library.to_string_lossy().contains(".so") {
        return Vec::new();
    }
    // The prefix, too: a build that was moved (python-build-standalone) has its builder's LIBDIR in its tables.
    let mut candidates = vec![
        answer.library_mapped.clone(),
        answer.library_directory.join(&answer.library),
        answer.base_prefix.join("lib").join(&answer.library),
    ];
    candidates.retain(|file| file.is_absolute());
    candidates.dedup();
    candidates
}

/// The platform in SOABI where it is not ours. Ex.: `cpython-313-i386-linux-gnu` gives `i386-linux-gnu`.
/// A build without one (`cpython-313`) is taken on trust; the loader has the last word.
fn foreign_platform(abi: &str) -> Option<String> {
    let found = abi.splitn(3, '-').nth(2)?;
    let known = found.contains("-linux-") && !PLATFORM.is_empty();
    (known && found != PLATFORM).then(|| found.to_owned())
}

/// A directory made by `python -m venv` or virtualenv: PEP 405.
struct Virtualenv {
    directory: PathBuf,
    /// `version` or `version_info` of pyvenv.cfg: the Python that made it.
    version: Option<String>,
    /// `home`: the directory of the interpreter that it was made from.
    home: PathBuf,
}

impl Virtualenv {
    /// As `CPython`'s getpath does: pyvenv.cfg beside the executable or one directory up, with a `home` in it.
    fn of(executable: &Path) -> Option<Self> {
        let bin = executable.parent()?;
        let directory = bin.parent()?.to_owned();
        let text = [bin, &directory].iter().find_map(|at| std::fs::read_to_string(at.join("pyvenv.cfg")).ok())?;
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim().to_owned())
        };
        let home = PathBuf::from(value("home")?);
        Some(Self { directory, version: value("version").or_else(|| value("version_info")), home })
    }

    /// Its directory, if anything installed in it can be imported by this Python. After an upgrade of the system
    /// `bin/python` leads to the new Python, and what was installed lies in the old one's directory.
    fn check(self, place: &Place, answer: &Answer) -> Result<PathBuf, InterpreterError> {
        let (major, minor, _) = answer.version;
        let own = |lib| self.directory.join(format!("{lib}/python{major}.{minor}"));
        if own("lib").is_dir() || own("lib64").is_dir() {
            return Ok(self.directory);
        }
        Err(InterpreterError::OtherPythonsVirtualenv {
            place: place.clone(),
            directory: self.directory,
            made_for: self.version.unwrap_or_else(|| "another one".to_owned()),
            found: answer.release.clone(),
        })
    }
}

/// The floor of the stable ABI the engine is built for, and the oldest Python that Debian 12 has.
const OLDEST: (u8, u8) = (3, 11);

/// Where there is no PATH: what execvp(3) is given by a login on Debian, without sbin.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// This build's platform in the words of SOABI (Debian's multiarch tuples); empty where we do not know the word.
const PLATFORM: &str = if cfg!(all(target_arch = "x86_64", target_env = "gnu", target_pointer_width = "64")) {
    "x86_64-linux-gnu"
} else if cfg!(all(target_arch = "x86_64", target_env = "musl")) {
    "x86_64-linux-musl"
} else if cfg!(all(target_arch = "aarch64", target_env = "gnu")) {
    "aarch64-linux-gnu"
} else if cfg!(all(target_arch = "aarch64", target_env = "musl")) {
    "aarch64-linux-musl"
} else {
    ""
};
