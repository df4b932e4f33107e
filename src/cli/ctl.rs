//! `rwsgi VERB`: finds the running server's control socket, sends a request, waits, and prints the answer. `control`
//! has the words.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::control::{Answer, ControlRequest};
use crate::log;
use crate::message::BootCause;
use crate::os::{self, pidfile, process, socket};
use crate::settings::Settings;

/// A request to a running server, with its options.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlCall {
    /// The request.
    pub request: ControlRequest,
    /// True to print JSON, for programs.
    pub json: bool,
    /// The limit for the whole call. Without it, an immediate answer has a limit, and a slow one has none.
    pub within: Option<Duration>,
}

/// Sends the request to the socket at `path`, or has a sentence why there is none. Prints the answer and returns the exit
/// code.
pub(super) fn run(call: &ControlCall, settings: &Settings, path: Result<PathBuf, String>) -> i32 {
    let asked = path.map_err(NoAnswer::NoPath).and_then(|path| ask(call, &path, settings));
    let (answer, code) = match asked {
        Ok(answer) => {
            let code = match &answer {
                Answer::Unsound(_) => BootCause::Raised.exit_code(),
                other if other.is_good() => 0,
                _ => EXIT_FAILED,
            };
            (answer, code)
        }
        Err(trouble) if call.json => (Answer::Refused(trouble.to_string()), trouble.exit_code()),
        Err(trouble) => {
            super::complain(&trouble);
            return trouble.exit_code();
        }
    };
    if call.json {
        super::print(&format!("{}\n", log::escaped_json(&answer.json())));
    } else if code == 0 {
        super::print(&format!("{}\n", log::escaped(&answer.to_string())));
    } else {
        super::complain(&answer);
    }
    code
}

/// The reason why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There is no socket, with the reason.
    NoPath(String),
    /// The socket cannot be connected to.
    Unreachable(PathBuf, io::Error),
    /// This user, which is not trusted, listens there.
    Stranger(PathBuf, u32),
    /// Nothing came in time; the process that owns the socket.
    Silent(PathBuf, Duration, Option<Pid>),
    /// The request was begun, and not complete in time.
    Unfinished(PathBuf, Duration, &'static str),
    /// An invalid answer came.
    Garbled(PathBuf),
}

impl NoAnswer {
    fn exit_code(&self) -> i32 {
        match self {
            NoAnswer::NoPath(_) | NoAnswer::Unreachable(..) | NoAnswer::Stranger(..) => EXIT_NO_SERVER,
            NoAnswer::Silent(..) | NoAnswer::Unfinished(..) | NoAnswer::Garbled(_) => EXIT_NO_ANSWER,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NoPath(reason) => f.write_str(reason),
            NoAnswer::Unreachable(path, error) => {
                write!(f, "{}: {}\nhint: {}", path.display(), os::words(error), reach(error))
            }
            NoAnswer::Stranger(path, user) => write!(
                f,
                "{}: expected a server of root, of this user or of the process in the pid file, found one of user {user}; \
                 nothing was asked\nhint: if it is the right one, ask as that user, or by its --pid FILE",
                path.display()
            ),
            NoAnswer::Silent(path, limit, master) => {
                let (path, seconds) = (path.display(), limit.as_secs_f64());
                let known = match master.map(|pid| (pid, process::is_stopped(pid))) {
                    Some((pid, Some(true))) => {
                        format!("its master, pid {pid}, was stopped by a signal: kill -CONT {pid}")
                    }
                    Some((pid, Some(false))) => {
                        format!("its master, pid {pid}, is not stopped by a signal, and was not quick enough")
                    }
                    _ => "its master may be stopped by a signal (SIGSTOP), or was not quick enough".to_owned(),
                };
                write!(
                    f,
                    "{path}: expected an answer within {seconds} s, found none\nhint: {known}; what was asked may still \
                     be done"
                )
            }
            NoAnswer::Unfinished(path, limit, verb) => {
                let (path, seconds) = (path.display(), limit.as_secs_f64());
                write!(
                    f,
                    "{path}: expected the end of {verb} within {seconds} s, found it still under way\nhint: it goes on; \
                     rwsgi status shows how far it is, and the log how it ends"
                )
            }
            NoAnswer::Garbled(path) => {
                write!(f, "{}: expected an answer of rwsgi, found the end of the connection", path.display())
            }
        }
    }
}

/// Returns a hint for a socket that cannot be connected to.
fn reach(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "only root and the user that started the server may ask it",
        _ => "is the server running, with this pidfile or control_socket?",
    }
}

pub(super) fn ask(call: &ControlCall, path: &Path, settings: &Settings) -> Result<Answer, NoAnswer> {
    let unreachable = |error| NoAnswer::Unreachable(path.to_owned(), error);
    let mut stream = match socket::connect_unix(path, AT_ONCE) {
        // The socket listens, and accepts no connection.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(NoAnswer::Silent(path.to_owned(), AT_ONCE, None));
        }
        connected => connected.map_err(unreachable)?,
    };
    let master = socket::peer_process(stream.as_fd());
    believe(&stream, path, settings)?;
    stream.set_write_timeout(Some(AT_ONCE)).map_err(unreachable)?;
    let line = serde_json::to_string(&call.request).unwrap_or_default();
    // A server that refuses a client says why before it closes, so that reading continues.
    let _ = stream.write_all(format!("{line}\n").as_bytes());
    let began = Instant::now();
    let mut lines = BufReader::new(stream);
    let limit = call.within.unwrap_or(AT_ONCE);
    match hear(&mut lines, path, Some(limit))? {
        Reply::Answer(Answer::Begun) => {}
        Reply::Answer(answer) => return Ok(answer),
        Reply::Nothing => return Err(NoAnswer::Silent(path.to_owned(), limit, master)),
        Reply::End => return Err(NoAnswer::Garbled(path.to_owned())),
    }
    let left = call.within.map(|within| within.saturating_sub(began.elapsed()).max(SHORTEST));
    match hear(&mut lines, path, left)? {
        Reply::Answer(answer) => Ok(answer),
        // This is the limit that was requested, not the rest of it.
        Reply::Nothing => Err(NoAnswer::Unfinished(path.to_owned(), limit, call.request.verb().row().name)),
        Reply::End if matches!(call.request, ControlRequest::Stop | ControlRequest::Quit) => {
            Ok(Answer::Done("stopped".to_owned()))
        }
        Reply::End => Err(NoAnswer::Garbled(path.to_owned())),
    }
}

/// Checks that a trusted user listens on the socket: anyone that may write to its directory can replace it. The owner
/// of the pid file counts unless the settings say that the server is started as root.
fn believe(stream: &UnixStream, path: &Path, settings: &Settings) -> Result<(), NoAnswer> {
    let own = nix::unistd::geteuid().as_raw();
    let listener = socket::peer_user(stream.as_fd()).unwrap_or(u32::MAX);
    let of_pid_file = || settings.pidfile.as_deref().filter(|_| settings.user.is_none()).and_then(pidfile::user_of);
    if listener == 0 || listener == own || of_pid_file() == Some(listener) {
        return Ok(());
    }
    Err(NoAnswer::Stranger(path.to_owned(), listener))
}

enum Reply {
    Answer(Answer),
    /// Nothing came in time.
    Nothing,
    /// The connection has ended.
    End,
}

/// Receives the next answer, or the end of the connection.
fn hear(lines: &mut BufReader<UnixStream>, path: &Path, limit: Option<Duration>) -> Result<Reply, NoAnswer> {
    let garbled = || NoAnswer::Garbled(path.to_owned());
    lines.get_ref().set_read_timeout(limit).map_err(|_| garbled())?;
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) => Ok(Reply::End),
        Ok(_) => serde_json::from_str(&line).map(Reply::Answer).map_err(|_| garbled()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(Reply::Nothing),
        // The server was killed before it read the request.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Reply::End),
        Err(_) => Err(garbled()),
    }
}

/// The time for a master to acknowledge a request; its work takes milliseconds.
pub(super) const AT_ONCE: Duration = Duration::from_secs(5);
/// The kernel takes no limit of 0.
const SHORTEST: Duration = Duration::from_millis(1);
/// The server has answered that it was not done.
const EXIT_FAILED: i32 = 1;
/// There is no server to ask.
const EXIT_NO_SERVER: i32 = 5;
/// There is one, and it does not answer.
const EXIT_NO_ANSWER: i32 = 6;
