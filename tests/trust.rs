//! Privileges are dropped before the application is there, and what runs without them cannot harm a master that has
//! them: neither by what it says, nor by what it writes into memory that both have.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{self, Gate, Response, Server, children, directory, rwsgi, status, wait_gone, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;

/// A stop of a master that is being shouted at: the worker is killed after a second.
const STOP: Duration = Duration::from_secs(5);

fn nobody() -> User {
    assert!(Uid::effective().is_root(), "only root has privileges to drop: run the tests as root");
    User::from_name("nobody").unwrap().expect("a user nobody")
}

/// A server whose application runs as nobody.
fn as_nobody(files: &TempDir, words: &[&str]) -> Server {
    nobody();
    let mut command = rwsgi(files.path(), words);
    command.args(["--user", "nobody"]);
    if !words.contains(&"-b") {
        command.args(["-b", "127.0.0.1:0"]);
    }
    Server::spawn(command)
}

/// Tells who it is, and tries to become root again.
const WHO: &str = r#"
import json, os
at_import = os.getresuid()
def refused(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return True
    return False
def application(environ, start_response):
    start_response("200 OK", [])
    told = {
        "import": at_import, "user": os.getresuid(), "group": os.getresgid(), "groups": os.getgroups(),
        "refused": [refused(os.setuid, 0), refused(os.seteuid, 0), refused(os.setresuid, 0, 0, 0),
                    refused(os.setgid, 0), refused(os.setgroups, [0]), refused(os.kill, os.getppid(), 0)],
    }
    return [json.dumps(told).encode()]
"#;

#[test]
fn the_application_runs_as_user_with_that_users_groups_and_cannot_go_back() {
    let files = directory(&[("who.py", WHO)]);
    let path = |name: &str| files.path().join(name).display().to_string();
    let (socket, error, access, pid) = (path("socket"), path("error.log"), path("access.log"), path("pid"));
    for more in [&[][..], &["--preload"]] {
        let bind = format!("unix:{socket}");
        let words = ["who", "-b", &bind, "--access-logfile", &access, "-p", &pid];
        let mut server = as_nobody(&files, &[&words, more].concat());
        let mut stream = UnixStream::connect(&socket).unwrap();
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let told: serde_json::Value = serde_json::from_slice(&Response::read(&mut stream).unwrap().body).unwrap();
        let (user, group) = (nobody().uid.as_raw(), nobody().gid.as_raw());
        assert_eq!(told["import"], serde_json::json!([user, user, user]), "{more:?}");
        assert_eq!(told["user"], serde_json::json!([user, user, user]), "{more:?}");
        assert_eq!(told["group"], serde_json::json!([group, group, group]), "{more:?}");
        assert_eq!(told["groups"], serde_json::json!([group]), "{more:?}");
        assert_eq!(told["refused"], serde_json::json!(vec![true; 6]), "{more:?}");
        assert_eq!(status(server.pid(), "Uid"), "0 0 0 0");
        let owner = fs::symlink_metadata(&socket).unwrap();
        assert_eq!((owner.uid(), owner.gid(), owner.mode() & 0o777), (user, group, 0o660));
        assert_eq!((fs::metadata(&access).unwrap().uid(), fs::metadata(&pid).unwrap().uid()), (user, 0));
        server.stop();
    }
    // The log that is a file from the start on.
    let words = ["who", "-b", "127.0.0.1:0", "--user", "nobody", "--error-logfile", &error];
    let mut command = rwsgi(files.path(), words);
    let mut child = command.spawn().unwrap();
    wait_until("the server is ready", || fs::read_to_string(&error).is_ok_and(|log| log.contains("worker ready")));
    assert_eq!(fs::metadata(&error).unwrap().uid(), nobody().uid.as_raw());
    kill(pid_of(&child), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(&error).unwrap());
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn a_user_that_is_not_there_or_not_to_be_had_ends_the_start() {
    let user = nobody();
    let files = directory(&[("who.py", WHO)]);
    let cases: &[(&[&str], &str)] = &[
        (&["--user", "no-such-user"], "--user: expected a user of this system, found \"no-such-user\""),
        (&["--group", "no-such-group"], "--group: expected a group of this system, found \"no-such-group\""),
    ];
    for (words, text) in cases {
        let (code, _, log) =
            support::run_command(rwsgi(files.path(), ["who", "-b", "127.0.0.1:0"].iter().chain(*words)));
        assert!(code == 1 && log.contains(text), "{words:?} ended with {code}\n{log}");
    }
    let mut command = rwsgi(files.path(), ["who", "-b", "127.0.0.1:0", "--user", "root"]);
    std::os::unix::process::CommandExt::uid(&mut command, user.uid.as_raw()).env("PYTHONDONTWRITEBYTECODE", "1");
    let (code, _, log) = support::run_command(command);
    assert!(code == 1 && log.contains("hint: only root can change user and group"), "ended with {code}\n{log}");
}

/// Finds the channel to the master and says what it is told to over it, in the worker or (flood) in a child of it that
/// goes on by itself. The scoreboard is found in the process's own map.
const HOSTILE: &str = r#"
import array, ctypes, json, os, re, select, socket, struct, threading

def channels():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            end = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        if end.family == socket.AF_UNIX and end.type == socket.SOCK_SEQPACKET:
            found.append(end)
        else:
            end.close()
    return found

FAILED = {"Failed": {"cause": "NotFound", "message": "forged\n[2026-01-01 00:00:00 +0000] [1] [INFO] forged", "traceback": "x" * 50000}}

def say(end, what, count=1):
    data = what if isinstance(what, bytes) else json.dumps(what).encode()
    for _ in range(count):
        end.send(data)

def garbage(end):
    for data in [b"\0", b"{", b"[" * 60000, os.urandom(1000), b"\xff" * 60000, b'{"Hello":1}', b'"Nothing"', b"null"]:
        say(end, data)

def huge(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    say(end, b"x" * 100000)

def descriptors(end):
    fds = array.array("i", [os.open("/dev/null", os.O_RDONLY) for _ in range(200)])
    for _ in range(3):
        end.sendmsg([b'"Hello"'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    end.sendmsg([b'"Ready"'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))])

def names(end):
    victim = int(open("victim").read())
    for pid in (victim, 1, os.getppid(), -1, 0):
        try:
            credentials = struct.pack("iII", pid, os.getuid(), os.getgid())
            end.sendmsg([b'"Hello"'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)])
        except OSError as error:
            pass
        say(end, {"Hello": pid})
        say(end, {"Hello": {"pid": pid, "slot": 0}})

def others(end):
    if os.fork() == 0:
        for what in ("Hello", "Ready", "Spent", FAILED):
            say(end, what)
        os._exit(0)
    os.wait()

def flood(end):
    worker = os.getpid()
    if os.fork() == 0:
        try:
            # Both ends of a queue are here: it does not break when the server ends.
            while os.getppid() == worker:
                if select.select([], [end], [], 0.05)[1]:
                    end.send(b"garbage", socket.MSG_DONTWAIT)
        finally:
            os._exit(0)

def overwrite(byte):
    for line in open("/proc/self/maps"):
        if "rwsgi scoreboard" in line:
            start, stop = (int(part, 16) for part in line.split()[0].split("-"))
            ctypes.memset(start, byte, stop - start)

WAYS = {
    "garbage": garbage, "huge": huge, "descriptors": descriptors, "names": names, "others": others, "flood": flood,
    "hello": lambda end: say(end, "Hello", 1000), "ready": lambda end: say(end, "Ready", 1000),
    "failed": lambda end: say(end, FAILED, 1000), "spent": lambda end: say(end, "Spent", 1000),
}

def run(way):
    for end in channels():
        end.setblocking(way == "flood")
        try:
            WAYS[way](end)
        except (BlockingIOError, BrokenPipeError, PermissionError):
            pass

def application(environ, start_response):
    path = environ["PATH_INFO"].strip("/")
    start_response("200 OK", [])
    if path in WAYS:
        count = len(channels())
        run(path)
        return [str(count).encode()]
    if path.startswith("overwrite"):
        overwrite(int(path.removeprefix("overwrite"), 16))
    return [str(os.getpid()).encode()]

def in_zygote(end):
    os.close(os.open("go", os.O_RDONLY))
    for text in json.load(open("words")):
        say(end, text.encode())

if os.path.exists("zygote"):
    for end in channels():
        threading.Thread(target=in_zygote, args=(end,), daemon=True).start()
"#;

/// Files of the hostile application, and a process of root's that it would like to see signalled.
fn hostile() -> (TempDir, Victim) {
    let files = directory(&[("hostile.py", HOSTILE)]);
    let victim = Victim(Command::new("sleep").arg("600").spawn().unwrap());
    fs::write(files.path().join("victim"), victim.0.id().to_string()).unwrap();
    (files, victim)
}

struct Victim(Child);

impl Victim {
    fn assert_alive(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a process that is no worker was signalled");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_worker_that_forges_messages_neither_kills_nor_confuses_the_master() {
    let ways = ["garbage", "huge", "descriptors", "names", "others", "hello", "ready", "failed", "spent", "flood"];
    thread::scope(|scope| {
        for half in ways.chunks(5) {
            scope.spawn(move || {
                for way in half {
                    forge(way);
                }
            });
        }
    });
}

fn forge(way: &str) {
    let (files, mut victim) = hostile();
    let mut server = as_nobody(&files, &["hostile", "-w", "2"]);
    let mut tree = server.tree();
    // The worker's own channel and the two ends of the queue by which workers pass connections: neither the zygote's nor
    // another worker's.
    assert_eq!(server.get(&format!("/{way}")).text(), "3", "{way}: channels found\n{}", server.log());
    for _ in 0..4 {
        assert_eq!(server.get("/").status, 200, "{way}");
    }
    // The master still knows its workers: one that dies is replaced.
    let last = *workers_below(&server).last().unwrap();
    kill(last, Signal::SIGKILL).unwrap();
    wait_gone(&[last]);
    wait_until("there are two workers again", || {
        let workers = workers_below(&server);
        workers.len() == 2 && !workers.contains(&last)
    });
    assert_eq!(server.get("/").status, 200, "{way}");
    tree.extend(server.tree());
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    wait_gone(&[server.pid()]);
    assert!(began.elapsed() < STOP, "{way}: stopped after {:?}\n{}", began.elapsed(), server.log());
    assert_eq!(server.wait(), 0, "{way}\n{}", server.log());
    wait_gone(&tree);
    victim.assert_alive();
    let log = server.log();
    assert!(log.len() < 600_000 && log.matches("expected a message").count() < 20, "{way}: {} bytes of log", log.len());
}

/// By the kernel's word: the log may have lost lines under what is forged.
fn workers_below(server: &Server) -> Vec<Pid> {
    let workers = children(server.pid()).into_iter().filter(|(_, name)| name.starts_with("rwsgi: worker"));
    workers.map(|(pid, _)| pid).collect()
}

#[test]
fn a_scoreboard_that_a_worker_overwrote_harms_nobody_but_the_workers() {
    for byte in ["ff", "00", "01", "7f", "80"] {
        let (files, _victim) = hostile();
        let mut server = as_nobody(&files, &["hostile", "-w", "2", "--timeout", "0.3"]);
        let overwriting = server.get(&format!("/overwrite{byte}"));
        assert_eq!(overwriting.status, 200);
        for _ in 0..10 {
            assert_eq!(server.get("/").status, 200, "{byte}\n{}", server.log());
        }
        server.stop();
    }
}

#[test]
fn a_preloaded_application_that_speaks_in_the_zygotes_name_is_not_believed() {
    let forged: &[&[&str]] = &[
        &[r#"{"ForkFailed":{"slot":0,"error":"forged"}}"#],
        &[r#"{"ForkFailed":{"slot":99999999,"error":"forged"}}"#],
        &[r#"{"Found":{"version":"9","executable":"x","launch":"y"}}"#],
        &["\"Ready\""],
        &["garbage"],
        &[r#"{"Failed":{"cause":"NotFound","message":"forged","traceback":null}}"#, "\"Ready\"", "garbage"],
    ];
    thread::scope(|scope| {
        for half in forged.chunks(3) {
            scope.spawn(move || {
                for words in half {
                    forge_in_zygote(words);
                }
            });
        }
    });
}

fn forge_in_zygote(words: &[&str]) {
    let (files, _victim) = hostile();
    fs::write(files.path().join("zygote"), "").unwrap();
    fs::write(files.path().join("words"), serde_json::to_string(words).unwrap()).unwrap();
    let gate = Gate::closed(files.path().join("go"));
    let mut server = as_nobody(&files, &["hostile", "--preload"]);
    let (zygote, worker) = (server.zygote().unwrap(), server.workers()[0]);
    // The next zygote is an honest one.
    fs::remove_file(files.path().join("zygote")).unwrap();
    let _open = gate.open();
    wait_gone(&[zygote]);
    wait_until("there is a new zygote", || server.zygote().is_some_and(|pid| pid != zygote));
    assert_eq!(server.get("/").text(), worker.to_string(), "{words:?}\n{}", server.log());
    kill(worker, Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 2);
    server.stop();
}
