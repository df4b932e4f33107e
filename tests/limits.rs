//! Limits of the processes: memory and open files.

use std::fs;
use std::io::Write;

use crate::support::{self, Response, Server, directory, run};

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

#[test]
fn more_files_than_the_system_has_is_an_error() {
    let (code, _, said) = run(&support::apps(), ["--limit-nofile", "2000000", "hello"]);
    assert_eq!(code, 1);
    assert!(said.contains("--limit-nofile: expected a whole number from 0 to 1048576, found 2000000"), "{said}");
}
