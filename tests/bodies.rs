//! Bodies in both directions: of requests, received while the application reads them (`post_buffering = 0`) or kept in a
//! file, and of responses that are files; and what they cost.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::support::wire::{assert_ended, chunked, counted, json_of};
use crate::support::{self, Response, Server, pace, pass, reading, status};
use nix::unistd::Pid;
use serde_json::json;

const MIB: usize = 1 << 20;

#[test]
fn a_streamed_body_reads_like_any_file() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    for body in &reading::bodies(200_000) {
        let own =
            [("read1:3,read", json!(["one", &body[3..]])), ("read,close,read", json!([body, null, "ValueError"]))];
        for (verbs, expected) in reading::cases(body).into_iter().chain(own) {
            for framed in [counted(body), chunked(&[body]), chunked(&[&body[..1], &body[1..6], &body[6..]])] {
                let mut stream = server.connect();
                let told = json_of(&ask(&mut stream, format!("POST /?do={verbs} {HOST}{framed}")));
                assert_eq!(told, expected, "{verbs}");
                // All is read, so that the connection serves the next one.
                let next = json_of(&ask(&mut stream, format!("GET /?do=read {HOST}\r\n")));
                assert_eq!(next, json!([""]), "{verbs}");
            }
        }
    }
    let (verbs, nothing) = reading::of_nothing();
    for framed in ["\r\n", "Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let told = json_of(&server.ask(format!("POST /?do={verbs} {HOST}{framed}")));
        assert_eq!(told, nothing, "{framed}");
    }
}

#[test]
fn a_streamed_body_may_come_byte_by_byte() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    let single: Vec<&str> = "hello\nworld".split("").filter(|byte| !byte.is_empty()).collect();
    for framed in [counted("hello\nworld"), chunked(&["hello\nworld"]), chunked(&single)] {
        for (verbs, expected) in [
            ("read", json!(["hello\nworld"])),
            ("read:6,read:6", json!(["hello\n", "world"])),
            ("readlines", json!([["hello\n", "world"]])),
            ("readline,iterate", json!(["hello\n", ["world"]])),
        ] {
            let mut stream = server.connect();
            for byte in format!("POST /?do={verbs} {HOST}{framed}").as_bytes() {
                stream.write_all(&[*byte]).unwrap();
            }
            assert_eq!(json_of(&Response::read(&mut stream).unwrap()), expected, "{verbs} {framed:?}");
        }
    }
}

#[test]
fn what_the_client_has_sent_can_be_read_before_the_rest_is_there() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    for (framing, first, second) in [
        ("Content-Length: 8", "one\n", "two\n"),
        ("Transfer-Encoding: chunked", "4\r\none\n\r\n", "4\r\ntwo\n\r\n0\r\n\r\n"),
    ] {
        for verbs in ["readline", "read1:100", "read:4"] {
            let mut stream = server.connect();
            let head = format!("POST /?do={verbs} {HOST}{framing}\r\n\r\n");
            // The answer comes although the body never does.
            let response = ask(&mut stream, format!("{head}{first}"));
            assert_eq!(json_of(&response), json!(["one\n"]), "{verbs}, {framing}");
            assert_eq!(response.field("connection"), Some("close"), "{verbs}, {framing}");
            stream.write_all(second.as_bytes()).unwrap();
            assert_ended(&mut stream);
        }
    }
}

#[test]
fn a_body_that_was_not_read_ends_the_connection_and_is_no_request() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    // What would be a request if the server lost count.
    let inner = format!("GET /?do=smuggled {HOST}\r\n");
    let large = "x".repeat(MIB);
    for body in [&inner, &large] {
        for framed in [counted(body), chunked(&[body])] {
            for verbs in ["read:0", "read:1", "readline:2"] {
                let mut stream = server.connect();
                let next = format!("GET /?do=read {HOST}\r\n");
                let response = ask(&mut stream, format!("POST /?do={verbs} {HOST}{framed}{next}"));
                // The buffer between the application and the connection may have taken all of a small one.
                let all = body == &inner && verbs != "read:0";
                assert_eq!(
                    (response.status, response.field("connection")),
                    (200, (!all).then_some("close")),
                    "{verbs}"
                );
                if all {
                    assert_eq!(json_of(&Response::read(&mut stream).unwrap()), json!([""]), "{verbs}");
                    stream.shutdown(Shutdown::Write).unwrap();
                }
                assert_ended(&mut stream);
            }
        }
    }
    assert!(!server.log().contains("smuggled"), "{}", server.log());
}

#[test]
fn a_request_behind_a_body_that_was_read_is_served() {
    let server = Server::start(&["echo", "--post-buffering", "0"]);
    for size in [1, 1000, 65_536, 200_000] {
        let body = "y".repeat(size);
        let mut stream = server.connect();
        let mut packet = String::new();
        for number in 0..9 {
            let framed = if number % 2 == 0 { counted(&body) } else { chunked(&[&body[..1], &body[1..]]) };
            packet.push_str(&format!("POST /{number}?piece=10000 {HOST}{framed}"));
        }
        packet.push_str(&format!("GET /last {HOST}Connection: close\r\n\r\n"));
        let mut sending = stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || sending.write_all(packet.as_bytes()));
        for number in 0..9 {
            let told = json_of(&Response::read(&mut stream).unwrap());
            assert_eq!((&told["path"], &told["length"]), (&format!("/{number}").into(), &size.into()));
        }
        assert_eq!(json_of(&Response::read(&mut stream).unwrap())["path"], "/last");
        assert_ended(&mut stream);
        sender.join().unwrap().unwrap();
    }
}

/// Bodies that break off after eleven bytes, none of them as it should be.
const CUT: [&str; 7] = [
    "Content-Length: 12\r\n\r\none\ntwo\nrest",
    "Content-Length: 1000000\r\n\r\none\ntwo\nrest",
    "Transfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nc\r\none\ntwo\nrest",
    "Transfer-Encoding: chunked\r\n\r\nb\r\none\ntwo\nrest",
    "Transfer-Encoding: chunked\r\n\r\nb\r\none\ntwo\nres\r\n",
    "Transfer-Encoding: chunked\r\n\r\nb\r\none\ntwo\nres\r\n0\r\nX-Trailer: y\r\n",
];

#[test]
fn a_body_cut_short_is_an_error_and_never_a_clean_end() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    for framed in &CUT {
        let framed = framed.strip_suffix("rest").map_or((*framed).to_owned(), |start| format!("{start}res"));
        for verbs in [
            "read",
            "read:-1",
            "read:None",
            "read:1000",
            "readlines",
            "iterate",
            "readline,readline,readline",
            "readline,readline,readlines",
            "read:4,iterate",
            "read:4,read:4,read",
            "read1:2,read",
            "read,read,read:5",
            "iterate,iterate,readline,read:1,read1:1,read",
        ] {
            let mut stream = server.connect();
            stream.write_all(format!("POST /?do={verbs} {HOST}{framed}").as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let response = Response::read(&mut stream).unwrap();
            let told = json_of(&response);
            let told = told.as_array().unwrap();
            assert_eq!(told.last(), Some(&"ConnectionAbortedError".into()), "{verbs} {framed:?}: {told:?}");
            assert!(told.iter().all(|part| *part != json!("") && *part != json!([])), "{verbs} {framed:?}: {told:?}");
            assert_eq!(response.field("connection"), Some("close"), "{verbs} {framed:?}");
            assert_ended(&mut stream);
        }
    }
}

#[test]
fn a_reset_by_the_client_is_an_error_too() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    let mut stream = server.connect();
    stream.write_all(format!("POST /?do=read {HOST}Content-Length: 10\r\n\r\nhello").as_bytes()).unwrap();
    let option = nix::sys::socket::sockopt::Linger;
    nix::sys::socket::setsockopt(&stream, option, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(stream);
    assert_eq!(json_of(&server.get("/?do=read")), json!([""]));
    assert_eq!(server.workers().len(), 1, "{}", server.log());
}

/// Broken from the start, in the middle, at the end.
const BROKEN: [&str; 8] = [
    "five\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "\r\nhello",
    "5\r\nhello!\r\n0\r\n\r\n",
    "5\r\nhello\r\nzz\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhello\r\n0\r\nX Y: z\r\n\r\n",
    "fffffffffffffffff\r\nhello",
];

#[test]
fn a_broken_chunk_is_an_error_for_the_application_and_a_400_for_the_client() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    let raising = Server::start(&["echo", "--post-buffering", "0"]);
    for body in BROKEN {
        let framed = format!("Transfer-Encoding: chunked\r\n\r\n{body}");
        // Again and again: what was broken once stays so.
        let mut stream = server.connect();
        let response = ask(&mut stream, format!("POST /?do=read,read,iterate,read:1 {HOST}{framed}"));
        assert_eq!(json_of(&response), json!(["OSError", "OSError", "OSError", "OSError"]), "{body:?}");
        assert_eq!(response.field("connection"), Some("close"), "{body:?}");
        assert_ended(&mut stream);
        for piece in ["", "?piece=1"] {
            let mut stream = raising.connect();
            let page = ask(&mut stream, format!("POST /{piece} {HOST}{framed}"));
            assert_eq!((page.status, page.field("connection")), (400, Some("close")), "{body:?}\n{}", raising.log());
            assert_ended(&mut stream);
        }
    }
    assert_eq!(raising.workers().len(), 1, "{}", raising.log());
}

#[test]
fn a_streamed_body_beyond_the_limit_is_refused() {
    let server = Server::start(&["input", "--post-buffering", "0", "--limit-request-body", "10"]);
    let raising = Server::start(&["echo", "--post-buffering", "0", "--limit-request-body", "10"]);
    for framed in [counted("0123456789"), chunked(&["01234", "56789"])] {
        let told = json_of(&server.ask(format!("POST /?do=read,read {HOST}{framed}")));
        assert_eq!(told, json!(["0123456789", ""]), "{framed:?}");
    }
    // Announced before any byte of it: the application never runs.
    assert_eq!(server.ask(format!("POST /?do=read {HOST}{}", counted("0123456789a"))).status, 413);
    for framed in [chunked(&["0123456789a"]), chunked(&["01234", "56789", "a"])] {
        let told = json_of(&server.ask(format!("POST /?do=read,read {HOST}{framed}")));
        assert_eq!(told, json!(["OSError", "OSError"]), "{framed:?}");
        assert_eq!(raising.ask(format!("POST / {HOST}{framed}")).status, 413, "{framed:?}");
    }
}

#[test]
fn continue_is_said_at_the_first_read_of_a_streamed_body() {
    let server = Server::start(&["input", "--post-buffering", "0"]);
    let expecting = format!("{HOST}Expect: 100-continue\r\n");
    for (length, body) in [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")] {
        let mut stream = server.connect();
        for _ in 0..2 {
            stream.write_all(format!("POST /?do=read {expecting}{length}\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(Response::read_head(&mut stream).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(json_of(&ask(&mut stream, body)), json!(["hello"]), "{length}");
        }
        // Who sends the body all the same needs no word.
        assert_eq!(
            json_of(&ask(&mut stream, format!("POST /?do=read {expecting}{length}\r\n\r\n{body}"))),
            json!(["hello"])
        );
        // An application that never reads does not want it, and the connection cannot tell what follows.
        let refused = ask(&mut stream, format!("POST /?do=read:0 {expecting}{length}\r\n\r\n"));
        assert_eq!((refused.status, refused.field("connection")), (200, Some("close")), "{length}");
        assert_ended(&mut stream);
    }
    // A client of HTTP/1.0 does not know the word.
    let old = format!("POST /?do=read HTTP/1.0\r\nExpect: 100-continue\r\n{}", counted("hello"));
    assert_eq!(json_of(&server.ask(old)), json!(["hello"]));
}

#[test]
fn a_pause_beyond_the_limit_is_an_error_for_the_application() {
    let server = Server::start(&["input", "--post-buffering", "0", "--client-body-timeout", "0.2"]);
    for framed in ["Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\n"] {
        for (verbs, expected) in [
            ("read", json!(["TimeoutError"])),
            ("read1:3,read:2,read:1", json!(["hel", "lo", "TimeoutError"])),
            ("iterate,read:0", json!(["TimeoutError", ""])),
        ] {
            let mut stream = server.connect();
            let response = ask(&mut stream, format!("POST /?do={verbs} {HOST}{framed}hello"));
            assert_eq!(json_of(&response), expected, "{verbs} {framed:?}");
            assert_eq!(response.field("connection"), Some("close"), "{verbs} {framed:?}");
            // What comes too late is no request.
            let _ = stream.write_all(format!("GET /?do=read {HOST}\r\n").as_bytes());
            assert_ended(&mut stream);
        }
    }
    // A client that is slow, but within the limit each time.
    let pace = pace();
    let timeout = format!("{:.3}", 0.3 * pace);
    let patient = Server::start(&["input", "--post-buffering", "0", "--client-body-timeout", &timeout]);
    let mut stream = patient.connect();
    stream.write_all(format!("POST /?do=read {HOST}Content-Length: 5\r\n\r\n").as_bytes()).unwrap();
    for byte in b"hello" {
        pass(Duration::from_millis(100).mul_f64(pace));
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(json_of(&Response::read(&mut stream).unwrap()), json!(["hello"]));
}

#[test]
fn a_client_that_takes_its_time_costs_no_worker_its_life() {
    let pace = pace();
    let timeout = format!("{:.3}", 0.8 * pace);
    let echoing = Server::start(&["echo", "--post-buffering", "0", "--timeout", &timeout]);
    let streaming = Server::start(&["stream", "--timeout", &timeout]);
    let mut sender = echoing.connect();
    sender.write_all(format!("POST /?piece=1 {HOST}Content-Length: 10\r\n\r\nhello").as_bytes()).unwrap();
    let mut reader = streaming.begin(&format!("/?chunks=10&size={MIB}"));
    // Two timeouts.
    pass(Duration::from_millis(1700).mul_f64(pace));
    assert_eq!(json_of(&ask(&mut sender, "world"))["length"], 10);
    let streamed = Response::read(&mut reader).unwrap_or_else(|error| panic!("{error}\n{}", streaming.log()));
    assert_eq!(streamed.body.len(), 10 * MIB);
    for server in [echoing, streaming] {
        assert_eq!(server.workers().len(), 1, "{}", server.log());
    }
}

#[test]
fn what_an_application_has_begun_to_say_is_not_interrupted_by_a_continue() {
    let files = support::directory(&[("begun.py", BEGUN)]);
    let server = Server::start_in(files.path(), &["begun", "--post-buffering", "0"]);
    let mut stream = server.connect();
    let head = format!("POST / {HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let begun = Response::read_head(&mut stream).unwrap();
    assert!(begun.starts_with("HTTP/1.1 200 OK\r\n") && begun.contains("Connection: close\r\n"), "{begun}");
    stream.write_all(b"hello").unwrap();
    let response = Response::read(&mut begun.as_bytes().chain(&stream)).unwrap();
    assert_eq!(response.text(), "first hello");
    assert_ended(&mut stream);
}

/// Answers first and reads then.
const BEGUN: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first "
    yield environ["wsgi.input"].read()
"#;

#[test]
fn an_input_that_was_kept_from_a_request_gives_an_error_in_the_next() {
    let files = support::directory(&[("keeping.py", KEEPING)]);
    let server = Server::start_in(files.path(), &["keeping", "--post-buffering", "0"]);
    let mut stream = server.connect();
    for _ in 0..2 {
        let text = |stream: &mut TcpStream, path: &str, framed: String| {
            ask(stream, format!("POST {path} {HOST}{framed}")).text()
        };
        assert_eq!(text(&mut stream, "/keep", counted("hello")), "hello");
        assert_eq!(text(&mut stream, "/use", counted("other")), "RuntimeError other");
    }
}

/// Reads in another thread, as asgiref does for asynchronous views. /left leaves a thread that reads on, and /left-over answers
/// what it got.
const THREADED: &str = r#"
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
left = []
def told(read):
    try:
        return read(1)
    except Exception as error:
        return type(error).__name__.encode()
def application(environ, start_response):
    path, read = environ["PATH_INFO"], environ["wsgi.input"].read
    body = b"left"
    if path == "/left":
        left[:] = [pool.submit(told, read)]
    elif path == "/left-over":
        body = left[0].result(60)
    else:
        body = b"|".join([pool.submit(read, 3).result(), read(2), pool.submit(read).result()])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"#;

#[test]
fn a_streamed_body_can_be_read_by_another_thread_while_its_request_is_under_way() {
    let files = support::directory(&[("threaded.py", THREADED)]);
    let timeout = support::patient_seconds(0.5);
    let words = ["threaded", "--post-buffering", "0", "--threads", "2", "--timeout", &timeout];
    let server = Server::start_in(files.path(), &words);
    let mut stream = server.connect();
    for framed in [counted("hello, world"), chunked(&["hel", "lo, ", "world"])] {
        assert_eq!(ask(&mut stream, format!("POST / {HOST}{framed}")).text(), "hel|lo|, world");
    }
    // Time in which the thread waits for the client is not the application's.
    let head = format!("POST / {HOST}Content-Length: 12\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert!(Response::read_head(&mut stream).unwrap().starts_with("HTTP/1.1 100 Continue\r\n"));
    support::pass(support::patient(std::time::Duration::from_millis(1200)));
    stream.write_all(b"hello, world").unwrap();
    assert_eq!(Response::read(&mut stream).unwrap().text(), "hel|lo|, world", "{}", server.log());
    // A thread that reads on when the request has ended.
    stream.write_all(format!("POST /left {HOST}Content-Length: 9\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(Response::read(&mut stream).unwrap().text(), "left");
    assert_eq!(server.get("/left-over").text(), "RuntimeError", "{}", server.log());
}

const KEEPING: &str = r#"
kept = None
def application(environ, start_response):
    global kept
    told = b""
    if environ["PATH_INFO"] == "/keep":
        kept = environ["wsgi.input"]
    else:
        try:
            told = kept.read(1) + b"foreign "
        except Exception as error:
            told = type(error).__name__.encode() + b" "
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [told + environ["wsgi.input"].read(5)]
"#;

#[test]
fn a_body_beyond_the_spill_limit_is_refused_before_it_fills_the_disk() {
    let words = ["echo", "--post-buffering", "1000", "--spill-limit", "100000"];
    let server = Server::start(&words);
    for (size, status) in [(100_000, 200), (100_001, 413)] {
        let body = "x".repeat(size);
        for framed in [counted(&body), chunked(&[&body]), chunked(&[&body[..70_000], &body[70_000..]])] {
            let mut stream = server.connect();
            let response = ask(&mut stream, format!("POST / {HOST}{framed}"));
            assert_eq!(response.status, status, "{size}");
            if status == 413 {
                assert_ended(&mut stream);
            }
        }
    }
    // Nobody is asked to send what is not wanted.
    let head = format!("POST / {HOST}Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n");
    assert!(server.ask(head).head.starts_with("HTTP/1.1 413 "));
    let streamed = Server::start(&["echo", "--post-buffering", "0", "--spill-limit", "100"]);
    let unlimited = Server::start(&["echo", "--post-buffering", "10", "--spill-limit", "0"]);
    // What memory takes needs no file.
    let in_memory = Server::start(&["echo", "--post-buffering", "1000", "--spill-limit", "10"]);
    for (server, size) in [(&streamed, 1_000_000), (&unlimited, 1_000_000), (&in_memory, 1000)] {
        let told = json_of(&server.ask(format!("POST / {HOST}{}", counted(&"x".repeat(size)))));
        assert_eq!(told["length"], size);
    }
    assert_eq!(in_memory.ask(format!("POST / {HOST}{}", counted(&"x".repeat(1001)))).status, 413);
}

#[test]
fn a_body_is_whole_however_it_comes_and_so_is_what_follows_it() {
    let server = Server::start(&["echo"]);
    // Around what one read takes, what memory is asked for, and post_buffering.
    for size in [1, 10_240, 65_535, 65_536, 65_537, 300_000, MIB - 1, MIB, MIB + 1] {
        let body = String::from_utf8(bytes(size).iter().map(|byte| b'a' + byte % 26).collect()).unwrap();
        let whole = json_of(&server.ask(format!("POST / {HOST}{}", chunked(&[&body]))))["sha256"].clone();
        let packet = format!("POST / {HOST}{}GET /next {HOST}\r\n", counted(&body));
        for piece in [1000, 70_000, packet.len()] {
            let mut stream = server.connect();
            let mut sending = stream.try_clone().unwrap();
            let packet = packet.clone();
            let sender = std::thread::spawn(move || {
                packet.as_bytes().chunks(piece).try_for_each(|piece| sending.write_all(piece)).unwrap();
            });
            let told = json_of(&Response::read(&mut stream).unwrap());
            assert_eq!((&told["length"], &told["sha256"]), (&size.into(), &whole), "{size} in pieces of {piece}");
            assert_eq!(told["environ"]["CONTENT_LENGTH"], size.to_string(), "{size} in pieces of {piece}");
            assert_eq!(json_of(&Response::read(&mut stream).unwrap())["path"], "/next", "{size} in pieces of {piece}");
            sender.join().unwrap();
        }
    }
}

#[test]
fn bodies_that_break_off_leave_no_memory_behind() {
    let server = Server::start(&["echo"]);
    let worker = server.workers()[0];
    let head = format!("POST / {HOST}Content-Length: {MIB}\r\n\r\n");
    let half = "x".repeat(MIB / 2);
    for _ in 0..200 {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_ended(&mut stream);
    }
    assert_small(worker, "broken off");
    assert_eq!(json_of(&server.ask(format!("POST / {HOST}{}", counted(&half))))["length"], MIB / 2);
    assert_eq!(server.workers(), [worker], "{}", server.log());
}

#[test]
fn a_body_is_received_while_the_application_is_busy() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let server = Server::start(&["gate"]);
    // A worker without a free thread takes no new connection.
    let mut stream = server.connect();
    assert_eq!(ask(&mut stream, format!("GET / {HOST}\r\n")).status, 200);
    let mut held = server.begin(&format!("/gate{}", gate.display()));
    server.wait_for("under way: gate");
    stream.write_all(format!("POST / {HOST}{}", counted(&"x".repeat(MIB))).as_bytes()).unwrap();
    // The kernel's buffers are too small for it: the worker reads, though its only thread is in the application.
    support::wait_until("the body is received", || {
        let mut unsent: libc::c_int = 0;
        // SAFETY: the kernel writes one int.
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&stream), libc::TIOCOUTQ, &raw mut unsent) };
        unsent == 0
    });
    OpenOptions::new().write(true).open(&gate).unwrap();
    assert_eq!(Response::read(&mut held).unwrap().status, 200);
    assert_eq!(Response::read(&mut stream).unwrap().status, 200);
}

#[test]
fn a_slow_reader_of_a_body_that_is_made_holds_nobody_up() {
    let server = Server::start(&["stream"]);
    let size = 5 * MIB;
    for version in ["1.1", "1.0"] {
        for length in ["", "&length&chunks=1"] {
            let request = format!("GET /whole?size={size}{length} HTTP/{version}\r\nHost: test\r\n\r\n");
            let mut slow: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
            let heads: Vec<String> = slow
                .iter_mut()
                .map(|stream| {
                    stream.write_all(request.as_bytes()).unwrap();
                    Response::read_head(stream).unwrap()
                })
                .collect();
            // The one worker has begun all of them, and answers others as if they were not there.
            assert_eq!(server.get("/").text(), "0...\n1...\n2...\n");
            for (stream, head) in slow.iter_mut().zip(heads) {
                let response = Response::read(&mut head.as_bytes().chain(&mut *stream)).unwrap();
                assert_eq!(response.body.len(), size, "{request}");
                assert!(response.body.starts_with(b"0....") && response.body.ends_with(b"....\n"), "{request}");
                if version == "1.1" {
                    let next = ask(stream, format!("GET /whole?size=5 {HOST}\r\n"));
                    assert_eq!(next.text(), "0...\n", "{request}");
                }
            }
        }
    }
}

#[test]
fn what_is_kept_of_bodies_that_were_made_is_bounded() {
    let server = Server::start(&["stream"]);
    let worker = server.workers()[0];
    let one = 6 * MIB;
    for _ in 0..3 {
        let mut leaving: Vec<TcpStream> = (0..4).map(|_| server.begin(&format!("/whole?size={one}"))).collect();
        for stream in &mut leaving {
            Response::read_head(stream).unwrap();
        }
    }
    // Those who have left are not counted any more, and what they did not take is gone.
    for _ in 0..20 {
        assert_eq!(server.get(&format!("/whole?size={one}")).body.len(), one);
    }
    assert_small(worker, "kept");
    // More than a worker keeps: the application waits for it.
    assert_eq!(server.get(&format!("/whole?size={}", 40 * MIB)).body.len(), 40 * MIB);
}

/// Every byte value, and no period that a buffer's size could hide.
fn bytes(count: usize) -> Vec<u8> {
    let start = (0..99_991_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]);
    let mut bytes = start.collect::<Vec<u8>>().repeat(count / 99_991 + 1);
    bytes.truncate(count);
    bytes
}

/// A directory with a file of so many bytes, and what it holds.
fn file_of(size: usize) -> (tempfile::TempDir, String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let content = bytes(size);
    fs::write(&path, &content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path, content)
}

#[test]
fn a_wrapped_file_is_sent_from_where_it_was_read_to() {
    let server = Server::start(&["files"]);
    let mut stream = server.connect();
    for size in [0, 1, 8192, 50_000, 3_000_000] {
        let (_directory, path, content) = file_of(size);
        for kind in ["plain", "raw", "update", "object", "memory", "temporary", "pipe"] {
            if kind == "pipe" && size > 50_000 {
                continue;
            }
            for (position, from) in [("", 0), ("&skip=1", 1), ("&skip=10000", 10_000), ("&seek=20000", 20_000)] {
                if position.contains("seek") && ["object", "pipe"].contains(&kind) {
                    continue;
                }
                let target = format!("/?path={path}&kind={kind}{position}");
                let response = ask(&mut stream, format!("GET {target} {HOST}\r\n"));
                let expected = &content[from.min(size)..];
                assert!(response.body == expected, "{target}: {} of {} bytes", response.body.len(), expected.len());
                // The kernel sends what is a file; its length goes without saying.
                let length =
                    ["plain", "raw", "update", "temporary"].contains(&kind).then(|| expected.len().to_string());
                let found = response.field("content-length");
                // A body that turns out to be empty has a length, too.
                let empty = expected.is_empty().then_some("0");
                assert_eq!(found, length.as_deref().or(empty), "{target}");
            }
        }
    }
}

#[test]
fn a_wrapped_object_is_read_where_its_bytes_are_not_the_files() {
    let server = Server::start(&["files"]);
    let directory = tempfile::tempdir().unwrap();
    let (plain, packed) = (directory.path().join("plain"), directory.path().join("packed"));
    let content = "some text\n".repeat(30_000);
    fs::write(&plain, &content).unwrap();
    let pack = "import gzip, sys; gzip.open(sys.argv[1], 'wb').write(open(sys.argv[2], 'rb').read())";
    support::outside::run_tool(support::outside::python(["-c", pack]).arg(&packed).arg(&plain));
    let get = |path: &Path, rest: &str| server.get(&format!("/?path={}&{rest}", path.display()));
    assert_eq!(get(&packed, "kind=gzip").text(), content);
    assert_eq!(get(&packed, "kind=gzip&skip=5&block=7").text(), content[5..]);
    assert_eq!(get(&plain, "kind=shouting").text(), content.to_uppercase());
    // A file of text, and one that is closed: mistakes of the application's.
    for mistake in ["kind=text", "closed=yes", "closed=yes&kind=object"] {
        assert_eq!(get(&plain, mistake).status, 500, "{mistake}");
    }
    server.wait_for("TypeError: response: expected an iterable of bytes, found str");
    assert_eq!(get(&plain, "").text(), content);
}

#[test]
fn a_file_that_the_kernel_makes_when_it_is_read_is_whole() {
    let server = Server::start(&["files"]);
    let mut stream = server.connect();
    for path in ["/proc/version", "/sys/devices/system/cpu/online"] {
        let content = fs::read(path).unwrap();
        let response = ask(&mut stream, format!("GET /?path={path} {HOST}\r\n"));
        assert_eq!((response.field("content-length"), &response.body), (None, &content), "{path}");
    }
}

#[test]
fn the_file_of_a_body_is_closed_with_its_request() {
    let server = Server::start(&["files", "--post-buffering", "2", "--env", "PYTHONWARNINGS=always"]);
    let mut stream = server.connect();
    let upload = format!("POST /body {HOST}Content-Length: 3\r\n\r\nabc");
    assert_eq!(ask(&mut stream, &upload).text(), "abc");
    assert_eq!(ask(&mut stream, format!("GET /kept {HOST}\r\n")).text(), "True");
    let log = server.log();
    assert!(!log.contains("ResourceWarning"), "{log}");
}

#[test]
fn a_files_content_length_is_kept_to() {
    let server = Server::start(&["files"]);
    let (_directory, path, content) = file_of(100_000);
    for kind in ["plain", "object", "memory"] {
        let mut stream = server.connect();
        for length in [100_000, 99_999, 10_000, 1, 0] {
            let target = format!("/?path={path}&kind={kind}&length={length}");
            let response = ask(&mut stream, format!("GET {target} {HOST}\r\n"));
            assert!(response.body == content[..length], "{target}: {} bytes", response.body.len());
        }
        let target = format!("/?path={path}&kind={kind}&skip=500&length=1000");
        assert!(ask(&mut stream, format!("GET {target} {HOST}\r\n")).body == content[500..1500], "{target}");
        let old = server.ask(format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert!(old.body == content[500..1500], "{target}");
        // There is no more in the file: the client must not take it for whole.
        stream.write_all(format!("GET /?path={path}&kind={kind}&length=100001 {HOST}\r\n").as_bytes()).unwrap();
        let head = Response::read_head(&mut stream).unwrap();
        assert!(head.contains("Content-Length: 100001\r\n"), "{head}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(content.starts_with(&rest), "{kind}: {} bytes", rest.len());
    }
    server.wait_for_lines("response shorter than its Content-Length, the connection is closed", 3);
}

#[test]
fn the_head_of_a_file_comes_without_it() {
    let server = Server::start(&["files"]);
    let (_directory, path, content) = file_of(100_000);
    let mut stream = server.connect();
    for kind in ["plain", "temporary", "object", "memory"] {
        for length in ["", "&length=100000"] {
            let target = format!("/?path={path}&kind={kind}{length}");
            stream.write_all(format!("HEAD {target} {HOST}\r\n").as_bytes()).unwrap();
            let head = Response::read_head(&mut stream).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {head}");
            assert_eq!(head.contains("Content-Length: 100000\r\n"), !length.is_empty(), "{target}: {head}");
            let whole = ask(&mut stream, format!("GET {target} {HOST}\r\n"));
            assert!(whole.body == content, "{target}");
        }
    }
}

#[test]
fn files_leave_no_descriptor_open() {
    let server = Server::start(&["files"]);
    let (_directory, path, content) = file_of(2_000_000);
    let open = || server.get("/open").text();
    let before = open();
    for kind in ["plain", "raw", "temporary", "object"] {
        for _ in 0..5 {
            assert_eq!(server.get(&format!("/?path={path}&kind={kind}")).body.len(), content.len());
            // A client that leaves before the end.
            let mut leaving = server.begin(&format!("/?path={path}&kind={kind}"));
            Response::read_head(&mut leaving).unwrap();
        }
    }
    support::wait_until("all descriptors are closed", || open() == before);
}

#[test]
fn a_slow_reader_of_a_file_holds_nobody_up() {
    let server = Server::start(&["files"]);
    let (_directory, path, content) = file_of(10_000_000);
    let mut slow: Vec<TcpStream> = (0..5).map(|_| server.begin(&format!("/?path={path}"))).collect();
    let heads: Vec<String> = slow.iter_mut().map(|stream| Response::read_head(stream).unwrap()).collect();
    // The one worker has begun all of them, and answers others as if they were not there.
    for _ in 0..10 {
        assert_eq!(server.get("/open").status, 200);
    }
    assert!(server.get(&format!("/?path={path}")).body == content);
    for (stream, head) in slow.iter_mut().zip(heads) {
        // What it sends meanwhile waits for its turn.
        stream.write_all(format!("GET /open {HOST}\r\n").as_bytes()).unwrap();
        let response = Response::read(&mut head.as_bytes().chain(&mut *stream)).unwrap();
        assert!(response.body == content, "{} bytes", response.body.len());
        assert_eq!(Response::read(stream).unwrap().status, 200);
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_ends_its_connection_only() {
    let server = Server::start(&["files"]);
    let (_directory, path, content) = file_of(20_000_000);
    let mut reader = server.begin(&format!("/?path={path}"));
    let head = Response::read_head(&mut reader).unwrap();
    assert!(head.contains("Content-Length: 20000000\r\n"), "{head}");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    // What the kernel had not delivered it may have taken out of the file again.
    assert!(rest.len() < content.len() && rest[..1000] == content[..1000], "{} bytes", rest.len());
    assert!(server.get(&format!("/?path={path}")).body == content[..1000]);
    assert_eq!(server.workers().len(), 1, "{}", server.log());
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_as_long_as_was_said() {
    let server = Server::start(&["files"]);
    let (_directory, path, content) = file_of(20_000_000);
    let mut reader = server.begin(&format!("/?path={path}"));
    let head = Response::read_head(&mut reader).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&content[..1_000_000]).unwrap();
    let response = Response::read(&mut head.as_bytes().chain(&reader)).unwrap();
    assert!(response.body == content);
    assert_eq!(ask(&mut reader, format!("GET /open {HOST}\r\n")).status, 200);
}

#[test]
fn an_upload_of_100_mib_costs_little_memory() {
    for buffering in ["1 MiB", "0"] {
        let server = Server::start(&["echo", "--post-buffering", buffering]);
        for framing in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
            let mut stream = server.connect();
            let head = format!("POST /?piece=65536 {HOST}{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let piece = if framing.starts_with('C') { vec![b'x'; MIB] } else { chunked_head(&"x".repeat(MIB)) };
            for _ in 0..100 {
                stream.write_all(&piece).unwrap();
            }
            if framing.starts_with('T') {
                stream.write_all(b"0\r\n\r\n").unwrap();
            }
            let told = json_of(&Response::read(&mut stream).unwrap());
            assert_eq!(told["length"], 100 * MIB, "{buffering}, {framing}");
            assert_small(server.workers()[0], buffering);
        }
    }
}

#[test]
fn a_file_of_100_mib_costs_little_memory() {
    let server = Server::start(&["files"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large");
    let mut file = File::create(&path).unwrap();
    file.set_len(100 << 20).unwrap();
    file.write_all(b"start").unwrap();
    for kind in ["plain", "object"] {
        let mut stream = server.begin(&format!("/?path={}&kind={kind}&length=104857600", path.display()));
        let head = Response::read_head(&mut stream).unwrap();
        assert!(head.contains("Content-Length: 104857600\r\n"), "{head}");
        let mut start = [0; 5];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"start");
        skip(&mut stream, 100 * MIB - 5);
        assert_eq!(ask(&mut stream, format!("GET /open {HOST}\r\n")).status, 200);
        assert_small(server.workers()[0], kind);
    }
}

#[test]
fn a_response_without_an_end_costs_little_memory() {
    let server = Server::start(&["closing"]);
    let mut stream = server.begin("/endless");
    skip(&mut stream, 200 * MIB);
    drop(stream);
    let closed = json_of(&server.get("/closed"));
    assert_eq!(closed, json!({"/endless": 1}));
    assert_small(server.workers()[0], "endless");
}

#[test]
fn a_slow_reader_of_50_mib_costs_little_memory() {
    let server = Server::start(&["stream"]);
    for path in ["/", "/write"] {
        let mut slow = server.begin(&format!("{path}?chunks=50&size={MIB}"));
        let head = Response::read_head(&mut slow).unwrap();
        assert_small(server.workers()[0], path);
        let response = Response::read(&mut head.as_bytes().chain(&slow)).unwrap();
        assert_eq!(response.body.len(), 50 * MIB, "{path}");
        assert_small(server.workers()[0], path);
    }
}

/// The worker never had 64 MiB.
fn assert_small(worker: Pid, what: &str) {
    let peak = status(worker, "VmHWM");
    let kib: u64 = peak.strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(kib < 64 * 1024, "{what}: the worker had {kib} KiB");
}

fn skip(stream: &mut TcpStream, mut count: usize) {
    let mut buffer = vec![0; MIB];
    while count > 0 {
        let most = count.min(MIB);
        let got = stream.read(&mut buffer[..most]).unwrap();
        assert!(got > 0, "{count} bytes are missing");
        count -= got;
    }
}

/// The end of a request line, and the field that every request needs.
const HOST: &str = "HTTP/1.1\r\nHost: test\r\n";

/// One chunk.
fn chunked_head(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

fn ask(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> Response {
    stream.write_all(request.as_ref()).unwrap();
    Response::read(stream).unwrap_or_else(|error| {
        let request = request.as_ref();
        panic!("{error}: {}", request[..request.len().min(300)].escape_ascii())
    })
}
