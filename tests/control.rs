//! `rwsgi VERB` and the control socket: who finds the server, what it answers, what becomes of that, and the exit code.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::load::{Target, under_load};
use crate::support::wire::assert_ended;
use crate::support::{self, Gate, LIMIT, Response, Server, apps, directory, run, run_command, rwsgi, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use tempfile::TempDir;

/// A user without rights.
const NOBODY: u32 = 65_534;

/// A server with its pid file and so its control socket in a directory of its own.
struct Controlled {
    server: Server,
    files: TempDir,
}

impl Controlled {
    fn start(words: &[&str]) -> Controlled {
        Controlled::start_in(&apps(), words)
    }

    fn start_in(directory: &Path, words: &[&str]) -> Controlled {
        let files = support::directory(&[]);
        let pid = files.path().join("site.pid");
        let server = Server::start_in(directory, &[words, &["--pid", pid.to_str().unwrap()]].concat());
        Controlled { server, files }
    }

    /// `rwsgi WORDS --pid FILE`: exit code, standard output, standard error.
    fn tell(&self, words: &[&str]) -> (i32, String, String) {
        let pid = self.files.path().join("site.pid");
        run(self.files.path(), words.iter().copied().chain(["--pid", pid.to_str().unwrap()]))
    }

    /// The same, which must succeed.
    fn done(&self, words: &[&str]) -> String {
        let (code, out, err) = self.tell(words);
        assert_eq!(code, 0, "{words:?}\n{out}{err}\n{}", self.server.log());
        assert_eq!(err, "", "{words:?}");
        out
    }

    fn json(&self, words: &[&str]) -> Value {
        let out = self.done(&[words, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    fn socket(&self) -> UnixStream {
        let socket = UnixStream::connect(self.files.path().join("site.ctl")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }
}

#[test]
fn status_says_how_server_and_workers_stand() {
    let site = Controlled::start(&["hello", "-w", "2"]);
    let address = format!("http://{}", site.server.address());
    assert_eq!(site.server.get("/").status, 200);
    let text = site.done(&["status"]);
    let lines: Vec<&str> = text.lines().collect();
    let tail = format!(" s, pid {}, rwsgi {}", site.server.pid(), env!("CARGO_PKG_VERSION"));
    assert!(lines[0].starts_with("serving for ") && lines[0].ends_with(&tail), "{text}");
    assert_eq!(lines[1], format!("hello at {address}"));
    assert_eq!(lines[2], "generation 1, 2 of 2 workers ready");
    assert!(lines[4].starts_with("slot  pid"), "{text}");
    let status = site.json(&["status"]);
    assert_eq!((&status["state"], &status["wanted"]), (&"serving".into(), &2.into()));
    assert_eq!((&status["listening"][0], &status["failure"]), (&address.into(), &Value::Null));
    let workers = status["workers"].as_array().unwrap();
    let pids: Vec<i64> = workers.iter().map(|worker| worker["pid"].as_i64().unwrap()).collect();
    let expected: Vec<i64> = site.server.workers().iter().map(|pid| i64::from(pid.as_raw())).collect();
    assert_eq!(pids, expected);
    let requests: u64 = workers.iter().map(|worker| worker["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 1, "{status}");
}

#[test]
fn requests_and_stacks_show_what_is_under_way_and_stop_nobody() {
    let files = directory(&[]);
    let gate = Gate::closed(files.path().join("open"));
    let mut site = Controlled::start(&["gate"]);
    let worker = site.server.workers()[0].as_raw();
    assert_eq!(site.done(&["requests"]), "no request is under way\n");
    let path = format!("/gate{}/open", files.path().display());
    let mut stream = site.server.begin(&path);
    site.server.wait_for("under way: gate");
    let requests = site.json(&["requests"]);
    assert_eq!(requests[0]["request"], format!("GET {path} HTTP/1.1"));
    assert_eq!((&requests[0]["slot"], &requests[0]["pid"]), (&0.into(), &worker.into()));
    assert!(requests[0]["seconds"].as_f64().unwrap() < LIMIT.as_secs_f64(), "{requests}");
    assert_eq!(site.json(&["status"])["workers"][0]["running"], 1);
    for words in [&["stack"][..], &["stack", "0"]] {
        let text = site.done(words);
        assert!(text.starts_with(&format!("slot 0, pid {worker}, 1 request under way\nthread 0, for ")), "{text}");
        assert!(text.contains(&format!(" s in GET {path} HTTP/1.1 (most recent call last):\n")), "{text}");
        assert!(
            text.contains("gate.py\", line ") && text.contains(" in application\n") && text.ends_with(" in gate\n"),
            "{text}"
        );
    }
    let _open = gate.open();
    assert_eq!(Response::read(&mut stream).unwrap().text(), worker.to_string());
    assert_eq!(site.done(&["requests"]), "no request is under way\n");
    let idle = format!("slot 0, pid {worker}, idle: no request is under way\nidle: thread 0\n");
    assert_eq!(site.done(&["stack"]), idle);
    let log = site.server.stop();
    assert!(!log.contains("gate.py"), "{log}");
}

#[test]
fn requests_and_stacks_name_a_thread_by_the_number_that_the_log_has() {
    let files = directory(&[]);
    let gate = Gate::closed(files.path().join("open"));
    let mut site = Controlled::start(&["gate", "--threads", "3", "--timeout", "0.2", "--timeout-mode", "warn"]);
    let path = format!("/gate{}/open", files.path().display());
    let mut streams = [site.server.begin(&path), site.server.begin(&path)];
    site.server.wait_for_lines("request takes long", 2);
    let requests = site.json(&["requests"]);
    let mut threads: Vec<u64> =
        requests.as_array().unwrap().iter().map(|one| one["thread"].as_u64().unwrap()).collect();
    threads.sort_unstable();
    let text = site.done(&["stack", "0"]);
    assert!(text.contains(", 2 requests under way\n"), "{text}");
    for thread in 0..3 {
        let busy = threads.contains(&thread);
        let log = site.server.log();
        assert_eq!(log.contains(&format!("slot=0 thread={thread} timeout=0.2")), busy, "{log}");
        let says = if busy { format!("\nthread {thread}, for ") } else { format!("\nidle: thread {thread}") };
        assert!(text.contains(&says), "{text}");
    }
    let stacks = site.json(&["stack"]);
    let idle = stacks[0]["threads"].as_array().unwrap().iter().filter(|thread| thread["request"].is_null());
    assert_eq!(idle.count(), 1, "{stacks}");
    let _open = gate.open();
    for stream in &mut streams {
        assert_eq!(Response::read(stream).unwrap().status, 200);
    }
    site.server.stop();
}

#[test]
fn the_stack_of_whoever_does_not_let_go_of_python_is_told_too() {
    let site = Controlled::start(&["gate", "--timeout", "0"]);
    let _busy = site.server.begin("/busy");
    site.server.wait_for("under way: busy");
    // It has said so, and begins.
    wait_until("it is busy", || {
        let text = site.done(&["stack"]);
        text.ends_with(" in busy\n") && text.contains(" in application\n")
    });
}

#[test]
fn the_stack_of_a_worker_that_hangs_in_its_import_is_told_too() {
    let files = directory(&[]);
    let pid = files.path().join("site.pid");
    let mut command = rwsgi(&apps(), ["gate", "-b", "127.0.0.1:0", "--pid", pid.to_str().unwrap()]);
    command.env("GATE", "/sleep");
    let site = Controlled { server: Server::spawn_unready(command), files };
    site.server.wait_for("under way: sleep");
    assert_eq!(site.json(&["status"])["state"], "starting");
    let text = site.done(&["stack"]);
    assert!(text.contains(" in sleep\n") && text.contains("gate.py\", line "), "{text}");
}

#[test]
fn a_stopped_worker_is_not_waited_for_for_ever() {
    let site = Controlled::start(&["hello"]);
    let worker = site.server.workers()[0];
    kill(worker, Signal::SIGSTOP).unwrap();
    let began = Instant::now();
    let text = site.done(&["stack"]);
    assert!(text.contains("no answer: it is stopped"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    kill(worker, Signal::SIGCONT).unwrap();
    assert!(site.done(&["stack"]).contains("\nidle: thread 0"), "{}", site.done(&["stack"]));
    assert_eq!(site.server.get("/").status, 200);
}

/// Answers `first`.
const VERSION: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"first"]
"#;

#[test]
fn reload_says_when_the_new_code_serves_and_what_is_wrong_with_it() {
    let code = directory(&[("version.py", VERSION)]);
    let write = |text: &str| fs::write(code.path().join("version.py"), text).unwrap();
    let site = Controlled::start_in(code.path(), &["version", "-w", "3"]);
    assert_eq!(site.server.get("/").text(), "first");

    write(&VERSION.replace("first", "another"));
    assert_eq!(site.done(&["reload", "--wait"]), "generation 2 serves\n");
    assert_eq!(site.server.get("/").text(), "another");
    // All of them are of the new generation, and as many as before.
    let status = site.json(&["status"]);
    let generations = status["workers"].as_array().unwrap().iter().filter(|worker| worker["state"] == "ready");
    assert_eq!(generations.map(|worker| worker["generation"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 2, 2]);
    // One of the three retires at once.
    assert_eq!(site.done(&["reload"]), "the first worker of generation 3 serves, 2 older ones still do\n");

    write("raise RuntimeError('not today')");
    for words in [&["reload"][..], &["reload", "--wait"]] {
        let (exit, out, err) = site.tell(words);
        assert_eq!((exit, out.as_str()), (3, ""), "{err}");
        assert!(
            err.starts_with("version: the application raised RuntimeError while it was loaded\nTraceback"),
            "{err}"
        );
        let end = "RuntimeError: not today\nnothing has changed: generation 3 serves on with 3 workers\n";
        assert!(err.ends_with(end), "{err}");
    }
    let (exit, out, err) = site.tell(&["reload", "--json"]);
    let failed: Value = serde_json::from_str(&out).unwrap();
    assert!(exit == 3 && err.is_empty() && failed["failed"].as_str().unwrap().contains("not today"), "{out}{err}");
    assert_eq!(site.server.get("/").text(), "another");
    let status = site.json(&["status"]);
    let failure = status["failure"].as_str().unwrap();
    assert!(status["generation"] == 3 && failure.ends_with("RuntimeError: not today"), "{status}");
    site.server.wait_for("reload failed, nothing has changed generation=6 serving=3 workers=3");

    write(VERSION);
    site.done(&["reload", "--wait"]);
    assert_eq!(site.server.get("/").text(), "first");
    assert_eq!(site.json(&["status"])["failure"], Value::Null);
}

#[test]
fn a_reload_with_wrong_settings_fails_with_their_words() {
    let files = directory(&[("version.py", VERSION)]);
    let config = files.path().join("site.toml");
    let text = "wsgi_app = \"version\"\nbind = [\"127.0.0.1:0\"]\ncontrol_socket = \"control\"\n";
    fs::write(&config, text).unwrap();
    let server = Server::start_in(files.path(), &["-c", config.to_str().unwrap()]);
    let tell = |words: &[&str]| run(files.path(), words);
    fs::write(&config, format!("{text}workers = \"tow\"\n")).unwrap();
    // The verb does not read what it does not need; the server says what is wrong.
    let (code, _, err) = tell(&["reload", "--control-socket", "control"]);
    assert_eq!(code, 1);
    let wrong = format!("{}:4: workers: expected a whole number or \"auto\", found \"tow\"", config.display());
    assert_eq!(err, format!("{wrong}\nnothing has changed: generation 1 serves on with 1 worker\n"));
    assert_eq!(server.get("/").status, 200);
    // Found by the configuration file, once that is sound again.
    fs::write(&config, text).unwrap();
    let (code, out, err) = tell(&["reload", "--wait", "-c", config.to_str().unwrap()]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "generation 3 serves\n", ""));
}

#[test]
fn a_reload_that_was_waited_for_has_ended_what_the_old_code_kept() {
    let code = directory(&[("version.py", VERSION)]);
    for threads in ["1", "2"] {
        fs::write(code.path().join("version.py"), VERSION).unwrap();
        let site = Controlled::start_in(code.path(), &["version", "--threads", threads, "--lame-duck", "0.7"]);
        let mut kept: Vec<TcpStream> = (0..3).map(|_| site.server.connect()).collect();
        for stream in &mut kept {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            assert_eq!(Response::read(stream).unwrap().text(), "first");
        }
        fs::write(code.path().join("version.py"), VERSION.replace("first", "another")).unwrap();
        assert_eq!(site.done(&["reload", "--wait"]), "generation 2 serves\n");
        for stream in &mut kept {
            stream.set_nonblocking(true).unwrap();
            assert_ended(stream);
        }
        assert_eq!(site.server.get("/").text(), "another");
    }
}

#[test]
fn what_a_file_in_python_prints_is_no_part_of_an_answer() {
    let conf = "print('from the file')\nwsgi_app = 'version'\nbind = '127.0.0.1:0'\npidfile = 'one.pid'\n";
    let files = directory(&[("version.py", VERSION), ("gunicorn.conf.py", conf)]);
    let server = Server::start_in(files.path(), &[]);
    let (code, out, err) = run(files.path(), ["status", "--json"]);
    assert_eq!((code, err.as_str()), (0, "from the file\n"));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["pid"], server.pid().as_raw());
    // Who has broken the file since is told of another way.
    fs::write(files.path().join("gunicorn.conf.py"), "raise KeyError('MINE')\n").unwrap();
    let (code, out, err) = run(files.path(), ["status"]);
    let hint = "hint: --pid FILE finds the running server without the other settings\n";
    assert!(code == 1 && out.is_empty() && err.contains("KeyError: 'MINE'") && err.ends_with(hint), "{out}{err}");
    assert_eq!(run(files.path(), ["status", "--pid", "one.pid"]).0, 0);
}

#[test]
fn what_a_reload_moves_and_what_it_cannot_change_is_said_in_its_answer() {
    let text = "wsgi_app = \"version\"\nbind = [\"127.0.0.1:0\"]\n";
    let files = directory(&[("version.py", VERSION), ("app.toml", &format!("{text}pidfile = \"one.pid\"\n"))]);
    let server = Server::start_in(files.path(), &["-c", "app.toml"]);
    let set = |more: &str| fs::write(files.path().join("app.toml"), format!("{text}{more}")).unwrap();
    let reload = || run(files.path(), ["reload", "--wait", "--control-socket", "one.ctl"]);
    let place = |name: &str| fs::canonicalize(files.path()).unwrap().join(name).display().to_string();
    set("pidfile = \"two.pid\"\nlimit_nofile = 512\n");
    let (socket, then) = (place("one.ctl"), place("two.ctl"));
    let stays = format!("control_socket: stays {socket} until the server is restarted, where it would be {then}");
    let files_stay = "limit_nofile: stays 0 until the server is restarted, where it would be 512";
    let moved = format!("pidfile: moved from {} to {}", place("one.pid"), place("two.pid"));
    let expected = format!("generation 2 serves\n{stays}\n{files_stay}\n{moved}\n");
    assert_eq!(reload(), (0, expected, String::new()));
    server.wait_for(&format!("{files_stay} generation=2"));
    // What stays as it is is said with each reload, what has moved once.
    assert_eq!(reload(), (0, format!("generation 3 serves\n{stays}\n{files_stay}\n"), String::new()));
    set("pidfile = \"nowhere/three.pid\"\ncontrol_socket = \"one.ctl\"\nlimit_nofile = 512\n");
    let (code, out, _) = reload();
    assert!(
        code == 0 && out.contains(&format!("generation 4 serves\n{files_stay}\npidfile: stays {}: ", place("two.pid"))),
        "{out}"
    );
    assert_eq!(fs::read_to_string(files.path().join("two.pid")).unwrap(), format!("{}\n", server.pid()));
    set("pidfile = \"two.pid\"\ncontrol_socket = \"one.ctl\"\n");
    assert_eq!(reload(), (0, "generation 5 serves\n".to_owned(), String::new()));
}

#[test]
fn of_two_reloads_the_newer_one_counts_and_both_are_told() {
    let code = directory(&[("version.py", VERSION)]);
    let site = Controlled::start_in(code.path(), &["version"]);
    let gate = Gate::closed(code.path().join("open"));
    fs::write(code.path().join("version.py"), format!("open({:?}).close()\n{VERSION}", code.path().join("open")))
        .unwrap();
    let ask = || {
        let mut socket = site.socket();
        socket.write_all(b"{\"reload\":{\"wait\":true}}\n").unwrap();
        let mut lines = BufReader::new(socket).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "\"begun\"");
        lines
    };
    let mut first = ask();
    let mut second = ask();
    let given_up =
        r#"{"failed":"given up for a newer reload\nnothing has changed: generation 1 serves on with 1 worker"}"#;
    assert_eq!(first.next().unwrap().unwrap(), given_up);
    let _open = gate.open();
    assert_eq!(second.next().unwrap().unwrap(), "{\"done\":\"generation 3 serves\"}");
    assert!(first.next().is_none() && second.next().is_none(), "both connections end");
}

#[test]
fn scale_and_recycle_change_and_replace_workers() {
    let site = Controlled::start(&["hello", "-w", "2"]);
    let ready_ones = |field: &str| {
        let status = site.json(&["status"]);
        let workers = status["workers"].as_array().unwrap().clone();
        let ready = workers.iter().filter(|worker| worker["state"] == "ready");
        ready.map(|worker| worker[field].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let ready = || ready_ones("pid");
    for (words, count) in [("+1", 3), ("-2", 1), ("4", 4)] {
        assert_eq!(
            site.done(&["scale", words]),
            format!("{count} worker{} wanted\n", if count == 1 { "" } else { "s" })
        );
        wait_until(words, || ready().len() == count);
    }
    for words in ["0", "-4", "1025", "100000"] {
        let (code, _, err) = site.tell(&["scale", words]);
        // As many as the setting takes.
        let found = if words == "-4" { "-4 from 4" } else { words };
        let refused = format!("expected 1 to 1024 workers, found {found}; there are to be 4, as before\n");
        assert_eq!((code, err), (1, refused));
    }
    let before = ready();
    // Those that began while others ended may have higher slots than 0 to 3.
    let slot = ready_ones("slot")[0].to_string();
    assert_eq!(site.done(&["recycle", &slot]), "workers that will be replaced: 1\n");
    wait_until("one of four is another", || {
        ready().len() == 4 && ready().iter().filter(|pid| before.contains(pid)).count() == 3
    });
    let before = ready();
    assert_eq!(site.done(&["recycle"]), "workers that will be replaced: 4\n");
    wait_until("all four are others", || ready().len() == 4 && !ready().iter().any(|pid| before.contains(pid)));
    let (code, _, err) = site.tell(&["recycle", "4000"]);
    let there_are = |err: &str| ready_ones("slot").iter().all(|slot| err.contains(&slot.to_string()));
    assert!(
        code == 1 && err.starts_with("slot 4000: expected a worker that is ready, found none\nhint: there are "),
        "{err}"
    );
    assert!(there_are(&err), "{err}");
    let (code, _, err) = site.tell(&["stack", "4000"]);
    assert!(code == 1 && err.starts_with("slot 4000: expected a worker, found none\nhint: there are "), "{err}");
    assert!(there_are(&err), "{err}");
}

#[test]
fn reopen_logs_writes_on_in_new_files() {
    let files = directory(&[]);
    let (log, pid) = (files.path().join("error.log"), files.path().join("site.pid"));
    let mut command = rwsgi(&apps(), ["hello", "-b", "127.0.0.1:0", "--error-logfile", log.to_str().unwrap()]);
    command.args(["--pid", pid.to_str().unwrap()]);
    let mut child = command.spawn().unwrap();
    let tell = |words: &[&str]| run(files.path(), words.iter().copied().chain(["--pid", pid.to_str().unwrap()]));
    wait_until("it serves", || fs::read_to_string(&log).is_ok_and(|text| text.contains("worker ready")));
    fs::rename(&log, files.path().join("old.log")).unwrap();
    assert_eq!(tell(&["reopen-logs"]), (0, "log files reopened\n".to_owned(), String::new()));
    assert!(fs::read_to_string(&log).unwrap().contains("log files reopened"));
    // Nothing can be opened where a directory stands.
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let (code, _, err) = tell(&["reopen-logs"]);
    assert!(code == 1 && err.contains("is a directory"), "{err}");
    assert_eq!(tell(&["stop"]), (0, "stopped\n".to_owned(), String::new()));
    assert!(child.wait().unwrap().success());
}

#[test]
fn stop_comes_back_when_the_server_has_ended_and_quit_does_not_wait_for_requests() {
    let files = directory(&[]);
    let gate = Gate::closed(files.path().join("open"));
    let mut site = Controlled::start(&["gate"]);
    let mut stream = site.server.begin(&format!("/gate{}/open", files.path().display()));
    site.server.wait_for("under way: gate");
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| site.tell(&["stop"]));
        site.server.wait_for("stopping verb=stop graceful=true");
        // Meanwhile it still answers.
        assert_eq!(site.json(&["status"])["state"], "stopping");
        let (code, _, err) = site.tell(&["scale", "2"]);
        assert_eq!((code, err.as_str()), (1, "the server stops already\n"));
        let _open = gate.open();
        assert_eq!(Response::read(&mut stream).unwrap().status, 200);
        assert_eq!(stop.join().unwrap(), (0, "stopped\n".to_owned(), String::new()));
    });
    assert_eq!(site.server.wait(), 0);
    assert_eq!(fs::read_dir(site.files.path()).unwrap().count(), 0, "socket and pid file are gone");

    let mut site = Controlled::start(&["gate"]);
    let _stuck = site.server.begin("/stubborn");
    site.server.wait_for("under way: stubborn");
    assert_eq!(site.done(&["quit"]), "stopped\n");
    assert_eq!(site.server.wait(), 0);
}

#[test]
fn without_a_server_the_exit_code_is_5_and_with_a_silent_one_6() {
    let files = directory(&[]);
    for (words, says) in [
        (
            &["status"][..],
            "expected a running server that was started in this directory or at 127.0.0.1:8000, found none\nhint: rwsgi ls",
        ),
        (&["status", "--control-socket", "nowhere"], "nowhere: no such file or directory\nhint: is the server running"),
        (&["stop", "--pid", "site.pid"], "site.ctl: no such file or directory\nhint: is the server running"),
        (
            &["status", "--pid", "site.pid", "--control-socket", "off"],
            "expected the control socket of a running server",
        ),
    ] {
        let (code, out, err) = run(files.path(), words);
        assert!(code == 5 && out.is_empty() && err.starts_with(says), "{words:?}: {code}\n{err}");
    }
    let (code, _, err) = run(files.path(), ["status", "--pid", "5478"]);
    assert!(code == 1 && err.starts_with("--pid: expected the path of a file, found 5478\nhint: "), "{code}\n{err}");
    let mut site = Controlled::start(&["hello"]);
    site.server.signal(Signal::SIGSTOP);
    let began = Instant::now();
    let (code, _, err) = site.tell(&["status", "--within", "0.3"]);
    assert_eq!(code, 6, "{err}");
    let pid = site.server.pid();
    let stopped = format!("its master, pid {pid}, was stopped by a signal: kill -CONT {pid}; what was asked may still");
    assert!(err.contains(&format!("expected an answer within 0.3 s, found none\nhint: {stopped}")), "{err}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // Nobody has to say so.
    let (code, _, _) = site.tell(&["stop"]);
    assert_eq!(code, 6);
    site.server.signal(Signal::SIGCONT);
    assert_eq!(site.server.wait(), 0, "it hears of the stop when it goes on");
}

#[test]
fn a_command_line_that_is_no_question_is_exit_code_2() {
    let files = directory(&[]);
    for (words, says) in [
        (&["scale"][..], "scale: expected +N, -N or N workers, found nothing"),
        (&["scale", "many"], "scale: expected +N, -N or N workers, found \"many\""),
        (
            &["recycle", "all"],
            "recycle: expected the number of a slot, found \"all\"\nhint: without one it is every worker\n",
        ),
        (
            &["stack", "--all"],
            "--all: unknown option\nhint: rwsgi stack and rwsgi recycle without a slot mean every worker\n",
        ),
        (
            &["reload", "wait"],
            "reload: expected nothing after reload, found \"wait\"\nhint: it is an option: rwsgi reload --wait\n",
        ),
        (&["workers", "4"], "expected one application, found also \"4\"\nhint: did you mean rwsgi scale 4?\n"),
        (&["status", "--jsn"], "--jsn: unknown option\nhint: did you mean --json?\n"),
        (
            &["hello", "--idle-timeout", "3"],
            "--idle-timeout: unknown option\nhint: did you mean --keep-alive? (time to keep",
        ),
        (&["hello", "--preload-app"], "--preload-app: unknown option\nhint: the option of preload_app is --preload\n"),
        (&["status", "0"], "status: expected nothing after status, found \"0\""),
        (&["hello", "--json"], "--json: expected a verb with it, such as status, found none"),
        (&["status", "--within", "soon"], "--within: expected seconds from 0"),
        (&["status", "--within", "0"], "--within: expected more than 0 seconds, found 0"),
        (&["stop", "--wait"], "stop: --wait is an option of reload only"),
        (
            &["statsu", "--json"],
            "--json: expected a verb with it, such as status, found none\nhint: did you mean rwsgi status?\n",
        ),
        (&["recyle", "0"], "expected one application, found also \"0\"\nhint: did you mean rwsgi recycle?\n"),
        (
            &["start", "hello"],
            "expected one application, found also \"hello\"\nhint: no verb is needed to serve an application: rwsgi hello\n",
        ),
    ] {
        let (code, _, err) = run(files.path(), words);
        assert!(code == 2 && err.starts_with(says), "{words:?}: {code}\n{err}");
    }
}

#[test]
fn a_mistyped_verb_starts_no_server() {
    let files = directory(&[("site.toml", "bind = [\"127.0.0.1:0\"]\n")]);
    for (words, meant) in [
        (&["statsu"][..], "did you mean rwsgi status?"),
        (&["recyle", "--pid", "x"], "did you mean rwsgi recycle?"),
        (&["restart", "-c", "site.toml"], "did you mean rwsgi reload?"),
        (&["reload-wait", "--pid", "x"], "did you mean rwsgi reload --wait?"),
        (&["version"], "did you mean rwsgi --version?"),
        (&["ps"], "did you mean rwsgi ls?"),
        (&["workers"], "did you mean rwsgi scale N?"),
        (&["start"], "no verb is needed to serve an application: rwsgi APP"),
    ] {
        let (code, out, err) = run(files.path(), words);
        let says = format!("{}: expected a command or an application, found neither\nhint: {meant}\n", words[0]);
        assert!(code == 2 && out.is_empty() && err.starts_with(&says), "{words:?}: {code}\n{err}");
    }
}

#[test]
fn an_application_called_almost_like_a_verb_is_served() {
    for (file, word, more) in [
        ("stock.py", "stock", &[][..]),
        ("stock/__init__.py", "stock", &[]),
        ("lib/stock.py", "stock", &["--pythonpath", "lib"]),
        ("lib/stock.py", "stock", &["--chdir", "lib"]),
        ("lib/stock.py", "stock:application", &["--pythonpath", "lib"]),
    ] {
        let files = directory(&[(file, VERSION)]);
        let server = Server::start_in(files.path(), &[&[word], more].concat());
        assert_eq!(server.get("/").text(), "first", "{file}");
    }
}

#[test]
fn a_file_that_says_nothing_of_a_socket_names_it_by_its_address() {
    let files = directory(&[("app.toml", "wsgi_app = \"hello\"\nbind = \"127.0.0.1:1\"\n")]);
    let (code, _, err) = run(files.path(), ["status", "--config", "app.toml"]);
    let says = "expected a running server at 127.0.0.1:1, found none\nhint: rwsgi ls lists your servers";
    assert!(code == 5 && err.starts_with(says), "{code}\n{err}");
}

#[test]
fn a_server_is_found_by_a_file_that_was_broken_since() {
    let sound = "wsgi_app = \"version\"\nbind = \"127.0.0.1:0\"\npidfile = \"app.pid\"\n";
    let files = directory(&[("version.py", VERSION), ("app.toml", sound)]);
    let server = Server::start_in(files.path(), &["--config", "app.toml"]);
    fs::write(files.path().join("app.toml"), format!("{sound}workers = 0\n")).unwrap();
    let wrong = "app.toml:4: workers: expected a whole number from 1 to 1024 or \"auto\", found 0\n";
    let (code, out, err) = run(files.path(), ["status", "--config", "app.toml"]);
    assert!(code == 0 && out.contains("1 of 1 workers ready") && err.starts_with(wrong), "{code}\n{out}\n{err}");
    let (code, _, err) = run(files.path(), ["reload", "--config", "app.toml"]);
    assert!(code == 1 && err.starts_with(wrong), "{code}\n{err}");
    let (code, out, err) = run(files.path(), ["stop", "--config", "app.toml"]);
    assert!(code == 0 && out == "stopped\n" && err.starts_with(wrong), "{code}\n{out}\n{err}");
    server.wait_for("Shutting down: Master code=0");
}

#[test]
fn a_limit_that_is_over_is_said_as_it_was_given() {
    let code = directory(&[("version.py", VERSION)]);
    let site = Controlled::start_in(code.path(), &["version"]);
    let gate = Gate::closed(code.path().join("open"));
    let opens = format!("open({:?}).close()\n{VERSION}", code.path().join("open"));
    fs::write(code.path().join("version.py"), opens).unwrap();
    let (exit, _, err) = site.tell(&["reload", "--within", "0.7"]);
    let says = "site.ctl: expected the end of reload within 0.7 s, found it still under way\nhint: it goes on; ";
    assert!(exit == 6 && err.contains(says), "{exit}\n{err}");
    drop(gate.open());
}

#[test]
fn only_root_and_the_servers_user_may_ask() {
    assert!(Uid::effective().is_root(), "only root can become another user: run the tests as root");
    let site = Controlled::start(&["hello"]);
    let socket = site.files.path().join("site.ctl");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = || {
        let mut command = rwsgi(&apps(), ["status", "--control-socket", socket.to_str().unwrap()]);
        command.uid(NOBODY).gid(NOBODY);
        run_command(command)
    };
    let (code, _, err) = ask();
    assert!(code == 5 && err.contains("permission denied\nhint: only root and the user"), "{err}");
    // The mode can be changed; the kernel says who it is all the same.
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let (code, _, err) = ask();
    assert_eq!((code, err.as_str()), (1, "only root and the user that started the server may ask\n"));
    site.server.wait_for("control socket: refused a user without permission user=65534");
}

#[test]
fn what_is_no_question_is_refused_and_nobody_keeps_others_from_asking() {
    let site = Controlled::start(&["hello"]);
    let mut socket = site.socket();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("{\"refused\":\"expected a verb of rwsgi, found none: "), "{answer}");
    let mut socket = site.socket();
    socket.write_all(&[b'x'; 16 * 1024]).ok();
    assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)), "too much to be a question");
    let idle: Vec<UnixStream> = (0..100).map(|_| site.socket()).collect();
    assert_eq!(site.json(&["status"])["state"], "serving");
    drop(idle);
    assert_eq!(site.server.get("/").status, 200);
}

#[test]
fn who_finds_too_many_waiting_is_told_so() {
    let files = directory(&[]);
    let gate = Gate::closed(files.path().join("open"));
    let mut site = Controlled::start(&["gate"]);
    let mut stream = site.server.begin(&format!("/gate{}/open", files.path().display()));
    site.server.wait_for("under way: gate");
    let waiting: Vec<_> = (0..32)
        .map(|_| {
            let mut socket = site.socket();
            socket.write_all(b"\"stop\"\n").unwrap();
            let mut lines = BufReader::new(socket).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "\"begun\"");
            lines
        })
        .collect();
    let (code, _, err) = site.tell(&["status"]);
    assert_eq!((code, err.as_str()), (1, "32 others wait for an answer, try again later\n"));
    let _open = gate.open();
    assert_eq!(Response::read(&mut stream).unwrap().status, 200);
    assert_eq!(site.server.wait(), 0);
    for mut lines in waiting {
        assert!(lines.next().is_none_or(|line| line.is_err()), "the connection ends with the master");
    }
}

#[test]
fn a_pid_file_that_somebody_removed_comes_back_with_a_reload() {
    let site = Controlled::start(&["hello"]);
    let pid = site.files.path().join("site.pid");
    fs::remove_file(&pid).unwrap();
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for("reload done generation=2");
    assert_eq!(fs::read_to_string(&pid).unwrap(), format!("{}\n", site.server.pid()));
    assert!(site.server.log().contains("the pid file was gone, it is written again path=/"), "{}", site.server.log());
}

#[test]
fn a_socket_that_somebody_removed_comes_back_with_a_reload() {
    let site = Controlled::start(&["hello"]);
    fs::remove_file(site.files.path().join("site.ctl")).unwrap();
    assert_eq!(site.tell(&["status"]).0, 5);
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for("reload done");
    assert_eq!(site.json(&["status"])["generation"], 2);
    // One that is there stays, and so does who is connected.
    let mut socket = site.socket();
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for_lines("reload done", 2);
    socket.write_all(b"\"status\"\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"generation\":3"), "{answer}");
    assert_eq!(site.server.log().matches("the file of the control socket was gone").count(), 1);
}

#[test]
fn the_socket_is_where_it_is_said_or_nowhere() {
    let files = directory(&[]);
    let at = |name: &str| files.path().join(name);
    let (pid, socket) = (at("site.pid"), at("control"));
    let (pid, socket) = (pid.to_str().unwrap(), socket.to_str().unwrap());
    let mut server = Server::start(&["hello", "--pid", pid, "--control-socket", "off"]);
    assert!(!at("site.ctl").exists());
    server.stop();
    let mut server = Server::start(&["hello", "--pid", pid, "--control-socket", socket]);
    assert!(!at("site.ctl").exists() && at("control").exists());
    assert_eq!(run(files.path(), ["status", "--control-socket", socket]).0, 0);
    server.stop();
    assert!(!at("control").exists());
    // One that was asked for and cannot be had ends the start; one that nobody asked for is a warning.
    fs::write(at("control"), "").unwrap();
    let words = ["hello", "-b", "127.0.0.1:0", "--pid", pid, "--control-socket", socket];
    let (code, _, err) = run(&apps(), words);
    assert!(code == 1 && err.contains("--control-socket: bind unix:"), "{err}");
    assert!(err.contains("expected a socket or nothing, found a file") && !at("site.pid").exists(), "{err}");
    let (code, _, err) = run(&apps(), ["check"].into_iter().chain(words));
    assert!(code == 1 && err.contains("--control-socket: bind unix:"), "{err}");
    fs::write(at("site.ctl"), "").unwrap();
    let mut server = Server::start(&["hello", "--pid", pid]);
    assert!(server.stop().contains("no control socket error="));
    assert!(at("site.ctl").exists(), "it is not ours");
}

#[test]
fn a_killed_masters_socket_is_replaced_by_the_next_one() {
    let files = directory(&[]);
    let pid = files.path().join("site.pid");
    let mut server = Server::start(&["hello", "--pid", pid.to_str().unwrap()]);
    let tree: Vec<Pid> = server.tree();
    server.signal(Signal::SIGKILL);
    server.wait();
    support::wait_gone(&tree);
    assert!(files.path().join("site.ctl").exists());
    let tell = || run(files.path(), ["status", "--pid", pid.to_str().unwrap()]);
    let (code, _, err) = tell();
    assert!(code == 5 && err.contains("connection refused"), "{err}");
    let _next = Server::start(&["hello", "--pid", pid.to_str().unwrap()]);
    assert_eq!(tell().0, 0);
}

#[test]
fn whoever_asks_under_load_costs_no_request() {
    let site = Controlled::start(&["hello", "-w", "2"]);
    let targets = [Target::Tcp(site.server.address().to_owned())];
    let ((), counted) = under_load(&targets, |progress| {
        for words in [["stack"], ["status"], ["requests"]].iter().cycle().take(60) {
            let before = progress.answered();
            site.done(words);
            wait_until("requests are answered", || progress.answered() > before);
        }
    });
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, site.server.log());
    assert_eq!(site.server.workers().len(), 2, "{}", site.server.log());
}
