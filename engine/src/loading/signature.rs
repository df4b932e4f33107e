//! The signature of a WSGI application: whether it can be called with an environ and a `start_response`, and is no ASGI
//! application. Checked at the start, so that not every request fails.

use std::fmt;

use pyo3::prelude::*;

/// The reason why a callable is not a WSGI application.
pub(crate) enum Problem {
    /// It is a coroutine function.
    Coroutine,
    /// It takes other arguments.
    Signature(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Coroutine => f.write_str("a coroutine function, which is an ASGI application"),
            Problem::Signature(signature) => write!(f, "one that takes {signature}"),
        }
    }
}

/// Returns the problem of a callable. If Python cannot tell, the first request will.
pub(crate) fn problem(py: Python<'_>, found: &Bound<'_, PyAny>) -> Option<Problem> {
    if fits_plainly(found).unwrap_or(false) { None } else { inspect(py, found).unwrap_or(None) }
}

fn inspect(py: Python<'_>, found: &Bound<'_, PyAny>) -> PyResult<Option<Problem>> {
    let inspect = py.import("inspect")?;
    let call = found.get_type().getattr("__call__")?;
    for function in [found, &call] {
        if inspect.call_method1("iscoroutinefunction", (function,))?.is_truthy()? {
            return Ok(Some(Problem::Coroutine));
        }
    }
    let Ok(signature) = inspect.call_method1("signature", (found,)) else { return Ok(None) };
    let fits = signature.call_method1("bind", (py.None(), py.None())).is_ok();
    Ok((!fits).then(|| Problem::Signature(signature.to_string())))
}

/// True for a plain function, or an object whose class has one as `__call__`, that takes two arguments. Python's own check is in
/// `inspect`, which takes as long to import as everything else that an engine needs.
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

/// The flag of `*args` in `co_flags` of a code object (Python's documentation of the module inspect).
const CO_VARARGS: usize = 0x04;
/// The flag of a coroutine function there.
const CO_COROUTINE: usize = 0x80;
