//! A master that is root, and an application that runs as nobody and means harm: what it sends, and what it puts in the way
//! of files, neither stops the master nor moves it to write, read or remove what is not the application's.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{self, Server, directory, rwsgi};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};
use tempfile::TempDir;

/// A server whose application runs as nobody, in a directory of nobody's, with its pid file in one of root's.
struct Site {
    server: Server,
    /// The application's.
    files: TempDir,
    /// Root's.
    rooms: TempDir,
}

impl Site {
    fn start(app: &str, words: &[&str]) -> Site {
        let (files, rooms) = (directory(&[("app.py", app)]), directory(&[]));
        Site::start_with(files, rooms, words)
    }

    fn start_with(files: TempDir, rooms: TempDir, words: &[&str]) -> Site {
        assert!(Uid::effective().is_root(), "only root has privileges to drop: run the tests as root");
        give_to_nobody(files.path());
        let mut command = rwsgi(files.path(), words);
        command.args(["app", "--user", "nobody"]);
        if !words.contains(&"-p") {
            command.arg("-p").arg(rooms.path().join("site.pid"));
        }
        if !words.contains(&"-b") {
            command.args(["-b", "127.0.0.1:0"]);
        }
        Site { server: Server::spawn(command), files, rooms }
    }

    fn tell(&self, words: &[&str]) -> (i32, String, String) {
        let pid = self.rooms.path().join("site.pid");
        support::run(self.rooms.path(), words.iter().copied().chain(["--pid", pid.to_str().unwrap()]))
    }

    /// The master does what it is told, at once.
    fn assert_obeys(&mut self) {
        let (code, out, err) = self.tell(&["status"]);
        assert_eq!(code, 0, "{out}{err}\n{}", self.server.log());
        self.server.signal(Signal::SIGHUP);
        self.server.wait_for("reload done");
        self.server.stop();
    }
}

fn give_to_nobody(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

const NOBODY: u32 = 65_534;

/// Sends the master a descriptor whose last close waits for an hour, in each of the ways in which the kernel could be made
/// to do that close in the master.
const LINGERS: &str = r#"
import array, os, socket, struct
held = []

def lingering():
    listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(1)
    stream = socket.create_connection(listener.getsockname()); peer, _ = listener.accept()
    stream.setblocking(False)
    try:
        while True: stream.send(b"x" * 65536)
    except BlockingIOError:
        pass
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    outside, queue = socket.socketpair()
    socket.send_fds(outside, [b"x"], [stream.fileno()])
    stream.close()
    held.extend([listener, peer, outside])
    return queue.detach()

def channel():
    for name in os.listdir("/proc/self/fd"):
        try:
            end = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        is_channel = end.family == socket.AF_UNIX and end.type == socket.SOCK_SEQPACKET
        if is_channel and struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == os.getppid():
            return end
        end.close()

def send(end, text, descriptors):
    parts = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", part)) for part in descriptors]
    try:
        end.sendmsg([text], parts)
    except OSError as error:
        # What is still here is not closed: that would take an hour.
        return error.strerror
    for part in descriptors:
        for descriptor in part:
            os.close(descriptor)
    return "sent"

def message():
    return send(channel(), b'"Ready"', [[lingering()]])

def many():
    # As many as a message can carry, in several parts.
    return send(channel(), b'"Ready"', [[lingering()] + [os.dup(0) for _ in range(99)], [os.dup(0) for _ in range(152)], [lingering()]])

def unread():
    # Further messages than the master listens to: the last one waits until the channel is closed.
    end = channel()
    for _ in range(10):
        end.send(b'"Ready"')
    return send(end, b'"Ready"', [[lingering()]])

def backlog():
    # Who connects to the server's own socket and is never accepted.
    client = socket.socket(socket.AF_UNIX); client.connect(os.environ["SOCKET"]); held.append(client)
    return send(client, b"GET", [[lingering()]])

def application(environ, start_response):
    way = environ["PATH_INFO"].strip("/")
    start_response("200 OK", [])
    if way == "":
        return [b"ok"]
    said = globals()[way]()
    if way == "unread":
        os.kill(os.getpid(), 9)
    return [said.encode()]
"#;

#[test]
fn a_descriptor_in_a_message_that_cannot_be_closed_does_not_stop_the_master() {
    for way in ["message", "many"] {
        let mut site = Site::start(LINGERS, &[]);
        let said = site.server.get(&format!("/{way}")).text();
        // As before Linux 6.16, and since.
        assert!(["sent", "Operation not permitted"].contains(&said.as_str()), "{said}\n{}", site.server.log());
        site.assert_obeys();
    }
}

#[test]
fn a_descriptor_that_waits_unread_when_a_channel_is_closed_does_not_stop_the_master() {
    let mut site = Site::start(LINGERS, &[]);
    let mut stream = site.server.begin("/unread");
    site.server.wait_for("was sent SIG");
    assert!(support::Response::read(&mut stream).is_err(), "its worker is killed");
    site.server.wait_for_lines("worker ready", 2);
    site.assert_obeys();
}

#[test]
fn a_descriptor_that_waits_in_the_backlog_when_a_socket_is_closed_does_not_stop_the_master() {
    let rooms = directory(&[]);
    let socket = rooms.path().join("socket");
    let files = directory(&[("app.py", LINGERS)]);
    let (bind, env) = (format!("unix:{}", socket.display()), format!("SOCKET={}", socket.display()));
    let words = ["-b", "127.0.0.1:0", "-b", &bind, "-e", &env, "--graceful-timeout", "1"];
    let mut site = Site::start_with(files, rooms, &words);
    site.server.get("/backlog");
    let (code, out, err) = site.tell(&["status"]);
    assert_eq!(code, 0, "{out}{err}\n{}", site.server.log());
    site.server.stop();
}

#[test]
fn who_may_not_ask_cannot_stop_the_master_with_a_descriptor_either() {
    let rooms = directory(&[]);
    let control = rooms.path().join("site.ctl");
    let env = format!("SOCKET={}", control.display());
    let mut site = Site::start_with(directory(&[("app.py", LINGERS)]), rooms, &["-e", &env]);
    fs::set_permissions(&control, Permissions::from_mode(0o666)).unwrap();
    site.server.get("/backlog");
    site.server.wait_for("control socket: refused a user without permission user=65534");
    site.assert_obeys();
}

const HELLO: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

/// Puts something of nobody's in the place of a file.
fn swap(path: &Path, make: impl FnOnce(&Path)) {
    let _ = fs::remove_file(path);
    make(path);
    give_to_nobody(path);
}

fn fifo(path: &Path) {
    mkfifo(path, Mode::from_bits_truncate(0o644)).unwrap();
}

/// What is said of a path in nobody's directory.
fn refusal(site: &Site, found: &str) -> String {
    let directory = fs::canonicalize(site.files.path()).unwrap();
    format!("as others than root can write to {}, found {found}", directory.display())
}

#[test]
fn a_fifo_in_the_place_of_a_log_is_refused_and_nobody_waits_for_a_reader() {
    let files = directory(&[("app.py", HELLO)]);
    let log = files.path().join("access.log");
    let mut site = Site::start_with(files, directory(&[]), &["--access-logfile", log.to_str().unwrap()]);
    swap(&log, fifo);
    let (code, out, err) = site.tell(&["reopen-logs"]);
    assert!(code == 1 && err.contains(&refusal(&site, "a fifo")), "{out}{err}\n{}", site.server.log());
    site.server.wait_for(&format!("log files not reopened generation=1 error=\"--access-logfile: {}", log.display()));
    let (code, out, err) = site.tell(&["reload"]);
    assert!(code == 1 && err.contains(&refusal(&site, "a fifo")), "{out}{err}\n{}", site.server.log());
    assert!(err.contains("nothing has changed: generation 1 serves on"), "{err}");
    fs::remove_file(&log).unwrap();
    site.assert_obeys();
    let found = fs::metadata(&log).unwrap();
    assert_eq!((found.uid(), found.gid()), (NOBODY, NOBODY), "the log is the application's");
}

#[test]
fn a_link_in_the_place_of_a_log_is_not_followed() {
    let files = directory(&[("app.py", HELLO)]);
    let log = files.path().join("access.log");
    let mut site = Site::start_with(files, directory(&[]), &["--access-logfile", log.to_str().unwrap()]);
    let target = site.rooms.path().join("cron");
    swap(&log, |path| symlink(&target, path).unwrap());
    let (code, out, err) = site.tell(&["reopen-logs"]);
    assert!(code == 1 && err.contains("expected no symbolic link of another user"), "{out}{err}");
    assert!(err.contains(&format!("access.log of user {NOBODY}")), "{err}");
    assert!(!target.exists(), "made in a directory of root's");
    // A second name for a file of root's, where the kernel lets others make one (fs.protected_hardlinks).
    fs::write(&target, "").unwrap();
    fs::remove_file(&log).unwrap();
    fs::hard_link(&target, &log).unwrap();
    let (code, out, err) = site.tell(&["reopen-logs"]);
    assert!(code == 1 && err.contains(&refusal(&site, "one with 2")), "{out}{err}");
    let found = fs::metadata(&target).unwrap();
    assert_eq!((found.len(), found.uid()), (0, 0));
    fs::remove_file(&log).unwrap();
    // A directory on the way that has become a link.
    site.assert_obeys();
}

#[test]
fn a_link_on_the_way_to_a_log_is_not_followed_either() {
    let files = directory(&[("app.py", HELLO), ("logs/old", "")]);
    let (logs, rooms) = (files.path().join("logs"), directory(&[]));
    let log = logs.join("access.log");
    let mut site = Site::start_with(files, rooms, &["--access-logfile", log.to_str().unwrap()]);
    fs::remove_dir_all(&logs).unwrap();
    swap(&logs, |path| symlink(site.rooms.path(), path).unwrap());
    let (code, out, err) = site.tell(&["reopen-logs"]);
    assert!(code == 1 && err.contains("expected no symbolic link of another user"), "{out}{err}");
    assert!(!site.rooms.path().join("access.log").exists(), "made in a directory of root's");
    // Root's own links are followed.
    lchown(&logs, Some(0), Some(0)).unwrap();
    site.assert_obeys();
    assert!(site.rooms.path().join("access.log").exists());
}

#[test]
fn a_pid_file_in_a_directory_of_the_application_holds_nobody_up() {
    let files = directory(&[("app.py", HELLO)]);
    let pid = files.path().join("site.pid");
    let mut site = Site::start_with(files, directory(&[]), &["-p", pid.to_str().unwrap()]);
    swap(&pid, fifo);
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for("reload done generation=2");
    let target = site.rooms.path().join("target");
    fs::write(&target, site.server.pid().to_string()).unwrap();
    swap(&pid, |path| symlink(&target, path).unwrap());
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for("reload done generation=3");
    swap(&pid, fifo);
    site.server.stop();
    assert!(pid.exists() && target.exists(), "what is no pid file of ours stays");
    // At the start it is replaced, as a stale one.
    let mut next =
        rwsgi(site.files.path(), ["app", "--user", "nobody", "-b", "127.0.0.1:0", "-p", pid.to_str().unwrap()]);
    next.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut next = Server::spawn(next);
    assert_eq!(fs::read_to_string(&pid).unwrap(), format!("{}\n", next.pid()));
    next.stop();
    assert!(!pid.exists());
}

#[test]
fn a_certificate_that_has_become_a_fifo_fails_a_reload() {
    let files = directory(&[("app.py", HELLO)]);
    support::pki::Authority::new(files.path()).server("site");
    let (cert, key) = (files.path().join("site.pem"), files.path().join("site.key"));
    let saved = fs::read(&cert).unwrap();
    let words = ["--certfile", cert.to_str().unwrap(), "--keyfile", key.to_str().unwrap()];
    let mut site = Site::start_with(files, directory(&[]), &words);
    swap(&cert, fifo);
    let (code, out, err) = site.tell(&["reload"]);
    assert!(code == 1 && err.contains(&refusal(&site, "a fifo")), "{out}{err}\n{}", site.server.log());
    fs::remove_file(&cert).unwrap();
    fs::write(&cert, saved).unwrap();
    site.assert_obeys();
}

/// Says `"begun"`, and then whatever it is told to, to whoever asks on this socket.
const IMPOSTOR: &str = r#"
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
print("listens", flush=True)
while True:
    peer, _ = listener.accept()
    asked = peer.recv(100)
    print("asked" if asked else "left", flush=True)
    if asked: peer.sendall(b'{"done":"\\u001b[2Jstopped"}\n')
    peer.close()
"#;

/// A process of nobody's that listens where a server's control socket was; dropped, it is killed.
struct Impostor {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Impostor {
    fn start(directory: &TempDir, socket: &Path) -> Impostor {
        give_to_nobody(directory.path());
        let mut command = Command::new(support::virtualenv().join("bin/python"));
        command.args(["-c", IMPOSTOR]).arg(socket).uid(NOBODY).gid(NOBODY).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut impostor = Impostor { child, said };
        assert_eq!(impostor.line(), "listens\n");
        impostor
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_verb_asks_nothing_of_a_stranger_and_shows_no_control_characters() {
    let files = directory(&[]);
    let (socket, pid) = (files.path().join("site.ctl"), files.path().join("site.pid"));
    let mut impostor = Impostor::start(&files, &socket);
    let tell = |words: &[&str]| support::run(Path::new("/"), ["stop"].iter().chain(words));
    let refused = |(code, out, err): (i32, String, String)| {
        assert!(
            code == 5 && out.is_empty() && err.contains(&format!("found one of user {NOBODY}; nothing was asked")),
            "{err}"
        );
    };
    refused(tell(&["--control-socket", socket.to_str().unwrap()]));
    assert_eq!(impostor.line(), "left\n");
    // A pid file of root's process says nothing of this one.
    fs::write(&pid, std::process::id().to_string()).unwrap();
    refused(tell(&["--pid", pid.to_str().unwrap()]));
    assert_eq!(impostor.line(), "left\n");
    // Root asks a server that another user has started, by its pid file.
    fs::write(&pid, impostor.child.id().to_string()).unwrap();
    let (code, out, err) = tell(&["--pid", pid.to_str().unwrap()]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "\\u{1b}[2Jstopped\n", ""));
    assert_eq!(impostor.line(), "asked\n");
    let (_, out, _) = tell(&["--pid", pid.to_str().unwrap(), "--json"]);
    assert_eq!(out, "{\"done\":\"\\u001b[2Jstopped\"}\n");
    assert_eq!(impostor.line(), "asked\n");
    // Where the settings name a user, the server is root's.
    refused(tell(&["--pid", pid.to_str().unwrap(), "--user", "nobody"]));
}

#[test]
fn a_traceback_of_a_failed_reload_does_not_reach_the_terminal_as_it_is() {
    let mut site = Site::start(HELLO, &[]);
    fs::write(site.files.path().join("app.py"), "raise RuntimeError('\\x1b]0;owned\\x07')\n").unwrap();
    let (code, out, err) = site.tell(&["reload"]);
    assert!(code == 3 && err.contains("RuntimeError: \\u{1b}]0;owned\\u{7}"), "{out}{err}");
    assert!(!err.contains('\x1b') && !err.contains('\x07'), "{err}");
    site.server.stop();
}
