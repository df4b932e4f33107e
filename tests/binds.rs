//! Where the server listens, the files that it leaves there and takes away, and the words for a place that it cannot have.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Response, Server, apps, directory, run, run_command, rwsgi, wait_gone};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

/// A user without rights.
const NOBODY: u32 = 65_534;

fn ask<S: std::io::Read + Write>(mut stream: S) -> Response {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    Response::read(&mut stream).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A start that fails: exit code and error log.
fn fails(words: &[&str]) -> String {
    let (code, _, log) = run_command(rwsgi(&apps(), ["hello"].iter().chain(words)));
    assert_eq!(code, 1, "{words:?}\n{log}");
    assert!(!log.contains("Traceback") && !log.contains("panicked"), "{log}");
    log
}

#[test]
fn it_listens_at_several_places_at_once() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    let words = ["hello", "-w", "2", "-b", "127.0.0.1:0", "-b", "[::1]:0", "-b", &unix(&path), "-b", "localhost:0"];
    let mut server = Server::start(&words);
    let log = server.log();
    let at = log.split_once("Listening at: ").unwrap().1.split(' ').next().unwrap();
    let places: Vec<&str> = at.split(',').collect();
    assert_eq!(places.len(), 4, "{at}");
    assert!(places[1].starts_with("http://[::1]:") && places[2] == unix(&path), "{at}");
    for place in [places[0], places[1], places[3]] {
        let stream = TcpStream::connect(place.strip_prefix("http://").unwrap()).unwrap();
        assert_eq!(ask(stream).text(), "Hello, World!", "{place}");
    }
    assert_eq!(ask(UnixStream::connect(&path).unwrap()).text(), "Hello, World!");
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_has_the_mode_that_settings_give_it() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    let cases: &[(&[&str], u32)] = &[
        (&[], 0o660),
        (&["--unix-socket-mode", "600"], 0o600),
        (&["--unix-socket-mode", "0o777"], 0o777),
        (&["--umask", "007"], 0o770),
        (&["-m", "0"], 0o777),
        (&["--umask", "022", "--unix-socket-mode", "0640"], 0o640),
    ];
    for (words, expected) in cases {
        let bind = unix(&path);
        let mut server = Server::start(&[&["hello", "-b", &bind], *words].concat());
        assert_eq!(mode(&path), *expected, "{words:?} gave {:o}", mode(&path));
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        server.stop();
        assert!(!path.exists(), "{words:?}");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let bind = unix(&path);
    let mut server = Server::start(&["hello", "-b", &bind]);
    let log = fails(&["-b", &bind]);
    assert!(
        log.contains(&format!("bind {bind}: already served by another process")) && log.contains("hint: "),
        "{log}"
    );
    assert_eq!(ask(UnixStream::connect(&path).unwrap()).status, 200, "the first one goes on");
    // A master that is killed leaves its file behind; the next one takes the place.
    let tree = server.tree();
    server.signal(Signal::SIGKILL);
    server.wait();
    wait_gone(&tree);
    assert!(path.exists());
    let mut next = Server::start(&["hello", "-b", &bind]);
    assert_eq!(ask(UnixStream::connect(&path).unwrap()).status, 200);
    next.stop();
    assert!(!path.exists());
}

#[test]
fn a_socket_that_somebody_else_put_there_is_not_removed() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    let mut server = Server::start(&["hello", "-b", &unix(&path)]);
    fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    server.stop();
    assert!(path.exists());
}

#[test]
fn relative_paths_are_below_chdir() {
    let files = directory(&[("inner/app.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'']")]);
    let mut server = Server::start_in(
        files.path(),
        &["app", "--chdir", "inner", "-b", "unix:here", "-p", "pid", "--access-logfile", "access.log"],
    );
    let inner = files.path().join("inner");
    assert_eq!(ask(UnixStream::connect(inner.join("here")).unwrap()).status, 200);
    assert!(inner.join("pid").exists());
    let (code, _, log) = run(files.path(), ["status", "--chdir", "inner", "--pid", "pid"]);
    assert_eq!(code, 0, "{log}");
    server.stop();
    assert!(inner.join("access.log").exists());
    assert!(!inner.join("here").exists() && !inner.join("pid").exists());
}

/// The program with a descriptor of this process inherited under its number.
fn with_inherited(fd: i32, words: &[&str]) -> Command {
    let mut command = rwsgi(&apps(), words);
    // SAFETY: fcntl is async-signal-safe and reads no memory.
    unsafe {
        command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

#[test]
fn an_inherited_socket_is_served_and_left_to_its_owner() {
    let files = directory(&[]);
    let path = files.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server =
        Server::spawn(with_inherited(tcp.as_raw_fd(), &["hello", "-b", &format!("fd://{}", tcp.as_raw_fd())]));
    assert_eq!(server.address(), tcp.local_addr().unwrap().to_string());
    assert_eq!(ask(server.connect()).status, 200);
    server.stop();
    // It still listens: the next server, or this process, takes who comes now.
    assert!(TcpStream::connect(tcp.local_addr().unwrap()).is_ok());

    let socket = UnixListener::bind(&path).unwrap();
    let bind = format!("fd://{}", socket.as_raw_fd());
    let mut server = Server::spawn(with_inherited(socket.as_raw_fd(), &["hello", "-b", &bind]));
    assert_eq!(ask(UnixStream::connect(&path).unwrap()).status, 200);
    server.stop();
    assert!(path.exists());
}

#[test]
fn an_inherited_descriptor_that_does_not_listen_is_refused() {
    let (stream, _other) = UnixStream::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let cases = [
        (Some(stream.as_raw_fd()), "expected a listening socket, found one that does not listen"),
        (Some(file.as_raw_fd()), "found an open file that is no socket"),
        (None, "found no open descriptor of this number"),
    ];
    for (fd, text) in cases {
        let bind = format!("fd://{}", fd.unwrap_or(999));
        let words = ["hello", "-b", &bind];
        let command = fd.map_or_else(|| rwsgi(&apps(), words), |fd| with_inherited(fd, &words));
        let (code, _, log) = run_command(command);
        assert!(code == 1 && log.contains(text) && log.contains(&bind), "{bind}: expected {text:?}\n{log}");
    }
}

#[test]
fn a_place_that_cannot_be_had_ends_the_start_with_a_reason_and_a_hint() {
    let files = directory(&[("file", "")]);
    fs::create_dir(files.path().join("directory")).unwrap();
    symlink("/etc/passwd", files.path().join("link")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let at = |name: &str| unix(&files.path().join(name));
    let cases = [
        (format!("127.0.0.1:{port}"), "address already in use", "hint: another process listens there"),
        ("192.0.2.1:0".to_owned(), "expected an address of this machine", "hint: "),
        ("no-such-host.invalid:0".to_owned(), "host name not found", "hint: give an address"),
        (at("file"), "expected a socket or nothing, found a file", "hint: remove it"),
        (at("directory"), "expected a socket or nothing, found a directory", "hint: remove it"),
        (at("link"), "expected a socket or nothing, found a symbolic link", "hint: remove it"),
        (at("nowhere/socket"), "no such directory", "hint: make the directory first"),
    ];
    for (bind, reason, hint) in cases {
        let log = fails(&["-b", &bind]);
        assert!(log.contains(&format!("bind {bind}: {reason}")) && log.contains(hint), "{bind}\n{log}");
    }
    assert!(files.path().join("file").exists() && files.path().join("link").is_symlink());
}

#[test]
fn if_one_place_cannot_be_had_nothing_is_left_at_the_others() {
    let files = directory(&[]);
    let (path, pid) = (files.path().join("socket"), files.path().join("pid"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    fails(&["-b", &unix(&path), "-b", &taken.local_addr().unwrap().to_string(), "-p", pid.to_str().unwrap()]);
    assert!(!path.exists() && !pid.exists());
}

#[test]
fn a_socket_file_is_removed_when_the_application_cannot_be_loaded() {
    let files = directory(&[]);
    let (path, pid) = (files.path().join("socket"), files.path().join("pid"));
    let words = ["nowhere", "-b", &unix(&path), "-p", pid.to_str().unwrap()];
    let (code, _, log) = run_command(rwsgi(files.path(), words));
    assert_eq!(code, 4, "{log}");
    assert!(!path.exists() && !pid.exists());
}

#[test]
fn who_is_not_root_gets_no_low_port_and_no_foreign_directory() {
    assert!(Uid::effective().is_root(), "only root can become another user: run the tests as root");
    let first: u16 =
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap().trim().parse().unwrap();
    let files = directory(&[]);
    let socket = unix(&files.path().join("socket"));
    let mut cases = vec![(socket, "permission denied")];
    // Where every port is free to everybody there is no low one.
    cases.extend(
        first.checked_sub(1).filter(|port| *port > 0).map(|port| (format!("127.0.0.1:{port}"), "permission denied")),
    );
    for (bind, reason) in cases {
        let mut command = rwsgi(&apps(), ["hello", "-b", &bind]);
        command.uid(NOBODY).gid(NOBODY);
        let (code, _, log) = run_command(command);
        assert_eq!(code, 1, "{log}");
        assert!(log.contains(&format!("bind {bind}: {reason}")) && log.contains("hint: "), "{bind}\n{log}");
    }
}

#[test]
fn a_pidfile_is_there_while_the_server_is() {
    let files = directory(&[]);
    let path = files.path().join("pid");
    let words = ["hello", "--pid", path.to_str().unwrap()];
    let mut server = Server::start(&words);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", server.pid()));
    let log = fails(&["-b", "127.0.0.1:0", "--pid", path.to_str().unwrap()]);
    let expected = format!("--pid: {}: a server is running already, its pid is {}", path.display(), server.pid());
    assert!(log.contains(&expected), "{log}");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", server.pid()));
    server.stop();
    assert!(!path.exists());
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0, "nothing else is left there");
}

#[test]
fn a_stale_pidfile_is_replaced_and_a_foreign_one_left() {
    let files = directory(&[]);
    let path = files.path().join("pid");
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    // Of a process that ended, of one that is another program, and not a number at all.
    for text in [ended.id().to_string(), std::process::id().to_string(), "nonsense".to_owned(), "-1".to_owned()] {
        fs::write(&path, &text).unwrap();
        let mut server = Server::start(&["hello", "--pid", path.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", server.pid()), "{text}");
        fs::write(&path, "1\n").unwrap();
        server.stop();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n", "somebody else's by now");
    }
}

#[test]
fn a_pidfile_cannot_be_used_to_overwrite_another_file() {
    let files = directory(&[("precious", "kept")]);
    let path = files.path().join("server.pid");
    symlink(files.path().join("precious"), &path).unwrap();
    let mut server = Server::start(&["hello", "--pid", path.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(files.path().join("precious")).unwrap(), "kept");
    assert!(!path.is_symlink());
    server.stop();
    let log = fails(&["-b", "127.0.0.1:0", "--pid", files.path().join("nowhere/pid").to_str().unwrap()]);
    assert!(log.contains("--pid: ") && log.to_lowercase().contains("no such file or directory"), "{log}");
}
