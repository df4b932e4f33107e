//! Renders a request's line of the access log. Writes to no file, reads no clock.

use std::net::IpAddr;

use super::access_format::{Atom, Fill, Kind, Piece, Shape, keys};
use super::access_json;
use super::basic_auth::basic_user;
use super::cgi;
use super::grammar;
use super::request::Request;

pub use super::access_format::{AccessFormat, AccessFormatError};
pub use super::access_record::AccessRecord;
pub use super::environ_values::EnvironValues;

impl AccessFormat {
    /// Appends the line of `record` to `out`, without an end of line. It stays one line, whatever a client sent: control
    /// bytes and bytes beyond ASCII are written `\xNN`, in JSON `\u00NN`; `"` and `\` have a `\` before them.
    pub fn render(&self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        if self.is_object {
            return access_json::render(record, out);
        }
        let escapes = if self.is_json { Escapes::Json } else { Escapes::Text };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Value { atom, shape } if *shape == Shape::default() => atom.render(record, escapes, out),
                Piece::Value { atom, shape } => shape.render(atom, record, escapes, out),
            }
        }
    }
}

/// The escapes of bytes that a line must not hold.
#[derive(Clone, Copy)]
enum Escapes {
    Text,
    Json,
}

impl Shape {
    fn render(&self, atom: &Atom, record: &AccessRecord<'_>, escapes: Escapes, out: &mut Vec<u8>) {
        let mut start = out.len();
        if self.kind == Kind::Text {
            atom.render(record, escapes, out);
            if let Some(most) = self.precision {
                cut(out, start, most);
            }
        } else {
            let number = atom.number(record);
            let digits = match (self.kind, self.precision.unwrap_or(1)) {
                (Kind::Hexadecimal, digits) => format!("{number:0digits$x}"),
                (Kind::CapitalHexadecimal, digits) => format!("{number:0digits$X}"),
                (Kind::Octal, digits) => format!("{number:0digits$o}"),
                (Kind::Fraction, _) => fraction(number, self.precision.unwrap_or(6)),
                (_, digits) => format!("{number:0digits$}"),
            };
            let prefix = match self.kind {
                Kind::Hexadecimal if self.prefixed => "0x",
                Kind::CapitalHexadecimal if self.prefixed => "0X",
                Kind::Octal if self.prefixed => "0o",
                _ => "",
            };
            out.extend_from_slice(self.sign.as_bytes());
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(digits.as_bytes());
            if self.fill == Fill::ZerosBefore {
                // Zeros come after sign and prefix.
                let before = self.sign.len() + prefix.len();
                start += before;
                return pad(out, start, self.width.saturating_sub(before), self.fill);
            }
        }
        pad(out, start, self.width, self.fill);
    }
}

impl Atom {
    fn render(&self, record: &AccessRecord<'_>, escapes: Escapes, out: &mut Vec<u8>) {
        match self {
            Atom::RemoteAddress => match record.environ.of(keys::REMOTE_ADDR) {
                Some(address) => escape(out, escapes, address),
                None => push_address(out, record.remote_addr),
            },
            Atom::RequestLine => Atom::render_line(record, escapes, out),
            Atom::Method | Atom::Path | Atom::Query | Atom::Protocol | Atom::Referer | Atom::UserAgent => {
                Atom::render_part(self.environ_key().unwrap_or_default(), record, escapes, out);
            }
            Atom::EnvironValue(key) => escape_or_dash(out, escapes, record.environ.of(key)),
            Atom::Dash | Atom::Unknown => out.push(b'-'),
            Atom::Time => out.extend_from_slice(record.time_text.as_bytes()),
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
            Atom::ResponseField(name) => escape_or_dash(out, escapes, record.response.last_field(name)),
            _ => match &record.request {
                Some(request) => self.render_request(request, escapes, out),
                None => out.push(b'-'),
            },
        }
    }

    /// Renders the parts of the request line as the application has left them.
    fn render_line(record: &AccessRecord<'_>, escapes: Escapes, out: &mut Vec<u8>) {
        if record.request.is_none() {
            return out.push(b'-');
        }
        for (place, key) in keys::REQUEST_LINE.into_iter().enumerate() {
            if place > 0 {
                out.push(b' ');
            }
            Atom::render_part(key, record, escapes, out);
        }
    }

    /// Renders a part of the request: as the application has left it in the environ, else as it came.
    fn render_part(key: &str, record: &AccessRecord<'_>, escapes: Escapes, out: &mut Vec<u8>) {
        if let Some(value) = record.environ.of(key) {
            return escape(out, escapes, value);
        }
        let Some(request) = record.request.as_ref().filter(|_| !record.environ.is_removed(key)) else {
            return out.push(b'-');
        };
        if key == keys::PATH_INFO {
            let mut path = Vec::new();
            cgi::decode_path(request.path(), &mut path);
            return escape(out, escapes, &path);
        }
        escape_or_dash(out, escapes, keys::part(request, key));
    }

    /// Renders the atoms that depend only on the request.
    fn render_request(&self, request: &Request<'_>, escapes: Escapes, out: &mut Vec<u8>) {
        match self {
            Atom::User => {
                escape_or_dash(out, escapes, request.field(b"authorization").and_then(basic_user).as_deref());
            }
            Atom::RequestField(name) => escape_or_dash(out, escapes, request.last_field(name)),
            _ => {}
        }
    }
}

impl Atom {
    /// Returns the value of an atom that is a number.
    fn number(&self, record: &AccessRecord<'_>) -> u64 {
        let wide = |value| u64::try_from(value).unwrap_or(u64::MAX);
        match self {
            Atom::Status => u64::from(record.response.code()),
            Atom::Seconds => record.elapsed.as_secs(),
            Atom::Milliseconds => wide(record.elapsed.as_millis()),
            Atom::Microseconds => wide(record.elapsed.as_micros()),
            _ => record.body_bytes.unwrap_or(0),
        }
    }
}

/// Returns a whole number with `places` zeros after the point.
fn fraction(number: u64, places: usize) -> String {
    if places == 0 { number.to_string() } else { format!("{number}.{}", "0".repeat(places)) }
}

/// Leaves at most `most` characters in `out` from `start` on; an escape is one character.
fn cut(out: &mut Vec<u8>, start: usize, most: usize) {
    let mut end = start;
    for _ in 0..most {
        end += match out.get(end..) {
            None | Some([]) => return,
            Some([b'\\', b'x', ..]) => 4,
            Some([b'\\', b'u', ..]) => 6,
            Some([b'\\', ..]) => 2,
            Some(_) => 1,
        };
    }
    out.truncate(end);
}

/// Pads the text in `out` from `start` on.
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

/// Appends an address. The formatter of the standard library takes ten times as long for the four numbers.
fn push_address(out: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        Some(IpAddr::V4(address)) => {
            for (index, number) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                grammar::push_decimal(out, u64::from(number));
            }
        }
        Some(IpAddr::V6(address)) => out.extend_from_slice(address.to_string().as_bytes()),
        None => {}
    }
}

fn push_wide(out: &mut Vec<u8>, value: u128) {
    grammar::push_decimal(out, u64::try_from(value).unwrap_or(u64::MAX));
}

fn escape_or_dash(out: &mut Vec<u8>, escapes: Escapes, value: Option<&[u8]>) {
    match value {
        Some(value) => escape(out, escapes, value),
        None => out.push(b'-'),
    }
}

fn escape(out: &mut Vec<u8>, escapes: Escapes, mut value: &[u8]) {
    loop {
        let (plain, rest) = value.split_at(grammar::run(value, &PLAIN));
        out.extend_from_slice(plain);
        let [byte, after @ ..] = rest else { return };
        if matches!(byte, b'"' | b'\\') {
            out.extend_from_slice(&[b'\\', *byte]);
        } else {
            out.extend_from_slice(if let Escapes::Json = escapes { br"\u00" } else { br"\x" });
            for digit in [byte >> 4, byte & 15] {
                grammar::push_hexadecimal(out, u64::from(digit));
            }
        }
        value = after;
    }
}

/// Bytes that are not escaped: visible ASCII and blanks, except the quote and the backslash.
const PLAIN: [bool; 256] = grammar::table(b" !#$%&'()*+,-./:;<=>?@[]^_`{|}~");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::response::ResponseHead;
    use crate::http::{Head, Limits};

    const REQUEST: &[u8] = b"GET /a%20%22%0ab?q=\"1\" HTTP/1.1\r\nHost: h\r\nReferer: http://r/\r\n\
        User-Agent: x\\y\"\xe4\r\nAuthorization: Basic YWxhCmFkZGluOm9wZW4=\r\n\r\n";

    fn line(format: &str) -> String {
        let (mut head, mut response) = (Head::default(), ResponseHead::default());
        head.parse(REQUEST, &Limits::default()).unwrap();
        response.start(b"404 Not Found").unwrap();
        response.push(b"X-Took", b"3 s").unwrap();
        let mut environ = EnvironValues::new(vec!["a".to_owned(), "b".to_owned()]);
        environ.set(1, b"\"1\"\n");
        let record = AccessRecord {
            request: Some(head.of(REQUEST)),
            response: &response,
            environ: &environ,
            remote_addr: Some(IpAddr::from([127, 0, 0, 1])),
            body_bytes: None,
            time_text: "[20/Nov/2026:08:10:07 +0000]",
            elapsed: Duration::from_micros(1_002_003),
            pid: 77,
        };
        let mut out = b"kept ".to_vec();
        AccessFormat::parse(format).unwrap().render(&record, &mut out);
        String::from_utf8(out.split_off(5)).unwrap()
    }

    #[test]
    fn the_default_is_the_combined_format() {
        assert_eq!(AccessFormat::default(), AccessFormat::parse(super::super::access_format::DEFAULT).unwrap());
        assert_eq!(
            line(super::super::access_format::DEFAULT),
            r#"127.0.0.1 - ala\x0aaddin [20/Nov/2026:08:10:07 +0000] "GET /a%20%22%0ab?q=\"1\" HTTP/1.1" 404 - "http://r/" "x\\y\"\xe4""#
        );
    }

    #[test]
    fn every_name_has_its_value() {
        for (format, expected) in [
            ("%(h)s|%(l)s|%(m)s|%(H)s|%(s)s|%(B)s|%(b)s|%(p)s", "127.0.0.1|-|GET|HTTP/1.1|404|0|-|<77>"),
            ("%(T)s|%(M)s|%(D)s|%(L)s", "1|1002|1002003|1.002003"),
            ("%(U)s|%(q)s", r#"/a \"\x0ab|q=\"1\""#),
            ("%({a}e)s|%({b}e)s", r#"-|\"1\"\x0a"#),
            ("%({HOST}i)s|%({x-none}i)s|%({x-took}o)s|%({server}o)s", "h|-|3 s|-"),
            ("100%%|%%(h)s|", "100%|%(h)s|"),
            ("%(D)d|%(s)6d|%(s)06d|%(s)-6d|%(m)6s|%(m)-6s|", "1002003|   404|000404|404   |   GET|GET   |"),
            ("%(T)s %(z)s %({a}x)s", "1 - -"),
            (
                "%(D)x|%(D)#X|%(s)o|%(M).6d|%(s)+d|%(s)+06d|%(s) d|%(T)f|%(T).1f|%(T).0f",
                "f4a13|0XF4A13|624|001002|+404|+00404| 404|1.000000|1.0|1",
            ),
            ("%(h).3s|%(m).9s|%(U).4s|%(U)-9.3s|%(U)9.4s|", r#"127|GET|/a \"|/a       |    /a \"|"#),
            (
                r#"{"r": "%(r)s", "u": "%(u)s", "U": "%(U).5s", "a": "%(a)s"}"#,
                r#"{"r": "GET /a%20%22%0ab?q=\"1\" HTTP/1.1", "u": "ala\u000aaddin", "U": "/a \"\u000a", "a": "x\\y\"\u00e4"}"#,
            ),
            ("\u{e4}", "\u{e4}"),
            ("", ""),
        ] {
            assert_eq!(line(format), expected, "{format}");
        }
    }

    #[test]
    fn an_address_is_written_as_it_is_spelled() {
        for address in ["0.0.0.0", "10.203.1.99", "255.255.255.255", "::", "2001:db8::1", "::ffff:10.0.0.1"] {
            let mut out = Vec::new();
            push_address(&mut out, Some(address.parse().unwrap()));
            assert_eq!(String::from_utf8(out).unwrap(), address);
        }
    }

    #[test]
    fn of_a_refused_request_there_is_what_could_be_read() {
        for (bytes, expected) in [
            (&b"\x16\x03"[..], "::1 - - \"-\" 400 18 \"-\" \"-\" - -"),
            (b"GET /a", "::1 - - \"-\" 400 18 \"-\" \"-\" - -"),
            (b"get /a HTTP/1.1\r\n", "::1 - - \"-\" 400 18 \"-\" \"-\" - -"),
            (b"GET /a?b HTTP/1.1\r\nReferer: r\r\n X", "::1 - - \"GET /a?b HTTP/1.1\" 400 18 \"-\" \"-\" /a b"),
            (b"GET /a HTTP/1.1\r\nReferer: r\r\n\r\n", "::1 - - \"GET /a HTTP/1.1\" 400 18 \"r\" \"-\" /a "),
        ] {
            let (mut head, mut response) = (Head::default(), ResponseHead::default());
            let _ = head.parse(bytes, &Limits::default());
            response.start_error(400);
            let record = AccessRecord {
                request: head.so_far(bytes),
                response: &response,
                environ: &EnvironValues::default(),
                remote_addr: Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
                body_bytes: Some(18),
                time_text: "-",
                elapsed: Duration::ZERO,
                pid: 1,
            };
            let mut out = Vec::new();
            let format = r#"%(h)s %(l)s %(u)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(U)s %(q)s"#;
            AccessFormat::parse(format).unwrap().render(&record, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{}", bytes.escape_ascii());
        }
    }
}
