//! What goes wrong around a server and inside of it: what it does about it, what it costs, what is said.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{
    self, Gate, Response, Server, apps, directory, expect_in_log, limit, pace, pass, patient_seconds, rwsgi, status,
    wait_gone, wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn an_idle_worker_that_is_stopped_and_does_not_go_on_is_replaced() {
    for threads in ["1", "3"] {
        let words = ["crash", "-w", "2", "--threads", threads, "--timeout", "0.5", "--timeout-grace", "0.1"];
        let mut server = Server::start(&words);
        let [stopped, other] = server.workers()[..] else { panic!("two workers") };
        kill(stopped, Signal::SIGSTOP).unwrap();
        server.wait_for("worker was stopped by a signal, CONT lets it go on");
        server.wait_for("worker was stopped by a signal and did not go on, it is killed");
        wait_gone(&[stopped]);
        server.wait_for_lines("worker ready", 3);
        assert!(server.tree().contains(&other), "{}", server.log());
        assert_eq!(server.get("/").status, 200);
        server.stop();
    }
}

#[test]
fn a_worker_that_is_stopped_for_a_moment_goes_on() {
    let mut server = Server::start(&["crash"]);
    let worker = server.workers()[0];
    kill(worker, Signal::SIGSTOP).unwrap();
    server.wait_for("worker was stopped by a signal, CONT lets it go on");
    let mut waiting = server.begin("/");
    kill(worker, Signal::SIGCONT).unwrap();
    server.wait_for("worker goes on");
    assert_eq!(Response::read(&mut waiting).unwrap().text(), worker.to_string());
    // Without a limit for requests there is none for this either.
    let unlimited = Server::start(&["crash", "--timeout", "0"]);
    let worker = unlimited.workers()[0];
    kill(worker, Signal::SIGSTOP).unwrap();
    unlimited.wait_for("worker was stopped by a signal");
    pass(Duration::from_secs(2));
    assert!(status(worker, "State").starts_with('T'), "{}", unlimited.log());
    kill(worker, Signal::SIGCONT).unwrap();
    assert_eq!(unlimited.get("/").text(), worker.to_string());
    server.stop();
}

#[test]
fn a_zygote_that_is_stopped_is_noticed_at_once_and_replaced_if_it_does_not_go_on() {
    let mut server = Server::start(&["crash", "--timeout", "0.5", "--timeout-grace", "0.1"]);
    let zygote = server.zygote().unwrap();
    kill(zygote, Signal::SIGSTOP).unwrap();
    server.wait_for("zygote was stopped by a signal, CONT lets it go on generation=1");
    kill(zygote, Signal::SIGCONT).unwrap();
    server.wait_for("zygote goes on generation=1");
    // Long before boot_timeout, and before anybody is missing.
    kill(zygote, Signal::SIGSTOP).unwrap();
    server.wait_for("zygote was stopped by a signal and did not go on, it is killed");
    wait_until("there is another one", || server.zygote().is_some_and(|other| other != zygote));
    kill(server.workers()[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 2);
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// Its handler of ALRM does not return.
const HANDLER: &str = r#"
import os, signal, threading

def hang(*_):
    os.write(2, b"under way: handler\n")
    threading.Event().wait()

signal.signal(signal.SIGALRM, hang)

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"#;

#[test]
fn a_worker_whose_loop_hangs_without_a_request_is_killed_with_its_stack() {
    let files = directory(&[("handler.py", HANDLER)]);
    expect_in_log(&["in hang\n"], || {
        let mut server = Server::start_in(files.path(), &["handler", "--timeout", "0.5", "--timeout-grace", "0.1"]);
        let worker = server.workers()[0];
        assert_eq!(server.get("/").text(), worker.to_string());
        // No client asks for anything.
        kill(worker, Signal::SIGALRM).unwrap();
        server.wait_for("under way: handler");
        server.wait_for("it is killed");
        wait_gone(&[worker]);
        assert_ne!(server.get("/").text(), worker.to_string());
        let log = server.stop();
        // It came before the worker slept, or ended its sleep.
        assert!(log.contains("a signal handler of the application does not return"), "{log}");
        log
    });
}

#[test]
fn a_background_thread_that_keeps_pythons_lock_in_c_is_noticed_when_somebody_asks() {
    expect_in_log(&["in c\n"], || {
        let mut server = Server::start(&["stuck", "--timeout", "0.5", "--timeout-grace", "0.1"]);
        let worker = server.workers()[0];
        assert_eq!(server.get("/wedge").text(), worker.to_string());
        // It is idle; the first request that comes then ends with it, the next one is served by another.
        pass(Duration::from_secs(2));
        assert!(server.tree().contains(&worker), "{}", server.log());
        let mut lost = server.begin("/");
        server.wait_for("worker cannot acquire the GIL for requests that wait, it is killed");
        wait_gone(&[worker]);
        assert!(Response::read(&mut lost).is_err());
        assert_ne!(server.get("/").text(), worker.to_string());
        server.stop()
    });
}

#[test]
fn a_request_that_waits_in_its_socket_while_everything_stands_still_is_served() {
    for threads in ["1", "2"] {
        let words = ["crash", "--threads", threads, "--keep-alive", "1", "--client-header-timeout", "1"];
        let mut server = Server::start(&words);
        let worker = server.workers()[0].to_string();
        let mut kept = server.begin("/");
        assert_eq!(Response::read(&mut kept).unwrap().text(), worker);
        let mut half = server.connect();
        half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        // Until the worker has it, nothing of it counts.
        assert_eq!(server.get("/").text(), worker);
        let tree = server.tree();
        for pid in &tree {
            kill(*pid, Signal::SIGSTOP).unwrap();
        }
        // Sent in time, while nobody could read it.
        kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        half.write_all(b"Host: test\r\n\r\n").unwrap();
        let mut new = server.begin("/");
        pass(Duration::from_secs(3));
        for pid in tree.iter().rev() {
            kill(*pid, Signal::SIGCONT).unwrap();
        }
        for stream in [&mut kept, &mut half, &mut new] {
            let response = Response::read(stream).unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
            assert_eq!((response.status, response.text()), (200, worker.clone()), "{}", server.log());
        }
        server.stop();
    }
}

/// Ends at import once there is a file `broken`.
const FRAGILE: &str = "import os\nif os.path.exists('broken'):\n    os._exit(9)\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";

#[test]
fn workers_that_die_at_once_are_no_fork_bomb_and_cost_little() {
    for preload in [false, true] {
        let files = directory(&[("fragile.py", FRAGILE)]);
        let words: &[&str] = if preload { &["fragile", "-w", "4", "--preload"] } else { &["fragile", "-w", "4"] };
        let mut server = Server::start_in(files.path(), words);
        fs::write(files.path().join("broken"), "").unwrap();
        let (spent, began) = (processor_time(server.pid()), Instant::now());
        // Whoever is there dies, and with it what is forked in its place: with preload by hand.
        let mut killed = 0;
        while began.elapsed() < Duration::from_secs(4) {
            let workers = support::children(server.pid()).into_iter();
            for (pid, _) in workers.filter(|(_, name)| name.starts_with("rwsgi: worker")) {
                killed += usize::from(kill(pid, Signal::SIGKILL).is_ok());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let (spent, took) = (processor_time(server.pid()).saturating_sub(spent), began.elapsed());
        let boots = server.log().matches("Worker (pid:").count() - 4;
        println!("preload={preload}: {boots} boots, {spent:?} of processor time in {took:?}, {killed} killed");
        // Under 8 a second.
        let least = Duration::from_millis(125) * u32::try_from(boots).unwrap();
        assert!(took > least, "{boots} boots in {took:?}\n{}", server.log());
        assert!(spent.as_secs_f64() < 0.15 * pace() * took.as_secs_f64(), "{spent:?} in {took:?}");
        fs::remove_file(files.path().join("broken")).unwrap();
        assert_eq!(server.get("/").status, 200);
        server.stop();
    }
}

/// What a process, its children and those that it has reaped have taken of the processor.
fn processor_time(pid: Pid) -> Duration {
    let of = |pid: Pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<u64> =
            text.rsplit(") ").next().unwrap_or_default().split(' ').map(|word| word.parse().unwrap_or(0)).collect();
        // utime, stime and those of reaped children: fields 14 to 17.
        fields.iter().skip(11).take(4).sum::<u64>()
    };
    let ticks: u64 = std::iter::once(pid).chain(support::children(pid).into_iter().map(|(pid, _)| pid)).map(of).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn logs_on_a_full_disk_hold_nobody_up() {
    let words =
        ["hello", "-w", "2", "-b", "127.0.0.1:0", "--access-logfile", "/dev/full", "--error-logfile", "/dev/full"];
    let files = directory(&[]);
    let pid = files.path().join("pid");
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let mut command = rwsgi(
        &apps(),
        words.map(|word| if word == "127.0.0.1:0" { format!("127.0.0.1:{port}") } else { word.to_owned() }),
    );
    let mut child = command.args(["--pid", pid.to_str().unwrap()]).spawn().unwrap();
    wait_until("it serves", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    for _ in 0..200 {
        let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        assert_eq!(support::outside::ask(port, request).status, 200);
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Takes TERM, INT and HUP for itself, as some libraries do.
const TAKES_SIGNALS: &str = r#"
import os, signal

def mine(*_):
    os.write(2, b"taken by the application\n")

for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
    signal.signal(number, mine)

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"#;

#[test]
fn an_application_that_takes_the_servers_signals_is_stopped_all_the_same() {
    let files = directory(&[("takes.py", TAKES_SIGNALS)]);
    for more in [&[][..], &["--preload"], &["--threads", "2"]] {
        let mut server =
            Server::start_in(files.path(), &[&["takes", "--graceful-timeout", &patient_seconds(3.0)], more].concat());
        if !more.contains(&"--preload") {
            server.wait_for("the application set a signal handler, rwsgi's own is restored signal=SIGTERM");
        }
        assert_eq!(server.get("/").status, 200);
        let log = server.stop();
        assert!(!log.contains("did not end when asked"), "{log}");
    }
}

#[test]
fn without_descriptors_those_who_are_served_are_served_on_and_the_log_stays_short() {
    let files = directory(&[]);
    let mut server = Server::start(&["gate", "--limit-nofile", "64"]);
    let gate = Gate::closed(files.path().join("open"));
    let mut first = server.begin(&format!("/gate{}/open", files.path().display()));
    server.wait_for("under way: gate");
    let open = gate.open();
    assert_eq!(Response::read(&mut first).unwrap().status, 200);
    drop(open);
    // None of these idles: each has begun a request.
    let mut begun: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    server.wait_for("cannot accept");
    let refused = Instant::now();
    pass(Duration::from_secs(2));
    let (lines, took) = (server.log().matches("cannot accept").count(), refused.elapsed());
    assert!(lines as u64 <= 4 + took.as_secs(), "{lines} lines in {took:?}\n{}", server.log());
    for stream in &mut begun {
        stream.write_all(b"Host: test\r\nConnection: close\r\n\r\n").unwrap();
    }
    for stream in &mut begun {
        assert_eq!(Response::read(stream).unwrap().status, 200, "{}", server.log());
    }
    assert_eq!(server.workers().len(), 1, "{}", server.log());
    server.stop();
}

#[test]
fn the_port_of_a_killed_master_is_free_when_its_workers_have_ended() {
    let server = Server::start(&["crash", "-w", "2", "--threads", "2"]);
    let (tree, address) = (server.tree(), server.address().to_owned());
    server.signal(Signal::SIGKILL);
    wait_gone(&tree);
    drop(TcpListener::bind(&address).unwrap());
    let mut next = Server::start(&["crash", "-b", &address]);
    assert_eq!(next.get("/").status, 200);
    next.stop();
}

#[test]
fn a_pid_file_that_cannot_be_written_is_one_line() {
    let (code, _, said) = support::run(&apps(), ["hello", "-b", "127.0.0.1:0", "--pid", "/proc/nowhere/pid"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("--pid: ") && !said.contains("Traceback") && !said.contains("panicked"), "{said}");
    assert_eq!(said.lines().filter(|line| !line.starts_with("hint: ")).count(), 1, "{said}");
}

#[test]
fn the_log_of_a_life_reads_as_a_story() {
    let files = directory(&[(
        "app.py",
        "import time\n\ndef application(environ, start_response):\n    while environ['PATH_INFO'] == '/stuck':\n        pass\n    start_response('200 OK', [])\n    return [b'ok']\n",
    )]);
    let pid = files.path().join("pid");
    let words = ["app", "-w", "2", "--timeout", "0.5", "--timeout-grace", "20", "--pid", pid.to_str().unwrap()];
    let mut server = Server::start_in(files.path(), &words);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done generation=2");
    let mut stuck = server.begin("/stuck");
    assert_eq!(Response::read(&mut stuck).unwrap().status, 504);
    server.wait_for("worker had a request that timed out, it will be replaced");
    server.wait_for_lines("worker retires", 3);
    server.signal(Signal::SIGTTIN);
    server.wait_for_lines("worker ready", 6);
    let log = server.stop();
    let story = [
        "Starting rwsgi ",
        "application app=app",
        "python version=",
        "Listening at: http://",
        "Using worker: sync workers=2",
        "worker ready generation=1 slot=0",
        "worker ready generation=1 slot=1",
        "Hang up: Master signal=HUP generation=2",
        "worker ready generation=2",
        "first worker is ready, the others follow generation=2",
        "worker retires slot=",
        "worker ready generation=2",
        "reload done generation=2 workers=2",
        "worker had a request that timed out, it will be replaced",
        "worker ready generation=2",
        "worker retires slot=",
        "number of workers changed signal=TTIN workers=3",
        "worker ready generation=2",
        "Handling signal: term command=stop",
        "stopping signal=TERM graceful=true",
        "worker ended slot=",
        "Shutting down: Master code=0",
    ];
    // By threads of the worker's own: the master's next line may come before theirs.
    for part in ["request timed out method=GET path=/stuck elapsed=0.5", "where the request is", "in application"] {
        assert!(log.contains(part), "{log}");
    }
    let mut rest = log.as_str();
    for part in story {
        let at = rest.find(part).unwrap_or_else(|| panic!("expected {part:?} in\n{rest}\nof\n{log}"));
        rest = &rest[at + part.len()..];
    }
}

/// Makes a body faster than it is taken.
const STREAMS: &str = "def application(environ, start_response):\n    start_response('200 OK', [('Content-Length', str(64 << 20))])\n    for _ in range(64):\n        yield b'x' * (1 << 20)\n";

#[test]
fn writing_to_a_slow_reader_is_not_the_applications_time() {
    let files = directory(&[("streams.py", STREAMS)]);
    for threads in ["1", "2"] {
        let words = ["streams", "--timeout", "0.5", "--timeout-grace", "0.2", "--threads", threads];
        let server = Server::start_in(files.path(), &words);
        let mut slow = server.begin("/");
        assert!(Response::read_head(&mut slow).unwrap().starts_with("HTTP/1.1 200 "));
        pass(Duration::from_secs(2));
        slow.set_read_timeout(Some(limit())).unwrap();
        let (mut left, mut piece) = (64_usize << 20, vec![0; 1 << 16]);
        while left > 0 {
            let count = slow.read(&mut piece).unwrap();
            assert!(count > 0, "{left} bytes are missing\n{}", server.log());
            left -= count;
        }
        assert!(!server.log().contains("timed out"), "{}", server.log());
    }
}
