//! A server in the background, and what ps shows of the processes.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::support::{Response, Server, children, directory, run_command, rwsgi, status, wait_gone, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getsid};
use tempfile::TempDir;

const APP: (&str, &str) = (
    "app.py",
    "import sys\nprint('printed at import')\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
     return [b'hello']\n",
);

/// A port that nobody listens on, unless somebody takes it meanwhile.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn daemon(files: &TempDir, words: &[&str], port: u16) -> Command {
    let address = format!("127.0.0.1:{port}");
    rwsgi(files.path(), [&["app", "-D", "-b", &address, "-p", "pid"], words].concat())
}

fn pid(files: &TempDir) -> Pid {
    Pid::from_raw(fs::read_to_string(files.path().join("pid")).unwrap().trim().parse().unwrap())
}

fn get(port: u16) -> Response {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    Response::read(&mut stream).unwrap()
}

/// Ends a server in the background whatever comes of its test: its workers follow it.
struct Guard<'a>(&'a TempDir);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.0.path().join("pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn end(files: &TempDir) {
    let master = pid(files);
    let mut all = vec![master];
    all.extend(children(master).into_iter().map(|(pid, _)| pid));
    kill(master, Signal::SIGTERM).unwrap();
    wait_gone(&all);
    assert!(!files.path().join("pid").exists());
}

#[test]
fn the_command_ends_when_the_server_in_the_background_serves() {
    for (conf, words) in
        [(None, &[][..]), (None, &["--error-logfile", "log"]), (Some("daemon = True\n"), &["--access-logfile", "-"])]
    {
        let files = directory(&[APP]);
        let _guard = Guard(&files);
        if let Some(conf) = conf {
            fs::write(files.path().join("gunicorn.conf.py"), conf).unwrap();
        }
        let port = free_port();
        let (code, out, log) = match conf {
            None => run_command(daemon(&files, words, port)),
            Some(_) => {
                let address = format!("127.0.0.1:{port}");
                run_command(rwsgi(files.path(), [&["app", "-b", &address, "-p", "pid"], words].concat()))
            }
        };
        assert_eq!((code, out.as_str()), (0, ""), "{words:?}\n{log}");
        // It serves now: no waiting.
        assert_eq!(get(port).text(), "hello");
        let master = pid(&files);
        assert_eq!(status(master, "PPid"), "1", "nobody's child");
        assert_eq!(getsid(Some(master)).unwrap(), getpgid(Some(master)).unwrap());
        assert_ne!(getsid(Some(master)).unwrap(), getsid(None).unwrap(), "no terminal reaches it");
        assert_eq!(status(master, "Umask"), "0022");
        let workers = children(master).into_iter().map(|(pid, _)| pid);
        for process in std::iter::once(master).chain(workers) {
            for stream in ["0", "1", "2"] {
                let to = fs::read_link(format!("/proc/{process}/fd/{stream}")).unwrap();
                let is_log = stream == "2" && to.file_name() == Path::new("log").file_name();
                assert!(to == Path::new("/dev/null") || is_log, "{process} has {} as {stream}", to.display());
            }
        }
        end(&files);
    }
}

#[test]
fn winch_to_a_daemon_retires_the_workers_and_hup_brings_them_back() {
    let files = directory(&[APP]);
    let _guard = Guard(&files);
    let port = free_port();
    let words = ["-w", "2", "--workers-min", "2", "--workers-max", "3", "--preload", "--error-logfile", "log"];
    let (code, _, log) = run_command(daemon(&files, &words, port));
    assert_eq!(code, 0, "{log}");
    let master = pid(&files);
    let workers = || children(master).into_iter().filter(|(_, title)| title.contains("worker")).map(|(pid, _)| pid);
    wait_until("both workers are there", || workers().count() == 2);
    let old: Vec<_> = workers().collect();
    kill(master, Signal::SIGWINCH).unwrap();
    wait_gone(&old);
    assert_eq!(children(master).len(), 1, "the zygote stays");
    // Connections wait until there is somebody.
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut waiting, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    kill(master, Signal::SIGHUP).unwrap();
    assert_eq!(Response::read(&mut waiting).unwrap().status, 200);
    let log = || fs::read_to_string(files.path().join("log")).unwrap();
    wait_until("the reload is done", || log().contains("reload done generation=2 workers=2"));
    kill(master, Signal::SIGWINCH).unwrap();
    wait_until("there is no worker", || workers().count() == 0);
    assert_eq!(log().matches("the workers retire, the master stays signal=WINCH").count(), 2);
    let pidfile = files.path().join("pid");
    let refused = run_command(rwsgi(files.path(), ["scale", "1", "--pid", pidfile.to_str().unwrap()]));
    assert!(refused.2.contains("found 1; there are to be 0"), "{refused:?}");
    // The first step leads to the fewest.
    kill(master, Signal::SIGTTIN).unwrap();
    wait_until("there are two again", || workers().count() == 2);
    assert_eq!(get(port).text(), "hello");
    end(&files);
}

#[test]
fn streams_that_are_no_terminal_stay_where_they_led_if_that_is_asked_for() {
    for conf in ["", "daemon = True\nenable_stdio_inheritance = True\n"] {
        let files = directory(&[APP]);
        let _guard = Guard(&files);
        let port = free_port();
        let mut command = if conf.is_empty() {
            daemon(&files, &["-R", "--access-logfile", "-"], port)
        } else {
            fs::write(files.path().join("gunicorn.conf.py"), conf).unwrap();
            let address = format!("127.0.0.1:{port}");
            rwsgi(files.path(), ["app", "-b", &address, "-p", "pid", "--access-logfile", "-"])
        };
        let file = |name: &str| fs::File::create(files.path().join(name)).unwrap();
        let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap();
        assert!(command.stdout(file("out")).stderr(file("err")).status().unwrap().success(), "{}", read("err"));
        assert_eq!(get(port).text(), "hello");
        let master = pid(&files);
        let workers = children(master).into_iter().map(|(pid, _)| pid);
        for process in std::iter::once(master).chain(workers) {
            for (stream, name) in [("0", "/dev/null"), ("1", "out"), ("2", "err")] {
                let to = fs::read_link(format!("/proc/{process}/fd/{stream}")).unwrap();
                assert_eq!(to, files.path().canonicalize().unwrap().join(name), "{conf}: {process}: {stream}");
            }
        }
        end(&files);
        assert!(read("out").contains("printed at import") && read("out").contains("GET / HTTP/1.0"), "{}", read("out"));
        // The log of what comes after the command has ended, too.
        assert!(read("err").contains("worker ended"), "{}", read("err"));
    }
}

#[test]
fn the_command_says_why_a_server_in_the_background_does_not_serve() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    for (app, words, port, code, text) in [
        ("raise RuntimeError('on purpose')\n", &[][..], 0, 3, "RuntimeError: on purpose"),
        ("raise RuntimeError('on purpose')\n", &["--error-logfile", "log"], 0, 3, "RuntimeError: on purpose"),
        ("nothing = 1\n", &[], 0, 4, "application"),
        (APP.1, &[], taken_port, 1, "address"),
        (APP.1, &["--chdir", "missing"], 0, 1, "--chdir"),
    ] {
        let files = directory(&[("app.py", app)]);
        let (found, out, log) = run_command(daemon(&files, words, port));
        assert_eq!((found, out.as_str()), (code, ""), "{words:?}\n{log}");
        assert!(log.contains(text), "{words:?}\n{log}");
        assert!(!files.path().join("pid").exists());
    }
}

#[test]
fn ps_shows_what_each_process_is() {
    let files = directory(&[APP]);
    let mut server = Server::start_in(files.path(), &["app", "-w", "2", "-n", "my site"]);
    let title = |pid: Pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).trim_end_matches('\0').to_owned()
    };
    let titles = || {
        let mut titles: Vec<String> = server.tree().into_iter().map(title).collect();
        titles.sort();
        titles
    };
    let expected = [
        "rwsgi: master [my site]",
        "rwsgi: worker 0 [my site]",
        "rwsgi: worker 1 [my site]",
        "rwsgi: zygote [my site]",
    ];
    wait_until("the processes have their titles", || titles() == expected);
    let by_ps = run_command({
        let mut ps = Command::new("ps");
        ps.args(["-o", "args=", "-p", &server.workers()[0].to_string()]);
        ps
    });
    assert!(by_ps.1.starts_with("rwsgi: worker "), "{by_ps:?}");
    server.stop();
}
