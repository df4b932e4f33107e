//! `rwsgi VERB`: finds the running server's control socket, asks, waits, prints. Decides nothing about a server; the words
//! are those of `control`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::control::{Answer, Ask};
use crate::log;
use crate::os::{self, pidfile, process, socket};
use crate::settings::Settings;

/// What is asked of a running server.
#[derive(Clone, Debug, PartialEq)]
pub struct Errand {
    /// The question.
    pub ask: Ask,
    /// Print for programs.
    pub json: bool,
    /// How long the whole may take; without it, what is done at once has a limit, and what takes its time has none.
    pub within: Option<Duration>,
}

/// Asks and prints; says the exit code. `file` is the configuration file that was named.
pub(super) fn run(errand: &Errand, settings: &Settings, file: Option<&str>) -> i32 {
    let no_path = || match file {
        Some(file) if settings.control_socket.is_none() => Trouble::NoPathIn(file.to_owned()),
        _ => Trouble::NoPath,
    };
    let asked = settings.control_path().ok_or_else(no_path).and_then(|path| ask(errand, &path, settings));
    let (answer, code) = match asked {
        Ok(answer) => {
            let code = if answer.is_good() { 0 } else { EXIT_FAILED };
            (answer, code)
        }
        Err(trouble) if errand.json => (Answer::Refused(trouble.to_string()), trouble.exit_code()),
        Err(trouble) => {
            super::complain(&trouble);
            return trouble.exit_code();
        }
    };
    if errand.json {
        super::print(&format!("{}\n", log::escaped_json(&answer.json())));
    } else if code == 0 {
        super::print(&format!("{}\n", log::escaped(&answer.to_string())));
    } else {
        super::complain(&answer);
    }
    code
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    /// Nobody says where the socket is.
    NoPath,
    /// Neither does this file, by which the server was started.
    NoPathIn(String),
    /// The socket cannot be connected to.
    Unreachable(PathBuf, io::Error),
    /// This user listens there, who is not to be believed.
    Stranger(PathBuf, u32),
    /// Nothing came in time; whose socket it is.
    Silent(PathBuf, Duration, Option<Pid>),
    /// It has begun, and was not over in time.
    Unfinished(PathBuf, Duration, &'static str),
    /// What came is no answer.
    Garbled(PathBuf),
}

impl Trouble {
    fn exit_code(&self) -> i32 {
        match self {
            Trouble::NoPath | Trouble::NoPathIn(_) | Trouble::Unreachable(..) | Trouble::Stranger(..) => EXIT_NO_SERVER,
            Trouble::Silent(..) | Trouble::Unfinished(..) | Trouble::Garbled(_) => EXIT_NO_ANSWER,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoPath => write!(
                f,
                "expected the control socket of a running server, found no word of where it is\nhint: --control-socket \
                 PATH, or the --pid FILE or --config FILE with which the server was started"
            ),
            Trouble::NoPathIn(file) => write!(
                f,
                "{file} sets neither pidfile nor control_socket, so its server has no control socket\nhint: set pidfile \
                 and start the server anew; meanwhile it obeys signals: kill -HUP loads code anew, kill -TERM stops it"
            ),
            Trouble::Unreachable(path, error) => {
                write!(f, "{}: {}\nhint: {}", path.display(), os::words(error), reach(path, error))
            }
            Trouble::Stranger(path, user) => write!(
                f,
                "{}: expected a server of root, of this user or of the process in the pid file, found one of user {user}; \
                 nothing was asked\nhint: if it is the right one, ask as that user, or by its --pid FILE",
                path.display()
            ),
            Trouble::Silent(path, limit, master) => {
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
            Trouble::Unfinished(path, limit, verb) => {
                let (path, seconds) = (path.display(), limit.as_secs_f64());
                write!(
                    f,
                    "{path}: expected the end of {verb} within {seconds} s, found it still under way\nhint: it goes on; \
                     rwsgi status shows how far it is, and the log how it ends"
                )
            }
            Trouble::Garbled(path) => {
                write!(f, "{}: expected an answer of rwsgi, found the end of the connection", path.display())
            }
        }
    }
}

/// What would help where the socket cannot be connected to.
fn reach(path: &Path, error: &io::Error) -> &'static str {
    let is_number = |stem: &std::ffi::OsStr| stem.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    match error.kind() {
        io::ErrorKind::NotFound if path.file_stem().is_some_and(is_number) => {
            "--pid takes the path of the server's pid file, not the id of its process"
        }
        io::ErrorKind::PermissionDenied => "only root and the user that started the server may ask it",
        _ => "is the server running, with this pidfile or control_socket?",
    }
}

fn ask(errand: &Errand, path: &Path, settings: &Settings) -> Result<Answer, Trouble> {
    let unreachable = |error| Trouble::Unreachable(path.to_owned(), error);
    let mut stream = match socket::connect_unix(path, AT_ONCE) {
        // It listens, and takes nobody.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(Trouble::Silent(path.to_owned(), AT_ONCE, None));
        }
        connected => connected.map_err(unreachable)?,
    };
    let master = socket::peer_process(stream.as_fd());
    believe(&stream, path, settings)?;
    stream.set_write_timeout(Some(AT_ONCE)).map_err(unreachable)?;
    let line = serde_json::to_string(&errand.ask).unwrap_or_default();
    // A server that refuses to hear says why before it closes, so that reading goes on.
    let _ = stream.write_all(format!("{line}\n").as_bytes());
    let began = Instant::now();
    let mut lines = BufReader::new(stream);
    let limit = errand.within.unwrap_or(AT_ONCE);
    match hear(&mut lines, path, Some(limit))? {
        Heard::Answer(Answer::Begun) => {}
        Heard::Answer(answer) => return Ok(answer),
        Heard::Nothing => return Err(Trouble::Silent(path.to_owned(), limit, master)),
        Heard::End => return Err(Trouble::Garbled(path.to_owned())),
    }
    let left = errand.within.map(|within| within.saturating_sub(began.elapsed()).max(SHORTEST));
    match hear(&mut lines, path, left)? {
        Heard::Answer(answer) => Ok(answer),
        // The limit that was asked for, not what was left of it.
        Heard::Nothing => Err(Trouble::Unfinished(path.to_owned(), limit, errand.ask.verb().row().name)),
        Heard::End if matches!(errand.ask, Ask::Stop | Ask::Quit) => Ok(Answer::Done("stopped".to_owned())),
        Heard::End => Err(Trouble::Garbled(path.to_owned())),
    }
}

/// Whoever may write to the directory of the socket can put one of their own in its place: the kernel says who listens
/// there. The pid file's word counts where the settings do not say that the server is started as root.
fn believe(stream: &UnixStream, path: &Path, settings: &Settings) -> Result<(), Trouble> {
    let own = nix::unistd::geteuid().as_raw();
    let listener = socket::peer_user(stream.as_fd()).unwrap_or(u32::MAX);
    let of_pid_file = || settings.pidfile.as_deref().filter(|_| settings.user.is_none()).and_then(pidfile::user_of);
    if listener == 0 || listener == own || of_pid_file() == Some(listener) {
        return Ok(());
    }
    Err(Trouble::Stranger(path.to_owned(), listener))
}

enum Heard {
    Answer(Answer),
    /// Not in time.
    Nothing,
    /// Nor later.
    End,
}

/// The next answer, or that there will be none.
fn hear(lines: &mut BufReader<UnixStream>, path: &Path, limit: Option<Duration>) -> Result<Heard, Trouble> {
    let garbled = || Trouble::Garbled(path.to_owned());
    lines.get_ref().set_read_timeout(limit).map_err(|_| garbled())?;
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) => Ok(Heard::End),
        Ok(_) => serde_json::from_str(&line).map(Heard::Answer).map_err(|_| garbled()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(Heard::Nothing),
        // The server was killed with our question unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Heard::End),
        Err(_) => Err(garbled()),
    }
}

/// What a master that is not stopped needs to say that it has heard; its turns take milliseconds.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The kernel takes no limit of 0.
const SHORTEST: Duration = Duration::from_millis(1);
/// The server has answered that it was not done.
const EXIT_FAILED: i32 = 1;
/// There is no server to ask.
const EXIT_NO_SERVER: i32 = 5;
/// There is one, and it does not answer.
const EXIT_NO_ANSWER: i32 = 6;
