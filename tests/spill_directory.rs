//! The directory for large bodies: the one that is set, or the first one that will do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::geteuid;

use crate::support::{Server, apps, directory, run, rwsgi};

/// Starts a server with this TMPDIR.
fn with_tmpdir(path: &str, words: &[&str]) -> Server {
    let mut command = rwsgi(&apps(), words);
    command.args(["-b", "127.0.0.1:0", "echo"]).env("TMPDIR", path).env_remove("TEMP").env_remove("TMP");
    Server::spawn(command)
}

/// Uploads more than stays in memory.
fn upload(server: &Server) {
    let body = "x".repeat(2 << 20);
    let request = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(server.ask(request).status, 200, "{}", server.log());
}

#[test]
fn a_tmpdir_that_is_missing_is_said_at_the_start_and_another_directory_is_used() {
    let server = with_tmpdir("/nonexistent/tmp", &[]);
    server.wait_for("large bodies and responses go to another directory for temporary files");
    assert!(server.log().contains("not=/nonexistent/tmp error=\"no such file or directory"), "{}", server.log());
    upload(&server);
}

#[test]
fn a_tmpdir_in_memory_is_passed_over_for_one_on_a_disk() {
    let in_memory = |path: &str| statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
    assert!(in_memory("/dev/shm"), "this test needs a file system in memory");
    let server = with_tmpdir("/dev/shm", &[]);
    server.wait_for("large bodies and responses go to another directory for temporary files");
    assert!(server.log().contains("not=/dev/shm error=\"it is in memory\""), "{}", server.log());
    upload(&server);
}

#[test]
fn a_tmpdir_that_will_do_is_not_spoken_of() {
    let files = tempfile::tempdir_in("/var/tmp").unwrap();
    let server = with_tmpdir(files.path().to_str().unwrap(), &[]);
    upload(&server);
    assert!(!server.log().contains("large bodies"), "{}", server.log());
}

#[test]
fn the_applications_user_has_to_be_able_to_write_there() {
    assert!(geteuid().is_root(), "this test needs root, to run the application as nobody");
    let private = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = private.path().to_str().unwrap();
    let app = "def application(environ, start_response):\n    \
               start_response('200 OK', [])\n    return [b'%d' % len(environ['wsgi.input'].read())]\n";
    let files = directory(&[("app.py", app)]);
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = rwsgi(files.path(), ["-b", "127.0.0.1:0", "-u", "nobody", "app"]);
    command.env("TMPDIR", path);
    let server = Server::spawn(command);
    server.wait_for(&format!("not={path} error=\"permission denied"));
    upload(&server);
    let (code, _, said) = run(files.path(), ["-b", "127.0.0.1:0", "-u", "nobody", "--worker-tmp-dir", path, "app"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("worker_tmp_dir: {path}: ")) && said.contains("can write"), "{said}");
}
