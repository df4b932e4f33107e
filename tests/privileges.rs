//! What a master of root starts runs nothing that the application's user could have written with more rights than that user
//! has: not at the start, not when a zygote is started again, not at a reload.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::support::{self, Server, run_command, rwsgi, status, virtualenv, wait_gone, wait_until};

/// Two directories: one of root's, and one of the application's user with everything planted in it.
struct Site {
    user: User,
    root: TempDir,
    app: PathBuf,
}

/// Notes by which user it is run, and becomes the module that it stands for.
const PLANTED: &str = r#"
import sys, posix
import _frozen_importlib as f, _frozen_importlib_external as e
HERE = __file__.rpartition("/")[0]
fd = posix.open("NOTES", posix.O_WRONLY | posix.O_APPEND)
posix.write(fd, b"%s %d\n" % (__name__.encode(), posix.geteuid()))
posix.close(fd)
path = [place for place in sys.path if place not in ("", HERE)]
spec = e.PathFinder.find_spec(__name__, path)
if spec is not None:
    module = sys.modules[__name__] = f.module_from_spec(spec)
    spec.loader.exec_module(module)
"#;

const APP: &str = r#"
import os, logging, json, traceback
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % os.geteuid()]
"#;

impl Site {
    fn new() -> Site {
        assert!(Uid::effective().is_root(), "only root has privileges to drop: run the tests as root");
        let user = User::from_name("nobody").unwrap().expect("a user nobody");
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let app = root.path().join("app");
        fs::create_dir(&app).unwrap();
        let notes = root.path().join("notes");
        fs::write(&notes, "").unwrap();
        fs::set_permissions(&notes, fs::Permissions::from_mode(0o666)).unwrap();
        fs::write(app.join("site_app.py"), APP).unwrap();
        let site = Site { user, root, app };
        site.give(&site.app.join("site_app.py"));
        site.give(&site.app);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Makes a file or a directory the application's user's.
    fn give(&self, path: &Path) {
        chown(path, Some(self.user.uid.as_raw()), Some(self.user.gid.as_raw())).unwrap();
    }

    /// Plants a module for each name that an interpreter imports at its start, and that the server imports.
    fn plant(&self) {
        let list = "import sys, sitecustomize, logging.config, tomllib, faulthandler, traceback, ast, json, inspect, pickle, \
                    importlib.util; print(*{name.partition('.')[0] for name in sys.modules} | {'usercustomize'})";
        let list = list.replace("sitecustomize, ", "");
        let output = Command::new(virtualenv().join("bin/python")).args(["-c", &list]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = PLANTED.replace("NOTES", self.path("notes").to_str().unwrap());
        let names = String::from_utf8(output.stdout).unwrap();
        for name in names.split_whitespace().chain(["sitecustomize"]).filter(|name| *name != "__main__") {
            let file = self.app.join(format!("{name}.py"));
            fs::write(&file, &text).unwrap();
            self.give(&file);
        }
    }

    /// The users as which planted modules were run.
    fn users(&self) -> BTreeSet<u32> {
        let notes = fs::read_to_string(self.path("notes")).unwrap();
        notes.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    }

    /// Kills the zygote, forks from the next one, reloads, opens the logs anew and stops; all of it while everything is planted.
    fn live(&self, mut server: Server) {
        let uid = self.user.uid.as_raw().to_string();
        assert_eq!(server.get("/").text(), uid, "{}", server.log());
        let zygote = server.zygote().unwrap();
        assert_eq!(status(zygote, "Uid"), format!("{uid} {uid} {uid} {uid}"));
        kill(zygote, Signal::SIGKILL).unwrap();
        wait_gone(&[zygote]);
        let worker = server.workers()[0];
        kill(worker, Signal::SIGKILL).unwrap();
        server.wait_for_lines("worker ready", 2);
        let again = server.zygote().expect("a zygote that was started again");
        assert_eq!(status(again, "Uid"), format!("{uid} {uid} {uid} {uid}"), "{}", server.log());
        server.signal(Signal::SIGHUP);
        server.wait_for("reload done");
        server.signal(Signal::SIGUSR1);
        assert_eq!(server.get("/").text(), uid, "{}", server.log());
        let log = server.stop();
        assert_eq!(self.users(), BTreeSet::from([self.user.uid.as_raw()]), "planted modules were run by\n{log}");
    }
}

#[test]
fn what_the_applications_user_plants_never_runs_as_root_without_a_python_file() {
    let site = Site::new();
    site.plant();
    let app = site.app.display();
    fs::write(
        site.path("rwsgi.toml"),
        format!("wsgi_app = \"site_app\"\nuser = \"nobody\"\nchdir = \"{app}\"\npythonpath = [\"{app}\"]\n"),
    )
    .unwrap();
    let config = site.path("rwsgi.toml");
    let mut start = command(&site.app, &["--config", config.to_str().unwrap()]);
    start.env("PYTHONPATH", &site.app);
    site.live(Server::spawn(start));
}

fn command(directory: &Path, words: &[&str]) -> Command {
    let mut command = rwsgi(directory, words);
    command.args(["-b", "127.0.0.1:0"]);
    command
}

/// Hooks that have the rights of the master, and import something then.
const HOOKS: &str = r#"
import os
def note(name):
    import decimal, fractions
    with open(NOTES + ".hooks", "a") as notes:
        notes.write("%s %d\n" % (name, os.geteuid()))
def on_starting(server): note("on_starting")
def on_reload(server): note("on_reload")
def when_ready(server): note("when_ready")
def pre_fork(server, worker): pass
"#;

#[test]
fn what_the_applications_user_plants_never_runs_as_root_with_hooks_that_do() {
    for (more, user) in [("", &["--user", "nobody"][..]), ("user = \"nobody\"\n", &[])] {
        let site = Site::new();
        site.plant();
        for name in ["decimal.py", "fractions.py"] {
            fs::copy(site.app.join("json.py"), site.app.join(name)).unwrap();
        }
        let text = format!("wsgi_app = \"site_app\"\nchdir = {:?}\nNOTES = {:?}\n{more}", site.app, site.path("notes"));
        let config = site.path("conf.py");
        fs::write(&config, text + HOOKS).unwrap();
        let words = [&["-c", config.to_str().unwrap()], user].concat();
        // A user that only the file names is not known before that has been run.
        let directory = if user.is_empty() { site.root.path() } else { &site.app };
        site.live(Server::spawn(command(directory, &words)));
        let hooks = fs::read_to_string(site.path("notes.hooks")).unwrap();
        assert_eq!(hooks, "on_starting 0\nwhen_ready 0\non_reload 0\n");
    }
}

#[test]
fn a_python_file_that_the_applications_user_can_change_is_refused_before_it_runs() {
    let site = Site::new();
    let config = site.app.join("conf.py");
    let ran = site.path("ran");
    fs::write(&config, format!("wsgi_app = 'site_app'\nopen({ran:?}, 'w')\n")).unwrap();
    let words = ["-c", config.to_str().unwrap(), "--user", "nobody", "--check-config"];
    let (code, _, log) = run_command(command(&site.app, &words[..4]));
    let expected = format!("{}: expected only what the application's user cannot change", config.display());
    assert!(code != 0 && log.contains(&expected) && log.contains("hint: `chown root"), "{code}\n{log}");
    assert!(!ran.exists(), "{log}");
    // Where only the file names the user, it has been run by then, and that is the end.
    fs::write(&config, "wsgi_app = 'site_app'\nuser = 'nobody'\n").unwrap();
    for words in [&["-c", config.to_str().unwrap()][..], &["check", "-c", config.to_str().unwrap()]] {
        let (code, _, log) = run_command(rwsgi(&site.app, words));
        assert!(code != 0 && log.contains(&expected), "{words:?}: {code}\n{log}");
    }
}

#[test]
fn a_toml_file_that_the_applications_user_can_change_is_refused_at_start_and_reload() {
    let site = Site::new();
    let config = site.path("rwsgi.toml");
    let text = format!("wsgi_app = \"site_app\"\nchdir = {:?}\nuser = \"nobody\"\n", site.app);
    fs::write(&config, &text).unwrap();
    let mut server = Server::spawn(command(site.root.path(), &["--config", config.to_str().unwrap()]));
    // What that user would write into it: that the next workers are root's.
    fs::write(&config, text.replace("nobody", "root")).unwrap();
    site.give(&config);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload failed, nothing has changed");
    let refused = "expected a file that the application's user cannot change";
    assert!(server.log().contains(refused), "{}", server.log());
    assert_eq!(server.get("/").text(), site.user.uid.as_raw().to_string());
    server.stop();
    fs::write(&config, &text).unwrap();
    let (code, _, log) = run_command(command(site.root.path(), &["--config", config.to_str().unwrap()]));
    assert!(code == 1 && log.contains(refused) && log.contains("hint: `chown root"), "{code}\n{log}");
}

#[test]
fn a_virtualenv_that_the_applications_user_can_change_is_not_entered_as_root() {
    let site = Site::new();
    let venv = site.path("venv");
    let python = virtualenv().join("bin/python");
    let made = Command::new(python).args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
    assert!(made.success());
    let packages = fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap().path().join("site-packages");
    let ran = site.path("ran");
    fs::write(packages.join("planted.pth"), format!("import os; os.geteuid() == 0 and open({ran:?}, 'w')\n")).unwrap();
    site.give(&packages.join("planted.pth"));
    let config = site.path("conf.py");
    let text = format!("wsgi_app = 'site_app'\nchdir = {:?}\n", site.app);
    fs::write(&config, &text).unwrap();
    let start = |config: &Path| {
        let words = ["-c", config.to_str().unwrap(), "--user", "nobody", "--python", venv.to_str().unwrap()];
        command(site.root.path(), &words)
    };
    let (code, _, log) = run_command(start(&config));
    assert!(code != 0 && log.contains("planted.pth, which user"), "{code}\n{log}");
    assert!(!ran.exists(), "{log}");
    // Without a Python file it runs as that user from the first instruction on.
    let toml = site.path("rwsgi.toml");
    fs::write(&toml, format!("wsgi_app = \"site_app\"\nchdir = {:?}\n", site.app)).unwrap();
    let mut server = Server::spawn(start(&toml));
    assert_eq!(server.get("/").text(), site.user.uid.as_raw().to_string());
    server.stop();
    assert!(!ran.exists());
}

#[test]
fn a_reload_does_not_run_a_file_that_has_become_the_applications_users() {
    let site = Site::new();
    let config = site.path("conf.py");
    let ran = site.path("ran");
    let text = format!("import os\nwsgi_app = 'site_app'\nuser = 'nobody'\nchdir = {:?}\n", site.app);
    fs::write(&config, &text).unwrap();
    let mut server = Server::spawn(command(site.root.path(), &["-c", config.to_str().unwrap()]));
    fs::write(&config, text + &format!("os.geteuid() == 0 and open({ran:?}, 'w')\n")).unwrap();
    site.give(&config);
    server.signal(Signal::SIGHUP);
    server.wait_for("which user");
    wait_until("the reload has failed", || server.log().contains("reload failed, nothing has changed"));
    assert_eq!(server.get("/").status, 200);
    // A zygote that is started again has the file read for it, and runs it as that user.
    let zygote = server.zygote().unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&config, Some(0), Some(0)).unwrap();
    kill(zygote, Signal::SIGKILL).unwrap();
    let worker = server.workers()[0];
    kill(worker, Signal::SIGKILL).unwrap();
    server.wait_for_lines("worker ready", 2);
    assert_eq!(server.get("/").text(), site.user.uid.as_raw().to_string());
    server.stop();
    assert!(!ran.exists());
}

#[test]
fn supplementary_groups_are_those_of_the_user() {
    let site = Site::new();
    let words = ["site_app", "--user", "nobody", "--group", "www-data"];
    let mut server = Server::spawn(command(&site.app, &words));
    let group = nix::unistd::Group::from_name("www-data").unwrap().expect("a group www-data").gid.to_string();
    let zygote = server.zygote().unwrap();
    assert_eq!(status(zygote, "Gid"), [&*group; 4].join(" "));
    let groups = status(zygote, "Groups");
    assert_eq!(groups.split_whitespace().collect::<Vec<_>>(), [&*group], "{}", support::status(zygote, "Uid"));
    server.stop();
}

#[test]
fn a_number_without_an_entry_in_the_database_is_judged_by_the_group_that_it_keeps() {
    let site = Site::new();
    let (logs, target) = (site.path("logs"), site.path("target"));
    fs::create_dir(&logs).unwrap();
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o775)).unwrap();
    fs::write(&target, "root's").unwrap();
    let log = logs.join("access.log");
    let words = ["site_app", "--user", "12345", "--access-logfile", log.to_str().unwrap()];
    let mut server = Server::spawn(command(&site.app, &words));
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(&target, &log).unwrap();
    std::os::unix::fs::lchown(&log, Some(12345), Some(0)).unwrap();
    server.signal(Signal::SIGUSR1);
    server.wait_for("expected no symbolic link");
    server.get("/");
    server.stop();
    assert_eq!(fs::read_to_string(&target).unwrap(), "root's");
}

#[test]
fn the_working_directory_in_pythonpath_is_judged() {
    let site = Site::new();
    let config = site.path("conf.py");
    fs::write(&config, "wsgi_app = 'site_app'\n").unwrap();
    let ran = site.path("ran");
    let planted = site.app.join("sitecustomize.py");
    fs::write(&planted, format!("import os\nos.geteuid() == 0 and open({ran:?}, 'w')\n")).unwrap();
    site.give(&planted);
    let mut start = command(&site.app, &["-c", config.to_str().unwrap(), "--user", "nobody"]);
    start.env("PYTHONPATH", "/opt:");
    let (code, _, log) = run_command(start);
    assert!(code != 0 && log.contains("which user"), "{code}\n{log}");
    assert!(!ran.exists(), "{log}");
}

#[test]
fn an_upgrade_executes_no_program_that_the_applications_user_can_replace() {
    let site = Site::new();
    let program = site.app.join("rwsgi");
    std::os::unix::fs::symlink(support::program(), &program).unwrap();
    let ours = command(&site.app, &["site_app", "--user", "nobody"]);
    let mut start = Command::new(&program);
    start.args(ours.get_args()).current_dir(&site.app).env("VIRTUAL_ENV", virtualenv());
    let mut server = Server::spawn(start);
    fs::remove_file(&program).unwrap();
    let ran = site.path("ran");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    server.signal(Signal::SIGUSR2);
    server.wait_for("expected only what the application's user cannot change");
    assert_eq!(server.get("/").status, 200);
    server.stop();
    assert!(!ran.exists());
}

#[test]
fn a_compiled_module_of_the_applications_user_is_not_imported_as_root() {
    let site = Site::new();
    fs::write(site.path("helper.py"), "").unwrap();
    let compiled = Command::new(virtualenv().join("bin/python"))
        .args(["-m", "compileall", "-q", "helper.py"])
        .current_dir(site.root.path())
        .status();
    assert!(compiled.unwrap().success());
    let cache = fs::read_dir(site.path("__pycache__")).unwrap().next().unwrap().unwrap().path();
    site.give(&cache);
    let config = site.path("conf.py");
    fs::write(&config, "import helper\nwsgi_app = 'site_app'\n").unwrap();
    let words = ["-c", config.to_str().unwrap(), "--user", "nobody"];
    let (code, _, log) = run_command(command(site.root.path(), &words));
    assert!(code != 0 && log.contains(".pyc, which user"), "{code}\n{log}");
}

#[test]
fn a_file_that_names_the_user_itself_is_served_in_a_directory_of_that_user() {
    let site = Site::new();
    let config = site.path("conf.py");
    fs::write(&config, "wsgi_app = 'site_app'\nuser = 'nobody'\n").unwrap();
    let mut server = Server::spawn(command(&site.app, &["-c", config.to_str().unwrap()]));
    assert_eq!(server.get("/").text(), site.user.uid.as_raw().to_string());
    // The engine that zygotes map is the same file for those of root.
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    for descriptor in descriptors.map(|entry| entry.unwrap().path()) {
        let name = fs::read_link(&descriptor).unwrap_or_default();
        if name.to_string_lossy().contains("rwsgi engine") {
            let file = fs::OpenOptions::new().write(true).open(&descriptor).unwrap();
            let written = std::os::unix::fs::FileExt::write_at(&file, b"x", 0);
            assert!(written.is_err(), "the engine's file can be written to");
        }
    }
    server.stop();
}
