//! The keys and values of an environ that come from the fields of a request. The variable of a name is kept, and so is the last
//! value of fields that repeat in nearly every request. Knows no trust.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyString;

use rwsgi::http::cgi;

use crate::native_string;

/// A table of the names of fields and their variables. It is bounded, whatever names clients send.
pub(crate) struct Variables<'py> {
    /// The names, in the order in which they came. The first is no field: it precedes the first field of a request.
    kept: Vec<Kept<'py>>,
    by_name: HashMap<Vec<u8>, usize>,
    /// The last request that had a field of each variable, by [`Kept::variable`].
    seen: Vec<u64>,
    /// The number of the request.
    request: u64,
    /// The place in `kept` of the field before the next one.
    last: usize,
    /// A buffer for a name, reused.
    scratch: Vec<u8>,
}

/// A name of a field.
struct Kept<'py> {
    name: Vec<u8>,
    key: Bound<'py, PyString>,
    has_underscore: bool,
    /// The number of the variable. Spellings of one name have the same one.
    variable: usize,
    /// The place of the field that followed this one last time. Clients send the same fields in the same order.
    follower: usize,
    /// The last value, if the field repeats.
    value: Option<(Vec<u8>, Bound<'py, PyString>)>,
    /// True if the field is one of [`REPEATING`].
    repeats: bool,
}

/// The variable of a field.
pub(crate) struct Variable<'py> {
    pub(crate) key: Bound<'py, PyString>,
    /// True if the name has an underscore. `X_Forwarded_For` has the same variable as `X-Forwarded-For`, which only trusted
    /// proxies may set.
    pub(crate) has_underscore: bool,
    /// The place in `kept`, or `None` for a name that is not kept.
    place: Option<usize>,
}

impl<'py> Variables<'py> {
    pub(crate) fn new(py: Python<'py>) -> Variables<'py> {
        let mut variables = Variables {
            kept: Vec::new(),
            by_name: HashMap::new(),
            seen: Vec::new(),
            request: 0,
            last: 0,
            scratch: Vec::new(),
        };
        variables.keep(py, b"");
        variables
    }

    /// Begins a request.
    pub(crate) fn begin(&mut self) {
        self.request += 1;
        self.last = 0;
    }

    /// Returns the variable of the request's next field.
    pub(crate) fn next(&mut self, py: Python<'py>, name: &[u8]) -> Variable<'py> {
        let guess = self.kept[self.last].follower;
        let place = if self.kept[guess].name == name { guess } else { self.look_up(py, name) };
        if place == 0 {
            return self.passing(py, name);
        }
        self.last = place;
        let Kept { key, has_underscore, .. } = &self.kept[place];
        Variable { key: key.clone(), has_underscore: *has_underscore, place: Some(place) }
    }

    /// Notes that the request has a field of this variable. True if it had one before. When the table is full, the variable
    /// may also have come by a name that is not kept.
    pub(crate) fn is_repeated(&mut self, variable: &Variable<'py>) -> bool {
        let Some(place) = variable.place else { return false };
        std::mem::replace(&mut self.seen[self.kept[place].variable], self.request) == self.request
    }

    /// True if no further name is kept.
    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() > KEPT
    }

    /// Returns the value of a field as a native string.
    pub(crate) fn value(
        &mut self,
        py: Python<'py>,
        variable: &Variable<'py>,
        value: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        let Some(kept) = variable.place.map(|place| &mut self.kept[place]).filter(|kept| kept.repeats) else {
            return native_string::from_bytes(py, value);
        };
        match &mut kept.value {
            Some((bytes, text)) if bytes == value => Ok(text.clone()),
            other => {
                let text = native_string::from_bytes(py, value)?;
                if value.len() <= LONGEST {
                    let mut bytes = other.take().map_or_else(Vec::new, |(bytes, _)| bytes);
                    bytes.clear();
                    bytes.extend_from_slice(value);
                    *other = Some((bytes, text.clone()));
                }
                Ok(text)
            }
        }
    }

    /// Returns the place of a name that was not expected here, or 0 if it is not kept.
    fn look_up(&mut self, py: Python<'py>, name: &[u8]) -> usize {
        let place = match self.by_name.get(name) {
            Some(place) => *place,
            None if self.is_full() => return 0,
            None => self.keep(py, name),
        };
        self.kept[self.last].follower = place;
        place
    }

    /// Adds a name to the table and returns its place.
    #[cold]
    fn keep(&mut self, py: Python<'py>, name: &[u8]) -> usize {
        cgi::variable_name(name, &mut self.scratch);
        // A field's name is a token, which is ASCII. Interned: one object for every spelling.
        let key = PyString::intern(py, std::str::from_utf8(&self.scratch).unwrap_or_default());
        let same = self.kept.iter().find(|kept| kept.key.is(&key)).map(|kept| kept.variable);
        let variable = same.unwrap_or_else(|| {
            self.seen.push(0);
            self.seen.len() - 1
        });
        let (has_underscore, repeats) = (cgi::has_underscore(name), repeats(name));
        let name = name.to_vec();
        self.by_name.insert(name.clone(), self.kept.len());
        self.kept.push(Kept { name, key, has_underscore, variable, follower: 0, value: None, repeats });
        self.kept.len() - 1
    }

    /// Returns the variable of a name that is not kept. It is not interned, because Python 3.12 never frees interned texts.
    #[cold]
    fn passing(&mut self, py: Python<'py>, name: &[u8]) -> Variable<'py> {
        cgi::variable_name(name, &mut self.scratch);
        let key = PyString::new(py, std::str::from_utf8(&self.scratch).unwrap_or_default());
        Variable { key, has_underscore: cgi::has_underscore(name), place: None }
    }
}

/// True if a field of this name is nearly the same in every request, and no secret. Comparing takes a time that depends on both
/// values, so that Cookie, Authorization and unknown fields are never compared.
fn repeats(name: &[u8]) -> bool {
    REPEATING.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

const REPEATING: [&str; 30] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-type",
    "dnt",
    "host",
    "pragma",
    "priority",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-gpc",
    "te",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-requested-with",
    "x-scheme",
];
/// Most names that are kept.
const KEPT: usize = 512;
/// The longest value that is kept, in bytes. User-Agent is 100 to 250, Accept up to 200.
const LONGEST: usize = 512;
