//! The short response to a request that was refused or failed before it had one. Says the status and no more: what
//! the server is and what exactly was wrong stands in the log.

use super::grammar;

/// Appends a whole response with `status` to `out`: HTML where `accept`, the request's Accept field, asks for it, else
/// plain text. It closes the connection. `date` is the value of Date.
pub fn error_response(out: &mut Vec<u8>, status: u16, date: &[u8], accept: Option<&[u8]>) {
    let reason = reason(status);
    let html = accept.is_some_and(prefers_html);
    let (kind, length) = if html {
        ("text/html", HTML.iter().map(|piece| piece.len()).sum::<usize>() + 2 * (CODE_AND_BLANK + reason.len()))
    } else {
        ("text/plain", CODE_AND_BLANK + reason.len() + 1)
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    push_status(out, status, reason);
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\nConnection: close\r\nContent-Type: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"; charset=utf-8\r\nContent-Length: ");
    grammar::push_decimal(out, length as u64);
    out.extend_from_slice(b"\r\n\r\n");
    if html {
        let [start, middle, end] = HTML;
        out.extend_from_slice(start.as_bytes());
        push_status(out, status, reason);
        out.extend_from_slice(middle.as_bytes());
        push_status(out, status, reason);
        out.extend_from_slice(end.as_bytes());
    } else {
        push_status(out, status, reason);
        out.push(b'\n');
    }
}

/// The reason phrase of `status` (IANA HTTP Status Code Registry); of its class where it is not known.
pub fn reason(status: u16) -> &'static str {
    match REASONS.binary_search_by_key(&status, |&(code, _)| code) {
        Ok(at) => REASONS[at].1,
        Err(_) if status < 400 => "Unknown",
        Err(_) if status < 500 => "Client Error",
        Err(_) => "Server Error",
    }
}

/// Whether Accept names HTML with a weight other than 0. Browsers do in every navigation, tools do not.
fn prefers_html(accept: &[u8]) -> bool {
    grammar::list(accept).any(|range| {
        let mut parts = range.split(|&byte| byte == b';').map(grammar::trim);
        let html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/html"));
        html && !parts.any(|parameter| matches!(parameter, b"q=0" | b"q=0." | b"q=0.0" | b"q=0.00" | b"q=0.000"))
    })
}

/// Three digits, whatever was asked for.
fn push_status(out: &mut Vec<u8>, status: u16, reason: &str) {
    grammar::push_decimal(out, u64::from(status.clamp(100, 599)));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
}

const CODE_AND_BLANK: usize = 4;

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

    #[test]
    fn reasons_stand_in_order() {
        assert!(REASONS.is_sorted());
        assert_eq!(
            (reason(400), reason(431), reason(499)),
            ("Bad Request", "Request Header Fields Too Large", "Client Error")
        );
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        for accept in [None, Some(&b"text/html"[..]), Some(b"application/json, text/html;q=0")] {
            for status in [0, 404, 500, 999] {
                let mut out = Vec::new();
                error_response(&mut out, status, b"", accept);
                let text = String::from_utf8(out).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");
            }
        }
    }
}
