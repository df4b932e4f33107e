//! The server as a service: what the service manager hears of it (sd_notify(3)), the sockets that it passes
//! (sd_listen_fds(3)), a stop that waits for the balancer. The manager's end is played by the tests, and where it has a
//! tool, by systemd's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::outside::tool;
use crate::support::{self, Gate, Response, Server, apps, directory, limit, patient, run_command, rwsgi, virtualenv};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2, write};

/// The end of the protocol at which systemd listens.
struct Manager {
    ear: UnixDatagram,
    address: String,
    heard: Vec<String>,
}

impl Manager {
    fn at_path(path: &Path) -> Manager {
        Manager::new(UnixDatagram::bind(path).unwrap(), path.to_str().unwrap().to_owned())
    }

    fn new(ear: UnixDatagram, address: String) -> Manager {
        ear.set_read_timeout(Some(limit())).unwrap();
        Manager { ear, address, heard: Vec::new() }
    }

    /// The next datagram with `line`, others passed over but kept.
    fn wait_for(&mut self, line: &str) -> String {
        loop {
            let datagram = self.next();
            if datagram.lines().any(|heard| heard == line) {
                return datagram;
            }
        }
    }

    fn next(&mut self) -> String {
        let mut bytes = [0; 4096];
        let length = self.ear.recv(&mut bytes).unwrap_or_else(|error| panic!("{error} after {:?}", self.heard));
        let datagram = String::from_utf8(bytes[..length].to_vec()).unwrap();
        self.heard.push(datagram.clone());
        datagram
    }

    /// What has come and was not taken yet.
    fn drain(&mut self) {
        self.ear.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        while let Ok(length) = self.ear.recv(&mut bytes) {
            self.heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        self.ear.set_nonblocking(false).unwrap();
    }

    fn has_heard(&self, line: &str) -> bool {
        self.heard.iter().any(|datagram| datagram.lines().any(|heard| heard == line))
    }
}

/// A server of a service that this manager has started.
fn service(manager: &Manager, directory: &Path, words: &[&str]) -> Command {
    let mut command = rwsgi(directory, words);
    command.args(["-b", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &manager.address);
    command
}

#[test]
fn ready_is_said_when_requests_are_answered_and_not_before() {
    let files = directory(&[]);
    let gate = Gate::closed(files.path().join("open"));
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let mut command = service(&manager, &apps(), &["gate"]);
    command.env("GATE", format!("/gate{}/open", files.path().display()));
    let mut server = Server::spawn_unready(command);
    manager.wait_for("STATUS=loading the application");
    server.wait_for("under way: gate");
    manager.drain();
    assert!(!manager.has_heard("READY=1"), "{:?}", manager.heard);
    let _open = gate.open();
    let ready = manager.wait_for("READY=1");
    assert_eq!(ready, format!("READY=1\nMAINPID={}\nSTATUS=serving: 1 worker", server.pid()));
    assert_eq!(server.get("/").status, 200);
    server.stop();
    manager.wait_for("STOPPING=1");
    assert_eq!(manager.heard.iter().filter(|datagram| datagram.contains("READY=1")).count(), 1);
}

#[test]
fn an_application_that_cannot_be_loaded_is_never_ready() {
    let files = directory(&[]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let (code, _, log) = run_command(service(&manager, files.path(), &["nowhere"]));
    assert_eq!(code, 4, "{log}");
    manager.wait_for("STOPPING=1");
    manager.drain();
    assert!(!manager.has_heard("READY=1"), "{:?}", manager.heard);
}

#[test]
fn the_status_follows_the_workers() {
    let name = format!("rwsgi-test-{}", std::process::id());
    let ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut manager = Manager::new(ear, format!("@{name}"));
    let mut server = Server::spawn(service(&manager, &apps(), &["hello", "-w", "2"]));
    manager.wait_for("STATUS=serving: 1 of 2 workers");
    manager.wait_for("STATUS=serving: 2 workers");
    kill(server.workers()[0], Signal::SIGKILL).unwrap();
    manager.wait_for("STATUS=serving: 1 of 2 workers");
    manager.wait_for("STATUS=serving: 2 workers");
    server.signal(Signal::SIGTERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert!(stopping.starts_with("STOPPING=1\nSTATUS=stopping: "), "{stopping}");
    assert_eq!(server.wait(), 0);
}

#[test]
fn the_watchdog_hears_of_the_master_twice_in_its_time() {
    let files = directory(&[]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let mut command = service(&manager, &apps(), &["hello"]);
    command.env("WATCHDOG_USEC", "1000000");
    let mut server = Server::spawn(command);
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    let began = Instant::now();
    for _ in 0..4 {
        manager.wait_for("WATCHDOG=1");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1900), "four halves took {took:?}");
    assert!(took < patient(Duration::from_millis(3900)), "four halves took {took:?}");
    server.stop();
}

#[test]
fn a_watchdog_that_waits_for_another_process_hears_nothing() {
    let files = directory(&[]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let mut command = service(&manager, &apps(), &["hello"]);
    command.env("WATCHDOG_USEC", "2").env("WATCHDOG_PID", "1");
    let mut server = Server::spawn(command);
    manager.wait_for("READY=1");
    server.stop();
    manager.wait_for("STOPPING=1");
    assert!(!manager.has_heard("WATCHDOG=1"), "{:?}", manager.heard);
}

/// Answers the variables of the service manager that it finds, and says at import which there are.
const ENVIRON: &str = r#"
import os

def application(environ, start_response):
    start_response("200 OK", [])
    names = [name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    return [" ".join(sorted(names)).encode()]
"#;

#[test]
fn the_application_inherits_nothing_of_the_managers() {
    let files = directory(&[("environ_app.py", ENVIRON)]);
    let manager = Manager::at_path(&files.path().join("notify"));
    let mut command = service(&manager, files.path(), &["environ_app", "--env", "LISTEN_MINE=1"]);
    for name in ["WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env(name, "77");
    }
    let mut server = Server::spawn(command);
    assert_eq!(server.get("/").text(), "LISTEN_MINE");
    server.stop();
}

#[test]
fn a_manager_that_cannot_be_reached_gets_one_warning_and_the_server_serves() {
    for (address, warning) in [
        ("nonsense", "warning: NOTIFY_SOCKET: expected an absolute path or @ and an abstract name, found \"nonsense\""),
        ("/nowhere/notify", "the service manager at NOTIFY_SOCKET receives no messages"),
    ] {
        let mut command = rwsgi(&apps(), ["hello", "-b", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", address);
        let mut server = Server::spawn(command);
        assert_eq!(server.get("/").status, 200);
        let log = server.stop();
        assert_eq!(log.matches(warning).count(), 1, "{log}");
    }
}

#[test]
fn a_check_tells_the_manager_nothing() {
    let files = directory(&[]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let mut command = rwsgi(&apps(), ["check", "hello"]);
    command.env("NOTIFY_SOCKET", &manager.address);
    let (code, _, log) = run_command(command);
    assert_eq!(code, 0, "{log}");
    manager.drain();
    assert_eq!(manager.heard, [""; 0]);
}

/// A command line to which sockets are passed as systemd does it: from descriptor 3 on, by variables.
fn with_passed(sockets: &[OwnedFd], names: &str, words: &[&str]) -> Command {
    let mut command = within("sh", &["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"], &rwsgi(&apps(), words));
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    // Out of the way of the numbers that they are to have.
    let kept: Vec<i32> = sockets.iter().map(|fd| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(100)).unwrap()).collect();
    // SAFETY: dup2 is async-signal-safe and reads no memory.
    unsafe {
        command.pre_exec(move || {
            for (number, fd) in (3..).zip(&kept) {
                if libc::dup2(*fd, number) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command
}

/// The same command line, started by another program.
fn within(starter: &str, words: &[&str], inner: &Command) -> Command {
    let mut command = tool(starter, words);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn ask<S: Read + Write>(mut stream: S) -> u16 {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    Response::read(&mut stream).unwrap().status
}

#[test]
fn passed_sockets_are_served_in_place_of_bind_and_left_to_their_owner() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let address = tcp.local_addr().unwrap();
    for words in [&["hello"][..], &["hello", "-b", "127.0.0.1:1"][..]] {
        let sockets = vec![OwnedFd::from(tcp.try_clone().unwrap()), unix.try_clone().unwrap().into()];
        let mut server = Server::spawn(with_passed(&sockets, "web:local", words));
        assert_eq!(ask(TcpStream::connect(address).unwrap()), 200);
        assert_eq!(ask(UnixStream::connect(&path).unwrap()), 200);
        let log = server.stop();
        assert!(log.contains(&format!("Listening at: http://{address},unix:{}", path.display())), "{log}");
        let warning = "warning: --bind: not used, the passed sockets are served instead (LISTEN_FDS=2)";
        assert_eq!(log.contains(warning), words.len() > 1, "{log}");
        assert!(path.exists(), "it is its owner's");
    }
    // They listen on: what comes now waits for the next server.
    assert!(TcpStream::connect(address).is_ok() && UnixStream::connect(&path).is_ok());
}

#[test]
fn a_passed_socket_is_chosen_by_its_name() {
    let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect();
    let passed: Vec<OwnedFd> = sockets.into_iter().map(OwnedFd::from).collect();
    let words = ["hello", "-b", "fd://web", "-b", "127.0.0.1:0"];
    let mut server = Server::spawn(with_passed(&passed, "web:admin:web", &words));
    for address in [&addresses[0], &addresses[2]] {
        assert_eq!(ask(TcpStream::connect(address).unwrap()), 200);
    }
    let log = server.stop();
    let listening = log.lines().find(|line| line.contains("Listening at: ")).unwrap();
    assert!(!listening.contains(&addresses[1]) && listening.matches("http://").count() == 3, "{log}");
    assert!(log.contains("warning: fd://4 (admin): passed and not served, bind names other sockets"), "{log}");
}

#[test]
fn no_process_but_the_master_has_the_passed_numbers() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = vec![OwnedFd::from(tcp.try_clone().unwrap()), tcp.try_clone().unwrap().into()];
    // The second one is served by nobody.
    let mut server = Server::spawn(with_passed(&sockets, "web:idle", &["hello", "-b", "fd://web"]));
    let inode = |pid, fd: i32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
    let idle = inode(server.pid(), 4).unwrap();
    assert!(idle.to_str().unwrap().starts_with("socket:"), "{idle:?}");
    let zygote = server.zygote().unwrap();
    // It is the same socket as the one that is served, so that there is exactly one.
    assert_eq!((0..64).filter(|fd| inode(zygote, *fd).as_ref() == Some(&idle)).count(), 1);
    server.stop();
}

#[test]
fn what_was_passed_and_cannot_be_served_has_words() {
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let (connected, _other) = UnixStream::pair().unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let cases = [
        (vec![tcp()], "web:more", &["hello"][..], "LISTEN_FDNAMES: expected as many names as LISTEN_FDS=1"),
        (
            vec![tcp()],
            "web",
            &["hello", "-b", "fd://wbe"][..],
            "bind fd://wbe: expected a socket that was passed under this name, found none\nhint: ",
        ),
        (
            vec![connected.into()],
            "web",
            &["hello"][..],
            "bind fd://3: expected a listening socket, found one that does not listen\nhint: ",
        ),
        (
            vec![tcp(), datagram.into()],
            "a:b",
            &["hello"][..],
            "bind fd://4: expected a listening TCP or unix stream socket",
        ),
    ];
    for (sockets, names, words, text) in cases {
        let (code, _, log) = run_command(with_passed(&sockets, names, words));
        assert!(code == 1 && log.contains(text), "expected {text:?}\n{log}");
    }
}

#[test]
fn sockets_that_were_passed_to_another_process_are_not_taken() {
    let mut command = rwsgi(&apps(), ["hello", "-b", "127.0.0.1:0"]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let mut server = Server::spawn(command);
    assert_eq!(server.get("/").status, 200);
    let log = server.stop();
    let expected = format!("warning: LISTEN_PID: expected {}, found 1; the sockets of LISTEN_FDS", server.pid());
    assert!(log.contains(&expected) && log.contains("hint: start rwsgi without a shell, or with exec"), "{log}");
}

#[test]
fn systemd_socket_activate_starts_it_with_the_first_connection() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    let env = format!("VIRTUAL_ENV={}", virtualenv().display());
    let words = ["--listen", path.to_str().unwrap(), "--fdname", "web", "-E", &env];
    let mut command = within("systemd-socket-activate", &words, &rwsgi(&apps(), ["hello", "-b", "fd://web"]));
    command.stderr(Stdio::null());
    let mut child = KilledAtEnd(command.spawn().unwrap());
    support::wait_until("systemd listens", || UnixStream::connect(&path).is_ok());
    assert_eq!(ask(UnixStream::connect(&path).unwrap()), 200);
    // It has become the server: the same process.
    child.signal(Signal::SIGTERM);
    assert!(child.0.wait().unwrap().success());
    assert!(path.exists(), "it is its owner's");
}

struct KilledAtEnd(Child);

impl KilledAtEnd {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn after_term_requests_are_served_until_shutdown_delay_is_over() {
    let files = directory(&[]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let delay = patient(Duration::from_millis(1500));
    let command = service(&manager, &apps(), &["hello", "--shutdown-delay", &format!("{:.3}", delay.as_secs_f64())]);
    let mut server = Server::spawn(command);
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert!(stopping.contains("STATUS=serving until shutdown_delay is over"), "{stopping}");
    server.wait_for("requests are served until the stop begins shutdown_delay=");
    // New connections too, and kept ones are kept.
    let mut kept = server.connect();
    for _ in 0..3 {
        assert_eq!(server.get("/").status, 200);
        kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let response = Response::read(&mut kept).unwrap();
        assert_eq!((response.status, response.field("connection")), (200, None), "{}", server.log());
    }
    assert_eq!(kept.read(&mut [0]).unwrap(), 0, "closed when the stop begins");
    assert!(began.elapsed() + Duration::from_millis(50) >= delay, "{:?} of {delay:?}", began.elapsed());
    assert_eq!(server.wait(), 0, "{}", server.log());
    manager.wait_for("STATUS=stopping: 1 worker left");
}

#[test]
fn quit_does_not_wait_for_shutdown_delay() {
    let mut server = Server::start(&["hello", "--shutdown-delay", "60"]);
    server.signal(Signal::SIGTERM);
    server.wait_for("requests are served until the stop begins");
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.wait(), 0, "{}", server.log());
}

#[test]
fn graceful_timeout_is_kept_to_the_tenth_of_a_second() {
    let mut server = Server::start(&["gate", "--graceful-timeout", "1"]);
    let _stuck = server.begin("/stubborn");
    server.wait_for("under way: stubborn");
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    server.wait_for("worker did not end when asked, killed");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < patient(Duration::from_millis(1500)), "killed after {took:?}");
    assert_eq!(server.wait(), 0, "{}", server.log());
}

#[test]
fn as_pid_1_it_obeys_signals_whose_default_would_not_apply() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let words = ["--pid", "--fork", "--mount-proc", "--kill-child"];
        let inner = rwsgi(&apps(), ["hello", "-b", "127.0.0.1:0"]);
        let mut server = Server::spawn(within("unshare", &words, &inner));
        let master = support::children(server.pid())[0].0;
        assert!(support::status(master, "NSpid").ends_with(" 1"), "{}", support::status(master, "NSpid"));
        assert_eq!(server.get("/").status, 200);
        kill(master, signal).unwrap();
        assert_eq!(server.wait(), 0, "{signal}\n{}", server.log());
    }
}

/// Writes a good deal to both streams and to the log.
const TALKATIVE: &str = r#"
import sys

def application(environ, start_response):
    environ["wsgi.errors"].write("words " * 2000)
    start_response("200 OK", [])
    return [b"said"]
"#;

#[test]
fn it_serves_and_stops_where_nobody_reads_what_it_writes() {
    let files = directory(&[("talkative.py", TALKATIVE)]);
    for way in ["closed", "without a reader", "full"] {
        let path = files.path().join("socket");
        let words = ["talkative", "-b", &format!("unix:{}", path.display()), "--access-logfile", "-"];
        let mut command = rwsgi(files.path(), words);
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut reader = Some(reader);
        match way {
            "full" => fill(&writer),
            _ => drop(reader.take()),
        }
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        if way == "closed" {
            // SAFETY: close is async-signal-safe and reads no memory.
            unsafe {
                command.pre_exec(|| {
                    libc::close(1);
                    libc::close(2);
                    Ok(())
                });
            }
        }
        let mut child = KilledAtEnd(command.spawn().unwrap());
        drop(command);
        support::wait_until("it listens", || UnixStream::connect(&path).is_ok());
        for _ in 0..20 {
            assert_eq!(ask(UnixStream::connect(&path).unwrap()), 200, "{way}");
        }
        child.signal(Signal::SIGTERM);
        assert_eq!(child.0.wait().unwrap().code(), Some(0), "{way}");
        assert!(!path.exists(), "{way}");
    }
}

/// Until not one byte finds room.
fn fill(pipe: &OwnedFd) {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL).unwrap());
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    for piece in [&[b'.'; 4096][..], b"."] {
        while write(pipe, piece).is_ok() {}
    }
    fcntl(pipe, FcntlArg::F_SETFL(flags)).unwrap();
}

/// Fails to be loaded once there is a file `broken`.
const FRAGILE: &str = r#"
import os

if os.path.exists("broken"):
    raise RuntimeError("broken")

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"#;

#[test]
fn a_reload_is_announced_in_one_datagram_and_ends_with_ready_however_it_went() {
    let files = directory(&[("fragile.py", FRAGILE)]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let mut server = Server::spawn(service(&manager, files.path(), &["fragile"]));
    manager.wait_for("READY=1");
    let mut reload = || {
        let before = monotonic_micros();
        server.signal(Signal::SIGHUP);
        let begins = manager.wait_for("RELOADING=1");
        let (_, micros) = begins.split_once("\nMONOTONIC_USEC=").unwrap();
        assert!((before..=monotonic_micros()).contains(&micros.parse().unwrap()), "{begins}");
        manager.wait_for("READY=1")
    };
    assert!(reload().ends_with("\nSTATUS=serving: 1 worker"));
    fs::write(files.path().join("broken"), "").unwrap();
    let ready = reload();
    let failed = "\nSTATUS=serving: 1 worker; the last reload failed: fragile: the application raised RuntimeError";
    assert!(ready.contains(failed), "{ready}");
    fs::remove_file(files.path().join("broken")).unwrap();
    assert!(reload().ends_with("\nSTATUS=serving: 1 worker"));
    server.stop();
}

#[test]
fn a_reload_that_ends_with_wrong_settings_is_announced_too() {
    let text = "wsgi_app = \"fragile\"\nbind = [\"127.0.0.1:0\"]\n";
    let files = directory(&[("fragile.py", FRAGILE), ("rwsgi.toml", text)]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let mut command = rwsgi(files.path(), ["-c", "rwsgi.toml"]);
    command.env("NOTIFY_SOCKET", &manager.address);
    let mut server = Server::spawn(command);
    manager.wait_for("READY=1");
    fs::write(files.path().join("rwsgi.toml"), format!("{text}workers = 0\n")).unwrap();
    server.signal(Signal::SIGHUP);
    manager.wait_for("RELOADING=1");
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("; the last reload failed: rwsgi.toml:3: workers: expected a whole number"), "{ready}");
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// The clock of `MONOTONIC_USEC`.
fn monotonic_micros() -> u64 {
    rwsgi::os::clock::monotonic() / 1000
}

#[test]
fn a_reload_keeps_the_sockets_that_were_passed() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let mut server =
        Server::spawn(with_passed(&[tcp.try_clone().unwrap().into()], "web", &["hello", "-b", "fd://web"]));
    for reloads in 1..=2 {
        server.signal(Signal::SIGHUP);
        server.wait_for_lines("reload done", reloads);
        assert_eq!(ask(TcpStream::connect(address).unwrap()), 200);
    }
    server.stop();
}

#[test]
fn an_upgrade_hands_the_service_and_its_sockets_over_to_the_new_master() {
    let files = directory(&[]);
    let mut manager = Manager::at_path(&files.path().join("notify"));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let control = files.path().join("control");
    let words = ["hello", "--control-socket", control.to_str().unwrap()];
    let mut command = with_passed(&[tcp.try_clone().unwrap().into()], "web", &words);
    // The shell's number becomes the server's, as with LISTEN_PID.
    command.env("NOTIFY_SOCKET", &manager.address).env("WATCHDOG_USEC", "600000");
    let mut old = Server::spawn(command);
    manager.wait_for("READY=1");
    let tell = |words: &[&str]| {
        let (code, out, err) =
            support::run(files.path(), words.iter().chain(&["--control-socket", words_of(&control)]));
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}: {out}");
        out
    };
    let said = tell(&["upgrade"]);
    let (_, pid) = said.trim().rsplit_once(' ').unwrap();
    let new = Pid::from_raw(pid.parse().unwrap());
    old.wait_for_lines("worker ready", 2);
    // While both serve, the old one is the service, and the one that is asked.
    assert!(tell(&["status"]).contains(&format!("pid {}, rwsgi", old.pid())));
    let log = old.log();
    assert!(log.matches(&format!("Listening at: http://{address} ")).count() == 2, "{log}");
    assert!(!manager.has_heard(&format!("MAINPID={new}")), "{:?}", manager.heard);
    old.signal(Signal::SIGTERM);
    manager.wait_for(&format!("MAINPID={new}"));
    old.wait_for("the old master is gone, this one stays");
    let ready = manager.wait_for("READY=1");
    assert!(ready.starts_with(&format!("READY=1\nMAINPID={new}\nSTATUS=serving: 1 worker")), "{ready}");
    assert!(!manager.has_heard("STOPPING=1"), "{:?}", manager.heard);
    manager.wait_for("WATCHDOG=1");
    assert_eq!(ask(TcpStream::connect(address).unwrap()), 200);
    support::wait_until("the new master has the control socket", || control.exists());
    assert!(tell(&["status"]).contains(&format!("pid {new}, rwsgi")));
    // Its own reload still knows the sockets that were passed to the old one.
    assert_eq!(tell(&["reload", "--wait"]), "generation 2 serves\n");
    assert_eq!(ask(TcpStream::connect(address).unwrap()), 200);
    assert_eq!(tell(&["stop"]), "stopped\n");
    manager.wait_for("STOPPING=1");
    assert_eq!(old.wait(), 0, "{}", old.log());
    // What the old one did not end, the new one did: nobody holds the output open any more.
}

fn words_of(path: &Path) -> &str {
    path.to_str().unwrap()
}
