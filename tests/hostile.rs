//! A master that is root, and an application that runs as nobody and means harm: what it sends, and what it puts in the way
//! of files, neither stops the master nor moves it to write, read or remove what is not the application's.

use std::path::Path;

use crate::support::{self, Server, directory, rwsgi};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tempfile::TempDir;

/// A server whose application runs as nobody, in a directory of nobody's, with its pid file in one of root's.
struct Site {
    server: Server,
    /// The application's.
    _files: TempDir,
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
        Site { server: Server::spawn(command), _files: files, rooms }
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
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
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
    site.server.wait_for("worker died");
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
    use std::os::unix::fs::PermissionsExt;
    let rooms = directory(&[]);
    let control = rooms.path().join("site.ctl");
    let env = format!("SOCKET={}", control.display());
    let mut site = Site::start_with(directory(&[("app.py", LINGERS)]), rooms, &["-e", &env]);
    std::fs::set_permissions(&control, std::fs::Permissions::from_mode(0o666)).unwrap();
    site.server.get("/backlog");
    site.server.wait_for("control socket: a user who may not ask, refused user=65534");
    site.assert_obeys();
}
