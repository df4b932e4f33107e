//! gunicorn's `access_log_format`, compiled once, rendered for each request. Writes nothing anywhere, asks no clock.

use std::fmt;
use std::time::Duration;

use super::cgi;
use super::grammar;
use super::head::Request;
use super::response::ResponseHead;

/// An access log format: text with Python conversions, `%(name)s`.
///
/// | name | value |
/// |---|---|
/// | `h` | address of the client |
/// | `l` | `-` |
/// | `u` | user of Basic authorization |
/// | `t` | time, `[20/Nov/2026:08:10:07 +0000]` |
/// | `r` | request line |
/// | `m`, `U`, `q`, `H` | method, decoded path, query, protocol |
/// | `s` | status code |
/// | `b`, `B` | bytes of body sent |
/// | `f`, `a` | Referer, User-Agent |
/// | `T`, `M`, `D`, `L` | duration in whole seconds, ms, µs, seconds with six places |
/// | `p` | `<pid>` |
/// | `{name}i`, `{name}o` | a field of the request, of the application's response |
///
/// What is missing is `-`. A width, `-`, `0` and the conversions `s`, `d`, `i` work as in Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormat {
    pieces: Vec<Piece>,
}

/// What an access log line is made of.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// The request.
    pub request: Request<'a>,
    /// Its response.
    pub response: &'a ResponseHead,
    /// The client's address, without its port; empty on Unix sockets.
    pub remote_addr: &'a str,
    /// Bytes of the response's body that were sent; `None` if nobody knows.
    pub body_bytes: Option<u64>,
    /// `[20/Nov/2026:08:10:07 +0000]`.
    pub time_text: &'a str,
    /// From the whole head to the last byte sent.
    pub elapsed: Duration,
    /// The worker's process id.
    pub pid: u32,
}

/// A format that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormatError {
    /// Where, in characters from 1.
    pub position: usize,
    /// What was expected there.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
    /// What to do about it.
    pub hint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Value { atom: Atom, width: usize, fill: Fill },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    BlanksBefore,
    ZerosBefore,
    BlanksAfter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    RemoteAddress,
    Dash,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    BytesOrDash,
    Bytes,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Pid,
    RequestField(Vec<u8>),
    ResponseField(Vec<u8>),
}

impl AccessFormat {
    /// Compiles `format`.
    pub fn parse(format: &str) -> Result<AccessFormat, AccessFormatError> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            text.extend_from_slice(&rest.as_bytes()[..at]);
            let here = &rest[at..];
            if let Some(after) = here.strip_prefix("%%") {
                text.push(b'%');
                rest = after;
                continue;
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            let (piece, length) = conversion(here).map_err(|wrong| wrong.at(format, here))?;
            pieces.push(piece);
            rest = &here[length..];
        }
        text.extend_from_slice(rest.as_bytes());
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(AccessFormat { pieces })
    }

    /// Appends the line of `record` to `out`, without an end of line. Whatever a client sent, it stays one line: control
    /// bytes and what is not ASCII are written `\xNN`, `"` and `\` have a `\` before them.
    pub fn render(&self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Value { atom, width, fill } => {
                    let start = out.len();
                    atom.render(record, out);
                    pad(out, start, *width, *fill);
                }
            }
        }
    }
}

impl Default for AccessFormat {
    /// gunicorn's default.
    fn default() -> Self {
        AccessFormat::parse(DEFAULT).unwrap_or(AccessFormat { pieces: Vec::new() })
    }
}

impl Atom {
    fn parse(name: &str) -> Result<Atom, Wrong> {
        if let Some((field, kind)) = name.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')) {
            let field = field.as_bytes().to_vec();
            return match kind {
                "i" => Ok(Atom::RequestField(field)),
                "o" => Ok(Atom::ResponseField(field)),
                "e" => Err(Wrong { expected: "{name}i or {name}o", hint: "environ values are not there yet" }),
                _ => Err(Wrong { expected: "{name}i or {name}o", hint: "i is the request, o the response" }),
            };
        }
        Ok(match name {
            "h" => Atom::RemoteAddress,
            "l" => Atom::Dash,
            "u" => Atom::User,
            "t" => Atom::Time,
            "r" => Atom::RequestLine,
            "m" => Atom::Method,
            "U" => Atom::Path,
            "q" => Atom::Query,
            "H" => Atom::Protocol,
            "s" => Atom::Status,
            "b" => Atom::BytesOrDash,
            "B" => Atom::Bytes,
            "f" => Atom::RequestField(b"referer".to_vec()),
            "a" => Atom::RequestField(b"user-agent".to_vec()),
            "T" => Atom::Seconds,
            "M" => Atom::Milliseconds,
            "D" => Atom::Microseconds,
            "L" => Atom::DecimalSeconds,
            "p" => Atom::Pid,
            _ => {
                return Err(Wrong { expected: "a known name", hint: NAMES_HINT });
            }
        })
    }

    fn is_number(&self) -> bool {
        matches!(self, Atom::Status | Atom::Bytes | Atom::Seconds | Atom::Milliseconds | Atom::Microseconds)
    }

    fn render(&self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        let request = &record.request;
        match self {
            Atom::RemoteAddress => escape(out, record.remote_addr.as_bytes()),
            Atom::Dash => out.push(b'-'),
            Atom::User => escape_or_dash(out, request.field(b"authorization").and_then(basic_user).as_deref()),
            Atom::Time => out.extend_from_slice(record.time_text.as_bytes()),
            Atom::RequestLine => {
                escape(out, request.method());
                out.push(b' ');
                escape(out, request.target());
                out.push(b' ');
                out.extend_from_slice(request.version().as_str().as_bytes());
            }
            Atom::Method => escape(out, request.method()),
            Atom::Path => {
                let mut path = Vec::new();
                cgi::decode_path(request.path(), &mut path);
                escape(out, &path);
            }
            Atom::Query => escape(out, request.query()),
            Atom::Protocol => out.extend_from_slice(request.version().as_str().as_bytes()),
            Atom::Status => grammar::push_decimal(out, u64::from(record.response.code())),
            Atom::BytesOrDash => match record.body_bytes {
                Some(count) => grammar::push_decimal(out, count),
                None => out.push(b'-'),
            },
            Atom::Bytes => grammar::push_decimal(out, record.body_bytes.unwrap_or(0)),
            Atom::Seconds => grammar::push_decimal(out, record.elapsed.as_secs()),
            Atom::Milliseconds => push_wide(out, record.elapsed.as_millis()),
            Atom::Microseconds => push_wide(out, record.elapsed.as_micros()),
            Atom::DecimalSeconds => {
                grammar::push_decimal(out, record.elapsed.as_secs());
                out.push(b'.');
                let start = out.len();
                grammar::push_decimal(out, u64::from(record.elapsed.subsec_micros()));
                pad(out, start, 6, Fill::ZerosBefore);
            }
            Atom::Pid => {
                out.push(b'<');
                grammar::push_decimal(out, u64::from(record.pid));
                out.push(b'>');
            }
            Atom::RequestField(name) => escape_or_dash(out, request.field(name)),
            Atom::ResponseField(name) => escape_or_dash(out, record.response.field(name)),
        }
    }
}

impl fmt::Display for AccessFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessFormatError { position, expected, found, hint } = self;
        write!(f, "character {position}: expected {expected}, found \"{found}\"\nhint: {hint}")
    }
}

impl std::error::Error for AccessFormatError {}

/// What is wrong with a conversion, its place not yet known.
struct Wrong {
    expected: &'static str,
    hint: &'static str,
}

impl Wrong {
    fn at(self, format: &str, here: &str) -> AccessFormatError {
        let before = &format[..format.len() - here.len()];
        AccessFormatError {
            position: before.chars().count() + 1,
            expected: self.expected,
            found: here.chars().take(SHOWN).collect(),
            hint: self.hint,
        }
    }
}

/// The conversion at the start of `text`, which is a `%`, and its length in bytes.
fn conversion(text: &str) -> Result<(Piece, usize), Wrong> {
    let name_and_rest = text.strip_prefix("%(").and_then(|rest| rest.split_once(')'));
    let (name, rest) = name_and_rest.ok_or(Wrong { expected: "%(name)s", hint: "a percent sign is written %%" })?;
    let atom = Atom::parse(name)?;
    let digits = rest.trim_start_matches(['-', '0', ' ', '+', '#']);
    let flags = &rest[..rest.len() - digits.len()];
    let kind = digits.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let width = &digits[..digits.len() - kind.len()];
    let conversion = kind.chars().next();
    let number = matches!(conversion, Some('d' | 'i' | 'u'));
    if !(number && atom.is_number() || conversion == Some('s')) {
        return Err(Wrong { expected: "%(name)s", hint: "after the bracket stands s, or d for a number" });
    }
    let width = match width.parse() {
        Ok(width) if width <= WIDEST => width,
        Err(_) if width.is_empty() => 0,
        _ => {
            return Err(Wrong { expected: "a width of at most 1000", hint: "leave the width out" });
        }
    };
    let fill = match flags {
        _ if flags.contains('-') => Fill::BlanksAfter,
        _ if flags.contains('0') && number => Fill::ZerosBefore,
        _ => Fill::BlanksBefore,
    };
    Ok((Piece::Value { atom, width, fill }, text.len() - kind.len() + 1))
}

/// Pads what stands in `out` from `start` on.
fn pad(out: &mut Vec<u8>, start: usize, width: usize, fill: Fill) {
    let missing = width.saturating_sub(out.len() - start);
    if missing == 0 {
        return;
    }
    let byte = if fill == Fill::ZerosBefore { b'0' } else { b' ' };
    out.resize(out.len() + missing, byte);
    if fill != Fill::BlanksAfter {
        out[start..].rotate_right(missing);
    }
}

fn push_wide(out: &mut Vec<u8>, value: u128) {
    grammar::push_decimal(out, u64::try_from(value).unwrap_or(u64::MAX));
}

fn escape_or_dash(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => escape(out, value),
        None => out.push(b'-'),
    }
}

fn escape(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\x");
                for digit in [byte >> 4, byte & 15] {
                    grammar::push_hexadecimal(out, u64::from(digit));
                }
            }
        }
    }
}

/// The user of `Basic base64(user:password)` (RFC 7617).
fn basic_user(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    let mut decoded = scheme.eq_ignore_ascii_case(b"basic ").then(|| base64(grammar::trim(rest)))??;
    decoded.truncate(decoded.iter().position(|&byte| byte == b':')?);
    Some(decoded)
}

/// RFC 4648 section 4, padding optional.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &letter in text.iter().take_while(|&&letter| letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xff) as u8);
        }
    }
    Some(decoded)
}

/// `%(f)s` and `%(a)s` stand in quotes, the rest is separated by blanks: the combined log format.
const DEFAULT: &str = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";
const NAMES_HINT: &str = "names are h l u t r m U q H s b B f a T M D L p {name}i {name}o";
/// Wider than any line worth reading.
const WIDEST: usize = 1000;
/// How much of a wrong format a message shows, in characters.
const SHOWN: usize = 20;
