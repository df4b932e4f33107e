//! The programs around the server: nginx in front of it, curl and ab as its clients, Python beside it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::{Output, Response, limit, virtualenv, wait};

/// A command line of a program that is not the one under test.
pub fn tool<S: AsRef<std::ffi::OsStr>>(
    name: impl AsRef<std::ffi::OsStr>,
    words: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(name);
    command.args(words).stdin(Stdio::null());
    command
}

/// A command line of the virtualenv's interpreter.
pub fn python<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    tool(virtualenv().join("bin/python"), words)
}

/// Makes a virtualenv with nothing in it.
pub fn bare_virtualenv(directory: &Path, name: &str) {
    run_tool(python(["-m", "venv", "--without-pip", name]).current_dir(directory));
}

/// Runs a tool to its end, which must be a success, and says what it wrote to standard output.
pub fn run_tool(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = Output::of(&mut child);
    let status = wait(&mut child, &output);
    output.wait_closed();
    assert!(status.success(), "{command:?}: {status}\n{}{}", output.stdout(), output.stderr());
    output.stdout()
}

/// curl, quiet but for errors, within the limit.
pub fn curl<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    let mut command = tool("curl", ["-sS", "--max-time", &limit().as_secs().to_string()]);
    command.args(words);
    run_tool(&mut command)
}

/// Sends bytes to a port on a connection of its own and reads one response.
pub fn ask(port: u16, request: impl AsRef<[u8]>) -> Response {
    let mut stream = connect(port);
    stream.write_all(request.as_ref()).unwrap();
    Response::read(&mut stream).unwrap_or_else(|error| panic!("port {port}: {error}"))
}

/// A connection to a port of this machine.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    stream.set_write_timeout(Some(limit())).unwrap();
    stream
}

/// A running nginx. Dropped, it is stopped, and with it its workers.
pub struct Nginx {
    child: Child,
    output: Output,
    log: PathBuf,
    ports: Vec<u16>,
}

impl Nginx {
    /// Runs nginx in `directory`, which takes all that it writes. Each port of 127.0.0.1 that `configuration` listens
    /// on is replaced with a free one.
    ///
    /// The sockets are bound here and handed over the way an nginx hands them to its successor, so that no other
    /// process can take a port in between, and a client can connect at once.
    pub fn start(directory: &Path, configuration: &str) -> Nginx {
        let (configuration, listeners) = with_free_ports(configuration);
        let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        // An ordinary user's nginx keeps its user; root's would become nobody, for whom the directory is closed.
        let main = if geteuid().is_root() { "daemon off; user root;" } else { "daemon off;" };
        let mut command = tool("nginx", ["-p", ".", "-e", "error.log", "-g", main, "-c"]);
        command.arg(&file).current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        let inherited = listeners.iter().fold(String::new(), |mut text, listener| {
            write!(text, "{};", listener.as_raw_fd()).unwrap();
            text
        });
        command.env("NGINX", inherited);
        let keep_open = move || {
            let kept = listeners.iter().try_for_each(|fd| fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop));
            kept.map_err(Into::into)
        };
        // SAFETY: between fork and exec nothing but fcntl(2) is called, and nothing allocated.
        unsafe { command.pre_exec(keep_open) };
        let mut child = command.spawn().unwrap();
        let output = Output::of(&mut child);
        Nginx { child, output, log: directory.join("error.log"), ports }
    }

    /// The ports in the order of the configuration.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The error log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it, and expects that it had nothing to complain of: it tries some failed requests again, so that the
    /// client does not see them.
    pub fn stop(mut self) {
        self.terminate();
        let status = wait(&mut self.child, &self.output);
        let log = self.log();
        assert!(status.success(), "nginx: {status}\n{}{log}", self.output.stderr());
        let grave = ["[error]", "[crit]", "[alert]", "[emerg]"];
        let complaints: Vec<&str> = log.lines().filter(|line| grave.iter().any(|level| line.contains(level))).collect();
        assert!(complaints.is_empty(), "nginx complained:\n{}", complaints.join("\n"));
    }

    fn terminate(&self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.terminate();
            let _ = self.child.wait();
        }
    }
}

/// The configuration with a free port in each `listen`, and the sockets that have them.
fn with_free_ports(configuration: &str) -> (String, Vec<TcpListener>) {
    let mut listeners = Vec::new();
    let lines = configuration.lines().map(|line| match line.trim().strip_prefix("listen 127.0.0.1:") {
        None => format!("{line}\n"),
        Some(_) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            // nginx takes the mode of an inherited socket as it is.
            listener.set_nonblocking(true).unwrap();
            let line = format!("listen {};\n", listener.local_addr().unwrap());
            listeners.push(listener);
            line
        }
    });
    (lines.collect(), listeners)
}
