//! `wsgi.errors`: what an application writes goes to the error log, by the same bounded queue as rwsgi's own lines. It
//! never raises for what the log does, and never waits for it.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyString;

use rwsgi::log;

/// A text stream that can be written to.
#[pyclass(frozen, name = "ErrorStream", module = "rwsgi")]
#[derive(Default)]
pub(crate) struct ErrorStream {
    /// The beginning of a line. `traceback.print_exc` writes one in pieces.
    line: Mutex<String>,
}

#[pymethods]
#[allow(clippy::unused_self, reason = "Python's methods have a self")]
impl ErrorStream {
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        // Halves of surrogate pairs, as names of files hold them, have no UTF-8.
        let bytes: Vec<u8> = text.call_method1("encode", ("utf-8", "backslashreplace"))?.extract()?;
        let Ok(mut line) = self.line.lock() else { return Ok(0) };
        line.push_str(&String::from_utf8_lossy(&bytes));
        let whole = line.rfind('\n').map(|end| line.drain(..=end).collect::<String>());
        if let Some(whole) = whole {
            log::application(&whole);
        } else if line.len() > LONGEST {
            log::application(&std::mem::take(&mut *line));
        }
        text.len()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    /// Sends the beginning of a line on its way, as if it were whole.
    fn flush(&self) {
        if let Ok(mut line) = self.line.lock() {
            if !line.is_empty() {
                log::application(&std::mem::take(&mut *line));
            }
        }
    }

    fn isatty(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }
}

/// A line of this many bytes is not waited for to end.
const LONGEST: usize = 16 * 1024;
