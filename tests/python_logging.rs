//! Python's logging as the access log's way: logger classes and configurations as people write them for gunicorn, with the
//! real package and without it.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Child;

use crate::support::outside::{ask, bare_virtualenv};
use crate::support::{Response, Server, directory, limit, run, rwsgi, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Raises on demand; says which handlers its loggers have; changes its environ.
const APP: (&str, &str) = (
    "app.py",
    r#"
import logging
import sys

AT_IMPORT = logging.getLogger("gunicorn.error")
HANDLERS = len(AT_IMPORT.handlers)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise ValueError("on demand")
    if environ["PATH_INFO"] == "/log":
        AT_IMPORT.info("info of the application")
        AT_IMPORT.warning("warning of the application")
        AT_IMPORT.debug("not to be seen")
    environ["REMOTE_ADDR"] = "10.1.2.3"
    environ["app.user"] = "ada"
    start_response("200 OK", [("X-Out", "out"), ("Content-Length", "2")])
    return [b"%2d" % HANDLERS]
"#,
);

fn site(conf: &str) -> TempDir {
    directory(&[APP, ("gunicorn.conf.py", conf)])
}

/// Runs a test where gunicorn is installed and where it is not.
fn with_and_without(conf: &str, test: impl Fn(&TempDir, Server)) {
    let files = site(conf);
    test(&files, Server::start_in(files.path(), &["-b", "127.0.0.1:0", "app"]));
    bare_virtualenv(files.path(), "bare");
    for file in ["access.log", "error.log", "out.log"] {
        let _ = fs::remove_file(files.path().join(file));
    }
    test(&files, Server::start_in(files.path(), &["-b", "127.0.0.1:0", "--python", "bare", "app"]));
}

/// Waits until a file has so many lines.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    wait_until(&format!("{count} lines in {}", path.display()), || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

const LOGGER: &str = r#"
import logging
from gunicorn import glogging

class Atoms(dict):
    def __init__(self, atoms):
        super().__init__(atoms, own="mine")

    def __getitem__(self, name):
        return self.get(name, "absent")

class Logger(glogging.Logger):
    datefmt = "DATE"
    error_fmt = "%(asctime)s own %(levelname)s %(message)s"
    atoms_wrapper_class = Atoms

    def now(self):
        return "now"

    def setup(self, cfg):
        super().setup(cfg)
        self.access_log.addFilter(lambda record: record.args["U"] != "/health")

    def _set_handler(self, log, output, fmt, stream=None):
        super()._set_handler(log, output, fmt, stream)
        self.handlers = getattr(self, "handlers", 0) + 1

    def make_access_message(self, atoms):
        return "%(h)s %(m)s" % atoms

    def access(self, resp, req, environ, request_time):
        self.calls = getattr(self, "calls", 0) + 1
        environ["own.calls"] = str(self.calls)
        environ["own.handlers"] = str(self.handlers)
        environ["own.message"] = self.make_access_message(self.atoms(resp, req, environ, request_time))
        super().access(resp, req, environ, request_time)

logger_class = Logger
accesslog = "access.log"
errorlog = "error.log"
access_log_format = "%(t)s %(h)s %(r)s %(s)s %(b)s %({x-out}o)s %({app.user}e)s %(own)s %(nothing)s %({own.calls}e)s \
%({own.handlers}e)s %({own.message}e)s %({host}i)s %(D)d"

def on_starting(server):
    server.log.warning("said by a hook")
"#;

/// A server whose error log is the file `error.log`. Dropped, it is killed.
struct Quiet {
    child: Child,
    address: String,
}

impl Quiet {
    fn start(files: &TempDir, words: &[&str]) -> Quiet {
        let mut quiet = Quiet { child: rwsgi(files.path(), words).spawn().unwrap(), address: String::new() };
        let read = || fs::read_to_string(files.path().join("error.log")).unwrap_or_default();
        wait_until("a worker that is ready", || read().contains("worker ready"));
        let log = read();
        log.split_once("http://").unwrap().1.split(['\n', ' ', ',']).next().unwrap().clone_into(&mut quiet.address);
        quiet
    }

    fn get(&self, path: &str) -> Response {
        let port = self.address.rsplit_once(':').unwrap().1.parse().unwrap();
        ask(port, format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_logger_class_writes_the_access_log_with_the_real_package_and_without() {
    let files = site(LOGGER);
    bare_virtualenv(files.path(), "bare");
    for words in [&["-b", "127.0.0.1:0", "app"][..], &["-b", "127.0.0.1:0", "--python", "bare", "app"]] {
        for file in ["access.log", "error.log"] {
            let _ = fs::remove_file(files.path().join(file));
        }
        let server = Quiet::start(&files, words);
        server.get("/a%20b?q");
        server.get("/health");
        server.get("/last");
        let written = lines(&files.path().join("access.log"), 2);
        let line = |path: &str, calls| {
            format!("now 10.1.2.3 GET {path} HTTP/1.1 200 2 out ada mine absent {calls} 2 10.1.2.3 GET h ")
        };
        assert!(written[0].starts_with(&line("/a%20b?q", 1)), "{written:?}");
        assert!(written[1].starts_with(&line("/last", 3)), "{written:?}");
        assert!(written[1].rsplit_once(' ').unwrap().1.parse::<u64>().is_ok(), "{written:?}");
        server.get("/raise");
        let error = || fs::read_to_string(files.path().join("error.log")).unwrap();
        wait_until("the exception in the error log", || error().contains("ValueError: on demand"));
        let log = error();
        assert!(log.contains("DATE own WARNING said by a hook\n"), "{log}");
        assert!(
            log.contains("DATE own ERROR Error handling request GET /raise\nTraceback (most recent call last)"),
            "{log}"
        );
        assert!(lines(&files.path().join("access.log"), 3)[2].contains("GET /raise HTTP/1.1 500"));
        server.stop();
    }
}

const DICTIONARY: &str = r#"
import json
import logging

class Formatter(logging.Formatter):
    def format(self, record):
        if isinstance(record.args, dict):
            atoms = record.args
            return json.dumps({"method": atoms["m"], "path": atoms["U"], "status": atoms["s"], "missing": atoms["{x}i"],
                               "template": record.msg})
        return json.dumps({"message": record.getMessage(), "raised": bool(record.exc_info)})

class Stream:
    def write(self, text):
        with open("out.log", "a") as file:
            file.write(text)

    def flush(self):
        pass

logconfig_dict = {
    "formatters": {"json": {"()": lambda: Formatter()}},
    "filters": {"own": {"()": lambda: lambda record: "/health" not in str(record.args)}},
    "handlers": {"file": {"class": "logging.StreamHandler", "stream": Stream(), "formatter": "json", "filters": ["own"]}},
    "loggers": {
        "gunicorn.access": {"handlers": ["file"], "level": "INFO", "propagate": False},
        "gunicorn.error": {"handlers": ["file"], "level": "WARNING", "propagate": False},
    },
    "root": {"handlers": [], "level": "INFO"},
}
logconfig_dict["itself"] = logconfig_dict
"#;

#[test]
fn a_dictionary_with_functions_and_objects_configures_logging_and_turns_the_access_log_on() {
    with_and_without(DICTIONARY, |files, mut server| {
        server.get("/a");
        server.get("/health");
        server.get("/raise");
        let written = lines(&files.path().join("out.log"), 3);
        let objects: Vec<Value> = written.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&objects[0]["method"], &objects[0]["path"]), (&"GET".into(), &"/a".into()));
        assert_eq!((&objects[0]["status"], &objects[0]["missing"]), (&"200".into(), &"-".into()));
        assert!(objects[0]["template"].as_str().unwrap().starts_with("%(h)s %(l)s"));
        assert_eq!(
            (&objects[1]["message"], &objects[1]["raised"]),
            (&"Error handling request GET /raise".into(), &true.into())
        );
        assert_eq!(objects[2]["status"], "500");
        server.stop();
    });
}

#[test]
fn defaults_that_are_changed_in_place_count() {
    let conf = r#"
from gunicorn import glogging
glogging.CONFIG_DEFAULTS["formatters"]["generic"]["format"] = "changed %(message)s"
glogging.CONFIG_DEFAULTS["loggers"]["gunicorn.access"]["propagate"] = False
logconfig_dict = {"version": 1}
access_log_format = "%(m)s %(U)s"
"#;
    with_and_without(conf, |_, mut server| {
        server.get("/a%0ab");
        wait_until("a line on standard output", || server.output.stdout().contains("changed GET /a\\x0ab\n"));
        server.stop();
    });
}

#[test]
fn files_configure_logging_in_both_forms() {
    let ini = "[loggers]\nkeys=root,access\n[handlers]\nkeys=file\n[formatters]\nkeys=own\n[logger_root]\nhandlers=\n\
        [logger_access]\nqualname=gunicorn.access\nhandlers=file\npropagate=0\n[handler_file]\nclass=FileHandler\n\
        args=('out.log',)\nformatter=own\n[formatter_own]\nformat=own %(message)s\n";
    let json = r#"{"formatters": {"own": {"format": "own %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": "out.log", "formatter": "own"}},
        "loggers": {"gunicorn.access": {"handlers": ["file"], "propagate": false}}, "root": {"handlers": []}}"#;
    for words in [["--log-config", "log.ini"], ["--log-config-json", "log.json"]] {
        let files = directory(&[APP, ("log.ini", ini), ("log.json", json)]);
        let [flag, file] = words;
        let mut server =
            Server::start_in(files.path(), &[flag, file, "--access-logformat", "%(m)s %(U)s %(s)s", "app"]);
        server.get("/x");
        let path = files.path().join("out.log");
        assert_eq!(lines(&path, 1), ["own GET /x 200"]);
        // A file that was rotated is opened anew.
        fs::rename(&path, files.path().join("old.log")).unwrap();
        server.signal(Signal::SIGUSR1);
        // The zygote opens it, and the worker at its own time.
        let has_line = || fs::read_to_string(&path).unwrap_or_default().contains("own GET /y 200\n");
        wait_until("a line in the new file", || {
            server.get("/y");
            has_line()
        });
        assert_eq!(lines(&files.path().join("old.log"), 1)[0], "own GET /x 200");
        server.stop();
    }
}

#[test]
fn what_cannot_be_configured_ends_the_start_with_code_1() {
    for (conf, words, said) in [
        (
            "",
            vec!["--log-config", "nothing.ini"],
            "logconfig: FileNotFoundError: [Errno 2] No such file or directory: 'nothing.ini'",
        ),
        ("", vec!["--log-config-json", "gunicorn.conf.py"], "logconfig_json: "),
        ("", vec!["--logger-class", "nothing.at.All"], "logger_class: ModuleNotFoundError: No module named 'nothing'"),
        (
            "",
            vec!["--logger-class", "Logger"],
            "logger_class: ImportError: expected the dotted name of a class, found 'Logger'",
        ),
        ("logconfig_dict = {'handlers': {'x': {'class': 'no.Such'}}}", vec![], "logconfig_dict: "),
        ("logconfig_dict = ['x']", vec![], "gunicorn.conf.py:1: logconfig_dict: expected a dictionary, found a list"),
    ] {
        let files = site(conf);
        let (code, _, log) = run(files.path(), [&["-b", "127.0.0.1:0", "app"][..], &words[..]].concat());
        assert_eq!(code, 1, "{log}");
        assert!(log.contains(said), "{said}\n{log}");
    }
}

#[test]
fn applications_find_gunicorns_loggers_with_a_handler() {
    let files = directory(&[APP]);
    let mut server = Server::start_in(files.path(), &["app"]);
    assert_eq!(server.get("/log").text(), " 1");
    let log = server.stop();
    assert!(log.contains("[INFO] info of the application\n"), "{log}");
    assert!(log.contains("[WARNING] warning of the application\n"), "{log}");
    assert!(!log.contains("not to be seen"), "{log}");
}

/// Prints, and writes to the descriptors below Python.
const PRINTING: (&str, &str) = (
    "app.py",
    r#"
import os
import sys

def application(environ, start_response):
    path = environ["PATH_INFO"]
    print("printed " + path)
    os.write(1, b"written %s\n" % path.encode())
    os.write(2, b"also %s\n" % path.encode())
    start_response("200 OK", [])
    return []
"#,
);

#[test]
fn what_is_printed_goes_to_the_error_logs_file_and_follows_it_when_it_is_rotated() {
    let files = directory(&[PRINTING]);
    let server =
        Quiet::start(&files, &["-b", "127.0.0.1:0", "--error-logfile", "error.log", "--capture-output", "app"]);
    let path = files.path().join("error.log");
    let has = |name: &str| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        ["printed", "written", "also"].iter().all(|word| text.contains(&format!("{word} {name}\n")))
    };
    server.get("/one");
    wait_until("what was printed", || has("/one"));
    fs::rename(&path, files.path().join("old.log")).unwrap();
    server.signal(Signal::SIGUSR1);
    wait_until("the file again", || {
        server.get("/two");
        has("/two")
    });
    assert!(!fs::read_to_string(files.path().join("old.log")).unwrap().contains("ValueError"));
    server.stop();
}

const STATSD: &str = r#"
from gunicorn.instrument.statsd import Statsd, GAUGE_TYPE

class Logger(Statsd):
    def access(self, resp, req, environ, request_time):
        super().access(resp, req, environ, request_time)
        self.increment("own.requests", 1)
        self.info("", extra={"metric": "own.level", "value": 7, "mtype": GAUGE_TYPE})

logger_class = Logger
accesslog = "access.log"
statsd_prefix = "site"
"#;

#[test]
fn a_class_that_speaks_to_statsd_itself_has_nothing_counted_twice() {
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.set_read_timeout(Some(limit())).unwrap();
    let conf = format!("{STATSD}statsd_host = \"{}\"\n", statsd.local_addr().unwrap());
    with_and_without(&conf, |files, mut server| {
        assert_eq!(server.get("/").status, 200);
        let mut told = String::new();
        let has_all = |told: &str| {
            ["site.own.requests:1|c", "site.own.level:7|g", "site.gunicorn.requests"]
                .iter()
                .all(|one| told.contains(one))
        };
        let mut datagram = vec![0; 65536];
        while !has_all(&told) {
            let length = statsd.recv(&mut datagram).unwrap_or_else(|error| panic!("{error}\n{told}"));
            told += &format!("{}\n", String::from_utf8_lossy(&datagram[..length]));
        }
        server.stop();
        statsd.set_nonblocking(true).unwrap();
        while let Ok(length) = statsd.recv(&mut datagram) {
            told += &format!("{}\n", String::from_utf8_lossy(&datagram[..length]));
        }
        statsd.set_nonblocking(false).unwrap();
        assert_eq!(told.matches("gunicorn.requests:").count(), 1, "{told}");
        assert!(!fs::read_to_string(files.path().join("access.log")).unwrap().is_empty());
    });
}
