//! Request smuggling in the forms of `tests/smuggling/*.txt`: two requests meant to be read as one, or one as two. Sent
//! directly, and through nginx, Apache and HAProxy, which keep their connections to the server.
//!
//! A form is a file: its name is the trick, `#` lines say why it works on some servers, `>` lines are what a client sends
//! (`\r \n \t \0 \\ \xNN`), `<` lines are what the server answers to it directly: the status, and what the application
//! saw (method, target, length and sum of the body); `nothing` is the end of the connection without an answer. `<<` lines
//! are the answers with streamed bodies (`post_buffering = 0`), if they differ. `UPDATE=1` rewrites both.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::thread;

mod configuration;
use crate::http_cases::case::unescape;
use crate::support::fronts::{Front, listener};
use crate::support::outside::{Nginx, ask, connect};
use crate::support::{self, Response, Server};
use serde_json::Value;

#[test]
fn each_form_gets_its_answer_and_nothing_hidden_in_it_is_served() {
    let (buffered, streamed) = (witness(&[]), witness(&["--post-buffering", "0"]));
    for form in forms() {
        let whole = directly(&buffered, &form, usize::MAX);
        assert_eq!(whole, directly(&buffered, &form, 1), "{} byte by byte", form.name());
        let in_stream = directly(&streamed, &form, usize::MAX);
        assert_eq!(in_stream, directly(&streamed, &form, 1), "{} streamed byte by byte", form.name());
        form.check(&whole, &in_stream);
    }
}

#[test]
fn nothing_is_smuggled_through_nginx() {
    let servers = [witness(&[]), witness(&[]), witness(&["--post-buffering", "0"])];
    let secret = secret();
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path(), &configuration::nginx(&secret, &servers));
    let doors = doors("nginx", nginx.ports(), &servers);
    try_all_forms(&doors, &secret, || nginx.log());
}

#[test]
fn nothing_is_smuggled_through_apache() {
    let servers = [witness(&[]), witness(&[]), witness(&["--post-buffering", "0"])];
    let secret = secret();
    let directory = tempfile::tempdir().unwrap();
    let (apache, ports) =
        Front::apache(directory.path(), servers.len(), |ports| configuration::apache(&secret, &servers, ports));
    let doors = doors("Apache", &ports, &servers);
    try_all_forms(&doors, &secret, || apache.log());
}

#[test]
fn nothing_is_smuggled_through_haproxy() {
    let servers = [witness(&[]), witness(&[]), witness(&["--post-buffering", "0"])];
    let secret = secret();
    let directory = tempfile::tempdir().unwrap();
    let (listeners, ports): (Vec<_>, Vec<u16>) = servers.iter().map(|_| listener()).unzip();
    let haproxy = Front::haproxy(directory.path(), &configuration::haproxy(&secret, &servers), listeners);
    let doors = doors("HAProxy", &ports, &servers);
    try_all_forms(&doors, &secret, || haproxy.log());
}

/// One worker, so that all requests through a front can meet on one connection.
fn witness(words: &[&str]) -> Server {
    Server::start(&[&["-w", "1", "witness"], words].concat())
}

// Forms.

struct Form {
    path: PathBuf,
    text: String,
    bytes: Vec<u8>,
}

fn forms() -> Vec<Form> {
    let folder = support::root().join("tests/smuggling");
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    paths.sort();
    assert!(paths.len() >= 150, "{}: expected 150 forms, found {}", folder.display(), paths.len());
    paths.into_iter().map(Form::read).collect()
}

impl Form {
    fn read(path: PathBuf) -> Form {
        let text = fs::read_to_string(&path).unwrap();
        let bytes = text.lines().filter_map(|line| line.strip_prefix("> ")).flat_map(unescape).collect();
        Form { path, text, bytes }
    }

    fn name(&self) -> String {
        self.path.file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// Compares the answers with those in the file.
    fn check(&self, whole: &[String], streamed: &[String]) {
        let lines = |mark: &str, answers: &[String]| match answers {
            [] => vec![format!("{mark} nothing")],
            _ => answers.iter().map(|answer| format!("{mark} {answer}")).collect(),
        };
        let mut found = lines("<", whole);
        if streamed != whole {
            found.extend(lines("<<", streamed));
        }
        let (expected, sent): (Vec<&str>, Vec<&str>) = self.text.lines().partition(|line| line.starts_with('<'));
        if std::env::var_os("UPDATE").is_some() {
            let lines: Vec<&str> = sent.into_iter().chain(found.iter().map(String::as_str)).collect();
            fs::write(&self.path, lines.join("\n") + "\n").unwrap();
            return;
        }
        assert_eq!(found, expected, "{}: left found, right expected", self.name());
    }
}

/// Sends a form in pieces to the server itself and returns its answers. The application must have seen exactly the requests
/// that were answered, and the next client gets its own answer.
fn directly(server: &Server, form: &Form, piece: usize) -> Vec<String> {
    let name = form.name();
    let mut stream = server.connect();
    send(&mut stream, &form.bytes, piece);
    end_sending(&stream);
    let answers = answers(&read_to_end(&mut stream, &name));
    assert_innocent(server.port(), 1, &name);
    let seen = record(server);
    // Where bodies are streamed, a request is seen before it is known that its body is broken.
    let whole: Vec<&str> = seen.iter().filter(|seen| seen.is_whole()).map(|seen| seen.line.as_str()).collect();
    let answered = answers.iter().filter_map(|answer| answer.strip_prefix("200 "));
    assert_eq!(whole, answered.chain([innocent_line(1).as_str()]).collect::<Vec<_>>(), "{name}: seen, answered");
    assert!(seen.iter().all(|seen| !seen.target.starts_with("/smuggled")), "{name}: {seen:?}");
    answers
}

// Through a front.

/// A way through a front to a server of its own.
struct Door<'s> {
    name: String,
    port: u16,
    server: &'s Server,
    /// True if the server collects a body before it calls the application.
    buffers: bool,
}

/// Fronts with default settings, with the most lenient ones, and with these before a server that streams.
fn doors<'s>(front: &str, ports: &[u16], servers: &'s [Server; 3]) -> Vec<Door<'s>> {
    let doors = [("strict", true), ("lenient", true), ("lenient, streamed", false)];
    let both = doors.into_iter().zip(ports.iter().zip(servers));
    both.map(|((how, buffers), (&port, server))| Door { name: format!("{front}, {how}"), port, server, buffers })
        .collect()
}

fn try_all_forms(doors: &[Door<'_>], secret: &str, log: impl Fn() -> String) {
    let forms = forms();
    let tried = thread::scope(|scope| {
        let tries = doors.iter().map(|door| scope.spawn(|| door.try_forms(&forms, secret))).collect::<Vec<_>>();
        tries.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    assert!(tried.iter().all(Result::is_ok), "a door let something in\n{}", log());
}

impl Door<'_> {
    fn try_forms(&self, forms: &[Form], secret: &str) {
        let mut passed = Passed { secret, stamps: HashSet::new() };
        let mut connections = HashSet::new();
        let (mut requests, mut tries) = (0, 0);
        for (number, form) in forms.iter().enumerate() {
            self.try_form(form, number);
            for seen in record(self.server) {
                passed.check(&seen).unwrap_or_else(|wrong| panic!("{}, {}: {wrong}", self.name, form.name()));
                requests += 1;
                tries += usize::from(!seen.target.contains("/innocent/"));
                connections.insert(seen.connection);
            }
        }
        // Otherwise the front stopped every form, or no two clients shared a connection.
        assert!(tries >= 40, "{}: {tries} requests of forms reached the application", self.name);
        assert!(connections.len() < requests / 3, "{}: {} connections", self.name, connections.len());
    }

    /// Sends a form; other clients ask while its client is still connected, and when it has gone.
    fn try_form(&self, form: &Form, number: usize) {
        let what = format!("{}, {}", self.name, form.name());
        let mut stream = connect(self.port);
        stream.set_nodelay(true).unwrap();
        send(&mut stream, &form.bytes, usize::MAX);
        // A server that streams waits for the rest of a body, and has one thread.
        if self.buffers {
            assert_innocent(self.port, 2 * number, &what);
        }
        end_sending(&stream);
        let answered = read_to_end(&mut stream, &what);
        let answered = String::from_utf8_lossy(&answered);
        assert!(!answered.contains("/innocent"), "{what}: another client's answer\n{answered}");
        assert_innocent(self.port, 2 * number + 1, &what);
    }
}

/// Checks the requests that the front has passed on by its stamp on each: a secret, an id, and the request line as the front
/// read it. Bytes that it read as a body have no stamp of their own.
struct Passed<'s> {
    secret: &'s str,
    stamps: HashSet<String>,
}

impl Passed<'_> {
    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        let stamp = seen.stamp.as_deref().unwrap_or_default();
        let request_line = stamp
            .strip_prefix(self.secret)
            .and_then(|rest| rest.trim_start().split_once(' '))
            .map(|(_, line)| line)
            .ok_or(format!("the front did not send {seen:?}"))?;
        let (method, rest) = request_line.split_once(' ').unwrap_or_default();
        let target = rest.rsplit_once(" HTTP/").map_or(rest, |(target, _)| target);
        if (method, path(target)) != (seen.method.as_str(), path(&seen.target)) {
            return Err(format!("the front sent {request_line:?}, the application saw {seen:?}"));
        }
        if !self.stamps.insert(stamp.to_owned()) {
            return Err(format!("the front sent one request, the application saw another, too: {seen:?}"));
        }
        Ok(())
    }
}

/// A target without scheme and authority, which a front may take off or put on.
fn path(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else { return target };
    rest.find('/').map_or("/", |start| &rest[start..])
}

/// No form can contain it.
fn secret() -> String {
    fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

// Clients, and what the application saw.

/// A request that the application saw.
#[derive(Debug)]
struct Seen {
    method: String,
    target: String,
    stamp: Option<String>,
    connection: String,
    body: Option<String>,
    line: String,
}

impl Seen {
    fn of(told: &Value) -> Seen {
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        let (method, target, body) = (text("method").unwrap(), text("target").unwrap(), text("body"));
        let line = format!("{method} {target} {}", body.as_deref().unwrap_or("None"));
        Seen { method, target, stamp: text("stamp"), connection: text("connection").unwrap(), body, line }
    }

    /// True if the application got the whole body.
    fn is_whole(&self) -> bool {
        self.body.is_some() || self.target.ends_with("?unread")
    }
}

/// Returns the requests that the application saw since the last call.
fn record(server: &Server) -> Vec<Seen> {
    let told: Value = serde_json::from_slice(&server.get("/record").body).unwrap();
    told.as_array().unwrap().iter().map(Seen::of).collect()
}

/// Checks that an honest client gets its own answer.
fn assert_innocent(port: u16, number: usize, after: &str) {
    let request = format!("POST /innocent/{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\ninnocent");
    let response = ask(port, request);
    assert_eq!((response.status, response.text()), (200, innocent_line(number)), "{after}: {}", response.head);
}

fn innocent_line(number: usize) -> String {
    format!("POST /innocent/{number} 8:{INNOCENT}")
}

/// Sends bytes in pieces of this size, as far as they are taken.
fn send(stream: &mut TcpStream, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece.min(bytes.len())) {
        match stream.write_all(piece) {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return,
            written => written.unwrap(),
        }
    }
}

/// Ends the sending side. A server that has answered its last request may have reset the connection by then.
fn end_sending(stream: &TcpStream) {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() == ErrorKind::NotConnected => {}
        ended => ended.unwrap(),
    }
}

/// Reads up to the end of the connection, which may be a reset.
fn read_to_end(stream: &mut TcpStream, what: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read.unwrap_or_else(|error| panic!("{what}: {error} after {}", bytes.escape_ascii()))),
    }
    bytes
}

/// Returns the final answers in the bytes from a server: status, and the request as the application saw it.
fn answers(mut bytes: &[u8]) -> Vec<String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let head = Response::read_head(&mut bytes).unwrap();
        let response = Response { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        let saw = response.field("x-saw").unwrap_or_default();
        let length: usize = response.field("content-length").map_or(0, |length| length.parse().unwrap());
        if !saw.starts_with("HEAD ") {
            bytes = &bytes[length.min(bytes.len())..];
        }
        if response.status >= 200 {
            answers.push(format!("{} {saw}", response.status).trim_end().to_owned());
        }
    }
    answers
}

/// The sum of the honest client's body.
const INNOCENT: &str = "4c955380";
