//! Loads the application by its name, and says what is there when the name is wrong.

use std::path::Path;

use pyo3::exceptions::{PyModuleNotFoundError, PySyntaxError, PySystemExit, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PyTuple};

use rwsgi::message::{BootCause, BootFailure};
use rwsgi::settings::types::{AppCallable, AppName, AppSource};

use crate::python;

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
        return is_wsgi(py, &module, name, &found).map(|()| found);
    }
    let kind = found.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
    Err(lacks(&module, name, "a callable", &format!("a value of type {kind}")))
}

fn import<'py>(py: Python<'py>, name: &str) -> Result<Bound<'py, PyAny>, BootFailure> {
    py.import(intern!(py, "importlib"))
        .and_then(|importlib| importlib.call_method1(intern!(py, "import_module"), (name,)))
        .map_err(|error| match missing_part(py, &error, name) {
            Some(part) => no_module(py, name, &part),
            None => raised(py, name, &error),
        })
}

/// The part of the dotted name that does not exist, if that is what the error says. A module that exists and fails to
/// import another one is not a wrong name.
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
        _ => "chdir or pythonpath say where to look".to_owned(),
    };
    let mut message = format!("{name}: expected a module, found no module named {part}\nhint: {hint}");
    if let Ok(places) = own_places(py) {
        message += &format!("\nhint: looked in {places}, and in Python's own directories");
    }
    message += &unreadable_hint(py);
    message += &virtualenv_hint(py);
    BootFailure { cause: BootCause::NotFound, message, traceback: None }
}

/// Python passes over directories that it may not read, as if they were empty.
fn unreadable_hint(py: Python<'_>) -> String {
    let path: Vec<String> = py.import("sys").and_then(|sys| sys.getattr("path")?.extract()).unwrap_or_default();
    let refused = |entry: &&String| {
        std::fs::read_dir(entry.as_str()).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let user = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name);
    path.iter().filter(refused).map(|entry| format!("\nhint: user {user} may not read {entry}")).collect()
}

/// The entries of `sys.path` that are not Python's own.
fn own_places(py: Python<'_>) -> PyResult<String> {
    let sys = py.import("sys")?;
    let prefixes: [String; 2] = [sys.getattr("prefix")?.extract()?, sys.getattr("base_prefix")?.extract()?];
    let path: Vec<String> = sys.getattr("path")?.extract()?;
    let own = |entry: &&String| !prefixes.iter().any(|prefix| entry.starts_with(&format!("{prefix}/lib")));
    Ok(path.iter().filter(own).map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// The commonest reason why a package is not there.
fn virtualenv_hint(py: Python<'_>) -> String {
    let hint = || -> PyResult<Option<String>> {
        let sys = py.import("sys")?;
        let outside = sys.getattr("prefix")?.eq(sys.getattr("base_prefix")?)?;
        let executable: String = sys.getattr("executable")?.extract()?;
        Ok(outside.then(|| format!("\nhint: no virtualenv is in use, Python is {executable}; --python DIR names one")))
    };
    hint().ok().flatten().unwrap_or_default()
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

/// As `python path` does: the file's directory can be imported from, and the module is known by the file's name.
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

/// Better now than with every request: can it be called with an environ and a `start_response`, and does it answer at once?
fn is_wsgi<'py>(
    py: Python<'py>,
    module: &Bound<'py, PyAny>,
    name: &AppName,
    found: &Bound<'py, PyAny>,
) -> Result<(), BootFailure> {
    if fits_plainly(found).unwrap_or(false) {
        return Ok(());
    }
    let look = || -> PyResult<Option<String>> {
        let inspect = py.import("inspect")?;
        let call = found.get_type().getattr("__call__")?;
        for function in [found, &call] {
            if inspect.call_method1("iscoroutinefunction", (function,))?.is_truthy()? {
                return Ok(Some("a coroutine function, which is an ASGI application".to_owned()));
            }
        }
        let Ok(signature) = inspect.call_method1("signature", (found,)) else { return Ok(None) };
        let fits = signature.call_method1("bind", (py.None(), py.None())).is_ok();
        Ok((!fits).then(|| format!("one that takes {signature}")))
    };
    // Where Python cannot tell, the first request will.
    let Ok(Some(wrong)) = look() else { return Ok(()) };
    let mut failure = lacks(module, name, "a callable that takes environ and start_response", &wrong);
    if !wrong.contains("ASGI") && name.callable.as_ref().is_some_and(|callable| callable.arguments.is_none()) {
        failure.message += &format!("\nhint: if it is a factory, {name}() calls it");
    }
    Err(failure)
}

/// Is it a function, or an object whose class has one as `__call__`, that takes two arguments and has nothing special about
/// it? Python's own answer is in `inspect`, which takes as long to import as everything else that an engine needs.
fn fits_plainly(found: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (function, own) =
        if is_function(found) { (found.clone(), 0) } else { (found.get_type().getattr("__call__")?.into_any(), 1) };
    if !is_function(&function) {
        return Ok(false);
    }
    for mark in ["__wrapped__", "__signature__", "_is_coroutine_mark"] {
        if found.hasattr(mark)? || function.hasattr(mark)? {
            return Ok(false);
        }
    }
    let code = function.getattr("__code__")?;
    let number = |name: &str| code.getattr(name)?.extract::<usize>();
    let given = |name: &str| function.getattr(name).map(|given| given.len().unwrap_or(0));
    let (flags, positional, wanted) = (number("co_flags")?, number("co_argcount")?, 2 + own);
    let required = positional.saturating_sub(given("__defaults__")?);
    Ok(flags & CO_COROUTINE == 0
        && number("co_kwonlyargcount")? == given("__kwdefaults__")?
        && required <= wanted
        && (positional >= wanted || flags & CO_VARARGS != 0))
}

fn is_function(object: &Bound<'_, PyAny>) -> bool {
    let kind = object.get_type();
    kind.name().is_ok_and(|name| name == "function") && kind.module().is_ok_and(|module| module == "builtins")
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
    let Some(text) = &wanted.arguments else {
        return Ok(found);
    };
    if !found.is_callable() {
        return Err(lacks(module, name, &format!("a factory {}", wanted.name), "a value that cannot be called"));
    }
    let (positional, named) = literals(py, text).map_err(|error| BootFailure {
        cause: BootCause::NotFound,
        message: format!(
            "{name}: expected literal arguments, found ({text}){}\nhint: literals are numbers, texts in quotes, True, \
             False, None, and lists, tuples and dicts of them",
            if error.is_instance_of::<PySyntaxError>(py) { ", which Python cannot read" } else { "" }
        ),
        traceback: None,
    })?;
    found.call(positional, Some(&named)).map_err(|error| {
        // Not a frame: the factory was never entered, its arguments do not fit.
        if error.is_instance_of::<PyTypeError>(py) && error.traceback(py).is_none() {
            BootFailure {
                cause: BootCause::NotFound,
                message: format!(
                    "{name}: expected arguments that the factory takes, found ({text}): {}",
                    error.value(py)
                ),
                traceback: None,
            }
        } else {
            raised(py, &name.to_string(), &error)
        }
    })
}

/// The arguments of a factory, evaluated by `ast.literal_eval`: nothing in them can run.
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
    let offered = offers(module);
    let hint = if offered.is_empty() {
        "the module has no callables of its own".to_owned()
    } else {
        format!("the module offers {}", offered.join(", "))
    };
    BootFailure {
        cause: BootCause::NotFound,
        message: format!("{name}: expected {expected}, found {found}\nhint: {hint}"),
        traceback: None,
    }
}

/// Is it a class, a function or a builtin, which belongs where it was defined?
fn is_definition(value: &Bound<'_, PyAny>) -> bool {
    value.hasattr("__qualname__").unwrap_or(false)
}

/// Public callables that the module defines itself, a dozen at most.
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
        // Objects have no home of their own; a framework's application is one.
        if home.is_ok_and(|home| home == own_name) || !is_definition(&value) {
            own.push(key);
        }
    }
    own.truncate(12);
    own
}

fn raised(py: Python<'_>, name: &str, error: &PyErr) -> BootFailure {
    let message = if error.is_instance_of::<PySystemExit>(py) {
        format!("{name}: expected an application, found a call of sys.exit while it was loaded")
    } else {
        let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        format!("{name}: the application raised {kind} while it was loaded")
    };
    let hint = if error.is_instance_of::<PyModuleNotFoundError>(py) { virtualenv_hint(py) } else { String::new() };
    let message = message + &hint;
    BootFailure { cause: BootCause::Raised, message, traceback: Some(python::traceback(py, error)) }
}

/// Of a code object's `co_flags` (Python's documentation of the module inspect).
const CO_VARARGS: usize = 0x04;
const CO_COROUTINE: usize = 0x80;
