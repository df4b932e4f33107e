//! Messages between `rwsgi VERB` and a master over the control socket, and the text of the answers: one line of JSON
//! each way, and before a slow answer a line that says so. Values and words; opens no socket.

pub mod name;
mod stack_words;
pub mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::command::Command;

/// A request to a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlRequest {
    /// The state of the server.
    Status,
    /// The requests under way.
    Requests,
    /// The stacks of a worker, or of each of them.
    Stack(Option<usize>),
    /// Read settings and code again. The answer comes when the new code serves or has failed.
    Reload {
        /// True if the answer waits until only the new code serves.
        wait: bool,
    },
    /// Finish the requests under way, then end. The end of the connection is the master's end.
    Stop,
    /// End at once.
    Quit,
    /// Start a new master beside this one.
    Upgrade,
    /// Change the number of workers.
    Scale(Scale),
    /// Replace a worker, or each of them, by a new one of the same generation.
    Recycle(Option<usize>),
    /// Reopen the log files.
    ReopenLogs,
}

/// A change of the number of workers wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// This number more than now.
    More(usize),
    /// This number fewer than now.
    Fewer(usize),
    /// This number.
    To(usize),
}

impl ControlRequest {
    /// Returns the verb of this request.
    pub fn verb(&self) -> Command {
        match self {
            ControlRequest::Status => Command::Status,
            ControlRequest::Requests => Command::Requests,
            ControlRequest::Stack(_) => Command::Stack,
            ControlRequest::Reload { .. } => Command::Reload,
            ControlRequest::Stop => Command::Stop,
            ControlRequest::Quit => Command::Quit,
            ControlRequest::Upgrade => Command::Upgrade,
            ControlRequest::Scale(_) => Command::Scale,
            ControlRequest::Recycle(_) => Command::Recycle,
            ControlRequest::ReopenLogs => Command::Reopen,
        }
    }

    /// Parses the words after `rwsgi`: the verb's row of the table of commands, and the words after the verb. `wait` is
    /// true if `--wait` was given. An error says what was expected.
    pub fn from_words(verb: Command, words: &[&str], wait: bool) -> Result<ControlRequest, String> {
        let slot = || match words {
            [] => Ok(None),
            [word @ ("all" | "*")] => {
                Err(format!("expected the number of a slot, found {word:?}\nhint: without one it is every worker"))
            }
            [word] => word.parse().map(Some).map_err(|_| format!("expected the number of a slot, found {word:?}")),
            [_, more, ..] => Err(format!("expected one slot, found also {more:?}")),
        };
        let ask = match verb {
            Command::Stack => return slot().map(ControlRequest::Stack),
            Command::Recycle => return slot().map(ControlRequest::Recycle),
            Command::Scale => return scale(words).map(ControlRequest::Scale),
            Command::Status => ControlRequest::Status,
            Command::Requests => ControlRequest::Requests,
            Command::Reload => ControlRequest::Reload { wait },
            Command::Stop => ControlRequest::Stop,
            Command::Quit => ControlRequest::Quit,
            Command::Upgrade => ControlRequest::Upgrade,
            Command::Reopen => ControlRequest::ReopenLogs,
            Command::Rest | Command::More | Command::Fewer => {
                return Err("expected a verb, found a command that only a signal gives".to_owned());
            }
        };
        match words.first() {
            Some(word @ &("wait" | "json")) => {
                let name = verb.row().name;
                Err(format!(
                    "expected nothing after {name}, found {word:?}\nhint: it is an option: rwsgi {name} --{word}"
                ))
            }
            Some(word) => Err(format!("expected nothing after {}, found {word:?}", verb.row().name)),
            None => Ok(ask),
        }
    }
}

fn scale(words: &[&str]) -> Result<Scale, String> {
    let found = |found: &str| format!("expected +N, -N or N workers, found {found}");
    let &[word] = words else {
        return Err(found(&words.get(1).map_or_else(|| "nothing".to_owned(), |word| format!("also {word:?}"))));
    };
    let (kind, digits): (fn(usize) -> Scale, &str) = match word.as_bytes().first() {
        Some(b'+') => (Scale::More, &word[1..]),
        Some(b'-') => (Scale::Fewer, &word[1..]),
        _ => (Scale::To, word),
    };
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()));
    number.map(kind).ok_or_else(|| found(&format!("{word:?}")))
}

/// Writes it as it is typed.
impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scale::More(count) => write!(f, "+{count}"),
            Scale::Fewer(count) => write!(f, "-{count}"),
            Scale::To(count) => write!(f, "{count}"),
        }
    }
}

impl Scale {
    /// Returns the number of workers, from `now`.
    pub fn from(self, now: usize) -> usize {
        match self {
            Scale::More(count) => now.saturating_add(count),
            Scale::Fewer(count) => now.saturating_sub(count),
            Scale::To(count) => count,
        }
    }
}

/// An answer of a master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The request is being carried out; another answer follows.
    Begun,
    /// It is done, with a sentence.
    Done(String),
    /// It was tried, and failed: the reason, with a traceback if there is one.
    Failed(String),
    /// The new code of a reload does not load, or does not answer what it is tried with; the reason as before.
    Unsound(String),
    /// It was not tried: invalid, or not possible now.
    Refused(String),
    /// The state of the server.
    Status(Box<Status>),
    /// The requests under way.
    Requests(Vec<Running>),
    /// The stacks of workers.
    Stacks(Vec<Stack>),
}

impl Answer {
    /// True unless the request failed or was refused.
    pub fn is_good(&self) -> bool {
        !matches!(self, Answer::Failed(_) | Answer::Unsound(_) | Answer::Refused(_))
    }

    /// Returns the answer for programs: one value, on one line.
    pub fn json(&self) -> String {
        let text = match self {
            Answer::Status(status) => serde_json::to_string(status),
            Answer::Requests(running) => serde_json::to_string(running),
            Answer::Stacks(stacks) => serde_json::to_string(stacks),
            Answer::Unsound(reason) => serde_json::to_string(&Answer::Failed(reason.clone())),
            other => serde_json::to_string(other),
        };
        text.unwrap_or_default()
    }
}

/// The state of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// The master's process.
    pub pid: i32,
    /// `starting`, `serving`, `reloading`, `leaving` (serving until `shutdown_delay` is over) or `stopping`.
    pub state: String,
    /// Seconds since the master was started.
    pub seconds: f64,
    /// The application's name.
    pub app: String,
    /// The addresses on which it listens.
    pub listening: Vec<String>,
    /// The generation in charge: 1 and one for each reload that was begun.
    pub generation: u64,
    /// The number of workers wanted.
    pub wanted: usize,
    /// The workers, by slot.
    pub workers: Vec<WorkerStatus>,
    /// The reason why the last reload failed; `None` if it did not.
    pub failure: Option<String>,
    /// The process of a second master that was started beside this one (`rwsgi upgrade`).
    #[serde(default)]
    pub new_master: Option<i32>,
    /// The scaling by load; `None` if it does not.
    #[serde(default)]
    pub scaling: Option<ScalingStatus>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its slot, by which other verbs name it.
    pub slot: usize,
    /// Its process; none while it is forked.
    pub pid: Option<i32>,
    /// The generation of its code.
    pub generation: u64,
    /// `booting`, `ready`, `spent` (to be replaced) or `ending`.
    pub state: String,
    /// Requests that it has begun.
    pub requests: u64,
    /// Requests that are under way.
    pub running: usize,
    /// The numbers of its connections, by state.
    #[serde(default)]
    pub connections: ConnectionCounts,
}

/// The numbers of a worker's connections, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Idle after a request.
    pub idle: u32,
    /// Silent: nothing has been received on them yet.
    pub silent: u32,
    /// A head or a body is being received.
    pub reading: u32,
    /// A whole request waits for a thread.
    pub waiting: u32,
    /// The request is in the application.
    pub application: u32,
    /// The rest of a response is being sent, or the rest of a refused request read.
    pub writing: u32,
}

impl ConnectionCounts {
    /// Adds those of another worker.
    #[must_use]
    pub fn and(self, other: ConnectionCounts) -> ConnectionCounts {
        ConnectionCounts {
            idle: self.idle.saturating_add(other.idle),
            silent: self.silent.saturating_add(other.silent),
            reading: self.reading.saturating_add(other.reading),
            waiting: self.waiting.saturating_add(other.waiting),
            application: self.application.saturating_add(other.application),
            writing: self.writing.saturating_add(other.writing),
        }
    }
}

/// A request that is under way in the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The worker's slot.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The number of its thread in that worker.
    #[serde(default)]
    pub thread: usize,
    /// Seconds that it has been in the application.
    pub seconds: f64,
    /// The request line, cut after 200 bytes.
    pub request: String,
}

/// The stacks of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// The worker's slot.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The Python stacks of its threads, the innermost call first, as faulthandler writes them; nothing if it did not
    /// answer.
    pub text: Option<String>,
    /// The threads that call the application; none while they are not there yet.
    #[serde(default)]
    pub threads: Vec<ThreadStatus>,
}

/// A thread that calls the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadStatus {
    /// Its number in its worker, as the log has it.
    pub thread: usize,
    /// Its number in Python (`threading.get_ident`), by which the stacks name it.
    pub ident: u64,
    /// Seconds that its request has been in the application; none while it idles.
    pub seconds: Option<f64>,
    /// The line of its request, cut after 200 bytes.
    pub request: Option<String>,
}

/// The scaling of the number of workers by load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingStatus {
    /// The fewest workers.
    pub workers_min: usize,
    /// The most workers.
    pub workers_max: usize,
    /// The share of time that the threads were in the application, in percent, at the last measurement.
    pub busy: Option<u32>,
    /// The connections that waited then.
    pub waiting: Option<usize>,
    /// The last time that the load changed the number.
    pub last_change: Option<ScalingChange>,
}

/// A change of the number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingChange {
    /// The number before it.
    pub from: usize,
    /// The number after it.
    pub to: usize,
    /// Seconds since then.
    pub seconds: f64,
    /// The reason, in a few words.
    pub why: String,
}

#[cfg(test)]
mod tests;
