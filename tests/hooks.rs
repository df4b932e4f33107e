//! The hooks of a configuration file: which process calls each, in which order, with what, and what becomes of a server whose
//! hooks fail. What configurations in the wild do with them, with the packages that they use.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use crate::support::{self, Server, directory, limit, run_command, rwsgi, wait_gone, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Answers the process's environment at its import, `/NAME` a variable of it; `/hang` waits for a gate.
const APP: (&str, &str) = (
    "app.py",
    r#"
import os

AT_IMPORT = dict(os.environ)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        open("reached", "w").close()
        open("gate").read()
    if environ["PATH_INFO"] == "/abort":
        os.abort()
    start_response("200 OK", [])
    return [AT_IMPORT.get(environ["PATH_INFO"][1:], "nothing").encode()]
"#,
);

/// What a file of these tests begins with: `note` writes a line to `notes`.
const NOTING: &str = r#"
import os
wsgi_app = "app"
bind = "127.0.0.1:0"
HERE = os.path.dirname(__file__)

def note(*words):
    with open(os.path.join(HERE, "notes"), "a") as notes:
        notes.write(" ".join(map(str, words)) + "\n")

"#;

fn site(conf: &str) -> TempDir {
    directory(&[APP, ("gunicorn.conf.py", &format!("{NOTING}{conf}"))])
}

fn command(files: &TempDir, words: &[&str]) -> Command {
    let mut command = rwsgi(files.path(), words);
    for name in ["GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS"] {
        command.env_remove(name);
    }
    command
}

fn start(files: &TempDir, words: &[&str]) -> Server {
    Server::spawn(command(files, words))
}

fn notes(files: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(files.path().join("notes")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for so many notes that begin so.
fn wait_for_notes(files: &TempDir, start: &str, count: usize) {
    wait_until(&format!("{count} notes {start:?}"), || {
        notes(files).iter().filter(|note| note.starts_with(start)).count() >= count
    });
}

/// A file with every hook of gunicorn.
const EVERY_HOOK: &str = r#"
def nworkers_changed(server, new, old): note("nworkers_changed", new, old)
def on_starting(server): note("on_starting")
def when_ready(server): note("when_ready")
def on_reload(server): note("on_reload")
def pre_fork(server, worker): note("pre_fork", worker.age, worker.pid)
def post_fork(server, worker): note("post_fork", worker.age)
def post_worker_init(worker): note("post_worker_init", worker.age)
def worker_int(worker): note("worker_int", worker.age)
def worker_exit(server, worker): note("worker_exit", worker.age)
def child_exit(server, worker): note("child_exit", worker.age, worker.booted, worker.nr)
def on_exit(server): note("on_exit", len(server.WORKERS))
"#;

#[test]
fn every_hook_is_called_in_gunicorns_order() {
    let files = site(EVERY_HOOK);
    let mut server = start(&files, &["-p", "pid"]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), 0, "{}", server.log());
    let expected = [
        "nworkers_changed 1 None",
        "on_starting",
        "when_ready",
        "pre_fork 1 [booting]",
        "post_fork 1",
        "post_worker_init 1",
        "worker_exit 1",
        "child_exit 1 False 0",
        "on_exit 0",
    ];
    assert_eq!(notes(&files), expected, "{}", server.log());
}

#[test]
fn worker_int_is_called_while_a_request_is_under_way() {
    let app = "import sys, threading, time\ndef application(environ, start_response):\n    print('under way', file=sys.stderr)\n    \
               time.sleep(3600) if environ['PATH_INFO'] == '/sleep' else threading.Event().wait()\n";
    for threads in ["1", "2"] {
        for path in ["/sleep", "/wait"] {
            let files = site(EVERY_HOOK);
            std::fs::write(files.path().join("held.py"), app).unwrap();
            let mut server = start(&files, &["held", "--threads", threads]);
            let held: Vec<_> = (0..threads.parse().unwrap()).map(|_| server.begin(path)).collect();
            server.wait_for_lines("under way", held.len());
            server.signal(Signal::SIGQUIT);
            assert_eq!(server.wait(), 0, "{}", server.log());
            let notes = notes(&files);
            assert_eq!(notes[6..8], ["worker_int 1", "worker_exit 1"], "{threads} {path} {notes:?}\n{}", server.log());
            assert!(!server.log().contains("SIGKILL"), "{}", server.log());
        }
    }
}

#[test]
fn hooks_about_the_number_of_workers_and_reloads_come_in_gunicorns_order() {
    let files = site(EVERY_HOOK);
    let mut server = start(&files, &[]);
    server.signal(Signal::SIGTTIN);
    server.wait_for_lines("worker ready", 2);
    server.signal(Signal::SIGTTOU);
    wait_for_notes(&files, "child_exit", 1);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    wait_for_notes(&files, "child_exit", 2);
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0, "{}", server.log());
    // The worker that is told to end does not wait for the hook about the number.
    let (workers, masters): (Vec<_>, Vec<_>) =
        notes(&files)[6..].iter().cloned().partition(|note| note.starts_with("worker_") || note.starts_with("post_"));
    let of_workers = [
        "post_fork 2",
        "post_worker_init 2",
        "worker_exit 1",
        "post_fork 3",
        "post_worker_init 3",
        "worker_exit 2",
        "worker_int 3",
        "worker_exit 3",
    ];
    let of_the_master = [
        "nworkers_changed 2 1",
        "pre_fork 2 [booting]",
        "nworkers_changed 1 2",
        "child_exit 1 False 0",
        "nworkers_changed 1 1",
        "on_reload",
        "pre_fork 3 [booting]",
        "child_exit 2 False 0",
        "child_exit 3 False 0",
        "on_exit 0",
    ];
    assert_eq!(
        (&workers[..], &masters[..]),
        (&of_workers.map(str::to_owned)[..], &of_the_master.map(str::to_owned)[..])
    );
}

#[test]
fn what_when_ready_starts_lives_across_reloads_and_ends_with_the_server() {
    let files = site(
        r#"
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Metrics(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"metrics of %d" % os.getpid())

def on_starting(server):
    server.greeting = "from on_starting"

def when_ready(server):
    assert server.greeting == "from on_starting"
    metrics = HTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    note("port", metrics.server_port)
    note("at", *server.LISTENERS)
    server.metrics = metrics

def on_exit(server):
    server.metrics.shutdown()
    note("on_exit")
"#,
    );
    let mut server = start(&files, &[]);
    assert_eq!(notes(&files)[1], format!("at http://{}", server.address()));
    let port: u16 = notes(&files)[0].split(' ').nth(1).unwrap().parse().unwrap();
    let metrics = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.rsplit_once("\r\n").unwrap().1.to_owned()
    };
    let keeper = metrics();
    assert!(keeper.starts_with("metrics of "), "{keeper}");
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    assert_eq!(metrics(), keeper);
    assert!(!server.log().contains("threads found"), "{}", server.log());
    let tree = server.tree();
    server.stop();
    wait_gone(&tree);
    assert_eq!(notes(&files)[2..], ["on_exit"]);
}

#[test]
fn what_when_ready_leaves_is_in_workers_and_a_reload_says_what_is_not() {
    let files = site(
        "SEEN = []\ndef when_ready(server):\n    import colorsys\n    colorsys.LEFT = os.getpid()\n    SEEN.append(1)\n    \
         os.environ['READY'] = 'yes'\n    server.mark = 'set'\n\
         def post_fork(server, worker):\n    import sys\n    left = getattr(sys.modules.get('colorsys'), 'LEFT', None)\n    \
         note(left == worker.ppid, left and os.path.exists('/proc/%d' % left), SEEN, os.environ.get('READY'), server.mark)\n",
    );
    let mut server = start(&files, &[]);
    assert_eq!(notes(&files), ["False True [1] yes set"]);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    assert_eq!(notes(&files)[1..], ["False None [] yes set"]);
    server.wait_for("are not there in workers of this reload: colorsys");
    let tree = server.tree();
    server.stop();
    wait_gone(&tree);
}

#[test]
fn a_hook_process_that_dies_is_logged_and_the_server_serves_on() {
    let files =
        site("def when_ready(server):\n    note('keeper', os.getpid())\ndef on_exit(server):\n    note('on_exit')\n");
    let mut server = start(&files, &[]);
    let keeper: i32 = notes(&files)[0].split(' ').nth(1).unwrap().parse().unwrap();
    assert!(fs::read_to_string(format!("/proc/{keeper}/cmdline")).unwrap().starts_with("rwsgi: hooks [app]"));
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    server.wait_for("the process of when_ready ended");
    assert_eq!(server.get("/NOTHING").text(), "nothing");
    server.stop();
    assert_eq!(notes(&files)[1..], ["on_exit"], "it is called elsewhere then");
}

#[test]
fn a_killed_master_takes_the_hook_process_along() {
    let files = site("def when_ready(server):\n    pass\n");
    let mut server = start(&files, &[]);
    let tree = server.tree();
    assert_eq!(tree.len(), 4, "{tree:?}");
    server.signal(Signal::SIGKILL);
    server.wait();
    wait_gone(&tree);
}

/// The recipe that gives each worker a number of its own, as it is passed around.
const WORKER_ID: &str = r#"
def on_starting(server):
    server._worker_id_overload = set()

def nworkers_changed(server, new_value, old_value):
    server._worker_id_current_workers = new_value

def _next_worker_id(server):
    if server._worker_id_overload:
        return server._worker_id_overload.pop()
    in_use = set(w._worker_id for w in tuple(server.WORKERS.values()) if w.alive)
    free = set(range(1, server._worker_id_current_workers + 1)) - in_use
    return free.pop()

def on_reload(server):
    server._worker_id_overload = set(range(1, server.cfg.workers + 1))

def pre_fork(server, worker):
    worker._worker_id = _next_worker_id(server)

def post_fork(server, worker):
    os.environ["APP_WORKER_ID"] = str(worker._worker_id)
    note("post_fork", worker._worker_id)

def worker_exit(server, worker):
    note("worker_exit", worker._worker_id)

def child_exit(server, worker):
    assert worker.pid not in server.WORKERS
    note("child_exit", worker._worker_id)
"#;

/// The numbers of the workers after those notes, in order.
fn numbers(files: &TempDir, start: &str) -> Vec<u32> {
    let notes = notes(files);
    let of = notes.iter().filter_map(|note| note.strip_prefix(start)?.trim().parse().ok());
    let mut numbers: Vec<u32> = of.collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_recipe_of_worker_numbers_gives_each_worker_one_of_its_own() {
    let files = site(WORKER_ID);
    let mut server = start(&files, &["-w", "3"]);
    assert_eq!(numbers(&files, "post_fork"), [1, 2, 3], "{}", server.log());
    // One that dies is followed by one with its number.
    kill(server.workers()[1], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 4);
    let killed = numbers(&files, "child_exit");
    assert_eq!(killed.len(), 1, "{:?}", notes(&files));
    assert_eq!(notes(&files).last().unwrap(), &format!("post_fork {}", killed[0]));
    // So is one that is replaced, whose replacement is there before it goes.
    server.signal(Signal::SIGTTIN);
    server.wait_for_lines("worker ready", 5);
    assert_eq!(notes(&files).last().unwrap(), "post_fork 4");
    server.signal(Signal::SIGTTOU);
    wait_for_notes(&files, "child_exit", 2);
    fs::remove_file(files.path().join("notes")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    wait_for_notes(&files, "child_exit", 3);
    assert_eq!(numbers(&files, "post_fork"), [1, 2, 3], "{:?}\n{}", notes(&files), server.log());
    assert_eq!(numbers(&files, "worker_exit").len(), 3);
    // And after a reload, when another zygote forks.
    fs::remove_file(files.path().join("notes")).unwrap();
    kill(server.workers()[6], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 9);
    assert_eq!(numbers(&files, "child_exit"), numbers(&files, "post_fork"), "{:?}", notes(&files));
    // And when the zygote itself has to be replaced.
    fs::remove_file(files.path().join("notes")).unwrap();
    kill(server.zygote().unwrap(), Signal::SIGKILL).unwrap();
    server.wait_for("zygote ended");
    kill(server.workers()[7], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 10);
    wait_for_notes(&files, "child_exit", 1);
    assert_eq!(numbers(&files, "child_exit"), numbers(&files, "post_fork"), "{:?}", notes(&files));
    let log = server.stop();
    assert!(!log.contains("Traceback"), "{log}");
}

#[test]
fn a_worker_that_recycles_gives_its_number_to_the_one_that_follows() {
    let files = site(WORKER_ID);
    let mut server = start(&files, &["--max-requests", "1"]);
    for count in 2..5 {
        assert_eq!(server.get("/APP_WORKER_ID").text(), "1");
        server.wait_for_lines("worker ready", count);
        wait_for_notes(&files, "child_exit", count - 1);
    }
    let log = server.stop();
    assert!(!log.contains("Traceback"), "{log}");
}

#[test]
fn what_hooks_put_on_server_reaches_the_next_generation_where_it_can_be_pickled() {
    let files = site(
        r#"
import threading

class Own:
    def __init__(self, text):
        self.text = text

def on_starting(server):
    server.own = Own("from on_starting")
    server.lock = threading.Lock()
    server.count = 0
    os.environ["GREETING"] = "from on_starting"

def pre_fork(server, worker):
    server.count += 1
    worker.count = server.count

def on_reload(server):
    note("on_reload", server.own.text, hasattr(server, "lock"), server.count, server.num_workers)
    note("workers", *[worker.count for worker in server.WORKERS.values()])
"#,
    );
    let mut server = start(&files, &["-w", "2"]);
    for reload in 1..3 {
        server.signal(Signal::SIGHUP);
        server.wait_for_lines("reload done", reload);
    }
    assert_eq!(server.get("/GREETING").text(), "from on_starting");
    let log = server.stop();
    assert_eq!(notes(&files)[0], "on_reload from on_starting False 2 2");
    assert_eq!(notes(&files)[1], "workers 1 2");
    assert_eq!(notes(&files)[2], "on_reload from on_starting False 4 2");
    let said = "server.lock cannot be pickled for the next process, whose hooks begin without it: TypeError: ";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[test]
fn hooks_of_the_master_know_its_pid_and_its_parent() {
    let files = site(
        r#"
def tell(name, server): note(name, server.pid, os.getppid())
def on_starting(server): tell("on_starting", server)
def when_ready(server): tell("when_ready", server)
def pre_fork(server, worker): tell("pre_fork", server)
def post_fork(server, worker): note("post_fork", os.getppid(), worker.ppid, worker.pid == os.getpid())
def child_exit(server, worker): tell("child_exit", server)
def on_exit(server): tell("on_exit", server)
"#,
    );
    let mut server = start(&files, &[]);
    let (master, own) = (server.pid(), std::process::id());
    server.stop();
    for note in notes(&files) {
        let (name, rest) = note.split_once(' ').unwrap();
        let expected = match name {
            "post_fork" => format!("{master} {master} True"),
            _ => format!("{master} {own}"),
        };
        assert_eq!(rest, expected, "{name}");
    }
    assert_eq!(notes(&files).len(), 6);
}

#[test]
fn a_program_that_starts_the_server_is_signalled_from_when_ready() {
    let files = site("import signal\ndef when_ready(server):\n    os.kill(os.getppid(), signal.SIGUSR1)\n");
    let starter = r#"
import os, signal, subprocess, sys
ready = []
signal.signal(signal.SIGUSR1, lambda *_: ready.append(True))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
server = subprocess.Popen(sys.argv[1:], preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1]))
found = signal.sigtimedwait([signal.SIGUSR1], 20)
print("signalled" if found else "not signalled")
server.terminate()
sys.exit(server.wait())
"#;
    let server = command(&files, &[]);
    let mut starter_command = Command::new(support::virtualenv().join("bin/python"));
    starter_command.args(["-c", starter]).arg(server.get_program()).current_dir(files.path());
    starter_command.env("VIRTUAL_ENV", support::virtualenv());
    let (code, out, log) = run_command(starter_command);
    assert_eq!((code, out.as_str()), (0, "signalled\n"), "{log}");
}

#[test]
fn a_request_that_takes_too_long_is_seen_by_worker_abort_on_top_of_its_frame() {
    let conf = r#"
import traceback
timeout = 0.3
def worker_abort(worker):
    frames = "".join(traceback.format_stack())
    note("worker_abort", worker.age, worker.aborted, worker.pid == os.getpid(), 'open("gate")' in frames)
    raise ValueError("changes nothing")
"#;
    for words in [&["--timeout-mode", "soft"][..], &["--timeout-mode", "hard"]] {
        let files = site(conf);
        let _gate = support::Gate::closed(files.path().join("gate"));
        let mut server = start(&files, words);
        assert_eq!(server.get("/hang").status, 504);
        assert_eq!(notes(&files), ["worker_abort 1 True True True"]);
        server.wait_for("ValueError: changes nothing");
        server.wait_for_lines("worker ready", 2);
        assert_eq!(server.get("/NOTHING").text(), "nothing");
        server.stop();
    }
    // A request of another thread cannot be interrupted by a hook; it is seen all the same.
    let files = site(conf);
    let gate = support::Gate::closed(files.path().join("gate"));
    let mut server = start(&files, &["--threads", "2"]);
    let asked = [server.begin("/hang"), server.begin("/hang")];
    wait_for_notes(&files, "worker_abort 1 True True", 2);
    drop((asked, gate.open()));
    server.stop();
    let files = site(conf);
    let _gate = support::Gate::closed(files.path().join("gate"));
    let mut server = start(&files, &["--timeout-mode", "warn"]);
    let _asked = server.begin("/hang");
    server.wait_for("request takes long");
    server.signal(Signal::SIGINT);
    server.wait();
    assert!(notes(&files).is_empty(), "{:?}", notes(&files));
}

#[test]
fn a_worker_that_is_sent_abrt_calls_worker_abort_and_one_that_aborts_leaves_its_stack() {
    let conf = r#"
import traceback
def worker_abort(worker):
    frames = "".join(traceback.format_stack())
    note("worker_abort", worker.age, worker.aborted, 'open("gate")' in frames)
def worker_exit(server, worker):
    note("worker_exit", worker.age)
def child_exit(server, worker):
    note("child_exit", worker.age)
"#;
    let files = site(conf);
    let _gate = support::Gate::closed(files.path().join("gate"));
    let mut server = start(&files, &[]);
    // In a request: on top of its frame.
    let _asked = server.begin("/hang");
    wait_until("the request hangs", || files.path().join("reached").exists());
    kill(server.workers()[0], Signal::SIGABRT).unwrap();
    server.wait_for_lines("worker ready", 2);
    wait_for_notes(&files, "child_exit 1", 1);
    assert_eq!(notes(&files)[..3], ["worker_abort 1 True True", "worker_exit 1", "child_exit 1"]);
    server.wait_for("exited with code 1.");
    // While it waits for connections: by itself.
    kill(server.workers()[1], Signal::SIGABRT).unwrap();
    wait_for_notes(&files, "child_exit 2", 1);
    assert_eq!(notes(&files)[3..6], ["worker_abort 2 True False", "worker_exit 2", "child_exit 2"]);
    server.wait_for_lines("worker ready", 3);
    // One that ends itself has crashed.
    let mut stream = server.begin("/abort");
    server.wait_for("Fatal Python error: Aborted");
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    wait_for_notes(&files, "child_exit 3", 1);
    server.wait_for("SIGABRT");
    assert!(!notes(&files).iter().any(|line| line.starts_with("worker_abort 3")), "{:?}", notes(&files));
    server.stop();
}

#[test]
fn pre_exec_comes_before_another_master_and_may_keep_it_away() {
    let files = site("def pre_exec(server):\n    note('pre_exec', server.pid)\n");
    let mut server = start(&files, &[]);
    server.signal(Signal::SIGUSR2);
    server.wait_for_lines("worker ready", 2);
    assert_eq!(notes(&files), [format!("pre_exec {}", server.pid())]);
    let log = server.log();
    let new = log.rsplit_once("new master started").unwrap().1.split("new=").nth(1).unwrap();
    let new = Pid::from_raw(new.split_whitespace().next().unwrap().parse().unwrap());
    kill(new, Signal::SIGTERM).unwrap();
    server.wait_for("new master ended, this one stays");
    server.stop();

    let files = site("def pre_exec(server):\n    raise KeyError('not now')\n");
    let mut server = start(&files, &["-p", "pid"]);
    let (code, _, log) = run_command(command(&files, &["upgrade", "--pid", "pid"]));
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("no new master: the hook pre_exec has failed"), "{log}");
    assert_eq!(server.get("/NOTHING").text(), "nothing");
    let log = server.stop();
    assert!(log.contains("KeyError: 'not now'"), "{log}");
}

#[test]
fn hooks_that_raise_at_the_end_are_noted_and_end_nothing() {
    let raising = |name: &str, arguments: &str| format!("def {name}({arguments}):\n    raise KeyError('{name}')\n");
    let files = site(&(raising("child_exit", "server, worker") + &raising("on_exit", "server")));
    let mut server = start(&files, &["-w", "2"]);
    kill(server.workers()[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 3);
    let log = server.stop();
    assert_eq!(log.matches("KeyError: 'child_exit'").count(), 3, "{log}");
    assert_eq!(log.matches("KeyError: 'on_exit'").count(), 1, "{log}");
    let files = site(&raising("when_ready", "server"));
    let (code, _, log) = run_command(command(&files, &[]));
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("when_ready: the hook raised KeyError\nTraceback"), "{log}");
    let files = site("def when_ready(server):\n    os._exit(0)\n");
    let (code, _, log) = run_command(command(&files, &[]));
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("zygote ended pid="), "{log}");
}

#[test]
fn a_hook_that_takes_other_arguments_than_it_will_get_is_refused_at_the_start() {
    for (hook, words) in [
        (
            "def child_exit(server): pass",
            "child_exit: expected a function of 2 arguments, found (server)\nhint: def child_exit(server, worker):",
        ),
        (
            "def post_request(worker): pass",
            "post_request: expected a function of 2 arguments, found (worker)\nhint: def post_request(worker, req, environ, resp):",
        ),
        ("on_exit = lambda: None", "on_exit: expected a function of 1 argument, found ()\nhint: def on_exit(server):"),
        (
            "post_fork = 'nowhere.hook'",
            "post_fork: expected the dotted name of a function, found 'nowhere.hook': No module named 'nowhere'",
        ),
        (
            "on_exit = 'os.nothing'",
            "on_exit: expected the dotted name of a function, found 'os.nothing': module 'os' has no attribute 'nothing'",
        ),
        ("on_exit = 'hook'", "on_exit: expected the dotted name of a function, found 'hook': Empty module name"),
        ("when_ready = 'os.path.sep'", "when_ready: expected a function, found a value of type str"),
    ] {
        let files = site(hook);
        for words_of_call in [&[][..], &["check"]] {
            let (code, _, log) = run_command(command(&files, words_of_call));
            assert_eq!(code, 1, "{log}");
            // With the line, where NOTING ends.
            let line = NOTING.lines().count() + 1;
            let said = format!("gunicorn.conf.py:{line}: {words}\n");
            assert!(log.contains(&said) && !log.contains("Traceback"), "{log}");
        }
    }
    let taking =
        "def child_exit(*words): pass\ndef post_request(worker, req, *more): pass\ndef on_exit(server, own=1): pass\n";
    start(&site(taking), &[]).stop();
}

#[test]
fn a_hook_that_hangs_at_the_end_is_waited_for_as_long_as_a_graceful_stop() {
    let files = site("def on_exit(server):\n    note('on_exit')\n    open('gate').read()\n");
    let _gate = support::Gate::closed(files.path().join("gate"));
    let mut server = start(&files, &["--graceful-timeout", "1.5"]);
    let tree = server.tree();
    server.stop();
    wait_gone(&tree);
    assert_eq!(notes(&files), ["on_exit"]);
}

#[test]
fn a_stop_closes_the_sockets_though_the_zygote_stays_for_its_hooks() {
    let files = site(EVERY_HOOK);
    let gate = support::Gate::closed(files.path().join("gate"));
    let mut server = start(&files, &[]);
    let asked = server.begin("/hang");
    server.signal(Signal::SIGTERM);
    wait_until("connections are refused", || std::net::TcpStream::connect(server.address()).is_err());
    drop((gate.open(), asked));
    assert_eq!(server.wait(), 0);
}

#[test]
fn hooks_may_be_objects_that_can_be_called_and_dotted_names() {
    let files = directory(&[
        APP,
        ("my/__init__.py", ""),
        ("my/hooks.py", "def child_exit(server, worker):\n    server.log.info('by its name %d', worker.age)\n"),
        (
            "gunicorn.conf.py",
            r#"
import functools
wsgi_app = "app"
bind = "127.0.0.1:0"
child_exit = "my.hooks.child_exit"

class Saying:
    def __init__(self, text):
        self.text = text
    def __call__(self, server):
        server.log.info("%s", self.text)
    def after(self, worker, req, environ, resp):
        worker.log.info("%s %s", resp.status, environ["PATH_INFO"])

on_starting = Saying("an object")
on_exit = functools.partial(Saying.__call__, Saying("a partial"))
post_request = Saying("").after
pre_fork = lambda server, worker: server.log.info("a lambda %d", worker.age)
"#,
        ),
    ]);
    let mut server = start(&files, &[]);
    server.get("/path");
    let log = server.stop();
    for words in ["an object", "a partial", "a lambda 1", "by its name 1", "200 OK /path"] {
        assert!(log.contains(&format!("[INFO] {words}\n")), "expected {words:?} in\n{log}");
    }
}

#[test]
fn a_zygote_without_rights_leaves_nothing_to_one_that_has_them() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // What is unpickled runs: not before the next zygote has lost its rights, too.
    let files = site(
        r#"
class Trap:
    def __reduce__(self):
        return (trapped, ())

def trapped():
    note("unpickled by", os.geteuid())
    return Trap()

user = "nobody"
def on_starting(server):
    note("on_starting by", os.geteuid())
    server.trap = Trap()
def on_reload(server):
    note("on_reload by", os.geteuid(), hasattr(server, "trap"))
def pre_fork(server, worker):
    assert server.trap
"#,
    );
    fs::write(files.path().join("notes"), "").unwrap();
    fs::set_permissions(files.path().join("notes"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut server = start(&files, &[]);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    // And not at all by another user.
    let conf = fs::read_to_string(files.path().join("gunicorn.conf.py")).unwrap();
    let conf =
        conf.replace("user = \"nobody\"", "").replace("assert server.trap", "assert not hasattr(server, 'trap')");
    fs::write(files.path().join("gunicorn.conf.py"), conf).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_lines("reload done", 2);
    server.stop();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    let expected =
        ["on_starting by 0", "on_reload by 0 False", &format!("unpickled by {nobody}"), "on_reload by 0 False"];
    assert_eq!(notes(&files), expected);
}

/// What is sent to this listener by POST: heads and bodies.
fn collects(sink: TcpListener) -> mpsc::Receiver<(String, Vec<u8>)> {
    let (send, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in sink.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(limit())).unwrap();
            let Ok(head) = support::Response::read_head(&mut stream) else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
            if send.send((head, body)).is_err() {
                return;
            }
        }
    });
    received
}

#[test]
fn prometheus_in_several_processes_forgets_workers_that_have_ended() {
    let app = r#"
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, multiprocess

REQUESTS = Counter("requests", "requests")
LIVE = Gauge("live", "workers", multiprocess_mode="livesum")
LIVE.set(1)

def application(environ, start_response):
    REQUESTS.inc()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    start_response("200 OK", [])
    return [generate_latest(registry)]
"#;
    let conf = r#"
import os
wsgi_app = "app"
bind = "127.0.0.1:0"
workers = 2
os.makedirs("metrics", exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.abspath("metrics")

from prometheus_client import multiprocess

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"#;
    let files = directory(&[("app.py", app), ("gunicorn.conf.py", conf)]);
    let mut server = start(&files, &[]);
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        line.map_or(0.0, |value| value.parse::<f64>().unwrap())
    };
    let live = || value(&server.get("/").text(), "live ");
    wait_until("two live workers", || (live() - 2.0).abs() < 0.1);
    kill(server.workers()[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 3);
    wait_until("the dead one is forgotten", || (live() - 2.0).abs() < 0.1);
    let counted = value(&server.get("/").text(), "requests_total ");
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    wait_until("the old generation is forgotten", || (live() - 2.0).abs() < 0.1);
    assert!(value(&server.get("/").text(), "requests_total ") > counted, "counters of dead workers count on");
    let log = server.stop();
    let left: Vec<_> =
        fs::read_dir(files.path().join("metrics")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("live")), "{left:?}\n{log}");
}

#[test]
fn sentry_started_in_post_fork_sends_what_an_application_raises() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let received = collects(sink);
    let app = "def application(environ, start_response):\n    raise RuntimeError('for sentry')\n";
    let conf = format!(
        r#"
wsgi_app = "app"
bind = "127.0.0.1:0"

def post_fork(server, worker):
    import sentry_sdk
    sentry_sdk.init(dsn="http://key@127.0.0.1:{port}/1", _experiments={{"transport_compression_level": 0}})

def post_worker_init(worker):
    from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
    worker.wsgi = SentryWsgiMiddleware(worker.wsgi)
"#
    );
    let files = directory(&[("app.py", app), ("gunicorn.conf.py", &conf)]);
    let mut server = start(&files, &["--threads", "2"]);
    assert_eq!(server.get("/path").status, 500);
    server.stop();
    let event = std::iter::from_fn(|| received.recv_timeout(limit()).ok()).find_map(|(head, body)| {
        assert!(head.starts_with("POST /api/1/envelope/ ") && head.contains("sentry_key=key"), "{head}");
        let text = String::from_utf8_lossy(&body).into_owned();
        text.contains("\"type\":\"event\"").then_some(text)
    });
    let event = event.expect("an envelope with an event");
    assert!(event.contains("RuntimeError") && event.contains("for sentry") && event.contains("/path"), "{event}");
}

#[test]
fn opentelemetry_started_in_post_fork_sends_the_spans_of_each_worker() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let received = collects(sink);
    let app = r#"
from opentelemetry import trace

def application(environ, start_response):
    with trace.get_tracer(__name__).start_as_current_span("answering " + environ["PATH_INFO"]):
        start_response("200 OK", [])
        return [b"traced"]
"#;
    let conf = format!(
        r#"
wsgi_app = "app"
bind = "127.0.0.1:0"
preload_app = True

def post_fork(server, worker):
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    server.log.info("Worker spawned (pid: %s)", worker.pid)
    resource = Resource.create({{"service.name": "site", "worker": "worker-%d" % worker.age}})
    exporter = OTLPSpanExporter("http://127.0.0.1:{port}/v1/traces", compression=Compression.NoCompression)
    trace.set_tracer_provider(TracerProvider(resource=resource))
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))

def worker_exit(server, worker):
    from opentelemetry import trace
    trace.get_tracer_provider().force_flush()
"#
    );
    let files = directory(&[("app.py", app), ("gunicorn.conf.py", &conf)]);
    let mut server = start(&files, &[]);
    assert_eq!(server.get("/path").text(), "traced");
    let log = server.stop();
    let (head, body) = received.recv_timeout(limit()).unwrap_or_else(|error| panic!("{error}\n{log}"));
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    for words in ["answering /path", "worker-1", "site"] {
        assert!(
            body.windows(words.len()).any(|part| part == words.as_bytes()),
            "no {words:?} in {}",
            body.escape_ascii()
        );
    }
}
