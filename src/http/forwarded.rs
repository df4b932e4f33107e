//! Trusted proxies: the scheme of a request as they report it, and fields with an underscore in their name. Sees one
//! request and its peer; knows no socket, setting or environ.
//!
//! The rules are gunicorn's. `X-Forwarded-For` and `Forwarded` (RFC 7239) are ignored: the application knows which of
//! several proxies to trust.

use std::net::IpAddr;

use super::cgi;
use super::fields::Lengths;
use super::network::Network;
use super::reject::{Excerpt, Reject};
use super::request::Request;

/// The trusted proxies, and what they may report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The peers that are trusted proxies. A peer on a Unix socket always is one.
    pub peers: Vec<Network>,
    /// Names of fields, in any case, that report the client's scheme, each with the value that means https.
    pub scheme_fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names with an underscore, in any case, that those peers may send; `*` means all.
    pub forwarder_fields: Vec<Vec<u8>>,
    /// The policy for all other fields with an underscore in their name.
    pub underscored: FieldPolicy,
}

/// The scheme of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP, unless a trusted proxy reports otherwise.
    #[default]
    Http,
    /// TLS, to this server or to a trusted proxy.
    Https,
}

impl Scheme {
    /// Returns `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Returns the scheme's default port.
    pub fn default_port(self) -> &'static str {
        match self {
            Scheme::Http => "80",
            Scheme::Https => "443",
        }
    }
}

/// The policy for a field.
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
    /// True if `peer` is a trusted proxy. `None` is a peer on a Unix socket. It is the peer of the connection, whatever a
    /// PROXY header says.
    pub fn believes(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.peers.iter().any(|network| network.contains(peer)))
    }
}

impl Default for Trust {
    /// Returns gunicorn's default: a proxy on this machine.
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

/// Returns the client's scheme: `own`, that of its connection, unless a trusted proxy reports another. Each scheme field
/// means https by its exact value and http by any other. If two of them differ, one is forged, and the request is refused.
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

/// Returns the policy for a field of this name. `X_Forwarded_Proto` would become the same variable as
/// `X-Forwarded-Proto`, which a proxy sets; only a proxy that is trusted with a name may send it so. Names without an
/// underscore are always kept.
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
