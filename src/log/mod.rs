//! The error log, by `tracing`, and the access log's batches. Logging never makes a request wait. Knows nothing of
//! requests or settings. Both logs can also go to syslog, and be counted by statsd.
//!
//! A process without the log's thread (master, zygote, the first moments of a worker) writes each line itself, and
//! drops lines that the file cannot take at once. A worker calls [`start_thread`] after its fork; from then on lines go
//! to a bounded queue. In both cases a line that finds no room is counted, and the count is logged as `log lines
//! dropped n=17`: once there is room again, every few seconds while there is none and another log has room, and at the
//! end. A child that the application forks has no thread and writes directly again.
//!
//! A text line is `[2026-11-20 10:05:38 +0000] [4711] [INFO] worker ready slot=0 gen=3`, with newlines in the message left
//! as they are (tracebacks); a JSON one is an object of `time` (RFC 3339, UTC), `level`, `pid`, `message` and `fields`.
//!
//! SIGPIPE must be ignored, as Rust's runtime and `CPython` both have it.

mod access_log;
mod error_log;
mod line;
mod mirror;
mod sink;
mod socket;
mod syslog;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

pub use access_log::AccessLog;
use access_log::LONGEST_LINE;
use error_log::ErrorLog;
pub use line::{escaped, escaped_json};
pub use mirror::{mirror, take_mirrored};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use writer::Writer;

use crate::message::Remotes;
use crate::os::place;
pub use crate::settings::types::{LogFormat as Format, LogLevel as Level};

/// The destination of a log's lines.
#[derive(Debug)]
pub enum Destination {
    /// Descriptor 2 as it is now.
    Stderr,
    /// Descriptor 1 as it is now.
    Stdout,
    /// An open file, which should have `O_APPEND`, or a pipe or socket.
    Fd(OwnedFd),
}

impl Destination {
    /// Opens a log file to append to, made with permissions 0666 less the umask, as far as it may be used
    /// (`os::place`). `/dev/stdout` and `/dev/stderr` are the descriptors themselves, which cannot be opened by name
    /// when they are sockets (journald).
    pub fn at(path: &Path) -> io::Result<Destination> {
        match path.to_str() {
            Some("/dev/stdout") => Ok(Destination::Stdout),
            Some("/dev/stderr") => Ok(Destination::Stderr),
            _ => Ok(Destination::Fd(place::append(path)?.into())),
        }
    }

    /// Fails as [`Destination::at`] would, and makes no file.
    pub fn check(path: &Path) -> io::Result<()> {
        match path.to_str() {
            Some("/dev/stdout" | "/dev/stderr") => Ok(()),
            _ => place::check_append(path),
        }
    }

    /// Returns its descriptor.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Destination::Stderr => io::stderr().as_fd().try_clone_to_owned(),
            Destination::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Destination::Fd(fd) => Ok(fd),
        }
    }
}

/// Sets up the error log of this process. Called again (the settings were read, the log file was rotated), it changes
/// level, format and destination; lines that are queued already go to the new one.
pub fn init(level: Level, format: Format, error: Destination) -> io::Result<()> {
    WRITER.choose(level, format);
    WRITER.set_error(error.into_fd()?)?;
    // An error only means that this process has a subscriber already: ours, from the first call.
    let _ = tracing_subscriber::registry().with(ErrorLog::new(&WRITER)).try_init();
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// Leads further and queued lines to other files, because the log files were opened again. A log that this process does
/// not have is passed over.
pub fn redirect(error: Option<&OwnedFd>, access: Option<&OwnedFd>) -> io::Result<()> {
    error.map_or(Ok(()), |file| WRITER.redirect(ERROR_LOG, file))?;
    access.map_or(Ok(()), |file| WRITER.redirect(ACCESS_LOG, file))
}

/// Sends lines to syslog and statsd, too, from now on. A further call changes where they go.
pub fn connect(remotes: &Remotes) -> io::Result<()> {
    WRITER.connect(remotes)
}

/// Gives a process that was forked its own sockets to syslog and statsd.
pub fn reopen_sockets() -> io::Result<()> {
    WRITER.reopen_sockets()
}

/// Makes a file this process's standard output and standard error.
pub fn capture(file: &OwnedFd) -> io::Result<()> {
    print_to(file, file)
}

/// Makes these files this process's standard output and standard error.
pub fn print_to(stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<()> {
    nix::unistd::dup2_stdout(stdout)?;
    Ok(nix::unistd::dup2_stderr(stderr)?)
}

/// Sends the current value of a gauge to statsd, if there is one.
pub fn gauge(name: &str, value: u64) {
    WRITER.measure(|statsd, out| statsd.metric(name, &value.to_string(), "g", out));
}

/// Sends one value of a distribution to statsd, if there is one.
pub fn histogram(name: &str, value: u64) {
    WRITER.measure(|statsd, out| statsd.metric(name, &value.to_string(), "h", out));
}

/// Counts an exception that Python's logging got in this log's place for statsd, if there is one.
pub fn count_exception() {
    WRITER.measure(crate::message::Statsd::exception);
}

/// Writes an application's line to the access log, if this process has one.
pub fn access(line: &str) {
    WRITER.push_named(ACCESS_LOG, format!("{}\n", line::cut(line, LONGEST_LINE)).as_bytes());
}

/// Writes an application's text to the error log: lines as they are, or in a log of JSON the message of an object.
/// Never waits and never fails; lines that find no room are counted.
pub fn application(text: &str) {
    let text = &*line::cut(text, LONGEST_LINE);
    match WRITER.format() {
        Format::Text if text.ends_with('\n') => WRITER.error(text),
        Format::Text => WRITER.error(&format!("{text}\n")),
        Format::Json => tracing::error!(target: "wsgi.errors", "{}", text.trim_end_matches('\n')),
    }
}

/// Starts the one thread of this process that writes the logs, unless it runs. It takes no signals. If it cannot be
/// started, lines are still written directly, after a warning.
pub fn start_thread() {
    if let Err(error) = WRITER.start() {
        tracing::warn!(%error, "log thread not started");
    }
}

/// Waits until all queued lines are written, at most `limit`; true if they are. Logs the number of lines that are lost.
/// Hand the access log over before.
pub fn flush(limit: Duration) -> bool {
    WRITER.flush(limit)
}

/// Logs the number of lines that a process without the thread has lost, if it has not done so yet.
pub fn report_lost() {
    WRITER.report_lost();
}

/// The target that makes an event of `tracing::error!` CRITICAL.
pub const CRITICAL: &str = "critical";

/// The names of the logs in the line about lost lines.
const ERROR_LOG: &str = "log";
const ACCESS_LOG: &str = "access log";
const SYSLOG: &str = "syslog";
const STATSD: &str = "statsd";

static WRITER: Writer = Writer::new();
