//! Addresses of syslog and statsd. Resolves no name.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::super::source_value::shown;
use super::Text;
use super::choices::{name_of, named};

/// The address of a syslog daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogAddress {
    /// Datagrams over the network.
    Udp(HostPort),
    /// A connection over the network.
    Tcp(HostPort),
    /// A unix socket.
    Unix(PathBuf, UnixKind),
}

/// The type of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnixKind {
    /// Either, as the listener has it.
    Any,
    /// Datagrams.
    Datagram,
    /// A connection.
    Stream,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
}

impl SyslogAddress {
    /// Returns gunicorn's default on Linux.
    pub fn usual() -> Self {
        Self::Udp(HostPort { host: "localhost".to_owned(), port: SYSLOG_PORT })
    }
}

impl Text for SyslogAddress {
    const EXPECTED: &'static str = "udp://HOST:PORT, tcp://HOST:PORT or unix://PATH";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::found(Self::EXPECTED, shown(text));
        let network = |address: &str| HostPort::parse(address, "localhost", SYSLOG_PORT).ok_or_else(wrong);
        if let Some(address) = text.strip_prefix("udp://") {
            return network(address).map(Self::Udp);
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            return network(address).map(Self::Tcp);
        }
        let path = text.strip_prefix("unix://").ok_or_else(wrong)?;
        let (path, kind) = match path.split_once('#') {
            None => (path, UnixKind::Any),
            Some((path, "dgram")) => (path, UnixKind::Datagram),
            Some((path, "stream")) => (path, UnixKind::Stream),
            Some(_) => return Err(wrong().hint("write #dgram or #stream after the path")),
        };
        Ok(Self::Unix(socket_path(path).ok_or_else(wrong)?, kind))
    }

    fn text(&self) -> String {
        match self {
            Self::Udp(to) => format!("udp://{to}"),
            Self::Tcp(to) => format!("tcp://{to}"),
            Self::Unix(path, kind) => {
                let kind = match kind {
                    UnixKind::Any => "",
                    UnixKind::Datagram => "#dgram",
                    UnixKind::Stream => "#stream",
                };
                format!("unix://{}{kind}", path.display())
            }
        }
    }
}

/// The facility of a syslog message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogFacility(u8);

impl SyslogFacility {
    /// User-level messages.
    pub const USER: Self = Self(1);

    /// Names and codes (RFC 3164 section 4.1.1).
    const NAMES: [(&'static str, Self); 21] = [
        ("auth", Self(4)),
        ("authpriv", Self(10)),
        ("cron", Self(9)),
        ("daemon", Self(3)),
        ("ftp", Self(11)),
        ("kern", Self(0)),
        ("lpr", Self(6)),
        ("mail", Self(2)),
        ("news", Self(7)),
        ("security", Self(4)),
        ("syslog", Self(5)),
        ("user", Self::USER),
        ("uucp", Self(8)),
        ("local0", Self(16)),
        ("local1", Self(17)),
        ("local2", Self(18)),
        ("local3", Self(19)),
        ("local4", Self(20)),
        ("local5", Self(21)),
        ("local6", Self(22)),
        ("local7", Self(23)),
    ];

    /// Returns the code.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl Text for SyslogFacility {
    const EXPECTED: &'static str = "a facility such as user, daemon or local0";

    fn parse(text: &str) -> Result<Self, ValueError> {
        named(&Self::NAMES, text).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

/// The address of a statsd daemon, for datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatsdHost {
    /// On the network.
    Udp(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

impl Text for StatsdHost {
    const EXPECTED: &'static str = "HOST:PORT or unix://PATH";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::text(Self::EXPECTED, text);
        match text.strip_prefix("unix://") {
            Some(path) => socket_path(path).map(Self::Unix),
            None => HostPort::parse(text, "", STATSD_PORT).map(Self::Udp),
        }
        .ok_or_else(wrong)
    }

    fn text(&self) -> String {
        match self {
            Self::Udp(to) => to.to_string(),
            Self::Unix(path) => format!("unix://{}", path.display()),
        }
    }
}

impl HostPort {
    /// Parses `HOST`, `HOST:PORT` or `[V6]:PORT`. `host` and `port` are the defaults.
    fn parse(text: &str, host: &str, port: u16) -> Option<Self> {
        let (found, digits) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((host, digits)) => (host, Some(digits)),
                None => (text, None),
            },
        };
        let host = if found.is_empty() { host } else { found };
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let digits = digits.map(|digits| digits.parse().ok().filter(|port| *port > 0 && !digits.starts_with('+')));
        let port = digits.unwrap_or(Some(port))?;
        (!host.is_empty() && host.chars().all(is_letter)).then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Returns a path that fits the kernel's `sockaddr_un`.
fn socket_path(path: &str) -> Option<PathBuf> {
    ((1..108).contains(&path.len()) && !path.contains('\0')).then(|| PathBuf::from(path))
}

const SYSLOG_PORT: u16 = 514;
const STATSD_PORT: u16 = 8125;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_back_the_same() {
        for (text, printed) in [
            ("udp://localhost:514", "udp://localhost:514"),
            ("udp://", "udp://localhost:514"),
            ("udp://Log.example", "udp://log.example:514"),
            ("tcp://10.0.0.1:6514", "tcp://10.0.0.1:6514"),
            ("tcp://[::1]:6514", "tcp://[::1]:6514"),
            ("unix:///dev/log", "unix:///dev/log"),
            ("unix:///dev/log#dgram", "unix:///dev/log#dgram"),
            ("unix://log#stream", "unix://log#stream"),
        ] {
            let address = SyslogAddress::parse(text).unwrap();
            assert_eq!(address.text(), printed, "{text}");
            assert_eq!(SyslogAddress::parse(printed).unwrap(), address, "{text}");
        }
        for (text, printed) in [
            ("localhost", "localhost:8125"),
            ("statsd:9125", "statsd:9125"),
            ("[::1]", "[::1]:8125"),
            ("unix:1234", "unix:1234"),
            ("unix:///run/statsd.sock", "unix:///run/statsd.sock"),
        ] {
            let host = StatsdHost::parse(text).unwrap();
            assert_eq!(host.text(), printed, "{text}");
            assert_eq!(StatsdHost::parse(printed).unwrap(), host, "{text}");
        }
        assert_eq!(
            StatsdHost::parse("unix:1234").unwrap(),
            StatsdHost::Udp(HostPort { host: "unix".into(), port: 1234 })
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "localhost", "udp:localhost", "udp://a:b", "udp://a:0", "udp://a:+1", "unix://", "unix:///a#x"]
        {
            assert!(SyslogAddress::parse(text).is_err(), "{text}");
        }
        for text in ["", ":8125", "a:b", "a:99999", "a b", "[::1", "[x]:1", "unix://", "::1"] {
            assert!(StatsdHost::parse(text).is_err(), "{text}");
        }
        assert!(SyslogFacility::parse("local8").is_err());
    }
}
