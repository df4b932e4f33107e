//! The `environ` of a request: a copy of a template that holds every constant key, filled with the request's values.

use std::net::SocketAddr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use rwsgi::http::forwarded::{self, FieldPolicy, Scheme, Trust};
use rwsgi::http::{Proxied, Version, cgi};
use rwsgi::os::listener::{Address, Listener, Peer};
use rwsgi::worker::Exchange;

use crate::native_string;
use crate::wsgi::client_socket::ClientSocket;
use crate::wsgi::input::Inputs;
use crate::wsgi::peer_texts::PeerTexts;
use crate::wsgi::script_name;
use crate::wsgi::variables::Variables;

/// Makes environs.
pub(crate) struct Environs<'py> {
    /// The templates, one for each listener.
    templates: Vec<Template<'py>>,
    variables: Variables<'py>,
    inputs: Inputs<'py>,
    methods: Vec<(&'static [u8], Bound<'py, PyString>)>,
    http10: Bound<'py, PyString>,
    /// The prefix of paths from the process's environment; usually empty.
    script_name: String,
    trust: Trust,
    peers: PeerTexts<'py>,
    /// Names of dropped fields that were logged.
    logged: Vec<Vec<u8>>,
    /// A buffer for a path, reused.
    scratch: Vec<u8>,
}

struct Template<'py> {
    environ: Bound<'py, PyDict>,
    /// True on a unix socket, where the Host field gives the server's name.
    named_by_host: bool,
}

impl<'py> Environs<'py> {
    /// Makes the templates. `shared` are the keys that are the same for all requests of this worker.
    pub(crate) fn new(
        py: Python<'py>,
        shared: &Bound<'py, PyDict>,
        listeners: &[Listener],
        trust: Trust,
    ) -> PyResult<Self> {
        let script_name = script_name::from_environment(py)?;
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
            peers: PeerTexts::new(),
            logged: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Returns the environ of one request, which takes over the request's body, or `None` for a path that is not below
    /// `SCRIPT_NAME`.
    pub(crate) fn build(
        &mut self,
        py: Python<'py>,
        exchange: &mut Exchange<'_>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let template = &self.templates[exchange.listener()];
        let (environ, named_by_host) = (template.environ.copy()?, template.named_by_host);
        self.set_method(py, &environ, exchange)?;
        if !self.set_target(py, &environ, exchange)? {
            return Ok(None);
        }
        let request = exchange.request();
        if request.version() == Version::Http10 {
            environ.set_item(intern!(py, "SERVER_PROTOCOL"), &self.http10)?;
        }
        if exchange.scheme() == Scheme::Https {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
        }
        if named_by_host {
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

    /// Ends the request.
    pub(crate) fn release(&mut self) {
        self.inputs.release();
    }

    fn set_method(&self, py: Python<'py>, environ: &Bound<'py, PyDict>, exchange: &Exchange<'_>) -> PyResult<()> {
        let method = exchange.request().method();
        if method == USUAL_METHOD.as_bytes() {
            return Ok(());
        }
        let known = self.methods.iter().find(|(known, _)| *known == method);
        let text = known.map_or_else(|| native_string::from_bytes(py, method), |(_, text)| Ok(text.clone()))?;
        environ.set_item(intern!(py, "REQUEST_METHOD"), text)
    }

    /// Sets the keys of the target. False if its path is not below `SCRIPT_NAME`.
    fn set_target(&mut self, py: Python<'py>, environ: &Bound<'py, PyDict>, exchange: &Exchange<'_>) -> PyResult<bool> {
        let request = exchange.request();
        let given = script_name::from_proxy(exchange, &self.trust);
        if let Some(given) = given {
            environ.set_item(intern!(py, "SCRIPT_NAME"), native_string::from_bytes(py, given)?)?;
        }
        let Some(path) = script_name::below(given.unwrap_or(self.script_name.as_bytes()), request.path()) else {
            let path = request.path().escape_ascii();
            let script_name = environ.get_item("SCRIPT_NAME")?.map(|name| name.to_string()).unwrap_or_default();
            tracing::warn!(%path, script_name, "request for a path that is not below SCRIPT_NAME, answered 404");
            return Ok(false);
        };
        let target = native_string::from_bytes(py, request.target())?;
        if path.contains(&b'%') {
            cgi::decode_path(path, &mut self.scratch);
            environ.set_item(intern!(py, "PATH_INFO"), native_string::from_bytes(py, &self.scratch)?)?;
        } else if path == request.target() {
            environ.set_item(intern!(py, "PATH_INFO"), &target)?;
        } else {
            environ.set_item(intern!(py, "PATH_INFO"), native_string::from_bytes(py, path)?)?;
        }
        environ.set_item(intern!(py, "RAW_URI"), target)?;
        if !request.query().is_empty() {
            environ.set_item(intern!(py, "QUERY_STRING"), native_string::from_bytes(py, request.query())?)?;
        }
        Ok(true)
    }

    fn set_peer(&mut self, py: Python<'py>, environ: &Bound<'py, PyDict>, exchange: &Exchange<'_>) -> PyResult<()> {
        let address = match (exchange.proxied(), exchange.peer()) {
            (Some(proxied), _) => set_proxied(py, environ, proxied)?,
            (None, Peer::Tcp(address)) => *address,
            (None, Peer::Unix) => return Ok(()),
        };
        if let Some(peer) = self.peers.of(py, address) {
            environ.set_item(intern!(py, "REMOTE_ADDR"), &peer.ip)?;
            environ.set_item(intern!(py, "REMOTE_PORT"), &peer.port)?;
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
        // RFC 9112 section 7.1.3: a body that is decoded has a length, and no coding.
        let is_decoded = exchange.body_length().is_some();
        self.variables.begin();
        for (name, value) in exchange.request().fields() {
            if is_decoded && is_transfer_encoding(name) {
                continue;
            }
            asks_for_another |= name.len() == UPGRADE.len() && name.eq_ignore_ascii_case(UPGRADE);
            let variable = self.variables.next(py, name);
            if variable.has_underscore
                && forwarded::field_policy(name, exchange.peer().ip(), &self.trust) != FieldPolicy::Keep
            {
                self.log_dropped(name);
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

    /// Logs that a field was dropped, once for each name and for a few names, so that no client fills the log.
    #[cold]
    fn log_dropped(&mut self, name: &[u8]) {
        if self.logged.len() < MOST_LOGGED && !self.logged.iter().any(|logged| logged == name) {
            self.logged.push(name.to_vec());
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

/// Sets the keys of the connection's TLS, if it has TLS.
fn set_tls(py: Python<'_>, environ: &Bound<'_, PyDict>, exchange: &Exchange<'_>) -> PyResult<()> {
    let Some(variables) = exchange.tls() else { return Ok(()) };
    variables
        .iter()
        .try_for_each(|(key, value)| environ.set_item(key, native_string::from_bytes(py, value.as_bytes())?))
}

/// Sets the keys of a PROXY header, by gunicorn's names. Returns the client's address.
#[cold]
fn set_proxied(py: Python<'_>, environ: &Bound<'_, PyDict>, proxied: &Proxied) -> PyResult<SocketAddr> {
    environ.set_item(intern!(py, "PROXY_PROTOCOL"), proxied.protocol())?;
    environ.set_item(intern!(py, "PROXY_ADDR"), proxied.destination.ip().to_string())?;
    environ.set_item(intern!(py, "PROXY_PORT"), proxied.destination.port().to_string())?;
    Ok(proxied.source)
}

/// Gives the template room for 42 keys, which its copies inherit. CPython's dicts grow at the 22nd and the 43rd key that they
/// were ever given, the template has about 20, and nearly every request adds some.
fn make_room(environ: &Bound<'_, PyDict>) -> PyResult<()> {
    for _ in environ.len()..ROOM {
        environ.set_item("room", "")?;
        environ.del_item("room")?;
    }
    Ok(())
}

/// Sets the server's name and port by `host`, `host:port`, `[v6]` or `[v6]:port`. The scheme has a usual port.
fn name_by_host(py: Python<'_>, environ: &Bound<'_, PyDict>, host: &[u8], scheme: Scheme) -> PyResult<()> {
    let usual = scheme.default_port().as_bytes();
    let colon = host.iter().rposition(|&byte| byte == b':').filter(|&at| !host[at..].contains(&b']'));
    let (name, port) = match colon {
        Some(at) if at + 1 < host.len() => (&host[..at], &host[at + 1..]),
        Some(at) => (&host[..at], usual),
        None => (host, usual),
    };
    // PEP 3333: never empty. HTTP/1.0 may have no Host field, and a host may be empty.
    let name = if name.is_empty() { &b"localhost"[..] } else { name };
    environ.set_item(intern!(py, "SERVER_NAME"), native_string::from_bytes(py, name)?)?;
    environ.set_item(intern!(py, "SERVER_PORT"), native_string::from_bytes(py, port)?)
}

/// True for each name whose variable is `HTTP_TRANSFER_ENCODING`.
fn is_transfer_encoding(name: &[u8]) -> bool {
    name.len() == TRANSFER_ENCODING.len()
        && (name.eq_ignore_ascii_case(TRANSFER_ENCODING) || name.eq_ignore_ascii_case(b"transfer_encoding"))
}

/// Joins the values of a repeated field in their order (RFC 9110, 5.3). Cookies have a separator of their own (RFC 6265, 5.4).
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

/// The number of the key at which a dict grows, to room for 42.
const ROOM: usize = 22;
/// Most names of dropped fields that are logged.
const MOST_LOGGED: usize = 16;
const UPGRADE: &[u8] = b"upgrade";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const USUAL_METHOD: &str = "GET";
const METHODS: [&str; 8] = ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
