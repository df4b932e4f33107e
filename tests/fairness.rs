//! Several workers: no request waits behind a slow one while another worker has nothing to do.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::wire::json_of;
use crate::support::{Gate, Response, Server, limit};

/// A kept connection, and the pid of the worker that holds it.
struct Kept<S> {
    stream: S,
    worker: u64,
}

impl<S: std::io::Read + Write> Kept<S> {
    fn new(mut stream: S) -> Kept<S> {
        let worker = ask(&mut stream, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        Kept { stream, worker }
    }
}

/// The pid of the worker that answers.
fn ask(stream: &mut (impl std::io::Read + Write), request: &str) -> u64 {
    stream.write_all(request.as_bytes()).unwrap();
    worker_of(stream)
}

fn worker_of(stream: &mut impl std::io::Read) -> u64 {
    json_of(&Response::read(stream).unwrap())["pid"].as_u64().unwrap()
}

/// Holds a thread of the worker to which this connection belongs.
fn hold(server: &Server, kept: &mut Kept<TcpStream>, gate: &Path) {
    let before = server.log().matches("waits\n").count();
    let request = format!("GET /wait{} HTTP/1.1\r\nHost: test\r\n\r\n", gate.display());
    kept.stream.write_all(request.as_bytes()).unwrap();
    server.wait_for_lines("waits\n", before + 1);
}

/// Two connections that belong to the same worker.
fn of_one_worker(server: &Server) -> (Kept<TcpStream>, Kept<TcpStream>) {
    let mut kept: Vec<Kept<TcpStream>> = Vec::new();
    loop {
        let next = Kept::new(server.connect());
        if let Some(at) = kept.iter().position(|other| other.worker == next.worker) {
            return (kept.swap_remove(at), next);
        }
        kept.push(next);
    }
}

#[test]
fn a_request_on_a_connection_of_a_busy_worker_is_answered_by_one_that_idles() {
    let directory = tempfile::tempdir().unwrap();
    for (threads, queue_timeout) in [("1", "0"), ("2", "0"), ("1", "60"), ("2", "60")] {
        let server = Server::start(&["-w", "2", "--threads", threads, "--queue-timeout", queue_timeout, "threaded"]);
        let (mut holding, mut kept) = of_one_worker(&server);
        let gate_path = directory.path().join("gate");
        let gate = Gate::closed(gate_path.clone());
        hold(&server, &mut holding, &gate_path);
        let mut more = Vec::new();
        if threads == "2" {
            // The other thread of the same worker, too: whichever connection belongs to it.
            while more.iter().all(|other: &Kept<TcpStream>| other.worker != kept.worker) {
                more.push(Kept::new(server.connect()));
            }
            let mut second = more.pop().unwrap();
            hold(&server, &mut second, &gate_path);
            more.push(second);
        }
        let requests = [
            "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello",
            "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        ];
        let before = kept.worker;
        for request in requests {
            assert_ne!(ask(&mut kept.stream, request), before, "{}", server.log());
        }
        let open = gate.open();
        assert_eq!(worker_of(&mut holding.stream), holding.worker);
        // What was passed on has moved for good, and two requests in a pipeline stay in their order.
        kept.stream.write_all("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(2).as_bytes()).unwrap();
        for _ in 0..2 {
            assert_ne!(worker_of(&mut kept.stream), before);
        }
        drop(open);
        std::fs::remove_file(gate_path).unwrap();
    }
}

#[test]
fn bodies_that_cannot_be_passed_on_wait_for_their_worker() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["-w", "2", "threaded"]);
    let (mut holding, mut kept) = of_one_worker(&server);
    let gate_path = directory.path().join("gate");
    let gate = Gate::closed(gate_path.clone());
    hold(&server, &mut holding, &gate_path);
    let body = "x".repeat(100_000);
    write!(kept.stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let open = gate.open();
    assert_eq!(worker_of(&mut kept.stream), kept.worker);
    drop(open);
}

#[test]
fn connections_of_unix_sockets_are_passed_on_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let server = Server::start(&["-w", "2", "-b", &bind, "-b", "127.0.0.1:0", "threaded"]);
    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(limit())).unwrap();
        Kept::new(stream)
    };
    let (mut holding, _other) = of_one_worker(&server);
    let mut kept = connect();
    while kept.worker != holding.worker {
        kept = connect();
    }
    let gate_path = directory.path().join("gate");
    let gate = Gate::closed(gate_path.clone());
    hold(&server, &mut holding, &gate_path);
    assert_ne!(ask(&mut kept.stream, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"), holding.worker);
    drop(gate.open());
}

#[test]
fn where_every_worker_is_busy_each_request_is_answered_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["-w", "2", "threaded"]);
    let gate_path = directory.path().join("gate");
    let gate = Gate::closed(gate_path.clone());
    let mut kept: Vec<Kept<TcpStream>> = (0..20).map(|_| Kept::new(server.connect())).collect();
    let mut held = 0;
    for worker in server.workers() {
        let worker = u64::try_from(worker.as_raw()).unwrap();
        // The kernel may have given all to one.
        if let Some(at) = kept.iter().position(|kept| kept.worker == worker) {
            hold(&server, &mut kept[at], &gate_path);
            held += 1;
            kept[at].worker = 0;
        }
    }
    assert!(held > 0);
    for kept in kept.iter_mut().filter(|kept| kept.worker != 0) {
        kept.stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    let open = gate.open();
    for kept in &mut kept {
        worker_of(&mut kept.stream);
    }
    drop(open);
}

#[test]
fn nothing_is_lost_with_a_worker_whose_lock_is_held_while_another_idles() {
    let mut server = Server::start(&["-w", "2", "--threads", "4", "--timeout", "1", "stuck"]);
    let _stuck = server.begin("/c");
    server.wait_for("under way: c");
    while !server.log().contains("its worker is killed") {
        assert_eq!(server.get("/").status, 200, "{}", server.log());
    }
    server.stop();
}

#[test]
fn who_waits_behind_a_request_that_takes_long_enough_goes_to_a_worker_that_idles() {
    let server = Server::start(&["-w", "2", "threaded"]);
    let (mut one, mut other) = of_one_worker(&server);
    // Shorter than what the helper waits for, longer than what passing on takes.
    let request = "GET /busy?s=0.003 HTTP/1.1\r\nHost: test\r\n\r\n";
    let both = |one: &mut Kept<TcpStream>, other: &mut Kept<TcpStream>| {
        one.stream.write_all(request.as_bytes()).unwrap();
        other.stream.write_all(request.as_bytes()).unwrap();
        (worker_of(&mut one.stream), worker_of(&mut other.stream))
    };
    let rounds = (0..200).take_while(|_| {
        let (first, second) = both(&mut one, &mut other);
        first == second
    });
    assert!(rounds.count() < 200, "both stay with one worker while another idles");
}

#[test]
fn new_connections_are_not_kept_waiting_by_kept_ones_of_a_busy_worker() {
    let server = Server::start(&["-w", "1", "threaded"]);
    let mut kept: Vec<Kept<TcpStream>> = (0..16).map(|_| Kept::new(server.connect())).collect();
    let request = "GET /busy?s=0.003 HTTP/1.1\r\nHost: test\r\n\r\n";
    let done = AtomicBool::new(false);
    let kept_turns = std::thread::scope(|scope| {
        let keeping: Vec<_> = kept
            .iter_mut()
            .map(|kept| {
                let done = &done;
                scope.spawn(move || {
                    let mut turns = 0;
                    while !done.load(Ordering::Relaxed) {
                        ask(&mut kept.stream, request);
                        turns += 1;
                    }
                    turns
                })
            })
            .collect();
        // Eight at a time, each with a connection for every request.
        let come = || {
            for _ in 0..NEW {
                ask(&mut server.connect(), request);
            }
        };
        let coming: Vec<_> = (0..8).map(|_| scope.spawn(come)).collect();
        for client in coming {
            client.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        keeping.into_iter().map(|client| client.join().unwrap()).max().unwrap()
    });
    // Each of the eight gets an answer in two turns or three; when one a turn was accepted it took all eight.
    assert!(kept_turns < 5 * NEW, "{kept_turns} turns of a kept connection for {NEW} of a new one");
}

/// How many connections each client opens one after the other.
const NEW: usize = 10;
