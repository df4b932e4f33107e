//! What `rwsgi VERB` and a master say to each other over the control socket, and how an answer reads: a line of JSON each
//! way, and before an answer that takes time a line that says so. Values and words; opens no socket.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::command::Command;

/// What a master is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// How does the server stand?
    Status,
    /// Which requests are under way?
    Requests,
    /// What does a worker do, or each of them?
    Stack(Option<usize>),
    /// Read settings and code anew. The answer comes when the new code serves or has failed.
    Reload {
        /// It comes when the new code serves alone.
        wait: bool,
    },
    /// Finish what is being served, then end. The end of the connection is the master's end.
    Stop,
    /// End at once.
    Quit,
    /// Start a new master beside this one.
    Upgrade,
    /// More workers, fewer, or so many.
    Scale(Scale),
    /// Replace a worker, or each of them, by one of the same code.
    Recycle(Option<usize>),
    /// Open the log files anew.
    ReopenLogs,
}

/// How many workers are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// So many more than now.
    More(usize),
    /// So many fewer than now.
    Fewer(usize),
    /// So many.
    To(usize),
}

impl Ask {
    /// The verb that asks this.
    pub fn verb(&self) -> Command {
        match self {
            Ask::Status => Command::Status,
            Ask::Requests => Command::Requests,
            Ask::Stack(_) => Command::Stack,
            Ask::Reload { .. } => Command::Reload,
            Ask::Stop => Command::Stop,
            Ask::Quit => Command::Quit,
            Ask::Upgrade => Command::Upgrade,
            Ask::Scale(_) => Command::Scale,
            Ask::Recycle(_) => Command::Recycle,
            Ask::ReopenLogs => Command::Reopen,
        }
    }

    /// What the words after `rwsgi` ask for: the verb's row of the table of commands, and what follows the verb. `wait`
    /// is whether `--wait` was given. An error says what was expected.
    pub fn from_words(verb: Command, words: &[&str], wait: bool) -> Result<Ask, String> {
        let slot = || match words {
            [] => Ok(None),
            [word] => word.parse().map(Some).map_err(|_| format!("expected the number of a slot, found {word:?}")),
            [_, more, ..] => Err(format!("expected one slot, found also {more:?}")),
        };
        let ask = match verb {
            Command::Stack => return slot().map(Ask::Stack),
            Command::Recycle => return slot().map(Ask::Recycle),
            Command::Scale => return scale(words).map(Ask::Scale),
            Command::Status => Ask::Status,
            Command::Requests => Ask::Requests,
            Command::Reload => Ask::Reload { wait },
            Command::Stop => Ask::Stop,
            Command::Quit => Ask::Quit,
            Command::Upgrade => Ask::Upgrade,
            Command::Reopen => Ask::ReopenLogs,
            Command::Rest | Command::More | Command::Fewer => {
                return Err("expected a verb, found a command that only a signal gives".to_owned());
            }
        };
        match words.first() {
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

/// As it is typed.
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
    /// How many that is, from `now`.
    pub fn from(self, now: usize) -> usize {
        match self {
            Scale::More(count) => now.saturating_add(count),
            Scale::Fewer(count) => now.saturating_sub(count),
            Scale::To(count) => count,
        }
    }
}

/// What a master answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is being done; another answer follows.
    Begun,
    /// It is done; a sentence.
    Done(String),
    /// It was tried, and failed; why, with a traceback where there is one.
    Failed(String),
    /// It was not tried: not understood, or not possible now.
    Refused(String),
    /// How the server stands.
    Status(Status),
    /// What is under way.
    Requests(Vec<Running>),
    /// What workers do.
    Stacks(Vec<Stack>),
}

impl Answer {
    /// Was it done?
    pub fn is_good(&self) -> bool {
        !matches!(self, Answer::Failed(_) | Answer::Refused(_))
    }

    /// For programs: one value, on one line.
    pub fn json(&self) -> String {
        let text = match self {
            Answer::Status(status) => serde_json::to_string(status),
            Answer::Requests(running) => serde_json::to_string(running),
            Answer::Stacks(stacks) => serde_json::to_string(stacks),
            other => serde_json::to_string(other),
        };
        text.unwrap_or_default()
    }
}

/// How a server stands.
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
    /// Where it listens.
    pub listening: Vec<String>,
    /// The generation in charge: 1 and one for each reload that was begun.
    pub generation: u64,
    /// How many workers there should be.
    pub wanted: usize,
    /// The workers, by slot.
    pub workers: Vec<Worker>,
    /// Why the last reload failed; nothing if it did not.
    pub failure: Option<String>,
    /// The process of a second master that was started beside this one (`rwsgi upgrade`).
    #[serde(default)]
    pub new_master: Option<i32>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
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
}

/// A request that is under way in the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The worker's slot.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// Seconds that it has been in the application.
    pub seconds: f64,
    /// The request line, cut after 200 bytes.
    pub request: String,
}

/// What the threads of a worker do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// The worker's slot.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The Python stacks of its threads, the innermost call first; nothing if it did not answer.
    pub text: Option<String>,
}

/// For people; several lines, no newline at the end.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Begun => f.write_str("begun"),
            Answer::Done(text) | Answer::Failed(text) | Answer::Refused(text) => f.write_str(text.trim_end()),
            Answer::Status(status) => status.fmt(f),
            Answer::Requests(running) if running.is_empty() => f.write_str("no request is under way"),
            Answer::Requests(running) => {
                let row = |running: &Running| {
                    let seconds = format!("{:.1} s", running.seconds);
                    [running.slot.to_string(), running.pid.to_string(), seconds, running.request.clone()]
                };
                table(f, ["slot", "pid", "for", "request"], running.iter().map(row).collect())
            }
            Answer::Stacks(stacks) => {
                for (index, Stack { slot, pid, text }) in stacks.iter().enumerate() {
                    let before = if index == 0 { "" } else { "\n\n" };
                    let text =
                        text.as_deref().unwrap_or("  no answer: it is stopped, or has not loaded the application");
                    write!(f, "{before}slot {slot}, pid {pid}\n{}", text.trim_end())?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |state: &str| self.workers.iter().filter(|worker| worker.state == state).count();
        // Those to be replaced serve until their replacement is ready.
        let (spent, ready) = (count("spent"), count("ready") + count("spent"));
        // The time is that since the start, which is not that of every state.
        let since = if self.state == "serving" { " for" } else { ", up" };
        writeln!(f, "{}{since} {}, pid {}, rwsgi {}", self.state, span(self.seconds), self.pid, self.version)?;
        if self.listening.is_empty() {
            writeln!(f, "{}, listening no longer", self.app)?;
        } else {
            writeln!(f, "{} at {}", self.app, self.listening.join(", "))?;
        }
        write!(f, "generation {}, {ready} of {} workers ready", self.generation, self.wanted)?;
        if spent > 0 {
            write!(f, ", {spent} to be replaced")?;
        }
        if let Some(pid) = self.new_master {
            write!(f, "\nan upgrade is under way: a new master serves beside this one, its pid is {pid}")?;
        }
        if let Some(failure) = &self.failure {
            write!(f, "\nthe last reload failed: {}", failure.lines().next().unwrap_or_default())?;
        }
        if self.workers.is_empty() {
            return Ok(());
        }
        f.write_str("\n\n")?;
        let row = |worker: &Worker| {
            let pid = worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let numbers = [worker.generation, worker.requests, worker.running as u64].map(|number| number.to_string());
            let [generation, requests, running] = numbers;
            [worker.slot.to_string(), pid, worker.state.clone(), generation, requests, running]
        };
        let heads = ["slot", "pid", "state", "generation", "requests", "under way"];
        table(f, heads, self.workers.iter().map(row).collect())
    }
}

/// Columns with two blanks between; the last one is as long as it is.
fn table<const N: usize>(f: &mut fmt::Formatter<'_>, heads: [&str; N], rows: Vec<[String; N]>) -> fmt::Result {
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:width$}", width = width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    f.write_str(&lines.collect::<Vec<_>>().join("\n"))
}

/// The two largest units: `3 h 12 min`.
fn span(seconds: f64) -> String {
    // What is not a time of this machine is shown as none.
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_after_a_verb_are_understood_or_refused() {
        for (verb, words, expected) in [
            (Command::Scale, &["+1"][..], Ok(Ask::Scale(Scale::More(1)))),
            (Command::Scale, &["-2"], Ok(Ask::Scale(Scale::Fewer(2)))),
            (Command::Scale, &["3"], Ok(Ask::Scale(Scale::To(3)))),
            (Command::Scale, &[], Err("expected +N, -N or N workers, found nothing")),
            (Command::Scale, &["++1"], Err("expected +N, -N or N workers, found \"++1\"")),
            (Command::Scale, &["1", "2"], Err("expected +N, -N or N workers, found also \"2\"")),
            (Command::Stack, &[], Ok(Ask::Stack(None))),
            (Command::Stack, &["0"], Ok(Ask::Stack(Some(0)))),
            (Command::Recycle, &["x"], Err("expected the number of a slot, found \"x\"")),
            (Command::Recycle, &["1", "2"], Err("expected one slot, found also \"2\"")),
            (Command::Status, &["now"], Err("expected nothing after status, found \"now\"")),
            (Command::Reload, &[], Ok(Ask::Reload { wait: true })),
            (Command::Rest, &[], Err("expected a verb, found a command that only a signal gives")),
        ] {
            assert_eq!(Ask::from_words(verb, words, true), expected.map_err(str::to_owned), "{verb:?} {words:?}");
        }
    }

    #[test]
    fn a_scale_never_goes_below_none() {
        let scales = [Scale::More(2), Scale::Fewer(9), Scale::To(4)];
        assert_eq!(scales.map(|scale| scale.from(3)), [5, 0, 4]);
        assert_eq!(scales.map(|scale| scale.to_string()), ["+2", "-9", "4"]);
    }

    #[test]
    fn everything_crosses_the_socket_as_one_line() {
        let answers = [
            Answer::Begun,
            Answer::Done("two\nlines".to_owned()),
            Answer::Status(status()),
            Answer::Requests(vec![running()]),
            Answer::Stacks(vec![Stack { slot: 1, pid: 7, text: None }]),
        ];
        for answer in answers {
            let line = serde_json::to_string(&answer).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
        }
    }

    fn status() -> Status {
        let worker = |slot, state: &str| Worker {
            slot,
            pid: (state != "booting").then_some(4711 + i32::try_from(slot).unwrap()),
            generation: 2,
            state: state.to_owned(),
            requests: 12,
            running: 1,
        };
        Status {
            version: "0.1.0".to_owned(),
            pid: 4700,
            state: "serving".to_owned(),
            seconds: 11_530.5,
            app: "mysite.wsgi".to_owned(),
            listening: vec!["http://127.0.0.1:8000".to_owned(), "unix:/run/app.sock".to_owned()],
            generation: 2,
            wanted: 2,
            workers: vec![worker(0, "ready"), worker(10, "booting")],
            failure: Some("no module named x\nTraceback".to_owned()),
            new_master: None,
        }
    }

    fn running() -> Running {
        Running { slot: 3, pid: 4714, seconds: 12.34, request: "GET /polls/ HTTP/1.1".to_owned() }
    }

    #[test]
    fn people_get_tables() {
        assert_eq!(
            Answer::Status(status()).to_string(),
            "serving for 3 h 12 min, pid 4700, rwsgi 0.1.0
mysite.wsgi at http://127.0.0.1:8000, unix:/run/app.sock
generation 2, 1 of 2 workers ready
the last reload failed: no module named x

slot  pid   state    generation  requests  under way
0     4711  ready    2           12        1
10    -     booting  2           12        1"
        );
        let stopping = Status { state: "stopping".to_owned(), listening: Vec::new(), failure: None, ..status() };
        let text = Answer::Status(stopping).to_string();
        let head = "stopping, up 3 h 12 min, pid 4700, rwsgi 0.1.0\nmysite.wsgi, listening no longer\ngeneration 2, ";
        assert!(text.starts_with(head), "{text}");
        let upgraded = Status { new_master: Some(4711), failure: None, ..status() };
        let text = Answer::Status(upgraded).to_string();
        assert!(text.contains("workers ready\nan upgrade is under way: a new master serves"), "{text}");
        let mut spent = Status { failure: None, ..status() };
        spent.workers.iter_mut().for_each(|worker| worker.state = "spent".to_owned());
        let text = Answer::Status(spent).to_string();
        assert!(text.contains("generation 2, 2 of 2 workers ready, 2 to be replaced\n\n"), "{text}");
        assert_eq!(
            Answer::Requests(vec![running()]).to_string(),
            "slot  pid   for     request\n3     4714  12.3 s  GET /polls/ HTTP/1.1"
        );
        assert_eq!(Answer::Requests(Vec::new()).to_string(), "no request is under way");
    }

    #[test]
    fn a_time_is_its_two_largest_units() {
        for (seconds, expected) in [
            (0.9, "0 s"),
            (61.0, "1 min 1 s"),
            (3_600.0, "1 h 0 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0 s"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
