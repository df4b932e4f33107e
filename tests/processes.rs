//! Master, zygote and workers: who they are, how they stop, die and are replaced.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Gate, Response, Server, apps, children, directory, pace, pass, patient, rwsgi, status, wait_gone, wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// What a stuck request may delay a quick end: a second until it is killed, and a busy machine.
const QUICK: Duration = Duration::from_secs(4);

/// What is left of a server whose master was killed ends within this time.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

#[test]
fn the_master_is_without_python_and_the_parent_of_all() {
    let mut server = Server::start(&["hello", "-w", "2"]);
    let (master, zygote) = (server.pid(), server.zygote().unwrap());
    assert_eq!(python_files(master), [""; 0]);
    assert_ne!(python_files(zygote), [""; 0]);
    let mut expected = server.workers();
    expected.push(zygote);
    let mut found: Vec<Pid> = children(master).into_iter().map(|(pid, _)| pid).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(children(zygote), []);
    assert_eq!((status(master, "Threads"), status(zygote, "Threads")), ("1".to_owned(), "1".to_owned()));
    let tree = server.tree();
    server.stop();
    wait_gone(&tree);
}

/// Names of the mapped files that belong to an interpreter.
fn python_files(pid: Pid) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let names = maps.lines().filter_map(|line| line.split_whitespace().nth(5)?.rsplit('/').next());
    names.filter(|name| name.contains("python")).map(str::to_owned).collect()
}

#[test]
fn term_finishes_the_request_under_way_and_closes_idle_connections() {
    let files = directory(&[]);
    let mut server = Server::start(&["gate"]);
    let tree = server.tree();
    let mut idle = server.begin("/");
    assert_eq!(Response::read(&mut idle).unwrap().status, 200);
    let (mut waiting, gate) = begin_gate(&server, files.path());
    // The second one changes nothing.
    for count in 1..=2 {
        server.signal(Signal::SIGTERM);
        server.wait_for_lines("stopping signal=TERM", count);
    }
    let _open = gate.open();
    let response = Response::read(&mut waiting).unwrap();
    assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the idle connection is closed");
    assert_eq!(server.wait(), 0, "{}", server.log());
    wait_gone(&tree);
}

/// Begins a request that is in the application until the gate is opened.
fn begin_gate(server: &Server, directory: &Path) -> (TcpStream, Gate) {
    let gate = Gate::closed(directory.join("open"));
    let stream = server.begin(&format!("/gate{}/open", directory.display()));
    server.wait_for("under way: gate");
    (stream, gate)
}

#[test]
fn int_and_quit_do_not_wait_for_a_stuck_request() {
    let cases: &[&[Signal]] = &[
        &[Signal::SIGINT],
        &[Signal::SIGQUIT],
        &[Signal::SIGTERM, Signal::SIGINT],
        &[Signal::SIGTERM, Signal::SIGTERM, Signal::SIGQUIT],
    ];
    thread::scope(|scope| {
        for signals in cases {
            scope.spawn(move || {
                let mut server = Server::start(&["gate"]);
                let tree = server.tree();
                let _stuck = server.begin("/stubborn");
                server.wait_for("under way: stubborn");
                for (n, signal) in signals.iter().enumerate() {
                    server.signal(*signal);
                    server.wait_for_lines("stopping signal=", n + 1);
                }
                let began = Instant::now();
                assert_eq!(server.wait(), 0, "{signals:?}\n{}", server.log());
                assert!(began.elapsed() < patient(QUICK), "{signals:?} took {:?}\n{}", began.elapsed(), server.log());
                wait_gone(&tree);
            });
        }
    });
}

#[test]
fn what_is_not_finished_within_graceful_timeout_is_killed() {
    let mut server = Server::start(&["gate", "--graceful-timeout", "0.3"]);
    let _stuck = server.begin("/stubborn");
    server.wait_for("under way: stubborn");
    let log = server.stop();
    assert!(log.contains("worker did not end when asked, killed"), "{log}");
    let line = line_with(&server, "request cut off by the end of its worker method=GET path=/stubborn elapsed=");
    assert!(line.contains("slot=0 thread=0"), "{line}");
}

#[test]
fn a_stop_while_the_application_is_imported_is_quick() {
    let cases: &[&[&str]] = &[&["gate"], &["gate", "--preload"], &["gate", "-w", "4"]];
    thread::scope(|scope| {
        for words in cases {
            scope.spawn(move || {
                let mut server = importing(words);
                let tree = server.tree();
                let began = Instant::now();
                server.signal(Signal::SIGTERM);
                assert_eq!(server.wait(), 0, "{}", server.log());
                assert!(began.elapsed() < patient(QUICK), "{words:?} took {:?}\n{}", began.elapsed(), server.log());
                wait_gone(&tree);
            });
        }
    });
}

/// A server whose application hangs while it is imported.
fn importing(words: &[&str]) -> Server {
    let mut command = rwsgi(&apps(), words);
    command.args(["-b", "127.0.0.1:0"]).env("GATE", "/sleep");
    let server = Server::spawn_unready(command);
    server.wait_for("under way: sleep");
    server
}

#[test]
fn a_stop_at_any_moment_of_the_start_leaves_nothing() {
    for mark in ["Starting rwsgi", "Listening at: ", "keepalive=", "worker ready", "worker ready"] {
        let mut server = Server::spawn_unready({
            let mut command = rwsgi(&apps(), ["hello", "-w", "3"]);
            command.args(["-b", "127.0.0.1:0"]);
            command
        });
        server.wait_for(mark);
        server.stop();
    }
}

#[test]
fn a_worker_that_cannot_end_its_stuck_request_is_killed_and_replaced() {
    thread::scope(|scope| {
        for way in ["sleep", "busy", "stubborn"] {
            scope.spawn(move || {
                let mut server = Server::start(&["gate", "--timeout", "0.3", "--timeout-grace", "0.2"]);
                let stuck = server.workers()[0];
                let mut stream = server.begin(&format!("/{way}?token=1"));
                server.wait_for(&format!("under way: {way}"));
                // Nobody in it can do anything.
                kill(stuck, Signal::SIGSTOP).unwrap();
                let line = line_with(&server, "request timed out, its worker is killed");
                assert!(line.contains(&format!("request=\"GET /{way}?token=1 HTTP/1.1\"")), "{line}");
                assert!(line.contains(&format!("pid={stuck}")), "{line}");
                assert_closed(&mut stream);
                assert_ne!(server.get("/").text(), stuck.to_string());
                assert!(server.stop().contains("by=SIGKILL"));
            });
        }
    });
}

/// The peer is gone without a response.
fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("expected the end of the connection, found {other:?}"),
    }
}

/// The first line of the log with `text`, waited for.
fn line_with(server: &Server, text: &str) -> String {
    server.wait_for(text);
    server.log().lines().find(|line| line.contains(text)).unwrap().to_owned()
}

#[test]
fn an_idle_worker_and_a_slow_client_are_not_killed_by_timeout() {
    let pace = pace();
    let server = Server::start(&["echo", "--timeout", &format!("{:.3}", 0.2 * pace)]);
    let workers = server.workers();
    let mut slow = server.connect();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n12").unwrap();
    // Three timeouts: meanwhile the master looks at the worker a few times.
    pass(Duration::from_millis(700).mul_f64(pace));
    slow.write_all(b"34").unwrap();
    assert_eq!(Response::read(&mut slow).unwrap().status, 200);
    assert_eq!(server.workers(), workers, "{}", server.log());
}

#[test]
fn max_requests_replaces_workers_and_no_request_is_lost() {
    let words = ["crash", "-w", "2", "--max-requests", "20", "--max-requests-jitter", "5"];
    let mut server = Server::start(&words);
    let replaced = "Autorestarting worker after current request.";
    thread::scope(|scope| {
        for keep in [true, true, false, false] {
            let server = &server;
            scope.spawn(move || {
                let mut kept = None;
                while server.log().matches(replaced).count() < 10 {
                    ask(server, keep, &mut kept);
                }
            });
        }
    });
    let log = server.stop();
    assert!(server.workers().len() >= 8, "{log}");
    assert!(!log.contains("ERROR") && !log.contains("held back"), "{log}");
}

/// One request that must be answered. A kept connection is left only when the server says so.
fn ask(server: &Server, keep: bool, kept: &mut Option<TcpStream>) -> String {
    let mut stream = kept.take().unwrap_or_else(|| server.connect());
    let connection = if keep { "keep-alive" } else { "close" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n").as_bytes()).unwrap();
    let response =
        Response::read(&mut stream).unwrap_or_else(|error| panic!("{connection}: {error}\n{}", server.log()));
    assert_eq!(response.status, 200);
    *kept = (response.field("connection") != Some("close")).then_some(stream);
    response.text()
}

#[test]
fn a_worker_that_has_served_enough_in_a_stop_is_not_said_to_be_replaced() {
    let files = directory(&[]);
    let mut server = Server::start(&["gate", "--max-requests", "2"]);
    let (mut first, gate) = begin_gate(&server, files.path());
    let mut second = server.begin("/");
    server.signal(Signal::SIGTERM);
    server.wait_for("stopping signal=TERM");
    let _open = gate.open();
    for stream in [&mut first, &mut second] {
        assert_eq!(Response::read(stream).unwrap().status, 200);
    }
    assert_eq!(server.wait(), 0);
    assert!(!server.log().contains("Autorestarting"), "{}", server.log());
}

#[test]
fn jitter_is_added_to_max_requests() {
    // One of 30 draws below 30 of a million: once in a thousand runs.
    let server = Server::start(&["crash", "--max-requests", "1", "--max-requests-jitter", "1000000"]);
    let pids: HashSet<String> = (0..30).map(|_| ask(&server, false, &mut None)).collect();
    assert_eq!(pids.len(), 1, "{}", server.log());
}

#[test]
fn a_dead_worker_is_replaced() {
    let cases = [
        ("/_exit/0", "worker ended"),
        ("/_exit/3", "exited with code 3."),
        ("/abort", "was sent SIGABRT! slot="),
        ("/kill/9", "was sent SIGKILL! Perhaps out of memory?"),
        ("/segfault", "was sent SIGSEGV!"),
        ("", "was sent SIGKILL! Perhaps out of memory?"),
    ];
    thread::scope(|scope| {
        for (path, said) in cases {
            scope.spawn(move || {
                let mut server = Server::start(&["crash"]);
                let first = server.workers()[0];
                if path.is_empty() {
                    kill(first, Signal::SIGKILL).unwrap();
                } else {
                    assert_closed(&mut server.begin(path));
                }
                assert_ne!(server.get("/").text(), first.to_string(), "{path}");
                let log = server.stop();
                assert!(log.contains(said), "{path}: expected {said}\n{log}");
                let cut_off = format!("request cut off by the end of its worker method=GET path={path} elapsed=0.");
                assert_eq!(log.contains(&cut_off), !path.is_empty(), "{path}\n{log}");
                let has_died = path != "/_exit/0";
                assert_eq!(log.contains(" peak_rss="), has_died, "{path}\n{log}");
                // The kernel's counter says so where there is one.
                let hint = ["hint: the kernel's OOM killer did not end it", "hint: `journalctl -k` says"];
                let is_hinted = hint.iter().any(|hint| log.contains(hint));
                assert_eq!(is_hinted, said.contains("SIGKILL"), "{path}\n{log}");
            });
        }
    });
}

#[test]
fn a_segfault_leaves_a_python_stack_in_the_log() {
    let mut server = Server::start(&["crash"]);
    assert_closed(&mut server.begin("/segfault"));
    server.wait_for_lines("worker ready", 2);
    let log = server.stop();
    for part in ["Fatal Python error: Segmentation fault", "crash.py\", line", "in happen", "in application"] {
        assert!(log.contains(part), "expected {part:?}\n{log}");
    }
}

#[test]
fn a_segfault_leaves_its_stack_in_the_log_file_too() {
    let files = directory(&[]);
    let path = files.path().join("error.log");
    let mut command = rwsgi(&apps(), ["crash", "-b", "127.0.0.1:0", "--error-logfile", path.to_str().unwrap()]);
    command.env("CRASH", "/segfault");
    let (code, _, _) = support::run_command(command);
    let log = fs::read_to_string(&path).unwrap();
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("Fatal Python error: Segmentation fault") && log.contains("in happen"), "{log}");
}

/// Counts its imports in the file `imports`; ends its process at import once there is a file `broken`.
const FRAGILE: &str = r#"
import os
with open("imports", "a") as imports:
    imports.write(f"{os.getpid()}\n")
if os.path.exists("broken"):
    os._exit(9)

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"#;

#[test]
fn a_worker_that_dies_at_once_is_started_ever_more_rarely_and_the_service_heals() {
    let files = directory(&[("fragile.py", FRAGILE)]);
    let server = Server::start_in(files.path(), &["fragile"]);
    fs::write(files.path().join("broken"), "").unwrap();
    let began = Instant::now();
    kill(server.workers()[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("starts are held back", 3);
    // 250 ms after the first death, 500 ms after the second.
    assert!(began.elapsed() >= Duration::from_millis(750), "{:?}\n{}", began.elapsed(), server.log());
    let imports = fs::read_to_string(files.path().join("imports")).unwrap().lines().count();
    assert_eq!(imports, 3, "one sound worker and two that died\n{}", server.log());
    fs::remove_file(files.path().join("broken")).unwrap();
    assert_eq!(server.get("/").status, 200);
}

/// Ends its process by exit code 0 a moment after each import but the first.
const LEAVING: &str = r#"
import os, threading
with open("imports", "a") as imports:
    imports.write("1\n")
if os.path.exists("broken"):
    threading.Timer(0.01, os._exit, (0,)).start()

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"#;

#[test]
fn a_worker_that_leaves_by_code_0_unasked_is_held_back_as_well() {
    let files = directory(&[("leaving.py", LEAVING)]);
    let server = Server::start_in(files.path(), &["leaving"]);
    fs::write(files.path().join("broken"), "").unwrap();
    kill(server.workers()[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("starts are held back", 3);
    let imports = fs::read_to_string(files.path().join("imports")).unwrap().lines().count();
    assert_eq!(imports, 3, "{}", server.log());
}

#[test]
fn stopped_and_continued_processes_go_on() {
    let mut server = Server::start(&["crash", "--timeout", "0.2"]);
    let (worker, master) = (server.workers()[0], server.pid());
    for pid in [worker, master] {
        kill(pid, Signal::SIGSTOP).unwrap();
        wait_until("the process is stopped", || status(pid, "State").starts_with('T'));
        let mut stream = server.begin("/");
        kill(pid, Signal::SIGCONT).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().text(), worker.to_string());
    }
    server.stop();
}

#[test]
fn a_killed_master_takes_its_tree_along_whatever_that_does() {
    let cases = ["/", "/sleep", "/busy", "/stubborn", "importing", "importing in the zygote"];
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || {
                let mut server = match case {
                    "importing" => importing(&["gate"]),
                    "importing in the zygote" => importing(&["gate", "--preload"]),
                    _ => Server::start(&["gate", "-w", "2"]),
                };
                let tree = server.tree();
                let _stuck = (case.len() > 1 && case.starts_with('/')).then(|| {
                    let stream = server.begin(case);
                    server.wait_for("under way");
                    stream
                });
                let began = Instant::now();
                server.signal(Signal::SIGKILL);
                wait_gone(&tree);
                assert!(began.elapsed() < patient(LAST_REQUESTS), "{case}: {:?}", began.elapsed());
                assert_eq!(server.wait(), 128 + 9);
            });
        }
    });
}

#[test]
fn a_worker_finishes_its_request_when_the_master_was_killed() {
    let files = directory(&[]);
    let server = Server::start(&["gate"]);
    let tree = server.tree();
    let (mut stream, gate) = begin_gate(&server, files.path());
    server.signal(Signal::SIGKILL);
    wait_gone(&[server.pid()]);
    let _open = gate.open();
    assert_eq!(Response::read(&mut stream).unwrap().status, 200);
    wait_gone(&tree);
}

#[test]
fn a_killed_zygote_is_replaced_and_the_workers_stay() {
    let mut server = Server::start(&["crash", "-w", "2"]);
    let (workers, zygote) = (server.workers(), server.zygote().unwrap());
    kill(zygote, Signal::SIGKILL).unwrap();
    server.wait_for("zygote ended");
    let answered = server.get("/").text();
    assert!(workers.iter().any(|pid| pid.to_string() == answered), "{answered}\n{}", server.log());
    wait_until("there is a new zygote", || server.zygote().is_some_and(|pid| pid != zygote));
    kill(workers[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 3);
    assert!(server.workers()[2] != workers[0] && server.get("/").status == 200);
    let tree = server.tree();
    assert!(tree.contains(&workers[1]), "{}", server.log());
    server.stop();
    wait_gone(&tree);
}

#[test]
fn a_worker_that_dies_while_there_is_no_zygote_is_replaced_by_the_next_one() {
    let mut server = Server::start(&["crash"]);
    let (worker, zygote) = (server.workers()[0], server.zygote().unwrap());
    kill(zygote, Signal::SIGKILL).unwrap();
    kill(worker, Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 2);
    assert_ne!(server.get("/").text(), worker.to_string());
    server.stop();
}

/// Forks twice, as daemons do, so that the last one is an orphan, which ends by `gate`. Answers its pid.
const ORPHANS: &str = r#"
import os

def application(environ, start_response):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        orphan = os.fork()
        if orphan == 0:
            os.close(os.open("open", os.O_RDONLY))
            os._exit(0)
        os.write(write, str(orphan).encode())
        os._exit(0)
    os.waitpid(child, 0)
    start_response("200 OK", [])
    return [os.read(read, 20)]
"#;

#[test]
fn orphans_of_the_application_become_the_masters_and_are_reaped() {
    let files = directory(&[("orphans.py", ORPHANS)]);
    let gate = Gate::closed(files.path().join("open"));
    let mut server = Server::start_in(files.path(), &["orphans"]);
    let orphans: Vec<Pid> = (0..3).map(|_| Pid::from_raw(server.get("/").text().parse().unwrap())).collect();
    for orphan in &orphans {
        wait_until("the orphan is the master's", || status(*orphan, "PPid") == server.pid().to_string());
    }
    let _open = gate.open();
    for orphan in &orphans {
        wait_until("the orphan is reaped", || kill(*orphan, None).is_err());
    }
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// Forks a process that lives until the gate is opened, and answers its number.
const OUTLIVING: &str = r#"
import os

def application(environ, start_response):
    child = os.fork()
    if not child:
        # The log's pipe ends with the server.
        for fd in os.listdir("/proc/self/fd"):
            try:
                if os.readlink("/proc/self/fd/" + fd).startswith("pipe:"):
                    os.close(int(fd))
            except OSError:
                pass
        os.close(os.open("gate", os.O_RDONLY))
        os._exit(0)
    start_response("200 OK", [])
    return [str(child).encode()]
"#;

#[test]
fn a_child_of_the_application_that_outlives_the_server_does_not_keep_the_port() {
    let files = directory(&[("outliving.py", OUTLIVING)]);
    let gate = Gate::closed(files.path().join("gate"));
    let mut server = Server::start_in(files.path(), &["outliving"]);
    let child = Pid::from_raw(server.get("/").text().parse().unwrap());
    let address = server.address().to_owned();
    server.stop();
    assert_eq!(TcpStream::connect(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let server = Server::spawn(rwsgi(&apps(), ["hello", "-b", &address]));
    assert_eq!(server.get("/").status, 200);
    let _open = gate.open();
    wait_gone(&[child]);
}

#[test]
fn as_pid_1_it_reaps_strangers_and_stops() {
    assert!(Uid::effective().is_root(), "only root can make a pid namespace: run the tests as root");
    let files = directory(&[("orphans.py", ORPHANS)]);
    let gate = Gate::closed(files.path().join("open"));
    let inner = rwsgi(files.path(), ["orphans", "-b", "127.0.0.1:0"]);
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(files.path()).env("VIRTUAL_ENV", support::virtualenv());
    let mut server = Server::spawn(command);
    let master = children(server.pid())[0].0;
    assert!(status(master, "NSpid").ends_with(" 1"), "{}", status(master, "NSpid"));
    assert!(server.get("/").text().parse::<i32>().unwrap() > 1);
    // With process 1 everything would end, so that it cannot hand over.
    kill(master, Signal::SIGUSR2).unwrap();
    server.wait_for("no new master: the end of process 1 would end all others");
    wait_until("zygote, worker and orphan are below pid 1", || children(master).len() == 3);
    let _open = gate.open();
    wait_until("the orphan is gone", || children(master).len() == 2 && all_children(master) == 2);
    kill(master, Signal::SIGTERM).unwrap();
    assert_eq!(server.wait(), 0, "{}", server.log());
}

/// Children with those that wait to be reaped.
fn all_children(pid: Pid) -> usize {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap().split_whitespace().count()
}

/// Its child processes come back into the server: by returning, by raising, out of a generator, by write().
const FORKING: &str = r#"
import os, sys

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/generator":
        start_response("200 OK", [])
        return pieces()
    parent = os.getpid()
    child = os.fork()
    if child:
        said = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    elif path == "/raise":
        raise RuntimeError("from the child")
    elif path == "/exit":
        sys.exit(0)
    else:
        said = "child"
    write = start_response("200 OK", [])
    if path == "/write":
        write(str(said).encode())
        return []
    return [str(said).encode()]

def pieces():
    yield b"first "
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    yield b"child" if child == 0 else b"parent"
"#;

#[test]
fn a_forked_child_that_comes_back_into_the_server_ends_without_serving() {
    let files = directory(&[("forking.py", FORKING)]);
    let mut server = Server::start_in(files.path(), &["forking"]);
    let mut stream = server.connect();
    for (path, expected) in
        [("/return", "70"), ("/raise", "70"), ("/exit", "70"), ("/write", "70"), ("/generator", "first parent")]
    {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().text(), expected, "{path}");
    }
    let tree = server.tree();
    assert_eq!(tree.len(), 3, "master, zygote and worker");
    let log = server.stop();
    assert!(!log.contains("Traceback"), "{log}");
    wait_gone(&tree);
}
