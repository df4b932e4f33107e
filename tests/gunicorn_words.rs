//! The lines of the error log that programs and people search for have gunicorn's words: the same life of a server under
//! gunicorn and under rwsgi.

use std::io::{Read, Write};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::gunicorn::{Listening, gunicorn};
use crate::support::outside::connect;
use crate::support::{Server, directory, run_command, rwsgi, wait_until};

/// Words of gunicorn, with `#` for digits.
const WORDS: &[&str] = &[
    "[INFO] Starting ",
    "[INFO] Listening at: http://#.#.#.#:# (#)",
    "[INFO] Using worker: sync",
    "[INFO] Booting worker with pid: #",
    "[INFO] Handling signal: hup",
    "[INFO] Hang up: Master",
    "[INFO] Worker exiting (pid: #)",
    "[ERROR] Worker (pid:#) was sent SIGKILL! Perhaps out of memory?",
    "[ERROR] Error handling request GET /raise",
    "[CRITICAL] WORKER TIMEOUT (pid:#)",
    "[INFO] Autorestarting worker after current request.",
    "[INFO] Handling signal: term",
    "[INFO] Shutting down: Master",
];

const APP: &str = "
import os, threading

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/raise':
        raise RuntimeError
    if path == '/stuck':
        threading.Event().wait()
    start_response('200 OK', [('Content-Length', '0')])
    return [b'']
";

/// Digits as `#`.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for char in text.chars() {
        if !char.is_ascii_digit() {
            shape.push(char);
        } else if !shape.ends_with('#') {
            shape.push('#');
        }
    }
    shape
}

/// Waits until the log has so many lines with these words, and returns the number at the end of each.
fn wait_for(server: &Listening, words: &str, count: usize) -> Vec<i32> {
    let found = || -> Vec<i32> {
        let log = server.log();
        let numbers = log.lines().filter_map(|line| line.split_once(words));
        numbers.map(|(_, rest)| rest.split([' ', ')']).next().unwrap_or_default().parse().unwrap_or(0)).collect()
    };
    wait_until(words, || found().len() >= count);
    found()
}

fn life(mut server: Listening) -> String {
    let port = server.port();
    // A worker that is aborted may close the connection without a response.
    let get = |path: &str| {
        let mut stream = connect(port);
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    wait_for(&server, "Booting worker with pid: ", 1);
    kill(server.pid(), Signal::SIGHUP).unwrap();
    let pids = wait_for(&server, "Booting worker with pid: ", 2);
    wait_for(&server, "Worker exiting (pid: ", 1);
    get("/raise");
    // Lines that wait in a worker are lost when it is killed.
    wait_for(&server, "Error handling request ", 1);
    kill(Pid::from_raw(pids[1]), Signal::SIGKILL).unwrap();
    wait_for(&server, "Booting worker with pid: ", 3);
    for _ in 0..4 {
        get("/");
    }
    wait_for(&server, "Autorestarting worker", 1);
    get("/stuck");
    wait_for(&server, "WORKER TIMEOUT (pid:", 1);
    assert_eq!(server.stop_by(Signal::SIGTERM), 0, "{}", server.log());
    server.log()
}

fn site() -> TempDir {
    directory(&[("app.py", APP)])
}

#[test]
fn lines_that_are_waited_for_have_gunicorns_words() {
    let words = ["app", "-b", "127.0.0.1:0", "--timeout", "1", "--max-requests", "4"];
    let (theirs, ours) = (site(), site());
    let logs = [
        ("gunicorn", life(Listening::spawn(gunicorn(theirs.path(), &words)))),
        ("rwsgi", life(Listening::spawn(rwsgi(ours.path(), words)))),
    ];
    for (name, log) in logs {
        let shape = shape(&log);
        for words in WORDS {
            assert!(shape.contains(&format!("[#] {words}")), "{name}: expected {words}\n{log}");
        }
    }
}

#[test]
fn a_server_that_cannot_start_says_the_reason_as_gunicorn_does() {
    let site = directory(&[("app.py", "raise RuntimeError")]);
    let words = ["app", "-b", "127.0.0.1:0"];
    for command in [gunicorn(site.path(), &words), rwsgi(site.path(), words)] {
        let (code, _, log) = run_command(command);
        assert_eq!(code, 3, "{log}");
        assert!(log.contains("[ERROR] Shutting down: Master"), "{log}");
        assert!(log.contains("[ERROR] Reason: Worker failed to boot."), "{log}");
    }
}

/// Logs by Python, one JSON object a line, into a file.
const LOGGED: &str = r#"
import json, logging

class Lines(logging.Formatter):
    def format(self, record):
        return json.dumps({"level": record.levelname, "pid": record.process, "said": record.getMessage()})

logconfig_dict = {
    "version": 1,
    "formatters": {"lines": {"()": Lines}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "lines", "formatter": "lines"}},
    "root": {"handlers": ["file"], "level": "WARNING"},
    "loggers": {"gunicorn.error": {"handlers": ["file"], "level": "INFO", "propagate": False}},
}
wsgi_app = "app"
bind = "127.0.0.1:0"
"#;

#[test]
fn the_servers_own_lines_go_through_pythons_logging_too() {
    let site = directory(&[("app.py", APP), ("gunicorn.conf.py", LOGGED)]);
    let mut server = Server::start_in(site.path(), &["-w", "1"]);
    let first = server.workers()[0];
    kill(first, Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 2);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    let (master, last) = (server.pid(), server.workers()[2]);
    server.stop();
    let text = std::fs::read_to_string(site.path().join("lines")).unwrap();
    let said = |pid: Pid, level: &str, words: &str| {
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).any(|line| {
            line["pid"] == pid.as_raw() && line["level"] == level && line["said"].as_str().unwrap().starts_with(words)
        })
    };
    for words in ["Starting rwsgi ", "Listening at: http://127.0.0.1:", "Using worker: sync", "Hang up: Master"] {
        assert!(said(master, "INFO", words), "{words}\n{text}");
    }
    assert!(said(master, "ERROR", &format!("Worker (pid:{first}) was sent SIGKILL!")), "{text}");
    for words in ["Handling signal: term", "worker ended", "Shutting down: Master"] {
        assert!(said(master, "INFO", words), "{words}\n{text}");
    }
    for pid in [first, last] {
        assert!(said(pid, "INFO", &format!("Booting worker with pid: {pid}")), "{text}");
    }
    assert!(said(last, "INFO", &format!("Worker exiting (pid: {last})")), "{text}");
}
