//! The code that an interpreter runs before the application: its executable, its libraries, the imports of `site`. If
//! it runs with more rights than the application's user has, that user must not be able to change it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{InterpreterError, LaunchMode, PythonChoice, Virtualenv};
use crate::os::access::Untrusted;
use crate::os::identity::Identity;

/// Fails if `untrusted` could change the code that a start of this executable runs. Called before its first run, so
/// directories are found by their names and not by the interpreter's answer.
pub(super) fn check(executable: &Path, choice: &PythonChoice<'_>) -> Result<(), InterpreterError> {
    let Some(untrusted) = choice.untrusted else { return Ok(()) };
    let real = executable.canonicalize().unwrap_or_else(|_| executable.to_owned());
    // PEP 405: the interpreter that the virtualenv was made from has the standard library.
    let base = Virtualenv::of(executable).map(|virtualenv| virtualenv.home.join("python3"));
    let executables = [Some(executable.to_owned()), Some(real), base].into_iter().flatten().collect::<Vec<_>>();
    let mut files = executables.iter().cloned().chain(configurations(executable));
    files.try_for_each(|file| untrusted.distrust(&file))?;
    // What is not there is judged as well: it could be made before the interpreter looks.
    let own = executables.iter().flat_map(|file| libraries(file)).chain(choice.python_home.map(PathBuf::from));
    let user_base = choice.user_base.filter(|_| has_user_site(executable)).map(|base| Path::new(base).join("lib"));
    let mut directories: Vec<PathBuf> = own.chain(user_base).collect();
    directories.dedup();
    for directory in &directories {
        untrusted.distrust_below(directory)?;
        added_by(directory).iter().try_for_each(|added| distrust_modules(untrusted, added))?;
    }
    let path = choice.python_path.map(std::env::split_paths).into_iter().flatten();
    // An empty entry is the working directory.
    path.map(|entry| if entry.as_os_str().is_empty() { PathBuf::from(".") } else { entry })
        .try_for_each(|entry| distrust_modules(untrusted, &entry))?;
    Ok(())
}

/// Fails if `untrusted` could change the libpython that is to be loaded.
pub(super) fn check_library(launch: &LaunchMode, choice: &PythonChoice<'_>) -> Result<(), InterpreterError> {
    match (launch, choice.untrusted) {
        (LaunchMode::LoadLibrary(library), Some(untrusted)) => Ok(untrusted.distrust(library)?),
        _ => Ok(()),
    }
}

/// Checks the modules of a directory. It may contain other directories, for example of uploads, which the user may own.
fn distrust_modules(untrusted: &Identity, directory: &Path) -> Result<(), Untrusted> {
    untrusted.distrust(directory)?;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if !entry.is_dir() {
            untrusted.distrust(&entry)?;
        } else if entry.join("__init__.py").exists() {
            untrusted.distrust_below(&entry)?;
        }
    }
    Ok(())
}

/// True unless a virtualenv turns the user's own `site-packages` off, as it does by default (PEP 405).
fn has_user_site(executable: &Path) -> bool {
    let is_on = |line: &str| {
        let setting = line.split_once('=').map(|(name, value)| (name.trim(), value.trim().to_ascii_lowercase()));
        setting.is_some_and(|(name, value)| name == "include-system-site-packages" && value == "true")
    };
    configurations(executable).next().is_none_or(|file| fs::read_to_string(file).unwrap_or_default().lines().any(is_on))
}

/// Returns the files of PEP 405, beside the executable or one directory up.
fn configurations(executable: &Path) -> impl Iterator<Item = PathBuf> {
    executable.ancestors().skip(1).take(2).map(|directory| directory.join("pyvenv.cfg")).filter(|file| file.exists())
}

/// Returns `lib/python3*` beside an executable's `bin`, and Debian's additions to that of `/usr`.
fn libraries(executable: &Path) -> Vec<PathBuf> {
    let Some(prefix) = executable.parent().and_then(Path::parent) else { return Vec::new() };
    let mut roots = vec![prefix.join("lib"), prefix.join("lib64")];
    if prefix == Path::new("/usr") {
        roots.push(PathBuf::from("/usr/local/lib"));
    }
    let of_root = |root: &PathBuf| {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"));
        names.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    roots.iter().flat_map(of_root).collect()
}

/// Returns the paths that the `.pth` files of a directory's `site-packages` and `dist-packages` add (Python's module
/// `site`).
fn added_by(library: &Path) -> Vec<PathBuf> {
    let sites = [library.to_owned(), library.join("site-packages"), library.join("dist-packages")];
    let mut added = Vec::new();
    for site in sites {
        for file in fs::read_dir(&site).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "pth") {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let lines = text.lines().map(str::trim_end).filter(|line| !is_code(line));
                added.extend(lines.map(|line| site.join(line)));
            }
        }
    }
    added
}

fn is_code(line: &str) -> bool {
    line.is_empty() || line.starts_with('#') || line.starts_with("import ") || line.starts_with("import\t")
}
