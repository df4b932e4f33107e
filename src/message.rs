//! What master, zygote and workers say to each other: a JSON object a packet, over a channel of `os::channel`.
//!
//! Master and zygote are two copies of this crate in two files, so nothing crosses but these values and descriptors.
//! What comes from a zygote or a worker that has dropped its privileges is hostile to the master: it is bounded in
//! length by the channel, speaks for its own channel's slot alone, and names no path, pid or index that is followed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::{Defined, Script, Settings};

/// What the master says to a zygote.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToZygote {
    /// The first word, read before Python is there. With it comes the engine's file.
    Load(LoadPython),
    /// Evaluate a configuration file, read by the engine before [`ToZygote::Start`].
    Configure(Configure),
    /// What to serve, read by the engine. With it come the descriptors that [`Start::descriptors`] counts.
    Start(Box<Start>),
    /// Fork a worker for a slot. With it comes the worker's end of its channel.
    Fork(Fork),
    /// The log files were opened anew. With it come those that it names.
    Reopen(Reopen),
    /// The name of a host was looked up: where lines go besides from now on.
    Connect(Remotes),
    /// What has happened, for hooks that gunicorn's master calls.
    Note(Note),
}

/// What happens in the master and is the business of hooks, which it has called elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// So many workers are wanted, no longer so many (`nworkers_changed`).
    Workers {
        /// From now on.
        new: usize,
        /// Until now.
        old: usize,
    },
    /// The worker of this [`Fork::age`] is to be replaced, or to end without.
    Leaving(u64),
    /// A worker has ended.
    Exited(Gone),
    /// Another master is about to be started beside this one (`pre_exec`): answered by [`FromZygote::MayUpgrade`].
    Upgrading,
    /// The server stops: let go of the listeners, and stay.
    Closing,
    /// All workers are gone (`on_exit`), and the zygote, too, is to go.
    Ending,
}

/// A worker that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its [`Fork::age`].
    pub age: u64,
    /// Its pid, unless it ended before its first word.
    pub pid: Option<i32>,
    /// Is this the zygote that calls `child_exit`?
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

/// A message from the hook process: the first to the master, the others to the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromHookProcess {
    /// The packet's credentials say the pid.
    Hello,
    /// `when_ready` has returned.
    Ready,
    /// `when_ready` raised.
    Failed(BootFailure),
}

/// What a master says to the one that it starts beside itself, in an environment variable.
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
    /// Where it listens, as the setting `bind` says it.
    pub at: String,
}

/// What the master says to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Finish what there is and end; others serve on.
    Retire,
    /// The log files were opened anew. With it come those that it names.
    Reopen(Reopen),
    /// The name of a host was looked up: where lines go besides from now on.
    Connect(Remotes),
}

/// Which log files come with a message, in this order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reopen {
    /// The error log's.
    pub error_log: bool,
    /// The access log's.
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

/// Which Python to enter.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadPython {
    /// The setting `python`.
    pub python: Option<String>,
    /// The user of the application, if this process keeps more rights than that user has and the user is known: what
    /// that user may write to is not run.
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

/// What a zygote needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The program's [`BUILD_ID`]; the engine's own must be the same.
    pub build: String,
    /// All settings, resolved.
    pub settings: Settings,
    /// The words of the command line, for `sys.argv`.
    pub arguments: Vec<String>,
    /// What this zygote is started for.
    pub occasion: Occasion,
    /// The number of this generation, from 1.
    pub generation: u64,
    /// The master's pid, which is to become every worker's parent.
    pub master: i32,
    /// Load the application and report, serve nothing (`rwsgi check`).
    pub check: bool,
    /// The user and the group to become, unless the process has become them before it was executed.
    pub identity: Identity,
    /// How many listeners come with this message.
    pub listeners: usize,
    /// Does the error log's file come with this message (else standard error is the log)?
    pub error_log: bool,
    /// Does the access log's file come with this message? Behind it comes what TLS needs, as a sealed file, where the settings
    /// ask for TLS.
    pub access_log: bool,
    /// What comes for the hooks of a configuration file.
    pub hooks: ForHooks,
    /// Its standard output and standard error.
    pub streams: Streams,
    /// Where lines go besides.
    pub remotes: Remotes,
}

/// Standard output and standard error of a zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Streams {
    /// Those that it was started with.
    Own,
    /// They come, last of all: it was started without, before there were settings.
    Sent,
}

/// What a zygote gets for the hooks of a configuration file, after the log files.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ForHooks {
    /// Does the file come in which this generation's hooks keep what they put on `server`?
    pub memory: bool,
    /// Does that of the generation before come?
    pub memory_before: bool,
    /// True if the hook process's end of its channel comes, so that one is to be started.
    pub hook_process: bool,
    /// How many workers were wanted before this zygote was started; none if it is the first.
    pub workers_before: Option<usize>,
}

/// Where lines go besides the files of the logs.
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
    /// Where it is.
    pub place: Place,
    /// What this server is called there.
    pub name: String,
    /// The facility's code (RFC 3164 section 4.1.1).
    pub facility: u8,
    /// Does the access log go there, too?
    pub has_access: bool,
}

/// A daemon that takes metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statsd {
    /// Where it is.
    pub place: Place,
    /// What stands before each name, its point included.
    pub prefix: String,
    /// What stands behind each value, if anything.
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
    /// A host whose name is being looked up, and a port: what is sent until then is lost, and counted.
    Awaited(String, u16),
}

/// What a zygote is started for, and so which hooks it calls.
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
}

/// What a zygote says to the master.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromZygote {
    /// This Python will be entered.
    Found(FoundPython),
    /// What the configuration file defined.
    Configured(Defined),
    /// Ready to fork; the application is loaded if it is preloaded or checked.
    Ready,
    /// The zygote cannot go on and ends.
    Failed(BootFailure),
    /// No worker could be forked for this slot.
    ForkFailed {
        /// The slot that was asked for.
        slot: usize,
        /// Why.
        error: String,
    },
    /// `pre_exec` is through; `false` if it raised.
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
}

/// What a worker says to the master. The channel says which slot it speaks for.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first word; the packet's credentials say the pid.
    Hello,
    /// The application is loaded and the loop runs.
    Ready,
    /// The application could not be loaded; the worker ends.
    Failed(BootFailure),
    /// Replace me.
    Spent(SpentReason),
    /// A file of the application has changed, at this moment in ns of the clock that all processes share.
    Changed(u64),
}

/// Why a worker is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpentReason {
    /// `max_requests` is reached.
    Requests,
    /// A request was ended by `timeout`; what it held may be broken.
    Timeout,
}

/// Why a zygote or a worker could not start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootFailure {
    /// What kind of failure, and with it the exit code.
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
    /// The exit code of a server that could not start for this cause (gunicorn's codes).
    pub fn exit_code(self) -> i32 {
        match self {
            BootCause::Setup => 1,
            BootCause::Raised => 3,
            BootCause::NotFound => 4,
        }
    }
}

impl BootFailure {
    /// A failure of the surroundings.
    pub fn setup(error: &dyn fmt::Display) -> BootFailure {
        BootFailure { cause: BootCause::Setup, message: error.to_string(), traceback: None }
    }

    /// This failure, its texts cut so that it fits a packet.
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

/// The sentence, and below it the traceback.
impl fmt::Display for BootFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.traceback {
            Some(traceback) => write!(f, "\n{}", traceback.trim_end()),
            None => Ok(()),
        }
    }
}

/// Keeps the end of a long text: a traceback says what happened in its last lines.
fn cut_front(text: &mut String, limit: usize) {
    if text.len() > limit {
        let mut from = text.len() - limit;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.replace_range(..from, "[...]\n");
    }
}

/// Identifies the sources this crate was built from; made by build.rs.
pub const BUILD_ID: &str = env!("RWSGI_BUILD_ID");

/// The channel takes packets of 64 KiB; the enum around a failure needs a few bytes of them.
const PACKET_LIMIT: usize = 60 * 1024;
