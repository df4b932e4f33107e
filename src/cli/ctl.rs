//! `rwsgi VERB`: finds the running server's control socket, asks, waits, prints. Decides nothing about a server; the words
//! are those of `control`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::control::{Answer, Ask};
use crate::os;
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
    let asked = settings.control_path().ok_or_else(no_path).and_then(|path| ask(errand, &path));
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
        super::print(&format!("{}\n", answer.json()));
    } else if code == 0 {
        super::print(&format!("{answer}\n"));
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
    /// Nothing came in time.
    Silent(PathBuf, Duration),
    /// What came is no answer.
    Garbled(PathBuf),
}

impl Trouble {
    fn exit_code(&self) -> i32 {
        match self {
            Trouble::NoPath | Trouble::NoPathIn(_) | Trouble::Unreachable(..) => EXIT_NO_SERVER,
            Trouble::Silent(..) | Trouble::Garbled(_) => EXIT_NO_ANSWER,
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
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => "only root and the user that started the server may ask it",
                    _ => "is the server running, with this pidfile or control_socket?",
                };
                write!(f, "{}: {}\nhint: {hint}", path.display(), os::words(error))
            }
            Trouble::Silent(path, limit) => write!(
                f,
                "{}: expected an answer within {} s, found none\nhint: its master is suspended (SIGSTOP) or \
                 busy; what was asked may still be done",
                path.display(),
                limit.as_secs_f64()
            ),
            Trouble::Garbled(path) => {
                write!(f, "{}: expected an answer of rwsgi, found the end of the connection", path.display())
            }
        }
    }
}

fn ask(errand: &Errand, path: &Path) -> Result<Answer, Trouble> {
    let unreachable = |error| Trouble::Unreachable(path.to_owned(), error);
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    stream.set_write_timeout(Some(AT_ONCE)).map_err(unreachable)?;
    let line = serde_json::to_string(&errand.ask).unwrap_or_default();
    // A server that refuses to hear says why before it closes, so that reading goes on.
    let _ = stream.write_all(format!("{line}\n").as_bytes());
    let began = Instant::now();
    let mut lines = BufReader::new(stream);
    let limit = errand.within.unwrap_or(AT_ONCE);
    match hear(&mut lines, path, Some(limit))? {
        Some(Answer::Begun) => {}
        Some(answer) => return Ok(answer),
        None => return Err(Trouble::Garbled(path.to_owned())),
    }
    let left = errand.within.map(|within| within.saturating_sub(began.elapsed()).max(SHORTEST));
    let answer = hear(&mut lines, path, left).map_err(|trouble| match trouble {
        // The limit that was asked for, not what was left of it.
        Trouble::Silent(path, _) => Trouble::Silent(path, limit),
        other => other,
    });
    match answer? {
        Some(answer) => Ok(answer),
        None if matches!(errand.ask, Ask::Stop | Ask::Quit) => Ok(Answer::Done("stopped".to_owned())),
        None => Err(Trouble::Garbled(path.to_owned())),
    }
}

/// The next answer, or that there will be none.
fn hear(lines: &mut BufReader<UnixStream>, path: &Path, limit: Option<Duration>) -> Result<Option<Answer>, Trouble> {
    let garbled = || Trouble::Garbled(path.to_owned());
    lines.get_ref().set_read_timeout(limit).map_err(|_| garbled())?;
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => serde_json::from_str(&line).map(Some).map_err(|_| garbled()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(Trouble::Silent(path.to_owned(), limit.unwrap_or_default()))
        }
        // The server was killed with our question unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
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
