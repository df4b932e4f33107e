//! Reloads, recycling and scaling: what serves is replaced, and nobody notices.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use crate::support::load::{Counted, Target, under_load};
use crate::support::{
    Gate, Response, Server, apps, children, directory, limit, pace, pass, patient, patient_seconds, rwsgi, wait_gone,
    wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A server on a TCP port and a unix socket, with an application of its own.
struct Site {
    files: TempDir,
    server: Server,
}

impl Site {
    /// `app.py` answers `text`; `rwsgi.toml` says `settings`.
    fn start(app: &str, settings: &str) -> Site {
        let files = directory(&[("app.py", app), ("rwsgi.toml", "")]);
        let site = |settings: &str| format!("wsgi_app = \"app\"\n{settings}");
        fs::write(files.path().join("rwsgi.toml"), site(settings)).unwrap();
        let socket = format!("unix:{}", files.path().join("socket").display());
        let mut command = rwsgi(files.path(), ["-c", "rwsgi.toml"]);
        if !settings.contains("bind") {
            command.args(["-b", "127.0.0.1:0", "-b", &socket]);
        }
        Site { server: Server::spawn(command), files }
    }

    /// Written aside and renamed: whoever reads meanwhile finds one text or the other, whole.
    fn write(&self, name: &str, text: &str) {
        let aside = self.files.path().join(format!("{name}.new"));
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.files.path().join(name)).unwrap();
    }

    /// New settings, with the same application.
    fn set(&self, settings: &str) {
        self.write("rwsgi.toml", &format!("wsgi_app = \"app\"\n{settings}"));
    }

    fn targets(&self) -> Vec<Target> {
        vec![Target::Tcp(self.server.address().to_owned()), Target::Unix(self.files.path().join("socket"))]
    }

    /// The same, and waits until no old worker is left: one may take a last connection before it hears of its retirement.
    fn reload_wholly(&self, count: usize) {
        let names = |(pid, name): (Pid, String)| name.starts_with("rwsgi: worker").then_some(pid);
        let old: Vec<Pid> = children(self.server.pid()).into_iter().filter_map(names).collect();
        self.reload(count);
        wait_gone(&old);
    }

    /// Asks for the `count`th reload and waits until it is done.
    fn reload(&self, count: usize) {
        self.server.signal(Signal::SIGHUP);
        self.server.wait_for_lines("reload done", count);
    }

    fn text(&self) -> String {
        self.server.get("/").text()
    }
}

/// An application that answers a word.
fn app(word: &str) -> String {
    format!("def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{word}']\n")
}

fn assert_nothing_lost(counted: &Counted, server: &Server) {
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, server.log());
    println!("{} requests on {} connections, all answered", counted.answered, counted.connections);
}

#[test]
fn twenty_reloads_in_a_row_lose_no_request() {
    for settings in [
        "workers = 1",
        "workers = 3\nreload_step = 2\npreload_app = true",
        "workers = 2\nthreads = 4\npreload_app = true",
    ] {
        let mut site = Site::start(&app("one"), settings);
        let open = || fs::read_dir(format!("/proc/{}/fd", site.server.pid())).unwrap().count();
        let before = open();
        let ((), counted) = under_load(&site.targets(), |_| (1..=20).for_each(|count| site.reload(count)));
        assert_nothing_lost(&counted, &site.server);
        wait_until("the old ones are gone", || children(site.server.pid()).len() == site.server.tree().len() - 1);
        wait_until("the master holds no descriptor more than before", || open() <= before);
        let tree = site.server.tree();
        let log = site.server.stop();
        assert!(!log.contains("ERROR"), "{log}");
        assert!(log.contains("Hang up: Master signal=HUP generation=21"), "{log}");
        wait_gone(&tree);
    }
}

#[test]
fn a_reload_serves_new_code_and_new_settings() {
    for preload in ["preload_app = false", "preload_app = true"] {
        let mut site = Site::start(&app("one"), preload);
        assert_eq!((site.text().as_str(), site.server.get("/").field("connection")), ("one", Some("close")));
        site.write("app.py", &app("two, which is longer"));
        site.set(&format!("{preload}\nworkers = 2\nkeepalive = 0"));
        site.reload_wholly(1);
        assert_eq!(site.text(), "two, which is longer");
        let mut stream = site.server.begin("/");
        assert_eq!(Response::read(&mut stream).unwrap().field("connection"), Some("close"));
        let names: Vec<String> = children(site.server.pid()).into_iter().map(|(_, name)| name).collect();
        wait_until("one zygote and two workers are left", || children(site.server.pid()).len() == 3);
        assert!(site.server.log().contains("reload done generation=2 workers=2"), "{names:?}\n{}", site.server.log());
        site.server.stop();
    }
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let raises = "raise RuntimeError('not today')\n";
    let hangs = "import threading\nthreading.Event().wait()\n";
    // Only for what hangs: to begin, a machine that is slow may need longer.
    let soon = format!("boot_timeout = {}", patient_seconds(1.0));
    let cases = [
        (raises, "", "RuntimeError: not today"),
        (raises, "preload_app = true", "RuntimeError: not today"),
        (hangs, &soon, "worker not ready in time"),
        (hangs, &format!("{soon}\npreload_app = true"), "zygote not ready in time"),
        ("import os\nos._exit(0)\n", "", "worker ended"),
        ("import os\nos.abort()\n", "preload_app = true", "Fatal Python error: Aborted"),
        ("x = 1\n", "", "expected a callable named application or app, found neither"),
    ];
    let mut site = Site::start(&app("one"), "workers = 2");
    let (workers, zygote) = (site.server.workers(), site.server.zygote());
    let ((), counted) = under_load(&site.targets(), |_| {
        for (count, (code, settings, said)) in cases.into_iter().enumerate() {
            site.write("app.py", code);
            site.set(&format!("workers = 2\n{settings}"));
            let before = site.server.log().len();
            site.server.signal(Signal::SIGHUP);
            site.server.wait_for_lines("reload failed, nothing has changed", count + 1);
            let log = site.server.log();
            assert!(log[before..].contains(said), "expected {said:?}\n{}", &log[before..]);
        }
    });
    assert_nothing_lost(&counted, &site.server);
    assert_eq!((site.server.workers(), site.server.zygote()), (workers, zygote));
    // The code is mended.
    site.write("app.py", &app("mended"));
    site.reload_wholly(1);
    assert_eq!(site.text(), "mended");
    wait_until("nothing is left of what failed", || children(site.server.pid()).len() == 3);
    site.server.stop();
}

#[test]
fn settings_that_are_wrong_are_said_and_change_nothing() {
    let files = directory(&[]);
    let path = files.path().display();
    let cases = [
        ("workers = \"tow\"", "rwsgi.toml:2: workers: expected a whole number or \"auto\", found \"tow\""),
        ("worker = 2", "hint: did you mean workers?"),
        (&format!("chdir = \"{path}/nowhere\""), "rwsgi.toml:2: chdir"),
        (&format!("errorlog = \"{path}/nowhere/log\""), "rwsgi.toml:2: errorlog"),
        ("user = \"nobody-of-this-name\"", "expected a user of this system"),
        (&format!("python = \"{path}/nowhere\""), "nowhere"),
        ("access_log_format = \"%(q\"", "access_log_format"),
    ];
    let mut site = Site::start(&app("one"), "");
    let tree = site.server.tree();
    for (count, (settings, said)) in cases.into_iter().enumerate() {
        site.set(settings);
        let before = site.server.log().len();
        site.server.signal(Signal::SIGHUP);
        site.server.wait_for_lines("reload failed, nothing has changed", count + 1);
        let log = site.server.log();
        assert!(log[before..].contains(said), "expected {said:?}\n{}", &log[before..]);
    }
    assert_eq!(site.text(), "one");
    wait_until("the same processes are there", || site.server.tree() == tree);
    site.server.stop();
}

#[test]
fn addresses_come_stay_and_go_with_a_reload() {
    let files = directory(&[]);
    let at = |name: &str| format!("unix:{}", files.path().join(name).display());
    let bind = |names: &[&str], more: &str| {
        let addresses: Vec<String> = names.iter().map(|name| format!("{:?}", at(name))).collect();
        format!("bind = [\"127.0.0.1:0\", {}]\n{more}", addresses.join(", "))
    };
    let mut site = Site::start(&app("one"), &bind(&["kept", "gone"], ""));
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(files.path().join("kept")).unwrap());
    let before = inode();
    site.set(&bind(&["kept", "new"], "unix_socket_mode = \"0600\""));
    site.reload(1);
    assert_eq!(inode(), before);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(files.path().join("kept")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the mode is changed in place");
    for name in ["kept", "new"] {
        assert_eq!(ask_unix(&files.path().join(name)), "one");
    }
    assert!(!files.path().join("gone").exists());
    assert_eq!(site.text(), "one", "port 0 stays the port that it was");
    // An address that cannot be had: nothing changes, and what was bound besides goes away again.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.set(&format!("bind = [\"127.0.0.1:0\", {:?}, \"{address}\"]", at("besides")));
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for("reload failed, nothing has changed");
    assert!(site.server.log().contains(&address.to_string()), "{}", site.server.log());
    assert!(!files.path().join("besides").exists());
    assert_eq!(ask_unix(&files.path().join("new")), "one");
    site.server.stop();
    assert!(!files.path().join("kept").exists() && !files.path().join("new").exists());
}

fn ask_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    Response::read(&mut stream).unwrap().text()
}

#[test]
fn a_worker_of_many_threads_that_has_never_served_stops_at_once() {
    for _ in 0..5 {
        let mut server = Server::start(&["crash", "--threads", "4"]);
        let began = std::time::Instant::now();
        server.stop();
        assert!(began.elapsed() < patient(Duration::from_secs(10)), "{:?}\n{}", began.elapsed(), server.log());
    }
}

#[test]
fn pid_file_and_logs_move_with_a_reload() {
    let mut site = Site::start(&app("one"), "pidfile = \"pid\"");
    let path = |name: &str| site.files.path().join(name);
    let text = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    let pid = format!("{}\n", site.server.pid());
    assert_eq!(text("pid"), pid);
    site.set("pidfile = \"new-pid\"\nerrorlog = \"errors\"\naccesslog = \"access\"\nproc_name = \"renamed\"");
    site.server.signal(Signal::SIGHUP);
    wait_until("the new log says so", || text("errors").contains("reload done generation=2"));
    assert_eq!((text("pid"), text("new-pid")), (String::new(), pid));
    // The log says what has moved and what has not: a reload by HUP has no answer.
    assert!(text("errors").contains("pid file moved from=/"), "{}", text("errors"));
    assert!(text("errors").contains("control_socket: stays /"), "{}", text("errors"));
    assert_eq!(site.text(), "one");
    wait_until("the request is noted", || text("access").contains("GET / HTTP/1.1"));
    let title = fs::read_to_string(format!("/proc/{}/cmdline", site.server.pid())).unwrap();
    assert!(title.contains("rwsgi: master [renamed]"), "{title}");
    site.server.signal(Signal::SIGTERM);
    assert_eq!(site.server.wait(), 0);
    assert!(!site.files.path().join("new-pid").exists());
}

#[test]
fn a_socket_file_that_was_removed_is_made_again() {
    let mut site = Site::start(&app("one"), "");
    let path = site.files.path().join("socket");
    fs::remove_file(&path).unwrap();
    site.reload(1);
    assert_eq!(ask_unix(&path), "one");
    site.server.stop();
    assert!(!path.exists());
}

#[test]
fn the_newer_of_two_reloads_wins() {
    let mut site = Site::start(&app("one"), "workers = 2\npreload_app = true");
    // The first one hangs until the second is there.
    let gate = Gate::closed(site.files.path().join("open"));
    site.write(
        "app.py",
        &format!(
            "import sys\nprint('under way: import', file=sys.stderr, flush=True)\nopen('open').read()\n{}",
            app("two")
        ),
    );
    site.server.signal(Signal::SIGHUP);
    site.server.wait_for("under way: import");
    site.write("app.py", &app("three"));
    site.reload_wholly(1);
    site.server.wait_for("reload given up for a newer one generation=2");
    assert_eq!(site.text(), "three");
    let _open = gate.open();
    wait_until("one zygote and two workers are left", || children(site.server.pid()).len() == 3);
    site.server.stop();
}

#[test]
fn many_reloads_at_once_have_one_generation_tried_at_a_time() {
    let mut site = Site::start(&app("one"), "workers = 2\npreload_app = true");
    site.write("app.py", "import threading\nthreading.Event().wait()\n");
    let ((), counted) = under_load(&site.targets(), |_| {
        for count in 1..=15 {
            site.server.signal(Signal::SIGHUP);
            site.server.wait_for_lines("Hang up: Master", count);
            wait_until("two zygotes at most", || children(site.server.pid()).len() <= 4);
        }
        site.write("app.py", &app("two"));
        site.reload_wholly(1);
    });
    assert_nothing_lost(&counted, &site.server);
    assert_eq!(site.text(), "two");
    let log = site.server.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn clients_that_pause_between_requests_are_served_through_a_reload() {
    let pace = pace();
    let site = Site::start(&app("one"), &format!("workers = 2\nlame_duck = {:.3}", 2.0 * pace));
    let mut kept: Vec<TcpStream> = (0..20).map(|_| site.server.connect()).collect();
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        Response::read(stream).unwrap_or_else(|error| panic!("{error}\n{}", site.server.log()))
    };
    for stream in &mut kept {
        assert_eq!(ask(stream).field("connection"), None);
    }
    site.reload(1);
    // Half as long as they are waited for.
    pass(Duration::from_millis(900).mul_f64(pace));
    for stream in &mut kept {
        assert_eq!(ask(stream).field("connection"), Some("close"));
    }
}

#[test]
fn a_stop_in_the_middle_of_a_reload_leaves_nothing() {
    for settings in ["preload_app = true", "preload_app = false"] {
        let mut site = Site::start(&app("one"), settings);
        site.write(
            "app.py",
            "import sys, threading\nprint('under way: import', file=sys.stderr, flush=True)\nthreading.Event().wait()\n",
        );
        site.server.signal(Signal::SIGHUP);
        site.server.wait_for("under way: import");
        let tree = site.server.tree();
        site.server.stop();
        wait_gone(&tree);
    }
}

#[test]
fn a_killed_zygote_is_no_matter_for_a_reload() {
    let mut site = Site::start(&app("one"), "workers = 2");
    kill(site.server.zygote().unwrap(), Signal::SIGKILL).unwrap();
    site.server.wait_for("zygote ended");
    site.write("app.py", &app("two, which is longer"));
    site.reload_wholly(1);
    assert_eq!(site.text(), "two, which is longer");
    wait_until("one zygote and two workers are left", || children(site.server.pid()).len() == 3);
    site.server.stop();
}

#[test]
fn a_request_under_way_is_finished_by_the_worker_that_retires() {
    let files = directory(&[]);
    let mut server = Server::start(&["gate"]);
    let old = server.workers()[0];
    let gate = Gate::closed(files.path().join("open"));
    let mut waiting = server.begin(&format!("/gate{}/open", files.path().display()));
    server.wait_for("under way: gate");
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    assert_ne!(server.get("/").text(), old.to_string(), "others serve meanwhile");
    let _open = gate.open();
    // The worker has learned of the reload while the application was held.
    let response = Response::read(&mut waiting).unwrap();
    let found = (response.status, response.text(), response.field("connection"));
    assert_eq!(found, (200, old.to_string(), Some("close")));
    wait_gone(&[old]);
    server.stop();
}

#[test]
fn a_worker_that_retires_waits_for_requests_on_kept_connections() {
    let mut server = Server::start(&["crash", "--lame-duck", "60"]);
    let old = server.workers()[0];
    let mut kept = server.begin("/");
    assert_eq!(Response::read(&mut kept).unwrap().text(), old.to_string());
    let silent = server.connect();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let response = Response::read(&mut kept).unwrap();
    assert_eq!((response.text(), response.field("connection")), (old.to_string(), Some("close")));
    // A stop of the server does not wait for who says nothing.
    server.stop();
    drop(silent);
}

#[test]
fn kept_connections_that_say_nothing_are_closed_after_lame_duck() {
    let server = Server::start(&["crash", "--lame-duck", "0.3"]);
    let old = server.workers()[0];
    let mut kept = server.begin("/");
    assert_eq!(Response::read(&mut kept).unwrap().status, 200);
    server.signal(Signal::SIGHUP);
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    wait_gone(&[old]);
}

#[test]
fn who_comes_late_to_a_stop_is_refused_and_not_left_waiting() {
    let files = directory(&[]);
    let mut server = Server::start(&["gate", "-w", "2"]);
    let gate = Gate::closed(files.path().join("open"));
    let mut waiting = server.begin(&format!("/gate{}/open", files.path().display()));
    server.wait_for("under way: gate");
    let busy = server.workers();
    server.signal(Signal::SIGTERM);
    let is_worker = |(_, name): &(nix::unistd::Pid, String)| name.starts_with("rwsgi: worker");
    wait_until("only the busy worker is left", || {
        children(server.pid()).iter().filter(|it| is_worker(it)).count() == 1
    });
    // It has not looked at the signal yet: it is in the application. Its copy of the socket is the last.
    let late = TcpStream::connect(server.address());
    let _open = gate.open();
    assert_eq!(Response::read(&mut waiting).unwrap().status, 200);
    if let Ok(mut late) = late {
        // It came in time for the backlog, and is served.
        late.set_read_timeout(Some(limit())).unwrap();
        late.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(Response::read(&mut late).unwrap().status, 200);
    }
    assert_eq!(server.wait(), 0, "{}", server.log());
    wait_gone(&busy);
    let refused = TcpStream::connect(server.address()).map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
}

#[test]
fn workers_come_and_go_by_ttin_and_ttou_and_no_request_is_lost() {
    let mut site = Site::start(&app("one"), "workers = 2");
    let serving = |site: &Site| {
        site.server.log().matches("worker ready").count() - site.server.log().matches("worker retires").count()
    };
    let ((), counted) = under_load(&site.targets(), |_| {
        for round in 0..5 {
            site.server.signal(Signal::SIGTTIN);
            wait_until("there are three", || serving(&site) == 3);
            site.server.signal(Signal::SIGTTOU);
            wait_until("there are two", || serving(&site) == 2);
            assert!(site.server.log().matches("number of workers changed").count() >= 2 * round);
        }
    });
    assert_nothing_lost(&counted, &site.server);
    for count in [1, 2] {
        site.server.signal(Signal::SIGTTOU);
        site.server.wait_for_lines("signal=TTOU", 5 + count);
    }
    site.server.wait_for("number of workers stays signal=TTOU workers=1");
    // A reload has the number of the settings again.
    site.reload(1);
    wait_until("there are two", || serving(&site) == 2);
    site.server.stop();
}

/// Locks a file for itself when it is loaded, as Zope's FileStorage does. The release is in `release`.
const LOCKING: &str = "\
import fcntl, os
lock = open('lock', 'w')
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
release = open('release').read()
assert release != 'broken'
def application(environ, start_response):
    start_response('200 OK', [])
    return [release.encode()]
";

#[test]
fn an_application_with_an_exclusive_lock_is_reloaded_by_stopping_first() {
    for (conf, more) in [("gunicorn.conf.py", &[][..]), ("nothing", &["--preload"])] {
        let files = directory(&[("locking.py", LOCKING), ("release", "one"), (conf, "")]);
        let words = ["locking", "-b", "127.0.0.1:0", "--reload-order", "stop-first", "--lame-duck", "0"];
        let mut server = Server::start_in(files.path(), &[&words, more].concat());
        assert_eq!(server.get("/").text(), "one");
        std::fs::write(files.path().join("release"), "two").unwrap();
        server.signal(Signal::SIGHUP);
        server.wait_for("reload done generation=2");
        assert_eq!(server.get("/").text(), "two", "{}", server.log());
        // What does not load is given up, and the former generation is started again.
        std::fs::write(files.path().join("release"), "broken").unwrap();
        server.signal(Signal::SIGHUP);
        server.wait_for("reload failed");
        std::fs::write(files.path().join("release"), "three").unwrap();
        assert_eq!(server.get("/").text(), "three", "{}", server.log());
        server.stop();
    }
}

#[test]
fn a_link_to_the_directory_of_the_start_is_followed_again() {
    let app = |release: &str| {
        format!(
            "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{release}']\n"
        )
    };
    let (one, two, conf) = (app("one"), app("two"), |threads| format!("threads = {threads}\n"));
    let (one_conf, two_conf) = (conf(1), conf(2));
    let files = directory(&[
        ("one/app.py", one.as_str()),
        ("one/gunicorn.conf.py", one_conf.as_str()),
        ("two/app.py", two.as_str()),
        ("two/gunicorn.conf.py", two_conf.as_str()),
    ]);
    let link = files.path().join("current");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let mut command = rwsgi(&link, ["app", "-b", "127.0.0.1:0", "-p", "pid"]);
    command.env("PWD", &link);
    let mut server = Server::spawn(command);
    assert_eq!(server.get("/").text(), "one");
    let turned = files.path().join("turned");
    std::os::unix::fs::symlink("two", &turned).unwrap();
    std::fs::rename(&turned, &link).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done generation=2");
    assert_eq!(server.get("/").text(), "two");
    server.wait_for("threads=2");
    assert!(link.join("pid").exists() && !files.path().join("one/pid").exists());
    // A PWD of another directory says nothing.
    let mut command = rwsgi(&files.path().join("one"), ["app", "-b", "127.0.0.1:0"]);
    command.env("PWD", &link);
    let mut other = Server::spawn(command);
    other.signal(Signal::SIGHUP);
    other.wait_for("reload done generation=2");
    assert_eq!(other.get("/").text(), "one");
    other.stop();
    server.stop();
}

#[test]
fn winch_to_a_server_that_is_no_daemon_changes_nothing() {
    let mut server = Server::start(&["crash", "-w", "2"]);
    let workers = server.workers();
    server.signal(Signal::SIGWINCH);
    server.wait_for("SIGWINCH ignored. Not daemonized signal=WINCH\n");
    assert_eq!(server.workers(), workers);
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn a_terminal_that_changes_its_size_does_not_stop_the_workers() {
    let mut command = rwsgi(&apps(), ["crash", "-b", "127.0.0.1:0"]);
    let terminal = give_terminal(&mut command);
    let mut server = Server::spawn(command);
    let size = libc::winsize { ws_row: 50, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open, and the kernel reads one winsize.
    assert_eq!(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    // What came before this has been seen by then.
    server.signal(Signal::SIGTTIN);
    server.wait_for("number of workers changed signal=TTIN workers=2");
    assert!(!server.log().contains("WINCH"), "{}", server.log());
    server.signal(Signal::SIGWINCH);
    server.wait_for("SIGWINCH ignored. Not daemonized signal=WINCH");
    server.stop();
}

/// Has a command run in a terminal of its own, and answers the terminal's other end.
fn give_terminal(command: &mut std::process::Command) -> OwnedFd {
    let (mut ours, mut theirs) = (-1, -1);
    let nothing = std::ptr::null_mut();
    // SAFETY: writes two new descriptors; no name, settings or size are asked for.
    assert_eq!(unsafe { libc::openpty(&raw mut ours, &raw mut theirs, nothing, nothing.cast(), nothing.cast()) }, 0);
    // SAFETY: openpty made both, and nobody else knows them.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let becomes_theirs = move || {
        // SAFETY: both calls take numbers only, and may be made between fork and exec.
        match unsafe { (libc::setsid(), libc::ioctl(theirs.as_raw_fd(), libc::TIOCSCTTY, 0)) } {
            (0.., 0) => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: see above.
    unsafe { command.pre_exec(becomes_theirs) };
    ours
}

#[test]
fn usr1_opens_the_log_files_anew_in_every_process() {
    let files = directory(&[]);
    let at = |name: &str| files.path().join(name);
    let (errors, access) = (at("error.log"), at("access.log"));
    let words = [
        "gate",
        "-b",
        "127.0.0.1:0",
        "--error-logfile",
        errors.to_str().unwrap(),
        "--access-logfile",
        access.to_str().unwrap(),
    ];
    let mut command = rwsgi(&apps(), words);
    command.stdin(std::process::Stdio::null());
    let log = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
    let server = LoggedServer::start(command, &errors);
    server.get("/first");
    wait_until("the request is noted", || log("access.log").contains("GET /first"));
    for name in ["error.log", "access.log"] {
        fs::rename(at(name), at(&format!("{name}.1"))).unwrap();
    }
    kill(server.pid, Signal::SIGUSR1).unwrap();
    wait_until("the master writes to the new file", || log("error.log").contains("log files reopened"));
    server.get("/second");
    wait_until("the worker, too", || log("access.log").contains("GET /second"));
    assert!(!log("access.log.1").contains("/second"));
    // Stacks and what the zygote says go there as well; and so does a worker that is forked later.
    let zygote = children(server.pid).into_iter().find(|(_, name)| name.starts_with("rwsgi: zygote")).unwrap().0;
    kill(zygote, Signal::SIGHUP).unwrap();
    wait_until("the zygote writes there", || {
        log("error.log").contains("a signal for the master, ignored here signal=HUP")
    });
    let worker = children(server.pid).into_iter().find(|(_, name)| name.starts_with("rwsgi: worker")).unwrap().0;
    kill(worker, Signal::SIGKILL).unwrap();
    wait_until("there is another worker", || log("error.log").contains("worker ready"));
    server.get("/third");
    wait_until("it writes there", || log("access.log").contains("GET /third"));
    kill(server.pid, Signal::SIGTERM).unwrap();
    wait_until("the end is noted", || log("error.log").contains("Shutting down: Master code=0"));
    assert!(!log("error.log.1").contains("Worker (pid:"));
}

/// A server whose log is a file.
struct LoggedServer {
    pid: Pid,
    address: String,
    child: std::process::Child,
}

impl LoggedServer {
    fn start(mut command: std::process::Command, errors: &Path) -> LoggedServer {
        let child = command.spawn().unwrap();
        let log = || fs::read_to_string(errors).unwrap_or_default();
        wait_until("the server is ready", || log().contains("worker ready"));
        let address = log().split_once("http://").unwrap().1.split_whitespace().next().unwrap().to_owned();
        LoggedServer { pid: Pid::from_raw(i32::try_from(child.id()).unwrap()), address, child }
    }

    fn get(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(limit())).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().status, 200);
    }
}

impl Drop for LoggedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn recycling_by_number_and_age_loses_no_request() {
    let cases = [
        "max_requests = 50",
        "max_requests = 50\nthreads = 3",
        "max_requests = 50\nmax_requests_jitter = 20\nreload_step = 2",
        "max_worker_lifetime = 0.5\nmax_worker_lifetime_jitter = 0.2",
    ];
    for settings in cases {
        let mut site = Site::start(&app("one"), &format!("workers = 3\n{settings}"));
        let ((), counted) = under_load(&site.targets(), |_| site.server.wait_for_lines("worker retires", 15));
        assert_nothing_lost(&counted, &site.server);
        let log = site.server.stop();
        assert!(!log.contains("ERROR") && !log.contains("held back"), "{log}");
    }
}

/// Keeps 16 MiB more for each request of /grow.
const GROWING: &str = r#"
import os
kept = []

def application(environ, start_response):
    if environ["PATH_INFO"] == "/grow":
        kept.append(os.urandom(1) * (16 << 20))
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"#;

#[test]
fn a_worker_that_has_grown_too_large_is_replaced() {
    let mut site = Site::start(GROWING, "reload_on_rss = \"100 MiB\"");
    let first = site.server.workers()[0];
    for _ in 0..8 {
        assert_eq!(site.server.get("/grow").text(), first.to_string());
    }
    site.server.wait_for("worker has grown beyond reload_on_rss, it will be replaced");
    site.server.wait_for("worker retires");
    wait_gone(&[first]);
    assert_ne!(site.text(), first.to_string());
    let log = site.server.stop();
    assert_eq!(log.matches("reload_on_rss").count(), 1, "{log}");
}

#[test]
fn signals_for_the_master_are_ignored_elsewhere_and_say_so() {
    let mut server = Server::start(&["crash", "-w", "2"]);
    let mut all = server.workers();
    all.extend(server.zygote());
    for (signal, name) in
        [(Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1"), (Signal::SIGUSR2, "USR2"), (Signal::SIGWINCH, "WINCH")]
    {
        for pid in &all {
            kill(*pid, signal).unwrap();
        }
        server.wait_for_lines(&format!("a signal for the master, ignored here signal={name}"), all.len());
    }
    for pid in &all {
        kill(*pid, Signal::SIGTTIN).unwrap();
        kill(*pid, Signal::SIGTTOU).unwrap();
    }
    assert_eq!(server.get("/").status, 200);
    // The zygote still forks.
    kill(all[0], Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 3);
    assert_eq!(server.zygote(), Some(all[2]));
    let died = server.log().matches("Worker (pid:").count();
    assert_eq!(died, 1, "{}", server.log());
    server.stop();
}

#[test]
fn killed_idle_workers_cost_no_request_but_those_that_they_hold() {
    let mut site = Site::start(&app("one"), "workers = 3");
    let kills = 6;
    let ((), counted) = under_load(&site.targets()[..1], |_| {
        for count in 0..kills {
            kill(*site.server.workers().last().unwrap(), Signal::SIGKILL).unwrap();
            site.server.wait_for_lines("worker ready", 4 + count);
        }
    });
    // Three clients: each can have lost the one request that it was waiting for.
    assert!(counted.failures.len() <= 3 * kills, "{:#?}", counted.failures);
    assert!(counted.failures.iter().all(|failure| !failure.contains("connect:")), "{:#?}", counted.failures);
    println!("{} requests answered, {} lost with {kills} workers", counted.answered, counted.failures.len());
    site.server.stop();
}

#[test]
fn deadlines_move_by_the_time_that_the_master_was_stopped() {
    let mut server = Server::start(&["gate", "--timeout", "3", "--timeout-grace", "0"]);
    let worker = server.workers()[0];
    let _stuck = server.begin("/sleep");
    server.wait_for("under way: sleep");
    // The whole tree stands still, as in a container that is frozen.
    let tree = server.tree();
    for pid in &tree {
        kill(*pid, Signal::SIGSTOP).unwrap();
    }
    // Longer than the timeout.
    pass(Duration::from_secs(5));
    for pid in tree.iter().rev() {
        kill(*pid, Signal::SIGCONT).unwrap();
    }
    server.wait_for("the master was held up, deadlines move by as much");
    assert!(!server.log().contains("request timed out"), "{}", server.log());
    server.wait_for("request timed out");
    wait_gone(&[worker]);
    server.stop();
}
