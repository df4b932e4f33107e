//! gunicorn's configuration files, as people write them: what of them is heard, what is said about the rest, and what becomes
//! of a server whose file goes wrong.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::outside::bare_virtualenv;
use crate::support::{Gate, Response, Server, children, directory, run, run_command, rwsgi, wait_gone, wait_until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Answers the process's environment, `/NAME` a variable of it.
const APP: (&str, &str) = (
    "app.py",
    r#"
import os

AT_IMPORT = dict(os.environ)

def application(environ, start_response):
    start_response("200 OK", [])
    return [AT_IMPORT.get(environ["PATH_INFO"][1:], "nothing").encode()]
"#,
);

/// A directory with the application and this `gunicorn.conf.py`.
fn site(conf: &str) -> TempDir {
    directory(&[APP, ("gunicorn.conf.py", conf)])
}

/// The server of such a directory, started without a word about the file.
fn start(files: &TempDir, words: &[&str]) -> Server {
    Server::spawn(command(files, words))
}

fn command(files: &TempDir, words: &[&str]) -> Command {
    let mut command = rwsgi(files.path(), words);
    for name in ["GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS"] {
        command.env_remove(name);
    }
    command
}

/// What `rwsgi settings` prints of a setting, its origin included.
fn setting(files: &TempDir, words: &[&str], name: &str) -> String {
    let words: Vec<&str> = [&["settings"], words].concat();
    let (code, out, log) = run_command(command(files, &words));
    assert_eq!(code, 0, "{log}");
    let is_its = |line: &&str| line.starts_with(&format!("{name} =")) || line.starts_with(&format!("# {name} is"));
    out.lines().find(is_its).unwrap_or_default().to_owned()
}

/// Django behind nginx, as its deployment guides have it.
const DJANGO: &str = r#"
"""Gunicorn configuration."""
import multiprocessing
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

wsgi_app = "app"
bind = ["127.0.0.1:0", "unix:site.sock"]
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "gunicorn.workers.gthread.ThreadWorker"
threads = 2
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 1000
max_requests_jitter = 50
preload_app = True
raw_env = ["GREETING=hello, world"]
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
accesslog = None
errorlog = "-"
loglevel = "INFO"
proc_name = "mysite"
umask = 0o007
limit_request_line = 8190
daemon = False
reload = False
capture_output = False
statsd_host = None
reload_engine = "auto"
"#;

#[test]
fn a_configuration_of_django_is_found_evaluated_and_served() {
    let files = site(DJANGO);
    let mut server = start(&files, &[]);
    assert_eq!(server.get("/DJANGO_SETTINGS_MODULE").text(), "mysite.settings");
    assert_eq!(server.get("/GREETING").text(), "hello, world");
    let mut stream = UnixStream::connect(files.path().join("site.sock")).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /HOME HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut stream).unwrap().status, 200);
    let cpus = std::thread::available_parallelism().unwrap().get();
    let printed = setting(&files, &[], "workers");
    assert!(printed.ends_with("# gunicorn.conf.py:10"), "{printed}");
    let count: usize = printed.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(count > 2 && count % 2 == 1, "{count} workers on {cpus} CPUs");
    assert_eq!(server.workers().len(), count);
    for (name, value) in [
        ("worker_class", "\"gthread\""),
        ("umask", "0o007"),
        ("timeout", "60"),
        ("loglevel", "\"info\""),
        ("preload_app", "true"),
        ("forwarded_allow_ips", "[\"*\"]"),
    ] {
        assert!(setting(&files, &[], name).starts_with(&format!("{name} = {value}  # gunicorn.conf.py:")), "{name}");
    }
    let log = server.stop();
    assert!(!log.contains("warning"), "{log}");
    assert!(!files.path().join("site.sock").exists());
    assert!(!files.path().join("__pycache__/gunicorn.conf.cpython-311.pyc").exists());
}

#[test]
fn every_way_to_name_the_file_leads_to_it() {
    let files = directory(&[
        APP,
        (
            "conf/site.py",
            "import os\nbase = os.path.dirname(__file__)\nproc_name = __name__ + base[-4:]\nthreads = 3\n",
        ),
        ("conf/plain.py", "from conf.site import threads\nproc_name = __name__\n"),
        ("rwsgi.toml", "threads = 5\n"),
    ]);
    for (word, proc_name, threads) in [
        ("conf/site.py", "\"__config__conf\"  # conf/site.py:3", "3  # conf/site.py:4"),
        ("file:conf/site.py", "\"__config__conf\"  # conf/site.py:3", "3  # conf/site.py:4"),
        ("python:conf.site", "\"conf.siteconf\"  # ", "3  # "),
        ("conf/plain.py", "\"__config__\"  # conf/plain.py:2", "3  # conf/plain.py"),
        ("rwsgi.toml", "", "5  # rwsgi.toml:1"),
    ] {
        let found = setting(&files, &["-c", word], "proc_name");
        assert!(found.contains(proc_name), "{word}: {found}");
        assert!(setting(&files, &["-c", word], "threads").contains(&format!("threads = {threads}")), "{word}");
    }
    let (code, _, log) = run(files.path(), ["-c", "nowhere.py", "app"]);
    assert_eq!((code, log.as_str()), (1, "--config: nowhere.py: no such file or directory\n"));
    let (code, _, log) = run(files.path(), ["-c", "python:nowhere", "app"]);
    assert_eq!(code, 1, "{log}");
    assert!(log.starts_with("python:nowhere: the configuration file raised ModuleNotFoundError\n"), "{log}");
}

#[test]
fn the_file_counts_less_than_the_variable_and_that_less_than_the_command_line() {
    let files = site("workers = 2\nthreads = 2\ntimeout = 2\nkeepalive = 2\n");
    let ask = |name: &str, words: &[&str]| {
        let words: Vec<&str> = [&["settings"], words].concat();
        let mut command = command(&files, &words);
        command.env("GUNICORN_CMD_ARGS", "--threads=3 -t 3 --keep-alive '3' ignored:app").env("RWSGI_TIMEOUT", "4");
        command.env("WEB_CONCURRENCY", "7").env("PORT", "8123").env("FORWARDED_ALLOW_IPS", "10.0.0.1");
        let (code, out, log) = run_command(command);
        assert_eq!(code, 0, "{log}");
        out.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned()
    };
    for (name, words, expected) in [
        ("workers =", &[][..], "workers = 2  # gunicorn.conf.py:1"),
        ("threads =", &[], "threads = 3  # GUNICORN_CMD_ARGS"),
        ("timeout =", &[], "queue_timeout = 0  # default"),
        ("keepalive =", &["--keep-alive", "5"], "keepalive = 5  # --keep-alive"),
        ("bind =", &[], "bind = [\"0.0.0.0:8123\"]  # PORT"),
        ("forwarded_allow_ips", &[], "forwarded_allow_ips = [\"10.0.0.1\"]  # FORWARDED_ALLOW_IPS"),
        ("wsgi_app", &[], "# wsgi_app is not set  # default"),
    ] {
        assert_eq!(ask(name, words), expected);
    }
}

#[test]
fn the_variable_may_name_the_file_and_is_refused_if_it_cannot_be_understood() {
    let files = directory(&[APP, ("other.py", "workers = 6\n"), ("gunicorn.conf.py", "workers = 2\n")]);
    let with = |variable: &str, words: &[&str]| {
        let mut command = command(&files, words);
        command.env("GUNICORN_CMD_ARGS", variable);
        run_command(command)
    };
    let (_, out, _) = with("-c other.py", &["settings"]);
    assert!(out.contains("workers = 6  # other.py:1"), "{out}");
    let (_, out, _) = with("-c other.py", &["settings", "-c", "gunicorn.conf.py"]);
    assert!(out.contains("workers = 2  # gunicorn.conf.py:1"), "{out}");
    for (variable, words) in [
        ("--no-such-option", "GUNICORN_CMD_ARGS: --no-such-option: unknown option\n"),
        ("--bind '", "GUNICORN_CMD_ARGS: expected closing quotes, found none\n"),
        ("--check-config", "GUNICORN_CMD_ARGS: expected options that are settings, found --check-config\nhint: "),
        ("--workers many", "GUNICORN_CMD_ARGS: expected a whole number"),
    ] {
        let (code, _, log) = with(variable, &["app", "-b", "127.0.0.1:0"]);
        assert_eq!(code, if variable.ends_with("many") { 1 } else { 2 }, "{log}");
        assert!(log.starts_with(words), "{log}");
    }
}

#[test]
fn a_platform_that_sets_port_and_concurrency_is_served() {
    let files = site("import os\nwsgi_app = 'app'\nbind = '127.0.0.1:' + os.environ.get('PORT', '8000')\n");
    let mut command = command(&files, &[]);
    command.env("PORT", "0").env("WEB_CONCURRENCY", "2");
    let mut server = Server::spawn(command);
    assert_eq!(server.workers().len(), 2);
    assert_eq!(server.get("/PORT").text(), "0");
    server.stop();
}

#[test]
fn values_that_a_setting_does_not_take_are_said_with_their_lines() {
    let conf = r#"
import os
workers = -1
threads = 2.5
timeout = None
bind = [8000, "127.0.0.1:port"]
user = 4_000_000_000_000
worker_class = "gevent"

http2_max_frame_size = 16385
on_starting = 5
"#;
    let files = site(conf);
    let (code, _, log) = run_command(command(&files, &["app"]));
    assert_eq!(code, 1, "{log}");
    for words in [
        "gunicorn.conf.py:3: workers: expected ",
        "gunicorn.conf.py:4: threads: expected a whole number from 1 to 512, found 2.5\n",
        "gunicorn.conf.py:6: bind: expected ",
        "gunicorn.conf.py:8: worker_class: expected sync or gthread, found \"gevent\", which is not planned\n",
        "gunicorn.conf.py:10: http2_max_frame_size: this setting of gunicorn is not planned\nhint: ",
    ] {
        assert!(log.contains(words), "expected {words:?} in\n{log}");
    }
    assert!(!log.contains("timeout") && !log.contains("raised"), "{log}");
}

#[test]
fn names_that_almost_are_settings_get_a_warning_and_helpers_do_not() {
    let conf = r#"
import multiprocessing as worker
from os import environ
workers_per_core = 2
cores = worker.cpu_count()
wsgi_app = "app"
bind = "127.0.0.1:0"
preload = True
logfile = "-"
access_logfile = "-"
worker_timeout = 5
_binds = ["x"]
port = 5

def workres():
    return cores * workers_per_core

def post_frok(server, worker):
    pass
"#;
    let files = site(conf);
    let mut server = start(&files, &[]);
    let log = server.stop();
    let warnings: Vec<&str> = log.lines().filter(|line| line.starts_with("warning: ")).collect();
    let warning = |line: usize, name: &str, meant: &str| {
        format!("warning: gunicorn.conf.py:{line}: {name}: not read, no setting has this name; did you mean {meant}?")
    };
    let expected = [
        warning(8, "preload", "preload_app"),
        warning(9, "logfile", "errorlog"),
        warning(10, "access_logfile", "accesslog"),
        warning(18, "post_frok", "post_fork").replace("no setting", "no hook"),
    ];
    assert_eq!(warnings, expected, "{log}");
}

#[test]
fn gunicorn_can_be_imported_where_it_is_not_installed() {
    let conf = r#"
import gunicorn
import gunicorn.glogging
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger as Base
from gunicorn.http.wsgi import Response
from gunicorn.workers.base import Worker

gunicorn.SERVER = "mine"

class Logger(Base):
    def setup(self, cfg):
        self.is_set_up = True

def helper(server: Arbiter, worker: Worker) -> Response:
    pass

Logger(None).info("not lost: %s", "it has a level")
assert gunicorn.version_info > (20,)
from gunicorn.config import Config
from gunicorn.errors import HaltServer

raw_env = ["ORIGIN=%s" % gunicorn.__spec__.origin, "VERSION=" + gunicorn.__version__, "SET_UP=%s" % Logger(None).is_set_up]
try:
    import gunicorn.nothing
except ModuleNotFoundError:
    raw_env.append("NOTHING=indeed")
"#;
    let files = site(conf);
    bare_virtualenv(files.path(), "bare");
    let server = start(&files, &["app", "-b", "127.0.0.1:0", "--python", "bare"]);
    assert!(server.get("/VERSION").text().split('.').count() == 3);
    assert_eq!(server.get("/SET_UP").text(), "True");
    assert_eq!(server.get("/NOTHING").text(), "indeed");
}

#[test]
fn what_is_imported_of_gunicorn_works_or_says_what_to_do_where_it_is_not_installed() {
    for (line, words) in [
        ("from gunicorn.instrument.statsd import Statsd, METRIC_VAR", ""),
        ("from gunicorn.http.errors import NoMoreData, InvalidHeader", ""),
        ("from gunicorn.workers.gthread import ThreadWorker\nclass Mine(ThreadWorker): pass", ""),
        ("from gunicorn.config import AccessLogFormat\naccess_log_format = AccessLogFormat.default", ""),
        ("from gunicorn import util\nutil.import_app('json:dumps')({})\nutil.http_date(0)\nutil.getcwd()", ""),
        // A program that can also start by itself is imported for its application.
        ("from gunicorn.app.base import BaseApplication\nclass Program(BaseApplication): pass", ""),
        ("import gunicorn.app.base as base\nbase.BaseApplication().run()", "rwsgi module:application"),
        ("from gunicorn.app.wsgiapp import run\nrun()", "rwsgi module:application"),
        ("from gunicorn.workers.sync import SyncWorker\nworker_class = SyncWorker", "sync"),
        ("from gunicorn.workers.ggevent import GeventWorker\nworker_class = GeventWorker", "worker_class"),
        (
            "from gunicorn.workers.sync import SyncWorker\nclass Mine(SyncWorker): pass\nworker_class = Mine",
            "worker_class",
        ),
        ("import gunicorn.pidfile", "install gunicorn beside the application"),
        ("from gunicorn.util import chown", "install gunicorn beside the application"),
    ] {
        let files = site(&format!("{line}\n"));
        bare_virtualenv(files.path(), "bare");
        let (code, out, log) = run_command(command(&files, &["check", "app", "--python", "bare"]));
        assert!(code == i32::from(!words.is_empty() && words != "sync"), "{line}: {code}\n{out}{log}");
        assert!(log.contains(words) || words == "sync", "{line}\n{log}");
    }
}

#[test]
fn the_real_gunicorn_is_imported_where_it_is_installed() {
    let conf = "import gunicorn, gunicorn.config\nraw_env = ['KNOWN=%d' % len(gunicorn.config.KNOWN_SETTINGS)]\n";
    let files = site(conf);
    let server = start(&files, &["app", "-b", "127.0.0.1:0"]);
    assert!(server.get("/KNOWN").text().parse::<usize>().unwrap() > 100);
}

#[test]
fn a_file_that_raises_ends_the_start_with_code_1_and_its_traceback() {
    for (conf, words) in [
        ("workers = cpu_count()\n", "NameError: name 'cpu_count' is not defined"),
        ("workers = (\n", "SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(0)\n", "expected settings, found a call of sys.exit"),
        ("import os\nos._exit(0)\n", "the process that evaluates the configuration file ended"),
    ] {
        let files = site(conf);
        for words_of_call in [&["app", "-b", "127.0.0.1:0"][..], &["check", "app"], &["settings"]] {
            let (code, _, log) = run_command(command(&files, words_of_call));
            assert_eq!(code, 1, "{words_of_call:?}\n{log}");
            assert!(log.contains(words), "expected {words:?} in\n{log}");
            assert!(!log.contains("importlib") && !log.contains("<string>"), "{log}");
        }
    }
}

#[test]
fn a_file_that_hangs_is_waited_for_as_long_as_a_boot_may_take() {
    let files = site("open('gate').read()\n");
    let _gate = Gate::closed(files.path().join("gate"));
    let (code, _, log) = run_command(command(&files, &["app", "-b", "127.0.0.1:0", "--boot-timeout", "0.3"]));
    assert_eq!(code, 1, "{log}");
    assert!(log.starts_with("gunicorn.conf.py: expected the file to end within 0.3 s, found it running\n"), "{log}");
}

#[test]
fn a_reload_evaluates_the_file_anew() {
    let files = site("wsgi_app = 'app'\nbind = '127.0.0.1:0'\nraw_env = ['GREETING=one']\nworkers = 1\n");
    let mut server = start(&files, &[]);
    assert_eq!(server.get("/GREETING").text(), "one");
    let old = server.workers();
    let conf = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\nraw_env = ['GREETING=two']\nworkers = 2\nproc_name = 'new'\n";
    fs::write(files.path().join("gunicorn.conf.py"), conf).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    wait_gone(&old);
    assert_eq!(server.get("/GREETING").text(), "two");
    wait_until("a second worker", || server.workers().len() == 3);
    assert!(children(server.pid()).iter().all(|(_, name)| name.contains("rwsgi")), "{:?}", children(server.pid()));
    server.stop();
}

#[test]
fn a_reload_whose_file_goes_wrong_changes_nothing() {
    let conf = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\nraw_env = ['GREETING=one']\n";
    let files = site(conf);
    let mut server = start(&files, &["-p", "pid"]);
    let mut failures = 0;
    for (wrong, words) in [
        ("workers = (", "SyntaxError"),
        ("workers = many", "NameError: name 'many' is not defined"),
        ("workers = 'many'", "gunicorn.conf.py:1: workers: expected"),
        ("import os\nos._exit(1)", "the process that evaluates the configuration file ended"),
        (
            "import os\nos.remove(__file__)\nwsgi_app = 'app'\nuser = 'no-such-user'",
            "user: expected a user of this system",
        ),
        ("", ""),
    ] {
        fs::write(files.path().join("gunicorn.conf.py"), wrong).unwrap();
        if words.is_empty() {
            fs::remove_file(files.path().join("gunicorn.conf.py")).unwrap();
        }
        failures += 1;
        server.signal(Signal::SIGHUP);
        server.wait_for_lines("reload failed, nothing has changed", failures);
        assert!(server.log().contains(words), "{}", server.log());
        assert_eq!(server.get("/GREETING").text(), "one");
    }
    fs::write(files.path().join("gunicorn.conf.py"), "workers = many").unwrap();
    let mut reload = rwsgi(files.path(), ["reload", "--pid", "pid"]);
    reload.env("GUNICORN_CMD_ARGS", "");
    let (code, _, log) = run_command(reload);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("NameError"), "{log}");
    let (code, _, log) = run_command(command(&files, &["status"]));
    assert_eq!(code, 1, "without a word about the server the file has to be evaluated: {log}");
    fs::write(files.path().join("gunicorn.conf.py"), conf.replace("one", "two")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    wait_until("the new text", || server.get("/GREETING").text() == "two");
    server.stop();
}

#[test]
fn requests_are_served_while_a_reload_evaluates_the_file_and_the_newest_reload_wins() {
    let conf = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\nraw_env = ['GREETING=one']\n";
    let files = site(conf);
    let mut server = start(&files, &[]);
    let gate = Gate::closed(files.path().join("gate"));
    let waiting = "open('begun', 'w').close()\nopen('gate').read()\n";
    fs::write(files.path().join("gunicorn.conf.py"), waiting).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the file is being evaluated", || files.path().join("begun").exists());
    assert_eq!(server.get("/GREETING").text(), "one");
    fs::write(files.path().join("gunicorn.conf.py"), conf.replace("one", "two")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload given up");
    server.wait_for("reload done");
    wait_until("the new text", || server.get("/GREETING").text() == "two");
    // A stop does not wait for it, either.
    fs::remove_file(files.path().join("begun")).unwrap();
    fs::write(files.path().join("gunicorn.conf.py"), waiting).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the file is being evaluated", || files.path().join("begun").exists());
    let tree = server.tree();
    server.stop();
    wait_gone(&tree);
    drop(gate);
}

#[test]
fn a_zygote_that_dies_is_replaced_by_one_that_has_evaluated_the_file() {
    let files = site("import os\nwsgi_app = 'app'\nbind = '127.0.0.1:0'\nos.environ['GREETING'] = 'from the file'\n");
    let server = start(&files, &["--max-requests", "1"]);
    let zygote = server.zygote().unwrap();
    nix::sys::signal::kill(zygote, Signal::SIGKILL).unwrap();
    server.wait_for("zygote ended");
    assert_eq!(server.get("/GREETING").text(), "from the file");
    server.wait_for_lines("worker ready", 2);
    assert_eq!(server.get("/GREETING").text(), "from the file");
}

/// Notes each hook with the process that called it.
const NOTING: &str = r#"
import os
wsgi_app = "app"
bind = "127.0.0.1:0"
HERE = os.path.dirname(__file__)

def note(text):
    with open(os.path.join(HERE, "notes"), "a") as notes:
        notes.write("%s %d\n" % (text, os.getpid()))

def nworkers_changed(server, new, old):
    note("nworkers_changed %s %s" % (new, old))

def on_starting(server):
    server.token = "token"
    os.environ["FROM_ON_STARTING"] = "on_starting"
    server.log.info("starting %s", server.proc_name)
    note("on_starting %d" % server.pid)

def on_reload(server):
    note("on_reload")

def pre_fork(server, worker):
    assert worker.pid == "[booting]"
    worker.number = worker.age * 10
    note("pre_fork %d" % worker.age)

def post_fork(server, worker):
    os.environ["GREETING"] = "from post_fork"
    assert worker.pid == os.getpid() and worker.cfg.workers == server.cfg.workers == 1
    worker.log.warning("forked %d", worker.number)
    note("post_fork %s" % getattr(server, "token", ""))

def post_worker_init(worker):
    inner = worker.wsgi
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/wrapped":
            start_response("203 Wrapped", [])
            return [repr(worker.number).encode()]
        return inner(environ, start_response)
    worker.wsgi = application
    assert worker.booted is False
    note("post_worker_init")

def worker_int(worker):
    note("worker_int")

def worker_exit(server, worker):
    note("worker_exit %d" % worker.nr)
"#;

/// The notes so far, without pids.
fn notes(files: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(files.path().join("notes")).unwrap_or_default();
    text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn hooks_are_called_in_gunicorns_order_with_what_they_put_on_server_and_worker() {
    let files = site(NOTING);
    let mut server = start(&files, &[]);
    assert_eq!(server.get("/FROM_ON_STARTING").text(), "on_starting");
    assert_eq!(server.get("/GREETING").text(), "from post_fork");
    let wrapped = server.get("/wrapped");
    assert_eq!((wrapped.status, wrapped.text().as_str()), (203, "10"));
    let started = [
        "nworkers_changed 1 None".to_owned(),
        format!("on_starting {}", server.pid()),
        "pre_fork 1".to_owned(),
        "post_fork token".to_owned(),
        "post_worker_init".to_owned(),
    ];
    assert_eq!(notes(&files), started, "{}", server.log());
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    wait_until("the old worker's end", || notes(&files).iter().any(|note| note.starts_with("worker_exit")));
    let log = server.stop();
    let reloaded = ["nworkers_changed 1 1", "on_reload", "pre_fork 2", "post_fork token", "post_worker_init"];
    assert_eq!(notes(&files)[5..10], reloaded, "{log}");
    assert_eq!(notes(&files)[10..], ["worker_exit 0", "worker_exit 0"], "{log}");
    assert!(log.contains("[INFO] starting app\n") && log.contains("[WARNING] forked 10\n"), "{log}");
    let mut server = start(&files, &[]);
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    assert_eq!(notes(&files)[notes(&files).len() - 2..], ["worker_int", "worker_exit 0"], "{}", server.log());
}

#[test]
fn request_hooks_see_and_change_requests_and_see_responses() {
    let conf = r#"
wsgi_app = "echo_environ"
bind = "127.0.0.1:0"

def pre_request(worker, req):
    worker.log.info("before %s %s %s %s", req.method, req.path, req.query, req.version)
    if req.path == "/raise":
        raise ValueError("not this one")
    req.headers.append(("X-ADDED", "by the hook"))
    req.headers = [pair for pair in req.headers if pair[0] != "X-SECRET"]
    req.scheme = "https"
    req.own = "kept"

def post_request(worker, req, environ, resp):
    assert environ["HTTP_X_ADDED"] == "by the hook"
    worker.log.info("after %d %s %s %s %d %s", worker.nr, resp.status, req.own, environ["PATH_INFO"], resp.sent, resp.headers)
    if req.path == "/late":
        raise ValueError("too late")
"#;
    let app = r#"
def application(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("in the application")
    start_response("200 Fine", [("X-Own", "1")])
    names = ["HTTP_X_ADDED", "HTTP_X_SECRET", "HTTP_X_MANY", "wsgi.url_scheme"]
    return ["|".join(environ.get(name, "-") for name in names).encode()]
"#;
    for words in [&[][..], &["--threads", "3"]] {
        let files = directory(&[("echo_environ.py", app), ("gunicorn.conf.py", conf)]);
        let mut server = start(&files, words);
        let answer = server.ask(
            "GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-Secret: s\r\nX-Many: 1\r\nX-Many: 2\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(answer.text(), "by the hook|-|1,2|https");
        // The response is out before the hook is called, and another thread may take the next request.
        server.wait_for("[INFO] after 1 ");
        assert_eq!(server.get("/raise").status, 500);
        assert_eq!(server.get("/fail").status, 500);
        assert_eq!(server.get("/late").status, 200);
        let log = server.stop();
        for words in [
            "[INFO] before GET /a%20b c=d (1, 1)\n",
            "[INFO] after 1 200 Fine kept /a b 23 [('X-Own', '1')]\n",
            "ValueError: not this one\n",
            "RuntimeError: in the application\n",
            " 500 Internal Server Error kept /fail ",
            "ValueError: too late\n",
        ] {
            assert!(log.contains(words), "expected {words:?} in\n{log}");
        }
    }
}

#[test]
fn a_hook_that_raises_is_fatal_where_the_server_or_the_worker_cannot_go_on_and_noted_elsewhere() {
    let raising = |name: &str, arguments: &str| {
        format!("wsgi_app = 'app'\nbind = '127.0.0.1:0'\ndef {name}({arguments}):\n    raise KeyError('{name}')\n")
    };
    for (name, arguments, code) in [
        ("nworkers_changed", "server, new, old", 1),
        ("on_starting", "server", 1),
        ("pre_fork", "server, worker", 3),
        ("post_fork", "server, worker", 3),
        ("post_worker_init", "worker", 3),
    ] {
        let files = site(&raising(name, arguments));
        let (found, _, log) = run_command(command(&files, &["-w", "2"]));
        assert_eq!(found, code, "{log}");
        assert!(log.contains(&format!("{name}: the hook raised KeyError\nTraceback")), "{log}");
        assert_eq!(log.matches("Traceback").count(), 1, "{log}");
    }
    let files = site(&raising("worker_exit", "server, worker"));
    let log = start(&files, &[]).stop();
    assert!(log.contains("hook failed") && log.contains("KeyError: 'worker_exit'"), "{log}");
    let files =
        site("wsgi_app = 'app'\npost_fork = 5\n\n\nworker_exit = [1]\nssl_context = print\ncertfile = 'cert.pem'\n");
    let (code, _, log) = run_command(command(&files, &[]));
    assert_eq!(code, 1, "{log}");
    for words in [
        "gunicorn.conf.py:2: post_fork: expected a function, found 5\n",
        "gunicorn.conf.py:5: worker_exit: expected a function, found a list\n",
        "gunicorn.conf.py:6: ssl_context: this setting of gunicorn is not planned\n",
    ] {
        assert!(log.contains(words), "expected {words:?} in\n{log}");
    }
}

#[test]
fn a_reload_whose_hook_raises_changes_nothing() {
    let files = site("wsgi_app = 'app'\nbind = '127.0.0.1:0'\n");
    let mut server = start(&files, &[]);
    let broken = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\ndef on_reload(server):\n    raise KeyError('no')\n";
    fs::write(files.path().join("gunicorn.conf.py"), broken).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload failed, nothing has changed");
    assert_eq!(server.get("/NOTHING").text(), "nothing");
    assert!(server.log().contains("on_reload: the hook raised KeyError"), "{}", server.log());
    server.stop();
}
