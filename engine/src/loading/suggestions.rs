//! What a wrong name of an application was probably meant to be. Looks at names of files and modules; loads nothing that
//! was not loaded before.

use std::fs;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyModule;

use rwsgi::settings::suggest::nearest;
use rwsgi::settings::types::{AppName, AppSource};

/// Returns the hint for a module that lacks the wanted callable.
pub(super) fn for_callable(module: &Bound<'_, PyAny>, name: &AppName) -> String {
    let own = offers(module);
    let offered = own.iter().map(String::as_str);
    let source = name.to_string();
    let source = source.split(':').next().unwrap_or_default();
    if let Some(hint) = for_source(module.py(), &name.source) {
        return hint;
    }
    let wanted = name.callable.as_ref().map(|callable| callable.name.as_str());
    let wanted = wanted.map_or(vec!["application", "app"], |wanted| vec![wanted]);
    if let Some(meant) = wanted.iter().find_map(|wanted| nearest(wanted, offered.clone())) {
        return format!("did you mean {source}:{meant}?");
    }
    if let Some(factory) = offered.clone().find(|name| is_factory(name)) {
        return format!("if {factory} makes the application: rwsgi '{source}:{factory}()'");
    }
    match own.len() {
        0 => "the module has no callables of its own".to_owned(),
        count if count > SHOWN => format!("the module offers {} and others", own[..SHOWN].join(", ")),
        _ => format!("the module offers {}", own.join(", ")),
    }
}

/// Returns the hint for a name that is not that of the module with the application.
fn for_source(py: Python<'_>, source: &AppSource) -> Option<String> {
    let directory = match source {
        AppSource::File(path) if path.file_name()? == "manage.py" => path.parent()?,
        AppSource::Module(module) if module == "manage" => Path::new(""),
        AppSource::Module(module) => {
            let meant = instead_of_asgi(py, module).or_else(|| wsgi_module(py, module));
            return meant.map(|meant| format!("did you mean {meant}?"));
        }
        AppSource::File(_) => return None,
    };
    let meant = wsgi_modules_in(directory);
    let meant = meant.first().map_or("PROJECT.wsgi", String::as_str);
    Some(format!("manage.py is Django's command line; the application is in {meant}: rwsgi {meant}"))
}

/// Returns `shop.wsgi` for `shop.asgi`, if there is such a module.
pub(super) fn instead_of_asgi(py: Python<'_>, name: &str) -> Option<String> {
    wsgi_module(py, name.strip_suffix(".asgi")?)
}

/// Returns `shop.wsgi` for `shop`, if there is such a module.
fn wsgi_module(py: Python<'_>, package: &str) -> Option<String> {
    let meant = format!("{package}.wsgi");
    let util = py.import("importlib.util").ok()?;
    util.call_method1("find_spec", (&meant,)).is_ok_and(|spec| !spec.is_none()).then_some(meant)
}

/// Returns the name in which the missing part is replaced by a module that is spelled nearly so.
pub(super) fn misspelled(py: Python<'_>, name: &str, part: &str) -> Option<String> {
    let (package, last) = part.rsplit_once('.').map_or((None, part), |(package, last)| (Some(package), last));
    let path: Vec<PathBuf> = match package {
        Some(package) => py
            .import(package)
            .ok()?
            .getattr("__path__")
            .ok()?
            .try_iter()
            .ok()?
            .flatten()
            .filter_map(|entry| entry.extract().ok())
            .collect(),
        None => py.import("sys").ok()?.getattr("path").ok()?.extract().ok()?,
    };
    let names: Vec<String> = path.iter().take(SEARCHED).flat_map(|directory| modules_in(directory)).collect();
    let meant = nearest(last, names.iter().map(String::as_str))?;
    let front = package.map_or_else(String::new, |package| format!("{package}."));
    Some(format!("{front}{meant}{}", name.strip_prefix(part)?))
}

/// Returns the names of modules and packages whose files are in the directory.
fn modules_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let module = |entry: fs::DirEntry| {
        let path = entry.path();
        let is_module = path.extension().is_some_and(|end| end == "py") || path.join("__init__.py").is_file();
        let name = path.file_stem()?.to_str()?.to_owned();
        (is_module && !name.starts_with('_')).then_some(name)
    };
    entries.filter_map(module).collect()
}

/// Returns `shop.wsgi` for each directory `shop` that contains a file `wsgi.py`.
fn wsgi_modules_in(directory: &Path) -> Vec<String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let packages = entries.filter(|entry| entry.path().join("wsgi.py").is_file());
    let mut names: Vec<String> = packages.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter().map(|name| format!("{name}.wsgi")).collect()
}

/// True for `create_app`, `make_wsgi_app`, `factory` and the like.
fn is_factory(name: &str) -> bool {
    let is_verb = ["create", "make", "build", "get"].iter().any(|verb| name.starts_with(verb));
    (is_verb && name.contains("app")) || ["create", "factory", "app_factory"].contains(&name)
}

/// True for a class, a function or a builtin, which belong to the module that defines them.
fn is_definition(value: &Bound<'_, PyAny>) -> bool {
    value.hasattr("__qualname__").unwrap_or(false)
}

/// Returns the public callables that the module defines itself.
fn offers(module: &Bound<'_, PyAny>) -> Vec<String> {
    let Ok(module) = module.cast::<PyModule>() else {
        return Vec::new();
    };
    let own_name = module.name().map(|name| name.to_string()).unwrap_or_default();
    let mut own = Vec::new();
    for (key, value) in module.dict() {
        let Ok(key) = key.extract::<String>() else { continue };
        if key.starts_with('_') || !value.is_callable() {
            continue;
        }
        let home = value.getattr("__module__").and_then(|home| home.extract::<String>());
        // Other objects, as the application of a framework, do not name a module.
        if home.is_ok_and(|home| home == own_name) || !is_definition(&value) {
            own.push(key);
        }
    }
    own
}

/// Candidates that a hint lists.
const SHOWN: usize = 3;
/// Directories of the path in which a misspelled module is looked for: the application's come first.
const SEARCHED: usize = 4;
