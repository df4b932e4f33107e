//! Native strings of PEP 3333: a `str` in which each character stands for one byte, as latin-1 maps them. The one place
//! that converts between them and bytes. Knows no request.

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::exceptions;

/// Returns `bytes` as a native string.
pub(crate) fn from_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len()).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: the pointer is readable for `length` bytes; the result is a new reference to a str, or null with an
    // exception set.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

/// Returns the bytes of a native string. Errors call it `what`.
pub(crate) fn to_bytes<'a>(text: &'a Bound<'_, PyAny>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let mut length = 0;
    // SAFETY: a live object; the result is null, or points to the text's UTF-8, which lives as long as the text.
    let (utf8, is_ascii) = unsafe {
        let start = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut length);
        if start.is_null() {
            return Err(without_utf8(text, what));
        }
        // As many bytes as code points.
        let is_ascii = ffi::PyUnicode_GetLength(text.as_ptr()) == length;
        (std::slice::from_raw_parts(start.cast::<u8>(), length.unsigned_abs()), is_ascii)
    };
    if is_ascii { Ok(Cow::Borrowed(utf8)) } else { beyond_ascii(utf8, what).map(Cow::Owned) }
}

/// Returns the bytes of a text of the environ: those of a native string, or UTF-8 if a character is beyond U+00FF.
pub(crate) fn to_bytes_or_utf8(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.as_bytes().into();
    }
    latin1(text).map_or_else(|_| text.as_bytes().into(), Cow::from)
}

#[cold]
fn beyond_ascii(utf8: &[u8], what: &str) -> PyResult<Vec<u8>> {
    latin1(&String::from_utf8_lossy(utf8)).map_err(|found| {
        PyValueError::new_err(format!("{what}: expected characters up to U+00FF, found {}", found.escape_unicode()))
    })
}

/// Encodes a text, or returns its first character beyond U+00FF.
fn latin1(text: &str) -> Result<Vec<u8>, char> {
    text.chars().map(|point| u8::try_from(point).map_err(|_| point)).collect()
}

/// Returns the error of a value that is not a `str`, or of a `str` with half of a surrogate pair.
#[cold]
fn without_utf8(text: &Bound<'_, PyAny>, what: &str) -> PyErr {
    let error = PyErr::fetch(text.py());
    if text.is_instance_of::<PyString>() { error } else { exceptions::wrong_type(what, "a str", text) }
}
