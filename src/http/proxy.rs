//! The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of HAProxy): the line or the block that a proxy sends before
//! anything else on a connection, with the client's address. Bytes and rules in, addresses out; knows no socket.
//!
//! The rules are gunicorn's, corrected: a connection may also begin without a header, a peer that may not send one gets
//! 403, and a header without addresses of TCP (`UNKNOWN`, `LOCAL`, another family) leaves the peer as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::grammar;
use super::network::Network;
use super::reject::{Excerpt, Reject};

/// The versions of the header that are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyMode {
    /// None.
    #[default]
    Off,
    /// The line of version 1.
    V1,
    /// The block of version 2.
    V2,
    /// Either.
    Auto,
}

/// The versions of the header that are accepted, and the peers that may send them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyRules {
    /// The versions.
    pub mode: ProxyMode,
    /// The peers that may send one. A peer on a Unix socket always may.
    pub peers: Vec<Network>,
}

/// The addresses of a client's connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxied {
    /// The client.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

impl Proxied {
    /// Returns `TCP4` or `TCP6`.
    pub fn protocol(&self) -> &'static str {
        if self.source.is_ipv4() { "TCP4" } else { "TCP6" }
    }
}

/// The beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Not known yet: more bytes are needed.
    NeedMore,
    /// No header.
    Plain,
    /// A header.
    Header {
        /// Its length in bytes.
        used: usize,
        /// The addresses in it, if it has any.
        proxied: Option<Proxied>,
    },
}

/// Reads the beginning of `bytes`, everything received on a new connection. After [`Opening::NeedMore`] it is called again
/// with the same bytes and more.
pub fn opening(bytes: &[u8], peer: Option<IpAddr>, rules: &ProxyRules) -> Result<Opening, Reject> {
    let takes = |mode| rules.mode == ProxyMode::Auto || rules.mode == mode;
    let candidates = [(ProxyMode::V1, V1), (ProxyMode::V2, V2)];
    for (mode, signature) in candidates.into_iter().filter(|(mode, _)| takes(*mode)) {
        let length = signature.len().min(bytes.len());
        if bytes[..length] != signature[..length] {
            continue;
        }
        if length < signature.len() {
            return Ok(Opening::NeedMore);
        }
        if !peer.is_none_or(|peer| rules.peers.iter().any(|network| network.contains(peer))) {
            return Err(Reject::ProxyForbidden);
        }
        return if mode == ProxyMode::V1 { line(bytes) } else { block(bytes) };
    }
    Ok(Opening::Plain)
}

/// Reads version 1: `PROXY TCP4 source destination port port CRLF`.
fn line(bytes: &[u8]) -> Result<Opening, Reject> {
    let shown = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', shown) else {
        return if shown.len() < LONGEST_LINE { Ok(Opening::NeedMore) } else { Err(Reject::ProxyLineTooLong) };
    };
    let refuse = || Reject::ProxyLine { found: Excerpt::of(&bytes[..=end]) };
    let content = bytes[..end].strip_suffix(b"\r").ok_or_else(refuse)?;
    let words: Vec<&[u8]> = content.split(|&byte| byte == b' ').collect();
    let used = end + 1;
    if words.get(1) == Some(&&b"UNKNOWN"[..]) {
        // The rest of the line is to be ignored.
        return Ok(Opening::Header { used, proxied: None });
    }
    let [_, protocol, source, destination, source_port, destination_port] = words[..] else { return Err(refuse()) };
    let address = |word| match protocol {
        b"TCP4" => text(word)?.parse().ok().map(IpAddr::V4),
        b"TCP6" => text(word)?.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    let end_of = |word, port| Some(SocketAddr::new(address(word)?, self::port(port)?));
    let source = end_of(source, source_port).ok_or_else(refuse)?;
    let destination = end_of(destination, destination_port).ok_or_else(refuse)?;
    Ok(Opening::Header { used, proxied: Some(Proxied { source, destination }) })
}

/// Reads version 2: signature, version and command, family and transport, length, addresses, extensions.
fn block(bytes: &[u8]) -> Result<Opening, Reject> {
    let refuse = |expected, found| Err(Reject::ProxyBlock { expected, found });
    let Some(&command) = bytes.get(V2.len()) else { return Ok(Opening::NeedMore) };
    if !matches!(command, 0x20 | 0x21) {
        return refuse("version 2 and command LOCAL or PROXY", command.into());
    }
    let Some(&family) = bytes.get(V2.len() + 1) else { return Ok(Opening::NeedMore) };
    if family >> 4 > 3 || family & 15 > 2 {
        return refuse("a known family and transport", family.into());
    }
    let Some(&length) = bytes.get(V2.len() + 2..).and_then(<[u8]>::first_chunk) else { return Ok(Opening::NeedMore) };
    let length = u16::from_be_bytes(length);
    let (start, is_proxied) = (V2.len() + 4, command == 0x21);
    let needed = match family {
        INET_STREAM if is_proxied => 12,
        INET6_STREAM if is_proxied => 36,
        _ => 0,
    };
    if length < needed {
        return refuse("a length that holds two addresses and ports", length);
    }
    let used = start + usize::from(length);
    let Some(said) = bytes.get(start..used) else { return Ok(Opening::NeedMore) };
    let proxied = match needed {
        12 => proxied(said, |octets: [u8; 4]| Ipv4Addr::from(octets).into()),
        36 => proxied(said, |octets: [u8; 16]| Ipv6Addr::from(octets).into()),
        _ => None,
    };
    Ok(Opening::Header { used, proxied })
}

/// Reads two addresses and two ports.
fn proxied<const N: usize>(said: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Option<Proxied> {
    let (source, rest) = said.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    let end = |octets: &[u8; N], port: &[u8; 2]| SocketAddr::new(address(*octets), u16::from_be_bytes(*port));
    Some(Proxied { source: end(source, source_port), destination: end(destination, destination_port) })
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

fn port(word: &[u8]) -> Option<u16> {
    u16::try_from(grammar::decimal(word).filter(|_| word.len() <= 5)?).ok()
}

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// With its CRLF (proxy-protocol.txt, section 2.1: "107 chars").
const LONGEST_LINE: usize = 107;
const INET_STREAM: u8 = 0x11;
const INET6_STREAM: u8 = 0x21;
