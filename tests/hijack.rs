//! Applications that say something before their response (`wsgi.early_hints`), or take the connection for themselves
//! (`gunicorn.socket`).

use std::fs;
use std::io::Write;

use tempfile::TempDir;

use crate::support::outside::{python, run_tool};
use crate::support::pki::Authority;
use crate::support::{Response, Server};

fn site(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("made.py"), text).unwrap();
    directory
}

const HINTS: &str = r#"
def app(environ, start_response):
    hints, path = environ["wsgi.early_hints"], environ["PATH_INFO"]
    if path == "/bad":
        hints([("Link", "a\r\nSet-Cookie: b")])
    if path == "/name":
        hints([("a b", "c")])
    if path == "/hop":
        hints([("Transfer-Encoding", "chunked")])
    hints([("Link", "</a.css>; rel=preload"), (b"X-Bytes", b"\xff")])
    hints([("Link", "</b.css>; rel=preload"), ("Content-Length", "3")])
    start_response("200 OK", [("Content-Length", "2")])
    yield b"ok"
    hints([("Link", "late")])
"#;

#[test]
fn hints_come_ahead_of_the_response() {
    let directory = site(HINTS);
    let mut server = Server::start_in(directory.path(), &["made:app"]);
    let mut stream = server.connect();
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let first = Response::read_head(&mut stream).unwrap();
        assert_eq!(first, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Bytes: \u{fffd}\r\n\r\n");
        let second = Response::read_head(&mut stream).unwrap();
        assert_eq!(second, "HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n");
        assert_eq!(Response::read(&mut stream).unwrap().text(), "ok");
    }
    // HTTP/1.0 knows no such thing.
    let response = server.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    server.stop();
}

#[test]
fn hints_that_are_no_fields_are_refused_as_in_a_response() {
    let directory = site(HINTS);
    let mut server = Server::start_in(directory.path(), &["made:app"]);
    for (path, words) in [("/bad", "byte 0x0d"), ("/name", "expected a token")] {
        let response = server.get(path);
        assert_eq!(response.status, 500, "{path}");
        server.wait_for(words);
    }
    // A field that only the server may send is left out, as in a response.
    let hints = Response::read_head(&mut server.begin("/hop")).unwrap();
    assert!(hints.starts_with("HTTP/1.1 103 ") && !hints.contains("Transfer-Encoding"), "{hints}");
    server.stop();
}

const CHAT: &str = r#"
from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)


@app.route("/plain")
def plain():
    return "plain"


@sock.route("/echo")
def echo(ws):
    while True:
        data = ws.receive()
        if data == "bye":
            return
        ws.send(data)
"#;

const CLIENT: &str = r#"
import ssl, sys
import simple_websocket

url, ca = sys.argv[1], sys.argv[2]
context = ssl.create_default_context(cafile=ca) if ca else None
ws = simple_websocket.Client(url, ssl_context=context)
for word in ["one", "two" * 50_000, b"\x00\xff" * 30_000]:
    ws.send(word)
    assert ws.receive() == word
# Longer than the server's timeout.
assert ws.receive(timeout=1) is None
ws.send("late")
assert ws.receive() == "late"
ws.send("bye")
try:
    ws.receive()
    raise SystemExit("expected the end")
except simple_websocket.ConnectionClosed:
    print("closed")
"#;

/// A conversation by flask-sock, and what the server says of it.
fn converse(directory: &TempDir, scheme: &str, words: &[&str], ca: &str) {
    let words = [&["--timeout", "0.4", "--threads", "2", "--access-logfile", "-", "made:app"][..], words].concat();
    let mut server = Server::start_in(directory.path(), &words);
    let url = format!("{scheme}://{}/echo", server.address());
    for _ in 0..3 {
        assert_eq!(run_tool(&mut python(["-c", CLIENT, &url, ca])).trim(), "closed");
    }
    let log = server.stop();
    assert!(!log.contains("ERROR") && !log.contains("timed out"), "{log}");
    // As with gunicorn: no response, and no line about one.
    assert_eq!(server.output.stdout(), "");
}

#[test]
fn flask_sock_speaks_websocket_for_longer_than_a_request_may_take() {
    converse(&site(CHAT), "ws", &[], "");
}

#[test]
fn flask_sock_speaks_websocket_over_tls() {
    let directory = site(CHAT);
    let authority = Authority::new(directory.path());
    authority.server("web");
    let (certificate, key, ca) = (authority.path("web.pem"), authority.path("web.key"), authority.path("ca.pem"));
    converse(&directory, "wss", &["--certfile", &certificate, "--keyfile", &key], &ca);
}

const SOCKETS: &str = r#"
import threading


def app(environ, start_response):
    sock, path = environ["gunicorn.socket"], environ["PATH_INFO"]
    if path == "/peer":
        body = repr(sock.getpeername()[0] == environ["REMOTE_ADDR"] and sock.fileno() > 2).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    if path == "/taken":
        sock.sendall(b"HTTP/1.1 101 Mine\r\n\r\n")
        line = sock.makefile("rb").readline()
        sock.sendall(line.upper())
        raise StopIteration
    if path == "/thread":
        thread = threading.Thread(target=sock.sendall, args=(b"HTTP/1.1 101 Thread\r\n\r\n",))
        thread.start()
        thread.join()
        raise StopIteration
    if path == "/stop":
        raise StopIteration
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

#[test]
fn an_application_that_takes_the_socket_has_it_for_itself() {
    let directory = site(SOCKETS);
    let mut server = Server::start_in(directory.path(), &["--access-logfile", "-", "made:app"]);
    for fields in ["", "Upgrade: mine\r\nConnection: upgrade\r\n"] {
        let mut stream = server.connect();
        stream.write_all(format!("GET /taken HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
        assert_eq!(Response::read_head(&mut stream).unwrap(), "HTTP/1.1 101 Mine\r\n\r\n");
        stream.write_all(b"hello\n").unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stream, &mut rest).unwrap();
        assert_eq!(rest, "HELLO\n");
    }
    let mut stream = server.connect();
    stream.write_all(b"GET /thread HTTP/1.1\r\nHost: a\r\nUpgrade: mine\r\n\r\n").unwrap();
    assert_eq!(Response::read_head(&mut stream).unwrap(), "HTTP/1.1 101 Thread\r\n\r\n");
    assert!(!server.stop().contains("ERROR"));
    assert_eq!(server.output.stdout(), "");
}

#[test]
fn what_a_client_sends_behind_its_wish_for_another_protocol_reaches_the_application() {
    let directory = site(SOCKETS);
    let mut server = Server::start_in(directory.path(), &["--access-logfile", "-", "made:app"]);
    let head = "GET /taken HTTP/1.1\r\nHost: a\r\nUpgrade: mine\r\nConnection: upgrade\r\n\r\n";
    let long = "long ".repeat(20_000);
    for (early, late) in [("hello\n", ""), ("he", "llo\n"), (&format!("{long}\n"), "")] {
        let mut stream = server.connect();
        stream.write_all(format!("{head}{early}").as_bytes()).unwrap();
        assert_eq!(Response::read_head(&mut stream).unwrap(), "HTTP/1.1 101 Mine\r\n\r\n");
        stream.write_all(late.as_bytes()).unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stream, &mut rest).unwrap();
        assert_eq!(rest, format!("{early}{late}").to_uppercase());
    }
    // Who takes nothing goes on with the next request.
    let mut stream = server.connect();
    let plain = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: mine\r\n\r\n";
    stream.write_all(plain.repeat(2).as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(Response::read(&mut stream).unwrap().text(), "ok");
    }
    assert!(!server.stop().contains("ERROR"));
}

#[test]
fn looking_at_the_socket_keeps_the_response_whole_and_ends_the_connection() {
    let directory = site(SOCKETS);
    let mut server = Server::start_in(directory.path(), &["made:app"]);
    for fields in ["", "Upgrade: mine\r\n"] {
        let response = server.ask(format!("GET /peer HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!((response.text().as_str(), response.field("connection")), ("True", Some("close")));
        // Who does not look keeps it.
        let response = server.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!((response.text().as_str(), response.field("connection")), ("ok", None));
    }
    server.stop();
}

#[test]
fn stop_iteration_without_the_socket_is_an_error() {
    let directory = site(SOCKETS);
    let mut server = Server::start_in(directory.path(), &["made:app"]);
    assert_eq!(server.get("/stop").status, 500);
    assert!(server.stop().contains("StopIteration"));
}

#[test]
fn libraries_see_which_server_runs_them() {
    let directory = site(
        "import os\nname = os.environ['SERVER_SOFTWARE']\n\
         def app(environ, start_response):\n    start_response('200 OK', [])\n    \
         return [f\"{name} {environ['SERVER_SOFTWARE']}\".encode()]\n",
    );
    let mut server = Server::start_in(directory.path(), &["made:app"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(server.get("/").text(), format!("rwsgi/{version} rwsgi/{version}"));
    server.stop();
    let mut server = Server::start_in(directory.path(), &["--env", "SERVER_SOFTWARE=mine", "made:app"]);
    assert_eq!(server.get("/").text(), format!("mine rwsgi/{version}"));
    server.stop();
}
