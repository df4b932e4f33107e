//! Finds the file of the interpreter, without running it: the setting, rwsgi's own virtualenv, `VIRTUAL_ENV`, `.venv` in
//! the application's directory, `python3` on PATH. The first one that there is counts, and it is an error if it cannot
//! serve.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{InterpreterError, NamedBy, NamedPython, PythonChoice, Virtualenv};

/// Finds the file to run, without running it.
pub(super) fn locate(choice: &PythonChoice<'_>) -> Result<NamedPython, InterpreterError> {
    if let Some(setting) = choice.setting {
        let at = Path::new(setting);
        if !is_path(setting) && at.symlink_metadata().is_err() {
            return search(OsStr::new(setting), choice.path, NamedBy::Setting);
        }
        return python_at(NamedBy::Setting, at);
    }
    let own = choice.program.and_then(own_virtualenv);
    if let Some(own) = own.filter(|own| !is_of_a_tool(own)) {
        return python_at(NamedBy::OwnVirtualenv, own);
    }
    if let Some(given) = choice.virtual_env.filter(|directory| !directory.is_empty()).map(Path::new) {
        if given.is_dir() {
            return python_at(NamedBy::VirtualEnv, given);
        }
        let place = NamedPython::new(NamedBy::VirtualEnv, given);
        return Err(InterpreterError::NoSuchFile { place, given: given.to_owned() });
    }
    let beside = choice.directory.unwrap_or(Path::new("")).join(PROJECT_VIRTUALENV);
    match own {
        _ if is_virtualenv(&beside) => python_at(NamedBy::ProjectVirtualenv, &beside),
        Some(own) => python_at(NamedBy::OwnVirtualenv, own),
        None => search(OsStr::new("python3"), choice.path, NamedBy::Path),
    }
}

/// Returns the virtualenv whose `bin` contains this program.
fn own_virtualenv(program: &Path) -> Option<&Path> {
    program.parent()?.parent().filter(|directory| is_virtualenv(directory))
}

/// True if the directory has the file of PEP 405.
fn is_virtualenv(directory: &Path) -> bool {
    directory.join("pyvenv.cfg").is_file()
}

/// True if a virtualenv was made by a tool for one program (`pipx install`, `uv tool install`, `uv tool run`), so that
/// the application is probably in another one.
fn is_of_a_tool(virtualenv: &Path) -> bool {
    TOOL_MARKS.iter().any(|name| virtualenv.join(name).exists())
}

/// True if a name is a file or directory, and no program on PATH: `./python`, `.venv`, `env`.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.starts_with('.') || name.to_ascii_lowercase().contains("env")
}

fn search(name: &OsStr, path: Option<&OsStr>, named_by: NamedBy) -> Result<NamedPython, InterpreterError> {
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file() && is_executable(file))
        .map(|file| NamedPython::new(named_by, &file))
        .ok_or_else(|| InterpreterError::NotOnPath { named_by, name: name.to_owned(), path: path.to_owned() })
}

/// Finds the executable in a file or a directory that was named.
fn python_at(named_by: NamedBy, given: &Path) -> Result<NamedPython, InterpreterError> {
    let mut place = NamedPython::new(named_by, given);
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
    // A virtualenv's bin/python is a link to its base. The file of PEP 405 distinguishes it from other broken links.
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

/// The virtualenv that uv and poetry make in the directory of a project.
const PROJECT_VIRTUALENV: &str = ".venv";

/// What pipx and uv write into the virtualenvs of programs. `uv tool run` makes them two levels down in uv's cache.
const TOOL_MARKS: [&str; 3] = ["pipx_metadata.json", "uv-receipt.toml", "../../CACHEDIR.TAG"];

/// The default PATH: what execvp(3) is given by a login on Debian, without sbin.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
