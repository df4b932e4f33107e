//! Threads: several requests of one worker at a time, and what goes on while all of its threads are in the application.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};

use crate::support::wire::{assert_ended, json_of};
use crate::support::{Gate, Response, Server, directory, patient_seconds, wait_until};

/// One worker with so many threads.
fn server(threads: usize, more: &[&str]) -> Server {
    let threads = threads.to_string();
    let words: Vec<&str> = ["-w", "1", "--threads", &threads].iter().chain(more).copied().collect();
    Server::start(&words)
}

/// Requests that are in the application until their gate is opened.
fn held(server: &Server, directory: &Path, count: usize) -> (Vec<TcpStream>, Gate) {
    let path = directory.join("gate");
    let gate = Gate::closed(path.clone());
    let before = server.log().matches("waits\n").count();
    let streams = (0..count).map(|_| server.begin(&format!("/wait{}", path.display()))).collect();
    server.wait_for_lines("waits\n", before + count);
    (streams, gate)
}

#[test]
fn while_some_threads_wait_the_others_serve() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(4, &["threaded"]);
    let (streams, gate) = held(&server, directory.path(), 3);
    for _ in 0..50 {
        let told = json_of(&server.get("/"));
        assert_eq!(told["served"].as_u64().map(|served| served > 0), Some(true));
    }
    let open = gate.open();
    let names: BTreeSet<String> = streams.into_iter().map(name_of).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    drop(open);
}

fn name_of(mut stream: TcpStream) -> String {
    json_of(&Response::read(&mut stream).unwrap())["thread"].as_str().unwrap().to_owned()
}

#[test]
fn threads_are_pythons_own_and_live_as_long_as_the_worker() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(3, &["threaded"]);
    for round in 1..=2 {
        let (streams, gate) = held(&server, directory.path(), 3);
        let open = gate.open();
        let told: Vec<_> =
            streams.into_iter().map(|mut stream| json_of(&Response::read(&mut stream).unwrap())).collect();
        let names: BTreeSet<&str> = told.iter().map(|told| told["thread"].as_str().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["MainThread", "rwsgi-1", "rwsgi-2"]));
        for told in &told {
            assert_eq!(
                (&told["daemon"], &told["known"], &told["multithread"]),
                (&false.into(), &true.into(), &true.into())
            );
            assert_eq!(told["served"], round, "what a thread keeps of its own is still there");
        }
        drop(open);
        std::fs::remove_file(directory.path().join("gate")).unwrap();
    }
}

#[test]
fn as_long_as_calls_are_quick_one_thread_serves_them_all() {
    let server = server(4, &["threaded"]);
    let mut stream = server.connect();
    let mut names = Vec::new();
    for _ in 0..200 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let told = json_of(&Response::read(&mut stream).unwrap());
        names.push(told["thread"].as_str().unwrap().to_owned());
    }
    // Now and then a busy machine stops one in the middle of a call, and another goes on.
    let changes = names.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes <= 20, "{changes} changes of the thread: {names:?}");
}

#[test]
fn a_request_that_comes_while_every_thread_is_busy_has_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    for threads in [1, 2] {
        let server = server(threads, &["threaded"]);
        // Connected and known before, so that its request is an event of the kernel and no new connection.
        let mut kept = server.connect();
        let ask = |stream: &mut TcpStream| stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        ask(&mut kept);
        assert_eq!(Response::read(&mut kept).unwrap().status, 200);
        let (streams, gate) = held(&server, directory.path(), threads);
        ask(&mut kept);
        let mut new = server.begin("/");
        let open = gate.open();
        for mut stream in streams.into_iter().chain([kept.try_clone().unwrap(), new.try_clone().unwrap()]) {
            assert_eq!(Response::read(&mut stream).unwrap().status, 200);
        }
        // And again, with a pipeline of three behind it.
        new.write_all("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3).as_bytes()).unwrap();
        for _ in 0..3 {
            assert_eq!(Response::read(&mut new).unwrap().status, 200);
        }
        drop(open);
        std::fs::remove_file(directory.path().join("gate")).unwrap();
    }
}

#[test]
fn while_every_thread_is_in_the_application_slow_heads_are_refused_in_time() {
    let directory = tempfile::tempdir().unwrap();
    for threads in [1, 2] {
        let server = server(threads, &["--client-header-timeout", "0.3", "threaded"]);
        let mut slow = server.connect();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: te").unwrap();
        let (streams, gate) = held(&server, directory.path(), threads);
        assert_eq!(Response::read(&mut slow).unwrap().status, 408, "{}", server.log());
        drop(gate.open());
        drop(streams);
        std::fs::remove_file(directory.path().join("gate")).unwrap();
    }
}

#[test]
fn while_every_thread_is_in_the_application_a_response_flows_on_and_idle_connections_close() {
    let files = tempfile::tempdir().unwrap();
    let large = files.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(32 << 20).unwrap();
    let server = server(1, &["--keep-alive", &patient_seconds(0.5), "waiting_files"]);
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut idle).unwrap().status, 200);
    let mut download = server.begin(&format!("/file{}", large.display()));
    Response::read_head(&mut download).unwrap();
    let (streams, gate) = held(&server, files.path(), 1);
    let mut rest = vec![0; 32 << 20];
    download.read_exact(&mut rest).unwrap();
    assert_ended(&mut idle);
    drop(gate.open());
    drop(streams);
}

#[test]
fn while_every_thread_is_in_the_application_uploads_are_received() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(1, &["waiting_files"]);
    let mut upload = server.connect();
    let length = 8 << 20;
    write!(upload, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n").unwrap();
    let (mut streams, gate) = held(&server, directory.path(), 1);
    // Much more than sockets hold: somebody takes it.
    upload.write_all(&vec![b'x'; length]).unwrap();
    let open = gate.open();
    assert_eq!(Response::read(&mut streams[0]).unwrap().status, 200);
    assert_eq!(Response::read(&mut upload).unwrap().text(), length.to_string());
    drop(open);
}

#[test]
fn who_waits_too_long_for_a_thread_gets_503() {
    let directory = tempfile::tempdir().unwrap();
    for threads in [1, 2] {
        let server = server(threads, &["--queue-timeout", &patient_seconds(0.3), "threaded"]);
        let mut kept = server.connect();
        kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(Response::read(&mut kept).unwrap().status, 200);
        let (mut streams, gate) = held(&server, directory.path(), threads);
        kept.write_all(b"GET /late HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let response = Response::read(&mut kept).unwrap();
        assert_eq!((response.status, response.field("retry-after")), (503, Some("5")), "{}", server.log());
        server.wait_for("request waited too long for a free thread");
        let open = gate.open();
        assert_eq!(Response::read(&mut streams[0]).unwrap().status, 200);
        assert_eq!(server.get("/").status, 200);
        drop(open);
        std::fs::remove_file(directory.path().join("gate")).unwrap();
    }
}

#[test]
fn the_time_of_a_request_that_comes_by_a_new_connection_counts_as_well() {
    let directory = tempfile::tempdir().unwrap();
    for threads in [1, 2] {
        let server = server(threads, &["--queue-timeout", &patient_seconds(0.3), "threaded"]);
        let (streams, gate) = held(&server, directory.path(), threads);
        let mut late: Vec<TcpStream> = (0..5).map(|_| server.begin("/late")).collect();
        for stream in &mut late {
            assert_eq!(Response::read(stream).unwrap().status, 503, "{}", server.log());
        }
        drop(gate.open());
        drop(streams);
        std::fs::remove_file(directory.path().join("gate")).unwrap();
    }
}

#[test]
fn a_request_whose_client_has_left_never_reaches_the_application() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(1, &["threaded"]);
    let mut leaving = server.connect();
    leaving.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut leaving).unwrap().status, 200);
    let (mut streams, gate) = held(&server, directory.path(), 1);
    leaving.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    wait_until("the request is read", || socket_is_empty(&leaving));
    // A reset.
    setsockopt(&leaving, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(leaving);
    server.wait_for("client left before its request had its turn");
    let open = gate.open();
    assert_eq!(Response::read(&mut streams[0]).unwrap().status, 200);
    assert_eq!(json_of(&server.get("/"))["served"], 3, "the first, the held one and this");
    drop(open);
}

/// Has the peer read all that was sent?
fn socket_is_empty(stream: &TcpStream) -> bool {
    let port = stream.local_addr().unwrap().port();
    // Columns of /proc/net/tcp: the peer's end has this port as its remote one; the second half of the queues is what
    // waits to be read.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table
        .lines()
        .find(|line| line.split_whitespace().nth(2).is_some_and(|at| at.ends_with(&format!(":{port:04X}"))));
    line.and_then(|line| line.split_whitespace().nth(4)).is_some_and(|queues| queues.ends_with(":00000000"))
}

#[test]
fn a_client_that_ends_its_sending_waits_for_its_answer_and_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(1, &["threaded"]);
    let mut half = server.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut half).unwrap().status, 200);
    let (streams, gate) = held(&server, directory.path(), 1);
    half.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    wait_until("the request is read", || socket_is_empty(&half));
    drop(gate.open());
    assert_eq!(Response::read(&mut half).unwrap().status, 200);
    drop(streams);
}

#[test]
fn a_graceful_stop_waits_for_every_thread_and_a_quick_one_for_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut graceful = server(3, &["--log-level", "debug", "threaded"]);
    let (streams, gate) = held(&graceful, directory.path(), 3);
    graceful.signal(Signal::SIGTERM);
    graceful.wait_for("worker stops");
    let open = gate.open();
    for mut stream in streams {
        let response = Response::read(&mut stream).unwrap();
        assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    }
    assert_eq!(graceful.wait(), 0, "{}", graceful.log());
    drop(open);
    std::fs::remove_file(directory.path().join("gate")).unwrap();

    let mut quick = server(3, &["threaded"]);
    let (streams, _gate) = held(&quick, directory.path(), 2);
    quick.signal(Signal::SIGQUIT);
    assert_eq!(quick.wait(), 0, "{}", quick.log());
    drop(streams);
}

#[test]
fn handlers_of_python_run_though_the_main_thread_sleeps() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(2, &["threaded"]);
    // Both have been in the application, so that one of the two is parked now.
    let (streams, gate) = held(&server, directory.path(), 2);
    let open = gate.open();
    for stream in streams {
        name_of(stream);
    }
    for count in 1..=3 {
        kill(server.workers()[0], Signal::SIGUSR1).unwrap();
        wait_until("the handler has run", || json_of(&server.get("/"))["signals"] == count);
    }
    drop(open);
}

#[test]
fn while_one_computes_the_others_have_their_turn() {
    let server = server(2, &["threaded"]);
    // Of CPU time: a slow machine computes as much longer as it answers later.
    let mut busy = server.begin("/busy?s=1.5");
    let mut kept = server.connect();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut kept).unwrap().status, 200);
    busy.set_nonblocking(true).unwrap();
    let nothing = busy.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock), "it computes still");
    busy.set_nonblocking(false).unwrap();
    assert_eq!(Response::read(&mut busy).unwrap().status, 200);
}

#[test]
fn at_the_limit_of_connections_the_longest_idle_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(2, &["--worker-connections", "2", "threaded"]);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(Response::read(stream).unwrap().status, 200);
    };
    let (mut first, mut second) = (server.connect(), server.connect());
    ask(&mut first);
    ask(&mut second);
    let mut third = server.connect();
    ask(&mut third);
    assert_ended(&mut first);
    ask(&mut second);
    // Where none idles, a new one waits until one ends.
    let (streams, gate) = held(&server, directory.path(), 2);
    assert_ended(&mut second);
    let mut waiting = server.begin("/");
    let open = gate.open();
    for stream in streams {
        name_of(stream);
    }
    assert_eq!(Response::read(&mut waiting).unwrap().status, 200);
    drop(open);
}

/// Replaces what `threading` starts threads with by what runs nothing, as a coroutine of a thread that waits.
const PATCHED: &str = "\
import threading
def start(*arguments, **keywords):
    return 0
for name in ('_start_joinable_thread', '_start_new_thread'):
    if hasattr(threading, name):
        setattr(threading, name, start)
start.__module__ = 'green.thread'
barrier = threading.Barrier(2)
def application(environ, start_response):
    barrier.wait(60)
    start_response('200 OK', [])
    return [b'served']
";

#[test]
fn an_application_that_has_patched_threading_is_served_by_native_threads() {
    let files = directory(&[("patched.py", PATCHED)]);
    let mut server = Server::start_in(files.path(), &["patched", "--threads", "2", "-w", "1"]);
    let mut both = [server.begin("/"), server.begin("/")];
    for stream in &mut both {
        assert_eq!(Response::read(stream).unwrap().text(), "served", "{}", server.log());
    }
    let log = server.stop();
    assert!(log.contains("served by native threads all the same by=green.thread"), "{log}");
}
