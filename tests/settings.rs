//! Settings and command line, as far as they can be checked without starting a server.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rwsgi::cli::args::{self, Call, Config, Invocation};
use rwsgi::http::{Limits, Trust};
use rwsgi::settings::types::Text as _;
use rwsgi::settings::{
    Bind, Origin, Peers, Resolved, Seconds, Settings, Sources, TABLE, TimeoutMode, Workers, docs, resolve,
};

use crate::support::words::shell_words;

/// A command line, its environment, and the expected result.
///
/// The first line of a case file is typed at a shell: `$ NAME=VALUE rwsgi WORDS`. Then come files, each after a line
/// `== NAME`, and last, after `== exit CODE`, the exact output.
struct Case {
    environment: Vec<(String, String)>,
    words: Vec<String>,
    files: Vec<(String, String)>,
    exit_code: u8,
    says: String,
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (typed, rest) = text.strip_prefix("$ ").unwrap().split_once('\n').unwrap();
        let mut words = shell_words(typed);
        let program = words.iter().position(|word| word == "rwsgi").unwrap();
        let environment = words
            .drain(..=program)
            .filter_map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        let environment = environment.collect();
        let mut files = Vec::new();
        let mut sections = format!("\n{rest}");
        let exit = sections.split_off(sections.find("\n== exit ").unwrap());
        for section in sections.split("\n== ").skip(1) {
            let (name, content) = section.split_once('\n').unwrap_or((section, ""));
            files.push((name.to_owned(), format!("{content}\n")));
        }
        let (code, says) = exit.strip_prefix("\n== exit ").unwrap().split_once('\n').unwrap();
        Self {
            environment,
            words,
            files,
            exit_code: code.parse().unwrap(),
            says: says.strip_suffix('\n').unwrap_or(says).to_owned(),
        }
    }

    fn file(&self, name: &str) -> &str {
        &self.files.iter().find(|(file, _)| file == name).unwrap().1
    }
}

/// Returns the exit code and the output of a call that is refused before a server is started, or `None`.
fn refusal(case: &Case) -> Option<(u8, String)> {
    let call = match args::parse(case.words.iter().map(OsString::from)) {
        Ok(call) => call,
        Err(error) => return Some((error.exit_code(), error.to_string())),
    };
    let (Call::Start(invocation) | Call::Check(invocation) | Call::Settings(invocation) | Call::Tell(_, invocation)) =
        call
    else {
        return None;
    };
    let file = match &invocation.config {
        Some(Config::Toml(name)) => Some((name.as_str(), case.file(name))),
        _ => None,
    };
    let sources = Sources { file, environment: &case.environment, flags: &invocation.flags, ..Sources::default() };
    match resolve(&sources) {
        Err(problems) => Some((1, problems.to_string())),
        Ok(resolved) => invocation.app(&resolved.settings).err().map(|problem| (1, problem.to_string())),
    }
}

#[test]
fn every_wrong_configuration_and_command_line_gets_its_words() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_settings");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 24, "found {} cases", paths.len());
    let wrong: Vec<String> = paths.iter().filter_map(|path| check(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the difference from the case, if any. With `UPDATE=1` the case is rewritten.
fn check(path: &Path) -> Option<String> {
    let case = Case::read(path);
    let (code, says) = refusal(&case).unwrap_or((0, String::new()));
    if (code, says.as_str()) == (case.exit_code, case.says.as_str()) {
        return None;
    }
    if std::env::var_os("UPDATE").is_some() {
        let text = fs::read_to_string(path).unwrap();
        let (before, _) = text.split_once("== exit ").unwrap();
        fs::write(path, format!("{before}== exit {code}\n{says}\n")).unwrap();
    }
    Some(format!("{}: exit {code}\n{says}\n-- expected exit {}\n{}\n", path.display(), case.exit_code, case.says))
}

fn invocation(line: &str) -> Invocation {
    match args::parse(shell_words(line).iter().map(OsString::from)) {
        Ok(Call::Start(invocation)) => invocation,
        other => panic!("{line}: {other:?}"),
    }
}

fn resolved(file: &str, environment: &[(&str, &str)], line: &str) -> Resolved {
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = invocation(line).flags;
    resolve(&Sources {
        file: Some(("rwsgi.toml", file)),
        environment: &environment,
        flags: &flags,
        ..Sources::default()
    })
    .unwrap()
}

const EVERYTHING: &str = r#"
wsgi_app = "mysite.wsgi:make('a', k=1)"
chdir = "/srv/site"
pythonpath = "lib,/opt/more"
raw_env = ["A=1,2", "B="]
env_file = ".env"
python = "/srv/venv"
preload_app = true
warmup = "/polls/?page=1,https://example.com"
warmup_required = true
bind = ["[::1]:8000", "unix:/run/app.sock"]
backlog = 64
reuse_port = true
umask = "007"
unix_socket_mode = 0o600
workers = "auto"
workers_min = 2
workers_max = 16
workers_step = 3
workers_cooldown = 7.5
busyness_max = 70
busyness_min = 20
idle = 600
die_on_idle = true
worker_class = "sync"
threads = 4
worker_connections = 500
queue_timeout = 2.5
timeout = 0.3
timeout_mode = "hard"
timeout_grace = 1.5
timeout_recycle = false
graceful_timeout = 1.5
shutdown_delay = 0.5
max_requests = 1_000
max_requests_jitter = 50
max_worker_lifetime = 86_400
max_worker_lifetime_jitter = 3600.5
reload_on_rss = "512 MiB"
reload_check = ["/healthz", "/polls/"]
reload_step = 2
reload_order = "stop-first"
lame_duck = 1.5
reload = true
reload_engine = "poll"
reload_extra_files = ["templates/*.html"]
keepalive = 0
client_header_timeout = 10
client_body_timeout = 20.5
send_timeout = 0
minimum_send_rate = "1 KiB"
minimum_receive_rate = 100
lingering_timeout = 5
post_buffering = "2 MiB"
boot_timeout = 7.5
worker_tmp_dir = "/dev/shm"
error_pages = "/srv/errors"
limit_request_line = 0
limit_request_fields = 32768
limit_request_field_size = 0x1000
limit_request_body = 1048576
limit_request_head = 100_000
spill_limit = "2 GiB"
spill_space = "16 GiB"
request_memory = "64 MiB"
response_memory = "64 MiB"
forwarded_allow_ips = ["10.0.0.0/8", "::1"]
secure_scheme_headers = { x-forwarded-proto = "https", "X!" = "\"on\"" }
forwarder_headers = "remote_user,SCRIPT_NAME"
header_map = "refuse"
certfile = "/etc/ssl/site.pem"
keyfile = "site.key"
ca_certs = "/etc/ssl/clients.pem"
cert_reqs = 1
ssl_version = "TLSv1_3"
ciphers = "ECDHE+AESGCM:!aNULL"
do_handshake_on_connect = true
suppress_ragged_eofs = true
proxy_protocol = "v2"
proxy_allow_ips = ["10.0.0.0/8"]
permit_obsolete_folding = true
strip_header_spaces = true
permit_unconventional_http_method = true
permit_unconventional_http_version = true
casefold_http_method = true
user = "www-data"
group = "33"
pidfile = "/run/rwsgi.pid"
daemon = true
control_socket = "/run/rwsgi/control"
limit_nofile = 4096
limit_as = "2 GiB"
proc_name = "poll \"site\""
errorlog = "/var/log/error.log"
loglevel = "Warning"
log_format = "json"
accesslog = "-"
access_log_format = "%(h)s"
access_log_skip = ["/healthz", "/ready"]
capture_output = true
enable_stdio_inheritance = true
logger_class = "site.logs.Logger"
logconfig = "logging.ini"
logconfig_json = "logging.json"
syslog = true
syslog_addr = "unix:///dev/log#dgram"
syslog_prefix = "polls"
syslog_facility = "local3"
disable_redirect_access_to_syslog = true
statsd_host = "statsd.local"
statsd_prefix = "polls"
dogstatsd_tags = "env:production"
enable_backlog_metric = true
"#;

#[test]
fn a_source_counts_more_than_the_ones_before_it() {
    let origin = |resolved: &Resolved, name| resolved.origins[name].to_string();
    let both =
        resolved("workers = 2\nbacklog = 7\n", &[("RWSGI_WORKERS", "3"), ("RWSGI_TIMEOUT", "")], "--workers 4 app");
    assert_eq!(both.settings.workers, Workers::Count(4));
    assert_eq!(origin(&both, "workers"), "--workers");
    assert_eq!(origin(&both, "backlog"), "rwsgi.toml:2");
    assert_eq!(origin(&both, "timeout"), "default");
    let environment = resolved("workers = 2", &[("RWSGI_WORKERS", "3")], "app");
    assert_eq!(environment.settings.workers, Workers::Count(3));
    assert_eq!(environment.origins["workers"], Origin::Env("RWSGI_WORKERS".to_owned()));
}

#[test]
fn port_and_web_concurrency_stand_in_for_defaults_only() {
    let platform = [("PORT", "5000"), ("WEB_CONCURRENCY", "3")];
    let alone = resolved("", &platform, "app").settings;
    assert_eq!(alone.bind, [Bind::parse("0.0.0.0:5000").unwrap()]);
    assert_eq!(alone.workers, Workers::Count(3));
    let file = resolved("workers = 2", &platform, "-b :80 app").settings;
    assert_eq!(file.bind, [Bind::parse(":80").unwrap()]);
    assert_eq!(file.workers, Workers::Count(2));
    let peers = [("FORWARDED_ALLOW_IPS", "*")];
    assert_eq!(resolved("", &peers, "app").settings.forwarded_allow_ips, [Peers::Everyone]);
    let given = resolved("forwarded_allow_ips = '::1'", &peers, "app").settings;
    assert_eq!(given.forwarded_allow_ips, [Peers::parse("::1").unwrap()]);
    let ignored = resolved("", &[("PORT", "tcp://10.0.0.1")], "-b :80 app").settings;
    assert_eq!(ignored.bind, file.bind);
}

#[test]
fn what_does_nothing_without_a_number_that_follows_the_load_is_said_with_its_line() {
    let alone = "busyness_max = 70\n\nworkers_step = 2\n";
    assert_eq!(
        resolved(alone, &[("RWSGI_WORKERS_COOLDOWN", "5")], "--busyness-min 5").warnings,
        [
            "rwsgi.toml:3: workers_step: no effect without workers_min or workers_max",
            "RWSGI_WORKERS_COOLDOWN: no effect without workers_min or workers_max",
            "rwsgi.toml:1: busyness_max: no effect without workers_min or workers_max",
            "--busyness-min: no effect without workers_min or workers_max",
        ]
    );
    assert_eq!(resolved(alone, &[], "-w 2 --workers-min 1").warnings, [""; 0]);
}

#[test]
fn what_a_platform_says_of_workers_is_cut_to_the_bounds() {
    for (count, start) in [("8", Some(4)), ("1", Some(2)), ("3", None)] {
        let resolved = resolved("workers_min = 2\nworkers_max = 4\n", &[("WEB_CONCURRENCY", count)], "");
        let says = "WEB_CONCURRENCY: limited by workers_min and workers_max; the server starts with";
        let expected: Vec<String> = start.map(|start| format!("{says} {start}")).into_iter().collect();
        assert_eq!(resolved.warnings, expected);
        let first = start.unwrap_or_else(|| count.parse().unwrap());
        assert_eq!(resolved.settings.first_workers(1), first);
    }
}

#[test]
fn a_setting_says_where_a_problem_with_it_is_to_be_mended() {
    let resolved = resolved("user = 'a'\nchdir = '/'", &[("RWSGI_PIDFILE", "pid")], "--chdir /srv app");
    let origins = ["user", "pidfile", "chdir", "group"].map(|name| resolved.origin_of(name));
    assert_eq!(origins, ["rwsgi.toml:1: user", "RWSGI_PIDFILE", "--chdir", "group"]);
}

#[test]
fn a_list_is_replaced_and_never_merged() {
    let settings = resolved("bind = [':1', ':2']", &[("RWSGI_BIND", ":3,:4,")], "app").settings;
    assert_eq!(settings.bind, [Bind::parse(":3").unwrap(), Bind::parse(":4").unwrap()]);
    let settings = resolved("bind = ':1'", &[("RWSGI_BIND", ":3")], "-b :5 app -b :6").settings;
    assert_eq!(settings.bind, [Bind::parse(":5").unwrap(), Bind::parse(":6").unwrap()]);
}

#[test]
fn the_empty_text_takes_a_setting_back() {
    let settings = resolved("accesslog = '-'", &[], "app --access-logfile=").settings;
    assert_eq!(settings.accesslog, None);
}

#[test]
fn what_settings_prints_is_a_file_that_gives_the_same() {
    let everything = resolved(EVERYTHING, &[], "").settings;
    let printed = resolved(EVERYTHING, &[], "").to_string();
    assert_eq!(resolved(&printed, &[], "").settings, everything, "{printed}");
    let defaults = resolved("", &[], "");
    assert_eq!(resolved(&defaults.to_string(), &[], "").settings, defaults.settings);
    for row in TABLE {
        assert_eq!(EVERYTHING.matches(&format!("\n{} = ", row.name)).count(), 1, "{}", row.name);
    }
}

#[test]
fn settings_survive_json() {
    let everything = resolved(EVERYTHING, &[], "").settings;
    let json = serde_json::to_string(&everything).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), everything, "{json}");
}

#[test]
fn every_setting_can_be_given_in_the_environment() {
    let everything = resolved(EVERYTHING, &[], "").settings;
    let mut environment = Vec::new();
    for row in TABLE {
        let words = match row.name {
            "raw_env" => "A=1,2\nB=".to_owned(),
            "bind" => "[::1]:8000,unix:/run/app.sock".to_owned(),
            "warmup" => "/polls/?page=1,https://example.com".to_owned(),
            "access_log_skip" => "/healthz,/ready".to_owned(),
            "reload_check" => "/healthz,/polls/".to_owned(),
            "pythonpath" => "lib, /opt/more".to_owned(),
            "forwarded_allow_ips" => "10.0.0.0/8 , ::1".to_owned(),
            "secure_scheme_headers" => "X-FORWARDED-PROTO=https, x!=\"on\"".to_owned(),
            "proxy_allow_ips" => "10.0.0.0/8".to_owned(),
            "reload_extra_files" => "templates/*.html".to_owned(),
            "forwarder_headers" => "REMOTE_USER,SCRIPT_NAME".to_owned(),
            "proc_name" => "poll \"site\"".to_owned(),
            _ => (row.show)(&everything).unwrap().trim_matches('"').to_owned(),
        };
        environment.push((row.env_name(), words));
    }
    let resolved = resolve(&Sources { environment: &environment, ..Sources::default() }).unwrap();
    assert_eq!(resolved.settings, everything);
}

#[test]
fn every_flag_gives_its_setting() {
    let everything = resolved(EVERYTHING, &[], "").settings;
    for row in TABLE.iter().filter(|row| row.name != "raw_env") {
        let value = (row.show)(&everything).unwrap();
        let words = value.trim_matches(['[', ']']).replace(['"', '\\'], "");
        for flag in row.flags {
            let line = if value == "true" { vec![*flag] } else { vec![*flag, &words] };
            let Ok(Call::Start(invocation)) = args::parse(line.iter().map(OsString::from)) else {
                panic!("{line:?}");
            };
            assert_eq!(invocation.flags.len(), 1, "{line:?}");
            assert_eq!(invocation.flags[0].name, row.name);
            assert_eq!(invocation.flags[0].origin, Origin::Flag(row.flag_name().to_owned()));
        }
    }
}

#[test]
fn options_and_application_may_stand_in_any_order() {
    for line in [
        "-w 4 -t 0.3 app",
        "app -w 4 -t 0.3",
        "-w4 app --timeout=0.3",
        "--workers 4 app --timeou 0.3",
        "-w 9 -w 4 app -t .3",
    ] {
        let settings = resolved("", &[], line).settings;
        assert_eq!(settings.workers, Workers::Count(4), "{line}");
        assert_eq!(settings.timeout.to_string(), "0.3", "{line}");
        assert_eq!(settings.wsgi_app.unwrap().to_string(), "app", "{line}");
    }
}

#[test]
fn the_first_word_may_be_a_verb() {
    let call = |line: &str| args::parse(shell_words(line).iter().map(OsString::from)).unwrap();
    let app = || invocation("-w 4 app");
    for line in ["check -w 4 app", "-w 4 check app", "check app -w 4", "--check-config -w 4 app"] {
        assert_eq!(call(line), Call::Check(app()), "{line}");
    }
    for line in ["settings -w 4 app", "-w 4 settings app", "--print-config app -w 4"] {
        assert_eq!(call(line), Call::Settings(app()), "{line}");
    }
    assert_eq!(call("check"), Call::Check(Invocation::default()));
    assert_eq!(call("-c file:x.toml"), call("--config x.toml"));
    assert!(matches!(call("check:application"), Call::Start(_)));
    for line in ["--version", "-v", "-V", "app -V"] {
        assert_eq!(call(line), Call::Print(format!("rwsgi {}\n", env!("CARGO_PKG_VERSION"))), "{line}");
    }
}

#[test]
fn help_says_every_setting_in_lines_that_fit() {
    let Ok(Call::Print(help)) = args::parse(["--help-all".into()]) else { panic!("no help") };
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    for row in TABLE {
        assert!(row.flags.iter().all(|flag| help.contains(flag)), "{}: {help}", row.name);
    }
}

#[test]
fn zero_seconds_is_no_limit_where_a_limit_is_asked_for() {
    assert_eq!(Seconds::whole(0).limit(), None);
    assert_eq!(Settings::default().timeout.limit(), Some(std::time::Duration::from_secs(30)));
}

#[test]
fn threads_are_bounded_by_a_timeout_only_where_somebody_asked_for_one() {
    let mode = |line: &str, environment: &[(&str, &str)]| {
        let settings = resolved("", environment, line).settings;
        (settings.timeout_mode, settings.kill_after().map(|span| span.as_secs_f64()))
    };
    assert_eq!(mode("app", &[]), (TimeoutMode::Soft, Some(32.5)));
    assert_eq!(mode("app --threads 2", &[]), (TimeoutMode::Warn, None));
    assert_eq!(mode("app -k gthread", &[]), (TimeoutMode::Warn, None));
    assert_eq!(mode("app --threads 2 -t 30", &[]), (TimeoutMode::Soft, Some(32.5)));
    assert_eq!(mode("app --threads 2 --timeout-mode soft", &[]), (TimeoutMode::Soft, Some(32.5)));
    assert_eq!(mode("app --timeout-mode hard -t 1", &[]), (TimeoutMode::Hard, Some(1.5)));
    assert_eq!(mode("app --timeout 0", &[]), (TimeoutMode::Soft, None));
    assert_eq!(mode("app --threads 2", &[("RWSGI_TIMEOUT", "5")]), (TimeoutMode::Soft, Some(7.5)));
    // A debugger may hold a request.
    assert_eq!(mode("app --reload -t 5", &[]), (TimeoutMode::Warn, None));
    assert_eq!(mode("app --reload -t 5 --timeout-mode soft", &[]), (TimeoutMode::Soft, Some(7.5)));
}

#[test]
fn the_usual_trust_and_limits_are_those_of_the_room_http() {
    let settings = Settings::default();
    assert_eq!(settings.trust(), Trust::default());
    assert_eq!(settings.limits(), Limits { body: Some(1 << 30), ..Limits::default() });
}

#[test]
fn a_head_may_hold_its_largest_lines_and_a_body_what_is_buffered() {
    for (file, head, body) in [
        ("limit_request_head = 9", 4094 + 8190 + 6, Some(1 << 30)),
        ("limit_request_head = 0\nspill_limit = 0", 1 << 26, None),
        ("limit_request_field_size = 0", 4094 + (1 << 20) + 6, Some(1 << 30)),
        ("limit_request_body = 7", 65_536, Some(7)),
        ("limit_request_body = '2 GiB'", 65_536, Some(1 << 30)),
        ("spill_limit = 7", 65_536, Some(1 << 20)),
        ("post_buffering = 0", 65_536, None),
        ("post_buffering = 0\nlimit_request_body = '2 GiB'", 65_536, Some(1 << 31)),
    ] {
        let limits = resolved(file, &[], "app").settings.limits();
        assert_eq!((limits.head, limits.body), (head, body), "{file}");
    }
}

#[test]
fn the_mode_of_unix_sockets_is_what_is_said_or_what_umask_leaves_or_0660() {
    for (file, mode) in [
        ("", 0o660),
        ("umask = '007'", 0o770),
        ("umask = 0", 0o777),
        ("umask = '077'\nunix_socket_mode = '666'", 0o666),
    ] {
        assert_eq!(resolved(file, &[], "app").settings.socket_mode().0, mode, "{file}");
    }
}

#[test]
fn the_table_is_whole() {
    let mut flags: Vec<&str> = TABLE.iter().flat_map(|row| row.flags).copied().collect();
    flags.sort_unstable();
    let count = flags.len();
    flags.dedup();
    assert_eq!(flags.len(), count);
    for row in TABLE {
        assert!(row.doc.ends_with('.') && !row.doc.contains("  "), "{}: {}", row.name, row.doc);
        assert!(!row.help.ends_with('.'), "{}: {}", row.name, row.help);
    }
}

#[test]
fn the_reference_page_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/settings.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, docs::reference()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == docs::reference(),
        "docs/reference/settings.md is stale\nhint: UPDATE=1 cargo test --test all settings::"
    );
}

#[test]
fn several_threads_are_gthread_and_printed_so() {
    let printed = resolved("threads = 4\nworker_class = \"sync\"\n", &[], "app").to_string();
    let line = printed.lines().find(|line| line.starts_with("worker_class")).unwrap();
    assert_eq!(line, "worker_class = \"gthread\"  # rwsgi.toml:1");
}

#[test]
fn worker_classes_of_gunicorn_by_their_whole_names_are_taken() {
    for (word, expected) in
        [("gunicorn.workers.gthread.ThreadWorker", "gthread"), ("gunicorn.workers.sync.SyncWorker", "sync")]
    {
        let resolved = resolved("", &[], &format!("-k {word} app"));
        assert_eq!(resolved.settings.worker_class.to_string(), expected);
    }
}
