//! Lines of the access log, beside those of gunicorn: the same requests, the same format, the same application.

use crate::support::gunicorn::Gunicorn;
use crate::support::{Server, directory, wait_until};
use serde_json::Value;
use tempfile::TempDir;

/// Answers with the status and the body that the query asks for.
const APP: (&str, &str) = (
    "app.py",
    r#"
from urllib.parse import parse_qs

def application(environ, start_response):
    asked = parse_qs(environ["QUERY_STRING"])
    body = b"x" * int(asked.get("n", ["3"])[0])
    environ["wsgi.input"].read()
    fields = [("X-Out", 'say "so"'), ("X-Twice", "one"), ("X-Twice", "two"), ("Content-Type", "text/plain")]
    if "chunked" not in asked:
        fields.append(("Content-Length", str(len(body))))
    start_response(asked.get("s", ["200 OK"])[0], fields)
    return [body[:2], body[2:]]
"#,
);

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a%20b/c?q=1&x=%22 HTTP/1.1\r\nHost: H:80\r\nReferer: http://r/\r\nUser-Agent: curl/8 (\"x\")\r\n\r\n",
    "GET /?n=0 HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n",
    "GET /?n=5000 HTTP/1.1\r\nHost: h\r\nAuthorization: bAsIc OnBhc3N3b3Jk\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic !!!\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer abc\r\n\r\n",
    "GET /?s=404+Not+Found&n=9 HTTP/1.0\r\n\r\n",
    "GET /?chunked=1&n=70000 HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n\r\n",
    "POST /form?a=b HTTP/1.1\r\nHost: h\r\nContent-Type: text/x\r\nContent-Length: 4\r\n\r\nbody",
    "DELETE /?s=204+No+Content&n=0 HTTP/1.1\r\nHost: h\r\n\r\n",
];

fn site() -> TempDir {
    directory(&[APP])
}

/// The lines that gunicorn writes of these requests, and those that rwsgi writes.
fn both(format: &str, requests: &[&str]) -> [Vec<String>; 2] {
    let files = site();
    let words = ["--access-logfile", "-", "--access-logformat", format, "app"];
    let gunicorn = Gunicorn::start(files.path(), &words);
    let server = Server::start_in(files.path(), &words);
    for (number, request) in requests.iter().enumerate() {
        let (theirs, ours) = (gunicorn.ask(request), server.ask(request));
        assert_eq!((theirs.status, theirs.body.len()), (ours.status, ours.body.len()), "{request}");
        // A line each, in the order of the requests.
        for output in [&gunicorn.output, &server.output] {
            wait_until("a line in the access log", || output.stdout().lines().count() > number);
        }
    }
    [gunicorn.output.stdout(), server.output.stdout()].map(|text| text.lines().map(str::to_owned).collect())
}

fn check(format: &str) {
    let [theirs, ours] = both(format, REQUESTS);
    for ((theirs, ours), request) in theirs.iter().zip(&ours).zip(REQUESTS) {
        assert_eq!(ours, theirs, "{format}: {request}");
    }
}

#[test]
fn every_name_has_gunicorns_value() {
    check("%(h)s|%(l)s|%(u)s|%(r)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(b)s|%(B)s|%(f)s|%(a)s|%(T)s|%(z)s|%({a}z)s|100%%");
}

#[test]
fn fields_have_gunicorns_values() {
    check(
        "%({Host}i)s|%({host}i)s|%({x-twice}i)s|%({X-None}i)s|%({content-length}i)s|%({x-forwarded-for}i)s|\
         %({X-OUT}o)s|%({x-twice}o)s|%({server}o)s|%({date}o)s|%({content-type}o)s|%({content-length}o)s|%({x-none}o)s",
    );
}

#[test]
fn conversions_are_pythons() {
    check(
        "%(B)d|%(B)06d|%(B)-6d|%(B)+d|%(B) d|%(B)x|%(B)#X|%(B)o|%(B).3f|%(B)012.2f|%(B).4d|%(a).5s|%(m)6s|%(m)-6s|%(T)i",
    );
}

#[test]
fn what_is_measured_has_gunicorns_shape() {
    let [theirs, ours] = both("%(t)s %(D)s %(M)s %(L)s %(p)s %(T)s", &REQUESTS[..2]);
    let zeros =
        |text: &str| -> String { text.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect() };
    let shape = |line: &str| -> String {
        // Numbers have as many digits as they need, those of a date and of a fraction aside.
        let (date, rest) = line.split_at("[20/Nov/2026:08:10:07 +0000]".len());
        let words = rest.split(' ').map(|word| match word.split_once('.') {
            Some((_, fraction)) => format!("0.{}", zeros(fraction)),
            None => zeros(word).chars().fold(String::new(), |mut shape, char| {
                if char != '0' || !shape.ends_with('0') {
                    shape.push(char);
                }
                shape
            }),
        });
        format!("{}{}", zeros(date), words.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(shape(&ours[0]), shape(&theirs[0]), "{ours:?} {theirs:?}");
    assert_eq!(ours[0][..12], theirs[0][..12], "the same day");
}

#[test]
fn a_format_of_json_gives_objects_with_gunicorns_values() {
    let format = r#"{"method":"%(m)s","path":"%(U)s","query":"%(q)s","status":%(s)s,"bytes":%(B)s,"agent":"%(a)s","line":"%(r)s"}"#;
    let [theirs, ours] = both(format, REQUESTS);
    for (theirs, ours) in theirs.iter().zip(&ours) {
        let parsed = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(parsed(ours), parsed(theirs));
    }
}

/// What a client sends to forge a line, or to break an object of JSON.
const HOSTILE: &[&str] = &[
    "GET /a%0aforged%0d%00%1b%7f?x=%0a HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YQpmb3JnZWQ6eA==\r\n\r\n",
    "GET /%c3%a4%5c%22 HTTP/1.1\r\nHost: h\r\nUser-Agent: \\\" tab\there \u{e4}\r\n\r\n",
];

fn ours(format: &str) -> Vec<String> {
    let files = site();
    let mut server = Server::start_in(files.path(), &["--access-logfile", "-", "--access-logformat", format, "app"]);
    for request in HOSTILE {
        assert_eq!(server.ask(request).status, 200);
    }
    server.stop();
    server.output.stdout().lines().map(str::to_owned).collect()
}

#[test]
fn no_client_can_forge_a_line() {
    let lines = ours("%(u)s %(U)s %(q)s \"%(a)s\"");
    assert_eq!(
        lines,
        [
            r#"- /a\x0aforged\x0d\x00\x1b\x7f x=%0a "-""#,
            r#"a\x0aforged /  "-""#,
            r#"- /\xc3\xa4\\\"  "\\\" tab\x09here \xc3\xa4""#,
        ]
    );
}

#[test]
fn no_client_can_break_an_object_of_json() {
    let lines = ours(r#"{"user": "%(u)s", "path": "%(U)s", "agent": "%(a)s"}"#);
    let objects: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["path"], "/a\nforged\r\0\u{1b}\u{7f}");
    assert_eq!(objects[1]["user"], "a\nforged");
    // Bytes are the code points of the same number, as in an environ.
    assert_eq!(objects[2]["path"], "/\u{c3}\u{a4}\\\"");
    assert_eq!(objects[2]["agent"], "\\\" tab\there \u{c3}\u{a4}");
    assert_eq!(objects.len(), 3);
}

#[test]
fn names_that_mean_nothing_are_warned_of() {
    let files = site();
    let server = Server::start_in(files.path(), &["--access-logfile", "-", "--access-logformat", "%(z)s", "app"]);
    server.wait_for("--access-logformat: %(z)s is always -, names are");
}

#[test]
fn the_format_json_is_an_object_with_numbers_as_numbers() {
    let files = site();
    let words = ["--access-logfile", "-", "--access-logformat", "json", "app"];
    let mut server = Server::start_in(files.path(), &words);
    let asked = "GET /a%20b?n=12 HTTP/1.1\r\nHost: site.test\r\nX-Request-ID: 7f3a\r\nConnection: close\r\n\r\n";
    assert_eq!(server.ask(asked).status, 200);
    assert_eq!(server.ask("GET / HTTP/1.1\r\n\r\n").status, 400);
    for request in HOSTILE {
        assert_eq!(server.ask(request).status, 200);
    }
    server.stop();
    let text = server.output.stdout();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = lines[0].as_object().unwrap();
    let expected = [("method", "GET"), ("path", "/a b"), ("query", "n=12"), ("host", "site.test")];
    for (name, value) in expected.into_iter().chain([("request_id", "7f3a"), ("protocol", "HTTP/1.1")]) {
        assert_eq!(first[name], value, "{text}");
    }
    assert!(first["status"] == 200 && first["bytes"] == 12 && first["pid"].is_u64(), "{text}");
    assert!(first["duration"].is_f64() && first["referer"].is_null(), "{text}");
    assert_eq!(first["time"].as_str().unwrap().len(), "2026-11-20T08:10:07Z".len());
    assert_eq!((&lines[1]["status"], &lines[1]["path"]), (&400.into(), &"/".into()));
    assert_eq!(lines[2]["path"], "/a\nforged\r\0\u{1b}\u{7f}");
    assert_eq!((lines.len(), &lines[4]["path"]), (5, &"/\u{e4}\\\"".into()));
}

#[test]
fn paths_that_are_skipped_have_no_line_unless_they_fail() {
    let files = site();
    let words = ["--access-logfile", "-", "--access-logformat", "%(U)s %(q)s", "--access-log-skip", "/healthz,/ready"];
    let mut server = Server::start_in(files.path(), &[&words[..], &["app"]].concat());
    for target in ["/healthz", "/healthz?n=1", "/healthz?s=500+Broken", "/ready", "/readyx", "/healthz/"] {
        server.get(target);
    }
    server.stop();
    assert_eq!(server.output.stdout(), "/healthz s=500+Broken\n/readyx \n/healthz/ \n");
}
