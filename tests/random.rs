//! Ten thousand requests of random bytes, and of requests with mistakes in them, over real connections: the worker
//! answers or refuses each, stays the one it was, and grows no larger.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use crate::http_cases::case::cases;
use crate::http_cases::mutation::{Chance, mutate};
use crate::support::{Response, Server, status};
use serde_json::Value;

#[test]
fn ten_thousand_random_requests_leave_the_worker_as_it_was() {
    // Nobody is believed, so that no SCRIPT_NAME is an error beside the path it comes with.
    let log = bear_random_requests(&["--forwarded-allow-ips", "192.0.2.1"], 0x0DD_B17E5);
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("[ERROR]")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn ten_thousand_random_requests_with_streamed_bodies_leave_the_worker_as_it_was() {
    bear_random_requests(&["--post-buffering", "0"], 0x5EED_B0D7);
}

#[test]
fn ever_new_field_names_are_forgotten() {
    let server = Server::start(&["-w", "1", "echo"]);
    let mut stream = server.connect();
    let mut name = 0;
    let mut flood = |requests: usize| {
        for _ in 0..requests {
            let fields: String = (name..name + 90).map(|name| format!("X-Name-{name}: 1\r\n")).collect();
            stream.write_all(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes()).unwrap();
            assert_eq!(Response::read(&mut stream).unwrap().status, 200);
            name += 90;
        }
    };
    flood(200);
    let before = resident(&server);
    flood(1000);
    let after = resident(&server);
    assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
    // What is not kept is still one variable in any spelling.
    let again =
        "GET / HTTP/1.1\r\nHost: test\r\nx-NEW: 1\r\nX-new: 2\r\nhOST-x: 3\r\ncOOkie: a=1\r\nCookiE: b=2\r\n\r\n";
    let told: Value = serde_json::from_slice(&server.ask(again).body).unwrap();
    let variable = |name: &str| told["environ"][name].as_str().unwrap_or_default().to_owned();
    let found = ["HTTP_X_NEW", "HTTP_HOST_X", "HTTP_COOKIE"].map(variable);
    assert_eq!(found, ["1,2", "3", "a=1; b=2"]);
}

/// Says what the log holds then.
fn bear_random_requests(words: &[&str], seed: u64) -> String {
    let server = Server::start(&[&["-w", "1", "witness"], words].concat());
    let worker = server.workers()[0];
    let seeds = seeds();
    // The first thousand fill caches and arenas.
    send_random(&server, &seeds, seed, WARMING);
    server.get("/record");
    let before = resident(&server);
    send_random(&server, &seeds, seed.rotate_left(17), REQUESTS);
    let record = server.get("/record");
    assert_eq!(record.status, 200);
    // Some got through: these were requests, not noise alone.
    assert!(record.text().matches("\"method\"").count() > REQUESTS / 50, "{}", record.text().len());
    let after = resident(&server);
    assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
    assert_eq!((server.workers(), status(worker, "Name").is_empty()), (vec![worker], false), "{}", server.log());
    let log = server.log();
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:?}");
    log
}

/// Sends so many requests, each on a connection of its own and with up to three behind it, by several clients at a time.
fn send_random(server: &Server, seeds: &[Vec<u8>], seed: u64, requests: usize) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut chance = Chance(seed ^ (0x9E37_79B9_7F4A_7C15 << client));
            scope.spawn(move || {
                for _ in 0..requests / CLIENTS {
                    // Once one is refused, those behind it are not looked at.
                    let count = 1 + chance.below(4);
                    let burst: Vec<u8> = (0..count).flat_map(|_| random_request(seeds, &mut chance)).collect();
                    converse(server, &burst);
                }
            });
        }
    });
}

/// Sends bytes, and reads the answers to their end: every connection ends when its client has said all.
fn converse(server: &Server, bytes: &[u8]) {
    let mut stream = server.connect();
    // What is refused half-way may be refused with a reset.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let reset = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(reset, "{error} after {}\n{}", bytes.escape_ascii(), answer.escape_ascii());
    }
    let is_answer = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
    assert!(is_answer, "{} gets {}", bytes.escape_ascii(), answer.escape_ascii());
}

/// Noise alone one time in eight, else a case of the parser's tests with up to three mistakes.
fn random_request(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    if chance.below(8) == 0 {
        return (0..=chance.below(300)).map(|_| chance.byte()).collect();
    }
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..chance.below(4) {
        mutate(&mut bytes, chance);
    }
    bytes
}

/// What the parser's tests send, where it is not megabytes.
fn seeds() -> Vec<Vec<u8>> {
    let accepted: Vec<Vec<u8>> = cases("accept", 150).map(|case| case.bytes).collect();
    // Half of either kind, so that many a request gets as far as the application.
    let all = cases("reject", 350).map(|case| case.bytes).chain([accepted.clone(), accepted].concat());
    all.filter(|bytes| (1..LONGEST).contains(&bytes.len())).collect()
}

/// The memory of the only worker, in KiB.
fn resident(server: &Server) -> usize {
    let text = status(server.workers()[0], "VmRSS");
    text.split(' ').next().unwrap().parse().unwrap()
}

const REQUESTS: usize = 10_000;
const WARMING: usize = 1000;
const CLIENTS: usize = 4;
/// In bytes.
const LONGEST: usize = 20_000;
/// What the worker may grow by, in KiB: the application's record of what it saw takes half of it. 100 bytes a field name
/// that is never forgotten would be twice as much.
const GROWTH: usize = 4096;
