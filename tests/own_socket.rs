//! The control socket that no setting names: where it is, which server a verb finds by it, and what other users could do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Server, directory, run_command, rwsgi};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use serde_json::Value;
use tempfile::TempDir;

/// A user without rights.
const NOBODY: u32 = 65_534;
const APP: (&str, &str) = ("app.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n");

/// A directory for sockets, to which only this user can write.
fn sockets() -> TempDir {
    let room = directory(&[]);
    fs::set_permissions(room.path(), Permissions::from_mode(0o700)).unwrap();
    room
}

fn start(home: &Path, sockets: &Path, words: &[&str]) -> Server {
    let mut command = rwsgi(home, words);
    command.env("XDG_RUNTIME_DIR", sockets);
    Server::spawn(command)
}

fn tell(home: &Path, sockets: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = rwsgi(home, words);
    command.env("XDG_RUNTIME_DIR", sockets);
    run_command(command)
}

/// The files in the directory for sockets.
fn names(sockets: &Path) -> Vec<String> {
    let entries = fs::read_dir(sockets.join("rwsgi")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_server_without_any_setting_is_told_from_the_directory_of_its_start() {
    let (files, elsewhere, sockets) = (directory(&[APP]), directory(&[]), sockets());
    let mut server = start(files.path(), sockets.path(), &["app", "-w", "2", "-b", "127.0.0.1:0"]);
    let (code, out, err) = tell(files.path(), sockets.path(), &["status"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("2 of 2 workers ready"), "{out}");
    let (code, out, err) = tell(files.path(), sockets.path(), &["reload", "--wait"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = tell(elsewhere.path(), sockets.path(), &["stop"]);
    assert_eq!(code, 5, "{err}");
    assert_eq!(
        err,
        "expected a running server that was started in this directory or at 127.0.0.1:8000, found none\nhint: rwsgi ls \
         lists your servers; --bind ADDRESS, --config FILE, --pid FILE or --control-socket PATH names one, as at its \
         start\n"
    );
    let (code, out, err) = tell(files.path(), sockets.path(), &["stop"]);
    assert_eq!((code, out.as_str()), (0, "stopped\n"), "{err}");
    assert_eq!(server.wait(), 0);
    assert_eq!(names(sockets.path()), [""; 0]);
}

#[test]
fn a_server_is_told_from_anywhere_by_its_address() {
    let (files, elsewhere, sockets) = (directory(&[APP]), directory(&[]), sockets());
    let address = format!("unix:{}", files.path().join("site.sock").display());
    let mut server = start(files.path(), sockets.path(), &["app", "-b", "unix:site.sock"]);
    let (code, out, err) = tell(elsewhere.path(), sockets.path(), &["status", "-b", &address]);
    assert_eq!(code, 0, "{out}{err}");
    // The address says more than the directory.
    let (code, _, err) = tell(files.path(), sockets.path(), &["status", "-b", "127.0.0.1:1"]);
    assert!(code == 5 && err.starts_with("expected a running server at 127.0.0.1:1, found none\n"), "{code} {err}");
    server.stop();
}

#[test]
fn of_two_servers_in_a_directory_none_is_guessed_and_ls_lists_both() {
    let (files, sockets) = (directory(&[APP]), sockets());
    let words = ["app", "-b", "127.0.0.1:0"];
    let mut servers = [start(files.path(), sockets.path(), &words), start(files.path(), sockets.path(), &words)];
    let (code, _, err) = tell(files.path(), sockets.path(), &["stop"]);
    assert!(code == 5 && err.starts_with("expected one server that was started in this directory, found /"), "{err}");
    let (code, out, err) = tell(files.path(), sockets.path(), &["ls"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (_, json, _) = tell(files.path(), sockets.path(), &["ls", "--json"]);
    let listed: Value = serde_json::from_str(&json).unwrap();
    for server in &servers {
        let pid = server.pid();
        assert!(out.lines().any(|line| line.starts_with(&format!("{pid} ")) && line.contains("serving")), "{out}");
        let found = listed.as_array().unwrap().iter().find(|found| found["pid"] == pid.as_raw()).unwrap();
        assert_eq!(found["app"], "app");
        assert_eq!(found["directory"], files.path().to_str().unwrap());
    }
    // A server that was killed leaves its file behind, and is not listed.
    servers[0].signal(Signal::SIGKILL);
    servers[0].wait();
    let (_, out, _) = tell(files.path(), sockets.path(), &["list"]);
    assert_eq!(out, "", "list is no verb");
    let (code, out, _) = tell(files.path(), sockets.path(), &["stop"]);
    assert_eq!((code, out.as_str()), (0, "stopped\n"));
    servers[1].wait();
    let (code, out, _) = tell(files.path(), sockets.path(), &["ls"]);
    assert_eq!(code, 0);
    // Servers of other tests can be there.
    assert!(!out.contains(files.path().to_str().unwrap()), "{out}");
}

#[test]
fn a_directory_that_others_can_change_holds_no_socket() {
    assert!(Uid::effective().is_root(), "only root can become another user: run the tests as root");
    let files = directory(&[APP]);
    let (open, foreign) = (sockets(), sockets());
    fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(foreign.path(), Some(NOBODY), None).unwrap();
    for sockets in [open.path(), foreign.path()] {
        let mut server = start(files.path(), sockets, &["app", "-b", "127.0.0.1:0"]);
        assert_eq!(names(sockets), [""; 0]);
        // Another directory, which root alone can change, has it.
        let (code, out, err) = tell(files.path(), sockets, &["stop"]);
        assert_eq!((code, out.as_str()), (0, "stopped\n"), "{err}");
        server.wait();
    }
}

#[test]
fn off_is_off() {
    let (files, sockets) = (directory(&[APP]), sockets());
    let mut server = start(files.path(), sockets.path(), &["app", "-b", "127.0.0.1:0", "--control-socket", "off"]);
    assert_eq!(names(sockets.path()), [""; 0]);
    let (code, _, err) = tell(files.path(), sockets.path(), &["status", "--control-socket", "off"]);
    assert!(code == 5 && err.contains("found control_socket turned off\nhint: the server obeys signals"), "{err}");
    server.stop();
}
