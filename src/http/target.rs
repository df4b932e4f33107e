//! The forms of a request target, and of the host in a target or in the Host field (RFC 9112 section 3.2).
//! Knows no path segment, no decoding and no virtual host.

use std::ops::Range;

use super::grammar;
use super::reject::{Excerpt, Reject};

/// A target cut into its parts, each a range of the target's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Of the absolute form: `host[:port]`. It outranks the Host field (RFC 9112 section 3.2.2).
    pub authority: Option<Range<usize>>,
    /// The path, undecoded. Empty in an absolute form without one; `*` in the asterisk form.
    pub path: Range<usize>,
    /// The part after the first `?`; empty without one.
    pub query: Range<usize>,
}

impl Target {
    /// Cuts `target`, sent with `method`, into its parts.
    ///
    /// The authority form is only for CONNECT, which rwsgi does not serve.
    pub fn parse(method: &[u8], target: &[u8]) -> Result<Target, Reject> {
        let path_end = grammar::run(target, &PATH);
        if let Some(&found) = target[path_end..].iter().find(|&&byte| !is_target_byte(byte)) {
            return Err(Reject::TargetByte { found });
        }
        match target {
            _ if method == b"CONNECT" => Err(Reject::Connect),
            [b'/', ..] => Ok(Target::cut(target.len(), 0, path_end, None)),
            b"*" if method == b"OPTIONS" => Ok(Target { path: 0..1, query: 1..1, authority: None }),
            _ => Target::absolute(target, path_end).ok_or_else(|| Reject::TargetForm { found: Excerpt::of(target) }),
        }
    }

    /// Cuts `http://host[:port][/path][?query]`. Userinfo is refused: honest clients send none (RFC 9110 section 4.2.4).
    fn absolute(target: &[u8], path_end: usize) -> Option<Target> {
        let start = scheme_length(target)?;
        let length = target[start..].iter().position(|byte| b"/?".contains(byte)).unwrap_or(target.len() - start);
        let authority = start..start + length;
        let host = &target[authority.clone()];
        if host.is_empty() || host[0] == b':' || !is_host(host) {
            return None;
        }
        Some(Target::cut(target.len(), authority.end, path_end, Some(authority)))
    }

    /// Returns the parts of a target of `length` bytes, whose path is `start..path_end` and ends before a `?`, if any.
    fn cut(length: usize, start: usize, path_end: usize, authority: Option<Range<usize>>) -> Target {
        Target { authority, path: start..path_end, query: length.min(path_end + 1)..length }
    }
}

/// True if `value` is `uri-host [":" port]` (RFC 9110 section 7.2), or empty: a target without an authority has no other
/// Host.
pub fn is_host(value: &[u8]) -> bool {
    match value {
        [b'[', rest @ ..] => match rest.iter().position(|&byte| byte == b']') {
            Some(end) => is_ip_literal(&rest[..end]) && is_port(&rest[end + 1..]),
            None => false,
        },
        _ => is_port(after_name(value)),
    }
}

/// True for nothing, and for a colon and a number of at most 65535; the digits may be missing (RFC 3986 section 3.2.3).
fn is_port(port: &[u8]) -> bool {
    let Some(digits) = port.strip_prefix(b":") else {
        return port.is_empty();
    };
    // A number that is too large stays so, however many digits follow.
    digits
        .iter()
        .try_fold(0_u32, |number, digit| {
            let number = number * 10 + u32::from(digit.wrapping_sub(b'0'));
            (digit.is_ascii_digit() && u16::try_from(number).is_ok()).then_some(number)
        })
        .is_some()
}

/// True for an IPv6 address, and for `vX.` and the address of a future version (RFC 3986 section 3.2.2).
fn is_ip_literal(literal: &[u8]) -> bool {
    match literal {
        [b'v' | b'V', rest @ ..] => match rest.iter().position(|&byte| byte == b'.') {
            Some(dot) => {
                let (version, address) = (&rest[..dot], &rest[dot + 1..]);
                !version.is_empty()
                    && version.iter().all(u8::is_ascii_hexdigit)
                    && !address.is_empty()
                    && address.iter().all(|&byte| byte == b':' || is_name_byte(byte))
            }
            None => false,
        },
        _ => std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
    }
}

/// Returns the rest of `value` after the `reg-name` at its start, which is name bytes and percent escapes.
fn after_name(value: &[u8]) -> &[u8] {
    let mut rest = value;
    loop {
        rest = match &rest[grammar::run(rest, &NAME)..] {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            rest => return rest,
        };
    }
}

/// True for `unreserved` and `sub-delims` of RFC 3986 section 2.
const fn is_name_byte(byte: u8) -> bool {
    NAME[byte as usize]
}

/// True for visible ASCII except the fragment's `#`. Wider than RFC 3986, as in gunicorn: real queries hold `|`, `[`, `"`.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Returns the length of `http://` or `https://` at the start of `target`, in any case.
fn scheme_length(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
}

const NAME: [bool; 256] = grammar::table(b"-._~!$&'()*+,;=");
/// Target bytes except the one that ends a path.
const PATH: [bool; 256] = grammar::table(b"!\"$%&'()*+,-./:;<=>@[\\]^_`{|}~");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_addresses_and_ports() {
        for host in [
            "",
            "a",
            "a_b.example:80",
            "a:",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:8000",
            "[v1.a:b]",
            "%41b",
            "xn--a",
            "a:000080",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:655360",
            "a:99999999999",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[a]",
            "%4",
            "a,b c",
            "ä",
            "a:+1",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn each_form_gives_path_and_query() {
        for (target, authority, path, query) in [
            ("/", None, "/", ""),
            ("/a?b?c", None, "/a", "b?c"),
            ("//a/b", None, "//a/b", ""),
            ("http://h", Some("h"), "", ""),
            ("HTTPS://h:1/p?q", Some("h:1"), "/p", "q"),
            ("http://h?q/x", Some("h"), "", "q/x"),
        ] {
            let parts = Target::parse(b"GET", target.as_bytes()).unwrap();
            assert_eq!(parts.authority.map(|range| &target[range]), authority, "{target}");
            assert_eq!((&target[parts.path], &target[parts.query]), (path, query), "{target}");
        }
    }
}
