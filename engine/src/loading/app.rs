//! Loads the application by its name. The failure of a wrong name lists the names that exist.

use std::path::Path;

use pyo3::exceptions::{PyModuleNotFoundError, PySyntaxError, PySystemExit, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use rwsgi::message::{BootCause, BootFailure};
use rwsgi::settings::Settings;
use rwsgi::settings::types::{AppCallable, AppName, AppSource};

use crate::exceptions;
use crate::loading::signature::{self, Problem};
use crate::loading::suggestions;

/// Loads the application that the settings name.
pub(crate) fn load_configured<'py>(py: Python<'py>, settings: &Settings) -> Result<Bound<'py, PyAny>, BootFailure> {
    load(py, settings.app().map_err(|problem| BootFailure::setup(&problem))?)
}

/// Imports the module or runs the file, and takes the callable from it.
pub(crate) fn load<'py>(py: Python<'py>, name: &AppName) -> Result<Bound<'py, PyAny>, BootFailure> {
    let module = match &name.source {
        AppSource::Module(module) => import(py, module)?,
        AppSource::File(path) => run_file(py, path)?,
    };
    let found = match &name.callable {
        Some(wanted) => take(py, &module, wanted, name)?,
        None => match default_callable(&module) {
            Some(found) => found,
            None => return Err(lacks(&module, name, "a callable named application or app", "neither")),
        },
    };
    if found.is_callable() {
        return match signature::problem(py, &found) {
            None => Ok(found),
            Some(problem) => Err(misfit(&module, name, &problem)),
        };
    }
    Err(lacks(&module, name, "a callable", &format!("a value of type {}", exceptions::type_name(&found))))
}

fn import<'py>(py: Python<'py>, name: &str) -> Result<Bound<'py, PyAny>, BootFailure> {
    py.import(intern!(py, "importlib"))
        .and_then(|importlib| importlib.call_method1(intern!(py, "import_module"), (name,)))
        .map_err(|error| match missing_part(py, &error, name) {
            Some(part) => no_module(py, name, &part),
            None => raised(py, name, &error),
        })
}

/// Returns the part of the dotted name that does not exist, if the error is about that. A module that exists and fails to import
/// another one is not a wrong name.
fn missing_part(py: Python<'_>, error: &PyErr, name: &str) -> Option<String> {
    if !error.is_instance_of::<PyModuleNotFoundError>(py) {
        return None;
    }
    let part: String = error.value(py).getattr("name").ok()?.extract().ok()?;
    (name == part || name.strip_prefix(&part).is_some_and(|rest| rest.starts_with('.'))).then_some(part)
}

fn no_module(py: Python<'_>, name: &str, part: &str) -> BootFailure {
    let hint = match (name.strip_suffix(".py"), name.rsplit_once('.')) {
        (Some(stem), _) => format!("did you mean ./{name} (a file) or {stem} (a module)?"),
        (None, Some((module, callable)))
            if py.import(module).is_ok_and(|module| module.hasattr(callable).unwrap_or(false)) =>
        {
            format!("did you mean {module}:{callable}?")
        }
        _ => match suggestions::instead_of_asgi(py, name).or_else(|| suggestions::misspelled(py, name, part)) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "chdir and pythonpath set where modules are looked for".to_owned(),
        },
    };
    let mut message = format!("{name}: expected a module, found no module named {part}\nhint: {hint}");
    if let Ok(places) = own_places(py) {
        message += &format!("\nhint: looked in {places}, and in Python's own directories");
    }
    message += &unreadable_hint(py);
    message += &virtualenv_hint(py);
    BootFailure { cause: BootCause::NotFound, message, traceback: None }
}

/// Returns hints of the directories that may not be read. Python passes over them as if they were empty.
fn unreadable_hint(py: Python<'_>) -> String {
    let path: Vec<String> = py.import("sys").and_then(|sys| sys.getattr("path")?.extract()).unwrap_or_default();
    let refused = |entry: &&String| {
        std::fs::read_dir(entry.as_str()).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let user = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name);
    path.iter().filter(refused).map(|entry| format!("\nhint: user {user} may not read {entry}")).collect()
}

/// Returns the entries of `sys.path` that are not Python's own.
fn own_places(py: Python<'_>) -> PyResult<String> {
    let sys = py.import("sys")?;
    let prefixes: [String; 2] = [sys.getattr("prefix")?.extract()?, sys.getattr("base_prefix")?.extract()?];
    let path: Vec<String> = sys.getattr("path")?.extract()?;
    let own = |entry: &&String| !prefixes.iter().any(|prefix| entry.starts_with(&format!("{prefix}/lib")));
    Ok(path.iter().filter(own).map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// Returns a hint that no virtualenv is in use, which is the commonest reason for a missing package.
fn virtualenv_hint(py: Python<'_>) -> String {
    let hint = || -> PyResult<Option<String>> {
        let sys = py.import("sys")?;
        let outside = sys.getattr("prefix")?.eq(sys.getattr("base_prefix")?)?;
        let executable: String = sys.getattr("executable")?.extract()?;
        let beside = virtualenv_beside();
        let named = beside.map_or_else(
            || "--python DIR names one".to_owned(),
            |path| format!("--python {path} uses the one that is there"),
        );
        Ok(outside.then(|| format!("\nhint: no virtualenv is in use, Python is {executable}; {named}")))
    };
    hint().ok().flatten().unwrap_or_default()
}

/// Returns the path of a virtualenv in the working directory or the one above it.
fn virtualenv_beside() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let directories = [Some(here.as_path()), here.parent()].into_iter().flatten();
    let paths = directories.flat_map(|directory| [".venv", "venv", "env"].map(|name| directory.join(name)));
    let mut found = paths.filter(|path| path.join("pyvenv.cfg").is_file());
    found.next().map(|path| path.display().to_string())
}

fn run_file<'py>(py: Python<'py>, path: &Path) -> Result<Bound<'py, PyAny>, BootFailure> {
    let shown = path.display().to_string();
    let metadata = std::fs::metadata(path);
    if !metadata.as_ref().is_ok_and(std::fs::Metadata::is_file) {
        let found = metadata.map_or_else(|error| rwsgi::os::words(&error), |_| "something else".to_owned());
        let directory = std::env::current_dir().unwrap_or_default();
        return Err(BootFailure {
            cause: BootCause::NotFound,
            message: format!("{shown}: expected a file, found {found}\nhint: looked in {}", directory.display()),
            traceback: None,
        });
    }
    execute(py, path).map_err(|error| raised(py, &shown, &error))
}

/// Runs the file as `python path` does: its directory comes first in the path, and the module has the file's name.
fn execute<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyAny>> {
    let path = path.canonicalize()?;
    let sys = py.import("sys")?;
    if let Some(directory) = path.parent() {
        sys.getattr("path")?.cast_into::<PyList>()?.insert(0, directory.as_os_str())?;
    }
    let modules = sys.getattr("modules")?.cast_into::<PyDict>()?;
    let mut name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if modules.contains(&name)? {
        name = format!("_rwsgi_{name}");
    }
    let loader = py.import("importlib.machinery")?.call_method1("SourceFileLoader", (&name, path.as_os_str()))?;
    let util = py.import("importlib.util")?;
    let spec = util.call_method1("spec_from_loader", (&name, &loader))?;
    let module = util.call_method1("module_from_spec", (spec,))?;
    modules.set_item(&name, &module)?;
    if let Err(error) = loader.call_method1("exec_module", (&module,)) {
        modules.del_item(&name)?;
        return Err(error);
    }
    Ok(module)
}

/// Returns the failure of a callable that is not a WSGI application.
fn misfit(module: &Bound<'_, PyAny>, name: &AppName, problem: &Problem) -> BootFailure {
    let mut failure = lacks(module, name, "a callable that takes environ and start_response", &problem.to_string());
    let is_plain_name = name.callable.as_ref().is_some_and(|callable| callable.arguments.is_none());
    if matches!(problem, Problem::Signature(_)) && is_plain_name {
        failure.message += &format!("\nhint: if it makes the application: rwsgi '{name}()'");
    }
    failure
}

fn default_callable<'py>(module: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    ["application", "app"].into_iter().find_map(|name| module.getattr(name).ok())
}

fn take<'py>(
    py: Python<'py>,
    module: &Bound<'py, PyAny>,
    wanted: &AppCallable,
    name: &AppName,
) -> Result<Bound<'py, PyAny>, BootFailure> {
    let Ok(found) = module.getattr(wanted.name.as_str()) else {
        return Err(lacks(module, name, &wanted.name, "no such name"));
    };
    match &wanted.arguments {
        None => Ok(found),
        Some(_) if !found.is_callable() => {
            Err(lacks(module, name, &format!("a factory {}", wanted.name), "a value that cannot be called"))
        }
        Some(text) => call_factory(py, &found, text, name),
    }
}

/// Calls a factory with arguments that are written as literals.
fn call_factory<'py>(
    py: Python<'py>,
    factory: &Bound<'py, PyAny>,
    text: &str,
    name: &AppName,
) -> Result<Bound<'py, PyAny>, BootFailure> {
    let not_found = |message: String| BootFailure { cause: BootCause::NotFound, message, traceback: None };
    let (positional, named) = literals(py, text).map_err(|error| {
        not_found(format!(
            "{name}: expected literal arguments, found ({text}){}\nhint: literals are numbers, texts in quotes, True, \
             False, None, and lists, tuples and dicts of them",
            if error.is_instance_of::<PySyntaxError>(py) { ", which Python cannot read" } else { "" }
        ))
    })?;
    factory.call(positional, Some(&named)).map_err(|error| {
        // Without a frame the factory was never entered: its arguments do not fit.
        if error.is_instance_of::<PyTypeError>(py) && error.traceback(py).is_none() {
            let found = error.value(py);
            not_found(format!("{name}: expected arguments that the factory takes, found ({text}): {found}"))
        } else {
            raised(py, &name.to_string(), &error)
        }
    })
}

/// Returns the arguments of a factory, evaluated by `ast.literal_eval`, so that nothing in them can run.
fn literals<'py>(py: Python<'py>, text: &str) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
    let ast = py.import("ast")?;
    let call = ast.call_method1("parse", (format!("f({text})"), "<arguments>", "eval"))?.getattr("body")?;
    let evaluate = |node: Bound<'py, PyAny>| ast.call_method1("literal_eval", (node,));
    let mut positional = Vec::new();
    for node in call.getattr("args")?.try_iter()? {
        positional.push(evaluate(node?)?);
    }
    let named = PyDict::new(py);
    for keyword in call.getattr("keywords")?.try_iter()? {
        let keyword = keyword?;
        named.set_item(keyword.getattr("arg")?, evaluate(keyword.getattr("value")?)?)?;
    }
    Ok((PyTuple::new(py, positional)?, named))
}

fn lacks(module: &Bound<'_, PyAny>, name: &AppName, expected: &str, found: &str) -> BootFailure {
    let hint = suggestions::for_callable(module, name);
    BootFailure {
        cause: BootCause::NotFound,
        message: format!("{name}: expected {expected}, found {found}\nhint: {hint}"),
        traceback: None,
    }
}

fn raised(py: Python<'_>, name: &str, error: &PyErr) -> BootFailure {
    let message = if error.is_instance_of::<PySystemExit>(py) {
        format!("{name}: expected an application, found a call of sys.exit while it was loaded")
    } else {
        format!("{name}: the application raised {} while it was loaded", exceptions::kind(py, error))
    };
    let hint = if error.is_instance_of::<PyModuleNotFoundError>(py) { virtualenv_hint(py) } else { String::new() };
    let message = message + &hint;
    BootFailure { cause: BootCause::Raised, message, traceback: Some(exceptions::traceback(py, error)) }
}
