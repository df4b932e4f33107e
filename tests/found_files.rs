//! Files that are found without being named: rwsgi.toml in the working directory, and the variables of `env_file`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use crate::support::{Server, directory, run, run_command, rwsgi};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

/// A user without rights.
const NOBODY: u32 = 65_534;
/// Answers with the variables whose names begin with MINE.
const APP: (&str, &str) = (
    "app.py",
    "import os\n\
     def app(environ, start):\n    start('200 OK', [])\n    \
     mine = sorted(f'{key}={value}' for key, value in os.environ.items() if key.startswith('MINE'))\n    \
     return [' '.join(mine).encode()]\n",
);

#[test]
fn rwsgi_toml_in_the_working_directory_is_the_configuration() {
    let toml = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\nworkers = 2\npidfile = 'site.pid'\nraw_env = ['MINE=1']\n";
    let files = directory(&[APP, ("rwsgi.toml", toml)]);
    let mut server = Server::spawn(rwsgi(files.path(), [""; 0]));
    assert_eq!(server.get("/").text(), "MINE=1");
    let (code, out, err) = run(files.path(), ["status"]);
    assert!(code == 0 && out.contains("2 of 2 workers ready"), "{out}{err}");
    let (_, out, _) = run(files.path(), ["settings", "-w", "3"]);
    assert!(out.contains("workers = 3  # --workers\n") && out.contains("  # rwsgi.toml:4\n"), "{out}");
    server.stop();
    // Another file that is named counts alone.
    fs::write(files.path().join("other.toml"), "backlog = 7\n").unwrap();
    let (_, out, _) = run(files.path(), ["settings", "-c", "other.toml"]);
    assert!(out.contains("backlog = 7  # other.toml:1\n") && !out.contains("rwsgi.toml"), "{out}");
}

#[test]
fn two_configurations_in_a_directory_are_an_error_and_no_verb_depends_on_them() {
    let files = directory(&[APP, ("rwsgi.toml", ""), ("gunicorn.conf.py", "")]);
    let expected = "expected one configuration file in this directory, found gunicorn.conf.py and rwsgi.toml\nhint: \
                    --config FILE names the one to read\n";
    for words in [&["app"][..], &["check", "app"], &["settings"]] {
        let (code, out, err) = run(files.path(), words);
        assert_eq!((code, out.as_str(), err.as_str()), (2, "", expected), "{words:?}");
    }
    assert_eq!(run(files.path(), ["settings", "-c", "rwsgi.toml"]).0, 0);
    let (code, _, err) = run(files.path(), ["status", "-b", "127.0.0.1:1"]);
    assert!(code == 5 && err.starts_with("expected a running server at "), "{code} {err}");
}

#[test]
fn a_rwsgi_toml_that_the_applications_user_can_change_is_refused() {
    assert!(Uid::effective().is_root(), "only root can become another user: run the tests as root");
    let files = directory(&[APP, ("rwsgi.toml", "workers = 1\n")]);
    chown(files.path().join("rwsgi.toml"), Some(NOBODY), None).unwrap();
    let (code, _, err) = run(files.path(), ["app", "-b", "127.0.0.1:0", "--user", "65534", "--group", "65534"]);
    assert!(
        code == 1 && err.contains("rwsgi.toml: expected a file that the application's user cannot change"),
        "{err}"
    );
}

fn start(home: &Path, words: &[&str]) -> Server {
    let mut command = rwsgi(home, ["app", "-b", "127.0.0.1:0", "--env-file", ".env"].iter().chain(words));
    command.env("MINE_OF_THE_SHELL", "shell");
    Server::spawn(command)
}

#[test]
fn variables_of_a_file_are_the_applications_and_read_again_by_a_reload() {
    let text = "# secrets\nexport MINE_A='a b'\nMINE_B=file\nMINE_OF_THE_SHELL=file\n";
    let files = directory(&[APP, (".env", text)]);
    let mut server = start(files.path(), &["-e", "MINE_B=flag"]);
    assert_eq!(server.get("/").text(), "MINE_A=a b MINE_B=flag MINE_OF_THE_SHELL=shell");
    fs::write(files.path().join(".env"), "MINE_C=${MINE_OF_THE_SHELL}2\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done generation=2");
    assert_eq!(server.get("/").text(), "MINE_B=flag MINE_C=shell2 MINE_OF_THE_SHELL=shell");
    // A file that is broken changes nothing, and what it contains is not shown.
    fs::write(files.path().join(".env"), "MINE_D=1\na secret\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("--env-file: .env:2: expected KEY=VALUE, found a line that is none");
    assert_eq!(server.get("/").text(), "MINE_B=flag MINE_C=shell2 MINE_OF_THE_SHELL=shell");
    let master = fs::read_to_string(format!("/proc/{}/environ", server.pid())).unwrap();
    assert!(!master.contains("MINE_C"), "the master's environment is as it was");
    assert!(!server.stop().contains("a secret"));
}

#[test]
fn a_file_of_variables_that_is_missing_ends_the_start_and_settings_show_none_of_them() {
    let files = directory(&[APP, (".env", "MINE_SECRET=xyzzy\n")]);
    let (code, _, err) = run(files.path(), ["app", "--env-file", "nowhere"]);
    assert_eq!((code, err.as_str()), (1, "--env-file: nowhere: no such file or directory\n"));
    let (code, out, _) = run(files.path(), ["settings", "--env-file", ".env"]);
    assert!(code == 0 && out.contains("env_file = \".env\"") && !out.contains("xyzzy"), "{out}");
}

#[test]
fn beside_a_configuration_in_python_variables_that_the_applications_user_can_change_are_refused() {
    assert!(Uid::effective().is_root(), "only root can become another user: run the tests as root");
    let files = directory(&[APP, (".env", "LD_PRELOAD=/tmp/x.so\n"), ("gunicorn.conf.py", "env_file = '.env'\n")]);
    chown(files.path().join(".env"), Some(NOBODY), None).unwrap();
    let mut command = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0", "--user", "65534", "--group", "65534"]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let (code, _, err) = run_command(command);
    let expected = ".env: expected a file that the application's user cannot change";
    assert!(code == 1 && err.contains("env_file") && err.contains(expected), "{code} {err}");
}
