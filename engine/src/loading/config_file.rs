//! The configuration file in Python: runs it as module `__config__`, as gunicorn does, and returns the names that it defined.
//! Knows no setting.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::unistd::geteuid;

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyModule, PySet, PyString, PyTuple};

use rwsgi::message::{BootCause, BootFailure, Configure};
use rwsgi::settings::python_file::{DefinedName, Plain, is_known, is_mistaken, is_mistaken_hook, is_object};
use rwsgi::settings::{Defined, Script};

use crate::exceptions;
use crate::loading::guard::{self, Guard};
use crate::python;
use crate::python_modules;

/// A configuration file that was run.
pub(crate) struct ConfigFile {
    /// All its names, with values of Python.
    pub(crate) names: Py<PyDict>,
    /// The settings and hooks among them, as plain values.
    pub(crate) defined: Defined,
}

/// Runs the file, in the directory in which the server was started.
pub(crate) fn evaluate(
    py: Python<'_>,
    configure: &Configure,
    file: Option<OwnedFd>,
) -> Result<(ConfigFile, Option<Guard>), BootFailure> {
    let shown = match &configure.script {
        Script::File(path) => path.clone(),
        Script::Module(name) => format!("python:{name}"),
    };
    let guard = guarded(py, configure)?;
    let run = || -> PyResult<(Bound<'_, PyDict>, Source)> {
        python::prepare_sys(py, &configure.arguments, &[] as &[&Path])?;
        python_modules::offer_gunicorn(py)?;
        match &configure.script {
            Script::File(path) => run_file(py, path, file),
            Script::Module(name) => import(py, name),
        }
    };
    let (names, source) = run().map_err(|error| raised(py, &shown, &error))?;
    let path = match configure.script {
        Script::File(_) => shown,
        // The path of a module says more than its name.
        Script::Module(_) => source.path.clone().unwrap_or(shown),
    };
    let defined = look(&names, &source, path).map_err(|error| BootFailure::setup(&error))?;
    Ok((ConfigFile { names: names.unbind(), defined }, guard))
}

/// Guards against code that the application's user could change, if this process has the rights of root.
fn guarded(py: Python<'_>, configure: &Configure) -> Result<Option<Guard>, BootFailure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let install = |identity| Guard::install(py, identity).map_err(|error| BootFailure::setup(&error));
    let guard = configure.untrusted.as_ref().map(install).transpose()?;
    guard::import_own(py).map_err(|error| BootFailure::setup(&error))?;
    if let (Some(identity), Script::File(path)) = (&configure.untrusted, &configure.script) {
        identity.distrust(Path::new(path)).map_err(|untrusted| guard::refused(&untrusted))?;
    }
    Ok(guard)
}

/// The text of the file, as far as it was understood.
#[derive(Default)]
struct Source {
    path: Option<String>,
    /// The last line that sets each name.
    lines: HashMap<String, usize>,
    /// Names that are read.
    read: HashSet<String>,
}

fn run_file<'py>(py: Python<'py>, path: &str, file: Option<OwnedFd>) -> PyResult<(Bound<'py, PyDict>, Source)> {
    let whole = std::env::current_dir()?.join(path);
    let mut text = Vec::new();
    file.map_or_else(|| File::open(&whole), |file| Ok(file.into()))?.read_to_end(&mut text)?;
    let text = PyBytes::new(py, &text);
    let whole = whole.to_string_lossy().into_owned();
    // Compiled here, because a loader would not see a second change of the file within a second.
    let builtins = py.import("builtins")?;
    let code = builtins.call_method1("compile", (&text, &whole, "exec"))?;
    let module = PyModule::new(py, "__config__")?;
    module.setattr("__file__", &whole)?;
    py.import("sys")?.getattr("modules")?.set_item("__config__", &module)?;
    let names = module.dict();
    builtins.call_method1("exec", (code, &names))?;
    Ok((names, read_source(py, text.as_any(), None)))
}

fn import<'py>(py: Python<'py>, name: &str) -> PyResult<(Bound<'py, PyDict>, Source)> {
    let module = py.import("importlib")?.call_method1("import_module", (name,))?;
    let names = module.getattr("__dict__")?.cast_into::<PyDict>()?;
    let path: Option<String> = module.getattr("__file__").and_then(|path| path.extract()).ok();
    let text = path.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    let source = read_source(py, PyBytes::new(py, &text).as_any(), path);
    Ok((names, source))
}

/// Finds the lines of names. Only messages depend on them.
fn read_source(py: Python<'_>, text: &Bound<'_, PyAny>, path: Option<String>) -> Source {
    let mut source = Source { path, ..Source::default() };
    let look = |source: &mut Source| -> PyResult<()> {
        let ast = py.import("ast")?;
        let (name_node, load) = (ast.getattr("Name")?, ast.getattr("Load")?);
        let function_node = ast.getattr("FunctionDef")?;
        for node in ast.call_method1("walk", (ast.call_method1("parse", (text,))?,))?.try_iter()? {
            let node = node?;
            if node.is_instance(&function_node)? {
                source.lines.insert(node.getattr("name")?.extract()?, node.getattr("lineno")?.extract()?);
            } else if node.is_instance(&name_node)? {
                let name: String = node.getattr("id")?.extract()?;
                if node.getattr("ctx")?.is_instance(&load)? {
                    source.read.insert(name);
                } else {
                    let line = source.lines.entry(name).or_default();
                    *line = (*line).max(node.getattr("lineno")?.extract()?);
                }
            }
        }
        Ok(())
    };
    if let Err(error) = look(&mut source) {
        tracing::debug!(%error, "the lines of the configuration file are not known");
    }
    source
}

fn look(names: &Bound<'_, PyDict>, source: &Source, path: String) -> PyResult<Defined> {
    let mut defined = Defined { path, ..Defined::default() };
    for (name, value) in names {
        let Ok(name) = name.extract::<String>() else { continue };
        let line = source.lines.get(&name).copied().unwrap_or(0);
        if is_known(&name) {
            // An empty table is sent in place of an object, which stays here.
            let value = if is_object(&name) && value.is_instance_of::<PyDict>() {
                Plain::Table(Vec::new())
            } else {
                plain(&value, DEEPEST)?
            };
            defined.names.push(DefinedName { value, name, line });
        } else if line > 0 && !source.read.contains(&name) {
            let is_mistake = is_plain(&value) && is_mistaken(&name) || value.is_callable() && is_mistaken_hook(&name);
            if is_mistake {
                defined.unused.push((name, line));
            }
        }
    }
    Ok(defined)
}

fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>()
}

/// Returns the value as plain data, lists and tables down to `depth`.
fn plain(value: &Bound<'_, PyAny>, depth: u32) -> PyResult<Plain> {
    if value.is_none() {
        return Ok(Plain::Nothing);
    }
    if depth == 0 {
        return Ok(Plain::Other(exceptions::type_name(value)));
    }
    if let Some(scalar) = scalar(value)? {
        return Ok(scalar);
    }
    if let Ok(path) = value.call_method0("__fspath__") {
        return plain(&path, depth - 1);
    }
    if let Ok(table) = value.cast::<PyDict>() {
        let entry = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok((key.str()?.to_string(), plain(&value, depth - 1)?))
        };
        return table.iter().map(entry).collect::<PyResult<_>>().map(Plain::Table);
    }
    let is_list = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
    if is_list || value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        let elements = value.try_iter()?.map(|element| plain(&element?, depth - 1));
        return elements.collect::<PyResult<_>>().map(Plain::List);
    }
    if value.is_callable() {
        return Ok(Plain::Callable(qualified(value)));
    }
    Ok(Plain::Other(exceptions::type_name(value)))
}

/// Returns a truth value, a number or a text as plain data.
fn scalar(value: &Bound<'_, PyAny>) -> PyResult<Option<Plain>> {
    let plain = if value.is_instance_of::<PyBool>() {
        Plain::Bool(value.is_truthy()?)
    } else if value.is_instance_of::<PyInt>() {
        let text = value.call_method0("__int__")?.str()?.to_string();
        text.parse().map_or(Plain::Number(text), Plain::Whole)
    } else if value.is_instance_of::<PyFloat>() {
        Plain::Number(value.repr()?.to_string())
    } else if value.is_instance_of::<PyString>() {
        Plain::Text(value.extract()?)
    } else if value.is_instance_of::<PyBytes>() {
        Plain::Text(String::from_utf8_lossy(value.extract()?).into_owned())
    } else {
        return Ok(None);
    };
    Ok(Some(plain))
}

/// Returns the dotted name of a function or a class.
pub(crate) fn qualified(value: &Bound<'_, PyAny>) -> String {
    let text = |name: &str| value.getattr(name).and_then(|text| text.extract::<String>()).unwrap_or_default();
    format!("{}.{}", text("__module__"), text("__qualname__"))
}

fn raised(py: Python<'_>, name: &str, error: &PyErr) -> BootFailure {
    let message = if error.is_instance_of::<PySystemExit>(py) {
        format!("{name}: expected settings, found a call of sys.exit")
    } else {
        format!("{name}: the configuration file raised {}", exceptions::kind(py, error))
    };
    BootFailure { cause: BootCause::Setup, message, traceback: Some(exceptions::traceback(py, error)) }
}

/// The depth to which lists and tables are followed. A list that holds itself would have no end.
const DEEPEST: u32 = 6;
