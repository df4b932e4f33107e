//! Settings as configurations of gunicorn in the wild have them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::outside::bare_virtualenv;
use crate::support::{Server, directory, run, rwsgi};

/// The settings that the program prints, without an error, and its warnings.
fn settings(files: &TempDir, words: &[&str]) -> (String, String) {
    let (code, out, err) = run(files.path(), [&["settings", "app"], words].concat());
    assert_eq!(code, 0, "{words:?}\n{err}");
    (out, err)
}

const APP: &str = "def application(environ, start_response):\n    start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n";

#[test]
fn levels_that_gunicorn_does_not_know_mean_info_as_there() {
    let files = directory(&[("app.py", APP)]);
    for (level, meant) in [("warn", "warning"), ("FATAL", "critical"), ("trace", "debug"), ("notset", "debug")] {
        let (out, err) = settings(&files, &["--log-level", level]);
        assert!(out.contains("\nloglevel = \"info\"  # --log-level\n"), "{out}");
        assert_eq!(err, format!("warning: --log-level: {level} means info, as in gunicorn; the level is {meant}\n"));
    }
}

#[test]
fn settings_of_tls_are_judged_only_where_there_is_tls() {
    let conf =
        "ciphers = 'TLSv1'\nssl_version = 99\ncert_reqs = 7\ndef ssl_context(config, factory):\n    return factory()\n";
    let files = directory(&[("app.py", APP), ("gunicorn.conf.py", conf)]);
    let (_, err) = settings(&files, &[]);
    for line in ["1: ciphers", "2: ssl_version", "3: cert_reqs", "4: ssl_context"] {
        assert!(err.contains(&format!("warning: gunicorn.conf.py:{line}: not read without certfile\n")), "{err}");
    }
    let server = Server::start_in(files.path(), &["app"]);
    assert_eq!(server.get("/").text(), "ok");
    let (code, _, err) = run(files.path(), ["settings", "app", "--certfile", "cert.pem"]);
    assert!(code == 1 && err.contains("4: ssl_context: this setting of gunicorn is not planned"), "{err}");
}

#[test]
fn a_file_whose_name_does_not_tell_is_python_unless_it_is_toml() {
    let python = "import os\nworkers = 1 + 1\nlogfile = '-'\n";
    let files = directory(&[("app.py", APP), ("gunicorn.ini", python), ("conf", python), ("as_toml", "workers = 3\n")]);
    fs::write(files.path().join("gunicorn.conf"), format!("workers = 2\n{python}")).unwrap();
    for (name, line) in [("gunicorn.ini", 1), ("conf", 1), ("gunicorn.conf", 2)] {
        let (out, err) = settings(&files, &["-c", name]);
        assert!(out.contains("\nworkers = 2  # ") && out.contains(&format!("# {name}:")), "{out}");
        let said = format!("warning: --config: {name}: read as Python, because line {line} is not TOML; ");
        assert!(err.contains(&said), "{err}");
        let mut command = rwsgi(files.path(), ["app", "-c", name, "-b", "127.0.0.1:0"]);
        command.env_remove("GUNICORN_CMD_ARGS");
        let server = Server::spawn(command);
        assert_eq!((server.get("/").text(), server.workers().len()), ("ok".to_owned(), 2));
    }
    let (out, err) = settings(&files, &["-c", "as_toml"]);
    assert!(out.contains("\nworkers = 3  # as_toml:1\n") && err.is_empty(), "{out}{err}");
    fs::write(files.path().join("broken.toml"), python).unwrap();
    let (code, _, err) = run(files.path(), ["settings", "app", "-c", "broken.toml"]);
    assert!(code == 1 && err.contains("broken.toml:1: not valid TOML"), "{err}");
}

#[test]
fn entries_of_pythonpath_are_made_absolute_as_gunicorn_makes_them() {
    let shows = "import sys\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
                 return [repr([p for p in sys.path if 'lib' in p.rsplit('/', 1)[-1]]).encode()]\n";
    let files = directory(&[("shows.py", shows)]);
    let whole = fs::canonicalize(files.path()).unwrap();
    fs::create_dir_all(files.path().join("site")).unwrap();
    let server =
        Server::start_in(files.path(), &["shows", "--pythonpath", "./site/../mylib,mylib,site/./lib/", "-w", "1"]);
    let expected = format!("['{0}/site/lib', '{0}/mylib'", whole.display());
    assert!(server.get("/").text().starts_with(&expected), "{}", server.get("/").text());
}

#[test]
fn two_servers_share_a_port_if_both_ask_for_it() {
    let files = directory(&[("app.py", APP)]);
    let mut first = Server::start_in(files.path(), &["app", "--reuse-port"]);
    let address = first.address().to_owned();
    let second = Server::start_in(files.path(), &["app", "--reuse-port", "-b", &address]);
    assert_eq!(second.address(), address);
    first.stop();
    for _ in 0..20 {
        assert_eq!(second.get("/").text(), "ok");
    }
}

#[test]
fn a_port_in_use_is_tried_five_times_over_five_seconds() {
    let files = directory(&[("app.py", APP)]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let words = ["app", "-b", &address.to_string()];
    let began = Instant::now();
    let (code, _, log) = run(files.path(), words);
    assert_eq!(code, 1, "{log}");
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    let in_use = format!("[ERROR] Connection in use: ('127.0.0.1', {}) attempt=", address.port());
    assert_eq!(log.matches(&in_use).count(), 5, "{log}");
    assert!(log.contains("address already in use\nhint: "), "{log}");
    // The server before ends meanwhile.
    let mut child = rwsgi(files.path(), words).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = |text: &str| lines.find(|line| line.as_ref().unwrap().contains(text)).is_some();
    assert!(seen("attempt=2"));
    drop(taken);
    assert!(seen("worker ready"));
    assert!(TcpStream::connect(address).is_ok());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    // A stop is obeyed at once.
    let _taken = TcpListener::bind(address).unwrap();
    let mut child = rwsgi(files.path(), words).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("attempt=1")));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!lines.any(|line| line.unwrap().contains("attempt=3")));
}

#[test]
fn an_application_imports_gunicorn_without_a_configuration_file_and_without_the_package() {
    let app = "import sys\nBEFORE = 'gunicorn' in sys.modules\nimport gunicorn.glogging\nfrom gunicorn.http.errors import ParseException\n\
               def application(environ, start_response):\n    start_response('200 OK', [])\n    \
               return [repr((BEFORE, gunicorn.SERVER, gunicorn.__spec__.origin, environ['wsgi.multithread'])).encode()]\n";
    let files = directory(&[("app.py", app)]);
    // An interpreter without the tests' packages.
    bare_virtualenv(files.path(), "bare");
    for (threads, several) in [("1", "False"), ("2", "True")] {
        let words = ["app", "--python", "bare", "-k", "gthread", "--threads", threads];
        let server = Server::start_in(files.path(), &words);
        assert_eq!(server.get("/").text(), format!("(False, 'gunicorn', 'rwsgi', {several})"));
    }
}

#[test]
fn the_names_that_a_configuration_gives_the_server_are_its_names() {
    let app = "def application(environ, start_response):\n    own = [('Server', 'own')] if environ['PATH_INFO'] == '/own' else []\n    \
               start_response('200 OK', own)\n    return [environ['SERVER_SOFTWARE'].encode()]\n";
    let own = concat!("rwsgi/", env!("CARGO_PKG_VERSION"));
    for (conf, server, software) in [
        ("import gunicorn\ngunicorn.SERVER = 'hidden'\n", "hidden", own),
        ("import gunicorn\ngunicorn.SERVER_SOFTWARE = 'secret/1'\n", "secret/1", "secret/1"),
        ("import gunicorn\n", "rwsgi", own),
    ] {
        let files = directory(&[("app.py", app), ("gunicorn.conf.py", conf)]);
        let running = Server::start_in(files.path(), &["app"]);
        let response = running.get("/");
        assert_eq!((response.field("server"), response.text().as_str()), (Some(server), software), "{conf}");
        assert_eq!(running.get("/own").field("server"), Some("own"));
    }
}
