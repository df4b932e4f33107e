//! Messages about errors that depend on the system: missing directories, files that cannot be written, variables that
//! are not read, requests beyond a limit.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Server, apps, directory, run, run_command, rwsgi};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

/// A user without rights.
const NOBODY: u32 = 65_534;
const APP: (&str, &str) = ("app.py", "app = print");

/// Words of the command line, and the answer of a check and a start in a directory that contains `file`, `directory`
/// and an application.
const REFUSED: &[(&[&str], &str)] = &[
    (&["--chdir", "nowhere"], "--chdir: nowhere: expected a directory, found no such file or directory"),
    (&["--worker-tmp-dir", "file"], "--worker-tmp-dir: file: expected a directory, found a file"),
    (&["--error-pages", "nowhere"], "--error-pages: nowhere: expected a directory, found no such file or directory"),
    (&["--user", "no-such-user"], "--user: expected a user of this system, found \"no-such-user\""),
    (&["--group", "no-such-group"], "--group: expected a group of this system, found \"no-such-group\""),
    (&["--access-logfile", "nowhere/log"], "--access-logfile: nowhere/log: no such file or directory"),
    (&["--access-logfile", "file/log"], "--access-logfile: file/log: not a directory"),
    (&["--access-logfile", "directory"], "--access-logfile: directory: is a directory"),
    (&["--error-logfile", "nowhere/log"], "--error-logfile: nowhere/log: no such file or directory"),
    (&["--error-logfile", "directory"], "--error-logfile: directory: is a directory"),
    (&["--pid", "nowhere/pid"], "/nowhere/pid: no such file or directory"),
    (&["--pid", "file/pid"], "/file/pid: not a directory"),
    (&["--pid", "directory"], "/directory: is a directory"),
    (&["-b", "unix:nowhere/socket"], "bind unix:nowhere/socket: no such directory\nhint: make the directory first"),
    (&["-b", "unix:file"], "bind unix:file: expected a socket or nothing, found a file\nhint: remove it"),
    (&["--python", ".venv"], "python: .venv: expected a virtualenv or an interpreter, found nothing at /"),
    (&["--python", ".venv"], "/.venv\nhint: python3 -m venv .venv\n"),
    (
        &["--python", "/usr/bin/nopython"],
        "/usr/bin/nopython: expected a virtualenv or an interpreter, found nothing there\nhint: give the path of an executable",
    ),
    (&["--python", "/bin/ls"], "python: /bin/ls: expected an interpreter, found one that fails: exit status: 2: "),
];

/// Returns the output of a check with these words, after comparing it with that of a start. Both must end with code 1
/// and leave no files.
fn refusal(home: &Path, words: &[&str], change: fn(&mut Command)) -> String {
    let before = listing(home);
    let said = [Some("check"), None].map(|verb| {
        let mut command = rwsgi(home, verb.iter().chain(&["app", "-b", "127.0.0.1:0"]).chain(words));
        change(&mut command);
        let (code, _, log) = run_command(command);
        assert_eq!(code, 1, "{verb:?} {words:?}\n{log}");
        log
    });
    assert_eq!(listing(home), before, "{words:?}");
    let [check, start] = said;
    assert!(start.contains(&check), "{words:?}: a check says\n{check}\na start says\n{start}");
    check
}

fn listing(home: &Path) -> Vec<String> {
    let names = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "__pycache__").collect();
    names.sort();
    names
}

#[test]
fn a_check_refuses_what_a_start_refuses_in_the_same_words() {
    let files = directory(&[APP, ("file", ""), ("directory/keep", "")]);
    for (words, expected) in REFUSED {
        let said = refusal(files.path(), words, |_| ());
        assert!(said.contains(expected), "{words:?}: expected {expected:?} in\n{said}");
        assert!(!said.contains("sysconfig.get_config_var"), "{said}");
    }
}

#[test]
fn a_check_refuses_what_this_user_may_not_write() {
    assert!(Uid::effective().is_root(), "only root can become another user: run the tests as root");
    let files = directory(&[APP, ("file", "")]);
    for words in [
        ["--access-logfile", "log"],
        ["--access-logfile", "file"],
        ["--error-logfile", "log"],
        ["--pid", "pid"],
        ["-b", "unix:socket"],
    ] {
        let said = refusal(files.path(), &words, |command| {
            command.uid(NOBODY).gid(NOBODY);
        });
        assert!(said.contains("permission denied"), "{words:?}\n{said}");
    }
}

#[test]
fn a_check_can_be_made_beside_the_running_server() {
    let files = directory(&[APP]);
    let mut server = Server::start_in(files.path(), &["app", "--pid", "pid"]);
    let (code, said, log) = run(files.path(), ["check", "app", "--pid", "pid"]);
    assert_eq!((code, said.as_str()), (0, "configuration and application are sound\n"), "{log}");
    // A second start is refused.
    let (code, _, log) = run(files.path(), ["app", "-b", "127.0.0.1:0", "--pid", "pid"]);
    assert!(log.contains(&format!("a server is running already, its pid is {}", server.pid())), "{code} {log}");
    server.stop();
}

#[test]
fn a_configuration_may_come_by_a_pipe_and_holds_through_reloads() {
    let files = directory(&[("app.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n")]);
    let inner = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0"]);
    let mut command = Command::new("bash");
    command.args(["-c", "exec \"$@\" --config <(echo workers = 2; echo threads = 3)", "bash"]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(files.path());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut server = Server::spawn(command);
    server.wait_for("Using worker: gthread workers=2 threads=3");
    let once = "not a regular file, so it is read once: a reload keeps its settings";
    assert!(server.log().contains(once), "{}", server.log());
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done generation=2 workers=2");
    assert_eq!(server.get("/").text(), "ok");
    server.stop();
}

#[test]
fn a_configuration_that_is_a_pipe_without_a_writer_ends_the_start() {
    let files = directory(&[APP]);
    for (name, says) in [
        ("fifo", "expected a file or a pipe, found a pipe into which no process writes for 5 s"),
        ("fifo.py", "expected a file, found a pipe, a socket or a device"),
    ] {
        nix::unistd::mkfifo(&files.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (code, _, log) = run(files.path(), ["app", "-b", "127.0.0.1:0", "--config", name]);
        assert_eq!((code, log), (1, format!("--config: {name}: {says}\n")));
    }
}

#[test]
fn a_directory_in_memory_for_uploads_gets_a_warning() {
    let server = Server::start(&["--worker-tmp-dir", "/dev/shm", "hello"]);
    let log = server.log();
    assert!(log.contains("--worker-tmp-dir: /dev/shm is in memory, which uploads would fill\nhint: "), "{log}");
    assert!(!Server::start(&["hello"]).log().contains("is in memory"));
}

#[test]
fn a_problem_with_the_system_names_the_source_of_the_setting() {
    let file = "workers = 1\n\nchdir = 'nowhere'\n";
    let files = directory(&[APP, ("site.toml", file), ("other.toml", "wsgi_app = 'app'\npidfile = 'nowhere/pid'\n")]);
    let (code, _, log) = run(files.path(), ["app", "--config", "site.toml"]);
    assert_eq!(code, 1);
    assert_eq!(log, "site.toml:3: chdir: nowhere: expected a directory, found no such file or directory\n");
    let (code, _, log) = run(files.path(), ["check", "--config", "other.toml"]);
    assert_eq!(code, 1);
    assert!(log.starts_with("other.toml:2: pidfile: /") && log.ends_with("/nowhere/pid: no such file or directory\n"));
    let mut command = rwsgi(files.path(), ["app"]);
    command.env("RWSGI_USER", "no-such-user");
    let (_, _, log) = run_command(command);
    assert_eq!(log, "RWSGI_USER: expected a user of this system, found \"no-such-user\"\n");
}

#[test]
fn what_is_not_read_gets_a_warning_and_the_server_starts() {
    let files = directory(&[APP, ("site.toml", "")]);
    let mut command = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0"]);
    command.env("RWSGI_WORKER", "4").env("RWSGI_SERVICE_HOST", "10.0.0.1");
    let mut server = Server::spawn(command);
    let log = server.stop();
    let warnings: Vec<&str> = log.lines().take_while(|line| line.starts_with("warning: ")).collect();
    let expected = "warning: RWSGI_WORKER: not read, no setting has this name; did you mean RWSGI_WORKERS?";
    assert_eq!(warnings, [expected], "{log}");
}

#[test]
fn a_refused_request_is_logged_with_what_would_help() {
    let mut server = Server::start_in(&apps(), &["hello", "--limit-request-body", "5"]);
    let lengthy = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "Host: a\r\n".repeat(101));
    let large = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef".to_owned();
    for (request, status) in [(lengthy, 414), (many, 431), (large, 413), ("\x16\x03\x01\x02\0\x01".to_owned(), 400)] {
        assert_eq!(server.ask(&request).status, status);
    }
    let log = server.stop();
    for hint in [
        "status=414 reason=\"request line: expected at most 4094 bytes, found more\" hint=\"limit_request_line sets this",
        "hint=\"limit_request_fields sets this limit\"",
        "hint=\"limit_request_body or spill_limit sets this limit\"",
        "hint=\"this looks like TLS; certfile and keyfile serve it\"",
    ] {
        assert!(log.contains(hint), "expected {hint:?} in\n{log}");
    }
}
