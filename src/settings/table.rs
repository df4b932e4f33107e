//! The settings, one row each. Everything else is generated from the rows: the struct [`Settings`], flags, TOML keys,
//! environment names, help, the reference page. Every row has an effect, except gunicorn's settings that rwsgi always
//! behaves by.
//!
//! Names and flags are gunicorn's, where gunicorn has the setting.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Origin;
use super::parse::{
    FlagKind, Parsed, Setting, list, one, optional, pid_file, proxy_mode, scheme_fields, some, switch, whole, whole_u32,
};
use super::problem::{Problem, ProblemCause};
use super::source_value::Value;
use super::types::{
    AppName, Bind, Bytes, Ciphers, ClientCertificates, ControlSocket, EnvPair, FieldName, HeaderMap, LogFormat,
    LogLevel, LogTarget, Mode, Peers, ProxyMode, ReloadEngine, ReloadOrder, SchemeFields, Seconds, StatsdHost,
    SyslogAddress, SyslogFacility, Text as _, TimeoutMode, TlsVersion, UrlPath, WarmupRequest, WorkerClass, Workers,
};

/// The row of a setting, except for its value.
#[derive(Debug)]
pub struct Row {
    /// The TOML key; gunicorn's name.
    pub name: &'static str,
    /// The section in help and reference.
    pub section: Section,
    /// The flags with their dashes, short ones first; empty if the setting has no flag.
    pub flags: &'static [&'static str],
    /// The name of its value in the help.
    pub metavar: &'static str,
    /// The help text, one line.
    pub help: &'static str,
    /// The meaning, the unit, and differences from gunicorn, in Markdown.
    pub doc: &'static str,
    /// The kind of its flag.
    pub kind: FlagKind,
    /// Parses the value into the settings, or returns everything that is wrong with it.
    pub set: fn(&mut Settings, &Value) -> Parsed<()>,
    /// Returns the value in TOML syntax, or `None` if it is not set.
    pub show: fn(&Settings) -> Option<String>,
}

/// A section of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The application and its environment.
    Application,
    /// Listening sockets.
    Socket,
    /// Workers.
    Workers,
    /// Limits and rules of requests.
    Requests,
    /// TLS.
    Tls,
    /// The server's processes.
    Process,
    /// Logs.
    Logs,
}

macro_rules! settings {
    ($(
        $name:ident: $type:ty = $default:expr, $read:expr, $section:ident,
            [$($flag:literal),*], $metavar:literal, $help:literal, $doc:literal;
    )+) => {
        /// The values of all settings; immutable once resolved. The rows of [`TABLE`] document each field.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $(#[doc = concat!("The setting `", stringify!($name), "`: ", $help, ".")] pub $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// All settings, in the order of help and reference.
        pub const TABLE: &[Row] = &[$(Row {
            name: stringify!($name),
            section: Section::$section,
            flags: &[$($flag),*],
            metavar: $metavar,
            help: $help,
            doc: $doc,
            kind: <$type as Setting>::KIND,
            set: |settings, value| {
                settings.$name = $read(value)?;
                Ok(())
            },
            show: |settings| settings.$name.toml(),
        }),+];
    };
}

settings! {
    wsgi_app: Option<AppName> = None, optional, Application,
        [], "APP", "application to serve",
        "`module`, `module:callable`, `module:factory(\"a\", k=1)` with literal arguments, \
         `path/to/file.py[:callable]` or `path/to/file.wsgi[:callable]`. The default callable is `application`, and \
         if the module has none, `app`. On the command line it is the word without a dash. A name without a slash is \
         a file only if it ends in `.py`: `mysite.wsgi` is a module, `./mysite.wsgi` a file.";
    chdir: Option<PathBuf> = None, optional, Application,
        ["--chdir"], "DIR", "working directory of the application",
        "The default is the directory in which rwsgi was started, by the path in `$PWD`: if that leads through a \
         symbolic link, a reload follows the link again. A relative path is relative to that directory, in \
         the configuration file too. The directory comes first in `sys.path`. Other relative paths are relative to \
         it, except those of the configuration file and of `python`.";
    pythonpath: Vec<PathBuf> = Vec::new(), list, Application,
        ["--pythonpath"], "DIRS", "directories to add to the front of sys.path, separated by commas",
        "A list, or one string with commas. Each directory is added in front of the others, so the last one comes \
         first, as in gunicorn. Relative paths are relative to `chdir`.";
    raw_env: Vec<EnvPair> = Vec::new(), list, Application,
        ["-e", "--env"], "KEY=VALUE", "environment variable for the application; repeatable",
        "Set in the process that loads the application and in its workers, not in the master.";
    env_file: Option<PathBuf> = None, optional, Application,
        ["--env-file"], "FILE", "file of environment variables for the application",
        "Lines `KEY=VALUE`, with the comments, quotes and `${NAME}` of other readers of `.env` files. Set where `raw_env` \
         is, and not in the master. A variable that the environment has keeps its value there, and `raw_env` replaces \
         it. Read by the master, with its rights, at the start and by each reload. A relative path is relative to \
         `chdir`. With `user` and a configuration file in Python, the file must not be one that this user can change.";
    python: Option<PathBuf> = None, optional, Application,
        ["--python"], "PATH", "Python interpreter or virtualenv to run",
        "CPython 3.11 or newer. The default is the first of: the virtualenv in which rwsgi is installed, also if \
         it is not activated; the virtualenv named by `VIRTUAL_ENV`; `.venv` in `chdir`, or in the directory in \
         which rwsgi was started; `python3` on `PATH`. The virtualenvs that pipx and `uv tool` make for rwsgi alone \
         come after `.venv`. The log's line `python` says by `found_by` which one it was. A name such as \
         `python3.13` is looked up on `PATH`. A name such as `.venv` or `./python` is a path, relative to the \
         directory in which rwsgi was started. gunicorn has no such setting: it runs in the Python that it is \
         installed in.";
    preload_app: bool = false, switch, Application,
        ["--preload"], "", "load the application once, before the workers are forked",
        "Saves memory and start-up time, because the workers share what the application has loaded. It is loaded in a \
         process of its own, never in the master.";
    warmup: Vec<WarmupRequest> = Vec::new(), list, Application,
        ["--warmup"], "URLS", "requests to make before the workers are forked; requires preload_app",
        "Paths, or URLs where the application checks the host (Django's `ALLOWED_HOSTS`). A list, or one string with \
         commas. Each is requested 20 times by GET, or until it fails, in the process that forks the workers. So \
         everything that an application loads, compiles and caches in its first requests is shared by all workers. \
         Resources that processes must not share, such as database connections, must be closed by the application at \
         the end of a request, as Django does by default. The requests count against `boot_timeout`. Without \
         `preload_app` there is no such process, and no request is made; `rwsgi check` makes none either.";
    warmup_required: bool = false, switch, Application,
        ["--warmup-required"], "", "refuse to start or reload if a request of warmup fails",
        "A status of 500 or above ends the start or the reload, instead of a warning.";

    bind: Vec<Bind> = vec![Bind::default()], some, Socket,
        ["-b", "--bind"], "ADDRESS", "address to listen on; repeatable",
        "`HOST`, `HOST:PORT`, `:PORT` (every IPv4 address), `[IPV6]:PORT`, `unix:PATH`, `fd://N` or `fd://NAME`. The \
         default port is 8000. A list, or one string with commas. If no other source gives `bind`, the environment \
         variable `PORT` means `0.0.0.0:$PORT`. A source replaces the whole list. Sockets that systemd passes \
         (`LISTEN_FDS`) replace `bind`, as in gunicorn, unless it names one of them. `fd://NAME` stands for every \
         passed socket of that `FileDescriptorName=`, `fd://3` for the first one. Unlike in gunicorn, `fd://` does \
         not remove the other addresses.";
    backlog: u32 = 2048, whole_u32::<1, 2_147_483_647>, Socket,
        ["--backlog"], "N", "connections that may wait to be accepted",
        "PassedSockets to listen(2) for each address; the kernel limits it to `net.core.somaxconn`.";
    reuse_port: bool = false, switch, Socket,
        ["--reuse-port"], "", "share TCP ports with other servers of this user",
        "Sets `SO_REUSEPORT`: a second server with this setting, of the same user, can listen on the same port, and the \
         kernel distributes new connections between both. Connections that wait in the queue of one of them are reset \
         when that one stops; a reload or an upgrade loses none. The workers of a server share its socket, unlike in \
         gunicorn, where each has its own. A reload applies it to addresses that are new.";
    umask: Option<Mode> = None, optional, Socket,
        ["-m", "--umask"], "MODE", "umask of unix sockets, in octal",
        "As in gunicorn, it sets the mode of unix sockets and does not change the umask of the processes. Always \
         octal: `022`, `0o22` and `22` are the same. In a TOML file it is a string, or a number with `0o`; in a \
         Python file it is a Python number, `0o22`.";
    unix_socket_mode: Option<Mode> = None, optional, Socket,
        ["--unix-socket-mode"], "MODE", "mode of unix sockets, in octal",
        "Connecting to a unix socket requires write permission. Without this setting the mode is 0777 without the \
         bits of `umask`, and without `umask` 0660: owner and group (`user` and `group`). gunicorn's default is 0777.";

    workers: Workers = Workers::Count(1), one, Workers,
        ["-w", "--workers"], "N", "number of worker processes, or auto",
        "`\"auto\"` is one for each usable CPU, after affinity and cgroup quota. If no other source gives `workers`, \
         the environment variable `WEB_CONCURRENCY` does. At most 1024. With `workers_min` or `workers_max` it is the \
         number at the start. A number outside these bounds is an error; that of `auto` and of `WEB_CONCURRENCY` is \
         clamped to them. Without `workers` the server starts with `workers_min`.";
    workers_min: u32 = 0, whole_u32::<0, 1024>, Workers,
        ["--workers-min"], "N", "fewest workers when idle",
        "With this or `workers_max` the number of workers follows the load ([the guide](../guides/scaling.md)). 0 \
         means `workers`. uWSGI's `cheaper`; gunicorn has no such setting.";
    workers_max: u32 = 0, whole_u32::<0, 1024>, Workers,
        ["--workers-max"], "N", "most workers under load",
        "0 means `workers`. uWSGI's `processes` beside `cheaper`.";
    workers_step: u32 = 1, whole_u32::<1, 1024>, Workers,
        ["--workers-step"], "N", "workers added at a time",
        "More are added when these serve and the load is still too high. uWSGI's `cheaper-step`.";
    workers_cooldown: Seconds = Seconds::whole(30), one, Workers,
        ["--workers-cooldown"], "SECONDS", "time of low load before a worker is removed",
        "Workers are removed one at a time, each after this time. Seconds, fractions allowed. uWSGI's \
         `cheaper-overload` times `cheaper-busyness-multiplier`.";
    busyness_max: u32 = 50, whole_u32::<1, 100>, Workers,
        ["--busyness-max"], "PERCENT", "share of busy time above which workers are added",
        "The share of time that the workers' threads spend in the application, measured each second. uWSGI's \
         `cheaper-busyness-max`.";
    busyness_min: u32 = 25, whole_u32::<0, 99>, Workers,
        ["--busyness-min"], "PERCENT", "share of busy time below which a worker is removed",
        "Less than `busyness_max`. At most half of it keeps the number from oscillating. uWSGI's \
         `cheaper-busyness-min`.";
    idle: Seconds = Seconds::whole(0), one, Workers,
        ["--idle"], "SECONDS", "time without requests before the server scales down or ends",
        "Afterwards only `workers_min` workers are left; with `die_on_idle` the server ends. Seconds, fractions \
         allowed; 0 is never. From uWSGI, where it stops all workers.";
    die_on_idle: bool = false, switch, Workers,
        ["--die-on-idle"], "", "end the server, with exit code 0, after idle",
        "For sockets that systemd passes: systemd keeps listening, and starts the server at the next connection. \
         Without such a socket the server does not end, because nothing would start it again. The unit needs \
         `Restart=on-failure` ([the guide](../guides/systemd.md)). From uWSGI.";
    worker_class: WorkerClass = WorkerClass::Sync, one, Workers,
        ["-k", "--worker-class"], "CLASS", "worker class: sync or gthread",
        "`sync`: one request at a time. `gthread`: as many requests as there are `threads`. With more than one thread \
         `sync` means `gthread`, as in gunicorn. Slow clients and idle keep-alive connections occupy neither worker \
         nor thread.";
    threads: u32 = 1, whole_u32::<1, 512>, Workers,
        ["--threads"], "N", "threads per worker, each for one request at a time",
        "They share one interpreter: while one waits, for a database for example, another runs. More threads do not \
         help applications that compute; more workers do. While requests are quick, one thread serves them all.";
    worker_connections: u32 = 10_000, whole_u32::<1, 1_000_000>, Workers,
        ["--worker-connections"], "N", "most open connections per worker",
        "At the limit a connection without a request is closed for a new one: first those on which nothing has \
         arrived or whose head has been unfinished for 5 s, the oldest first, then the one that has been idle the \
         longest. If there is none, new ones wait. The log says once a minute how many were closed. An idle connection \
         takes about a kilobyte. gunicorn's default is 1000, and applies only with threads.";
    queue_timeout: Seconds = Seconds::whole(0), one, Workers,
        ["--queue-timeout"], "SECONDS", "longest wait of a complete request for a free thread",
        "Afterwards it is answered 503 with `Retry-After`, and the application does not see it. An overloaded server \
         recovers sooner if it does not work for clients that have given up. Seconds, fractions allowed; 0 is no \
         limit. gunicorn has no such limit.";
    timeout: Seconds = Seconds::whole(30), one, Workers,
        ["-t", "--timeout"], "SECONDS", "longest time of a request in the application",
        "Afterwards its Python stack is logged, and it is ended as `timeout_mode` says, in every worker class. With \
         `gthread` it is ended only if `timeout` or `timeout_mode` was set; otherwise it is only logged. Seconds, \
         fractions allowed (`0.3`); 0 is no limit. Waiting for a slow client or for a free thread does not count. With \
         `gthread` it counts from the last piece of the response that the application gave, unless `timeout_mode` is \
         `hard`. A request can get more time by `rwsgi.extend_deadline` in its environ ([the guide](../guides/timeouts.md)).";
    timeout_mode: TimeoutMode = TimeoutMode::Soft, one, Workers,
        ["--timeout-mode"], "MODE", "treatment of requests beyond timeout: soft, hard or warn",
        "`soft` raises `rwsgi.RequestTimeout` in the request, which is answered 504, and continues as `hard` if the \
         request has not ended after `timeout_grace`. `hard` answers 504 and abandons the thread. The worker is then \
         replaced: it ends when its other threads have finished their requests, at the latest after \
         `graceful_timeout`. `warn` only logs the stack; it is the default with `reload`, so that `breakpoint()` is \
         not interrupted. gunicorn kills sync workers.";
    timeout_grace: Seconds = Seconds::whole(2), one, Workers,
        ["--timeout-grace"], "SECONDS", "time after the exception of timeout_mode soft",
        "Code that waits in C may not see the exception. Counted from `timeout` on. Seconds, fractions allowed.";
    timeout_recycle: bool = true, switch, Workers,
        [], "", "replace a worker after a request ended by timeout",
        "Locks and connections that the request held may be broken. The worker serves until its replacement is ready. \
         A worker with an abandoned thread is replaced in any case. It has no flag: a file or \
         `RWSGI_TIMEOUT_RECYCLE=false` turns it off.";
    boot_timeout: Seconds = Seconds::whole(60), one, Workers,
        ["--boot-timeout"], "SECONDS", "longest time to load the application",
        "In the zygote with `preload_app`, otherwise in each worker. A process that is not ready by then is killed, \
         and its Python stack is logged. Seconds, fractions allowed; 0 is no limit. gunicorn has no such limit.";
    graceful_timeout: Seconds = Seconds::whole(30), one, Workers,
        ["--graceful-timeout"], "SECONDS", "time for a stopping worker to finish its requests",
        "Requests that are not finished by then are aborted. Seconds, fractions allowed; 0 aborts them at once.";
    shutdown_delay: Seconds = Seconds::whole(0), one, Workers,
        ["--shutdown-delay"], "SECONDS", "time to keep serving after TERM, before the stop begins",
        "For a load balancer that needs time to switch over. Until then new connections are accepted as before, and \
         `graceful_timeout` begins only afterwards. INT and QUIT do not wait. systemd, Docker or Kubernetes must \
         allow the sum of both times for a stop. Seconds, fractions allowed. gunicorn has no such setting.";
    max_requests: u64 = 0, whole::<0, { u64::MAX }>, Workers,
        ["--max-requests"], "N", "replace a worker after this many requests",
        "A remedy for applications that leak memory. It is no upper limit: at that number a replacement is started, \
         and the worker serves until it is ready, which takes as long as loading the application. Then the worker \
         finishes the requests on its connections. gunicorn's worker ends first, and clients wait. 0 is never.";
    max_requests_jitter: u64 = 0, whole::<0, { u64::MAX }>, Workers,
        ["--max-requests-jitter"], "N", "largest random addition to max_requests",
        "Drawn for each worker, so that they are not all replaced at once.";
    max_worker_lifetime: Seconds = Seconds::whole(0), one, Workers,
        ["--max-worker-lifetime"], "SECONDS", "replace a worker after this time",
        "Counted from the moment when it became ready. Seconds, fractions allowed; 0 is never. uWSGI has a setting of \
         this name, gunicorn has none.";
    max_worker_lifetime_jitter: Seconds = Seconds::whole(0), one, Workers,
        ["--max-worker-lifetime-jitter"], "SECONDS", "largest random addition to max_worker_lifetime",
        "Drawn for each worker, so that they are not all replaced at once. Seconds, fractions allowed.";
    reload_on_rss: Bytes = Bytes(0), one, Workers,
        ["--reload-on-rss"], "BYTES", "replace a worker with more resident memory than this",
        "Resident memory as shown by ps and top, including memory shared with other workers. Checked every few \
         seconds. Bytes, or with a unit: `\"512M\"` or `\"512 MiB\"`; 0 is never. uWSGI has a setting of this name, \
         in MiB; gunicorn has none.";
    reload_check: Vec<WarmupRequest> = Vec::new(), list, Workers,
        ["--reload-check", "--request"], "URLS", "requests that new code answers before a reload replaces old code",
        "Paths, or URLs where the application checks the host (Django's `ALLOWED_HOSTS`). A list, or one string with \
         commas. The first worker of a reload makes each of them by GET, before it is ready. A status of 500 or above \
         fails the reload, with the traceback in the log, and so does none within `boot_timeout`: the old code serves \
         on ([how](../guides/reloading.md#a-deploy-that-is-checked)). Not made at the start of the server, when there is \
         no old code. `rwsgi check` makes them, too, and `--request` is the name for there.";
    reload_step: u32 = 0, whole_u32::<0, 1024>, Workers,
        ["--reload-step"], "N", "workers replaced at a time",
        "By a reload and by everything else that recycles workers. This many are started beyond the number wanted, \
         and an old worker ends only when a new one is ready. 0 is a tenth of the workers, at least 1. gunicorn \
         replaces all at once, and stops the old ones first.";
    reload_order: ReloadOrder = ReloadOrder::StartFirst, one, Workers,
        ["--reload-order"], "ORDER", "order of replacing workers: start-first or stop-first",
        "`start-first`: new workers are ready before old ones end, and no client waits. `stop-first`: all old workers end \
         before new ones are started, for applications with an exclusive lock, such as Zope's FileStorage \
         ([when](../guides/reloading.md#an-exclusive-lock)). Clients wait meanwhile.";
    reload: bool = false, switch, Workers,
        ["--reload"], "", "reload when code changes, for development",
        "Watches the files of loaded modules, the Python configuration file and `reload_extra_files`. A change causes \
         [a reload](../guides/reloading.md): code that does not load changes nothing, and the reason is logged.";
    reload_engine: ReloadEngine = ReloadEngine::Auto, one, Workers,
        ["--reload-engine"], "ENGINE", "detection of changes: auto, inotify or poll",
        "`inotify`: notifications of the kernel. `poll`: modification times are compared each second, as some network \
         file systems and virtual machines require. `auto`: `inotify` where the kernel supports it.";
    reload_extra_files: Vec<PathBuf> = Vec::new(), list, Workers,
        ["--reload-extra-file"], "FILE", "additional file or pattern to watch with reload; repeatable",
        "Templates, for example. `*`, `?`, `[...]` and `**` are patterns, matched again each second; any other file \
         must exist. Relative paths are relative to `chdir`.";
    lame_duck: Seconds = Seconds::whole(2), one, Workers,
        ["--lame-duck"], "SECONDS", "time for a replaced worker to receive last requests on its open connections",
        "It accepts no new connections; requests on idle ones are answered with `Connection: close`. At most half of \
         `graceful_timeout`. A stop of the server does not wait for it. Seconds, fractions allowed; 0 closes idle \
         connections at once, as gunicorn does.";

    keepalive: Seconds = Seconds::whole(75), one, Requests,
        ["--keep-alive"], "SECONDS", "time to keep an idle connection open",
        "Seconds, fractions allowed; 0 closes every connection after one response. gunicorn's default is 2, and its \
         sync workers keep none. A load balancer that keeps connections longer than the server sometimes answers 502, \
         so this default is longer than the usual 60.";
    client_header_timeout: Seconds = Seconds::whole(30), one, Requests,
        ["--client-header-timeout"], "SECONDS", "longest time to receive a request's head",
        "Counted from the accept on a new connection, from the first byte on a kept one; then 408. No worker is occupied meanwhile. Seconds, fractions \
         allowed; 0 is no limit. nginx has a setting of this name (60 s), gunicorn has no such limit.";
    client_body_timeout: Seconds = Seconds::whole(60), one, Requests,
        ["--client-body-timeout"], "SECONDS", "longest pause within a request's body",
        "Between two pieces, not for the whole body, which allows long uploads; then 408. Seconds, fractions \
         allowed; 0 is no limit. As in nginx; gunicorn has no such limit.";
    minimum_receive_rate: Bytes = Bytes(240), one, Requests,
        ["--minimum-receive-rate"], "BYTES", "fewest bytes per second that a client must send of a request's body",
        "On average, over the last `client_body_timeout`; a body has 5 seconds to begin. Slower ones get 408. A client \
         that sends a byte now and then stays within `client_body_timeout`, but would hold a connection indefinitely, \
         and a worker full of such connections serves no other client. Time in which the server does not read does not count. \
         0 is no limit. The default is Kestrel's; nginx and gunicorn have no such limit.";
    send_timeout: Seconds = Seconds::whole(60), one, Requests,
        ["--send-timeout"], "SECONDS", "longest time in which a client accepts no part of a response",
        "Then the connection is closed. It does not apply to a response that the application is slow to produce: \
         `timeout` does. Seconds, fractions allowed; 0 is no limit. As in nginx; gunicorn has no such limit.";
    minimum_send_rate: Bytes = Bytes(240), one, Requests,
        ["--minimum-send-rate"], "BYTES", "fewest bytes per second that a client must accept of a waiting response",
        "On average, since the response began to wait; checked after the first 5 seconds. A client that accepts a \
         byte a minute stays within `send_timeout`, but would block a large response, and with it a worker, \
         indefinitely. 0 is no limit. The slowest mobile networks transfer ten times the default, which is Kestrel's; \
         nginx and gunicorn have no such limit.";
    lingering_timeout: Seconds = Seconds::whole(2), one, Requests,
        ["--lingering-timeout"], "SECONDS", "time to read and drop the rest of a refused request",
        "A connection that is closed with unread bytes is reset, and the client may lose the response (RFC 9112 \
         section 9.6). No thread waits for it. Seconds, fractions allowed; 0 closes at once. nginx has 5 s, gunicorn \
         2 s.";
    post_buffering: Bytes = Bytes(1 << 20), one, Requests,
        ["--post-buffering"], "BYTES", "largest request body to keep in memory; larger ones go to a file",
        "The file is in `worker_tmp_dir` and has no name. Bytes, or with a unit: `\"4M\"` or `\"4 MiB\"`. uWSGI has a \
         setting of this name; gunicorn reads a body while the application does.";
    request_memory: Bytes = Bytes(256 << 20), one, Requests,
        ["--request-memory"], "BYTES", "most memory for all request bodies of a worker",
        "Beyond it, bodies go to files, as those do that are longer than `post_buffering`. Memory is taken for bytes \
         that have come, not for a length that was announced. At most half of what `limit_as` leaves to a worker that \
         has loaded its application. Bytes, or with a unit: `\"64M\"` or `\"64 MiB\"`; 0 is no limit. Bodies that \
         the application receives itself (`post_buffering = 0`) do not count.";
    spill_limit: Bytes = Bytes(1 << 30), one, Requests,
        ["--spill-limit"], "BYTES", "largest request body to write to a file",
        "Larger bodies get 413, so that clients cannot fill the disk. Bytes, or with a unit: `\"4G\"` or `\"4 GiB\"`; \
         0 is no limit. Never less than `post_buffering`. Without buffering (`post_buffering = 0`) no body goes to a \
         file.";
    response_memory: Bytes = Bytes(32 << 20), one, Requests,
        ["--response-memory"], "BYTES", "most memory of a worker for responses that wait for their clients",
        "What a client does not take at once waits: up to 256 KiB of a response in pieces, and a body that is one \
         bytes object as that object. Beyond this bound it goes to a file in `worker_tmp_dir`. The worker serves \
         others in any case. Bytes, or with a unit: `\"64M\"` or `\"64 MiB\"`; 0 is no limit. A gunicorn worker waits \
         for its client.";
    spill_space: Bytes = Bytes(4 << 30), one, Requests,
        ["--spill-space"], "BYTES", "most bytes of a worker in files",
        "Of request bodies, and of responses that wait for their clients, in `worker_tmp_dir`. Beyond it, and beyond \
         `request_memory`, no more of a body is read until others are answered; after `client_body_timeout` such a \
         request gets 503. One response gets no more than is left for all others; without room, also on the disk, its \
         thread waits for the client, and the log says so. Bytes, or with a unit: `\"16G\"` or `\"16 GiB\"`; 0 is no \
         limit. For bodies never less than `spill_limit`.";
    worker_tmp_dir: Option<PathBuf> = None, optional, Requests,
        ["--worker-tmp-dir"], "DIR", "directory for bodies that are too large for memory",
        "The user of the application must be able to write there. The default is the first directory that can be \
         written to and is not in memory, of those that Python's `tempfile` looks at: `TMPDIR`, `TEMP` and `TMP` in the \
         environment, `/tmp`, `/var/tmp`, `/usr/tmp`, the working directory; the log names another one than the first. \
         A relative path is relative to `chdir`. gunicorn stores heartbeat files there; rwsgi has none.";
    limit_request_line: u32 = 4094, whole_u32::<0, 1_048_576>, Requests,
        ["--limit-request-line"], "BYTES", "longest request line",
        "Longer ones get 414. Bytes, without the final CR LF; 0 is the largest possible value, 1048576.";
    limit_request_fields: u32 = 100, whole_u32::<0, 32_768>, Requests,
        ["--limit-request-fields"], "N", "most header fields of a request",
        "Requests with more get 431. 0 is the largest possible value, 32768.";
    limit_request_field_size: u32 = 8190, whole_u32::<0, 1_048_576>, Requests,
        ["--limit-request-field-size"], "BYTES", "longest header field",
        "Requests with longer ones get 431. Bytes, including name and final CR LF; 0 is the largest possible value, \
         1048576.";
    limit_request_head: u32 = 65_536, whole_u32::<0, 67_108_864>, Requests,
        ["--limit-request-head"], "BYTES", "largest request line and header fields together",
        "Larger heads get 431. Bytes, including line ends; 0 is the largest possible value, 67108864. Never less than \
         `limit_request_line` and `limit_request_field_size` together. gunicorn allows the largest number of fields \
         of the largest size.";
    limit_request_body: Bytes = Bytes(0), one, Requests,
        ["--limit-request-body"], "BYTES", "largest request body",
        "Larger bodies get 413. Bytes, or with a unit: `\"64M\"` or `\"64 MiB\"`; 0 is no limit. gunicorn has no such \
         limit.";

    forwarded_allow_ips: Vec<Peers> = Peers::local(), list, Requests,
        ["--forwarded-allow-ips"], "PEERS", "trusted proxies",
        "Addresses and networks such as `10.0.0.0/8`, or `*` for all peers. A list, or one string with commas. The \
         peer of the connection counts. IPv4 peers of an IPv6 listener count as IPv4. A peer on a unix socket is \
         always trusted. A trusted peer sets the scheme by `secure_scheme_headers` and may send the fields of \
         `forwarder_headers`. If no other source gives it, the environment variable `FORWARDED_ALLOW_IPS` does. \
         `X-Forwarded-For` is never used: `REMOTE_ADDR` is the peer, and frameworks know the number of proxies.";
    secure_scheme_headers: SchemeFields = SchemeFields::usual(), scheme_fields, Requests,
        [], "TABLE", "header fields by which trusted proxies mark https, with their values",
        "Names in any case; the value must match exactly. Any other value means http, and if two fields differ the \
         request gets 400. In the environment: `NAME=VALUE` separated by commas. With an empty table no field is \
         used.";
    forwarder_headers: Vec<FieldName> = FieldName::usual(), list, Requests,
        ["--forwarder-headers"], "NAMES", "names with underscores that trusted proxies may send; * for all",
        "They are exempt from `header_map`. A list, or one string with commas; names in any case.";
    header_map: HeaderMap = HeaderMap::Drop, one, Requests,
        ["--header-map"], "POLICY", "treatment of header fields with an underscore in the name",
        "The application cannot distinguish `X_Forwarded_Proto` from `X-Forwarded-Proto`: both are \
         `HTTP_X_FORWARDED_PROTO`. `drop` hides them from the application, `refuse` answers 400, `dangerous` passes \
         them on.";

    proxy_protocol: ProxyMode = ProxyMode::Off, proxy_mode, Requests,
        ["--proxy-protocol"], "MODE", "PROXY headers to accept: off, v1, v2 or auto; without a value, auto",
        "The header that `send-proxy` and `send-proxy-v2` of HAProxy, `proxy_protocol on` of nginx's streams and TCP \
         load balancers send before the first request. It contains the client's address, which becomes `REMOTE_ADDR` \
         and `REMOTE_PORT` of every request on the connection. The address to which the client connected becomes \
         `PROXY_ADDR` and `PROXY_PORT`. A connection may begin without a header, as in gunicorn. A header without a \
         TCP address (`UNKNOWN`, `LOCAL`) changes nothing.";
    proxy_allow_ips: Vec<Peers> = Peers::local(), list, Requests,
        ["--proxy-allow-from"], "PEERS", "peers that may send a PROXY header",
        "Values as for `forwarded_allow_ips`; a peer on a unix socket always may. Others get 403. Such a peer is not \
         trusted about the scheme: that requires `forwarded_allow_ips`, and the peer of the connection counts.";
    permit_obsolete_folding: bool = false, switch, Requests,
        ["--permit-obsolete-folding"], "", "accept header fields that continue on a line that begins with a blank",
        "The pieces are joined with one blank. A risk: HTTP has forbidden it since 2014, and a proxy in front may see \
         another field, or another request, than the application does.";
    strip_header_spaces: bool = false, switch, Requests,
        ["--strip-header-spaces"], "", "accept header fields with blanks before the colon",
        "The blanks are removed. A risk: a proxy in front may read `Content-Length : 5` as another field, and so \
         treat the body as a request.";
    permit_unconventional_http_method: bool = false, switch, Requests,
        ["--permit-unconventional-http-method"], "", "accept methods of any length, with lower case letters and #",
        "By default a method has 3 to 20 bytes and no lower case letters. A risk where a proxy in front allows \
         methods by name.";
    permit_unconventional_http_version: bool = false, switch, Requests,
        ["--permit-unconventional-http-version"], "", "accept versions other than HTTP/1.0 to 1.9",
        "Below 1.0 they are served as HTTP/1.0, above 1.9 as HTTP/1.1. A risk: the meaning of such a request is not \
         specified.";
    casefold_http_method: bool = false, switch, Requests,
        ["--casefold-http-method"], "", "convert methods to upper case",
        "Has an effect only with `permit_unconventional_http_method`. A risk: methods are case-sensitive (RFC 9110 \
         section 9.1), and a proxy in front that forbids `DELETE` may pass `delete`.";

    error_pages: Option<PathBuf> = None, optional, Requests,
        ["--error-pages"], "DIR", "directory of custom error pages, such as 413.html",
        "`<status>.html` in this directory, 400 to 599, replaces rwsgi's own page when a request is refused before \
         the application sees it, or the application fails before it answers. Read when a worker starts. A relative \
         path is relative to `chdir`.";

    certfile: Option<PathBuf> = None, optional, Tls,
        ["--certfile"], "FILE", "certificate file; turns TLS on",
        "PEM: the server's certificate first, followed by those of the intermediate authorities; the key may be in \
         the same file. With it every address of `bind` speaks TLS, and no plain HTTP. Read by the master, with the \
         rights that it was started with, and again by a reload ([the guide](../guides/tls.md)). A relative path is \
         relative to `chdir`. gunicorn reads it for every connection.";
    keyfile: Option<PathBuf> = None, optional, Tls,
        ["--keyfile"], "FILE", "key of the certificate",
        "PEM: PKCS #8, PKCS #1 (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), without a password. Without this \
         setting it is in `certfile`. Read in the same way.";
    ca_certs: Option<PathBuf> = None, optional, Tls,
        ["--ca-certs"], "FILE", "trusted authorities of client certificates",
        "PEM. Required if `cert_reqs` is 1 or 2, and read in the same way as `certfile`.";
    cert_reqs: ClientCertificates = ClientCertificates::Ignored, one, Tls,
        ["--cert-reqs"], "0, 1 or 2", "client certificates: 0 none, 1 optional, 2 required",
        "The values of Python's `ssl.CERT_NONE`, `CERT_OPTIONAL` and `CERT_REQUIRED`, or `none`, `optional`, \
         `required`. The contents of a valid certificate are in the environ as `SSL_CLIENT_VERIFY`, `SSL_CLIENT_S_DN` \
         and so on. An invalid one ends the handshake.";
    ssl_version: TlsVersion = TlsVersion::Tls12, one, Tls,
        ["--ssl-version"], "VERSION", "lowest version of TLS: TLSv1_2 or TLSv1_3",
        "Older versions are not supported. The values that gunicorn accepted before it ignored this setting are \
         accepted too: `TLS`, `SSLv23`, `TLSv1` and their numbers all mean TLS 1.2.";
    ciphers: Option<Ciphers> = None, optional, Tls,
        ["--ciphers"], "LIST", "ciphers of TLS 1.2, as an OpenSSL list",
        "`ECDHE+AESGCM:!aNULL`, or names separated by colons. The default is all supported ones: ECDHE with AES-GCM \
         or ChaCha20. Unknown names are ignored, as OpenSSL does; an empty result is an error. As in OpenSSL it does \
         not apply to TLS 1.3.";
    do_handshake_on_connect: bool = false, switch, Tls,
        ["--do-handshake-on-connect"], "", "accepted for compatibility with gunicorn, without effect",
        "A handshake begins with the client's first byte, and no thread waits for it. Its limit is \
         `client_header_timeout`.";
    suppress_ragged_eofs: bool = true, switch, Tls,
        ["--suppress-ragged-eofs"], "", "accepted for compatibility with gunicorn, without effect",
        "A connection may end without TLS's close_notify: requests have their own delimiters.";

    user: Option<String> = None, optional, Process,
        ["-u", "--user"], "USER", "user of the application, a name or a number",
        "Set before the application is loaded, with the groups of that user and no others. The master keeps the user \
         that started it.";
    group: Option<String> = None, optional, Process,
        ["-g", "--group"], "GROUP", "group of the application, a name or a number",
        "The default is the primary group of `user`.";
    daemon: bool = false, switch, Process,
        ["-D", "--daemon"], "", "run in the background, in a session of its own",
        "The command ends with exit code 0 when the server serves. If the start fails, it ends with the server's \
         [exit code](exit-codes.md) and the reason. gunicorn's command ends at once in both cases. Standard streams \
         become `/dev/null`, so set `errorlog`. The umask of the processes is 022. Do not use it under systemd, in a \
         container or under supervisord.";
    pidfile: Option<PathBuf> = None, pid_file, Process,
        ["-p", "--pid"], "FILE", "file for the master's process id",
        "Removed at the end if it still contains that id. A relative path is relative to `chdir`. A number is refused, \
         since it is probably a port.";
    control_socket: Option<ControlSocket> = None, optional, Process,
        ["--control-socket"], "PATH", "path of the control socket for rwsgi status and other verbs, or off",
        "A unix socket with mode 0600, for root and the user that started the server. The default is beside \
         `pidfile`, with the suffix `.ctl`: `/run/site.ctl` for `/run/site.pid`. Without either it is in [a private \
         directory](commands.md#finding-the-server) of that user, named by the first address. Opened at the start: a \
         reload does not move it. A relative path is relative to `chdir`. gunicorn's has the same \
         name and another protocol.";
    limit_nofile: u64 = 0, whole::<0, 1_048_576>, Process,
        ["--limit-nofile"], "N", "most open files of each process",
        "Every connection is one. 0 is the hard limit of the process (`ulimit -Hn`), at most 1048576. Set at the \
         start: a reload does not change it. With 0, programs that the application starts get the limit that the \
         server was started with. uWSGI has `max-fd`.";
    limit_as: Bytes = Bytes(0), one, Process,
        ["--limit-as"], "BYTES", "most address space of each process with Python",
        "Larger allocations get `MemoryError`, in that request only. A worker that has none left answers requests with \
         503; after 5 seconds it is replaced. Address space is more than memory in use: memory \
         that is mapped and never touched counts. It applies to the zygote and the workers. Bytes, or with a unit: \
         `\"512M\"` or `\"512 MiB\"`; 0 is no limit. As in uWSGI.";
    proc_name: Option<String> = None, optional, Process,
        ["-n", "--name"], "NAME", "name of the processes in ps and top",
        "The default is the application's name.";

    errorlog: LogTarget = LogTarget::Standard, one, Logs,
        ["--error-logfile", "--log-file"], "FILE", "file of the error log; - is standard error",
        "Opened for appending. A relative path is relative to `chdir`.";
    loglevel: LogLevel = LogLevel::Info, one, Logs,
        ["--log-level"], "LEVEL", "lowest level to log: debug, info, warning, error or critical",
        "Lines of lower levels are not written. gunicorn treats an unknown level as info; here it is an \
         error, except `warn`, `fatal`, `trace` and `notset`, which mean info and cause a warning.";
    log_format: LogFormat = LogFormat::Text, one, Logs,
        ["--log-format"], "FORMAT", "format of the error log: text, or json for one object per line",
        "Applies to the error log.";
    accesslog: Option<LogTarget> = None, optional, Logs,
        ["--access-logfile"], "FILE", "file of the access log; - is standard output",
        "Without it there is no access log. Opened for appending. A relative path is relative to `chdir`.";
    access_log_format: String = ACCESS_LOG_FORMAT.to_owned(), one, Logs,
        ["--access-logformat"], "FORMAT", "format of a line of the access log",
        "gunicorn's template: `%(h)s` the client, `%(l)s` a dash, `%(u)s` the user, `%(t)s` the time, `%(r)s` the \
         request line, `%(s)s` the status, `%(b)s` the bytes of the body, `%(f)s` the referer, `%(a)s` the user \
         agent, `%(T)s`, `%(M)s`, `%(D)s` and `%(L)s` the duration in seconds, milliseconds, microseconds and seconds \
         with a fraction, `%(p)s` the process, `%(m)s`, `%(U)s`, `%(q)s` and `%(H)s` method, path, query and \
         protocol, `%({name}i)s` a field of the request, `%({name}o)s` one of the response, `%({name}e)s` a key of \
         the environ, as the application has left it. `%(h)s` is `REMOTE_ADDR`, and `%(U)s` is `PATH_INFO`, both as \
         the application has left them. Any other name is `-`. Widths, precisions and number conversions are \
         Python's: `%(a).80s`, `%(D)09d`. Characters that could end a line or a quote are escaped; in a format that \
         begins with `{` and ends with `}` they are escaped as in JSON. `json` alone is an object for each request, with \
         numbers as numbers ([its fields](../guides/logging.md#the-access-log-as-json)).";
    access_log_skip: Vec<UrlPath> = Vec::new(), list, Logs,
        ["--access-log-skip"], "PATHS", "paths whose successful requests are not in the access log",
        "For health checks: `[\"/healthz\"]`. A list, or one string with commas. The path of a request has to be the \
         same as it was sent, with its percent escapes, whatever its query. Answers with a status of 400 and more are logged. They are \
         counted for statsd all the same. With `logger_class` and `logconfig` a filter of Python does this instead.";
    capture_output: bool = false, switch, Logs,
        ["--capture-output"], "", "write the application's output to the error log's file",
        "Standard output and standard error of the application's processes, including output of C code. Requires \
         `errorlog` in a file; if that is standard error it changes nothing. Each line is written when it is \
         complete, not when Python's buffer is full.";
    enable_stdio_inheritance: bool = false, switch, Logs,
        ["-R", "--enable-stdio-inheritance"], "", "keep standard output and standard error of a daemon",
        "Has an effect only with `daemon`: any other server keeps the streams with which it was started. A terminal \
         is not kept, and standard input never is.";
    logger_class: String = LOGGER_CLASS.to_owned(), one, Logs,
        ["--logger-class"], "CLASS", "Python class that writes the access log instead of rwsgi",
        "In a Python configuration file the class itself, or its dotted name: a subclass of \
         `gunicorn.glogging.Logger`, which rwsgi provides where gunicorn is not installed. This is the slow way to \
         log: each request calls Python once more, and a file that accepts no line blocks the request. See [the \
         guide](../guides/logging.md#through-pythons-logging).";
    logconfig: Option<PathBuf> = None, optional, Logs,
        ["--log-config"], "FILE", "file for Python's logging.config.fileConfig",
        "Turns the access log on, through Python's `logging`: the slow way, as with `logger_class`. A relative path \
         is relative to `chdir`. `logconfig_dict`, a dictionary in a Python configuration file, has precedence over \
         `logconfig_json`, and that over this setting.";
    logconfig_json: Option<PathBuf> = None, optional, Logs,
        ["--log-config-json"], "FILE", "JSON file for Python's logging.config.dictConfig",
        "As `logconfig`. A missing file is an error; gunicorn ignores it.";
    syslog: bool = false, switch, Logs,
        ["--log-syslog"], "", "send the logs to syslog too",
        "Error log and access log, in addition to the files of `errorlog` and `accesslog`. Turns the access log on. A \
         line that the daemon does not accept at once is lost and counted.";
    syslog_addr: SyslogAddress = SyslogAddress::usual(), one, Logs,
        ["--log-syslog-to"], "ADDRESS", "address of syslog: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH",
        "The default port is 514. The path of a unix socket may end in `#dgram` or `#stream`. Names are resolved at \
         the start and by each reload.";
    syslog_prefix: Option<String> = None, optional, Logs,
        ["--log-syslog-prefix"], "NAME", "name of the server in syslog",
        "Lines come from `gunicorn.NAME.error` and `gunicorn.NAME.access`, as with gunicorn, so that existing filters \
         match. The default is `proc_name`.";
    syslog_facility: SyslogFacility = SyslogFacility::USER, one, Logs,
        ["--log-syslog-facility"], "NAME", "facility of syslog messages, such as daemon or local0",
        "Upper or lower case.";
    disable_redirect_access_to_syslog: bool = false, switch, Logs,
        ["--disable-redirect-access-to-syslog"], "", "send only the error log to syslog",
        "With it, `syslog` does not turn the access log on.";
    statsd_host: Option<StatsdHost> = None, optional, Logs,
        ["--statsd-host"], "ADDRESS", "address of statsd: HOST:PORT or unix://PATH",
        "Counts requests, their duration and status, workers, and lines of the error log by gunicorn's names: [the \
         list](../guides/logging.md#statsd). The default port is 8125. Names are resolved at the start and by each \
         reload.";
    statsd_prefix: String = String::new(), one, Logs,
        ["--statsd-prefix"], "PREFIX", "prefix of metric names",
        "A point is added to it.";
    dogstatsd_tags: String = String::new(), one, Logs,
        ["--dogstatsd-tags"], "TAGS", "tags of each metric, separated by commas, for Datadog's statsd",
        "For example `env:production,service:polls`.";
    enable_backlog_metric: bool = false, switch, Logs,
        ["--enable-backlog-metric"], "", "report waiting connections to statsd once a second",
        "The sum over TCP listeners, as `gunicorn.backlog`. Requires `statsd_host`.";
}

/// gunicorn's class of loggers, the default. rwsgi does not use it and writes the log itself.
pub const LOGGER_CLASS: &str = "gunicorn.glogging.Logger";

/// gunicorn's default: the combined format of Apache and nginx.
pub const ACCESS_LOG_FORMAT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

impl Row {
    /// Returns the row of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.name == name)
    }

    /// Returns the environment variable of the setting.
    pub fn env_name(&self) -> String {
        format!("RWSGI_{}", self.name.to_ascii_uppercase())
    }

    /// Returns the long flag, or the metavar if there is none, for messages about the command line.
    pub fn flag_name(&self) -> &'static str {
        self.flags.iter().find(|flag| flag.starts_with("--")).unwrap_or(&self.metavar)
    }
}

impl Section {
    /// All sections, in the order of help and reference.
    pub const ALL: [Self; 7] =
        [Self::Application, Self::Socket, Self::Workers, Self::Requests, Self::Tls, Self::Process, Self::Logs];

    /// Returns the title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Socket => "Socket",
            Self::Workers => "Workers",
            Self::Requests => "Requests",
            Self::Tls => "TLS",
            Self::Process => "Process",
            Self::Logs => "Logs",
        }
    }
}

impl Settings {
    /// Returns the name of the application, which is required.
    pub fn app(&self) -> Result<&AppName, Problem> {
        self.wsgi_app.as_ref().ok_or_else(|| Problem {
            origin: Origin::Default,
            cause: ProblemCause::Missing("an application"),
            hint: Some(format!("rwsgi APP, or wsgi_app in the configuration file, where APP is {}", AppName::EXPECTED)),
        })
    }

    /// Returns the mode of unix sockets: the setting, or 0777 without the bits of `umask`, or 0660.
    pub fn socket_mode(&self) -> Mode {
        let masked = self.umask.map(|mask| Mode(0o777 & !mask.0));
        self.unix_socket_mode.or(masked).unwrap_or(Mode(0o660))
    }
}
