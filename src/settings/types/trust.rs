//! Types of the rules of trust: networks of peers, field names, schemes, names with underscores.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::super::source_value::{quoted, shown};
use super::Text;
use super::choices::{name_of, named};
use crate::http::{FieldPolicy, Network, ProxyMode, is_field_name};

/// Trusted peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peers {
    /// `*`.
    Everyone,
    /// An address or a CIDR network. IPv4-mapped IPv6 addresses are stored as IPv4 addresses.
    In {
        /// The first address of the network, without host bits.
        address: IpAddr,
        /// The length of the prefix.
        prefix: u8,
    },
}

impl Peers {
    /// Returns gunicorn's default: this machine.
    pub fn local() -> Vec<Self> {
        let only = |address| Self::In { address, prefix: width(address) };
        vec![only(Ipv4Addr::LOCALHOST.into()), only(Ipv6Addr::LOCALHOST.into())]
    }

    /// Returns the networks.
    pub fn networks(self) -> Vec<Network> {
        match self {
            Self::Everyone => Network::ALL.to_vec(),
            Self::In { address, prefix } => Network::around(address, prefix).into_iter().collect(),
        }
    }
}

impl Text for Peers {
    const EXPECTED: &'static str = "an IP address, a network such as 10.0.0.0/8, or *";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == "*" {
            return Ok(Self::Everyone);
        }
        let wrong = || ValueError::found(Self::EXPECTED, shown(text));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(start, end)| (start, Some(end)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix = match prefix {
            None => width(address),
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        let network = Network::around(address, prefix).ok_or_else(wrong)?;
        let peers = Self::In { address: network.address(), prefix: network.prefix() };
        // `10.1.2.3/8` could mean 10.0.0.0/8 or 10.1.2.3/32, and the former trusts 16 million strangers.
        if network.address() == address.to_canonical() || network.address() == address {
            return Ok(peers);
        }
        Err(wrong().hint(format!("the network of that address is {}", peers.text())))
    }

    fn text(&self) -> String {
        match self {
            Self::Everyone => "*".to_owned(),
            Self::In { address, prefix } if *prefix == width(*address) => address.to_string(),
            Self::In { address, prefix } => format!("{address}/{prefix}"),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The name of a header field in upper case, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FieldName(String);

impl FieldName {
    /// Returns the fields that gunicorn accepts from a trusted proxy.
    pub fn usual() -> Vec<Self> {
        ["SCRIPT_NAME", "PATH_INFO"].map(|name| Self(name.to_owned())).to_vec()
    }

    /// Returns the name in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for FieldName {
    const EXPECTED: &'static str = "a header field's name, such as SCRIPT_NAME";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let is_name = is_field_name(text.as_bytes());
        is_name.then(|| Self(text.to_ascii_uppercase())).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// The fields that carry the client's scheme: names in upper case, each with the value for https. In order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemeFields(Vec<(FieldName, String)>);

impl SchemeFields {
    /// The expected value, for "expected ...".
    pub const EXPECTED: &'static str = "a table of names and values, such as { X-FORWARDED-PROTO = \"https\" }";

    /// Adds a field; duplicates are refused.
    pub fn add(&mut self, name: &str, https: &str) -> Result<(), ValueError> {
        let name = FieldName::parse(name)?;
        if self.0.iter().any(|(earlier, _)| *earlier == name) {
            return Err(ValueError::found("each name once", format!("{} twice", quoted(name.as_str()))));
        }
        let https = https.trim_matches([' ', '\t']);
        if https.is_empty() || https.contains(|c: char| c.is_control()) {
            return Err(ValueError::text("the value that means https", https));
        }
        self.0.push((name, https.to_owned()));
        Ok(())
    }

    /// Returns names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, https)| (name.as_str(), https.as_str()))
    }

    /// Returns gunicorn's default.
    pub fn usual() -> Self {
        let field = |(name, https): (&str, &str)| (FieldName(name.to_owned()), https.to_owned());
        Self(
            [("X-FORWARDED-PROTOCOL", "ssl"), ("X-FORWARDED-PROTO", "https"), ("X-FORWARDED-SSL", "on")]
                .map(field)
                .to_vec(),
        )
    }
}

/// The treatment of a header field with an underscore in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderMap {
    /// The field is removed.
    Drop,
    /// The request is refused.
    Refuse,
    /// The application gets the field, and cannot distinguish it from the one with a dash.
    Dangerous,
}

impl HeaderMap {
    const NAMES: [(&'static str, Self); 3] =
        [("drop", Self::Drop), ("refuse", Self::Refuse), ("dangerous", Self::Dangerous)];

    /// Returns the policy for the HTTP room.
    pub fn policy(self) -> FieldPolicy {
        match self {
            Self::Drop => FieldPolicy::Drop,
            Self::Refuse => FieldPolicy::Refuse,
            Self::Dangerous => FieldPolicy::Keep,
        }
    }
}

impl Text for HeaderMap {
    const EXPECTED: &'static str = "drop, refuse or dangerous";

    fn parse(text: &str) -> Result<Self, ValueError> {
        named(&Self::NAMES, text).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

const PROXY_MODES: [(&str, ProxyMode); 4] =
    [("off", ProxyMode::Off), ("v1", ProxyMode::V1), ("v2", ProxyMode::V2), ("auto", ProxyMode::Auto)];

impl Text for ProxyMode {
    const EXPECTED: &'static str = "off, v1, v2 or auto";

    fn parse(text: &str) -> Result<Self, ValueError> {
        named(&PROXY_MODES, text).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&PROXY_MODES, *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_print_back_the_same() {
        for (text, printed) in [
            ("*", "*"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1/32", "127.0.0.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            let peers = Peers::parse(text).unwrap();
            assert_eq!(peers.text(), printed, "{text}");
            assert_eq!(Peers::parse(printed).unwrap(), peers, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "**",
            "localhost",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "10.0.0.0/255.0.0.0",
            "010.0.0.1",
            "::1/127",
            "::/129",
            "[::1]",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "::ffff:10.0.0.1/104",
            "10.0.0.0/999",
        ] {
            assert!(Peers::parse(text).is_err(), "{text}");
        }
    }
}
