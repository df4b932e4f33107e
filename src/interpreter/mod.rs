//! Finds the Python interpreter, and launches it with the engine.
//!
//! Knows executables, virtualenvs, libpython and the loader. Knows no Python API, no settings, no environment variables
//! (they are arguments) and nothing of the engine's work.
//!
//! | file | content |
//! |---|---|
//! | `mod` | checking the interpreter |
//! | `locate` | finding its file |
//! | `probe` | asking the interpreter for its version and paths |
//! | `launch` | turning this process into the interpreter |
//! | `startup_code` | checks that the application's user cannot change the code of the start |
//! | `error` | errors and hints |
//!
//! The build uses the stable ABI of 3.11, so every `CPython` from 3.11 on is accepted. Tried up to 3.15; a newer one is
//! not refused, because the stable ABI promises that it works.

mod error;
mod launch;
mod locate;
mod probe;
mod startup_code;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use error::{InterpreterError, NamedBy, NamedPython};
use probe::ProbeAnswer;

use crate::os::identity::Identity;

/// The settings and variables that choose the interpreter; the caller reads them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PythonChoice<'a> {
    /// The setting `python`: an executable, a virtualenv's directory, or a program's bare name, to be looked up on
    /// PATH.
    pub setting: Option<&'a str>,
    /// The path of this program, by which its own virtualenv is found.
    pub program: Option<&'a Path>,
    /// The application's directory, in which `.venv` is looked for; `None` is the working directory.
    pub directory: Option<&'a Path>,
    /// `VIRTUAL_ENV`; empty means unset.
    pub virtual_env: Option<&'a str>,
    /// `PATH`; empty entries (the working directory) are skipped.
    pub path: Option<&'a OsStr>,
    /// `RWSGI_LAUNCH`: requests one launch mode.
    pub launch: Option<LaunchOverride>,
    /// A user with fewer rights than this process, which must not be able to change the code of the interpreter's start.
    pub untrusted: Option<&'a Identity>,
    /// `PYTHONPATH`; used only with `untrusted`.
    pub python_path: Option<&'a OsStr>,
    /// `PYTHONHOME`; empty means unset.
    pub python_home: Option<&'a str>,
    /// The directory of the user's own site-packages; used only with `untrusted`.
    pub user_base: Option<&'a str>,
}

impl<'a> PythonChoice<'a> {
    /// Returns the choice with the variables that a wrapper has set.
    fn behind_wrapper(self, environment: Option<&'a [(OsString, OsString)]>) -> PythonChoice<'a> {
        let Some(environment) = environment else { return self };
        let value = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str());
        PythonChoice {
            python_path: value("PYTHONPATH"),
            python_home: value("PYTHONHOME").and_then(OsStr::to_str),
            ..self
        }
    }
}

/// A launch mode requested by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchOverride {
    /// Load libpython; an error where there is none.
    LoadLibrary,
    /// Execute the interpreter, even where there is a libpython.
    ExecPython,
}

impl FromStr for LaunchOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "library" => Ok(Self::LoadLibrary),
            "executable" => Ok(Self::ExecPython),
            other => Err(format!("expected library or executable, found {other:?}")),
        }
    }
}

/// A checked interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// An absolute path; symlinks are not resolved, because `CPython` looks for `pyvenv.cfg` beside this name.
    pub executable: PathBuf,
    /// Major, minor, micro.
    pub version: (u8, u8, u8),
    /// The first word of `sys.version`: the version, with the suffix of a pre-release. Ex.: `3.15.0rc1`.
    pub release: String,
    /// `sys.implementation.name`; always `cpython`, the only one accepted.
    pub implementation: String,
    /// The later `sys.prefix`: the virtualenv, or the installation where there is none.
    pub prefix: PathBuf,
    /// The file named by INSTSONAME, if it exists.
    pub libpython: Option<PathBuf>,
    /// The launch mode.
    pub launch: LaunchMode,
    /// The environment of the interpreter, if a wrapper has started it.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// The source that named it.
    pub named_by: NamedBy,
}

/// The way in which a process becomes an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchMode {
    /// The process loads libpython (the path) and the engine.
    LoadLibrary(PathBuf),
    /// The process executes the interpreter, which loads the engine: for a statically linked Python, as Debian's is.
    ExecPython,
}

impl LaunchMode {
    /// Returns the name for logs, for `RWSGI_LAUNCH` and for the engine's `main`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LoadLibrary(_) => "library",
            Self::ExecPython => "executable",
        }
    }
}

/// Finds the interpreter, by the order of `locate`.
///
/// Runs `<python> -I -S - <probe` once, for at most ten seconds.
pub fn find(choice: &PythonChoice<'_>) -> Result<Interpreter, InterpreterError> {
    let place = locate::locate(choice)?;
    startup_code::check(&place.path, choice)?;
    match probe::ask(&place.path, probe::TIMEOUT) {
        Ok(answer) => {
            let found = check_answer(place, answer, choice.launch)?;
            // The interpreter behind a wrapper, and what that has set, were not known before.
            let choice = &choice.behind_wrapper(found.environment.as_deref());
            startup_code::check(&found.executable, choice)?;
            startup_code::check_library(&found.launch, choice)?;
            check_home(choice, &found)?;
            Ok(found)
        }
        Err(failure) => Err(error::of_probe(place, failure)),
    }
}

/// Decides whether the interpreter with this answer can serve, and by which launch mode.
fn check_answer(
    place: NamedPython,
    answer: ProbeAnswer,
    wanted: Option<LaunchOverride>,
) -> Result<Interpreter, InterpreterError> {
    check_build(&place, &answer)?;
    // A wrapper (pyenv's shim, Nix) was run, and sys.executable is the interpreter itself.
    let own = Some(&answer.executable).filter(|file| file.is_file());
    let executable = own.unwrap_or(&place.path).clone();
    let real = |file: &Path| file.canonicalize().ok();
    let is_wrapped = real(&executable) != real(&place.path) && !answer.environment.is_empty();
    let environment = is_wrapped.then(|| answer.environment.clone());
    let prefix = match Virtualenv::of(&executable) {
        Some(virtualenv) => virtualenv.check(&place, &answer)?,
        None => answer.prefix.clone(),
    };
    let libpython = library_candidates(&answer).into_iter().find(|file| file.is_file());
    // A libpython that the interpreter does not use itself (Debian's) is slower, because it is position-independent
    // code.
    let uses_library = !answer.library_mapped.as_os_str().is_empty() && !needs_loader(environment.as_deref());
    let launch = match (wanted, &libpython) {
        (None, Some(library)) if uses_library => LaunchMode::LoadLibrary(library.clone()),
        (Some(LaunchOverride::ExecPython) | None, _) => LaunchMode::ExecPython,
        (Some(LaunchOverride::LoadLibrary), Some(library)) => LaunchMode::LoadLibrary(library.clone()),
        (Some(LaunchOverride::LoadLibrary), None) => {
            let searched = library_candidates(&answer);
            return Err(InterpreterError::NoLibrary { place, searched });
        }
    };
    let ProbeAnswer { version, release, implementation, .. } = answer;
    let named_by = place.named_by;
    Ok(Interpreter { executable, version, release, implementation, prefix, libpython, launch, environment, named_by })
}

/// True if a wrapper may have set variables that the loader reads only at the start of a program (ld.so(8)).
fn needs_loader(environment: Option<&[(OsString, OsString)]>) -> bool {
    environment.into_iter().flatten().any(|(name, _)| name.as_encoded_bytes().starts_with(b"LD_"))
}

/// Fails if `PYTHONHOME` has no standard library of this version: Python would end at its start.
fn check_home(choice: &PythonChoice<'_>, found: &Interpreter) -> Result<(), InterpreterError> {
    let Some(home) = choice.python_home.filter(|home| !home.is_empty()) else { return Ok(()) };
    let (major, minor, _) = found.version;
    // Two directories, separated by a colon: the first has the modules in Python.
    let prefix = Path::new(home.split(':').next().unwrap_or(home));
    let modules = ["lib", "lib64"].map(|lib| prefix.join(format!("{lib}/python{major}.{minor}/os.py")));
    let archive = prefix.join(format!("lib/python{major}{minor}.zip"));
    if modules.iter().chain([&archive]).any(|file| file.exists()) {
        return Ok(());
    }
    Err(InterpreterError::WrongHome { home: home.to_owned(), release: found.release.clone() })
}

/// Checks that the engine can run in this kind of Python.
fn check_build(place: &NamedPython, answer: &ProbeAnswer) -> Result<(), InterpreterError> {
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

/// Returns possible paths of this interpreter's libpython, best first. The library in its memory comes first: a runpath
/// or `LD_LIBRARY_PATH` chose it. `Py_ENABLE_SHARED` is no evidence, since Debian's static python3 has it set. ld.so's
/// search path is not used: its libpython may be another build's.
fn library_candidates(answer: &ProbeAnswer) -> Vec<PathBuf> {
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

/// Returns the platform in SOABI if it differs from this program's. Ex.: `cpython-313-i386-linux-gnu` gives
/// `i386-linux-gnu`. A build without one (`cpython-313`) is accepted; the loader decides.
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
    /// Finds the virtualenv as `CPython`'s getpath does: by a pyvenv.cfg with `home`, beside the executable or one
    /// directory up.
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

    /// Returns its directory, if this Python can import the packages installed in it. After an upgrade of the system
    /// `bin/python` leads to the new Python, and the packages are in the old one's directory.
    fn check(self, place: &NamedPython, answer: &ProbeAnswer) -> Result<PathBuf, InterpreterError> {
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

/// The oldest version of the engine's stable ABI, and the oldest Python of Debian 12.
const OLDEST: (u8, u8) = (3, 11);

/// This build's platform as in SOABI (Debian's multiarch tuples); empty if unknown.
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
