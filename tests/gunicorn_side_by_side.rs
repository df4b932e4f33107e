//! The same configuration files under gunicorn and under rwsgi, asked the same: environ by key, responses, what hooks noted,
//! exit codes. What differs stands in `DIFFERENT`, and with its reason in `docs/guides/from-gunicorn.md`.
//!
//! A file in `tests/gunicorn_confs` may have comments for this test: `# env: NAME=VALUE ...`, `# bind: unix:PATH`, an
//! address or `passed` where the file itself says where to listen, `# before: LINE` for what comes before each request,
//! `# notes: yes` for a file that hooks write to, `# ends: yes` where the server ends by itself, `# needs: NAME ...` for
//! settings that have to be there: until they are, the file is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::gunicorn::{Listening, gunicorn};
use crate::support::{LIMIT, Response, root, run_command, rwsgi};
use rwsgi::settings::gunicorn::Absent;
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

    /// Settings that it needs and that are not there yet.
    fn lacks(&self) -> Vec<&str> {
        let needs = self.said("needs").unwrap_or_default().split_whitespace();
        needs.filter(|name| Absent::named(name).is_some()).collect()
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
        let own = self.said("bind").is_some();
        let words: &[&str] = if own { &[] } else { &["-b", "127.0.0.1:0"] };
        let mut command = match kind {
            Kind::Gunicorn => gunicorn(site, words),
            Kind::Rwsgi => rwsgi(site, words.iter().chain(&["--no-control-socket"])),
        };
        for name in ["GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS", "SCRIPT_NAME"] {
            command.env_remove(name);
        }
        let pairs = self.said("env").unwrap_or_default().split_whitespace();
        command.envs(pairs.filter_map(|pair| pair.split_once('=')));
        if self.said("notes").is_some() {
            command.env("NOTES", site.join("notes"));
        }
        command
    }
}

/// What came of a configuration file, a fact each: `GET /: environ REMOTE_ADDR` is `'127.0.0.1'`.
type Facts = BTreeMap<String, String>;

fn facts(conf: &Conf, kind: Kind) -> Facts {
    let site = conf.site();
    let mut command = conf.command(kind, site.path());
    let mut facts = Facts::new();
    if conf.said("ends").is_some() {
        facts.insert("exit code".to_owned(), run_command(command).0.to_string());
        return facts;
    }
    let passed = (conf.said("bind") == Some("passed")).then(|| TcpListener::bind("127.0.0.1:0").unwrap());
    if let Some(passed) = &passed {
        command = with_socket(&command, passed);
    }
    let mut server = Listening::spawn(command);
    let door = match conf.said("bind").and_then(|bind| bind.strip_prefix("unix:")) {
        Some(path) => Door::Unix(site.path().join(path)),
        None => Door::Tcp(passed.map_or_else(|| server.port(), |passed| passed.local_addr().unwrap().port())),
    };
    for (name, request) in REQUESTS {
        let request = format!("{}{request}", conf.said("before").map(|line| format!("{line}\r\n")).unwrap_or_default());
        let response = door.ask(request.as_bytes(), &server);
        note(&mut facts, name, &door, &response);
    }
    facts.insert("exit code".to_owned(), server.stop().to_string());
    if let Door::Unix(path) = &door {
        facts.insert("socket file after the end".to_owned(), path.exists().to_string());
    }
    facts.insert("pid file after the end".to_owned(), site.path().join("site.pid").exists().to_string());
    if conf.said("notes").is_some() {
        let notes = fs::read_to_string(site.path().join("notes")).unwrap_or_default();
        facts.insert("hooks".to_owned(), notes.lines().collect::<Vec<_>>().join(", "));
    }
    facts
}

/// The same command with a socket as systemd passes it.
fn with_socket(command: &Command, socket: &TcpListener) -> Command {
    let mut by_shell = Command::new("sh");
    by_shell.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]).arg(command.get_program());
    by_shell.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => by_shell.env(name, value),
            None => by_shell.env_remove(name),
        };
    }
    let fd = socket.as_raw_fd();
    // SAFETY: between fork and exec nothing but dup2(2) and fcntl(2) is called. A copy stays open over exec; where the socket
    // is number 3 already, dup2 makes none.
    unsafe {
        by_shell.pre_exec(move || {
            let is_open = libc::dup2(fd, 3) == 3 && libc::fcntl(3, libc::F_SETFD, 0) == 0;
            if is_open { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
    };
    by_shell
}

/// Where a server listens.
enum Door {
    Tcp(u16),
    Unix(PathBuf),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Door {
    fn ask(&self, request: &[u8], server: &Listening) -> Response {
        let mut stream: Box<dyn Stream> = match self {
            Door::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port));
                let stream = stream.unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
            Door::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
        };
        stream.write_all(request).unwrap();
        Response::read(&mut stream).unwrap_or_else(|error| {
            panic!("{error}\n{}\n{}", String::from_utf8_lossy(request), server.log());
        })
    }
}

/// What a response says, a fact each. Of a refusal the status counts: pages differ, as the guide says.
fn note(facts: &mut Facts, name: &str, door: &Door, response: &Response) {
    facts.insert(format!("{name}: status"), response.status.to_string());
    if response.status != 200 && response.status != 404 {
        return;
    }
    for line in response.head.lines().skip(1) {
        let Some((field, value)) = line.split_once(':') else { continue };
        let field = field.to_ascii_lowercase();
        if !["date", "content-length", "transfer-encoding"].contains(&field.as_str()) {
            facts.insert(format!("{name}: field {field}"), value.trim().to_owned());
        }
    }
    let text = response.text();
    let Ok(told) = serde_json::from_str::<BTreeMap<String, String>>(&text) else {
        facts.insert(format!("{name}: body"), text);
        return;
    };
    for (key, value) in told {
        let value = match (key.as_str(), door) {
            ("REMOTE_PORT", _) if value != "'4711'" => "a port".to_owned(),
            (_, Door::Tcp(port)) => value.replace(&port.to_string(), "PORT"),
            (_, Door::Unix(path)) => value.replace(&path.display().to_string(), "SOCKET"),
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
fn differences(conf: &Conf) -> Vec<(String, String)> {
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
    let began = Instant::now();
    let (mut compared, mut used, mut unknown) = (0, BTreeSet::new(), String::new());
    for conf in Conf::all().iter().filter(|conf| conf.lacks().is_empty()) {
        compared += 1;
        for (fact, words) in differences(conf) {
            let is_it = |different: &&Different| different.is(&conf.name, &fact);
            match DIFFERENT.iter().find(is_it) {
                Some(different) => drop(used.insert((different.conf, different.fact))),
                None => writeln!(unknown, "{}: {fact}: {words}", conf.name).unwrap(),
            }
        }
    }
    assert!(unknown.is_empty(), "differences that are on no list:\n{unknown}");
    let stale: Vec<_> =
        DIFFERENT.iter().filter(|different| !used.contains(&(different.conf, different.fact))).collect();
    assert!(stale.is_empty(), "no difference any more: {stale:?}");
    assert!(compared >= 15, "compared {compared} files in {:?}", began.elapsed());
}

#[test]
fn files_that_wait_for_a_setting_name_one_that_gunicorn_has() {
    for conf in Conf::all() {
        assert!(conf.lacks().len() < 4, "{}", conf.name);
    }
}

/// A difference that is meant.
#[derive(Debug)]
struct Different {
    /// The file, or nothing for all.
    conf: &'static str,
    /// The end of the fact.
    fact: &'static str,
    /// Words of `docs/guides/from-gunicorn.md` that say so.
    guide: &'static str,
}

impl Different {
    fn is(&self, conf: &str, fact: &str) -> bool {
        (self.conf.is_empty() || self.conf == conf) && fact.ends_with(self.fact)
    }
}

const fn different(conf: &'static str, fact: &'static str, guide: &'static str) -> Different {
    Different { conf, fact, guide }
}

#[rustfmt::skip] // A table: file, end of the fact, words of the guide.
const DIFFERENT: &[Different] = &[
    different("", "environ SERVER_SOFTWARE", "| `SERVER_SOFTWARE` |"),
    different("", "environ rwsgi.extend_deadline", "| further in `environ` |"),
    different("", "environ rwsgi.RequestTimeout", "| further in `environ` |"),
    different("", "field server", "| the field `Server` |"),
    different("", "GET absolute: environ HTTP_HOST", "| a target with a host of its own"),
    different("", "GET absolute: environ (url)", "| a target with a host of its own"),
    different("unix_behind_nginx", "GET absolute: environ SERVER_NAME", "| a target with a host of its own"),
    different("unix_behind_nginx", "GET in 1.0: environ SERVER_NAME", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("unix_behind_nginx", "GET in 1.0: environ SERVER_PORT", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("", "POST chunked: environ CONTENT_LENGTH", "| a chunked body |"),
    different("django", "POST chunked: environ (body)", "| a chunked body |"),
    different("", "no such version: status", "| HTTP/2.0 or 3.0 in a request line |"),
    different("ends_with_no_such_module", "exit code", "| no such module |"),
];

/// Asked of every server, each on a connection of its own.
const REQUESTS: &[(&str, &str)] = &[
    ("GET /", "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    (
        "GET with everything",
        "GET /a%20b/%C3%BC?x=1&y=%20 HTTP/1.1\r\nHost: test:8080\r\nConnection: close\r\nAccept: a\r\nAccept: b\r\n\
         Cookie: c=1\r\nX-Forwarded-For: 192.0.2.9, 10.0.0.1\r\nX-Request-Id:  7 \r\nUser-Agent: tests\r\n\r\n",
    ),
    (
        "GET by https",
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Forwarded-Proto: https\r\nX-Scheme: tls\r\n\r\n",
    ),
    ("GET by http", "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Forwarded-Proto: http\r\n\r\n"),
    (
        "GET contradictory",
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n",
    ),
    ("GET in 1.0", "GET /?old HTTP/1.0\r\n\r\n"),
    ("GET absolute", "GET http://other/path?q HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    (
        "GET with underscores",
        "GET /app/path HTTP/1.1\r\nHost: test\r\nConnection: close\r\nScript_Name: /app\r\nRemote_User: me\r\nX_Y: z\r\n\r\n",
    ),
    ("GET missing", "GET /missing HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    ("GET raises", "GET /raises HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    (
        "POST",
        "POST /form HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "POST chunked",
        "POST /form HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a long line",
        "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    ),
    ("a folded field", "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-A: b\r\n c\r\n\r\n"),
    ("a blank before the colon", "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-A : b\r\n\r\n"),
    ("a method in small letters", "get / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    ("no such version", "GET / HTTP/3.0\r\nHost: test\r\n\r\n"),
];
