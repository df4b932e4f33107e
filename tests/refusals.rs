//! What becomes of requests before the application has them: which proxies are believed, which fields are dropped or
//! refused, what people see of it, and what the access log says.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::support::wire::{assert_ended, json_of};
use crate::support::{self, Response, Server, directory};
use serde_json::Value;

/// Asks for / with further fields and gives the environ.
fn environ(server: &Server, fields: &str) -> Value {
    json_of(&server.ask(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")))["environ"].clone()
}

/// Fields, and the scheme that a trusted peer says by them; none where they contradict each other.
const SCHEMES: [(&str, Option<&str>); 17] = [
    ("", Some("http")),
    ("X-Forwarded-Proto: https\r\n", Some("https")),
    ("x-forwarded-PROTO:https\r\n", Some("https")),
    ("X-Forwarded-Proto: http\r\n", Some("http")),
    ("X-Forwarded-Proto: HTTPS\r\n", Some("http")),
    ("X-Forwarded-Proto: https, http\r\n", Some("http")),
    ("X-Forwarded-Proto:\r\n", Some("http")),
    ("X-Forwarded-Protocol: ssl\r\n", Some("https")),
    ("X-Forwarded-Protocol: https\r\n", Some("http")),
    ("X-Forwarded-Ssl: on\r\n", Some("https")),
    ("X-Forwarded-Ssl: off\r\n", Some("http")),
    ("X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\n", Some("https")),
    ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n", Some("https")),
    ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", None),
    ("X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: http\r\n", None),
    ("Forwarded: proto=https\r\nX-Forwarded-Scheme: https\r\nFront-End-Https: on\r\n", Some("http")),
    // What could become the same variable is none of them.
    ("X_Forwarded_Proto: https\r\n", Some("http")),
];

#[test]
fn a_trusted_peer_says_by_which_scheme_the_client_came() {
    let trusting: [&[&str]; 5] = [
        &["echo"],
        &["echo", "--forwarded-allow-ips", "*"],
        &["echo", "--forwarded-allow-ips", "10.0.0.1,127.0.0.0/8"],
        &["echo", "--forwarded-allow-ips", "127.0.0.1", "-b", "[::]:0"],
        &["echo", "--forwarded-allow-ips", "::ffff:127.0.0.0/104", "-b", "[::]:0"],
    ];
    for words in trusting {
        let server = Server::start(words);
        for (fields, scheme) in SCHEMES {
            let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
            // An IPv6 listener sees this as an IPv4-mapped peer.
            let response = support::outside::ask(server.port(), request);
            let Some(scheme) = scheme else {
                assert_eq!((response.status, response.field("connection")), (400, Some("close")), "{words:?} {fields}");
                continue;
            };
            assert_eq!(json_of(&response)["environ"]["wsgi.url_scheme"], scheme, "{words:?} {fields}");
        }
    }
}

#[test]
fn whatever_an_untrusted_peer_says_it_came_by_http() {
    for peers in ["10.0.0.0/8", "127.0.0.2,::1", ""] {
        let server = Server::start(&["echo", "--forwarded-allow-ips", peers]);
        for (fields, _) in SCHEMES {
            assert_eq!(environ(&server, fields)["wsgi.url_scheme"], "http", "{peers:?} {fields}");
        }
        // The application may still look at them itself.
        let seen = environ(&server, "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n");
        assert_eq!(seen["HTTP_X_FORWARDED_PROTO"], "https");
        assert_eq!((&seen["HTTP_X_FORWARDED_FOR"], &seen["REMOTE_ADDR"]), (&"192.0.2.1".into(), &"127.0.0.1".into()));
        assert_eq!(environ(&server, "SCRIPT_NAME: /x\r\n")["SCRIPT_NAME"], "", "{peers:?}");
    }
}

#[test]
fn a_peer_on_a_unix_socket_is_believed() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("s");
    let bind = format!("unix:{}", socket.display());
    let _server = Server::start(&["echo", "-b", &bind, "--forwarded-allow-ips", "10.0.0.1"]);
    let ask = |path: &str, fields: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes()).unwrap();
        Response::read(&mut stream).unwrap()
    };
    for (fields, scheme) in SCHEMES {
        let response = ask("/", fields);
        match scheme {
            None => assert_eq!(response.status, 400, "{fields}"),
            Some(scheme) => assert_eq!(json_of(&response)["environ"]["wsgi.url_scheme"], scheme, "{fields}"),
        }
    }
    let https = json_of(&ask("/", "X-Forwarded-Proto: https\r\n"))["environ"].clone();
    assert_eq!((&https["SERVER_NAME"], &https["SERVER_PORT"]), (&"test".into(), &"443".into()));
    let below = json_of(&ask("/x/y", "SCRIPT_NAME: /x\r\n"))["environ"].clone();
    assert_eq!((&below["SCRIPT_NAME"], &below["PATH_INFO"]), (&"/x".into(), &"/y".into()));
}

#[test]
fn one_may_say_which_fields_say_https() {
    let file = "bind = '127.0.0.1:0'\nsecure_scheme_headers = { cloudfront-forwarded-proto = 'https' }\n";
    let files = directory(&[("app.toml", file), ("echo.py", include_str!("apps/echo.py"))]);
    let server = Server::start_in(files.path(), &["-c", "app.toml", "echo"]);
    assert_eq!(environ(&server, "CloudFront-Forwarded-Proto: https\r\n")["wsgi.url_scheme"], "https");
    assert_eq!(environ(&server, "X-Forwarded-Proto: https\r\n")["wsgi.url_scheme"], "http");
}

/// Path, prefix said, and what becomes of them: SCRIPT_NAME and PATH_INFO; refused where the path is not below the prefix.
const PREFIXES: [[&str; 4]; 10] = [
    ["/front/page", "/front", "/front", "/page"],
    ["/front/page", "/front/", "/front", "/page"],
    ["/front", "/front", "/front", ""],
    ["/front/", "/front", "/front", "/"],
    ["/a/b/c%20d", "/a/b", "/a/b", "/c d"],
    ["/page", "", "", "/page"],
    ["/page", "/", "", "/page"],
    ["/other", "/front", "refused", ""],
    ["/frontier", "/front", "refused", ""],
    ["/", "/front", "refused", ""],
];

#[test]
fn a_trusted_peer_says_where_the_application_is_mounted() {
    let server = Server::start(&["echo"]);
    for [path, prefix, script, info] in PREFIXES {
        for name in ["SCRIPT_NAME", "script_name"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{name}: {prefix}\r\n\r\n");
            let response = server.ask(request);
            if script == "refused" {
                assert_eq!(response.status, 404, "{path} {prefix}");
                continue;
            }
            let told = json_of(&response)["environ"].clone();
            assert_eq!((&told["SCRIPT_NAME"], &told["PATH_INFO"]), (&script.into(), &info.into()), "{path} {prefix}");
        }
    }
    // Nothing of it is left for the next request on any connection.
    assert_eq!(environ(&server, "")["SCRIPT_NAME"], "");
    server.wait_for("request for a path that is not below SCRIPT_NAME, answered 404 path=/frontier script_name=/front");
}

#[test]
fn fields_with_an_underscore_are_dropped_refused_or_let_pass() {
    let fields = "X_Forwarded_For: 192.0.2.1\r\nX-Real_IP: 192.0.2.2\r\nX-Good: yes\r\n";
    let dropping = Server::start(&["echo"]);
    let told = environ(&dropping, fields);
    assert_eq!((&told["HTTP_X_FORWARDED_FOR"], &told["HTTP_X_REAL_IP"]), (&Value::Null, &Value::Null));
    assert_eq!(told["HTTP_X_GOOD"], "yes");
    // The one that a proxy vouches for is not mixed with the other.
    let mixed = environ(&dropping, "X-Forwarded-For: 198.51.100.1\r\nX_Forwarded_For: 192.0.2.1\r\n");
    assert_eq!(mixed["HTTP_X_FORWARDED_FOR"], "198.51.100.1");
    let hidden = environ(&dropping, "Content_Type: text/evil\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n");
    assert_eq!((&hidden["HTTP_CONTENT_TYPE"], &hidden["CONTENT_TYPE"]), (&Value::Null, &Value::Null));

    let refusing = Server::start(&["echo", "--header-map", "refuse"]);
    for field in ["X_Forwarded_For: 192.0.2.1", "_: x", "X-Real_IP: 192.0.2.2"] {
        let mut stream = refusing.connect();
        let response = ask(&mut stream, format!("GET / HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n"));
        assert_eq!((response.status, response.field("connection")), (400, Some("close")), "{field}");
        assert_ended(&mut stream);
    }
    assert_eq!(environ(&refusing, "X-Good: yes\r\n")["HTTP_X_GOOD"], "yes");
    // A trusted peer may send the names that are its own.
    let below = refusing.ask("GET /x/y HTTP/1.1\r\nHost: test\r\nSCRIPT_NAME: /x\r\n\r\n");
    assert_eq!(json_of(&below)["environ"]["SCRIPT_NAME"], "/x");
    let strangers = Server::start(&["echo", "--header-map", "refuse", "--forwarded-allow-ips", "10.0.0.1"]);
    assert_eq!(strangers.ask("GET /x/y HTTP/1.1\r\nHost: test\r\nSCRIPT_NAME: /x\r\n\r\n").status, 400);

    let careless = Server::start(&["echo", "--header-map", "dangerous"]);
    let told = environ(&careless, &format!("{fields}X-Real-IP: 192.0.2.3\r\n"));
    assert_eq!(told["HTTP_X_FORWARDED_FOR"], "192.0.2.1");
    assert_eq!(told["HTTP_X_REAL_IP"], "192.0.2.2,192.0.2.3");
}

#[test]
fn one_may_say_which_names_a_trusted_peer_may_send() {
    let fields = "REMOTE_USER: ada\r\nX_Other: x\r\n";
    for (names, peers, user, other) in [
        ("REMOTE_USER", "127.0.0.1", Some("ada"), None),
        ("remote_user,script_name", "127.0.0.1", Some("ada"), None),
        ("*", "127.0.0.1", Some("ada"), Some("x")),
        ("*", "10.0.0.1", None, None),
    ] {
        let words = ["echo", "--forwarder-headers", names, "--forwarded-allow-ips", peers];
        let told = environ(&Server::start(&words), fields);
        assert_eq!(told["HTTP_REMOTE_USER"].as_str(), user, "{names} {peers}");
        assert_eq!(told["HTTP_X_OTHER"].as_str(), other, "{names} {peers}");
        // It is a field of the request still, and not what the server found out.
        assert_eq!(told["REMOTE_USER"], Value::Null, "{names} {peers}");
    }
}

/// Requests that are refused or fail, their status, and whether there is a page for it.
const FAILING: [(&str, u16, bool); 6] = [
    ("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n", 413, true),
    ("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n", 413, true),
    ("GET / HTTP/1.1\r\n\r\n", 400, true),
    ("nonsense\r\n\r\n", 400, true),
    ("GET /silent HTTP/1.1\r\nHost: test\r\n\r\n", 500, true),
    ("GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505, false),
];

#[test]
fn refused_and_failed_requests_get_pages_of_ones_own() {
    let page = |status: u16| format!("<!doctype html>\n<title>{status}</title>\n<p>Tut uns leid: \u{e4}\u{f6}\u{fc}\n");
    let (too_large, bad, failed) = (page(413), page(400), page(500));
    let files = directory(&[
        ("413.html", &too_large),
        ("400.html", &bad),
        ("500.html", &failed),
        ("404.html", "never"),
        ("200.html", "never"),
        ("505.htm", "never"),
        ("505.html.old", "never"),
        ("page.html", "never"),
    ]);
    let pages = files.path().to_str().unwrap();
    let server = Server::start(&["misuse", "--limit-request-body", "10", "--error-pages", pages]);
    for (request, status, has_page) in FAILING {
        for accept in ["", "Accept: text/html\r\n", "Accept: application/json\r\n"] {
            let request = request.replacen("Host: test\r\n", &format!("Host: test\r\n{accept}"), 1);
            let mut stream = server.connect();
            let response = ask(&mut stream, &request);
            assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{request}");
            let own = response.text() == page(status);
            assert_eq!(own, has_page, "{request}\n{}", response.text());
            if own {
                assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"), "{request}");
            }
            assert_ended(&mut stream);
        }
    }
    // The application's own answer is its own, whatever its status.
    let answered = server.get("/error-page");
    assert_eq!((answered.status, answered.text().as_str()), (503, "sorry"));
    for (request, status) in [
        ("HEAD /silent HTTP/1.1\r\nHost: test\r\n\r\n", 500),
        ("HEAD / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n", 413),
    ] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let head = Response::read_head(&mut stream).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", page(status).len())), "{head}");
        assert_ended(&mut stream);
    }
}

#[test]
fn without_pages_of_ones_own_the_words_are_few_and_fit_who_asks() {
    let server = Server::start(&["misuse", "--limit-request-body", "10"]);
    for (request, status, _) in FAILING {
        let plain = server.ask(request);
        assert_eq!(
            (plain.status, plain.field("content-type")),
            (status, Some("text/plain; charset=utf-8")),
            "{request}"
        );
        assert!(plain.text().starts_with(&format!("{status} ")) && plain.body.len() < 50, "{}", plain.text());
        assert_eq!(plain.field("server"), None, "{}", plain.head);
        let browser = "Host: test\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
        let asked = request.replacen("Host: test\r\n", browser, 1);
        if asked != request && status != 505 {
            let page = server.ask(asked);
            assert_eq!(
                (page.status, page.field("content-type")),
                (status, Some("text/html; charset=utf-8")),
                "{request}"
            );
            assert!(page.text().contains(&format!("{status} ")) && page.body.len() < 1000, "{}", page.text());
        }
    }
}

#[test]
fn a_directory_of_pages_that_is_not_there_ends_the_start() {
    let words = ["misuse", "-b", "127.0.0.1:0", "--error-pages", "/no/such/directory"];
    let (code, _, log) = support::run(&support::apps(), words);
    assert_ne!(code, 0, "{log}");
    assert!(log.contains("/no/such/directory"), "{log}");
}

#[test]
fn refused_requests_are_in_the_access_log() {
    let format = r#"%(h)s "%(r)s" %(s)s %(b)s "%(a)s""#;
    let words = ["misuse", "--limit-request-body", "10", "--header-map", "refuse"];
    let words = [&words[..], &["--access-logfile", "-", "--access-logformat", format]].concat();
    let mut server = Server::start(&words);
    let agent = "Host: test\r\nUser-Agent: a test\r\n";
    #[rustfmt::skip] // A table: request, its line in the log.
    let cases = [
        (format!("GET /good HTTP/1.1\r\n{agent}\r\n"), r#""GET /good HTTP/1.1" 200 4 "a test""#),
        ("nonsense\r\n\r\n".to_owned(), r#""-" 400 16 "-""#),
        ("GET /a\"b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), r#""GET /a\"b HTTP/1.1" 400 16 "-""#),
        (format!("GET /no-host HTTP/1.1\r\n{}\r\n", &agent[12..]), r#""GET /no-host HTTP/1.1" 400 16 "a test""#),
        (format!("POST /large HTTP/1.1\r\n{agent}Content-Length: 11\r\n\r\n"), r#""POST /large HTTP/1.1" 413 22 "a test""#),
        (format!("PUT /chunk HTTP/1.1\r\n{agent}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), r#""PUT /chunk HTTP/1.1" 400 16 "a test""#),
        (format!("GET /under HTTP/1.1\r\n{agent}X_Y: z\r\n\r\n"), r#""GET /under HTTP/1.1" 400 16 "a test""#),
        (format!("GET /both HTTP/1.1\r\n{agent}X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n"), r#""GET /both HTTP/1.1" 400 16 "a test""#),
        (format!("GET /silent HTTP/1.1\r\n{agent}\r\n"), r#""GET /silent HTTP/1.1" 500 26 "a test""#),
        (format!("HEAD /large HTTP/1.1\r\n{agent}Content-Length: 11\r\n\r\n"), r#""HEAD /large HTTP/1.1" 413 0 "a test""#),
    ];
    for (request, _) in &cases {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Response::read_head(&mut stream).unwrap();
    }
    let log = server.stop();
    let lines: Vec<String> = server.output.stdout().lines().map(str::to_owned).collect();
    let expected: Vec<String> = cases.iter().map(|(_, line)| format!("127.0.0.1 {line}")).collect();
    assert_eq!(lines, expected, "{log}");
    // The error log has the reason, once each.
    assert_eq!(log.matches("request refused").count(), cases.len() - 2, "{log}");
}

fn ask(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> Response {
    stream.write_all(request.as_ref()).unwrap();
    Response::read(stream).unwrap_or_else(|error| panic!("{error}: {}", request.as_ref().escape_ascii()))
}
