//! Drives the built program as its users do: starts it, talks to it over real sockets, reads its log.
//!
//! Nothing here sleeps: everything waits for an event with a limit, and shows the server's log when it does not come. A
//! server that has ended is not waited for: the test fails at once.
#![allow(unreachable_pub, reason = "one crate uses it")]

pub mod fronts;
pub mod gunicorn;
pub mod load;
pub mod outside;
pub mod pace;
pub mod pki;
pub mod reading;
pub mod wire;
pub mod words;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

pub use pace::{LIMIT, is_over, limit, pace, pass, patient, patient_seconds};

/// How often an exit is looked for, which has no event of its own.
const TICK: Duration = Duration::from_millis(10);

/// The program under test.
pub fn program() -> PathBuf {
    from_environment("RWSGI_TEST_PROGRAM", "target/release/rwsgi")
}

/// The virtualenv with Django and Flask.
pub fn virtualenv() -> PathBuf {
    from_environment("RWSGI_TEST_VENV", "target/venv")
}

fn from_environment(name: &str, default: &str) -> PathBuf {
    let path = std::env::var_os(name).map_or_else(|| root().join(default), PathBuf::from);
    assert!(path.exists(), "{} does not exist: `make test` makes it", path.display());
    path
}

/// The directory of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of the applications that the tests serve.
pub fn apps() -> PathBuf {
    root().join("tests/apps")
}

/// A command line of the program, with the tests' virtualenv, in `directory`.
pub fn rwsgi<I: AsRef<OsStr>>(directory: &Path, words: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(program());
    command.current_dir(directory).env("VIRTUAL_ENV", virtualenv()).args(words).stdin(Stdio::null());
    // Control sockets that no setting names are among the files of the build, unless a test looks for them.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    // Variables of build and tests, of which the program would warn.
    for name in ["RWSGI_TEST_PROGRAM", "RWSGI_TEST_VENV", "RWSGI_BUILD_ID", "RWSGI_ENGINE_FILE"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command line to its end.
pub fn run<I: AsRef<OsStr>>(directory: &Path, words: impl IntoIterator<Item = I>) -> (i32, String, String) {
    run_command(rwsgi(directory, words))
}

/// Runs a command to its end: exit code, standard output, standard error.
pub fn run_command(mut command: Command) -> (i32, String, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = Output::of(&mut child);
    let status = wait(&mut child, &output);
    output.wait_closed();
    (status.code().unwrap_or(-1), output.stdout(), output.stderr())
}

/// What a process has written so far, collected by threads.
#[derive(Clone, Default)]
pub struct Output {
    shared: Arc<(Mutex<Written>, Condvar)>,
}

#[derive(Default)]
struct Written {
    stdout: String,
    stderr: String,
    open: usize,
}

impl Output {
    fn of(child: &mut Child) -> Output {
        let output = Output::default();
        if let Some(stdout) = child.stdout.take() {
            output.collect(stdout, |written| &mut written.stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.collect(stderr, |written| &mut written.stderr);
        }
        output
    }

    fn collect(&self, from: impl Read + Send + 'static, to: fn(&mut Written) -> &mut String) {
        let shared = Arc::clone(&self.shared);
        shared.0.lock().unwrap().open += 1;
        thread::spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                to(&mut shared.0.lock().unwrap()).push_str(&String::from_utf8_lossy(&line));
                shared.1.notify_all();
                line.clear();
            }
            shared.0.lock().unwrap().open -= 1;
            shared.1.notify_all();
        });
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.shared.0.lock().unwrap().stdout.clone()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.shared.0.lock().unwrap().stderr.clone()
    }

    /// Waits until `found` says yes to what was written; `false` after the limit, or when nothing more can come.
    fn wait(&self, found: impl Fn(&Written) -> bool) -> bool {
        let began = Instant::now();
        loop {
            let written = self.shared.0.lock().unwrap();
            let waits = |written: &mut Written| !found(written) && written.open > 0;
            let (written, waited) = self.shared.1.wait_timeout_while(written, limit(), waits).unwrap();
            if !waited.timed_out() {
                return found(&written);
            }
            drop(written);
            if is_over(began) {
                return false;
            }
        }
    }

    fn wait_closed(&self) {
        assert!(self.wait(|written| written.open == 0), "a process that was left behind holds the output open");
    }

    /// True if every process that could write to it has ended.
    fn is_closed(&self) -> bool {
        self.shared.0.lock().unwrap().open == 0
    }

    fn is(&self, other: &Output) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

fn wait(child: &mut Child, output: &Output) -> ExitStatus {
    // A process has no event to wait for but its pidfd; the collected output's end comes with its exit.
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if is_over(began) {
            let _ = child.kill();
            panic!("the program did not end within {:?}\n{}", limit(), output.stderr());
        }
        let written = output.shared.0.lock().unwrap();
        drop(output.shared.1.wait_timeout(written, TICK));
    }
}

/// A running server. Dropped, it is killed, and with it all its processes.
pub struct Server {
    child: Child,
    pub output: Output,
    address: Option<String>,
    workers: usize,
}

impl Server {
    /// Starts the program on a free port in the directory of the tests' applications, and waits until all workers serve.
    pub fn start(words: &[&str]) -> Server {
        Server::start_in(&apps(), words)
    }

    /// The same in another directory.
    pub fn start_in(directory: &Path, words: &[&str]) -> Server {
        let mut command = rwsgi(directory, words);
        if !words.iter().any(|word| word.starts_with("-b") || word.starts_with("--bind") || *word == "-c") {
            command.args(["-b", "127.0.0.1:0"]);
        }
        Server::spawn(command)
    }

    /// Starts a command line and waits until all workers serve.
    pub fn spawn(command: Command) -> Server {
        let server = Server::spawn_unready(command);
        server.wait_for_lines("worker ready", server.workers);
        server
    }

    /// Starts a command line and waits only until it says how many workers there will be.
    pub fn spawn_unready(mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Output::of(&mut child);
        SERVERS.with_borrow_mut(|servers| servers.push(output.clone()));
        let mut server = Server { child, output, address: None, workers: 0 };
        server.wait_for("keepalive");
        let log = server.log();
        let after =
            |mark: &str| log.split_once(mark).map(|(_, rest)| rest.split(['\n', ' ', ',', '"']).next().unwrap());
        // In a log of text, or of JSON.
        server.workers = after("workers=").or(after("\"workers\":")).unwrap().parse().unwrap();
        server.address = after("http://").or(after("https://")).map(str::to_owned);
        server
    }

    /// `host:port` of the first TCP listener.
    pub fn address(&self) -> &str {
        self.address.as_deref().expect("a TCP listener")
    }

    /// The port of the first TCP listener.
    pub fn port(&self) -> u16 {
        self.address().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The error log so far.
    pub fn log(&self) -> String {
        self.output.stderr()
    }

    /// Waits until the error log holds `text`.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_lines(text, 1);
    }

    /// Waits until the error log holds `text` so many times.
    pub fn wait_for_lines(&self, text: &str, count: usize) {
        let found = self.output.wait(|written| written.stderr.matches(text).count() >= count);
        let end = if self.output.is_closed() { "its end".to_owned() } else { format!("{:?}", limit()) };
        assert!(found, "expected {count} times {text:?} in the server's log before {end}\n{}", self.log());
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        if signal == Signal::SIGKILL {
            self.may_end();
        }
        kill(self.pid(), signal).unwrap();
    }

    /// From now on the test expects that it ends.
    fn may_end(&self) {
        SERVERS.with_borrow_mut(|servers| servers.retain(|output| !output.is(&self.output)));
    }

    /// Waits for the end and says the exit code, or 128 and the signal's number.
    pub fn wait(&mut self) -> i32 {
        self.may_end();
        let status = wait(&mut self.child, &self.output);
        self.output.wait_closed();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Asks for a graceful stop and expects it to succeed.
    pub fn stop(&mut self) -> String {
        self.signal(Signal::SIGTERM);
        let code = self.wait();
        assert_eq!(code, 0, "{}", self.log());
        self.log()
    }

    /// The zygote's pid, if there is one that has become Python.
    pub fn zygote(&self) -> Option<Pid> {
        children(self.pid()).into_iter().find(|(_, name)| name.starts_with("rwsgi: zygote [")).map(|(pid, _)| pid)
    }

    /// The master and everything below it.
    pub fn tree(&self) -> Vec<Pid> {
        let mut tree = vec![self.pid()];
        let mut next = 0;
        while let Some(pid) = tree.get(next).copied() {
            tree.extend(children(pid).into_iter().map(|(pid, _)| pid));
            next += 1;
        }
        tree
    }

    /// Sends a request on a connection of its own and leaves the response to the caller.
    pub fn begin(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
        stream
    }

    /// The pids of the workers that have become ready, in that order.
    pub fn workers(&self) -> Vec<Pid> {
        let log = self.log();
        log.lines()
            .filter(|line| line.contains("worker ready"))
            .filter_map(|line| line.rsplit_once("pid=")?.1.split(' ').next()?.parse().ok())
            .map(Pid::from_raw)
            .collect()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        stream.set_read_timeout(Some(limit())).unwrap();
        stream.set_write_timeout(Some(limit())).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }

    /// Sends bytes on a connection of its own and reads one response.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        Response::read(&mut stream).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.may_end();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A response as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one response to a request other than HEAD.
    pub fn read(stream: &mut impl Read) -> Result<Response, String> {
        let head = Response::read_head(stream)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(format!("bad head {head:?}"))?;
        let mut response = Response { status, head, body: Vec::new() };
        if status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if response.field("transfer-encoding") == Some("chunked") {
            response.read_chunks(stream)?;
        } else if let Some(length) = response.field("content-length") {
            let mut body = vec![0; length.parse().map_err(|_| format!("bad length {length}"))?];
            stream.read_exact(&mut body).map_err(|error| format!("body cut short: {error}"))?;
            response.body = body;
        } else {
            stream.read_to_end(&mut response.body).map_err(|error| format!("body: {error}"))?;
        }
        Ok(response)
    }

    /// Reads up to the empty line.
    pub fn read_head(stream: &mut impl Read) -> Result<String, String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(0) if head.is_empty() => return Err("the connection was closed without a response".to_owned()),
                Ok(0) => return Err(format!("head cut short: {:?}", String::from_utf8_lossy(&head))),
                Ok(_) => head.push(byte[0]),
                Err(error) => return Err(format!("no head: {error}")),
            }
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    fn read_chunks(&mut self, stream: &mut impl Read) -> Result<(), String> {
        loop {
            let line = read_line(stream)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| format!("bad chunk size {line:?}"))?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).map_err(|error| format!("chunk cut short: {error}"))?;
            if !chunk.ends_with(b"\r\n") {
                return Err(format!("chunk without end: {chunk:?}"));
            }
            if size == 0 {
                return Ok(());
            }
            self.body.extend_from_slice(&chunk[..size]);
        }
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn read_line(stream: &mut impl Read) -> Result<String, String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        stream.read_exact(&mut byte).map_err(|error| format!("line cut short: {error}"))?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Expects that the log that `run` returns holds these texts, once in five runs.
///
/// A worker that does not end has half a second to do so by itself before the master kills it, and a quarter of a second to
/// write its stack. A machine that is slow may miss that now and then.
pub fn expect_in_log(texts: &[&str], run: impl Fn() -> String) {
    let lacks = |log: &String| texts.iter().any(|text| !log.contains(text));
    let logs: Vec<String> = (0..5).map(|_| run()).take_while(lacks).collect();
    assert!(logs.len() < 5, "expected {texts:?} once in five logs\n{}", logs.join("\n"));
}

/// Waits until no process of these is left.
pub fn wait_gone(pids: &[Pid]) {
    let began = Instant::now();
    for pid in pids {
        let Some(process) = pidfd(*pid) else { continue };
        let wait = PollTimeout::try_from(limit()).unwrap();
        while poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], wait).unwrap() == 0 {
            assert!(!is_over(began), "process {pid} is still there after {:?}", limit());
        }
    }
}

/// A descriptor that becomes readable when the process ends; none if it is gone.
fn pidfd(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two numbers and makes a new descriptor, which nobody else knows.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()))
    }
}

/// Waits for what no event tells, a state of a process say. Fails at once when a server of this test has ended meanwhile.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        // It may have ended because it is so.
        if let Some(log) = log_of_ended_server().filter(|_| !is_so()) {
            panic!("expected: {what}; the server has ended\n{log}");
        }
        assert!(!is_over(began), "expected within {:?}: {what}", limit());
        thread::park_timeout(TICK);
    }
}

thread_local! {
    /// Of the servers that this thread has started and that it does not expect to end.
    static SERVERS: RefCell<Vec<Output>> = const { RefCell::new(Vec::new()) };
}

fn log_of_ended_server() -> Option<String> {
    SERVERS.with_borrow(|servers| servers.iter().find(|output| output.is_closed()).map(Output::stderr))
}

#[test]
fn a_server_that_has_ended_is_not_waited_for() {
    let began = Instant::now();
    let waits: [fn(); 2] = [
        || drop(Server::start(&["nowhere"])),
        || {
            let server = Server::start(&["hello"]);
            kill(server.pid(), Signal::SIGINT).unwrap();
            wait_until("the impossible", || false);
        },
    ];
    for wait in waits {
        let said = *std::panic::catch_unwind(wait).unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains(" end\n") || said.contains(" ended\n"), "{said}");
        assert!(
            said.contains("Shutting down: Master code=") || said.contains("nowhere"),
            "the log belongs to it: {said}"
        );
    }
    assert!(!is_over(began), "{:?}", began.elapsed());
}

/// Children of a process, zombies left out, with their names.
pub fn children(pid: Pid) -> Vec<(Pid, String)> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = list.split_whitespace().map(|word| Pid::from_raw(word.parse().unwrap()));
    pids.filter(|child| !is_zombie(*child)).map(|child| (child, comm(child))).collect()
}

fn comm(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// A line of /proc/PID/status, without its name.
pub fn status(pid: Pid, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_zombie(pid: Pid) -> bool {
    status(pid, "State").starts_with('Z')
}

/// Holds whoever opens its file for reading, until it is opened here: a FIFO.
pub struct Gate(PathBuf);

impl Gate {
    pub fn closed(path: PathBuf) -> Gate {
        mkfifo(&path, Mode::from_bits_truncate(0o644)).unwrap();
        Gate(path)
    }

    /// Lets all pass that wait, and as long as the file is kept, all that come.
    #[must_use]
    pub fn open(self) -> File {
        // For both, which does not wait for a reader (fifo(7)).
        File::options().read(true).write(true).open(self.0).unwrap()
    }
}

/// A directory with the files given, for everybody to read, removed at its end.
pub fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}
