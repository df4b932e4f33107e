//! Clients that send requests one after another, count them, and note each that was not answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Response, limit};

/// Where a client connects.
#[derive(Clone, Debug)]
pub enum Target {
    Tcp(String),
    Unix(PathBuf),
}

/// What clients have seen.
#[derive(Debug, Default)]
pub struct Counted {
    pub answered: usize,
    pub connections: usize,
    pub failures: Vec<String>,
}

/// Runs `during` while for each target two clients keep their connections and one closes each.
pub fn under_load<R>(targets: &[Target], during: impl FnOnce(&Progress) -> R) -> (R, Counted) {
    let progress = Progress::default();
    let mut counted = Counted::default();
    let outcome = thread::scope(|scope| {
        let clients: Vec<_> = targets
            .iter()
            .flat_map(|target| [(target, true), (target, true), (target, false)])
            .map(|(target, keeps)| {
                let progress = &progress;
                scope.spawn(move || client(target, keeps, progress))
            })
            .collect();
        let over = Over(&progress.is_over);
        let outcome = during(&progress);
        drop(over);
        for client in clients {
            let seen = client.join().unwrap();
            counted.answered += seen.answered;
            counted.connections += seen.connections;
            counted.failures.extend(seen.failures);
        }
        outcome
    });
    (outcome, counted)
}

/// Ends the load, also when a test fails in it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How far the clients have come.
#[derive(Default)]
pub struct Progress {
    is_over: AtomicBool,
    answered: AtomicUsize,
}

impl Progress {
    /// How many requests were answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

/// A kept connection is left when the server says so, and only then: that it ends otherwise is a failure.
fn client(target: &Target, keeps: bool, progress: &Progress) -> Counted {
    let mut counted = Counted::default();
    let mut kept = None;
    while !progress.is_over.load(Ordering::Relaxed) {
        match request(target, keeps, &mut kept, &mut counted.connections) {
            Ok(()) => {
                counted.answered += 1;
                progress.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => counted.failures.push(format!("{target:?}, keeps={keeps}: {error}")),
        }
    }
    counted
}

fn request(
    target: &Target,
    keeps: bool,
    kept: &mut Option<Box<dyn Stream>>,
    connections: &mut usize,
) -> Result<(), String> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            *connections += 1;
            connect(target).map_err(|error| format!("connect: {error}"))?
        }
    };
    let connection = if keeps { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let response = Response::read(&mut stream)?;
    if response.status != 200 {
        return Err(format!("{}", response.status));
    }
    if response.field("connection") != Some("close") {
        *kept = Some(stream);
    }
    Ok(())
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn connect(target: &Target) -> std::io::Result<Box<dyn Stream>> {
    Ok(match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(limit()))?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(limit()))?;
            Box::new(stream)
        }
    })
}
