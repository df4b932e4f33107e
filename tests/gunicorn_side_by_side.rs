//! The same configuration files under gunicorn and under rwsgi, asked the same: environ by key, responses and refusals, lines
//! of the access log, the order of hooks, exit codes. What differs stands in `DIFFERENT`, and with its reason in
//! `docs/guides/from-gunicorn.md`.
//!
//! A file in `tests/gunicorn_confs` may have comments for this test: `# env: NAME=VALUE ...`, `# words: WORD ...` for the
//! command line, `# bind: unix:PATH`, an address or `passed` where the file itself says where to listen, `# before: LINE` for
//! what comes before each request, `# front: nginx` where that stands before the unix socket, `# log: PATH` or `# log: stdout` where it says itself where the access log goes,
//! `# notes: yes` for a file that hooks write to, `# reloads: yes` for a HUP before the end, `# stops: QUIT` for an end by that
//! signal, `# ends: yes` where the server ends by itself.

mod different;
mod doors;
mod lines;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::gunicorn::{Listening, gunicorn};
use crate::support::outside::Nginx;
use crate::support::{Response, root, run_command, rwsgi, wait_until};
use different::{DIFFERENT, Different};
use doors::{Door, with_socket};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gunicorn,
    Rwsgi,
}

/// A configuration file and what its comments say.
struct Conf {
    name: String,
    text: String,
}

impl Conf {
    fn all() -> Vec<Conf> {
        let entries = fs::read_dir(root().join("tests/gunicorn_confs")).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
        paths.sort();
        let read = |path: &PathBuf| Conf {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            text: fs::read_to_string(path).unwrap(),
        };
        paths.iter().map(read).collect()
    }

    fn said(&self, word: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(word)?.strip_prefix(": "))
    }

    fn stops_by(&self) -> Signal {
        if self.said("stops") == Some("QUIT") { Signal::SIGQUIT } else { Signal::SIGTERM }
    }

    /// A directory with the file and the applications.
    fn site(&self) -> TempDir {
        let site = tempfile::Builder::new().prefix("site").tempdir().unwrap();
        fs::write(site.path().join("gunicorn.conf.py"), &self.text).unwrap();
        for entry in fs::read_dir(root().join("tests/gunicorn_confs/site")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, site.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        site
    }

    fn command(&self, kind: Kind, site: &Path) -> Command {
        let mut words: Vec<&str> = self.said("words").unwrap_or_default().split_whitespace().collect();
        if self.said("bind").is_none() {
            words.extend(["-b", "127.0.0.1:0"]);
        }
        let log = site.join(LOG).display().to_string();
        if self.said("log").is_none() && self.said("ends").is_none() {
            words.extend(["--access-logfile", &log, "--access-logformat", lines::FORMAT]);
        }
        let mut command = match kind {
            Kind::Gunicorn => gunicorn(site, &words),
            Kind::Rwsgi => rwsgi(site, words.iter().chain(&["--no-control-socket"])),
        };
        for name in ["GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS", "SCRIPT_NAME"] {
            command.env_remove(name);
        }
        let pairs = self.said("env").unwrap_or_default().split_whitespace();
        command.envs(pairs.filter_map(|pair| pair.split_once('=')));
        command.env("NOTES", site.join("notes"));
        command
    }
}

/// What came of a configuration file, a fact each: `GET /: environ REMOTE_ADDR` is `'127.0.0.1'`.
type Facts = BTreeMap<String, String>;

/// A server of a file that is to serve, and where.
struct Running {
    server: Listening,
    door: Door,
    site: TempDir,
    _passed: Option<TcpListener>,
    _front: Option<Nginx>,
}

fn start(conf: &Conf, kind: Kind, site: TempDir) -> Running {
    let mut command = conf.command(kind, site.path());
    let passed = (conf.said("bind") == Some("passed")).then(|| TcpListener::bind("127.0.0.1:0").unwrap());
    if let Some(passed) = &passed {
        command = with_socket(&command, passed);
    }
    let server = Listening::spawn(command);
    let mut door = match conf.said("bind").and_then(|bind| bind.strip_prefix("unix:")) {
        Some(path) => Door::Unix(site.path().join(path)),
        None => Door::Tcp(passed.as_ref().map_or_else(|| server.port(), |passed| passed.local_addr().unwrap().port())),
    };
    let mut front = None;
    if let (Some("nginx"), Door::Unix(path)) = (conf.said("front"), &door) {
        let nginx = Nginx::start(site.path(), &NGINX.replace("SOCKET", &path.display().to_string()));
        door = Door::Tcp(nginx.ports()[0]);
        front = Some(nginx);
    }
    Running { server, door, site, _passed: passed, _front: front }
}

fn facts(conf: &Conf, kind: Kind) -> Facts {
    let mut facts = Facts::new();
    let site = conf.site();
    if conf.said("ends").is_some() {
        facts.insert("exit code".to_owned(), run_command(conf.command(kind, site.path())).0.to_string());
        return facts;
    }
    let Running { mut server, door, site, _passed, _front } = start(conf, kind, site);
    for (name, request) in requests::all() {
        let request = format!("{}{request}", conf.said("before").map(|line| format!("{line}\r\n")).unwrap_or_default());
        let response = door.ask(request.as_bytes(), &server);
        note(&mut facts, name, &door, &response);
    }
    facts.insert("exit code".to_owned(), server.stop_by(conf.stops_by()).to_string());
    if let Door::Unix(path) = &door {
        facts.insert("socket file after the end".to_owned(), path.exists().to_string());
    }
    facts.insert("pid file after the end".to_owned(), site.path().join("site.pid").exists().to_string());
    if conf.said("notes").is_some() {
        let notes = fs::read_to_string(site.path().join("notes")).unwrap_or_default();
        facts.insert("hooks".to_owned(), notes.lines().collect::<Vec<_>>().join(", "));
    }
    note_lines(&mut facts, conf, &server, &door, site.path());
    facts
}

/// What the access log says, a fact each: of a request, or that a line stands there so often.
fn note_lines(facts: &mut Facts, conf: &Conf, server: &Listening, door: &Door, site: &Path) {
    let text = match conf.said("log") {
        Some("stdout") => server.stdout(),
        Some(path) => fs::read_to_string(site.join(path)).unwrap(),
        None => fs::read_to_string(site.join(LOG)).unwrap(),
    };
    for line in text.lines() {
        let line = door.without_address(line);
        if conf.said("log").is_some() {
            let line = lines::masked(&line);
            if !lines::is_answered(&line) {
                continue;
            }
            facts.entry(format!("access log line {line}")).or_default().push('I');
            continue;
        }
        let (request, told) = lines::told(&line);
        let of = if lines::is_answered(&told) { "" } else { " of a refusal" };
        facts.insert(format!("{request}: access log line{of}"), told);
    }
}

/// What a response says, a fact each. Of a refusal's page, of which the guide says that it differs, its type counts.
fn note(facts: &mut Facts, name: &str, door: &Door, response: &Response) {
    facts.insert(format!("{name}: status"), response.status.to_string());
    let is_refused = response.status >= 400 && response.status != 404;
    let mut order = Vec::new();
    for line in response.head.lines().skip(1) {
        let Some((field, value)) = line.split_once(':') else { continue };
        let field = field.to_ascii_lowercase();
        if field != "date" && (field != "content-length" || !is_refused) {
            let of = if is_refused { "of a refusal: " } else { "" };
            facts.insert(format!("{name}: {of}field {field}"), value.trim().to_owned());
        }
        order.push(field);
    }
    if is_refused {
        return;
    }
    // How it is framed, and whether it is the last one, stands anywhere.
    order.retain(|field| !["connection", "content-length", "transfer-encoding"].contains(&field.as_str()));
    facts.insert(format!("{name}: order of fields"), order.join(", "));
    let text = response.text();
    let Ok(told) = serde_json::from_str::<BTreeMap<String, String>>(&text) else {
        facts.insert(format!("{name}: body"), text);
        return;
    };
    for (key, value) in told {
        let value = match key.as_str() {
            "REMOTE_PORT" if value != "'4711'" => "a port".to_owned(),
            _ => door.without_address(&value),
        };
        let value = if key == "(cwd)" || key == "(sys.path)" { without_name(&value) } else { value };
        facts.insert(format!("{name}: environ {key}"), value);
    }
}

/// The name of a temporary directory says nothing.
fn without_name(value: &str) -> String {
    if value.starts_with("site") { "the site".to_owned() } else { value.to_owned() }
}

/// Differences between the facts of both.
fn differences(conf: &Conf, facts: fn(&Conf, Kind) -> Facts) -> Vec<(String, String)> {
    let (theirs, ours) = (facts(conf, Kind::Gunicorn), facts(conf, Kind::Rwsgi));
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let nothing = "nothing".to_owned();
    let compare = |name: &String| {
        let (theirs, ours) = (theirs.get(name).unwrap_or(&nothing), ours.get(name).unwrap_or(&nothing));
        (theirs != ours).then(|| (name.clone(), format!("gunicorn {theirs}, rwsgi {ours}")))
    };
    names.into_iter().filter_map(compare).collect()
}

#[test]
fn the_same_files_do_the_same_but_for_what_the_guide_says() {
    let guide = fs::read_to_string(root().join("docs/guides/from-gunicorn.md")).unwrap();
    for different in DIFFERENT {
        assert!(guide.contains(different.guide), "the guide does not say: {}", different.guide);
    }
    compare("", &Conf::all(), facts);
}

#[test]
fn hooks_come_in_the_same_order_whatever_the_file_says() {
    compare(HOOKS, &Conf::all(), hooks);
}

/// Compares what comes of each file, three at a time, with what differs on purpose.
fn compare(prefix: &str, confs: &[Conf], facts: fn(&Conf, Kind) -> Facts) {
    assert!(confs.len() >= 15, "{} files", confs.len());
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(conf) = confs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let differences = differences(conf, facts);
                    found
                        .lock()
                        .unwrap()
                        .extend(differences.into_iter().map(|(fact, words)| (&conf.name, fact, words)));
                }
            });
        }
    });
    let (mut used, mut unknown) = (BTreeSet::new(), String::new());
    for (conf, fact, words) in found.into_inner().unwrap() {
        match DIFFERENT.iter().find(|different| different.is(conf, &fact)) {
            Some(different) => drop(used.insert((different.conf, different.fact))),
            None => writeln!(unknown, "{conf}: {fact}: {words}").unwrap(),
        }
    }
    assert!(unknown.is_empty(), "differences that are on no list:\n{unknown}");
    let is_stale = |different: &&Different| {
        different.fact.starts_with(HOOKS) == (prefix == HOOKS) && !used.contains(&(different.conf, different.fact))
    };
    let stale: Vec<_> = DIFFERENT.iter().filter(is_stale).collect();
    assert!(stale.is_empty(), "no difference any more: {stale:?}");
}

/// What hooks were called in which order, for each worker and for the server.
fn hooks(conf: &Conf, kind: Kind) -> Facts {
    let conf = &Conf { name: conf.name.clone(), text: format!("{}{NOTED}", conf.text) };
    let site = conf.site();
    if conf.said("ends").is_some() {
        let code = run_command(conf.command(kind, site.path())).0;
        return by_process(site.path(), code);
    }
    let Running { mut server, site, .. } = start(conf, kind, site);
    // A worker of gunicorn's is ready when the hook has returned; one that is told to stop before it is may differ.
    let are_ready = |times: usize| {
        let notes = fs::read_to_string(site.path().join("notes")).unwrap_or_default();
        let wanted = notes.lines().find_map(|line| line.strip_prefix("server: when_ready ")?.parse().ok());
        let said = |text: &str, line: &str| text.matches(line).count() >= times * wanted.unwrap_or(usize::MAX);
        said(&notes, ": post_worker_init\n") && (kind == Kind::Gunicorn || said(&server.log(), "] worker ready"))
    };
    wait_until("every worker is ready", || are_ready(1));
    if conf.said("reloads").is_some() {
        kill(server.pid(), Signal::SIGHUP).unwrap();
        wait_until("every worker is replaced", || {
            let notes = fs::read_to_string(site.path().join("notes")).unwrap();
            are_ready(2) && notes.contains("worker 1: child_exit")
        });
    }
    let code = server.stop_by(conf.stops_by());
    by_process(site.path(), code)
}

fn by_process(site: &Path, code: i32) -> Facts {
    let mut facts = Facts::from([(format!("{HOOKS}exit code"), code.to_string())]);
    for line in fs::read_to_string(site.join("notes")).unwrap_or_default().lines() {
        // What hooks of the file itself note is not of this form.
        let Some((who, what)) = line.split_once(": ") else { continue };
        let calls = facts.entry(format!("{HOOKS}{who}")).or_default();
        write!(calls, "{}{what}", if calls.is_empty() { "" } else { ", " }).unwrap();
    }
    facts
}

/// Where the access log goes unless the file says so.
const LOG: &str = "access.log";
/// What the facts about hooks begin with.
const HOOKS: &str = "hooks: ";
/// As the guide has it.
const NGINX: &str = "
pid nginx.pid;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:1;
        location / {
            proxy_pass http://unix:SOCKET;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }
    }
}
";
/// Notes every hook.
const NOTED: &str = include_str!("gunicorn_side_by_side/hooks_noted.py");
