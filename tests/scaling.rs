//! The number of workers follows the load, and a server that nobody needs rests.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::load::{Target, under_load};
use crate::support::{
    self, Gate, Response, Server, apps, children, directory, limit, pass, patient, run, rwsgi, wait_until,
};
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// Waits for 5 ms in each request, so that a few clients keep some workers busy and leave the processor to others.
const SLOW: &str = r#"
import threading

def application(environ, start_response):
    threading.Event().wait(0.005)
    start_response("200 OK", [])
    return [b"ok"]
"#;

fn workers(server: &Server) -> usize {
    children(server.pid()).into_iter().filter(|(_, name)| name.starts_with("rwsgi: worker")).count()
}

#[test]
fn workers_are_added_under_load_and_taken_away_after_it_and_no_request_is_lost() {
    let files = directory(&[("slow.py", SLOW)]);
    let socket = files.path().join("socket");
    let bind = format!("unix:{}", socket.display());
    for threads in ["1", "2"] {
        let mut words = vec!["slow", "--workers-min", "1", "--workers-max", "3", "--workers-cooldown", "1"];
        words.extend(["--threads", threads, "-b", "127.0.0.1:0", "-b", &bind]);
        let mut server = Server::start_in(files.path(), &words);
        assert_eq!(workers(&server), 1);
        let targets = [Target::Tcp(server.address().to_owned()), Target::Unix(socket.clone())];
        let ((), counted) = under_load(&targets, |_| wait_until("there are three", || workers(&server) == 3));
        assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, server.log());
        // One request after another, with pauses: few enough.
        let mut answered = 0;
        wait_until("there is one", || {
            assert_eq!(server.get("/").status, 200, "{}", server.log());
            answered += 1;
            workers(&server) == 1
        });
        let log = server.stop();
        assert_eq!(log.matches("there is much to do, number of workers changed").count(), 2, "{log}");
        assert_eq!(log.matches("there is little to do, number of workers changed").count(), 2, "{log}");
        // Why somebody goes is said before.
        assert!(log.find("there is little to do").unwrap() < log.find("worker retires").unwrap(), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
        println!("{} requests under load, {answered} after it, all answered", counted.answered);
    }
}

#[test]
fn a_queue_of_connections_adds_workers() {
    let files = directory(&[]);
    let mut server = Server::start(&["stuck", "--workers-max", "4", "--busyness-max", "100", "--busyness-min", "0"]);
    let gate = Gate::closed(files.path().join("open"));
    let path = format!("/gate{}/open", files.path().display());
    let mut waiting: Vec<_> = (0..4).map(|_| server.begin(&path)).collect();
    server.wait_for_lines("under way: gate", 4);
    let open = gate.open();
    for stream in &mut waiting {
        assert_eq!(Response::read(stream).unwrap().status, 200);
    }
    drop(open);
    let log = server.stop();
    assert!(log.contains("there is much to do, number of workers changed workers=4"), "{log}");
}

#[test]
fn what_is_set_by_hand_is_a_minimum_and_within_the_bounds() {
    let files = directory(&[]);
    let pid = files.path().join("pid");
    let pid = pid.to_str().unwrap();
    let scaled = ["--workers-min", "2", "--workers-max", "4", "--workers-cooldown", "0.5", "--pid", pid];
    let mut server = Server::start(&[&["hello"], &scaled[..]].concat());
    let scale = |words: &str| run(&apps(), ["scale", words, "--pid", pid]);
    let refused = |found: &str| {
        let says = "expected 2 to 4 workers (workers_min to workers_max), found";
        (1, String::new(), format!("{says} {found}, as before\n"))
    };
    assert_eq!(scale("1"), refused("1; there are to be 2"));
    server.signal(Signal::SIGTTOU);
    server.wait_for("number of workers stays signal=TTOU workers=2 asked=-1 least=2 most=4");
    assert_eq!(scale("3"), (0, "3 workers wanted\n".to_owned(), String::new()));
    wait_until("there are three", || workers(&server) == 3);
    server.signal(Signal::SIGTTIN);
    wait_until("there are four", || workers(&server) == 4);
    server.signal(Signal::SIGTTIN);
    server.wait_for("number of workers stays signal=TTIN workers=4 asked=+1 least=2 most=4");
    assert_eq!(scale("5"), refused("5; there are to be 4"));
    assert_eq!(scale("-3"), refused("-3 from 4; there are to be 4"));
    // Nothing to do for longer than the cool-down, and they stay.
    pass(Duration::from_secs(4));
    assert_eq!(workers(&server), 4, "{}", server.log());
    let status = || run(&apps(), ["status", "--json", "--pid", pid]).1;
    let scaling = || serde_json::from_str::<serde_json::Value>(&status()).unwrap()["scaling"].clone();
    assert_eq!((&scaling()["workers_min"], &scaling()["workers_max"]), (&2.into(), &4.into()));
    assert!(scaling()["busy"] == 0 && scaling()["last_change"].is_null(), "{}", status());
    // A reload keeps the number, and the load decides again.
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done generation=2 workers=4");
    wait_until("there are two", || workers(&server) == 2);
    let change = scaling()["last_change"].clone();
    assert_eq!(
        (&change["from"], &change["to"], &change["why"]),
        (&3.into(), &2.into(), &"there is little to do".into())
    );
    let text = run(&apps(), ["status", "--pid", pid]).1;
    assert!(text.contains("\n2 to 4 workers as the load asks"), "{text}");
    server.stop();
}

#[test]
fn an_idle_server_goes_down_to_the_least_at_once() {
    let words = ["hello", "-w", "3", "--workers-min", "1", "--workers-cooldown", "600", "--idle", "1"];
    let mut server = Server::start(&words);
    server.wait_for("no request has come, number of workers changed workers=1 idle=1");
    wait_until("there is one", || workers(&server) == 1);
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// A command line to which a socket is passed as systemd does it.
fn with_passed(socket: &TcpListener, directory: &Path, words: &[&str]) -> Command {
    let inner = rwsgi(directory, words);
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(directory).env("VIRTUAL_ENV", support::virtualenv()).env("LISTEN_FDS", "1");
    let kept = fcntl(OwnedFd::from(socket.try_clone().unwrap()), FcntlArg::F_DUPFD_CLOEXEC(100)).unwrap();
    // SAFETY: dup2 is async-signal-safe and reads no memory.
    unsafe {
        command.pre_exec(move || match libc::dup2(kept, 3) {
            3 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

#[test]
fn a_server_of_a_passed_socket_ends_when_nobody_comes_and_the_next_one_serves_who_comes_then() {
    let files = directory(&[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let idle = patient(Duration::from_millis(1500));
    let words = ["gate", "-w", "2", "--idle", &format!("{:.3}", idle.as_secs_f64()), "--die-on-idle"];
    let mut server = Server::spawn(with_passed(&socket, &apps(), &words));
    // A request that takes longer than that is one all the while.
    let gate = Gate::closed(files.path().join("open"));
    let mut long = server.begin(&format!("/gate{}/open", files.path().display()));
    server.wait_for("under way: gate");
    pass(idle.mul_f64(2.5));
    let open = gate.open();
    assert_eq!(Response::read(&mut long).unwrap().status, 200, "{}", server.log());
    drop(open);
    let answered = Instant::now();
    assert_eq!(server.wait(), 0, "{}", server.log());
    assert!(answered.elapsed() >= idle.mul_f64(0.9), "{:?}\n{}", answered.elapsed(), server.log());
    assert!(server.log().contains("no request has come, stopping idle="), "{}", server.log());
    // It listens on, and whoever comes now waits for the next server.
    let mut late = server.begin("/");
    let mut next = Server::spawn(with_passed(&socket, &apps(), &words));
    assert_eq!(Response::read(&mut late).unwrap().status, 200);
    next.stop();
}

#[test]
fn no_request_is_lost_to_servers_that_end_when_nobody_comes() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let is_over = AtomicBool::new(false);
    let (started, asked) = thread::scope(|scope| {
        // As systemd does it: whoever connects has a server started, if there is none.
        let manager = scope.spawn(|| {
            let mut started = 0;
            while !is_over.load(Ordering::Relaxed) {
                let mut waits = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                if poll(&mut waits, PollTimeout::from(50_u8)).unwrap() > 0 {
                    let mut server =
                        Server::spawn(with_passed(&socket, &apps(), &["hello", "--idle", "0.2", "--die-on-idle"]));
                    started += 1;
                    assert_eq!(server.wait(), 0, "{}", server.log());
                }
            }
            started
        });
        let over = Over(&is_over);
        let mut asked = 0;
        // One request after the other, with pauses about as long as the patience: some come just as it ends.
        for round in 0..40 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(limit())).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
            assert_eq!(Response::read(&mut stream).unwrap().status, 200);
            asked += 1;
            pass(Duration::from_millis(190 + 3 * (round % 10)));
        }
        drop(over);
        (manager.join().unwrap(), asked)
    });
    assert!(started >= 3, "{started} servers");
    println!("{asked} requests to {started} servers, all answered");
}

/// Ends the manager, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_server_that_nobody_would_start_again_stays() {
    let mut server = Server::start(&["hello", "--idle", "0.3", "--die-on-idle"]);
    let warning = "warning: --die-on-idle: no effect without a passed socket (LISTEN_FDS), since nothing would start the server again";
    assert!(server.log().contains(warning), "{}", server.log());
    pass(Duration::from_secs(1));
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn an_idle_server_that_follows_no_load_sleeps() {
    let server = Server::start(&["hello"]);
    // Of all its threads, how often they have slept.
    let woken = |pid| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let slept = |thread: std::io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        threads.map(slept).sum::<u64>()
    };
    let all = server.tree();
    let woken = || all.iter().map(|pid| woken(*pid)).collect::<Vec<u64>>();
    // On a machine that is slow the start takes longer than until it serves.
    let (mut before, mut asleep) = (woken(), Instant::now());
    wait_until("all sleep for three seconds", || {
        pass(Duration::from_millis(100));
        let now = woken();
        if now != before {
            (before, asleep) = (now, Instant::now());
        }
        asleep.elapsed() >= Duration::from_secs(3)
    });
}
