//! The short response to a request that was refused or failed before it had one. It holds the status and no more; the
//! cause is in the log.

use super::grammar;
use super::request::Request;

/// A configured page for an error.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// `text/html; charset=utf-8`. Without control bytes; it goes into the head as it is.
    pub content_type: &'a str,
    /// The page.
    pub body: &'a [u8],
}

/// Appends a whole response with `status` to `out`: `page`, else HTML where the request's Accept asks for it, else plain
/// text; no body to HEAD (RFC 9110 section 9.3.2). Returns the number of bytes of body.
///
/// `request` is what is known of the request, see [`Head::so_far`](super::Head::so_far); `date` is the value of Date. The
/// connection is to be closed.
pub fn error_response(
    out: &mut Vec<u8>,
    status: u16,
    date: &[u8],
    request: Option<Request<'_>>,
    page: Option<&ErrorPage<'_>>,
) -> u64 {
    let status = status.clamp(400, 599);
    let title = Title { status, reason: reason(status) };
    let own = match page {
        Some(page) => (page.content_type, Vec::new()),
        None if wants_html(request) => ("text/html; charset=utf-8", title.html()),
        None => ("text/plain; charset=utf-8", title.line(b"\n")),
    };
    let (content_type, body) = (own.0, page.map_or(own.1.as_slice(), |page| page.body));
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&title.line(b"\r\n"));
    for (name, value) in [("Date", date), ("Connection", b"close"), ("Cache-Control", NOT_KEPT)] {
        push_field(out, name, value);
    }
    if status == 503 {
        push_field(out, "Retry-After", RETRY_AFTER);
    }
    push_field(out, "Content-Type", content_type.as_bytes());
    out.extend_from_slice(b"Content-Length: ");
    grammar::push_decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    if request.is_some_and(|request| request.is_head()) {
        return 0;
    }
    out.extend_from_slice(body);
    body.len() as u64
}

/// True if the request's Accept names HTML, with no less weight than plain text. Browsers do so in every navigation, tools
/// do not.
pub fn wants_html(request: Option<Request<'_>>) -> bool {
    let (mut html, mut plain) = (0, 0);
    let fields = request.iter().flat_map(Request::fields).filter(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
    for range in fields.flat_map(|(_, value)| grammar::list(value)) {
        let mut parts = range.split(|&byte| byte == b';').map(grammar::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(strip_q).map_or(1000, thousandths);
        if name.eq_ignore_ascii_case(b"text/html") {
            html = weight;
        } else if name.eq_ignore_ascii_case(b"text/plain") {
            plain = weight;
        }
    }
    html > 0 && html >= plain
}

/// Returns the text of a weight, if `parameter` is one.
fn strip_q(parameter: &[u8]) -> Option<&[u8]> {
    parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))
}

/// Returns a weight (RFC 9110 section 12.4.2) in thousandths; 0 for any other text.
fn thousandths(weight: &[u8]) -> u64 {
    match weight {
        [b'1', ..] => 1000,
        [b'0', b'.', digits @ ..] if digits.len() <= 3 => {
            let padded: Vec<u8> = digits.iter().copied().chain(*b"000").take(3).collect();
            grammar::decimal(&padded).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Seconds until a client should try again. A queue of requests is short-lived, so that a short pause is enough.
const RETRY_AFTER: &[u8] = b"5";

/// Returns the reason phrase of `status` (IANA HTTP Status Code Registry), or that of its class if it is not known.
pub fn reason(status: u16) -> &'static str {
    match REASONS.binary_search_by_key(&status, |&(code, _)| code) {
        Ok(at) => REASONS[at].1,
        Err(_) if status < 400 => "Unknown",
        Err(_) if status < 500 => "Client Error",
        Err(_) => "Server Error",
    }
}

/// A status as text.
struct Title {
    status: u16,
    reason: &'static str,
}

impl Title {
    /// Returns `404 Not Found` followed by `end`.
    fn line(&self, end: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        grammar::push_decimal(&mut line, u64::from(self.status));
        for piece in [b" ", self.reason.as_bytes(), end] {
            line.extend_from_slice(piece);
        }
        line
    }

    fn html(&self) -> Vec<u8> {
        let title = self.line(b"");
        let [start, middle, end] = HTML.map(str::as_bytes);
        [start, &title, middle, &title, end].concat()
    }
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

/// A cache that stores the answer to one client's bad request serves it to all others ("cache-poisoned denial of service",
/// 2019); some store 400 and 431.
const NOT_KEPT: &[u8] = b"no-store";

const HTML: [&str; 3] =
    ["<!doctype html>\n<html lang=\"en\">\n<head><title>", "</title></head>\n<body><h1>", "</h1></body>\n</html>\n"];

/// In order of the code.
const REASONS: [(u16, &str); 40] = [
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (418, "I'm a Teapot"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (425, "Too Early"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (510, "Not Extended"),
    (511, "Network Authentication Required"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Head, Limits};

    #[test]
    fn reasons_stand_in_order() {
        assert!(REASONS.is_sorted());
        assert_eq!(
            (reason(400), reason(431), reason(499)),
            ("Bad Request", "Request Header Fields Too Large", "Client Error")
        );
    }

    #[test]
    fn html_is_for_who_names_it_with_no_less_weight_than_plain_text() {
        for (accept, html) in [
            ("text/html", true),
            ("TEXT/HTML;level=1 ; q=0.5", true),
            ("*/*", false),
            ("", false),
            ("text/*", false),
            ("text/html;q=0", false),
            ("text/html;Q=0.000", false),
            ("text/html;q=0.001", true),
            ("text/html;q=0.5, text/plain", false),
            ("text/plain;q=0.5\r\nAccept: text/html;q=0.51", true),
            ("text/plain, text/html", true),
            ("text/html;q=nan", false),
        ] {
            let bytes = format!("GET / HTTP/1.0\r\nAccept: {accept}\r\n\r\n").into_bytes();
            let mut head = Head::default();
            head.parse(&bytes, &Limits::default()).unwrap();
            assert_eq!(wants_html(head.so_far(&bytes)), html, "{accept}");
        }
    }
}
