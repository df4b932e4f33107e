//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a regular file is sent by the kernel, any other
//! object is read in blocks.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use pyo3::intern;
use pyo3::prelude::*;

use rwsgi::os::read_file::keeps_length;

/// The wrapper around a file, as an iterable of its blocks.
#[pyclass(module = "rwsgi", name = "FileWrapper", frozen)]
pub(crate) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = BLOCK))]
    fn new(filelike: Py<PyAny>, blksize: usize) -> FileWrapper {
        FileWrapper { filelike, blksize }
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.blksize,))?;
        Ok(block.is_truthy()?.then_some(block))
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }

    // Frameworks that answer a range use these three.

    fn seekable(&self, py: Python<'_>) -> PyResult<bool> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "seekable"))? {
            Some(seekable) => seekable.call0()?.is_truthy(),
            None => self.filelike.bind(py).hasattr(intern!(py, "seek")),
        }
    }

    #[pyo3(signature = (*arguments))]
    fn seek<'py>(&self, py: Python<'py>, arguments: &Bound<'py, pyo3::types::PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.filelike.bind(py).call_method1(intern!(py, "seek"), arguments.clone())
    }

    fn tell<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.filelike.bind(py).call_method0(intern!(py, "tell"))
    }
}

/// The part of a file that the application has not read.
pub(crate) struct Rest {
    pub(crate) file: File,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl FileWrapper {
    /// Returns the file that the kernel can send: the wrapper holds a plain binary file object over a regular file. A
    /// `GzipFile` has a descriptor, too, but not to the bytes that it reads.
    pub(crate) fn rest(&self, py: Python<'_>) -> Option<Rest> {
        let file = plain_file(self.filelike.bind(py))?;
        // `tell` knows of bytes that are in the object's buffer, the descriptor's own position does not.
        let offset: u64 = file.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
        let descriptor: i32 = file.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
        // SAFETY: the file object holds the descriptor open while it is duplicated, and this thread is attached.
        let file = File::from(unsafe { BorrowedFd::borrow_raw(descriptor) }.as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        // What reports a length of 0 may have content all the same: it is read, like all that keeps no length.
        let length = metadata.len().checked_sub(offset).filter(|length| *length > 0 && keeps_length(&file))?;
        Some(Rest { file, offset, length })
    }
}

/// Returns the file object of the module `io`, which `tempfile` keeps in an attribute.
fn plain_file<'py>(filelike: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = filelike.py();
    let io = py.import(intern!(py, "io")).ok()?;
    let is = |object: &Bound<'py, PyAny>, kind: &str| io.getattr(kind).is_ok_and(|kind| object.get_type().is(&kind));
    let of_module = |object: &Bound<'py, PyAny>| {
        let over_file = || object.getattr(intern!(py, "raw")).is_ok_and(|raw| is(&raw, "FileIO"));
        is(object, "FileIO") || ((is(object, "BufferedReader") || is(object, "BufferedRandom")) && over_file())
    };
    if of_module(filelike) {
        return Some(filelike.clone());
    }
    let module = filelike.get_type().module().ok()?;
    let inner = filelike.getattr(intern!(py, "file")).ok()?;
    (module == "tempfile" && of_module(&inner)).then_some(inner)
}

/// Bytes that are read at a time. gunicorn 8 KiB, werkzeug 8 KiB; each read costs a call.
const BLOCK: usize = 32 * 1024;
