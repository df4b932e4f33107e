//! Requests that take longer than `timeout`: what they get, what is said about them, and what the others notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use rwsgi::http::imf_fixdate;
use rwsgi::os::clock;

use crate::support::{
    self, Gate, Response, Server, directory, expect_in_log, is_over, pace, pass, wait_gone, wait_until,
};

/// One worker with so many threads.
fn server(threads: usize, more: &[&str]) -> Server {
    let threads = threads.to_string();
    let words: Vec<&str> = ["stuck", "-w", "1", "--threads", &threads].iter().chain(more).copied().collect();
    Server::start(&words)
}

/// Takes what comes; the answer, and when it came, counted from `began`.
fn answer(stream: &mut TcpStream, began: Instant) -> (u16, Duration) {
    let status = Response::read(stream).unwrap().status;
    (status, began.elapsed())
}

/// The line of the log with `text`, waited for.
fn line_with(server: &Server, text: &str) -> String {
    server.wait_for(text);
    server.log().lines().find(|line| line.contains(text)).unwrap().to_owned()
}

#[test]
fn a_stuck_request_is_ended_by_an_exception_and_answered_504() {
    thread::scope(|scope| {
        for (threads, way) in [(1, "sleep"), (1, "busy"), (1, "lock"), (2, "busy")] {
            scope.spawn(move || {
                let mut server = server(threads, &["--timeout", "0.5", "--timeout-grace", "100"]);
                let (worker, began) = (server.workers()[0], Instant::now());
                let mut stuck = server.begin(&format!("/{way}?token=1"));
                let (status, elapsed) = answer(&mut stuck, began);
                assert_eq!(status, 504, "{}", server.log());
                assert!(elapsed >= Duration::from_millis(500), "{elapsed:?}");
                let line = line_with(&server, "request timed out");
                for field in ["method=GET", &format!("path=/{way} "), "slot=0", "thread="] {
                    assert!(line.contains(field), "{field}: {line}");
                }
                // When it was ended is a matter of the machine; not before.
                let after = line.split_once("elapsed=").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
                assert!(after.parse::<f64>().unwrap() >= 0.5, "{line}");
                server.wait_for("where the request is");
                server.wait_for(&format!("in {way}\n"));
                server.wait_for("request ended by its timeout");
                // Whatever it held may be broken.
                wait_gone(&[worker]);
                assert_ne!(server.get("/").text(), worker.to_string());
                let log = server.stop();
                assert!(!log.contains("SIGKILL") && !log.contains("Traceback"), "{log}");
            });
        }
    });
}

#[test]
fn what_no_exception_ends_is_answered_504_after_the_grace_and_its_worker_ends() {
    thread::scope(|scope| {
        for way in ["swallow", "c"] {
            scope.spawn(move || {
                expect_in_log(&["request did not end, its connection is closed", &format!("in {way}\n")], || {
                    let mut server = server(1, &["--timeout", "0.4", "--timeout-grace", "0.6"]);
                    let (worker, began) = (server.workers()[0], Instant::now());
                    let mut stuck = server.begin(&format!("/{way}"));
                    let (status, elapsed) = answer(&mut stuck, began);
                    assert_eq!(status, 504, "{}", server.log());
                    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
                    wait_gone(&[worker]);
                    assert_ne!(server.get("/").text(), worker.to_string());
                    server.stop()
                });
            });
        }
    });
}

#[test]
fn the_grace_is_two_seconds_unless_it_is_set() {
    let mut server = server(1, &["--timeout", "0.3"]);
    let began = Instant::now();
    let mut stuck = server.begin("/swallow");
    let (status, elapsed) = answer(&mut stuck, began);
    assert_eq!(status, 504, "{}", server.log());
    assert!(elapsed >= Duration::from_millis(2300), "{elapsed:?}");
    server.stop();
}

/// Has the main thread, which could be interrupted, taken by a request that waits at a gate.
fn take_main(server: &Server, directory: &Path) -> (TcpStream, Gate) {
    let mut others = Vec::new();
    for count in 1.. {
        let path = directory.join(count.to_string());
        let gate = Gate::closed(path.clone());
        let stream = server.begin(&format!("/patient{}", path.display()));
        server.wait_for_lines("under way: patient in ", count);
        if server.log().contains("under way: patient in MainThread") {
            for (mut other, gate) in others {
                let gate: Gate = gate;
                let open = gate.open();
                assert_eq!(Response::read(&mut other).unwrap().status, 200);
                drop(open);
            }
            return (stream, gate);
        }
        others.push((stream, gate));
    }
    unreachable!("one of the threads is the main thread")
}

/// A request is stuck in C where nothing can be raised, and another one is under way.
fn stuck_beside_patient(way: &str) {
    let files = tempfile::tempdir().unwrap();
    let mut server = server(3, &["--timeout", "0.4", "--timeout-grace", "0.6"]);
    let worker = server.workers()[0];
    let (mut patient, gate) = take_main(&server, files.path());
    let began = Instant::now();
    let mut stuck = server.begin(&format!("/{way}"));
    let (status, elapsed) = answer(&mut stuck, began);
    assert_eq!(status, 504, "{}", server.log());
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    let line = line_with(&server, "its thread given up");
    assert!(!line.contains("thread=0"), "{line}");
    server.wait_for(&format!("in {way}\n"));
    // Others serve meanwhile, and the worker waits for its other request.
    server.wait_for("worker retires");
    // It may take one more connection before it has read that.
    wait_until("another worker serves", || server.get("/").text() != worker.to_string());
    let open = gate.open();
    let response = Response::read(&mut patient).unwrap();
    assert_eq!((response.status, response.text()), (200, worker.to_string()));
    wait_gone(&[worker]);
    let log = server.stop();
    assert!(!log.contains("SIGKILL"), "{log}");
    drop(open);
}

#[test]
fn a_thread_that_sleeps_for_ever_is_given_up_and_the_others_finish() {
    stuck_beside_patient("sleep");
}

#[test]
fn a_thread_that_waits_for_a_lock_is_given_up_and_the_others_finish() {
    stuck_beside_patient("lock");
}

#[test]
fn a_thread_that_computes_is_ended_and_the_others_finish_in_the_same_worker() {
    let files = tempfile::tempdir().unwrap();
    let server = server(3, &["--timeout", "0.4", "--timeout-grace", "100"]);
    let worker = server.workers()[0].to_string();
    let gate = Gate::closed(files.path().join("gate"));
    let mut patient = server.begin(&format!("/patient{}", files.path().join("gate").display()));
    server.wait_for("under way: patient");
    let mut stuck = server.begin("/busy");
    assert_eq!(Response::read(&mut stuck).unwrap().status, 504, "{}", server.log());
    let open = gate.open();
    assert_eq!(Response::read(&mut patient).unwrap().text(), worker);
    drop(open);
}

#[test]
fn a_holder_of_pythons_lock_ends_by_its_deadline_and_its_worker_is_killed_with_its_stack() {
    expect_in_log(&["in c\n"], || {
        let mut server = server(3, &["--timeout", "0.4", "--timeout-grace", "0.6", "--graceful-timeout", "60"]);
        let (worker, began) = (server.workers()[0], Instant::now());
        let mut stuck = server.begin("/c");
        let (status, elapsed) = answer(&mut stuck, began);
        assert_eq!(status, 504, "{}", server.log());
        assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
        server.wait_for("something holds Python's lock");
        server.wait_for("request timed out, its worker is killed");
        wait_gone(&[worker]);
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_ne!(server.get("/").text(), worker.to_string());
        let log = server.stop();
        assert!(log.contains("by=SIGKILL"), "{log}");
        log
    });
}

#[test]
fn a_request_that_waits_for_a_worker_of_many_threads_does_not_keep_it_from_being_ready() {
    let mut server = server(4, &["--timeout", "0.4", "--timeout-grace", "0.1"]);
    for killed in 1..=2 {
        // The second one waits in the backlog while the next worker starts its threads.
        let _stuck = server.begin("/c");
        server.wait_for_lines("request timed out, its worker is killed", killed);
    }
    server.wait_for_lines("worker ready", 3);
    server.stop();
}

#[test]
fn a_worker_whose_lock_a_thread_of_the_application_holds_is_killed_with_its_stack() {
    for threads in [1, 2] {
        expect_in_log(&["in c\n"], || {
            let mut server = server(threads, &["--timeout", "0.5", "--timeout-grace", "0.1"]);
            let worker = server.workers()[0];
            assert_eq!(server.get("/wedge").text(), worker.to_string());
            let mut kept = server.connect();
            // Until the thread has the lock, requests are answered.
            let began = Instant::now();
            let ask = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
            while kept.write_all(ask).is_ok() && Response::read(&mut kept).is_ok() {
                assert!(!is_over(began), "{}", server.log());
            }
            server.wait_for("worker cannot acquire the GIL for requests that wait, it is killed");
            wait_gone(&[worker]);
            assert_ne!(server.get("/").text(), worker.to_string());
            let log = server.stop();
            assert!(log.contains("by=SIGKILL"), "{log}");
            log
        });
    }
}

#[test]
fn a_debugger_is_not_interrupted_where_code_is_reloaded() {
    let app = "def application(environ, start_response):\n    breakpoint()\n    start_response('200 OK', [])\n    return [b'on']\n";
    let files = directory(&[("debugged.py", app)]);
    let words = ["debugged", "--reload", "--timeout", "0.3", "--timeout-grace", "0.1", "-b", "127.0.0.1:0"];
    let mut command = support::rwsgi(files.path(), words);
    let (reading, writing) = std::io::pipe().unwrap();
    command.stdin(reading);
    let mut server = Server::spawn(command);
    let mut held = server.begin("/");
    server.wait_for("request takes long");
    pass(Duration::from_millis(1500));
    (&writing).write_all(b"c\n").unwrap();
    assert_eq!(Response::read(&mut held).unwrap().text(), "on", "{}", server.log());
    server.stop();
}

#[test]
fn the_date_of_a_504_is_the_time_of_the_answer() {
    // By the thread itself, and by the I/O thread in its place.
    for more in [&["--timeout-grace", "100"][..], &["--timeout-mode", "hard"]] {
        let words: Vec<&str> = ["--timeout", "1"].iter().chain(more).copied().collect();
        let server = server(1, &words);
        let before = clock::wall_seconds();
        let answer = Response::read(&mut server.begin("/sleep")).unwrap();
        assert_eq!(answer.status, 504, "{}", server.log());
        let date = answer.field("date").unwrap();
        let after = before + 1..=clock::wall_seconds();
        let dates: Vec<_> = after.map(|second| String::from_utf8(imf_fixdate(second).to_vec()).unwrap()).collect();
        assert!(dates.iter().any(|one| one == date), "{date}, expected one of {dates:?}");
    }
}

#[test]
fn hard_answers_504_at_the_deadline_and_raises_nothing() {
    let mut server = server(1, &["--timeout", "0.4", "--timeout-mode", "hard"]);
    let (worker, began) = (server.workers()[0], Instant::now());
    let mut stuck = server.begin("/sleep");
    let (status, elapsed) = answer(&mut stuck, began);
    assert_eq!(status, 504, "{}", server.log());
    assert!(elapsed >= Duration::from_millis(400), "{elapsed:?}");
    wait_gone(&[worker]);
    assert_eq!(server.get("/").status, 200);
    let log = server.stop();
    assert!(log.contains("in sleep\n") && !log.contains("request ended by its timeout"), "{log}");
}

#[test]
fn a_warning_names_the_place_and_ends_nothing() {
    let files = tempfile::tempdir().unwrap();
    for threads in [1, 2] {
        let path = files.path().join(threads.to_string());
        let server = server(threads, &["--timeout", "0.3", "--timeout-mode", "warn"]);
        let gate = Gate::closed(path.clone());
        let mut long = server.begin(&format!("/gate{}", path.display()));
        server.wait_for("request takes long");
        server.wait_for("in gate\n");
        let open = gate.open();
        let worker = server.workers()[0].to_string();
        assert_eq!(Response::read(&mut long).unwrap().text(), worker);
        assert_eq!(server.get("/").text(), worker, "{}", server.log());
        drop(open);
    }
}

#[test]
fn an_exception_that_comes_too_late_hits_nobody() {
    for threads in [1, 2] {
        let mut command = support::rwsgi(&support::apps(), ["stuck", "-w", "1", "-b", "127.0.0.1:0"]);
        let timeout = 0.1 * pace();
        command.args(["--threads", &threads.to_string()]).env("RWSGI_TIMEOUT_RECYCLE", "false");
        command.args(["--timeout", &format!("{timeout:.3}")]);
        let server = Server::spawn(command);
        let worker = server.workers()[0].to_string();
        let mut stream = server.connect();
        let mut ask = |path: &str| {
            if write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").is_err() {
                stream = server.connect();
                write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            }
            let response = Response::read(&mut stream).unwrap();
            if response.field("connection") == Some("close") {
                stream = server.connect();
            }
            response
        };
        let mut ended = 0;
        for round in 0..40 {
            // From well before the deadline to well after it.
            let seconds = timeout * f64::from(90 + round) / 100.0;
            let status = ask(&format!("/edge?s={seconds}")).status;
            assert!(matches!(status, 200 | 504), "{status}\n{}", server.log());
            ended += usize::from(status == 504);
            for _ in 0..3 {
                let response = ask("/");
                assert_eq!((response.status, response.text()), (200, worker.clone()), "{}", server.log());
            }
        }
        assert!((1..40).contains(&ended), "{ended}\n{}", server.log());
    }
}

#[test]
fn a_request_that_asks_for_time_gets_it() {
    for threads in [1, 2] {
        let server = server(threads, &["--timeout", "0.4", "--timeout-grace", "0.1"]);
        let worker = server.workers()[0].to_string();
        assert_eq!(server.get("/extend?s=3").text(), worker, "{}", server.log());
        assert!(!server.log().contains("timed out"), "{}", server.log());
        // The next one has its ordinary time.
        assert_eq!(Response::read(&mut server.begin("/busy")).unwrap().status, 504);
    }
}

#[test]
fn only_the_thread_of_a_request_extends_its_deadline() {
    let server = server(1, &[]);
    let told = server.get("/outside").text();
    assert!(told.contains("by the thread that serves it"), "{told}");
}

#[test]
fn the_exceptions_class_is_in_the_environ_and_in_a_module() {
    for threads in [1, 2] {
        let server = server(threads, &["--timeout", "0.3"]);
        let response = server.get("/late");
        assert_eq!((response.status, response.text().as_str()), (200, "RequestTimeout"), "{}", server.log());
    }
}

#[test]
fn a_response_that_has_begun_is_broken_off() {
    let ended = server(1, &["--timeout", "0.4", "--timeout-grace", "100"]);
    assert_broken_off(&ended, "request ended by its timeout");
    let lost = server(2, &["--timeout", "0.4", "--timeout-grace", "0.4"]);
    let files = tempfile::tempdir().unwrap();
    let (_patient, gate) = take_main(&lost, files.path());
    assert_broken_off(&lost, "its thread given up");
    drop(gate.open());
}

fn assert_broken_off(server: &Server, how: &str) {
    let mut stream = server.begin("/begun");
    let mut all = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut all);
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("begun"), "{text}");
    assert!(!text.contains("0\r\n\r\n"), "{text}");
    server.wait_for(how);
}

#[test]
fn waiting_for_the_client_is_not_the_applications_time() {
    let server = server(1, &["--timeout", "0.3", "--post-buffering", "0"]);
    let mut slow = server.connect();
    slow.write_all(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n12").unwrap();
    server.wait_for("under way: read");
    pass(Duration::from_secs(1));
    slow.write_all(b"34").unwrap();
    let response = Response::read(&mut slow).unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "4"), "{}", server.log());
}

/// Stops all of `pids` for a while, and lets them go on.
fn suspend(pids: &[Pid], time: Duration) {
    for pid in pids {
        kill(*pid, Signal::SIGSTOP).unwrap();
    }
    pass(time);
    for pid in pids.iter().rev() {
        kill(*pid, Signal::SIGCONT).unwrap();
    }
}

#[test]
fn a_request_under_way_survives_that_its_worker_or_all_stand_still() {
    let files = tempfile::tempdir().unwrap();
    for (number, whole) in [(0, false), (1, true), (2, true)] {
        let threads = 1 + number % 2;
        let server = server(threads, &["--timeout", "1.5", "--timeout-grace", "3"]);
        let worker = server.workers()[0];
        let path = files.path().join(number.to_string());
        let gate = Gate::closed(path.clone());
        let mut long = server.begin(&format!("/gate{}", path.display()));
        server.wait_for("under way: gate");
        let (pids, time) = if whole { (server.tree(), 6) } else { (vec![worker], 3) };
        suspend(&pids, Duration::from_secs(time));
        let open = gate.open();
        let response = Response::read(&mut long).unwrap();
        assert_eq!((response.status, response.text()), (200, worker.to_string()), "{}", server.log());
        assert!(!server.log().contains("timed out"), "{}", server.log());
        drop(open);
    }
}

#[test]
fn frameworks_that_catch_every_exception_do_not_catch_this_one() {
    let files = directory(&[
        (
            "flasked.py",
            "import time\nfrom flask import Flask\napplication = Flask(__name__)\n\
             @application.errorhandler(Exception)\ndef failed(error):\n    return 'caught', 500\n\
             @application.route('/')\ndef stuck():\n    while True:\n        pass\n",
        ),
        (
            "djangoed.py",
            "import time\nfrom django.conf import settings\nsettings.configure(ALLOWED_HOSTS=['*'], ROOT_URLCONF=__name__)\n\
             from django.core.wsgi import get_wsgi_application\nfrom django.urls import path\n\
             def stuck(request):\n    while True:\n        pass\n\
             urlpatterns = [path('', stuck)]\napplication = get_wsgi_application()\n",
        ),
    ]);
    for app in ["flasked", "djangoed"] {
        for threads in ["1", "2"] {
            let server = Server::start_in(files.path(), &[app, "--timeout", "0.5", "--threads", threads]);
            let mut stream = server.begin("/");
            assert_eq!(Response::read(&mut stream).unwrap().status, 504, "{}", server.log());
            server.wait_for("in stuck\n");
        }
    }
}

#[test]
fn a_stream_of_a_thread_that_goes_on_is_not_stuck_and_one_that_pauses_is() {
    let pace = pace();
    let app = format!(
        "import time\ndef application(environ, start_response):\n    write = start_response('200 OK', [])\n    \
         path = environ['PATH_INFO']\n    if path == '/write':\n        for _ in range(8):\n            \
         time.sleep({0})\n            write(b'w')\n        return []\n    return pieces(path)\n\n\
         def pieces(path):\n    for _ in range(8):\n        time.sleep({0})\n        yield b'.'\n    \
         if path == '/pauses':\n        time.sleep(60 * {0})\n    yield b'!'\n",
        0.2 * pace
    );
    let files = directory(&[("streaming.py", &app)]);
    let timeout = format!("{:.2}", 0.8 * pace);
    let begin = |more: &[&str]| {
        let words = [&["streaming", "-k", "gthread", "--timeout", &timeout, "--timeout-grace", "0.1"], more].concat();
        Server::start_in(files.path(), &words)
    };
    let server = begin(&[]);
    // Twice the timeout, a piece every quarter of it.
    assert_eq!(server.get("/").text(), "........!");
    assert_eq!(server.get("/write").text(), "wwwwwwww");
    assert!(!server.log().contains("request timed out"), "{}", server.log());
    let mut pauses = server.begin("/pauses");
    assert!(Response::read(&mut pauses).is_err(), "{}", server.log());
    server.wait_for("request timed out");
    let server = begin(&["--timeout-mode", "hard"]);
    assert!(Response::read(&mut server.begin("/")).is_err(), "{}", server.log());
    server.wait_for("request timed out");
}
