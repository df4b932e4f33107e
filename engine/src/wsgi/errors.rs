//! `wsgi.errors`: lines that an application writes go to the error log, through the same bounded queue as rwsgi's own. A write
//! never waits for the log, and never raises because of it.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyString;

use rwsgi::log;

/// A text stream that can be written to.
#[pyclass(frozen, name = "ErrorStream", module = "rwsgi")]
#[derive(Default)]
pub(crate) struct ErrorStream {
    /// The beginning of a line. `traceback.print_exc` writes lines in pieces.
    line: Mutex<String>,
}

#[pymethods]
#[allow(clippy::unused_self, reason = "Python's methods have a self")]
impl ErrorStream {
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        // Names of files may hold halves of surrogate pairs, which have no UTF-8.
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

    /// Logs the beginning of a line as if it were whole.
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

/// Most bytes of a line that is kept until it ends.
const LONGEST: usize = 16 * 1024;
