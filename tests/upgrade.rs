//! USR2: a new master on the same sockets, and back again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::support::load::{Target, under_load};
use crate::support::{self, Server, children, directory, program, rwsgi, wait_gone, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A server with a pid file, on TCP and a unix socket.
struct Site {
    files: TempDir,
    old: Server,
}

const APP: &str = "import os\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [str(os.getppid()).encode()]\n";

impl Site {
    fn start(threads: &str) -> Site {
        let files = directory(&[("app.py", APP)]);
        let socket = format!("unix:{}", files.path().join("socket").display());
        let command = rwsgi(
            files.path(),
            ["app", "-w", "2", "--threads", threads, "-p", "pid", "-b", "127.0.0.1:0", "-b", &socket],
        );
        Site { old: Server::spawn(command), files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The process in a pid file.
    fn pid(&self, name: &str) -> Option<Pid> {
        fs::read_to_string(self.path(name)).ok()?.trim().parse().ok().map(Pid::from_raw)
    }

    /// Starts the `count`th new master and waits until all its workers serve.
    fn upgrade(&self, count: usize) -> Pid {
        self.old.signal(Signal::SIGUSR2);
        self.old.wait_for_lines("new master started", count);
        let log = self.old.log();
        let new = log.rsplit_once("new master started").unwrap().1.split_once("new=").unwrap().1;
        let new = Pid::from_raw(new.split_whitespace().next().unwrap().parse().unwrap());
        wait_until("its workers are there", || workers(new).len() == 2);
        self.old.wait_for_lines(&format!("[{new}] [INFO] worker ready"), 2);
        new
    }

    fn targets(&self) -> Vec<Target> {
        vec![Target::Tcp(self.old.address().to_owned()), Target::Unix(self.path("socket"))]
    }

    /// Ends the master that is left.
    fn stop(mut self, last: Pid) -> String {
        let _ = kill(last, Signal::SIGTERM);
        self.old.wait();
        assert!(!self.path("socket").exists(), "the last one removes the socket file");
        assert!(self.pid("pid").is_none() && self.pid("pid.2").is_none());
        self.old.log()
    }
}

fn workers(master: Pid) -> Vec<Pid> {
    children(master).into_iter().filter(|(_, name)| name.starts_with("rwsgi: worker")).map(|(pid, _)| pid).collect()
}

#[test]
fn a_new_master_takes_over_and_no_request_is_lost() {
    let site = Site::start("1");
    let old = site.old.pid();
    let (new, counted) = under_load(&site.targets(), |progress| {
        let new = site.upgrade(1);
        assert_eq!((site.pid("pid"), site.pid("pid.2")), (Some(old), Some(new)));
        let (code, said, _) = support::run(site.files.path(), ["status", "--pid", "pid"]);
        assert_eq!(code, 0, "{said}");
        let words = format!("an upgrade is under way: a new master serves beside this one, its pid is {new}\n");
        assert!(said.contains(&words), "{said}");
        site.old.signal(Signal::SIGUSR2);
        site.old.wait_for("no new master: there is one already");
        kill(new, Signal::SIGUSR2).unwrap();
        site.old.wait_for("no new master: the old one is still there");
        let retiring = workers(old);
        site.old.signal(Signal::SIGWINCH);
        wait_gone(&retiring);
        let before = progress.answered();
        wait_until("the new one serves alone", || progress.answered() > before + 100);
        site.old.signal(Signal::SIGTERM);
        wait_gone(&[old]);
        site.old.wait_for("the old master is gone, this one stays");
        wait_until("the new one has the pid file", || site.pid("pid") == Some(new) && site.pid("pid.2").is_none());
        let before = progress.answered();
        wait_until("it goes on", || progress.answered() > before + 100);
        new
    });
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, site.old.log());
    println!("{} requests on {} connections, all answered", counted.answered, counted.connections);
    // It can be reloaded and replaced in its turn.
    kill(new, Signal::SIGHUP).unwrap();
    site.old.wait_for("reload done");
    assert_eq!(site.old.get("/").text(), new.to_string());
    kill(new, Signal::SIGUSR2).unwrap();
    site.old.wait_for_lines("new master started", 2);
    wait_until("there is a third", || site.pid("pid.2").is_some());
    let third = site.pid("pid.2").unwrap();
    wait_until("it serves", || workers(third).len() == 2);
    site.old.wait_for_lines(&format!("[{third}] [INFO] worker ready"), 2);
    kill(new, Signal::SIGTERM).unwrap();
    wait_until("it has the pid file", || site.pid("pid") == Some(third));
    assert_eq!(site.old.get("/").text(), third.to_string());
    let log = site.stop(third);
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn the_way_back_loses_no_request_either() {
    let site = Site::start("4");
    let old = site.old.pid();
    let ((), counted) = under_load(&site.targets(), |progress| {
        let new = site.upgrade(1);
        let retiring = workers(old);
        site.old.signal(Signal::SIGWINCH);
        wait_gone(&retiring);
        site.old.signal(Signal::SIGHUP);
        site.old.wait_for("reload done generation=2 workers=2");
        kill(new, Signal::SIGTERM).unwrap();
        site.old.wait_for("new master ended, this one stays");
        let before = progress.answered();
        wait_until("the old one serves", || progress.answered() > before + 100);
        assert_eq!((site.pid("pid"), site.pid("pid.2")), (Some(old), None));
    });
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, site.old.log());
    println!("{} requests on {} connections, all answered", counted.answered, counted.connections);
    assert!(UnixStream::connect(site.path("socket")).is_ok(), "the new one left the socket file");
    site.stop(old);
}

#[test]
fn the_new_masters_workers_rest_and_come_back_too() {
    let site = Site::start("1");
    let old = site.old.pid();
    let ((), counted) = under_load(&site.targets(), |progress| {
        let new = site.upgrade(1);
        let retiring = workers(new);
        kill(new, Signal::SIGWINCH).unwrap();
        wait_gone(&retiring);
        let before = progress.answered();
        wait_until("the old one serves alone", || progress.answered() > before + 100);
        kill(new, Signal::SIGHUP).unwrap();
        site.old.wait_for("reload done generation=2 workers=2");
        assert_eq!(workers(new).len(), 2);
        kill(new, Signal::SIGTERM).unwrap();
        site.old.wait_for("new master ended, this one stays");
    });
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, site.old.log());
    site.stop(old);
}

#[test]
fn term_alone_hands_over_as_well() {
    let site = Site::start("4");
    let (new, counted) = under_load(&site.targets(), |progress| {
        let new = site.upgrade(1);
        site.old.signal(Signal::SIGTERM);
        wait_gone(&[site.old.pid()]);
        let before = progress.answered();
        wait_until("the new one serves", || progress.answered() > before + 100);
        new
    });
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, site.old.log());
    println!("{} requests on {} connections, all answered", counted.answered, counted.connections);
    wait_until("the new one has the pid file", || site.pid("pid") == Some(new));
    site.stop(new);
}

#[test]
fn a_new_master_that_cannot_start_changes_nothing() {
    let site = Site::start("1");
    let old = site.old.pid();
    let before = workers(old);
    fs::write(site.path("app.py"), "raise RuntimeError('not today')").unwrap();
    let ((), counted) = under_load(&site.targets(), |_| {
        site.old.signal(Signal::SIGUSR2);
        site.old.wait_for("new master ended, this one stays");
    });
    assert!(counted.failures.is_empty(), "{:#?}\n{}", counted.failures, site.old.log());
    let log = site.old.log();
    assert!(log.contains("RuntimeError: not today") && log.contains("by=\"code 3\""), "{log}");
    assert_eq!(workers(old), before);
    fs::write(site.path("app.py"), APP).unwrap();
    let new = site.upgrade(2);
    site.old.signal(Signal::SIGTERM);
    wait_gone(&[old]);
    wait_until("the new one has the pid file", || site.pid("pid") == Some(new));
    site.stop(new);
}

#[test]
fn the_pid_file_of_a_killed_new_master_goes_with_it() {
    let site = Site::start("1");
    let old = site.old.pid();
    let new = site.upgrade(1);
    let orphans = workers(new);
    assert_eq!(site.pid("pid.2"), Some(new));
    kill(new, Signal::SIGKILL).unwrap();
    site.old.wait_for("new master ended, this one stays");
    wait_until("its pid file is gone", || site.pid("pid.2").is_none());
    wait_gone(&orphans);
    assert_eq!((site.pid("pid"), site.path("pid.2").exists()), (Some(old), false));
    // One of somebody else's stays.
    let new = site.upgrade(2);
    fs::write(site.path("pid.2"), "1\n").unwrap();
    kill(new, Signal::SIGKILL).unwrap();
    site.old.wait_for_lines("new master ended, this one stays", 2);
    assert_eq!(fs::read_to_string(site.path("pid.2")).unwrap(), "1\n");
    fs::remove_file(site.path("pid.2")).unwrap();
    site.stop(old);
}

#[test]
fn a_killed_old_master_leaves_the_new_one_in_charge() {
    let site = Site::start("1");
    let new = site.upgrade(1);
    let retiring = workers(site.old.pid());
    site.old.signal(Signal::SIGKILL);
    site.old.wait_for("the old master is gone, this one stays");
    wait_gone(&retiring);
    wait_until("the new one has the pid file", || site.pid("pid") == Some(new) && site.pid("pid.2").is_none());
    assert_eq!(site.old.get("/").text(), new.to_string());
    site.stop(new);
}

#[test]
fn the_program_is_the_file_as_it_is_now() {
    let files = directory(&[("app.py", APP)]);
    let copy = files.path().join("rwsgi");
    fs::copy(program(), &copy).unwrap();
    // Of a debug build the engine is a file of its own.
    if program().with_file_name("").ends_with("debug") {
        let engine = "librwsgi_engine.so";
        fs::copy(program().with_file_name(engine), files.path().join(engine)).unwrap();
    }
    let ordinary = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0"]);
    let mut command = std::process::Command::new(&copy);
    command.current_dir(files.path()).env("VIRTUAL_ENV", support::virtualenv()).args(ordinary.get_args());
    let mut server = Server::spawn(command);
    // As a package manager does: a new file under the old name.
    let next = files.path().join("rwsgi.new");
    fs::write(&next, "#!/bin/sh\necho the new program: \"$@\" >&2\nexit 7\n").unwrap();
    fs::set_permissions(&next, Permissions::from_mode(0o755)).unwrap();
    fs::rename(&next, &copy).unwrap();
    server.signal(Signal::SIGUSR2);
    server.wait_for("the new program: app -b 127.0.0.1:0");
    server.wait_for("by=\"code 7\"");
    // The running server does not mix: its zygote is still of the file that it was started from.
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn the_application_sees_nothing_of_an_upgrade_in_its_environment() {
    let app = "import os\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [' '.join(sorted(name for name in os.environ if name.startswith('RWSGI_'))).encode()]\n";
    let site = Site::start("1");
    fs::write(site.path("app.py"), app).unwrap();
    let new = site.upgrade(1);
    site.old.signal(Signal::SIGTERM);
    wait_gone(&[site.old.pid()]);
    assert!(!site.old.get("/").text().contains("PREDECESSOR"));
    wait_until("the new one has the pid file", || site.pid("pid") == Some(new));
    site.stop(new);
}
