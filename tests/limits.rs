//! Limits of the processes: memory and open files.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};

use crate::support::wire::json_of;
use crate::support::{self, Response, Server, directory, pass, run, rwsgi, wait_until};

const GREEDY: &str = r#"
def application(environ, start_response):
    wanted = int(environ["QUERY_STRING"] or 0)
    held = bytearray(wanted)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(held)).encode()]
"#;

#[test]
fn what_needs_more_than_the_address_space_fails_alone() {
    let files = directory(&[("greedy.py", GREEDY)]);
    let server = Server::start_in(files.path(), &["--limit-as", "2 GiB", "greedy"]);
    let mebibytes = |count: usize| format!("/?{}", count << 20);
    assert_eq!(server.get(&mebibytes(1)).status, 200);
    assert_eq!(server.get(&mebibytes(4096)).status, 500);
    server.wait_for("MemoryError");
    assert_eq!(server.get(&mebibytes(1)).status, 200);
    assert_eq!(server.workers().len(), 1, "it is the same worker\n{}", server.log());
}

#[test]
fn the_number_of_open_files_is_what_was_asked_for() {
    let server = Server::start(&["--limit-nofile", "300", "hello"]);
    for pid in server.tree() {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some("300"), "{pid}: {limits}");
    }
}

#[test]
fn at_the_limit_of_files_idle_connections_make_room() {
    let server = Server::start(&["--limit-nofile", "64", "hello"]);
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    // Many times what the table holds, and every client is answered.
    let mut kept = Vec::new();
    for _ in 0..200 {
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().status, 200);
        kept.push(stream);
    }
    assert!(!server.log().contains("cannot accept"), "{}", server.log());
}

const LEAKS: &str = r#"
import os, threading, time

kept = []

def leak():
    while True:
        try:
            kept.append(open("/dev/null"))
        except OSError:
            time.sleep(0.001)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        threading.Thread(target=leak, daemon=True).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"#;

#[test]
fn a_worker_whose_application_leaks_descriptors_is_replaced() {
    let files = directory(&[("leaks.py", LEAKS)]);
    let server = Server::start_in(files.path(), &["--limit-nofile", "64", "leaks"]);
    let leaky = server.get("/").text();
    assert_eq!(server.get("/leak").text(), leaky);
    // A client that comes without a descriptor waits until the next worker is there.
    wait_until("another worker serves", || server.get("/").text() != leaky);
    server.wait_for("worker has had no free descriptor for 5 s, it will be replaced");
}

#[test]
fn a_worker_whose_connections_take_all_descriptors_is_not_replaced() {
    let server = Server::start(&["--limit-nofile", "64", "hello"]);
    let worker = server.workers();
    let mut held: Vec<TcpStream> = (0..62).map(|_| server.connect()).collect();
    for stream in &mut held {
        stream.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n1234").unwrap();
    }
    server.wait_for("cannot accept");
    pass(Duration::from_secs(7));
    assert_eq!(server.workers(), worker, "{}", server.log());
    assert!(!server.log().contains("will be replaced"), "{}", server.log());
    held.truncate(5);
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn more_files_than_the_system_has_is_an_error() {
    let (code, _, said) = run(&support::apps(), ["--limit-nofile", "2000000", "hello"]);
    assert_eq!(code, 1);
    assert!(said.contains("--limit-nofile: expected a whole number from 0 to 1048576, found 2000000"), "{said}");
}

const PROGRAMS: &str = r#"
import json, multiprocessing, os, resource, subprocess, sys

SHELL = ["sh", "-c", "ulimit -S -n"]

def forked():
    reads, writes = os.pipe()
    if os.fork() == 0:
        os.write(writes, b"%d" % resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os._exit(0)
    os.wait()
    return int(os.read(reads, 100))

def spawned():
    reads, writes = os.pipe()
    pid = os.posix_spawn("/bin/sh", SHELL, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writes, 1)])
    os.waitpid(pid, 0)
    return int(os.read(reads, 100))

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    told = {
        "run": int(subprocess.run(SHELL, capture_output=True).stdout),
        "open": int(subprocess.run(SHELL, stdout=subprocess.PIPE, close_fds=False).stdout),
        "popen": int(os.popen("ulimit -S -n").read()),
        "fork": forked(),
        "posix_spawn": spawned(),
        "own": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    try:
        subprocess.run(["/nonexistent"])
    except FileNotFoundError:
        pass
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == told["own"]
    return [json.dumps(told).encode()]
"#;

#[test]
fn programs_of_the_application_have_the_limit_that_the_server_was_started_with() {
    let files = directory(&[("programs.py", PROGRAMS)]);
    let limit = |words: &[&str]| {
        let mut command = rwsgi(files.path(), [&["-b", "127.0.0.1:0", "programs"][..], words].concat());
        // SAFETY: between fork and exec only setrlimit is called, which is async-signal-safe.
        unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, 300, 4000)?)) };
        let server = Server::spawn(command);
        let told = json_of(&server.get("/"));
        ["run", "open", "popen", "fork", "posix_spawn", "own"].map(|name| told[name].as_u64().unwrap())
    };
    assert_eq!(limit(&[]), [300, 300, 300, 300, 300, 4000]);
    assert_eq!(limit(&["--preload"]), [300, 300, 300, 300, 300, 4000]);
    // A limit that is asked for is that of all.
    assert_eq!(limit(&["--limit-nofile", "500"]), [500; 6]);
}
