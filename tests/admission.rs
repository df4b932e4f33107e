//! Clients that connect and send nothing, or half a head, keep no other client out; and no connection is lost for want of
//! descriptors.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::pki::Authority;
use crate::support::wire::{assert_ended, json_of};
use crate::support::{Gate, LIMIT, Response, Server, directory, program, wait_until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Says which worker answers, holds it at a gate, or has it lack descriptors.
const APP: &str = r#"
import os

leaked = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/wait/"):
        os.write(2, b"waits\n")
        os.close(os.open(path[5:], os.O_RDONLY))
    if path == "/leak":
        try:
            while True:
                leaked.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
    body = b'{"pid": %d}' % os.getpid()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"#;

fn ask(stream: &mut (impl Read + Write), request: &str) -> u64 {
    stream.write_all(request.as_bytes()).unwrap();
    pid_of(stream)
}

fn pid_of(stream: &mut impl Read) -> u64 {
    json_of(&Response::read(stream).unwrap())["pid"].as_u64().unwrap()
}

/// Every new client is answered, though as many are connected as there may be.
fn all_are_answered(server: &Server, count: usize) {
    for _ in 0..count {
        assert_eq!(server.get("/").status, 200, "{}", server.log());
    }
}

#[test]
fn silent_connections_give_way_to_new_clients() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-w", "1", "--threads", threads, "--worker-connections", "50", "hello"]);
        let silent: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        let began = Instant::now();
        all_are_answered(&server, 20);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        server.wait_for("connections without a request gave way to new ones");
        server.wait_for("worker_connections allows for more");
        drop(silent);
    }
}

#[test]
fn silent_connections_to_a_unix_socket_give_way_as_well() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let server = Server::start(&["-w", "1", "--worker-connections", "20", "-b", &bind, "hello"]);
    let _silent: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for _ in 0..10 {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(GET).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().status, 200, "{}", server.log());
    }
}

#[test]
fn handshakes_that_do_not_begin_give_way() {
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::new(place.path());
    authority.server("server");
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let words = ["--certfile", &certificate, "--keyfile", &key, "--worker-connections", "20", "hello"];
    let server = Server::start(&words);
    let _silent: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    let words = ["--cacert", &authority.path("ca.pem"), "-sS", "-o", "/dev/null", "-w", "%{http_code}"];
    for _ in 0..3 {
        let url = format!("https://{}/", server.address());
        let mut curl = crate::support::outside::tool("curl", words.iter().copied().chain([url.as_str()]));
        let output = curl.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200", "{}", server.log());
    }
}

#[test]
fn heads_that_stay_unfinished_give_way_after_five_seconds() {
    // A single one makes the worker full before a byte of it is read.
    for most in [20, 1] {
        let server = Server::start(&["-w", "1", "--worker-connections", &most.to_string(), "hello"]);
        let mut halves: Vec<TcpStream> = (0..most).map(|_| server.connect()).collect();
        for half in &mut halves {
            half.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
        }
        let began = Instant::now();
        all_are_answered(&server, 5);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(15), "{most}: {took:?}");
        // Any of them: the kernel tells to 4 ms which is the oldest.
        wait_until("one of them is closed", || halves.iter_mut().any(has_ended));
        server.wait_for("unfinished_heads=");
    }
}

/// True if the server has closed the connection, without a word.
fn has_ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_kept_connection_outlives_a_silent_one() {
    let server = Server::start(&["-w", "1", "--worker-connections", "3", "hello"]);
    let (mut kept, mut others) = (server.connect(), Vec::new());
    kept.write_all(GET).unwrap();
    assert_eq!(Response::read(&mut kept).unwrap().status, 200);
    let mut silent = server.connect();
    for _ in 0..2 {
        let mut other = server.connect();
        other.write_all(GET).unwrap();
        assert_eq!(Response::read(&mut other).unwrap().status, 200);
        others.push(other);
    }
    assert_ended(&mut silent);
    kept.write_all(GET).unwrap();
    assert_eq!(Response::read(&mut kept).unwrap().status, 200, "{}", server.log());
}

#[test]
fn a_fresh_connection_has_the_time_of_its_head_from_the_accept() {
    let server = Server::start(&["-w", "1", "--client-header-timeout", "1", "hello"]);
    let mut stream = server.connect();
    let began = Instant::now();
    // As long as it dribbles on.
    let dribble = |stream: &mut TcpStream| stream.write_all(b"G").is_ok();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut room = [0; 12];
    while stream.read_exact(&mut room).is_err() {
        assert!(began.elapsed() < LIMIT && dribble(&mut stream), "{}", server.log());
    }
    assert_eq!(&room, b"HTTP/1.1 408");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn silent_connections_give_way_where_descriptors_run_out() {
    let server = Server::start(&["-w", "1", "--limit-nofile", "64", "hello"]);
    let _silent: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    all_are_answered(&server, 20);
    server.wait_for("gave way for want of descriptors");
    server.wait_for("limit_nofile");
}

#[test]
fn old_heads_give_way_where_descriptors_run_out_also_those_that_waited_to_be_accepted() {
    let server = Server::start(&["-w", "1", "--limit-nofile", "64", "hello"]);
    let mut halves: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    for half in &mut halves {
        half.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    }
    let began = Instant::now();
    all_are_answered(&server, 5);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}\n{}", began.elapsed(), server.log());
}

/// A server of two workers, a kept connection to one of them, which lacks descriptors, and six or more to the other one.
fn with_a_leaky_worker(files: &Path, words: &[&str]) -> (Server, TcpStream, Vec<TcpStream>) {
    let server = Server::start_in(files, &[&["-w", "2"][..], words, &["app"]].concat());
    let mut by_worker: Vec<(u64, Vec<TcpStream>)> = Vec::new();
    while by_worker.len() < 2 || by_worker[0].1.len() < 6 || by_worker[1].1.is_empty() {
        let mut stream = server.connect();
        let pid = ask(&mut stream, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        match by_worker.iter_mut().find(|(known, _)| *known == pid) {
            Some((_, streams)) => streams.push(stream),
            None => by_worker.push((pid, vec![stream])),
        }
        by_worker.sort_by_key(|(_, streams)| std::cmp::Reverse(streams.len()));
    }
    let (mut other, (pid, mut many)) = (by_worker.remove(1), by_worker.remove(0));
    let mut leaky = other.1.remove(0);
    // A connection may have moved to the other worker: then once more.
    if ask(&mut leaky, "GET /leak HTTP/1.1\r\nHost: test\r\n\r\n") != other.0 {
        return with_a_leaky_worker(files, words);
    }
    // What has moved to the leaky worker may have given way there, and is left out.
    many.retain_mut(|stream| {
        let response = stream.write_all(GET).ok().and_then(|()| Response::read(stream).ok());
        response.is_some_and(|response| json_of(&response)["pid"].as_u64() == Some(pid))
    });
    (server, leaky, many)
}

#[test]
fn a_worker_without_descriptors_loses_no_connection_that_is_handed_to_it() {
    let files = directory(&[("app.py", APP)]);
    let (server, _leaky, mut others) = with_a_leaky_worker(files.path(), &["--limit-nofile", "64"]);
    let gate_path = files.path().join("gate");
    let gate = Gate::closed(gate_path.clone());
    assert!(others.len() > 1, "connections of the other worker: {}", others.len());
    let mut holding = others.remove(0);
    holding.write_all(format!("GET /wait{} HTTP/1.1\r\nHost: test\r\n\r\n", gate_path.display()).as_bytes()).unwrap();
    server.wait_for("waits\n");
    for stream in &mut others {
        stream.write_all(GET).unwrap();
    }
    server.wait_for("no free descriptor, connections are left to other workers");
    let _open = gate.open();
    pid_of(&mut holding);
    for stream in &mut others {
        assert_eq!(Response::read(stream).unwrap().status, 200, "{}", server.log());
    }
}

#[test]
fn connections_are_handed_over_under_load_at_the_limit_of_descriptors() {
    let files = directory(&[("app.py", APP)]);
    let server = Server::start_in(files.path(), &["-w", "2", "--limit-nofile", "40", "app"]);
    let gate_path = files.path().join("gate");
    for _ in 0..3 {
        let gate = Gate::closed(gate_path.clone());
        let before = server.log().matches("waits\n").count();
        let mut holding = server.connect();
        let request = format!("GET /wait{} HTTP/1.1\r\nHost: test\r\n\r\n", gate_path.display());
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..24)
                .map(|_| {
                    scope.spawn(|| {
                        let mut stream = server.connect();
                        for _ in 0..20 {
                            // A kept connection may be closed between two requests: its client opens another.
                            let asked = stream.write_all(GET).is_ok();
                            match asked.then(|| Response::read(&mut stream)) {
                                Some(Ok(response)) => assert_eq!(response.status, 200),
                                _ => {
                                    stream = server.connect();
                                    stream.write_all(GET).unwrap();
                                    assert_eq!(Response::read(&mut stream).unwrap().status, 200, "{}", server.log());
                                }
                            }
                        }
                    })
                })
                .collect();
            holding.write_all(request.as_bytes()).unwrap();
            server.wait_for_lines("waits\n", before + 1);
            for client in clients {
                client.join().unwrap();
            }
        });
        let open = gate.open();
        pid_of(&mut holding);
        drop(open);
        std::fs::remove_file(&gate_path).unwrap();
    }
    assert!(!server.log().contains("is lost"), "{}", server.log());
}

fn connections(server: &Server, pidfile: &Path) -> Value {
    let words = ["status", "--json", "--pid", pidfile.to_str().unwrap()];
    let output = std::process::Command::new(program()).args(words).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", String::from_utf8_lossy(&output.stderr), server.log()));
    status["workers"][0]["connections"].clone()
}

#[test]
fn status_says_what_the_connections_do() {
    let files = directory(&[("app.py", APP)]);
    let pidfile = files.path().join("pid");
    let words = ["-w", "1", "--pid", pidfile.to_str().unwrap(), "app"];
    let server = Server::start_in(files.path(), &words);
    let gate_path = files.path().join("gate");
    let gate = Gate::closed(gate_path.clone());
    let mut idle = server.connect();
    ask(&mut idle, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let _silent: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    let mut reading = server.connect();
    reading.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    let is = |name: &str, count: u64| connections(&server, &pidfile)[name] == count;
    wait_until("two silent, one idle, one that is read", || is("silent", 2) && is("idle", 1) && is("reading", 1));
    let mut held = server.begin(&format!("/wait{}", gate_path.display()));
    server.wait_for("waits\n");
    idle.write_all(GET).unwrap();
    wait_until("one in the application, one that waits", || is("application", 1) && is("waiting", 1) && is("idle", 0));
    let _open = gate.open();
    pid_of(&mut held);
    pid_of(&mut idle);
    wait_until("nothing waits", || is("waiting", 0) && is("application", 0));
}
