//! The PROXY protocol, with HAProxy and nginx in front and by hand.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use crate::support::fronts::{Front, listener};
use crate::support::outside::{Nginx, connect, curl, tool};
use crate::support::pki::Authority;
use crate::support::{Response, Server, directory, limit, run_command};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tempfile::TempDir;

/// Answers what it is told of who asks.
const WHO: &str = r#"
import json
def application(environ, start_response):
    start_response("200 OK", [])
    names = "REMOTE_ADDR", "REMOTE_PORT", "PROXY_PROTOCOL", "PROXY_ADDR", "PROXY_PORT", "SERVER_PORT", "wsgi.url_scheme"
    return [json.dumps({name: environ.get(name) for name in names}).encode()]
"#;

fn server(words: &[&str]) -> (TempDir, Server) {
    let files = directory(&[("who.py", WHO)]);
    let server = Server::start_in(files.path(), &[&["who", "--access-logfile", "-"], words].concat());
    (files, server)
}

/// HAProxy before the server, with this word for it, and its port.
fn haproxy(directory: &Path, server: &Server, word: &str) -> (Front, u16) {
    let (front_listener, port) = listener();
    let configuration = format!(
        "defaults\n mode tcp\n timeout connect 20s\n timeout client 20s\n timeout server 20s\n\
         frontend in\n bind fd@0\n default_backend app\n\
         backend app\n server one {} {word}\n",
        server.address()
    );
    (Front::haproxy(directory, &configuration, vec![front_listener]), port)
}

/// One request on a connection, which stays open.
fn ask(stream: &mut TcpStream, before: &[u8], more: &str) -> Value {
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{more}\r\n");
    stream.write_all(&[before, request.as_bytes()].concat()).unwrap();
    let response = Response::read(stream).unwrap();
    assert_eq!(response.status, 200, "{}", response.head);
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn haproxy_says_who_connected_for_the_whole_connection() {
    for (word, mode) in [("send-proxy", "v1"), ("send-proxy-v2", "v2"), ("send-proxy-v2", "auto")] {
        let (files, mut server) = server(&["--proxy-protocol", mode]);
        let (_front, port) = haproxy(files.path(), &server, word);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(limit())).unwrap();
        let own = stream.local_addr().unwrap();
        for _ in 0..3 {
            let told = ask(&mut stream, b"", "");
            assert_eq!(told["REMOTE_PORT"], own.port().to_string(), "{word}");
            assert_eq!(told["PROXY_PORT"], port.to_string(), "{word}");
            assert_eq!(told["PROXY_PROTOCOL"], "TCP4");
            assert_eq!(told["SERVER_PORT"], server.port().to_string());
        }
        server.stop();
    }
}

#[test]
fn nginx_says_who_connected_for_the_whole_connection() {
    let built = run_command(tool("nginx", ["-V"])).2;
    let modules = built.split_whitespace().find_map(|word| word.strip_prefix("--modules-path=")).unwrap_or_default();
    let module = Path::new(modules).join("ngx_stream_module.so");
    assert!(module.exists(), "nginx has no stream module: apt-get install libnginx-mod-stream");
    for mode in ["v1", "auto"] {
        let (files, mut server) = server(&["--proxy-protocol", mode]);
        let configuration = format!(
            "load_module {};\npid nginx.pid;\nevents {{}}\nstream {{\nserver {{\nlisten 127.0.0.1:1;\nproxy_pass {};\n\
             proxy_protocol on;\n}}\n}}\n",
            module.display(),
            server.address()
        );
        let nginx = Nginx::start(files.path(), &configuration);
        let mut stream = connect(nginx.ports()[0]);
        let own = stream.local_addr().unwrap();
        for _ in 0..3 {
            let told = ask(&mut stream, b"", "");
            assert_eq!(told["REMOTE_PORT"], own.port().to_string(), "{mode}");
            assert_eq!((&told["PROXY_PROTOCOL"], &told["REMOTE_ADDR"]), (&"TCP4".into(), &"127.0.0.1".into()));
        }
        drop(stream);
        nginx.stop();
        server.stop();
    }
}

#[test]
fn a_header_comes_before_the_handshake() {
    for (word, mode) in [("send-proxy", "v1"), ("send-proxy-v2", "auto")] {
        let authority_files = tempfile::tempdir().unwrap();
        let authority = Authority::new(authority_files.path());
        authority.server("site");
        let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
        let words = ["--proxy-protocol", mode, "--certfile", &certificate, "--keyfile", &key];
        let (files, mut server) = server(&words);
        let (_front, port) = haproxy(files.path(), &server, word);
        let ca = authority.path("ca.pem");
        let own = format!("https://{}/", server.address());
        let front = format!("https://127.0.0.1:{port}/");
        let told: Value = serde_json::from_str(&curl(["--cacert", &ca, &front])).unwrap();
        assert_eq!(told["PROXY_PORT"], port.to_string(), "{word}");
        assert_eq!(told["wsgi.url_scheme"], "https", "{word}");
        // Without a header it is as ever.
        let told: Value = serde_json::from_str(&curl(["--cacert", &ca, &own])).unwrap();
        assert_eq!(told["PROXY_PORT"], Value::Null, "{word}");
        // In pieces, and with the handshake's first bytes in the same packet.
        let mut stream = server.connect();
        stream.set_nodelay(true).unwrap();
        for piece in ["PRO", "XY TCP4 192.0.2.7 192.0.2.8 x 2\r\n\x16\x03"] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(Response::read(&mut stream).unwrap().status, 400, "{mode}");
        server.stop();
    }
}

#[test]
fn a_header_is_kept_for_the_connection_and_trust_is_the_peers() {
    let (_files, mut server) = server(&["--proxy-protocol"]);
    let mut stream = server.connect();
    let told = ask(&mut stream, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", "X-Forwarded-Proto: https\r\n");
    assert_eq!(told["REMOTE_ADDR"], "192.0.2.7");
    assert_eq!((&told["PROXY_ADDR"], &told["PROXY_PORT"]), (&"192.0.2.1".into(), &"443".into()));
    assert_eq!(told["wsgi.url_scheme"], "https", "the peer is this machine, which is believed");
    assert_eq!(ask(&mut stream, b"", "")["REMOTE_ADDR"], "192.0.2.7");
    let refused = server.ask("PROXY TCP4 192.0.2.7 192.0.2.1 4711 99999\r\n\r\n");
    assert_eq!(refused.status, 400);
    let plain = server.get("/");
    assert!(plain.text().contains("\"PROXY_ADDR\": null"), "{}", plain.text());
    server.stop();
    let lines = server.output.stdout();
    assert_eq!(lines.matches("192.0.2.7 - - ").count(), 2, "{lines}");
}

#[test]
fn who_is_in_the_backlog_when_the_server_stops_has_its_header_read_too() {
    let (_files, mut server) = server(&["--proxy-protocol"]);
    let worker = server.workers()[0];
    kill(worker, Signal::SIGSTOP).unwrap();
    let request = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n";
    // More than are accepted in one turn before the signal has its own.
    let mut waiting: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(request).unwrap();
    }
    server.signal(Signal::SIGTERM);
    server.wait_for("stopping");
    kill(worker, Signal::SIGCONT).unwrap();
    for stream in &mut waiting {
        let response = Response::read(stream).unwrap();
        assert_eq!(response.status, 200, "{}", server.log());
        assert!(response.text().contains("\"REMOTE_ADDR\": \"192.0.2.7\""), "{}", response.text());
    }
    assert_eq!(server.wait(), 0, "{}", server.log());
}

#[test]
fn who_may_not_send_a_header_gets_403() {
    let (_files, server) = server(&["--proxy-protocol", "--proxy-allow-from", "10.0.0.0/8"]);
    let refused = server.ask("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!(refused.status, 403);
    server.wait_for("hint=\"proxy_allow_ips lists the peers that may send one\"");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_folded_header_and_a_small_method_reach_the_application_where_permitted() {
    let files = directory(&[(
        "told.py",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    \
         return [(environ['REQUEST_METHOD'] + ' ' + environ['HTTP_X_A'] + ' ' + environ['wsgi.input'].read().decode()).encode()]\n",
    )]);
    let words = ["told", "--permit-obsolete-folding", "--strip-header-spaces", "--permit-unconventional-http-method"];
    let server = Server::start_in(files.path(), &[&words[..], &["--casefold-http-method"]].concat());
    let mut stream = server.connect();
    let request = "post / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\tc\r\nContent-Length: 2\r\n\r\nhi";
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().text(), "POST b c hi");
    }
}
