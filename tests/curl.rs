//! curl in its many ways of asking, against an application that says what it was asked.

use serde_json::{Value, json};

use crate::support::outside::curl;
use crate::support::{Server, apps};

/// A command line of curl, and what the application was asked by it: a pointer into echo.py's answer, and the value.
///
/// `URL` stands for the server's address, `FILE` for a file of the ten bytes "0123456789".
type Case = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    (
        &["URL/a?b=c"],
        &[("/method", "GET"), ("/path", "/a"), ("/query", "b=c"), ("/environ/SERVER_PROTOCOL", "HTTP/1.1")],
    ),
    (&["--http1.0", "URL/a"], &[("/path", "/a"), ("/environ/SERVER_PROTOCOL", "HTTP/1.0")]),
    (&["--http2", "URL/"], &[("/method", "GET"), ("/environ/SERVER_PROTOCOL", "HTTP/1.1")]),
    (&["--compressed", "URL/"], &[("/environ/HTTP_ACCEPT_ENCODING", "SOME")]),
    (&["-H", "Connection: close", "URL/"], &[("/environ/HTTP_CONNECTION", "close")]),
    (&["-H", "X-Empty;", "URL/"], &[("/environ/HTTP_X_EMPTY", "")]),
    (&["-H", "X-Twice: a", "-H", "X-Twice: b", "URL/"], &[("/environ/HTTP_X_TWICE", "a,b")]),
    (&["-A", "", "-H", "Accept:", "URL/"], &[("/environ/HTTP_USER_AGENT", "NONE"), ("/environ/HTTP_ACCEPT", "NONE")]),
    (&["-b", "a=1; b=2", "URL/"], &[("/environ/HTTP_COOKIE", "a=1; b=2")]),
    (&["-u", "ada:secret", "URL/"], &[("/environ/HTTP_AUTHORIZATION", "Basic YWRhOnNlY3JldA==")]),
    (&["-r", "0-9", "URL/"], &[("/environ/HTTP_RANGE", "bytes=0-9")]),
    (
        &["-H", "Host: example.org", "URL/"],
        &[("/environ/HTTP_HOST", "example.org"), ("/environ/SERVER_NAME", "127.0.0.1")],
    ),
    (&["--path-as-is", "URL/a/../b//c/."], &[("/path", "/a/../b//c/.")]),
    (&["URL/%7Euser/%E2%82%AC%2F?%20=%"], &[("/path", "/~user/\u{e2}\u{82}\u{ac}/"), ("/query", "%20=%")]),
    (&["-G", "-d", "q=a%20b", "-d", "c=+", "URL/"], &[("/method", "GET"), ("/query", "q=a%20b&c=+")]),
    (&["-X", "OPTIONS", "--request-target", "*", "URL/"], &[("/method", "OPTIONS"), ("/environ/RAW_URI", "*")]),
    (&["-X", "PURGE", "URL/"], &[("/method", "PURGE")]),
    (&["-d", "a=1", "-d", "b=2", "URL/"], &[("/method", "POST"), ("/length", "7"), ("/environ/CONTENT_TYPE", FORM)]),
    (&["-d", "", "URL/"], &[("/method", "POST"), ("/length", "0"), ("/environ/CONTENT_LENGTH", "0")]),
    (&["--json", "{}", "URL/"], &[("/length", "2"), ("/environ/CONTENT_TYPE", "application/json")]),
    (&["-F", "field=@FILE", "URL/"], &[("/method", "POST"), ("/length", "SOME")]),
    (
        &["-T", "FILE", "URL/"],
        &[("/method", "PUT"), ("/length", "10"), ("/sha256", DIGITS), ("/environ/CONTENT_LENGTH", "10")],
    ),
    (
        &["-T", "FILE", "-H", "Transfer-Encoding: chunked", "URL/"],
        &[("/method", "PUT"), ("/length", "10"), ("/sha256", DIGITS)],
    ),
    (&["-T", "-", "URL/"], &[("/method", "PUT"), ("/length", "0")]),
    (&["-d", "@FILE", "-H", "Expect: 100-continue", "URL/"], &[("/length", "10"), ("/sha256", DIGITS)]),
    (&["--http1.0", "-d", "@FILE", "URL/"], &[("/length", "10"), ("/sha256", DIGITS)]),
    (&["-d", "@FILE", "URL/?unread"], &[("/method", "POST"), ("/length", "0")]),
];

const FORM: &str = "application/x-www-form-urlencoded";
/// SHA-256 of "0123456789".
const DIGITS: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

#[test]
fn whatever_curl_asks_the_application_hears() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("digits");
    std::fs::write(&file, "0123456789").unwrap();
    let mut server = Server::start(&["echo"]);
    for (words, expected) in CASES {
        let words =
            words.iter().map(|word| word.replace("URL", &server.url("")).replace("FILE", file.to_str().unwrap()));
        let words: Vec<String> = words.collect();
        let told = curl(&words);
        let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{words:?}: {error}\n{told}"));
        for (pointer, value) in *expected {
            check(&words, &told, pointer, value);
        }
    }
    server.stop();
}

fn check(words: &[String], told: &Value, pointer: &str, expected: &str) {
    let found = told.pointer(pointer).map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned));
    match expected {
        "SOME" => assert!(found.is_some_and(|found| !found.is_empty()), "{words:?}: {pointer}\n{told:#}"),
        "NONE" => assert_eq!(found, None, "{words:?}: {pointer}"),
        value => assert_eq!(found.as_deref(), Some(value), "{words:?}: {pointer}\n{told:#}"),
    }
}

#[test]
fn a_head_request_is_answered_at_once_and_the_connection_serves_the_next() {
    let mut server = Server::start(&["hello"]);
    let url = server.url("/");
    let head = curl(["-I", &url]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Length: 13\r\n"), "{head}");
    let both = curl(["-I", "-w", "%{num_connects}\n", &url, "--next", "-sS", "-w", "%{num_connects}\n", &url]);
    assert!(both.ends_with("\r\n\r\n1\nHello, World!0\n"), "{both:?}");
    server.stop();
}

#[test]
fn several_requests_share_a_connection_unless_one_side_closes_it() {
    let mut server = Server::start(&["hello"]);
    let url = server.url("/");
    let connects = |options: &[&str]| {
        let words = ["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} "];
        curl(words.iter().chain(options).copied().chain([&*url, &*url, &*url]))
    };
    assert_eq!(connects(&[]), "1 0 0 ");
    assert_eq!(connects(&["-d", "x=y"]), "1 0 0 ");
    assert_eq!(connects(&["-H", "Connection: close"]), "1 1 1 ");
    assert_eq!(connects(&["--http1.0"]), "1 1 1 ");
    assert_eq!(connects(&["--http1.0", "-H", "Connection: keep-alive"]), "1 0 0 ");
    server.stop();
}

#[test]
fn a_unix_socket_serves_the_same_as_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("app.sock");
    let socket = socket.to_str().unwrap();
    let mut server = Server::start_in(&apps(), &["echo", "-b", "127.0.0.1:0", "-b", &format!("unix:{socket}")]);
    for (host, name, port) in [("example.org", "example.org", "80"), ("example.org:81", "example.org", "81")] {
        let url = format!("http://{host}/a");
        let told: Value = serde_json::from_str(&curl(["--noproxy", "*", "--unix-socket", socket, &url])).unwrap();
        let environ = &told["environ"];
        assert_eq!(
            (&told["path"], &environ["SERVER_NAME"], &environ["SERVER_PORT"]),
            (&json!("/a"), &json!(name), &json!(port))
        );
    }
    server.stop();
}
