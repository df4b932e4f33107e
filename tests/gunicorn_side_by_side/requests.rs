//! What is asked of every server, each request on a connection of its own. A client calls itself as its request is called, so
//! that lines of the access log find their way back.

/// Each request's name and its bytes.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let rows = ONCE.iter().map(|(name, text)| (*name, (*text).to_owned()));
    let rows =
        rows.chain(REPEATED.iter().map(|(name, text, count)| (*name, text.replace("{repeated}", &"a".repeat(*count)))));
    let fields: String = (0..110).map(|number| format!("X-{number}: a\r\n")).collect();
    let rows = rows.chain([("many fields", format!("GET / HTTP/1.1\r\nHost: test\r\n{{}}\r\n{fields}\r\n"))]);
    rows.map(|(name, text)| (name, text.replace("{}", &format!("User-Agent: {name}\r\nConnection: close")))).collect()
}

#[rustfmt::skip] // A table: name, text.
const ONCE: &[(&str, &str)] = &[
    ("GET /", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("GET to be kept", "GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: GET to be kept\r\n\r\n"),
    ("GET in 1.0 to be kept", "GET / HTTP/1.0\r\nUser-Agent: GET in 1.0 to be kept\r\nConnection: keep-alive\r\n\r\n"),
    (
        "GET with everything",
        "GET /a%20b/c%2Fd?x=1&y=%20 HTTP/1.1\r\nHost: test:8080\r\n{}\r\nAccept: a\r\nAccept: b\r\n\
         Cookie: c=1\r\nX-Forwarded-For: 192.0.2.9, 10.0.0.1\r\nX-Request-Id:  7 \r\nReferer: http://a/\"b\"\r\n\
         Authorization: Basic bWU6c2VjcmV0\r\n\r\n",
    ),
    ("GET beyond ASCII", "GET /%C3%BC HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("GET by https", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-Forwarded-Proto: https\r\nX-Scheme: tls\r\n\r\n"),
    ("GET by http", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-Forwarded-Proto: http\r\n\r\n"),
    ("GET contradictory", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n"),
    ("GET in 1.0", "GET /?old HTTP/1.0\r\nUser-Agent: GET in 1.0\r\n\r\n"),
    ("GET absolute", "GET http://other/path?q HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("GET with underscores", "GET /app/path HTTP/1.1\r\nHost: test\r\n{}\r\nScript_Name: /app\r\nRemote_User: me\r\nX_Y: z\r\n\r\n"),
    ("GET missing", "GET /missing HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("GET raises", "GET /raises HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("POST", "POST /form HTTP/1.1\r\nHost: test\r\n{}\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"),
    ("POST chunked", "POST /form HTTP/1.1\r\nHost: test\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("a long line", "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("a folded field", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-A: b\r\n c\r\n\r\n"),
    ("a blank before the colon", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-A : b\r\n\r\n"),
    ("a method in small letters", "get / HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n"),
    ("no such version", "GET / HTTP/3.0\r\nHost: test\r\n{}\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: test\r\nHost: other\r\n{}\r\n\r\n"),
    ("two lengths", "POST /form HTTP/1.1\r\nHost: test\r\n{}\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("a length and chunks", "POST /form HTTP/1.1\r\nHost: test\r\n{}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", "POST /form HTTP/1.1\r\nHost: test\r\n{}\r\nTransfer-Encoding: rot13, chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown expectation", "POST /form HTTP/1.1\r\nHost: test\r\n{}\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n"),
    ("a control byte", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-A: b\x01c\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-A\r\n\r\n"),
];

#[rustfmt::skip] // A table: name, text, how often what is repeated stands there.
const REPEATED: &[(&str, &str, usize)] = &[
    ("a long field", "GET / HTTP/1.1\r\nHost: test\r\n{}\r\nX-A: {repeated}\r\n\r\n", 9000),
    ("a request line beyond all", "GET /{repeated} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n", 9000),
];
