//! An address to listen on, in gunicorn's forms. Resolves no name and opens nothing.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::Text;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bind {
    /// `HOST`, `HOST:PORT`, `:PORT` (every IPv4 address), `[V6]`, `[V6]:PORT`, each with or without `tcp://`.
    Tcp {
        /// A name or an address in lower case; an IPv6 address without brackets.
        host: String,
        /// The port; with 0 the kernel chooses one.
        port: u16,
    },
    /// `unix:PATH` or `unix://PATH`; relative to `chdir`.
    Unix(PathBuf),
    /// `fd://N`: an open socket, inherited from the process that started rwsgi.
    Fd(i32),
    /// `fd://NAME`: every passed socket of this name (systemd's `FileDescriptorName=`).
    Named(String),
}

impl Bind {
    /// gunicorn's default port.
    pub const PORT: u16 = 8000;
    /// unix(7): `sun_path` has 108 bytes, one of them the final NUL.
    const LONGEST_PATH: usize = 107;

    /// True if the kernel refuses to listen on one address while a socket listens on the other: they are equal, or one
    /// is every IPv4 address.
    pub fn overlaps(&self, other: &Bind) -> bool {
        let is_any = |host: &str| host.is_empty() || host == "0.0.0.0";
        let is_ipv4 = |host: &str| is_any(host) || host.parse::<Ipv4Addr>().is_ok();
        match (self, other) {
            (Self::Tcp { port, .. }, Self::Tcp { port: other, .. }) if port != other || *port == 0 => false,
            (Self::Tcp { host, .. }, Self::Tcp { host: other, .. }) => {
                host == other || ((is_any(host) || is_any(other)) && is_ipv4(host) && is_ipv4(other))
            }
            (Self::Unix(path), Self::Unix(other)) => path == other,
            _ => false,
        }
    }

    /// Parses any of the forms above.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let rest = |prefix: &str| strip_prefix(text, prefix);
        if let Some(path) = rest("unix://").or_else(|| rest("unix:")) {
            return unix(text, path);
        }
        if let Some(number) = rest("fd://") {
            return descriptor(number).ok_or_else(|| {
                ValueError::text(
                    "fd://N with N the number of an open socket, or fd://NAME with the name of a passed one",
                    text,
                )
            });
        }
        if rest("http://").or_else(|| rest("https://")).is_some() {
            return Err(ValueError::text(<Self as Text>::EXPECTED, text).hint("leave out the scheme"));
        }
        tcp(text, rest("tcp://").unwrap_or(text))
    }
}

impl Default for Bind {
    fn default() -> Self {
        Self::Tcp { host: "127.0.0.1".to_owned(), port: Self::PORT }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(number) => write!(f, "fd://{number}"),
            Self::Named(name) => write!(f, "fd://{name}"),
        }
    }
}

impl Text for Bind {
    const EXPECTED: &'static str = "HOST:PORT, unix:PATH, fd://N or fd://NAME";

    fn parse(text: &str) -> Result<Self, ValueError> {
        Self::parse(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Parses a number, or a name of the characters that unit names consist of. A name does not begin with a digit.
fn descriptor(text: &str) -> Option<Bind> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok().map(Bind::Fd))?;
    }
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '\\');
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_letter);
    is_name.then(|| Bind::Named(text.to_owned()))
}

fn unix(text: &str, path: &str) -> Result<Bind, ValueError> {
    if path.starts_with('@') {
        let found = format!("{text:?}, an abstract name");
        return Err(ValueError::found("unix:PATH", found)
            .hint("abstract sockets are not supported yet; for a file write unix:./@..."));
    }
    if path.len() > Bind::LONGEST_PATH {
        let expected = format!("a path of at most {} bytes, the kernel's limit", Bind::LONGEST_PATH);
        return Err(ValueError::found(expected, format!("one of {} bytes", path.len())));
    }
    if path.is_empty() || path.contains('\0') {
        return Err(ValueError::text("unix:PATH", text));
    }
    Ok(Bind::Unix(PathBuf::from(path)))
}

/// Parses a TCP address. `text` is the setting, `address` the same without its scheme.
fn tcp(text: &str, address: &str) -> Result<Bind, ValueError> {
    let wrong = || ValueError::text(<Bind as Text>::EXPECTED, text);
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_| ValueError::text("an IPv6 address in the brackets", text))?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) };
            (host, port)
        }
        None => name_and_port(address).map_err(|hint| ValueError { hint, ..wrong() })?,
    };
    let port = match port {
        None => Bind::PORT,
        Some(digits) => {
            whole_port(digits).ok_or_else(|| ValueError::text("a port number from 0 to 65535 after the host", text))?
        }
    };
    Ok(Bind::Tcp { host: host.to_ascii_lowercase(), port })
}

/// Splits an address into host and port, or returns a hint.
fn name_and_port(address: &str) -> Result<(&str, Option<&str>), Option<String>> {
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(Some(format!("write an IPv6 address in brackets: [{address}]:{}", Bind::PORT)));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    match (host, port) {
        ("", Some(_)) => Ok(("0.0.0.0", port)),
        (number, None) if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) => {
            Err(Some(format!("write a port without a host as :{number}")))
        }
        (path, None) if path.contains('/') => Err(Some(format!("write a unix socket as unix:{path}"))),
        _ => is_host(host).then_some((host, port)).ok_or(None),
    }
}

fn whole_port(digits: &str) -> Option<u16> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// True if a host name or an address can consist of these characters (RFC 952, and the underscore of container
/// networks).
fn is_host(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && text.chars().all(letter)
}

#[cfg(test)]
mod tests {
    use super::Bind;

    #[test]
    fn every_form_prints_back_what_parses_to_the_same() {
        for (text, printed) in [
            ("localhost", "localhost:8000"),
            ("Localhost:80", "localhost:80"),
            (":8000", "0.0.0.0:8000"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]", "[::1]:8000"),
            ("[::1]:9000", "[::1]:9000"),
            ("tcp://example.org:81", "example.org:81"),
            ("TCP://[::]:81", "[::]:81"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix:app.sock", "unix:app.sock"),
            ("unix:./@app", "unix:./@app"),
            ("fd://3", "fd://3"),
            ("fd://web", "fd://web"),
            ("FD://rwsgi@my\\x2dsite.socket", "fd://rwsgi@my\\x2dsite.socket"),
        ] {
            let bind = Bind::parse(text).unwrap();
            assert_eq!(bind.to_string(), printed, "{text}");
            assert_eq!(Bind::parse(printed).unwrap(), bind, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            ":",
            "8000",
            "::1",
            "host:",
            "host:http",
            "host:65536",
            "host:-1",
            "host:+1",
            "a b:80",
            "[::1]80",
            "[::1",
            "[host]:80",
            "unix:",
            "unix://",
            "unix:@app",
            "/run/app.sock",
            "fd://",
            "fd://-1",
            "fd://+1",
            "fd://3x",
            "fd://a b",
            "fd://99999999999",
            "fd://a:b",
            "http://127.0.0.1:8000",
            "a:b:80",
            &long,
        ] {
            assert!(Bind::parse(text).is_err(), "{text}");
        }
    }
}
