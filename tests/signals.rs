//! Signals and processes of the application: what it forks and starts, and handlers that it sets.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::outside::python;
use crate::support::{Gate, Response, Server, children, directory, program, run, rwsgi, wait_gone, wait_until};

/// The ways in which an application may run: `/` forks in a request, `/import` answers what was found while it was loaded.
const WAYS: [&[&str]; 3] = [&[], &["--preload"], &["--threads", "2"]];

/// Forks a process for each signal, sends that, and answers how the process has ended.
const FORKED: &str = r#"
import json, os, signal, sys

def forked(number, prepare=lambda: None):
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            # TTIN and TTOU stop no process of a group whose parents are all gone, as that of the tests may be (setpgid(2)).
            os.setpgid(0, 0)
            prepare()
            os.write(tell, b".")
            signal.pause()
            signal.pause()
        except KeyboardInterrupt:
            code = 42
        finally:
            os._exit(code)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    # A signal between two instructions of Python would be noted, and the pause not ended.
    while open(f"/proc/{child}/stat").read().rsplit(")")[1].split()[0] != "S":
        pass
    os.kill(child, number)
    status = os.waitpid(child, os.WUNTRACED)[1]
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "stopped"
    return os.waitstatus_to_exitcode(status)

def own(number, old):
    os._exit(7)

def outcomes():
    names = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "PWR", "TTIN", "TTOU"]
    found = {name: forked(getattr(signal, "SIG" + name)) for name in names}
    found["handler in the child"] = forked(signal.SIGTERM, lambda: signal.signal(signal.SIGTERM, own))
    found["pipe, size"] = [signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGPIPE, signal.SIGXFSZ)]
    for number in (signal.SIGUSR2, signal.SIGTERM):
        old = signal.getsignal(number)
        signal.signal(number, lambda *arguments: (os.write(2, b"wrapped\n"), old(*arguments)))
        found["wrapped " + str(int(number))] = forked(number)
        signal.signal(number, old)
    signal.signal(signal.SIGUSR1, own)
    found["handler before the fork"] = forked(signal.SIGUSR1)
    return json.dumps([os.getpid(), found])

at_import = outcomes()

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/import":
        return [at_import.encode()]
    # Only the main thread may set handlers.
    import threading
    if threading.current_thread() is not threading.main_thread():
        return [json.dumps([os.getpid(), forked(signal.SIGTERM)]).encode()]
    return [outcomes().encode()]
"#;

#[test]
fn a_forked_child_has_the_signals_of_a_plain_program() {
    let files = directory(&[("forked.py", FORKED)]);
    let plain = serde_json::json!({
        "TERM": -15, "INT": 42, "QUIT": -3, "HUP": -1, "USR1": -10, "USR2": -12, "PWR": -30, "TTIN": "stopped",
        "TTOU": "stopped", "handler in the child": 7, "pipe, size": [true, true], "wrapped 15": -15, "wrapped 12": -12,
        "handler before the fork": 7,
    });
    for way in WAYS {
        let mut server = Server::start_in(files.path(), &[&["forked"], way].concat());
        let (workers, zygote) = (server.workers(), server.zygote());
        for path in ["/import", "/", "/", "/"] {
            let found: serde_json::Value = serde_json::from_slice(&server.get(path).body).unwrap();
            let expected = if found[1].is_number() { &serde_json::json!(-15) } else { &with_usr1(&plain, path) };
            assert_eq!(&found[1], expected, "{way:?} {path}");
        }
        assert_eq!((server.workers(), server.zygote()), (workers, zygote), "the server's own processes are left alone");
        server.stop();
    }
}

/// The handler that the application sets at its import is there in its requests.
fn with_usr1(plain: &serde_json::Value, path: &str) -> serde_json::Value {
    let mut expected = plain.clone();
    if path != "/import" {
        expected["USR1"] = 7.into();
    }
    expected
}

/// Leaves a pool while its processes are busy, and ends a process.
const POOL: &str = r#"
import multiprocessing, os, time

def application(environ, start_response):
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        pool.map_async(time.sleep, [600, 600])
    child = fork.Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join()
    start_response("200 OK", [])
    return [b"%d %d" % (child.exitcode, os.getpid())]
"#;

#[test]
fn a_busy_pool_and_a_process_of_multiprocessing_end_when_they_are_told_to() {
    let files = directory(&[("pool.py", POOL)]);
    for way in WAYS {
        let mut server = Server::start_in(files.path(), &[&["pool"], way].concat());
        let worker = server.workers()[0];
        for _ in 0..2 {
            assert_eq!(server.get("/").text(), format!("-15 {worker}"), "{way:?}");
        }
        server.stop();
    }
}

/// Answers the descriptors of the server that this process has: listening sockets, and channels.
const DESCRIPTORS: &str = r#"
import json, os, socket

def found():
    listening, channels = 0, 0
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(fd)) as one:
                listening += one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                channels += one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET
        except OSError:
            pass
    return [listening, channels]

def forked():
    ready, tell = os.pipe()
    if not os.fork():
        os.write(tell, json.dumps(found()).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(ready, 100))

at_import = [found(), forked()]

def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps([at_import, [found(), forked()]]).encode()]
"#;

#[test]
fn a_forked_child_has_no_socket_of_the_server() {
    let files = directory(&[("descriptors.py", DESCRIPTORS)]);
    for way in WAYS {
        let mut server = Server::start_in(files.path(), &[&["descriptors", "-b", "127.0.0.1:0"], way].concat());
        let found: [[[usize; 2]; 2]; 2] = serde_json::from_slice(&server.get("/").body).unwrap();
        for [own, forked] in found {
            assert!(own[0] == 1 && own[1] >= 1, "{way:?} {found:?}");
            assert_eq!(forked, [0, 0], "{way:?} {found:?}");
        }
        server.stop();
    }
}

/// Answers which signals programs find ignored and blocked, by each way of starting one, at import and in a request.
const STARTING: &str = r#"
import os, signal, subprocess

GREP = ["/bin/grep", "-E", "SigIgn|SigBlk", "/proc/self/status"]

def masks():
    ready, tell = os.pipe()
    os.set_inheritable(tell, True)
    os.system(" ".join(["/bin/grep", "-E", "'SigIgn|SigBlk'", "/proc/self/status", ">&%d" % tell]))
    os.waitpid(os.posix_spawn(GREP[0], GREP, {}, file_actions=[(os.POSIX_SPAWN_DUP2, tell, 1)]), 0)
    said = os.read(ready, 4096).decode() + subprocess.run(GREP, stdout=subprocess.PIPE, text=True).stdout
    os.close(ready)
    os.close(tell)
    sleeps = subprocess.Popen(["/bin/sleep", "600"])
    sleeps.send_signal(signal.SIGINT)
    # The C library has the upper ones for itself.
    masks = {int(line.split()[1], 16) & 0x7fffffff for line in said.splitlines()}
    return "%s %s" % (masks, sleeps.wait())

at_import = masks()

def application(environ, start_response):
    start_response("200 OK", [])
    return [("%s, %s" % (at_import, masks())).encode()]
"#;

#[test]
fn a_program_that_the_application_starts_finds_no_signal_ignored() {
    let files = directory(&[("starting.py", STARTING)]);
    for way in WAYS {
        // Some shells ignore INT and QUIT in what they start in the background.
        let inner = rwsgi(files.path(), [&["starting", "-b", "127.0.0.1:0"], way].concat());
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' INT QUIT TTIN XFSZ; exec \"$@\"", "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let mut server = Server::spawn(like(&inner, command, files.path()));
        assert_eq!(server.get("/").text(), "{0} -2, {0} -2", "{way:?}");
        server.stop();
    }
}

/// Gives a command the surroundings of another one.
fn like(inner: &Command, mut command: Command, directory: &Path) -> Command {
    command.current_dir(directory);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn an_ignored_sigchld_does_not_break_the_fork() {
    let ignores = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n";
    let app =
        "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n";
    let files =
        directory(&[("plain.py", app), ("ignoring.py", &format!("{ignores}{app}")), ("gunicorn.conf.py", ignores)]);
    let cases: [&[&str]; 2] = [&["ignoring", "--preload"], &["plain", "-c", "gunicorn.conf.py"]];
    for words in cases {
        let mut server = Server::start_in(files.path(), &[words, &["--max-requests", "2"]].concat());
        for _ in 0..4 {
            assert_eq!(server.get("/").status, 200, "{words:?}");
        }
        server.wait_for_lines("worker ready", 2);
        server.signal(Signal::SIGHUP);
        server.wait_for("reload done");
        assert_eq!(server.get("/").status, 200, "{words:?}");
        let log = server.stop();
        assert!(!log.contains("[ERROR]") && !log.contains("[WARNING]"), "{words:?}\n{log}");
    }
}

/// Takes TERM for itself in a request, in the way that the path names.
const TAKES_TERM: &str = r#"
import atexit, os, signal, sys

atexit.register(lambda: os.write(2, b"exit handlers run\n"))

def mine(*_):
    os.write(2, b"taken by the application\n")

def application(environ, start_response):
    start_response("200 OK", [])
    way = environ["PATH_INFO"]
    old = signal.getsignal(signal.SIGTERM)
    if way == "/wrapped":
        signal.signal(signal.SIGTERM, lambda *arguments: (mine(), old(*arguments)))
    elif way == "/back":
        signal.signal(signal.SIGTERM, mine)
        signal.signal(signal.SIGTERM, old)
    elif way == "/default":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    elif way == "/ignored":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif way == "/taken":
        signal.signal(signal.SIGTERM, mine)
    elif way.startswith("/gate"):
        os.write(2, b"under way\n")
        os.close(os.open(way[5:], os.O_RDONLY))
    return [b"whole"]
"#;

#[test]
fn an_application_that_takes_term_in_a_request_is_stopped_gracefully() {
    let files = directory(&[("takes.py", TAKES_TERM)]);
    for way in ["/taken", "/wrapped", "/back", "/default", "/ignored"] {
        let mut server = Server::start_in(files.path(), &["takes"]);
        assert_eq!(server.get(way).status, 200);
        let gate = Gate::closed(files.path().join("gate"));
        let mut waiting = server.begin(&format!("/gate{}/gate", files.path().display()));
        server.wait_for("under way");
        server.signal(Signal::SIGTERM);
        server.wait_for("stopping signal=TERM");
        let open = gate.open();
        assert_eq!(Response::read(&mut waiting).unwrap().text(), "whole", "{way}");
        assert_eq!(server.wait(), 0);
        let log = server.log();
        assert!(log.contains("exit handlers run") && !log.contains("did not end when asked"), "{way}\n{log}");
        drop(open);
        std::fs::remove_file(files.path().join("gate")).unwrap();
    }
}

#[test]
fn a_handler_that_was_wrapped_or_put_back_still_ends_the_worker_gracefully() {
    let files = directory(&[("takes.py", TAKES_TERM)]);
    for way in ["/wrapped", "/back"] {
        let mut server = Server::start_in(files.path(), &["takes"]);
        assert_eq!(server.get(way).status, 200);
        let worker = server.workers()[0];
        kill(worker, Signal::SIGTERM).unwrap();
        server.wait_for("exit handlers run");
        wait_gone(&[worker]);
        server.wait_for_lines("worker ready", 2);
        assert_eq!(server.get("/").status, 200);
        server.stop();
    }
}

#[test]
fn a_server_that_is_started_with_signals_blocked_takes_them() {
    let app = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n";
    let files = directory(&[("app.py", app)]);
    let inner = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0"]);
    let block = "import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nos.execv(sys.argv[1], sys.argv[1:])";
    let mut command = python(["-c", block]);
    command.arg(program()).args(inner.get_args());
    let mut server = Server::spawn(like(&inner, command, files.path()));
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    server.stop();
}

#[test]
fn a_log_file_that_has_reached_its_limit_ends_nothing_and_what_was_lost_is_said() {
    let app = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n";
    let files = directory(&[("app.py", app)]);
    let log = || std::fs::read_to_string(files.path().join("error")).unwrap_or_default();
    let inner = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0", "--error-logfile", "error"]);
    let mut command = Command::new("sh");
    // The unit is 512 bytes; the engine has to fit as well. The server's own lines go to the file.
    let limit: u64 = 256 << 20;
    let words = format!("echo workers=1 keepalive >&2; ulimit -f {}; exec \"$@\"", limit / 512);
    command.args(["-c", &words, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let mut server = Server::spawn_unready(like(&inner, command, files.path()));
    wait_until("it serves", || log().contains("worker ready"));
    let workers = || {
        let is_worker = |(pid, name): (Pid, String)| name.starts_with("rwsgi: worker").then_some(pid);
        children(server.pid()).into_iter().filter_map(is_worker).collect::<Vec<_>>()
    };
    let before = workers();
    let file = std::fs::OpenOptions::new().write(true).open(files.path().join("error")).unwrap();
    file.set_len(limit).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the worker is replaced", || {
        let now = workers();
        !now.is_empty() && now.iter().all(|worker| !before.contains(worker))
    });
    file.set_len(0).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("what was lost is said", || log().contains("log lines dropped n="));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), 0, "{}", log());
}

/// Starts processes and a thread while it is preloaded, and ends some of them in exit handlers.
const PRELOADED: &str = r#"
import atexit, concurrent.futures, multiprocessing, os, subprocess, threading

me = os.getpid()
manager = multiprocessing.get_context("fork").Manager()
shared = manager.dict()
ended = subprocess.Popen(["sleep", "600"])
forgotten = subprocess.Popen(["sh", "-c", "sleep 600 & wait"])
stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600 & wait"])
pool = concurrent.futures.ThreadPoolExecutor(1)
pool.submit(lambda: None)

@atexit.register
def end():
    if os.getpid() == me:
        ended.terminate()
        ended.wait()
        os.write(2, b"exit handler of the zygote, %d threads\n" % threading.active_count())

def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/gate"):
        os.write(2, b"under way\n")
        os.close(os.open(environ["PATH_INFO"][5:], os.O_RDONLY))
        shared["asked"] = "after the stop began"
    start_response("200 OK", [])
    if "asked" in shared:
        return [shared["asked"].encode()]
    return ["%d %d %d %d".encode() % (manager._process.pid, ended.pid, forgotten.pid, stubborn.pid)]
"#;

/// Returns what the preloaded application has started, with the programs that these have started.
fn helpers(server: &Server) -> Vec<Pid> {
    let mut pids: Vec<Pid> = server.get("/").text().split(' ').map(|pid| Pid::from_raw(pid.parse().unwrap())).collect();
    let below: Vec<Pid> = pids.iter().flat_map(|pid| children(*pid)).map(|(pid, _)| pid).collect();
    pids.extend(below);
    assert!(pids.len() >= 6, "{pids:?}");
    pids
}

#[test]
fn what_a_preloaded_application_has_started_ends_after_the_workers_and_with_the_server() {
    let files = directory(&[("preloaded.py", PRELOADED)]);
    let mut server = Server::start_in(files.path(), &["preloaded", "--preload"]);
    let helpers = helpers(&server);
    let gate = Gate::closed(files.path().join("gate"));
    let mut waiting = server.begin(&format!("/gate{}/gate", files.path().display()));
    server.wait_for("under way");
    server.signal(Signal::SIGTERM);
    server.wait_for("stopping signal=TERM");
    let _open = gate.open();
    assert_eq!(Response::read(&mut waiting).unwrap().text(), "after the stop began", "{}", server.log());
    assert_eq!(server.wait(), 0);
    assert!(server.log().contains("exit handler of the zygote, 1 threads"), "{}", server.log());
    wait_gone(&helpers);
}

#[test]
fn a_quick_stop_leaves_nothing_of_a_preloaded_application_either() {
    let files = directory(&[("preloaded.py", PRELOADED)]);
    let mut server = Server::start_in(files.path(), &["preloaded", "--preload"]);
    let helpers = helpers(&server);
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    wait_gone(&helpers);
}

#[test]
fn what_a_preloaded_application_has_started_ends_with_its_generation() {
    let files = directory(&[("preloaded.py", PRELOADED)]);
    let mut server = Server::start_in(files.path(), &["preloaded", "--preload"]);
    let old = helpers(&server);
    let gate = Gate::closed(files.path().join("gate"));
    let mut waiting = server.begin(&format!("/gate{}/gate", files.path().display()));
    server.wait_for("under way");
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    let new = helpers(&server);
    let _open = gate.open();
    assert_eq!(Response::read(&mut waiting).unwrap().text(), "after the stop began", "{}", server.log());
    server.wait_for("exit handler of the zygote, 1 threads");
    wait_gone(&old);
    assert!(new.iter().all(|pid| kill(*pid, None).is_ok()), "those of the new generation are there");
    server.stop();
    wait_gone(&new);
}

#[test]
fn a_thread_of_a_preloaded_application_that_never_ends_is_waited_for_within_graceful_timeout() {
    let endless = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n\
                   def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n";
    let files = directory(&[("endless.py", endless)]);
    let mut server = Server::start_in(files.path(), &["endless", "--preload", "--graceful-timeout", "2"]);
    let tree = server.tree();
    let began = std::time::Instant::now();
    server.stop();
    assert!(began.elapsed() < crate::support::patient(std::time::Duration::from_secs(8)), "{:?}", began.elapsed());
    wait_gone(&tree);
}

#[test]
fn an_interpreter_that_does_not_start_within_boot_timeout_is_code_3_and_nothing_is_left_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let app = "def application(environ, start_response):\n    pass\n";
    let wrapper = "#!/bin/sh\necho $$ >>pids\nsleep 600 &\necho $! >>pids\nexec sleep 600\n";
    let files = directory(&[("app.py", app), ("wrapper", wrapper), ("gunicorn.conf.py", "")]);
    std::fs::set_permissions(files.path().join("wrapper"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for config in [&[][..], &["-c", "gunicorn.conf.py"]] {
        let words = ["app", "-b", "127.0.0.1:0", "--python", "./wrapper", "--boot-timeout", "1"];
        let (code, _, log) = run(files.path(), [&words[..], config].concat());
        assert_eq!(code, 3, "{config:?}\n{log}");
        let pids = std::fs::read_to_string(files.path().join("pids")).unwrap();
        let pids: Vec<Pid> = pids.lines().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect();
        assert!(pids.len() >= 2, "{log}");
        wait_gone(&pids);
    }
}
