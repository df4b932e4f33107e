//! Asks an interpreter for its properties, by running it once. Does not decide which answer is good.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The answer of an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ProbeAnswer {
    pub(super) implementation: String,
    pub(super) version: (u8, u8, u8),
    /// The first word of `sys.version`.
    pub(super) release: String,
    pub(super) executable: PathBuf,
    /// `sys.prefix` without `site`: before 3.14 the installation's, even in a virtualenv.
    pub(super) prefix: PathBuf,
    pub(super) base_prefix: PathBuf,
    /// SOABI. Ex.: `cpython-313-x86_64-linux-gnu`.
    pub(super) abi: String,
    pub(super) free_threaded: bool,
    /// INSTSONAME. Ex.: `libpython3.13.so.1.0`; of a static build `libpython3.13.a`.
    pub(super) library: OsString,
    /// The libpython in the interpreter's memory; empty where it is linked statically.
    pub(super) library_mapped: PathBuf,
    /// LIBDIR.
    pub(super) library_directory: PathBuf,
    /// Its environment variables.
    pub(super) environment: Vec<(OsString, OsString)>,
}

/// The reason for a missing answer.
#[derive(Debug)]
pub(super) enum ProbeFailure {
    /// The kernel refused to run it.
    NotStarted(io::Error),
    /// It ended without a valid answer. `status` is its exit status, `said` the relevant line of its stderr.
    NoAnswer { status: String, said: String },
    /// It did not answer or end in time.
    TimedOut(Duration),
}

/// Generous: 12 ms on a warm disk, seconds on a cold network file system.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer, in bytes; a long one has 600 and the environment, which has at most 2 MiB with 8 MiB of stack
/// (execve(2)).
const LONGEST_ANSWER: usize = 4 << 20;

/// The code of the probe. It runs without `site` (-S: no .pth file, no sitecustomize) and without the user's PYTHON
/// variables (-I). It answers in `key=value` pairs, each ended by NUL: paths are bytes, and importing `json` would
/// double the time it takes.
///
/// It is read from standard input: a program that is no interpreter would quote an argument in its error message.
const PROBE: &str = include_str!("probe.py");

/// Runs `<python> -I -S - <probe` for at most `patience`, then kills its process group.
pub(super) fn ask(python: &Path, patience: Duration) -> Result<ProbeAnswer, ProbeFailure> {
    let deadline = Instant::now() + patience;
    let mut child = Command::new(python)
        .args(["-I", "-S", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ProbeFailure::NotStarted)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The code fits the pipe, so the write does not block. A program that does not read it fails later with its own
        // message.
        let _ = stdin.write_all(PROBE.as_bytes());
    }
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits in pid_t"));
    let heard = listen(&mut child, deadline);
    let ended = match &heard {
        Ok(_) => wait(&mut child, deadline),
        Err(_) => None,
    };
    // Also after a successful end: a wrapper may have left processes behind.
    let _ = killpg(group, Signal::SIGKILL);
    if ended.is_none() {
        let _ = child.wait();
    }
    match (heard, ended) {
        (Err(error), _) if error.kind() == ErrorKind::TimedOut => Err(ProbeFailure::TimedOut(patience)),
        (Err(error), _) => {
            Err(ProbeFailure::NoAnswer { status: "unreadable output".to_owned(), said: error.to_string() })
        }
        (Ok((stdout, stderr)), ended) => parse(&stdout).ok_or_else(|| match ended {
            Some(status) => ProbeFailure::NoAnswer { status, said: relevant_line(&stderr) },
            None => ProbeFailure::TimedOut(patience),
        }),
    }
}

/// Reads both outputs to their ends.
fn listen(child: &mut Child, deadline: Instant) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let mut stderr = child.stderr.take().expect("stderr is a pipe");
    fcntl(&stdout, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let mut fds = Vec::with_capacity(2);
        if out_open {
            fds.push(PollFd::new(stdout.as_fd(), PollFlags::POLLIN));
        }
        if err_open {
            fds.push(PollFd::new(stderr.as_fd(), PollFlags::POLLIN));
        }
        wait_for(&mut fds, deadline)?;
        drop(fds);
        out_open = out_open && take(&mut stdout, &mut said)?;
        err_open = err_open && take(&mut stderr, &mut complained)?;
    }
    Ok((said, complained))
}

fn wait_for(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    // A millisecond more, so that a rest of some microseconds is not a busy loop.
    let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads the available bytes; returns false at the end.
fn take(pipe: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(read) if into.len() + read > LONGEST_ANSWER => {
                return Err(io::Error::other(format!("more than {LONGEST_ANSWER} bytes of output")));
            }
            Ok(read) => into.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// Returns the exit status. The outputs are closed already, so the process is about to end. Returns `None` if it is
/// still running at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> Option<String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.to_string()),
            // The child is already reaped, because SIGCHLD is ignored.
            Err(_) => return Some("unknown exit status".to_owned()),
            Ok(None) => {
                if Instant::now() >= deadline {
                    return None;
                }
                let _ = poll(&mut [], 2_u8);
            }
        }
    }
}

fn parse(said: &[u8]) -> Option<ProbeAnswer> {
    let value = |wanted: &str| {
        said.split(|byte| *byte == 0)
            .filter_map(|field| field.strip_prefix(wanted.as_bytes()))
            .find_map(|rest| rest.strip_prefix(b"="))
    };
    let text = |wanted: &str| value(wanted).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
    let pair = |field: &[u8]| {
        let rest = field.strip_prefix(b"environ=")?;
        let at = rest.iter().position(|byte| *byte == b'=')?;
        Some((OsString::from_vec(rest[..at].to_vec()), OsString::from_vec(rest[at + 1..].to_vec())))
    };
    let path = |wanted: &str| value(wanted).map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
    Some(ProbeAnswer {
        implementation: text("implementation")?,
        version: parse_version(&text("version")?)?,
        release: text("release")?,
        executable: path("executable")?,
        prefix: path("prefix")?,
        abi: text("abi")?,
        free_threaded: value("gil_disabled")? == b"1",
        library: OsString::from_vec(value("library")?.to_vec()),
        library_mapped: path("library_mapped")?,
        library_directory: path("library_directory")?,
        environment: said.split(|byte| *byte == 0).filter_map(pair).collect(),
        // The last key: an answer that has it is complete.
        base_prefix: path("base_prefix")?,
    })
}

fn parse_version(text: &str) -> Option<(u8, u8, u8)> {
    let mut numbers = text.splitn(3, '.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// Returns the relevant line of stderr: Python's fatal error, the last line of a traceback, or the first line. Tools
/// such as pyenv print advice below their first line.
fn relevant_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "<no Python frame>");
    let fatal = |line: &&str| line.starts_with("Fatal Python error") || line.starts_with("Unknown option");
    let relevant = match lines.clone().find(fatal) {
        Some(line) => Some(line),
        None if text.contains("Traceback (most recent call last)") => lines.next_back(),
        None => lines.next(),
    };
    relevant.unwrap_or_default().chars().take(LONGEST_WORDS).collect()
}

/// The length of a quoted line, in characters.
const LONGEST_WORDS: usize = 300;
