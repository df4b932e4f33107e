//! Lines of the access log as objects of JSON, with one type a field. Writes to no file, reads no clock.

use std::borrow::Cow;

use serde::Serialize;

use super::access_keys as keys;
use super::access_record::AccessRecord;
use super::basic_auth::basic_user;
use super::cgi;

/// The fields of a line, in their order. Text that is not known is `null`; bytes that are no UTF-8 are U+FFFD.
#[derive(Serialize)]
struct Line<'a> {
    /// When the response was complete, in UTC (RFC 3339).
    time: Option<String>,
    remote_addr: Option<String>,
    user: Option<String>,
    method: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    /// Decoded, as the application has left it.
    path: Option<String>,
    query: Option<Cow<'a, str>>,
    protocol: Option<Cow<'a, str>>,
    status: u16,
    /// Of the body.
    bytes: Option<u64>,
    /// From the whole head to the last byte sent, in seconds.
    duration: f64,
    referer: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    pid: u32,
}

/// Appends the line of `record`, without an end of line.
pub(crate) fn render(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    let request = record.request;
    let field = |name: &[u8]| request.and_then(|request| request.last_field(name)).map(text);
    let line = Line {
        time: time(record.time_text),
        remote_addr: match record.environ.of(keys::REMOTE_ADDR) {
            Some(address) => Some(owned(address)),
            None => record.remote_addr.map(|address| address.to_string()),
        },
        user: request.and_then(|request| request.field(b"authorization").and_then(basic_user)).map(|user| owned(&user)),
        method: part(record, keys::REQUEST_METHOD),
        host: field(b"host"),
        path: path(record),
        query: part(record, keys::QUERY_STRING).filter(|query| !query.is_empty()),
        protocol: part(record, keys::SERVER_PROTOCOL),
        status: record.response.code(),
        bytes: record.body_bytes,
        duration: (record.elapsed.as_secs_f64() * 1e6).round() / 1e6,
        referer: part(record, keys::HTTP_REFERER),
        user_agent: part(record, keys::HTTP_USER_AGENT),
        request_id: match record.environ.of(keys::HTTP_X_REQUEST_ID) {
            Some(id) => Some(text(id)),
            None => field(b"x-request-id"),
        },
        pid: record.pid,
    };
    // Writing values of this crate into memory does not fail.
    let _ = serde_json::to_writer(out, &line);
}

/// Returns a part of the request: as the application has left it in the environ, else as it came.
fn part<'a>(record: &AccessRecord<'a>, key: &str) -> Option<Cow<'a, str>> {
    if let Some(value) = record.environ.of(key) {
        return Some(text(value));
    }
    let request = record.request.as_ref().filter(|_| !record.environ.is_removed(key))?;
    keys::part(request, key).map(text)
}

fn path(record: &AccessRecord<'_>) -> Option<String> {
    if let Some(value) = record.environ.of(keys::PATH_INFO) {
        return Some(owned(value));
    }
    let request = record.request.filter(|_| !record.environ.is_removed(keys::PATH_INFO))?;
    let mut path = Vec::new();
    cgi::decode_path(request.path(), &mut path);
    Some(owned(&path))
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn owned(bytes: &[u8]) -> String {
    text(bytes).into_owned()
}

/// Returns `2026-11-20T08:10:07Z` for `[20/Nov/2026:08:10:07 +0000]`.
fn time(of_log: &str) -> Option<String> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (day, month, year, time) = (of_log.get(1..3)?, of_log.get(4..7)?, of_log.get(8..12)?, of_log.get(13..21)?);
    let month = MONTHS.find(month)? / 3 + 1;
    Some(format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::super::access_log::AccessFormat;
    use super::super::environ_values::EnvironValues;
    use super::super::response::ResponseHead;
    use super::super::{Head, Limits};
    use super::*;

    fn line(bytes: &[u8], environ: &EnvironValues) -> serde_json::Value {
        let (mut head, mut response) = (Head::default(), ResponseHead::default());
        let is_whole = head.parse(bytes, &Limits::default()).is_ok();
        response.start(b"404 Not Found").unwrap();
        let record = AccessRecord {
            request: is_whole.then(|| head.of(bytes)),
            response: &response,
            environ,
            remote_addr: Some(IpAddr::from([127, 0, 0, 1])),
            body_bytes: Some(12),
            time_text: "[20/Nov/2026:08:10:07 +0000]",
            elapsed: Duration::from_nanos(1_002_003_400),
            pid: 77,
        };
        let mut out = Vec::new();
        AccessFormat::parse("json").unwrap().render(&record, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn each_field_has_one_type() {
        let request = b"GET /a%22%0a%c3%a4?q=1 HTTP/1.1\r\nHost: h:80\r\nReferer: http://r/\r\n\
            User-Agent: x\"\xe4\r\nX-Request-ID: abc\r\nAuthorization: Basic YWxhOm9wZW4=\r\n\r\n";
        let found = line(request, &EnvironValues::default());
        let expected = serde_json::json!({
            "time": "2026-11-20T08:10:07Z", "remote_addr": "127.0.0.1", "user": "ala", "method": "GET", "host": "h:80",
            "path": "/a\"\n\u{e4}", "query": "q=1", "protocol": "HTTP/1.1", "status": 404, "bytes": 12,
            "duration": 1.002_003, "referer": "http://r/", "user_agent": "x\"\u{fffd}", "request_id": "abc", "pid": 77,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_application_has_the_last_word_and_what_is_unknown_is_null() {
        let mut environ = EnvironValues::new(keys::OF_OBJECT.map(str::to_owned).to_vec());
        environ.set(2, b"of-the-application");
        environ.set(5, b"10.0.0.1");
        environ.remove(4);
        let found = line(b"GET /?secret HTTP/1.1\r\nHost: h\r\n\r\n", &environ);
        assert_eq!((&found["request_id"], &found["remote_addr"]), (&"of-the-application".into(), &"10.0.0.1".into()));
        assert!(found["query"].is_null() && found["user"].is_null() && found["referer"].is_null(), "{found}");
        let refused = line(b"no request\r\n", &EnvironValues::default());
        assert!(refused["method"].is_null() && refused["path"].is_null(), "{refused}");
    }
}
