//! The code that an interpreter runs before the application: its executable, its libraries, the imports of `site`. If
//! it runs with more rights than the application's user has, that user must not be able to change it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{InterpreterError, PythonChoice};
use crate::os::access::Untrusted;
use crate::os::identity::Identity;

/// Fails if `untrusted` could change the code that a start of this executable runs. Called before its first run, so
/// directories are found by their names and not by the interpreter's answer.
pub(super) fn check(executable: &Path, choice: &PythonChoice<'_>) -> Result<(), InterpreterError> {
    let Some(untrusted) = choice.untrusted else { return Ok(()) };
    let real = executable.canonicalize().unwrap_or_else(|_| executable.to_owned());
    let mut files = [executable.to_owned(), real.clone()].into_iter().chain(configurations(executable));
    files.try_for_each(|file| untrusted.distrust(&file))?;
    let own = [executable, &real].into_iter().flat_map(libraries).chain(choice.python_home.map(PathBuf::from));
    let mut directories: Vec<PathBuf> = own.chain(choice.user_base.map(|base| Path::new(base).join("lib"))).collect();
    directories.dedup();
    for directory in directories.iter().filter(|directory| directory.exists()) {
        untrusted.distrust_below(directory)?;
        added_by(directory).iter().try_for_each(|added| distrust_modules(untrusted, added))?;
    }
    let path = choice.python_path.map(std::env::split_paths).into_iter().flatten();
    path.filter(|entry| !entry.as_os_str().is_empty()).try_for_each(|entry| distrust_modules(untrusted, &entry))?;
    Ok(())
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
                added.extend(lines.map(|line| site.join(line)).filter(|path| path.exists()));
            }
        }
    }
    added
}

fn is_code(line: &str) -> bool {
    line.is_empty() || line.starts_with('#') || line.starts_with("import ") || line.starts_with("import\t")
}
