//! The `environ` of a request: a copy of a ready template that holds every constant key already, filled with what the
//! request says.

use std::net::SocketAddr;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use rwsgi::http::forwarded::{self, FieldPolicy, Scheme, Trust};
use rwsgi::http::{Proxied, Version, cgi};
use rwsgi::os::listener::{Address, Listener, Peer};
use rwsgi::worker::Exchange;

use crate::client_socket::ClientSocket;
use crate::input::Inputs;
use crate::variables::Variables;

/// Makes environs.
pub(crate) struct Environs<'py> {
    /// A template a listener.
    templates: Vec<Template<'py>>,
    variables: Variables<'py>,
    inputs: Inputs<'py>,
    methods: Vec<(&'static [u8], Bound<'py, PyString>)>,
    http10: Bound<'py, PyString>,
    /// The prefix under which the application is mounted, from the process's environment; usually empty.
    script_name: String,
    trust: Trust,
    /// Texts of the peers that asked last, by port.
    peers: Vec<Option<KeptPeer<'py>>>,
    last_peer: usize,
    /// Names of dropped fields that were said.
    said: Vec<Vec<u8>>,
    /// Room for a path, reused.
    scratch: Vec<u8>,
}

struct KeptPeer<'py> {
    address: SocketAddr,
    ip: Bound<'py, PyString>,
    port: Bound<'py, PyString>,
}

struct Template<'py> {
    environ: Bound<'py, PyDict>,
    /// On a unix socket the Host field says what the server is called.
    named_by_host: bool,
}

impl<'py> Environs<'py> {
    /// `shared` are the keys that are the same for all requests of this worker.
    pub(crate) fn new(
        py: Python<'py>,
        shared: &Bound<'py, PyDict>,
        listeners: &[Listener],
        trust: Trust,
    ) -> PyResult<Self> {
        let script_name: String =
            py.import("os")?.getattr("environ")?.call_method1("get", ("SCRIPT_NAME", ""))?.extract()?;
        let script_name = script_name.trim_end_matches('/').to_owned();
        if !script_name.is_empty() && !script_name.starts_with('/') {
            return Err(PyValueError::new_err(format!("SCRIPT_NAME: expected a path from /, found {script_name:?}")));
        }
        shared.set_item("SCRIPT_NAME", &script_name)?;
        let inputs = Inputs::new(py)?;
        shared.set_item(PyString::intern(py, "wsgi.input"), inputs.empty())?;
        let templates = listeners.iter().map(|listener| Template::new(py, shared, listener.address()));
        Ok(Environs {
            templates: templates.collect::<PyResult<_>>()?,
            variables: Variables::new(py),
            inputs,
            methods: METHODS.iter().map(|method| (method.as_bytes(), PyString::intern(py, method))).collect(),
            http10: PyString::intern(py, Version::Http10.as_str()),
            script_name,
            trust,
            peers: (0..PEERS).map(|_| None).collect(),
            last_peer: 0,
            said: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// The environ of one request, which takes over the request's body; none for a path where no application is.
    pub(crate) fn build(
        &mut self,
        py: Python<'py>,
        exchange: &mut Exchange<'_>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let template = &self.templates[exchange.listener()];
        let environ = template.environ.copy()?;
        let request = exchange.request();
        if request.method() != USUAL_METHOD.as_bytes() {
            let method = self.methods.iter().find(|(known, _)| *known == request.method());
            let method = method.map_or_else(|| latin1(py, request.method()), |(_, text)| Ok(text.clone()))?;
            environ.set_item(intern!(py, "REQUEST_METHOD"), method)?;
        }
        let given = self.given_script_name(exchange);
        if let Some(given) = given {
            environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, given)?)?;
        }
        let Some(path) = below(given.unwrap_or(self.script_name.as_bytes()), request.path()) else {
            let path = request.path().escape_ascii();
            let script_name = environ.get_item("SCRIPT_NAME")?.map(|name| name.to_string()).unwrap_or_default();
            tracing::warn!(%path, script_name, "request for a path that is not below SCRIPT_NAME, answered 404");
            return Ok(None);
        };
        let target = latin1(py, request.target())?;
        if path.contains(&b'%') {
            cgi::decode_path(path, &mut self.scratch);
            environ.set_item(intern!(py, "PATH_INFO"), latin1(py, &self.scratch)?)?;
        } else if path == request.target() {
            environ.set_item(intern!(py, "PATH_INFO"), &target)?;
        } else {
            environ.set_item(intern!(py, "PATH_INFO"), latin1(py, path)?)?;
        }
        environ.set_item(intern!(py, "RAW_URI"), target)?;
        if !request.query().is_empty() {
            environ.set_item(intern!(py, "QUERY_STRING"), latin1(py, request.query())?)?;
        }
        if request.version() == Version::Http10 {
            environ.set_item(intern!(py, "SERVER_PROTOCOL"), &self.http10)?;
        }
        if exchange.scheme() == Scheme::Https {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
        }
        if template.named_by_host {
            name_by_host(py, &environ, request.host().unwrap_or_default(), exchange.scheme())?;
        }
        self.set_peer(py, &environ, exchange)?;
        self.set_fields(py, &environ, exchange)?;
        set_tls(py, &environ, exchange)?;
        if let Some(length) = exchange.body_length() {
            environ.set_item(intern!(py, "CONTENT_LENGTH"), PyString::new(py, &length.to_string()))?;
        }
        if let Some(input) = self.inputs.of(py, exchange)? {
            environ.set_item(intern!(py, "wsgi.input"), input)?;
        }
        Ok(Some(environ))
    }

    /// The request is over.
    pub(crate) fn release(&mut self) {
        self.inputs.release();
    }

    /// The prefix that a proxy says, if it is believed and may.
    fn given_script_name<'e>(&self, exchange: &Exchange<'e>) -> Option<&'e [u8]> {
        let given = exchange.request().field(b"script_name")?;
        let peer = exchange.peer().ip();
        let named = forwarded::field_policy(b"SCRIPT_NAME", peer, &self.trust) == FieldPolicy::Keep;
        (named && self.trust.believes(peer)).then_some(given.strip_suffix(b"/").unwrap_or(given))
    }

    /// The peer of a connection is the same for all its requests: its texts are kept for the next one.
    fn set_peer(&mut self, py: Python<'py>, environ: &Bound<'py, PyDict>, exchange: &Exchange<'_>) -> PyResult<()> {
        let address = match (exchange.proxied(), exchange.peer()) {
            (Some(proxied), _) => set_proxied(py, environ, proxied)?,
            (None, Peer::Tcp(address)) => *address,
            (None, Peer::Unix) => return Ok(()),
        };
        let place = usize::from(address.port()) % PEERS;
        if self.peers[place].as_ref().is_none_or(|kept| kept.address != address) {
            // Many peers are one proxy.
            let last = self.peers[self.last_peer].as_ref().filter(|last| last.address.ip() == address.ip());
            let ip = last.map_or_else(|| PyString::new(py, &address.ip().to_string()), |last| last.ip.clone());
            let port = PyString::new(py, &address.port().to_string());
            self.peers[place] = Some(KeptPeer { address, ip, port });
            self.last_peer = place;
        }
        let kept = &self.peers[place];
        if let Some(kept) = kept {
            environ.set_item(intern!(py, "REMOTE_ADDR"), &kept.ip)?;
            environ.set_item(intern!(py, "REMOTE_PORT"), &kept.port)?;
        }
        Ok(())
    }

    fn set_fields(
        &mut self,
        py: Python<'py>,
        environ: &Bound<'py, PyDict>,
        exchange: &mut Exchange<'_>,
    ) -> PyResult<()> {
        let mut asks_for_another = false;
        self.variables.begin();
        for (name, value) in exchange.request().fields() {
            asks_for_another |= name.len() == UPGRADE.len() && name.eq_ignore_ascii_case(UPGRADE);
            let variable = self.variables.next(py, name);
            if variable.has_underscore
                && forwarded::field_policy(name, exchange.peer().ip(), &self.trust) != FieldPolicy::Keep
            {
                self.say_dropped(name);
                continue;
            }
            let repeated = self.variables.is_repeated(&variable);
            let mut value = self.variables.value(py, &variable, value)?;
            if repeated || (self.variables.is_full() && environ.contains(&variable.key)?) {
                value = join(py, environ, &variable.key, value)?;
            }
            environ.set_item(&variable.key, value)?;
        }
        if asks_for_another {
            let socket = Bound::new(py, ClientSocket::of_request(exchange)?)?;
            environ.set_item(intern!(py, "gunicorn.socket"), socket)?;
        }
        Ok(())
    }

    /// Said once a name, so that nobody has to guess where a header went, and no client fills the log.
    #[cold]
    fn say_dropped(&mut self, name: &[u8]) {
        if self.said.len() < SAID && !self.said.iter().any(|said| said == name) {
            self.said.push(name.to_vec());
            let name = String::from_utf8_lossy(name);
            tracing::warn!(%name, "header field dropped, its name has an underscore\nhint: header_map or forwarder_headers lets it pass");
        }
    }
}

impl<'py> Template<'py> {
    fn new(py: Python<'py>, shared: &Bound<'py, PyDict>, address: &Address) -> PyResult<Template<'py>> {
        let environ = shared.copy()?;
        // Overwriting a key is cheaper than adding one, so the keys of every request are in the template; leaving it is
        // cheaper still, so they have the usual values.
        for key in ["PATH_INFO", "RAW_URI", "QUERY_STRING", "REMOTE_ADDR"] {
            environ.set_item(PyString::intern(py, key), "")?;
        }
        if let Address::Tcp(_) = address {
            environ.set_item(PyString::intern(py, "REMOTE_PORT"), "")?;
        }
        environ.set_item(PyString::intern(py, "REQUEST_METHOD"), PyString::intern(py, USUAL_METHOD))?;
        environ.set_item("SERVER_PROTOCOL", PyString::intern(py, Version::Http11.as_str()))?;
        let (name, port) = match address {
            Address::Tcp(address) => (address.ip().to_string(), address.port().to_string()),
            Address::Unix(_) | Address::Abstract(_) => (String::new(), String::new()),
        };
        environ.set_item("SERVER_NAME", name)?;
        environ.set_item("SERVER_PORT", port)?;
        make_room(&environ)?;
        Ok(Template { environ, named_by_host: !matches!(address, Address::Tcp(_)) })
    }
}

/// What there is to be said of the connection's TLS; nothing without.
fn set_tls(py: Python<'_>, environ: &Bound<'_, PyDict>, exchange: &Exchange<'_>) -> PyResult<()> {
    let Some(variables) = exchange.tls() else { return Ok(()) };
    variables.iter().try_for_each(|(key, value)| environ.set_item(key, latin1(py, value.as_bytes())?))
}

/// What a PROXY header says, by gunicorn's names; answers with the client's address.
#[cold]
fn set_proxied(py: Python<'_>, environ: &Bound<'_, PyDict>, proxied: &Proxied) -> PyResult<SocketAddr> {
    environ.set_item(intern!(py, "PROXY_PROTOCOL"), proxied.protocol())?;
    environ.set_item(intern!(py, "PROXY_ADDR"), proxied.destination.ip().to_string())?;
    environ.set_item(intern!(py, "PROXY_PORT"), proxied.destination.port().to_string())?;
    Ok(proxied.source)
}

/// A copy of a dict has the room of its original, and CPython's dicts grow at the 22nd and the 43rd key that they were ever
/// given. The template has about so many, and all but the barest requests some fields: it grows once, instead of each copy.
fn make_room(environ: &Bound<'_, PyDict>) -> PyResult<()> {
    for _ in environ.len()..ROOM {
        environ.set_item("room", "")?;
        environ.del_item("room")?;
    }
    Ok(())
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; without a port it is the scheme's.
fn name_by_host(py: Python<'_>, environ: &Bound<'_, PyDict>, host: &[u8], scheme: Scheme) -> PyResult<()> {
    let usual = scheme.default_port().as_bytes();
    let colon = host.iter().rposition(|&byte| byte == b':').filter(|&at| !host[at..].contains(&b']'));
    let (name, port) = match colon {
        Some(at) if at + 1 < host.len() => (&host[..at], &host[at + 1..]),
        Some(at) => (&host[..at], usual),
        None => (host, usual),
    };
    // PEP 3333: never empty. HTTP/1.0 need not say a host, and a host may be empty.
    let name = if name.is_empty() { &b"localhost"[..] } else { name };
    environ.set_item(intern!(py, "SERVER_NAME"), latin1(py, name)?)?;
    environ.set_item(intern!(py, "SERVER_PORT"), latin1(py, port)?)
}

/// What the application is asked for: the path without the prefix under which it is mounted; `None` for a path that is
/// not below it.
fn below<'a>(prefix: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let is_below = |rest: &&[u8]| prefix.is_empty() || rest.is_empty() || rest[0] == b'/';
    path.strip_prefix(prefix).filter(is_below)
}

/// A field that is given again: values in their order (RFC 9110, 5.3); cookies have a separator of their own (RFC
/// 6265, 5.4).
fn join<'py>(
    py: Python<'py>,
    environ: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
    value: Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyString>> {
    let Some(first) = environ.get_item(key)? else {
        return Ok(value);
    };
    let separator = if *key == *"HTTP_COOKIE" { "; " } else { "," };
    let joined = format!("{}{separator}{}", first.cast::<PyString>()?.to_str()?, value.to_str()?);
    Ok(PyString::new(py, &joined))
}

/// Bytes as a "native string" of PEP 3333: each byte the code point of the same number.
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len()).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: the pointer is readable for `length` bytes; the result is a new reference to a str, or null with an
    // exception set.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

/// The key with which a dict gets room for 42.
const ROOM: usize = 22;
/// Peers whose texts are kept; more than a worker has busy connections at a time.
const PEERS: usize = 256;
/// Dropped names that are said.
const SAID: usize = 16;
const UPGRADE: &[u8] = b"upgrade";
const USUAL_METHOD: &str = "GET";
const METHODS: [&str; 8] = ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
