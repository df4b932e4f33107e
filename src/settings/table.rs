//! The settings, one row each. Everything else is generated from the rows: the struct [`Settings`], flags, TOML keys,
//! environment names, help, the reference page. Every row has an effect, except gunicorn's settings that rwsgi always
//! behaves by.
//!
//! Names and flags are gunicorn's, where gunicorn has the setting.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Origin;
use super::parse::{
    Kind, Read, Setting, list, one, optional, proxy_mode, scheme_fields, some, switch, whole, whole_u32,
};
use super::problem::{Cause, Problem};
use super::source_value::Value;
use super::types::{
    AppName, Bind, Bytes, Ciphers, ClientCertificates, ControlSocket, EnvPair, FieldName, HeaderMap, LogFormat,
    LogLevel, LogTarget, Mode, Peers, ProxyMode, ReloadEngine, SchemeFields, Seconds, StatsdHost, SyslogAddress,
    SyslogFacility, Text as _, TimeoutMode, TlsVersion, WarmupRequest, WorkerClass, Workers,
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
    pub kind: Kind,
    /// Parses the value into the settings, or returns everything that is wrong with it.
    pub set: fn(&mut Settings, &Value) -> Read<()>,
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
        [], "APP", "the application to serve",
        "`module`, `module:callable`, `module:factory(\"a\", k=1)` with literal arguments, `path/to/file.py[:callable]` \
         or `path/to/file.wsgi[:callable]`. Without a callable it is `application`, and if the module has none, `app`. \
         On the command line it is the word without a dash. A name without a slash is a file only if it ends in `.py`: \
         `mysite.wsgi` is a module, `./mysite.wsgi` a file.";
    chdir: Option<PathBuf> = None, optional, Application,
        ["--chdir"], "DIR", "change to this directory before the application is loaded",
        "Without it, the directory in which rwsgi was started; a relative path counts from there, also in the configuration \
         file. The directory is the first one of `sys.path`, and where other relative paths count from, but those of \
         the configuration file and of `python`.";
    pythonpath: Vec<PathBuf> = Vec::new(), list, Application,
        ["--pythonpath"], "DIRS", "directories to put at the front of sys.path, with commas between",
        "A list, or one string with commas. Each is put in front of what is there, so that the last one comes first, as in \
         gunicorn. Relative ones count from `chdir`.";
    raw_env: Vec<EnvPair> = Vec::new(), list, Application,
        ["-e", "--env"], "KEY=VALUE", "set an environment variable for the application; may be given several times",
        "Set in the process that loads the application and in its workers, not in the master.";
    python: Option<PathBuf> = None, optional, Application,
        ["--python"], "PATH", "the Python to run: an interpreter or a virtualenv",
        "CPython 3.11 or newer. Without it, the virtualenv named by `VIRTUAL_ENV`; without that, `python3` on `PATH`. \
         A name such as `python3.13` is looked up on `PATH`, one such as `.venv` or `./python` is a path, counted from the \
         directory in which rwsgi was started. gunicorn has no such setting: it runs in the Python that it is installed in.";
    preload_app: bool = false, switch, Application,
        ["--preload"], "", "load the application once, before the workers are forked",
        "Saves memory and start-up time: the workers share what the application has loaded. It is loaded in a process \
         of its own, never in the master.";
    warmup: Vec<WarmupRequest> = Vec::new(), list, Application,
        ["--warmup"], "URLS", "requests to make before the workers are forked, with preload_app",
        "Paths, or URLs where the application asks which host it is (Django's `ALLOWED_HOSTS`); a list, or one string with \
         commas. Each is asked for 20 times by GET, until it fails, in the process from which workers are forked: what an application \
         loads, compiles and caches with its first requests is then there for all of them, once. What must not be shared \
         by processes, such as connections to a database, the application has to close at the end of a request, as Django \
         does by default. The requests count against `boot_timeout`. Without `preload_app` there is no such process, and none \
         is made; `rwsgi check` makes none either.";

    bind: Vec<Bind> = vec![Bind::default()], some, Socket,
        ["-b", "--bind"], "ADDRESS", "where to listen; may be given several times",
        "`HOST`, `HOST:PORT`, `:PORT` (every IPv4 address), `[IPV6]:PORT`, `unix:PATH`, `fd://N` or `fd://NAME`; the port \
         is 8000 if none is given. A list, or one string with commas. If nothing else gives `bind`, the environment variable \
         `PORT` does: `0.0.0.0:$PORT`. A source replaces the whole list. Sockets that systemd passes (`LISTEN_FDS`) are \
         served in place of `bind`, as in gunicorn, unless it names one: `fd://NAME` is every passed socket of that \
         `FileDescriptorName=`, `fd://3` the first one. Unlike in gunicorn, `fd://` does not make the other addresses go \
         away.";
    backlog: u32 = 2048, whole_u32::<1, 2_147_483_647>, Socket,
        ["--backlog"], "N", "how many connections may wait to be accepted",
        "Given to listen(2) for each address; the kernel cuts it to `net.core.somaxconn`.";
    umask: Option<Mode> = None, optional, Socket,
        ["-m", "--umask"], "MODE", "bits that unix sockets lack of mode 0777, in octal",
        "As in gunicorn, it makes the mode of unix sockets and leaves the umask of the processes alone. Always octal: \
         `022`, `0o22` and `22` are the same, in a file as a string or with `0o`; in a file in Python a number is what Python takes it \
         for, `0o22`.";
    unix_socket_mode: Option<Mode> = None, optional, Socket,
        ["--unix-socket-mode"], "MODE", "the mode of unix sockets, in octal",
        "Who may write to a unix socket may connect to it. Without this setting the mode is 0777 less `umask`; if that \
         is not set either, it is 0660: owner and group (`user` and `group`). gunicorn would let everybody in.";

    workers: Workers = Workers::Count(1), one, Workers,
        ["-w", "--workers"], "N", "how many worker processes, or auto",
        "`\"auto\"` is one for each usable CPU, affinity and cgroup quota seen. If nothing else gives `workers`, the \
         environment variable `WEB_CONCURRENCY` does. At most 1024. With `workers_min` or `workers_max` it is how many there \
         are at the start: a number beyond them is an error, that of `auto` and of `WEB_CONCURRENCY` is cut to them, and \
         without `workers` there are `workers_min`.";
    workers_min: u32 = 0, whole_u32::<0, 1024>, Workers,
        ["--workers-min"], "N", "how few workers the load leaves when there is little to do",
        "With this or `workers_max` the number of workers follows the load ([the guide](../guides/scaling.md)). 0 is as many \
         as `workers`. uWSGI's `cheaper`; gunicorn has no such setting.";
    workers_max: u32 = 0, whole_u32::<0, 1024>, Workers,
        ["--workers-max"], "N", "how many workers there may be when there is much to do",
        "0 is as many as `workers`. uWSGI's `processes` beside `cheaper`.";
    workers_step: u32 = 1, whole_u32::<1, 1024>, Workers,
        ["--workers-step"], "N", "how many workers are added at a time",
        "More are added when these serve and there is still too much to do. uWSGI's `cheaper-step`.";
    workers_cooldown: Seconds = Seconds::whole(30), one, Workers,
        ["--workers-cooldown"], "SECONDS", "how long there must be little to do before a worker is taken away",
        "One at a time, and for each as long. Seconds, fractions allowed. uWSGI's `cheaper-overload` times \
         `cheaper-busyness-multiplier`.";
    busyness_max: u32 = 50, whole_u32::<1, 100>, Workers,
        ["--busyness-max"], "PERCENT", "above this share of busy time workers are added",
        "The share of time, measured each second, that the workers' threads are in the application. uWSGI's \
         `cheaper-busyness-max`.";
    busyness_min: u32 = 25, whole_u32::<0, 99>, Workers,
        ["--busyness-min"], "PERCENT", "below this share of busy time a worker is taken away",
        "Less than `busyness_max`; at most half of it, and the number does not swing. uWSGI's `cheaper-busyness-min`.";
    idle: Seconds = Seconds::whole(0), one, Workers,
        ["--idle"], "SECONDS", "how long there may be no request before the server rests",
        "Then there are only `workers_min` workers left, at once; with `die_on_idle` the server ends. Seconds, fractions \
         allowed; 0 is never. Of uWSGI, where it stops all workers.";
    die_on_idle: bool = false, switch, Workers,
        ["--die-on-idle"], "", "end the server, with exit code 0, when there is no request for idle",
        "For sockets that systemd passes: it listens on, and starts the server with the next connection. Without such a \
         socket nobody would, so that the server stays. The unit needs `Restart=on-failure` ([the guide](../guides/systemd.md)). \
         Of uWSGI.";
    worker_class: WorkerClass = WorkerClass::Sync, one, Workers,
        ["-k", "--worker-class"], "CLASS", "how a worker runs the application: sync or gthread",
        "`sync`: one request at a time. `gthread`: as many as there are `threads`; with more than one thread it is what \
         `sync` means, too, as in gunicorn. Slow clients and idle keep-alive connections occupy neither worker nor thread.";
    threads: u32 = 1, whole_u32::<1, 512>, Workers,
        ["--threads"], "N", "how many requests each worker runs at a time, in a thread each",
        "They share one interpreter: while one waits, for a database say, another runs. For applications that compute, more \
         workers help and more threads do not. As long as requests are quick one thread serves them all.";
    worker_connections: u32 = 10_000, whole_u32::<1, 1_000_000>, Workers,
        ["--worker-connections"], "N", "how many connections each worker keeps open",
        "At the limit the kept connection that has idled the longest is closed for a new one; if none idles, new ones wait. One \
         that has not sent a request yet does not idle: `client_header_timeout` ends it. \
         An idle one takes about a kilobyte. gunicorn's default is 1000, and counts with threads only.";
    queue_timeout: Seconds = Seconds::whole(0), one, Workers,
        ["--queue-timeout"], "SECONDS", "how long a whole request may wait for a free thread",
        "Then it is answered 503 with `Retry-After`, before the application sees it. A server that is overloaded recovers \
         sooner when it does not work for clients that have given up. Seconds, fractions allowed; 0 is no limit. gunicorn has none.";
    timeout: Seconds = Seconds::whole(30), one, Workers,
        ["-t", "--timeout"], "SECONDS", "how long a request may take in the application",
        "Then its Python stack stands in the log, and it is ended as `timeout_mode` says, in every class of workers. With \
         `gthread` it is ended only where somebody has set this; else it is warned of. Seconds, fractions allowed (`0.3`); 0 \
         is no limit. Waiting for a slow client does not count, nor for a free thread; a request may ask for more by \
         what stands in its environ as `rwsgi.extend_deadline` ([the guide](../guides/timeouts.md)).";
    timeout_mode: TimeoutMode = TimeoutMode::Soft, one, Workers,
        ["--timeout-mode"], "MODE", "what comes of a request that takes longer: soft, hard or warn",
        "`soft` raises `rwsgi.RequestTimeout` in it, which is answered 504, and does what `hard` does if it has not ended \
         `timeout_grace` later. `hard` answers 504 in its place and gives its thread up: the worker is replaced, and ends when \
         its other threads have finished what they have, at the latest after `graceful_timeout`. `warn` writes the stack to \
         the log and nothing else. gunicorn's sync workers are killed.";
    timeout_grace: Seconds = Seconds::whole(2), one, Workers,
        ["--timeout-grace"], "SECONDS", "how long a request may go on after the exception of timeout_mode soft",
        "Code that waits in C may not see the exception; this is counted from `timeout` on. Seconds, fractions allowed.";
    timeout_recycle: bool = true, switch, Workers,
        [], "", "replace a worker in which a request was ended by timeout",
        "What the request held, locks and connections, may be broken. The worker serves on until its replacement is ready. A \
         worker with a thread that was given up is replaced in any case. It has no flag: a file or \
         `RWSGI_TIMEOUT_RECYCLE=false` turns it off.";
    boot_timeout: Seconds = Seconds::whole(60), one, Workers,
        ["--boot-timeout"], "SECONDS", "how long loading the application may take",
        "In the zygote with `preload_app`, else in each worker. What is not ready by then is killed, and its Python stack \
         stands in the log. Seconds, fractions allowed; 0 is no limit. gunicorn waits for ever.";
    graceful_timeout: Seconds = Seconds::whole(30), one, Workers,
        ["--graceful-timeout"], "SECONDS", "how long a worker that was told to stop may finish what it has",
        "What is not finished by then is killed. Seconds, fractions allowed; 0 waits for nothing.";
    shutdown_delay: Seconds = Seconds::whole(0), one, Workers,
        ["--shutdown-delay"], "SECONDS", "how long requests are served on after TERM, before the stop begins",
        "For a balancer that needs time to look away: until then new connections are taken as ever, and only then \
         `graceful_timeout` begins. INT and QUIT do not wait. Whoever stops the server (systemd, Docker, Kubernetes) must grant \
         both times together. Seconds, fractions allowed. gunicorn has no such setting.";
    max_requests: u64 = 0, whole::<0, { u64::MAX }>, Workers,
        ["--max-requests"], "N", "replace a worker after so many requests",
        "A remedy for applications that leak memory. It is not the most that a worker serves: with that many its replacement \
         is started, and until that is ready, which takes as long as loading the application, the worker serves on; then it \
         finishes what clients have sent on the connections that it has. gunicorn's ends first and has the others wait. 0 is never.";
    max_requests_jitter: u64 = 0, whole::<0, { u64::MAX }>, Workers,
        ["--max-requests-jitter"], "N", "add a random number of requests, at most this, to max_requests",
        "Drawn for each worker, so that they are not all replaced at once.";
    max_worker_lifetime: Seconds = Seconds::whole(0), one, Workers,
        ["--max-worker-lifetime"], "SECONDS", "replace a worker after so long",
        "Counted from when it became ready. Seconds, fractions allowed; 0 is never. uWSGI has a setting of this name, gunicorn \
         has none.";
    max_worker_lifetime_jitter: Seconds = Seconds::whole(0), one, Workers,
        ["--max-worker-lifetime-jitter"], "SECONDS", "add a random time, at most this, to max_worker_lifetime",
        "Drawn for each worker, so that they are not all replaced at once.";
    reload_on_rss: Bytes = Bytes(0), one, Workers,
        ["--reload-on-rss"], "BYTES", "replace a worker whose resident memory grows beyond this",
        "Resident memory as ps and top show it, what is shared with other workers included; looked at every few seconds. Bytes, \
         or with a unit: `\"512M\"` or `\"512 MiB\"`; 0 is never. uWSGI has a setting of this name, in MiB; gunicorn has none.";
    reload_step: u32 = 0, whole_u32::<0, 1024>, Workers,
        ["--reload-step"], "N", "how many workers are replaced at a time",
        "By a reload and by all that recycles workers: so many are started beyond the number wanted, and each old worker goes \
         only when a new one is ready. 0 is a tenth of the workers, at least 1. gunicorn replaces all at once, and stops the \
         old ones first.";
    reload: bool = false, switch, Workers,
        ["--reload"], "", "load the code anew when a file of it changes, for development",
        "Files of loaded modules, the configuration file in Python and those of `reload_extra_files` are watched. What then \
         happens is [a reload](../guides/reloading.md): code that does not load changes nothing, and the log says why.";
    reload_engine: ReloadEngine = ReloadEngine::Auto, one, Workers,
        ["--reload-engine"], "ENGINE", "how changes are noticed: auto, inotify or poll",
        "`inotify`: the kernel tells. `poll`: files are asked for their times each second, as network file systems and some \
         virtual machines need it. `auto`: `inotify`, where the kernel gives it.";
    reload_extra_files: Vec<PathBuf> = Vec::new(), list, Workers,
        ["--reload-extra-file"], "FILE", "a file or pattern to watch as well, with reload; may be given several times",
        "Templates, say. `*`, `?`, `[...]` and `**` are patterns, looked up anew each second; any other file must be there. \
         Relative ones count from `chdir`.";
    lame_duck: Seconds = Seconds::whole(2), one, Workers,
        ["--lame-duck"], "SECONDS", "how long a worker that is replaced waits for requests on the connections that it keeps",
        "It takes no new connections; what still comes on one that idles is answered with `Connection: close`. At most \
         half of `graceful_timeout`. A stop of the server does not wait so. Seconds, fractions allowed; 0 closes idle connections at \
         once, as gunicorn does.";

    keepalive: Seconds = Seconds::whole(75), one, Requests,
        ["--keep-alive"], "SECONDS", "how long an idle connection is kept for its next request",
        "Seconds, fractions allowed; 0 closes every connection after one response. gunicorn's default is 2 and its \
         sync workers keep none; a load balancer that keeps connections longer than the server answers 502 now and \
         then, so that this default is longer than the usual 60.";
    client_header_timeout: Seconds = Seconds::whole(30), one, Requests,
        ["--client-header-timeout"], "SECONDS", "how long a request's head may take from its first byte to its last",
        "However it trickles; then 408. It occupies no worker meanwhile. Seconds, fractions allowed; 0 is no limit. nginx has \
         a setting of this name (60 s), gunicorn has no such limit.";
    client_body_timeout: Seconds = Seconds::whole(60), one, Requests,
        ["--client-body-timeout"], "SECONDS", "how long a client may pause within a request's body",
        "Between two pieces, not for all of it: long uploads are fine; then 408. Seconds, fractions allowed; 0 is no limit. As \
         in nginx; gunicorn has no such limit.";
    send_timeout: Seconds = Seconds::whole(60), one, Requests,
        ["--send-timeout"], "SECONDS", "how long a client may take nothing of a response that waits for it",
        "Then the connection is closed. A response that the application is slow to make is `timeout`'s affair. Seconds, \
         fractions allowed; 0 is no limit. As in nginx; gunicorn has no such limit.";
    minimum_send_rate: Bytes = Bytes(240), one, Requests,
        ["--minimum-send-rate"], "BYTES", "how many bytes a second a client has to take of a response that waits for it",
        "On average, since the response began to wait; asked after the first 5 seconds of that. A client that takes a byte a \
         minute keeps within `send_timeout` and would hold a large response, and with it a worker, for ever. 0 is no limit. \
         The slowest mobile networks carry ten times the default, which is Kestrel's; nginx and gunicorn have no such limit.";
    lingering_timeout: Seconds = Seconds::whole(2), one, Requests,
        ["--lingering-timeout"], "SECONDS", "how long the rest of a refused request is read and dropped",
        "A connection that is closed with unread bytes is reset, and the client may lose the answer with it (RFC 9112 section \
         9.6). Nobody waits for it. Seconds, fractions allowed; 0 closes at once. nginx has 5 s, gunicorn 2 s.";
    post_buffering: Bytes = Bytes(1 << 20), one, Requests,
        ["--post-buffering"], "BYTES", "request bodies up to this stay in memory, larger ones go to a file",
        "The file is in `worker_tmp_dir` and has no name. Bytes, or with a unit: `\"4M\"` or `\"4 MiB\"`. uWSGI has a setting of \
         this name, gunicorn reads bodies while the application does.";
    spill_limit: Bytes = Bytes(1 << 30), one, Requests,
        ["--spill-limit"], "BYTES", "the largest request body that goes to a file",
        "Requests with larger ones get 413, so that clients cannot fill the disk. Bytes, or with a unit: `\"4G\"` or \
         `\"4 GiB\"`; 0 is no limit. Never less than `post_buffering`; without buffering (`post_buffering = 0`) nothing goes to a file.";
    worker_tmp_dir: Option<PathBuf> = None, optional, Requests,
        ["--worker-tmp-dir"], "DIR", "where request bodies go that are too large for memory",
        "Without it, the system's directory for temporary files. A relative path counts from `chdir`. gunicorn has its heartbeat files there; rwsgi has none.";
    limit_request_line: u32 = 4094, whole_u32::<0, 1_048_576>, Requests,
        ["--limit-request-line"], "BYTES", "the longest request line that is taken",
        "Longer ones get 414. Bytes, without the final CR LF; 0 is the most there can be, 1048576.";
    limit_request_fields: u32 = 100, whole_u32::<0, 32_768>, Requests,
        ["--limit-request-fields"], "N", "how many header fields a request may have",
        "Requests with more get 431. 0 is the most there can be, 32768.";
    limit_request_field_size: u32 = 8190, whole_u32::<0, 1_048_576>, Requests,
        ["--limit-request-field-size"], "BYTES", "the longest header field that is taken",
        "Requests with longer ones get 431. Bytes, name and final CR LF included; 0 is the most there can be, 1048576.";
    limit_request_head: u32 = 65_536, whole_u32::<0, 67_108_864>, Requests,
        ["--limit-request-head"], "BYTES", "the largest request line and header fields together that are taken",
        "Requests with more get 431. Bytes, line ends included; 0 is the most there can be, 67108864. It is never less than \
         `limit_request_line` and `limit_request_field_size` together. gunicorn takes all fields at their largest.";
    limit_request_body: Bytes = Bytes(0), one, Requests,
        ["--limit-request-body"], "BYTES", "the largest request body that is taken",
        "Requests with larger ones get 413. Bytes, or with a unit: `\"64M\"` or `\"64 MiB\"`; 0 is no limit. gunicorn \
         has no such limit.";

    forwarded_allow_ips: Vec<Peers> = Peers::local(), list, Requests,
        ["--forwarded-allow-ips"], "PEERS", "proxies that are believed what they say about a request",
        "Addresses and networks such as `10.0.0.0/8`, or `*` for everybody; a list, or one string with commas. What counts \
         is the peer of the connection; IPv4 peers of an IPv6 listener count as IPv4; a peer on a unix socket is always \
         believed. Such a peer says the scheme by `secure_scheme_headers` and may send the fields of `forwarder_headers`. \
         If nothing else gives it, the environment variable `FORWARDED_ALLOW_IPS` does. `X-Forwarded-For` is never looked \
         at: `REMOTE_ADDR` is the peer, and frameworks know how many proxies there are.";
    secure_scheme_headers: SchemeFields = SchemeFields::usual(), scheme_fields, Requests,
        [], "TABLE", "header fields of trusted proxies that say https, each with the value that does",
        "Names in any case; the value must be exactly that. Any other value says http, and where two fields differ the \
         request gets 400. In the environment: `NAME=VALUE` with commas between. An empty table: nobody is asked.";
    forwarder_headers: Vec<FieldName> = FieldName::usual(), list, Requests,
        ["--forwarder-headers"], "NAMES", "names with an underscore that trusted proxies may send; * for all",
        "They are exempt from `header_map`. A list, or one string with commas; names in any case.";
    header_map: HeaderMap = HeaderMap::Drop, one, Requests,
        ["--header-map"], "POLICY", "what becomes of header fields with an underscore in their name",
        "The application cannot tell `X_Forwarded_Proto` from `X-Forwarded-Proto`: both are `HTTP_X_FORWARDED_PROTO`. \
         `drop` hides them from the application, `refuse` answers 400, `dangerous` lets them pass.";

    proxy_protocol: ProxyMode = ProxyMode::Off, proxy_mode, Requests,
        ["--proxy-protocol"], "MODE", "which PROXY headers are understood: off, v1, v2 or auto; the option alone is auto",
        "What `send-proxy` and `send-proxy-v2` of HAProxy, `proxy_protocol on` of nginx's streams and load balancers of TCP \
         send before the first request: who connected to them. It is `REMOTE_ADDR` and `REMOTE_PORT` of every request of the \
         connection; where the client connected to is `PROXY_ADDR` and `PROXY_PORT`. A connection may begin without a \
         header, as in gunicorn; a header that says no address of TCP (`UNKNOWN`, `LOCAL`) changes nothing.";
    proxy_allow_ips: Vec<Peers> = Peers::local(), list, Requests,
        ["--proxy-allow-from"], "PEERS", "peers that may send a PROXY header",
        "As `forwarded_allow_ips`; a peer on a unix socket always may. Others get 403. Who may is not yet believed about \
         the scheme: that is `forwarded_allow_ips`, and the peer of the connection.";
    permit_obsolete_folding: bool = false, switch, Requests,
        ["--permit-obsolete-folding"], "", "take header fields that go on in a line that begins with a blank",
        "The pieces are joined with one blank between. A risk: HTTP forbids it since 2014, and a proxy in front may see another \
         field, or another request, than the application does.";
    strip_header_spaces: bool = false, switch, Requests,
        ["--strip-header-spaces"], "", "take header fields with blanks before the colon",
        "The blanks are removed. A risk: a proxy in front may have taken `Content-Length : 5` for another field, and so the \
         body for a request.";
    permit_unconventional_http_method: bool = false, switch, Requests,
        ["--permit-unconventional-http-method"], "", "take methods of any length, with small letters and #",
        "Without, a method has 3 to 20 bytes and no small letters. A risk where a proxy in front allows methods by name.";
    permit_unconventional_http_version: bool = false, switch, Requests,
        ["--permit-unconventional-http-version"], "", "take versions other than HTTP/1.0 to 1.9",
        "Below 1.0 they are served as HTTP/1.0, above 1.9 as HTTP/1.1. A risk: what such a request means, nobody has written down.";
    casefold_http_method: bool = false, switch, Requests,
        ["--casefold-http-method"], "", "put methods into capitals",
        "Of any use with `permit_unconventional_http_method` alone. A risk: methods differ by their case (RFC 9110 section \
         9.1), and a proxy in front that forbids `DELETE` may let `delete` pass.";

    error_pages: Option<PathBuf> = None, optional, Requests,
        ["--error-pages"], "DIR", "pages of your own for refused and failed requests, such as 413.html",
        "`<status>.html` in this directory, 400 to 599, is sent in place of rwsgi's own few words, when a request is \
         refused before the application sees it, or the application fails before it answers. Read when a worker starts. A relative path counts from \
         `chdir`.";

    certfile: Option<PathBuf> = None, optional, Tls,
        ["--certfile"], "FILE", "serve TLS, with the certificate in this file",
        "PEM: the server's certificate first, those of the authorities between it and the root behind it; the key may be in the \
         same file. With it every address of `bind` speaks TLS, and no plain HTTP. Read by the master, with the rights that it was \
         started with, and read anew by a reload ([the guide](../guides/tls.md)). A relative path counts from `chdir`. gunicorn \
         reads it for every connection.";
    keyfile: Option<PathBuf> = None, optional, Tls,
        ["--keyfile"], "FILE", "the key of the certificate",
        "PEM: PKCS #8, PKCS #1 (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), without a password. Without this setting it is in \
         `certfile`. Read as that is.";
    ca_certs: Option<PathBuf> = None, optional, Tls,
        ["--ca-certs"], "FILE", "the authorities whose client certificates are believed",
        "PEM. Needed where `cert_reqs` is 1 or 2, and read as `certfile` is.";
    cert_reqs: ClientCertificates = ClientCertificates::Ignored, one, Tls,
        ["--cert-reqs"], "0, 1 or 2", "whether clients are asked for a certificate: not, if they have one, always",
        "The values of Python's `ssl.CERT_NONE`, `CERT_OPTIONAL` and `CERT_REQUIRED`, or `none`, `optional`, `required`. What a \
         certificate says that was shown and is believed stands in the environ as `SSL_CLIENT_VERIFY`, `SSL_CLIENT_S_DN` and so \
         on. One that is not believed ends the handshake.";
    ssl_version: TlsVersion = TlsVersion::Tls12, one, Tls,
        ["--ssl-version"], "VERSION", "the lowest version of TLS: TLSv1_2 or TLSv1_3",
        "Older ones are not there. What gunicorn took for this setting, before it ignored it, is taken, too: `TLS`, `SSLv23`, \
         `TLSv1` and their numbers all mean TLS 1.2.";
    ciphers: Option<Ciphers> = None, optional, Tls,
        ["--ciphers"], "LIST", "the ciphers of TLS 1.2, as OpenSSL lists them",
        "`ECDHE+AESGCM:!aNULL`, or names with colons between. Without it, all that there are: ECDHE with AES-GCM or ChaCha20. Others \
         in the list are passed over, as OpenSSL does with those that it does not have; a list in which nothing is left is an \
         error. As in OpenSSL it does not concern TLS 1.3.";
    do_handshake_on_connect: bool = false, switch, Tls,
        ["--do-handshake-on-connect"], "", "taken for gunicorn's sake: handshakes hold nobody up either way",
        "A handshake begins with the client's first byte, and no thread waits for it. It has `client_header_timeout`.";
    suppress_ragged_eofs: bool = true, switch, Tls,
        ["--suppress-ragged-eofs"], "", "taken for gunicorn's sake: a connection may end without TLS's own farewell",
        "What a request is does not depend on how its connection ends.";

    user: Option<String> = None, optional, Process,
        ["-u", "--user"], "USER", "the user as which the application runs, a name or a number",
        "Taken on before the application is loaded, with the groups of that user and no others. The master stays as it \
         was started.";
    group: Option<String> = None, optional, Process,
        ["-g", "--group"], "GROUP", "the group as which the application runs, a name or a number",
        "Without it, the first group of `user`.";
    daemon: bool = false, switch, Process,
        ["-D", "--daemon"], "", "run in the background, in a session of its own",
        "The command ends when the server serves, with exit code 0, or when it does not, with the server's [exit \
         code](exit-codes.md) and words why; gunicorn's ends at once, whatever follows. Standard streams are `/dev/null` then: \
         set `errorlog`. The umask of the processes is 022. Under systemd, in a container and under supervisord leave it out.";
    pidfile: Option<PathBuf> = None, optional, Process,
        ["-p", "--pid"], "FILE", "write the master's process id to this file",
        "Removed at the end if it still holds that id. A relative path counts from `chdir`.";
    control_socket: Option<ControlSocket> = None, optional, Process,
        ["--control-socket"], "PATH", "where `rwsgi status` and its like find the server; off: nowhere",
        "A unix socket with mode 0600, for root and the user that started the server. Without this setting it is beside \
         `pidfile`, with the ending `.ctl`: `/run/site.ctl` for `/run/site.pid`; without either there is none. Opened at the \
         start: a reload does not move it. A relative path counts from `chdir`. gunicorn's \
         has the same name and another protocol.";
    limit_nofile: u64 = 0, whole::<0, 1_048_576>, Process,
        ["--limit-nofile"], "N", "how many files each process may have open",
        "Every connection is one. 0 is as many as the system allows the process (`ulimit -Hn`), at most 1048576. Set at \
         the start: a reload does not change it. uWSGI has `max-fd`.";
    limit_as: Bytes = Bytes(0), one, Process,
        ["--limit-as"], "BYTES", "how much address space each process with Python may have",
        "What needs more gets `MemoryError`, in that request alone. Address space is more than memory in use: what is mapped \
         and never touched counts. It binds the zygote as well as the workers. Bytes, or with a unit: `\"512M\"` or `\"512 MiB\"`; 0 is no limit. As in uWSGI.";
    proc_name: Option<String> = None, optional, Process,
        ["-n", "--name"], "NAME", "what the processes are called in ps and top",
        "Without it, the application's name.";

    errorlog: LogTarget = LogTarget::Standard, one, Logs,
        ["--error-logfile", "--log-file"], "FILE", "where the error log goes; - is standard error",
        "Opened for appending. A relative path counts from `chdir`.";
    loglevel: LogLevel = LogLevel::Info, one, Logs,
        ["--log-level"], "LEVEL", "debug, info, warning, error or critical",
        "Lines of less weight are not written. gunicorn takes an unknown level for info; here it is an error.";
    log_format: LogFormat = LogFormat::Text, one, Logs,
        ["--log-format"], "FORMAT", "text, or json for an object a line",
        "Of the error log.";
    accesslog: Option<LogTarget> = None, optional, Logs,
        ["--access-logfile"], "FILE", "where the access log goes; - is standard output",
        "Without it there is none. Opened for appending. A relative path counts from `chdir`.";
    access_log_format: String = ACCESS_LOG_FORMAT.to_owned(), one, Logs,
        ["--access-logformat"], "FORMAT", "what a line of the access log holds",
        "gunicorn's template: `%(h)s` the client, `%(l)s` a dash, `%(u)s` the user, `%(t)s` the time, `%(r)s` the request \
         line, `%(s)s` the status, `%(b)s` the bytes of the body, `%(f)s` the referer, `%(a)s` the user agent, `%(T)s`, \
         `%(M)s`, `%(D)s` and `%(L)s` the time taken in seconds, milliseconds, microseconds and seconds with a fraction, \
         `%(p)s` the process, `%(m)s`, `%(U)s`, `%(q)s` and `%(H)s` method, path, query and protocol, `%({name}i)s` a \
         field of the request, `%({name}o)s` one of the response, `%({name}e)s` a key of the environ, as the application has \
         left it; so are `%(h)s`, which is `REMOTE_ADDR`, and `%(U)s`, which is `PATH_INFO`. Any other name is `-`. Widths, precisions and the \
         conversions of numbers are Python's: `%(a).80s`, `%(D)09d`. What could end a line or a quote is escaped, in a format \
         that begins with `{` and ends with `}` as JSON has it.";
    capture_output: bool = false, switch, Logs,
        ["--capture-output"], "", "send what the application prints to the error log's file",
        "Standard output and standard error of the application's processes, of what is written in C too, with `errorlog` in a \
         file; where that is standard error it changes nothing. Lines come when they end, not when Python's buffer is full.";
    enable_stdio_inheritance: bool = false, switch, Logs,
        ["-R", "--enable-stdio-inheritance"], "", "keep standard output and standard error in a server that leaves its terminal",
        "It matters with `daemon` alone: any other server has the streams with which it was started. A terminal is not kept, and \
         standard input never is.";
    logger_class: String = LOGGER_CLASS.to_owned(), one, Logs,
        ["--logger-class"], "CLASS", "a class of Python that writes the access log in rwsgi's place",
        "In a configuration file in Python the class itself, or its dotted name; a subclass of `gunicorn.glogging.Logger`, which \
         rwsgi has where gunicorn is not installed. This is the slow way to log: each request calls Python once more, and a \
         file that does not take a line holds the request up. See [the guide](../guides/logging.md#through-pythons-logging).";
    logconfig: Option<PathBuf> = None, optional, Logs,
        ["--log-config"], "FILE", "a file for Python's logging.config.fileConfig",
        "Turns the access log on, through Python's `logging`: the slow way, as with `logger_class`. A relative path counts from \
         `chdir`. `logconfig_dict`, a dictionary in a configuration file in Python, comes before `logconfig_json`, and that \
         before this one.";
    logconfig_json: Option<PathBuf> = None, optional, Logs,
        ["--log-config-json"], "FILE", "a file of JSON for Python's logging.config.dictConfig",
        "As `logconfig`. A file that is not there is an error; gunicorn passes over it.";
    syslog: bool = false, switch, Logs,
        ["--log-syslog"], "", "send the logs to syslog, too",
        "Error log and access log, beside the files of `errorlog` and `accesslog`: turns the access log on. A line that the \
         daemon does not take at once is lost and counted.";
    syslog_addr: SyslogAddress = SyslogAddress::usual(), one, Logs,
        ["--log-syslog-to"], "ADDRESS", "where syslog listens: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH",
        "The port is 514 if none is given. Behind the path of a unix socket `#dgram` or `#stream` may stand. Names are looked up \
         at the start and with each reload.";
    syslog_prefix: Option<String> = None, optional, Logs,
        ["--log-syslog-prefix"], "NAME", "what the server is called in syslog",
        "Lines come from `gunicorn.NAME.error` and `gunicorn.NAME.access`, as with gunicorn, so that filters go on to fit. \
         Without it, `proc_name`.";
    syslog_facility: SyslogFacility = SyslogFacility::USER, one, Logs,
        ["--log-syslog-facility"], "NAME", "the facility of lines in syslog, such as daemon or local0",
        "In any case of letters.";
    disable_redirect_access_to_syslog: bool = false, switch, Logs,
        ["--disable-redirect-access-to-syslog"], "", "send the error log alone to syslog",
        "Then `syslog` does not turn the access log on.";
    statsd_host: Option<StatsdHost> = None, optional, Logs,
        ["--statsd-host"], "ADDRESS", "where statsd listens: HOST:PORT or unix://PATH",
        "Requests, their duration and their status, workers, and lines of the error log are counted there by gunicorn's names: \
         [the list](../guides/logging.md#statsd). The port is 8125 if none is given. Names are looked up at the start and with \
         each reload.";
    statsd_prefix: String = String::new(), one, Logs,
        ["--statsd-prefix"], "PREFIX", "what stands before the names of metrics",
        "A point is put behind it.";
    dogstatsd_tags: String = String::new(), one, Logs,
        ["--dogstatsd-tags"], "TAGS", "tags of each metric, with commas between, for Datadog's statsd",
        "As `env:production,service:polls`.";
    enable_backlog_metric: bool = false, switch, Logs,
        ["--enable-backlog-metric"], "", "tell statsd once a second how many connections wait to be accepted",
        "The sum over TCP listeners, as `gunicorn.backlog`. Needs `statsd_host`.";
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
            cause: Cause::Missing("an application"),
            hint: Some(format!("rwsgi APP, or wsgi_app in the configuration file, where APP is {}", AppName::EXPECTED)),
        })
    }

    /// Returns the mode of unix sockets: the setting, or 0777 without the bits of `umask`, or 0660.
    pub fn socket_mode(&self) -> Mode {
        let masked = self.umask.map(|mask| Mode(0o777 & !mask.0));
        self.unix_socket_mode.or(masked).unwrap_or(Mode(0o660))
    }
}
