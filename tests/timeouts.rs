//! Clients that are slow: each limit of time, and that nobody else waits meanwhile.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::{Gate, Response, Server, is_over, patient_seconds};

/// One worker, which a client must not occupy.
fn server(more: &[&str]) -> Server {
    let words: Vec<&str> = ["-w", "1"].iter().chain(more).copied().collect();
    Server::start(&words)
}

#[test]
fn a_head_that_does_not_become_whole_gets_408() {
    let server = server(&["--client-header-timeout", "0.3", "echo"]);
    let mut slow = server.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ").unwrap();
    assert_eq!(server.get("/").status, 200);
    let response = Response::read(&mut slow).unwrap();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
}

#[test]
fn a_deadline_that_is_set_while_another_thread_sleeps_is_kept() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("gate");
    let server = server(&["--threads", "2", "--keep-alive", "0.3", "--client-header-timeout", "600", "stuck"]);
    let gate = Gate::closed(path.clone());
    let mut kept = server.begin(&format!("/gate{}", path.display()));
    server.wait_for("under way: gate");
    // The thread that answers this sleeps in epoll_wait from then on, without a deadline before that of a head.
    assert_eq!(server.get("/").status, 200);
    let began = Instant::now();
    let open = gate.open();
    assert_eq!(Response::read(&mut kept).unwrap().status, 200);
    assert_eq!(kept.read(&mut [0]).unwrap(), 0, "{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(open);
}

#[test]
fn a_body_that_pauses_too_long_gets_408() {
    for more in [&[][..], &["--post-buffering", "0"]] {
        let words: Vec<&str> = ["--client-body-timeout", "0.3", "echo"].iter().chain(more).copied().collect();
        let server = server(&words);
        let mut slow = server.connect();
        slow.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello").unwrap();
        let response = Response::read(&mut slow).unwrap();
        assert_eq!(response.status, 408, "{more:?}\n{}", server.log());
        assert_eq!(server.get("/").status, 200);
    }
}

#[test]
fn a_file_that_nobody_takes_is_given_up_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let server = server(&["--send-timeout", &patient_seconds(0.5), "files"]);
    let request = format!("GET /?path={} HTTP/1.1\r\nHost: test\r\n\r\n", path.display());
    let mut idle = server.connect();
    idle.write_all(request.as_bytes()).unwrap();
    // The same worker serves the same file to somebody who takes it.
    let length = server.get(&format!("/?path={}", path.display())).body.len();
    assert_eq!(length, 64 << 20);
    server.wait_for("client does not take its response");
    assert_cut_short(&mut idle, 64 << 20);
}

#[test]
fn a_generated_response_that_nobody_takes_is_given_up_and_closed() {
    let server = server(&["--send-timeout", "0.5", "--minimum-send-rate", "0", "endless"]);
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    server.wait_for("client does not take its response");
    server.wait_for("closed after");
    assert_cut_short(&mut idle, usize::MAX);
}

/// What is left in the kernel can still be read; then comes the end, before all of it.
fn assert_cut_short(stream: &mut impl Read, length: usize) {
    let began = Instant::now();
    let mut sink = Vec::new();
    // A reset is an end, too.
    let _ = stream.take(1 << 30).read_to_end(&mut sink);
    assert!(sink.len() < length && !is_over(began), "{} bytes", sink.len());
}
