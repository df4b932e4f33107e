//! Values of the environ that the access log takes after the application has run. A value that is the same as in the request is
//! compared and not copied.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use rwsgi::http::access_keys;
use rwsgi::worker::Exchange;

use crate::native_string;

/// A key of the environ.
pub(crate) struct LoggedKey<'py> {
    name: String,
    /// As the format spells it, in capitals, and in small letters, because gunicorn takes any spelling.
    spellings: [Bound<'py, PyString>; 3],
    /// True if the request has the value that the application was handed.
    is_part: bool,
}

impl<'py> LoggedKey<'py> {
    pub(crate) fn new(py: Python<'py>, key: &str) -> LoggedKey<'py> {
        let spellings =
            [key, &key.to_ascii_uppercase(), &key.to_ascii_lowercase()].map(|key| PyString::intern(py, key));
        LoggedKey { name: key.to_owned(), spellings, is_part: access_keys::is_part(key) }
    }

    /// Notes the value of this key, the one at `place`, for the access log.
    pub(crate) fn note(&self, place: usize, environ: &Bound<'py, PyDict>, exchange: &mut Exchange<'_>) {
        if !self.is_part {
            let found = self.spellings.iter().find_map(|key| environ.get_item(key).ok().flatten());
            if let Some(text) = found.and_then(|value| value.str().ok()) {
                exchange.environ().set(place, &native_string::to_bytes_or_utf8(&text.to_string_lossy()));
            }
            return;
        }
        let Some(value) = environ.get_item(&self.spellings[0]).ok().flatten() else {
            return exchange.environ().remove(place);
        };
        let came = access_keys::part(&exchange.request(), &self.name);
        if came.is_some() && native_string::to_bytes(&value, "environ").ok().as_deref() == came {
            return;
        }
        if let Ok(text) = value.str() {
            exchange.environ().set(place, &native_string::to_bytes_or_utf8(&text.to_string_lossy()));
        }
    }
}
