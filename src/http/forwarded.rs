//! Who is believed about a request, and what is believed: by which scheme the client came, and which fields with an
//! underscore in their name are what they seem. Sees one request and its peer; knows no socket, setting or environ.
//!
//! The rules are gunicorn's. `X-Forwarded-For` and `Forwarded` (RFC 7239) are not looked at: the application knows which
//! of several proxies to believe.

use std::net::IpAddr;

use super::cgi;
use super::fields::Lengths;
use super::network::Network;
use super::reject::{Excerpt, Reject};
use super::request::Request;

/// Whom to believe, and what about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The peers that are proxies of ours. A peer on a Unix socket always is.
    pub peers: Vec<Network>,
    /// Names of fields, in any case, that say by which scheme the client came, each with the value that means https.
    pub scheme_fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names with an underscore, in any case, that those peers may send; `*` stands for all.
    pub forwarder_fields: Vec<Vec<u8>>,
    /// What becomes of all other fields with an underscore in their name.
    pub underscored: FieldPolicy,
}

/// The scheme of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Nobody said otherwise.
    #[default]
    Http,
    /// It came over TLS, to this server or to a trusted proxy.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that goes without saying.
    pub fn default_port(self) -> &'static str {
        match self {
            Scheme::Http => "80",
            Scheme::Https => "443",
        }
    }
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldPolicy {
    /// The application sees it.
    Keep,
    /// The application does not see it.
    Drop,
    /// The request is refused.
    Refuse,
}

impl Trust {
    /// Whether what `peer` says about a request counts. `None` is a peer on a Unix socket. It is the peer of the
    /// connection, whatever a PROXY header says.
    pub fn believes(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.peers.iter().any(|network| network.contains(peer)))
    }
}

impl Default for Trust {
    /// gunicorn's: a proxy on this machine.
    fn default() -> Self {
        let owned = |(name, https): (&str, &str)| (name.as_bytes().to_vec(), https.as_bytes().to_vec());
        let local = [(IpAddr::from([127, 0, 0, 1]), 32), (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128)];
        Trust {
            peers: local.into_iter().filter_map(|(address, prefix)| Network::around(address, prefix)).collect(),
            scheme_fields: SCHEME_FIELDS.map(owned).to_vec(),
            forwarder_fields: FORWARDER_FIELDS.map(|name| name.as_bytes().to_vec()).to_vec(),
            underscored: FieldPolicy::Drop,
        }
    }
}

/// By which scheme the client came: `own`, that of its connection, unless a proxy says otherwise. A trusted peer's scheme fields each say https by their exact value and http by any
/// other; where two of them differ, somebody else wrote one of them.
pub fn scheme(request: Request<'_>, own: Scheme, peer: Option<IpAddr>, trust: &Trust) -> Result<Scheme, Reject> {
    let lengths = trust.scheme_fields.iter().map(|(known, _)| Lengths::of(known.len()));
    let known = lengths.fold(Lengths::default(), Lengths::and);
    let mut said = request.head.fields_of(known, request.bytes).filter_map(|(name, value)| {
        let (_, https) = trust.scheme_fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some((name, value, if value == https { Scheme::Https } else { Scheme::Http }))
    });
    let Some((name, value, scheme)) = said.next().filter(|_| trust.believes(peer)) else {
        return Ok(own);
    };
    match said.find(|(_, _, other)| *other != scheme) {
        Some((other, different, _)) => {
            Err(Reject::SchemeTwice { first: line(name, value), second: line(other, different) })
        }
        None => Ok(scheme),
    }
}

/// What becomes of a field of this name. `X_Forwarded_Proto` would become the same variable as `X-Forwarded-Proto`,
/// which a proxy vouches for; only a proxy that is trusted with a name may send it so. Names without an underscore are
/// always kept.
pub fn field_policy(name: &[u8], peer: Option<IpAddr>, trust: &Trust) -> FieldPolicy {
    if !cgi::has_underscore(name) {
        return FieldPolicy::Keep;
    }
    let is_named = trust.forwarder_fields.iter().any(|known| known == b"*" || known.eq_ignore_ascii_case(name));
    if is_named && trust.believes(peer) { FieldPolicy::Keep } else { trust.underscored }
}

/// Refuses a request that has a field whose [`field_policy`] is to refuse it.
pub fn check_names(request: Request<'_>, peer: Option<IpAddr>, trust: &Trust) -> Result<(), Reject> {
    if trust.underscored != FieldPolicy::Refuse {
        return Ok(());
    }
    match request.fields().find(|(name, _)| field_policy(name, peer, trust) == FieldPolicy::Refuse) {
        Some((name, _)) => Err(Reject::FieldUnderscored { found: Excerpt::of(name) }),
        None => Ok(()),
    }
}

fn line(name: &[u8], value: &[u8]) -> Excerpt {
    Excerpt::of(&[name, b": ", value].concat())
}

/// gunicorn's `secure_scheme_headers`.
const SCHEME_FIELDS: [(&str, &str); 3] =
    [("X-FORWARDED-PROTOCOL", "ssl"), ("X-FORWARDED-PROTO", "https"), ("X-FORWARDED-SSL", "on")];
/// gunicorn's `forwarder_headers`.
const FORWARDER_FIELDS: [&str; 2] = ["SCRIPT_NAME", "PATH_INFO"];
