//! Messages between master, zygote and workers: a JSON object a packet, over a channel of `os::channel`.
//!
//! Master and zygote are two copies of this crate in two files, so nothing crosses but these values and descriptors.
//! What comes from a zygote or a worker that has dropped its privileges is hostile to the master: it is bounded in
//! length by the channel, speaks for its own channel's slot alone, and names no path, pid or index that is followed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::{Defined, Script, Settings};

/// A message from the master to a zygote.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToZygote {
    /// The first message, read before Python is loaded. With it comes the engine's file.
    Load(LoadPython),
    /// Evaluate a configuration file, read by the engine before [`ToZygote::Start`].
    Configure(Configure),
    /// The application to serve, read by the engine. With it come the descriptors that [`Start::descriptors`] counts.
    Start(Box<Start>),
    /// Fork a worker for a slot. With it comes the worker's end of its channel.
    Fork(Fork),
    /// The log files were reopened. With it come those that it names.
    Reopen(Reopen),
    /// The name of a host was looked up: the new outputs of the logs beside their files.
    Connect(Remotes),
    /// An event for hooks that gunicorn's master calls.
    Note(Note),
    /// One of the master's log lines, for Python's logging.
    Line(MirroredLine),
}

/// A line for Python's logging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MirroredLine {
    /// Its level, a number of Python's logging.
    pub level: u8,
    /// The process that has written it.
    pub pid: u32,
    /// The time of the wall clock, in seconds.
    pub created: f64,
    /// Message and fields.
    pub text: String,
}

/// An event in the master that hooks are called for, in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The number of workers wanted has changed (`nworkers_changed`).
    Workers {
        /// The new number.
        new: usize,
        /// The number before.
        old: usize,
    },
    /// The worker of this [`Fork::age`] is to be replaced, or to end.
    Leaving(u64),
    /// A worker has ended.
    Exited(Gone),
    /// Another master is about to be started beside this one (`pre_exec`): answered by [`FromZygote::MayUpgrade`].
    Upgrading,
    /// The server stops: close the listeners, and stay.
    Closing,
    /// All workers are gone (`on_exit`), and the zygote is to end.
    Ending,
}

/// A worker that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its [`Fork::age`].
    pub age: u64,
    /// Its pid, unless it ended before its first message.
    pub pid: Option<i32>,
    /// True if this is the zygote that calls `child_exit`.
    pub call: bool,
}

/// A message from the master to the hook process, which called `when_ready`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum ToHookProcess {
    /// The error log is another file from now on, which comes with the message.
    Reopen,
    /// All workers have ended: the hook process is to call `on_exit` and end.
    End,
}

/// The values that a master passes to the one that it starts beside itself, in an environment variable.
#[derive(Debug, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its process.
    pub pid: i32,
    /// The sockets that it passes on.
    pub sockets: Vec<Inherited>,
}

impl Predecessor {
    /// The variable.
    pub const VARIABLE: &str = "RWSGI_PREDECESSOR";
}

/// A listening socket that was left open over exec.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inherited {
    /// Its number.
    pub fd: i32,
    /// Its address, as in the setting `bind`.
    pub at: String,
}

/// A message from the master to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Finish the requests under way and end; others continue to serve.
    Retire,
    /// Finish the requests under way and end; the server stops.
    Finish,
    /// End at once.
    Quit,
    /// The log files were reopened. With it come those that it names.
    Reopen(Reopen),
    /// The name of a host was looked up: the new outputs of the logs beside their files.
    Connect(Remotes),
}

/// The log files that come with a message, in this order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reopen {
    /// True if the error log's comes.
    pub error_log: bool,
    /// True if the access log's comes.
    pub access_log: bool,
}

/// A user and a group to become, looked up; what can be done with one is in `os::identity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's id, if there is a user to become.
    pub user: Option<u32>,
    /// The group's id: the one asked for, else the user's own.
    pub group: Option<u32>,
    /// The supplementary groups: those of the user, else only `group`.
    pub groups: Vec<u32>,
}

/// The Python to enter.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadPython {
    /// The setting `python`.
    pub python: Option<String>,
    /// The path of the program at the master's start: a package manager that replaces the file renames the running one.
    pub program: String,
    /// The setting `chdir`.
    pub directory: Option<PathBuf>,
    /// The user of the application, if this process keeps more rights than that user and the user is known: no file
    /// that this user may write to is run.
    pub untrusted: Option<Identity>,
}

/// A configuration file in Python.
#[derive(Debug, Serialize, Deserialize)]
pub struct Configure {
    /// The program's [`BUILD_ID`]; the engine's own must be the same.
    pub build: String,
    /// The file.
    pub script: Script,
    /// The words of the command line, for `sys.argv`.
    pub arguments: Vec<String>,
    /// As in [`Load::untrusted`].
    pub untrusted: Option<Identity>,
    /// True if the open file comes with this message: this process may have no right to open it.
    pub has_file: bool,
}

/// The values that a zygote needs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The program's [`BUILD_ID`]; the engine's own must be the same.
    pub build: String,
    /// All settings, resolved.
    pub settings: Settings,
    /// The words of the command line, for `sys.argv`.
    pub arguments: Vec<String>,
    /// The occasion of this zygote's start.
    pub occasion: Occasion,
    /// The number of this generation, from 1.
    pub generation: u64,
    /// The master's pid, which is to become every worker's parent.
    pub master: i32,
    /// The number of open files that programs of the application are allowed; 0 is that of the process.
    pub files_of_programs: u64,
    /// True for `rwsgi check`: loads the application, reports and serves nothing.
    pub check: bool,
    /// The user and the group to become, unless the process has become them before it was executed.
    pub identity: Identity,
    /// The number of listeners that come with this message.
    pub listeners: usize,
    /// True if the error log's file comes with this message; otherwise standard error is the log.
    pub error_log: bool,
    /// True if the access log's file comes with this message. With TLS, certificates and keys come after it, sealed.
    pub access_log: bool,
    /// The descriptors that come for the hooks of a configuration file.
    pub hooks: ForHooks,
    /// Its standard output and standard error.
    pub streams: Streams,
    /// The outputs of the logs beside their files.
    pub remotes: Remotes,
}

/// Standard output and standard error of a zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Streams {
    /// Those that it was started with.
    Own,
    /// They come last in this message: it was started without them, before there were settings.
    Sent,
}

/// The descriptors that a zygote gets for the hooks of a configuration file, after the log files.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ForHooks {
    /// True if the file comes in which this generation's hooks keep the attributes that they set on `server`.
    pub memory: bool,
    /// True if that of the generation before comes.
    pub memory_before: bool,
    /// True if the hook process's end of its channel comes, so that one is to be started.
    pub hook_process: bool,
    /// The number of workers wanted before this zygote was started; `None` for the first.
    pub workers_before: Option<usize>,
}

/// The outputs of the logs beside their files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remotes {
    /// Messages.
    pub syslog: Option<Syslog>,
    /// Counters and times.
    pub statsd: Option<Statsd>,
}

/// A daemon that takes messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syslog {
    /// Its address.
    pub place: Place,
    /// The name of this server there.
    pub name: String,
    /// The facility's code (RFC 3164 section 4.1.1).
    pub facility: u8,
    /// True if the access log goes there, too.
    pub has_access: bool,
}

/// A daemon that takes metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statsd {
    /// Its address.
    pub place: Place,
    /// The text before each name, with its final dot.
    pub prefix: String,
    /// The text after each value, if any.
    pub tags: String,
}

/// An address to send to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Datagrams over the network.
    Udp(SocketAddr),
    /// A connection over the network.
    Tcp(SocketAddr),
    /// Datagrams, a path.
    UnixDatagrams(PathBuf),
    /// A connection, a path.
    UnixStream(PathBuf),
    /// A host whose name is being looked up, and a port: lines are lost until then, and counted.
    Awaited(String, u16),
}

/// The occasion of a zygote's start, which decides the hooks that it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Occasion {
    /// The server starts.
    Starting,
    /// A reload.
    Reloading,
    /// Another zygote of the same generation has died.
    Again,
}

/// One worker to fork.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Fork {
    /// The slot of the scoreboard.
    pub slot: usize,
    /// The worker's number, counted from 1 over the master's life (gunicorn's `worker.age`).
    pub age: u64,
    /// Requests after which the worker asks to be replaced; 0 = never. Jitter is drawn already.
    pub max_requests: u64,
    /// True if it answers the requests of `reload_check` before it is ready: it is the first one of a reload.
    pub is_tried: bool,
}

/// A message from a zygote to the master.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromZygote {
    /// The Python that will be entered.
    Found(FoundPython),
    /// The definitions of the configuration file.
    Configured(Defined),
    /// The sender is the zygote from now on: the process before it has forked it, and is the hook process.
    Forked,
    /// Ready to fork; the application is loaded if it is preloaded or checked.
    Ready,
    /// The zygote cannot go on and ends.
    Failed(BootFailure),
    /// No worker could be forked for this slot.
    ForkFailed {
        /// The slot that was asked for.
        slot: usize,
        /// The reason.
        error: String,
    },
    /// `pre_exec` has returned; `false` if it raised.
    MayUpgrade(bool),
}

/// The Python that was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundPython {
    /// Its version, as `3.13.5`.
    pub version: String,
    /// The interpreter's path, a virtualenv's own.
    pub executable: String,
    /// The launch mode: `library` or `executable`.
    pub launch: String,
    /// The source that named it. Ex.: `VIRTUAL_ENV`.
    pub named_by: String,
}

/// A message from a worker to the master. The channel gives its slot.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first message; the packet's credentials give the pid.
    Hello,
    /// The application is loaded and the loop runs.
    Ready,
    /// The application could not be loaded; the worker ends.
    Failed(BootFailure),
    /// The worker asks to be replaced.
    Spent(SpentReason),
    /// A file of the application has changed, at this moment in ns of the clock that all processes share.
    Changed(u64),
}

/// The reason why a worker is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpentReason {
    /// `max_requests` is reached.
    Requests,
    /// A request was ended by `timeout`; the state that it used may be broken.
    Timeout,
    /// Memory has been short for too long.
    Memory,
    /// The application has opened all files that a process may have open.
    Descriptors,
}

/// The reason why a zygote or a worker could not start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootFailure {
    /// The kind of failure, which decides the exit code.
    pub cause: BootCause,
    /// One sentence, with hints on lines of their own.
    pub message: String,
    /// A Python traceback, if there is one.
    pub traceback: Option<String>,
}

/// The kinds of boot failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootCause {
    /// The surroundings: no Python, no such directory, no such user.
    Setup,
    /// The application raised while it was loaded.
    Raised,
    /// There is no such application.
    NotFound,
}

impl BootCause {
    /// Returns the exit code of a server that could not start for this cause (gunicorn's codes).
    pub fn exit_code(self) -> i32 {
        match self {
            BootCause::Setup => 1,
            BootCause::Raised => 3,
            BootCause::NotFound => 4,
        }
    }
}

impl BootFailure {
    /// Returns a failure of the surroundings.
    pub fn setup(error: &dyn fmt::Display) -> BootFailure {
        BootFailure { cause: BootCause::Setup, message: error.to_string(), traceback: None }
    }

    /// Returns this failure, with its texts cut to fit a packet.
    #[must_use]
    pub fn bounded(mut self) -> BootFailure {
        let mut limit = PACKET_LIMIT / 2;
        while serde_json::to_vec(&self).map_or(0, |json| json.len()) > PACKET_LIMIT {
            cut_front(&mut self.message, limit / 4);
            if let Some(traceback) = &mut self.traceback {
                cut_front(traceback, limit);
            }
            limit /= 2;
        }
        self
    }
}

/// Writes the sentence, and below it the traceback.
impl fmt::Display for BootFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.traceback {
            Some(traceback) => write!(f, "\n{}", traceback.trim_end()),
            None => Ok(()),
        }
    }
}

/// Keeps the end of a long text: the last lines of a traceback give the error.
fn cut_front(text: &mut String, limit: usize) {
    if text.len() > limit {
        let from = (text.len() - limit..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text.replace_range(..from, "[...]\n");
    }
}

/// Identifies the sources this crate was built from; made by build.rs.
pub const BUILD_ID: &str = env!("RWSGI_BUILD_ID");

/// The channel takes packets of 64 KiB; the enum around a failure needs a few bytes of them.
const PACKET_LIMIT: usize = 60 * 1024;
