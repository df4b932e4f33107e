//! Requests and responses over real connections: what clients and proxies rely on. What the application sees, and what
//! becomes of its mistakes, is in `application.rs`.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::wire::{assert_ended, chunked, counted};
use crate::support::{self, Response, Server, is_over, patient, patient_seconds};
use serde_json::Value;

#[test]
fn a_page_is_served_and_the_connection_is_kept() {
    let server = Server::start(&["hello"]);
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let response = Response::read(&mut stream).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "Hello, World!"));
    }
}

#[test]
fn methods_and_bodies_arrive_as_they_were_sent() {
    let server = Server::start(&["echo"]);
    let mut stream = server.connect();
    for (method, body) in
        [("GET", ""), ("POST", "a=b"), ("PUT", "x"), ("DELETE", ""), ("PATCH", "[]"), ("OPTIONS", ""), ("BREW", "tea")]
    {
        for framed in [counted(body), chunked(&[body])] {
            let request = format!("{method} /p HTTP/1.1\r\nHost: test\r\n{framed}");
            let told = json(&ask(&mut stream, request));
            assert_eq!((&told["method"], &told["length"]), (&method.into(), &body.len().into()), "{method} {framed:?}");
            assert_eq!(told["environ"]["CONTENT_LENGTH"], body.len().to_string(), "{method} {framed:?}");
        }
    }
}

#[test]
fn a_chunked_upload_is_decoded_and_the_next_request_follows_it() {
    let server = Server::start(&["input"]);
    let mut stream = server.connect();
    for body in [
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "B;name=value;other=\"quo\\\"ted\"\r\nhello world\r\n0\r\n\r\n",
        "00000b\r\nhello world\r\n000\r\nX-Trailer: dropped\r\n\r\n",
        "1\r\nh\r\n1\r\ne\r\n9\r\nllo world\r\n0\r\n\r\n",
    ] {
        let head = "POST /?do=read HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = ask(&mut stream, format!("{head}{body}"));
        assert_eq!((response.status, response.text().as_str()), (200, "[\"hello world\"]"), "{body:?}");
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let server = Server::start(&["hello"]);
    let mut stream = server.connect();
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let head = Response::read_head(&mut stream).unwrap();
    let get = Response::read(&mut stream).unwrap();
    let without_date =
        |head: &str| head.lines().filter(|line| !line.starts_with("Date:")).collect::<Vec<_>>().join("\n");
    assert_eq!(without_date(&head), without_date(&get.head));
    assert_eq!(get.text(), "Hello, World!");
}

/// What the request says, what the response's Connection field says, and whether the connection serves another one.
const PERSISTENCE: [(&str, &str, Option<&str>, bool); 10] = [
    ("/?length", "HTTP/1.1\r\nHost: test\r\n", None, true),
    ("/", "HTTP/1.1\r\nHost: test\r\n", None, true),
    ("/?length", "HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", Some("close"), false),
    ("/", "HTTP/1.1\r\nHost: test\r\nConnection: x, CLOSE\r\n", Some("close"), false),
    ("/", "HTTP/1.1\r\nHost: test\r\nConnection: keep-alive\r\nConnection: close\r\n", Some("close"), false),
    ("/?length", "HTTP/1.0\r\n", Some("close"), false),
    ("/?length", "HTTP/1.0\r\nConnection: Keep-Alive\r\n", Some("keep-alive"), true),
    // Without a length only its end delimits the body for HTTP/1.0.
    ("/", "HTTP/1.0\r\nConnection: keep-alive\r\n", Some("close"), false),
    ("/", "HTTP/1.0\r\n", Some("close"), false),
    ("/", "HTTP/1.7\r\nHost: test\r\n", None, true),
];

#[test]
fn a_connection_is_kept_exactly_if_both_sides_say_so() {
    let server = Server::start(&["stream"]);
    for (path, rest, connection, kept) in PERSISTENCE {
        let mut stream = server.connect();
        for _ in 0..2 {
            let response = ask(&mut stream, format!("GET {path} {rest}\r\n"));
            assert_eq!(response.text(), "0...\n1...\n2...\n", "{path} {rest:?}");
            assert_eq!(response.field("connection"), connection, "{path} {rest:?}");
            let chunked = response.field("transfer-encoding") == Some("chunked");
            assert_eq!(chunked, path == "/" && !rest.starts_with("HTTP/1.0"), "{path} {rest:?}");
            if !kept {
                assert_ended(&mut stream);
                break;
            }
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::start(&["echo"]);
    let mut stream = server.connect();
    let mut packet = String::new();
    for number in 0..200 {
        let framed = match number % 3 {
            0 => "\r\n".to_owned(),
            1 => counted(&"x".repeat(number)),
            _ => chunked(&["y", &"z".repeat(number)]),
        };
        packet.push_str(&format!("POST /{number} HTTP/1.1\r\nHost: test\r\n{framed}"));
    }
    packet.push_str("GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    packet.push_str("GET /beyond HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut sending = stream.try_clone().unwrap();
    let sender = thread::spawn(move || sending.write_all(packet.as_bytes()));
    for number in 0..200 {
        let told = json(&Response::read(&mut stream).unwrap());
        let length = [0, number, number + 1][number % 3];
        assert_eq!((&told["path"], &told["length"]), (&format!("/{number}").into(), &length.into()));
    }
    assert_eq!(json(&Response::read(&mut stream).unwrap())["path"], "/last");
    assert_ended(&mut stream);
    sender.join().unwrap().unwrap();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Server::start(&["echo"]);
    for framed in [counted("hello"), chunked(&["he", "llo"])] {
        let mut stream = server.connect();
        for _ in 0..2 {
            let request = format!("\r\nPOST /slowly HTTP/1.1\r\nHost: test\r\n{framed}");
            for byte in request.as_bytes() {
                stream.write_all(&[*byte]).unwrap();
            }
            let told = json(&Response::read(&mut stream).unwrap());
            assert_eq!((&told["path"], &told["length"]), (&"/slowly".into(), &5.into()));
        }
    }
}

#[test]
fn a_client_that_has_sent_its_last_request_gets_all_responses() {
    let server = Server::start(&["stream"]);
    for count in [1, 3] {
        let mut stream = server.connect();
        stream.write_all("GET /?sleep=0.01 HTTP/1.1\r\nHost: test\r\n\r\n".repeat(count).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        for _ in 0..count {
            assert_eq!(Response::read(&mut stream).unwrap().text(), "0...\n1...\n2...\n");
        }
        assert_ended(&mut stream);
    }
}

#[test]
fn an_end_that_arrives_together_with_a_request_is_seen() {
    let server = Server::start(&["slow"]);
    let mut kept = server.connect();
    assert_eq!(ask(&mut kept, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    let mut cut = server.connect();
    assert_eq!(ask(&mut cut, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    // While the worker is in the application, requests and ends come in; its next look finds both at once.
    let mut busy = server.connect();
    busy.write_all(b"GET /sleep?s=0.3 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    kept.shutdown(Shutdown::Write).unwrap();
    cut.write_all(b"GET / HT").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Response::read(&mut busy).unwrap().status, 200);
    assert_eq!(Response::read(&mut kept).unwrap().status, 200);
    assert_ended(&mut kept);
    assert_ended(&mut cut);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_once_and_in_time() {
    let server = Server::start(&["echo", "--limit-request-body", "10"]);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-Continue\r\n";
    let mut stream = server.connect();
    for framing in ["Content-Length: 5\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        stream.write_all(format!("{head}{framing}").as_bytes()).unwrap();
        assert_eq!(Response::read_head(&mut stream).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
        let body = if framing.starts_with('C') { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" };
        assert_eq!(json(&ask(&mut stream, body))["length"], 5);
    }
    // Nobody waits: the body is there, there is none, HTTP/1.0 does not know it.
    for request in [
        format!("{head}Content-Length: 5\r\n\r\nhello"),
        format!("{head}Content-Length: 0\r\n\r\n"),
        format!("{head}\r\n"),
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"
            .to_owned(),
    ] {
        assert_eq!(ask(&mut stream, &request).status, 200, "{request:?}");
    }
    // What will be refused is not asked for.
    assert_eq!(server.ask(format!("{head}Content-Length: 11\r\n\r\n")).status, 413);
    assert_eq!(server.ask("POST / HTTP/1.1\r\nHost: test\r\nExpect: miracles\r\n\r\n").status, 417);
}

#[test]
fn a_large_body_goes_to_a_file_without_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let server = Server::start(&["input", "--worker-tmp-dir", place, "--post-buffering", "1000"]);
    let mut stream = server.connect();
    for (length, kind) in [(0, "EmptyInput"), (1, "BytesIO"), (1000, "BytesIO"), (1001, "BufferedReader")] {
        let body = "x".repeat(length);
        for framed in [counted(&body), chunked(&[&body[..length / 2], &body[length / 2..]])] {
            let path = format!("/where?directory={place}");
            let told = json(&ask(&mut stream, format!("POST {path} HTTP/1.1\r\nHost: test\r\n{framed}")));
            assert_eq!((&told["kind"], &told["directory"]), (&kind.into(), &Value::Array(Vec::new())), "{length}");
            if kind == "BufferedReader" {
                let file = told["file"].as_str().unwrap();
                assert!(file.starts_with(place) && file.ends_with("(deleted)"), "{file}");
            }
        }
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_body_of_megabytes_arrives_whole_and_in_pieces() {
    let server = Server::start(&["echo"]);
    let body: Vec<u8> = (0..4_000_000_u32).map(|number| (number * 7 / 3).to_le_bytes()[0]).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &body).unwrap();
    let sum = String::from_utf8(Command::new("sha256sum").arg(file.path()).output().unwrap().stdout).unwrap();
    let upload = format!("@{}", file.path().display());
    // curl waits for 100 Continue before it sends this much.
    for extra in ["X-Plain: yes", "Transfer-Encoding: chunked"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-H", extra, "--data-binary", &upload, &server.url("/?piece=70001")]);
        let output = curl.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}{}", String::from_utf8_lossy(&output.stderr), server.log()));
        assert_eq!(told["length"], body.len(), "{extra}");
        assert_eq!(told["sha256"].as_str(), sum.split(' ').next(), "{extra}");
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let server = Server::start(&["echo", "--limit-request-body", "100"]);
    for (length, status) in [(100, 200), (101, 413)] {
        let body = "x".repeat(length);
        let halves = [&body[..60], &body[60..]];
        for framed in [counted(&body), chunked(&[&body]), chunked(&halves)] {
            let response = server.ask(format!("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{framed}"));
            assert_eq!(response.status, status, "{framed}");
        }
    }
}

#[test]
fn a_body_that_cannot_be_kept_costs_its_request_only() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("gone");
    fs::create_dir(&place).unwrap();
    let words = ["echo", "--worker-tmp-dir", place.to_str().unwrap(), "--post-buffering", "10"];
    let server = Server::start(&words);
    fs::remove_dir(&place).unwrap();
    let post = |length: usize| format!("POST / HTTP/1.1\r\nHost: test\r\n{}", counted(&"x".repeat(length)));
    let mut stream = server.connect();
    assert_eq!(ask(&mut stream, post(10)).status, 200);
    let refused = ask(&mut stream, post(100_000));
    assert_eq!((refused.status, refused.text().as_str()), (500, "500 Internal Server Error\n"));
    assert_ended(&mut stream);
    server.wait_for("cannot keep a request body");
    fs::create_dir(&place).unwrap();
    assert_eq!(server.ask(post(11)).status, 200);
    assert_eq!(server.workers().len(), 1, "{}", server.log());
}

#[rustfmt::skip] // A table: request, status.
fn refused() -> Vec<(Vec<u8>, u16)> {
    let long = |count: usize| "x".repeat(count);
    let host = "GET / HTTP/1.1\r\nHost: test\r\n";
    let texts = [
        ("hello\r\n\r\n".to_owned(), 400),
        ("GET /\r\n\r\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), 400),
        ("get / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: test\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("{host}Host: other\r\n\r\n"), 400),
        (format!("{host}A : b\r\n\r\n"), 400),
        (format!("{host}A: b\r\n folded\r\n\r\n"), 400),
        (format!("{host}A: b\0c\r\n\r\n"), 400),
        (format!("{host}Content-Length: +5\r\n\r\nhello"), 400),
        (format!("{host}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400),
        (format!("{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("{host}Transfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"), 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        (format!("{host}Content-Length: 99999999999999999999999\r\n\r\n"), 413),
        (format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", long(5000)), 414),
        (format!("{host}A: {}\r\n\r\n", long(9000)), 431),
        (format!("{host}{}\r\n", "A: b\r\n".repeat(100)), 431),
        (format!("{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        ("CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), 501),
        ("GET / HTTP/2.0\r\nHost: test\r\n\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
    ];
    let mut cases: Vec<_> = texts.into_iter().map(|(text, status)| (text.into_bytes(), status)).collect();
    cases.push((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400));
    cases
}

#[test]
fn what_is_refused_is_told_so_and_the_connection_ends() {
    let server = Server::start(&["hello"]);
    let cases = refused();
    for (request, status) in &cases {
        let shown = request.escape_ascii().to_string();
        let mut stream = server.connect();
        // A good one before it is answered first.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stream.write_all(request).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().status, 200, "{shown}");
        let response = Response::read(&mut stream).unwrap_or_else(|error| panic!("{error}: {shown}\n{}", server.log()));
        assert_eq!((response.status, response.field("connection")), (*status, Some("close")), "{shown}");
        assert!(response.text().starts_with(&status.to_string()), "{shown}: {}", response.text());
        assert_ended(&mut stream);
    }
    server.wait_for_lines("request refused", cases.len());
    assert_eq!(server.workers().len(), 1, "{}", server.log());
}

#[test]
fn a_client_that_is_still_sending_gets_the_refusal_and_no_reset() {
    let server = Server::start(&["echo", "--limit-request-body", "1000"]);
    let upload = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4000000\r\n\r\n";
    let endless = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
    for (head, status) in [(upload, 413), (endless, 413), ("nonsense\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400)] {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..61 {
            stream.write_all(&vec![b'x'; 65536]).unwrap_or_else(|error| panic!("{head:?}: {error}"));
        }
        assert_eq!(Response::read(&mut stream).unwrap().status, status, "{head:?}");
        assert_ended(&mut stream);
    }
}

#[test]
fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let server = Server::start(&["stream", "--keep-alive", &patient_seconds(0.3)]);
    let mut stream = server.connect();
    let request = "GET /?sleep=0.2 HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut answered = Instant::now();
    for _ in 0..2 {
        assert_eq!(ask(&mut stream, request).status, 200);
        answered = Instant::now();
    }
    assert_ended(&mut stream);
    let idle = answered.elapsed();
    assert!(idle >= Duration::from_millis(250) && idle < patient(Duration::from_secs(5)), "closed after {idle:?}");
    // A request that has begun is no idling, nor is a connection that has not sent its first one.
    let mut begun = server.connect();
    let mut fresh = server.connect();
    assert_eq!(ask(&mut begun, request).status, 200);
    begun.write_all(b"GET /?leng").unwrap();
    let mut other = server.connect();
    assert_eq!(ask(&mut other, request).status, 200);
    assert_ended(&mut other);
    assert_eq!(ask(&mut begun, "th HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    assert_eq!(ask(&mut fresh, request).status, 200);
}

#[test]
fn without_keep_alive_every_response_closes_its_connection() {
    let server = Server::start(&["hello", "--keep-alive", "0"]);
    for request in ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"] {
        let mut stream = server.connect();
        // The second one is sent in vain, and must not cost the first one its response.
        let response = ask(&mut stream, request.repeat(2));
        assert_eq!((response.status, response.field("connection")), (200, Some("close")));
        assert_ended(&mut stream);
    }
}

#[test]
fn a_piece_is_with_the_client_before_the_next_one_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let server = Server::start(&["closing"]);
    for version in ["HTTP/1.1\r\nHost: test\r\n", "HTTP/1.0\r\n"] {
        let mut stream = server.connect();
        stream.write_all(format!("GET /gate?gate={} {version}\r\n", gate.display()).as_bytes()).unwrap();
        let mut seen = Response::read_head(&mut stream).unwrap();
        while !seen.contains("first ") {
            let mut piece = [0; 100];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        assert!(!seen.contains("last"), "{seen}");
        // The application waits for this.
        fs::write(&gate, "second ").unwrap();
        let mut rest = Vec::new();
        while !rest.ends_with(b"last") && !rest.ends_with(b"0\r\n\r\n") {
            let mut piece = [0; 100];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "{}", rest.escape_ascii());
            rest.extend_from_slice(&piece[..count]);
        }
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains("second ") && rest.contains("last"), "{rest}");
    }
}

#[test]
fn pieces_make_one_body_however_it_is_delimited() {
    let server = Server::start(&["stream"]);
    let line = |number: usize, size: usize| {
        let number = number.to_string();
        format!("{number}{}\n", ".".repeat(size - 1 - number.len()))
    };
    for (chunks, size) in [(0, 5), (1, 5), (3, 5), (500, 20), (7, 5000), (3, 300_000)] {
        let expected: String = (0..chunks).map(|number| line(number, size)).collect();
        for path in ["/", "/write"] {
            for extra in ["", "&empty", "&length"] {
                for version in ["HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", "HTTP/1.0\r\n"] {
                    let target = format!("{path}?chunks={chunks}&size={size}{extra}");
                    let response = server.ask(format!("GET {target} {version}\r\n"));
                    assert_eq!(response.status, 200, "{target}");
                    assert!(response.text() == expected, "{target} {version:?}: {} bytes", response.body.len());
                }
            }
        }
    }
}

#[test]
fn a_slow_reader_costs_no_memory_and_the_others_go_on_after_it() {
    let server = Server::start(&["stream"]);
    let worker = server.workers()[0];
    let peak = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(server.get("/?chunks=1&size=65536").status, 200);
    let before = peak();
    let mut slow = server.connect();
    slow.write_all(b"GET /?chunks=1000&size=65536 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let head = Response::read_head(&mut slow).unwrap();
    let mut other = server.connect();
    other.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let reader = thread::spawn(move || {
        let mut received = head.as_bytes().chain(&slow);
        Response::read(&mut received).unwrap().body.len()
    });
    assert_eq!(Response::read(&mut other).unwrap().text(), "0...\n1...\n2...\n");
    assert_eq!(reader.join().unwrap(), 65_536_000);
    let grown = peak() - before;
    assert!(grown < 8 * 1024, "the worker grew by {grown} KiB");
}

#[test]
fn what_was_made_at_once_arrives_while_the_application_makes_what_follows() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for words in [&["stream"][..], &["stream", "-k", "gthread", "--threads", "4"]] {
        let server = Server::start(words);
        // A machine that is slow may be late often; the kernel, were it waited for, would be so each time.
        let is_late = |took: &[Duration]| took.iter().all(|took| *took >= Duration::from_millis(100));
        for version in ["1.1", "1.0"] {
            let mut took = Vec::new();
            while took.len() < 5 || (is_late(&took) && took.len() < 50) {
                let mut stream = server.connect();
                let began = Instant::now();
                let target = format!("/burst{}?chunks=50&size=20", gate.display());
                stream.write_all(format!("GET {target} HTTP/{version}\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
                let mut received = Vec::new();
                let mut some = [0; 4096];
                while !String::from_utf8_lossy(&received).contains("\n49...") || !received.ends_with(b"\n") {
                    let count = stream.read(&mut some).unwrap();
                    assert!(count > 0, "{}", String::from_utf8_lossy(&received));
                    received.extend_from_slice(&some[..count]);
                }
                took.push(began.elapsed());
                fs::OpenOptions::new().write(true).open(&gate).unwrap();
                let response = Response::read(&mut received.as_slice().chain(&stream)).unwrap();
                assert!(response.text().ends_with("last"), "{}", response.text());
            }
            // The kernel itself waits for 200 ms.
            assert!(!is_late(&took), "{took:?}\n{}", server.log());
        }
    }
}

#[test]
fn a_response_in_the_buffer_holds_nobody_up() {
    let server = Server::start(&["stream"]);
    // More than a socket's buffers take, less than they and the worker's buffer together.
    let mut readers: Vec<TcpStream> = Vec::new();
    for _ in 0..4 {
        let mut reader = server.connect();
        reader.write_all(b"GET /?chunks=1&size=200000&length HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        readers.push(reader);
    }
    assert_eq!(server.get("/").text(), "0...\n1...\n2...\n");
    for reader in &mut readers {
        assert_eq!(Response::read(reader).unwrap().body.len(), 200_000);
        assert_eq!(ask(reader, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").text(), "0...\n1...\n2...\n");
    }
}

#[test]
fn connections_that_send_nothing_or_half_a_request_hold_nobody_up() {
    let server = Server::start(&["echo"]);
    let mut half: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    let request = format!("POST /half HTTP/1.1\r\nHost: test\r\n{}", counted("hello"));
    for (number, stream) in half.iter_mut().enumerate() {
        stream.write_all(&request.as_bytes()[..number]).unwrap();
    }
    assert_eq!(server.get("/").status, 200);
    for (number, stream) in half.iter_mut().enumerate() {
        assert_eq!(json(&ask(stream, &request[number..]))["path"], "/half");
    }
}

#[test]
fn every_listener_is_served_by_every_worker() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let words = ["slow", "-w", "2", "-b", "127.0.0.1:0", "-b", &format!("unix:{}", socket.display())];
    let server = Server::start(&words);
    let request = b"GET /?s=0.05 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let start = Instant::now();
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        assert!(!is_over(start), "one worker answers it all: {seen:?}");
        let mut tcp = server.connect();
        let mut unix = UnixStream::connect(&socket).unwrap();
        tcp.write_all(request).unwrap();
        unix.write_all(request).unwrap();
        seen.insert(Response::read(&mut tcp).unwrap().text());
        seen.insert(Response::read(&mut unix).unwrap().text());
    }
}

#[test]
fn a_flask_application_has_its_page_its_form_and_its_redirect() {
    let directory = support::root().join("examples/flask");
    let server = Server::start_in(&directory, &["app:app"]);
    let page = server.get("/");
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("<li>Welcome to the board.</li>"), "{}", page.text());
    let form = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n";
    let posted = server.ask(format!("POST / HTTP/1.1\r\nHost: test\r\n{form}{}", counted("note=caf%C3%A9+%26+more")));
    assert_eq!((posted.status, posted.field("location")), (303, Some("/")));
    assert!(server.get("/").text().contains("<li>café &amp; more</li>"));
    assert_eq!(json(&server.get("/notes.json"))["notes"][1], "café & more");
    assert!(server.get("/notes.csv").text().ends_with("2,\"café & more\"\n"));
    assert_eq!(server.get("/nowhere").status, 404);
}

fn ask(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> Response {
    stream.write_all(request.as_ref()).unwrap();
    Response::read(stream).unwrap_or_else(|error| panic!("{error}: {}", request.as_ref().escape_ascii()))
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{}{}", response.head, response.text()))
}
