//! Requests that are made before workers are forked.

use crate::support::{self, Server, directory, run, virtualenv};

/// Counts its requests in the process; the first one takes part of what it makes from what it found.
const COUNTING: &str = r#"
import os
served = []

def application(environ, start_response):
    found = [environ[key] for key in ("wsgi.url_scheme", "HTTP_HOST", "PATH_INFO", "QUERY_STRING")]
    served.append("{}://{}{}?{}".format(*found))
    if environ["PATH_INFO"] == "/boom":
        raise RuntimeError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    # Much more than a socket that nobody reads would take.
    return [f"{os.getpid()} {len(served)} {served[0]} {served[-1]}\n".encode()] + [b" " * 100_000] * 30
"#;

#[test]
fn an_application_is_warm_when_its_workers_are_forked() {
    let files = directory(&[("counting.py", COUNTING)]);
    let words = ["--preload", "--warmup", "/a?b=c,https://www.example.com:444/d", "-w", "2", "counting"];
    let server = Server::start_in(files.path(), &words);
    server.wait_for("application warmed up path=/a query=\"b=c\" host=localhost status=200");
    server.wait_for("application warmed up path=/d host=www.example.com:444 status=200");
    let text = server.get("/now").text();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words[1..], ["41", "http://localhost/a?b=c", "http://test/now?"], "{text}");
}

#[test]
fn a_warm_up_that_fails_is_said_and_the_server_starts() {
    let files = directory(&[("counting.py", COUNTING)]);
    let server = Server::start_in(files.path(), &["--preload", "--warmup", "/boom", "counting"]);
    server.wait_for("warm-up request failed, the server starts anyway");
    server.wait_for("RuntimeError: on purpose");
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.log().matches("RuntimeError: on purpose").count(), 1, "{}", server.log());
}

#[test]
fn without_preload_there_is_nothing_to_warm_up() {
    let files = directory(&[("counting.py", COUNTING)]);
    let server = Server::start_in(files.path(), &["--warmup", "/a", "counting"]);
    assert!(server.get("/now").text().contains(" 1 http://test/now?"));
}

#[test]
fn django_is_warmed_up() {
    let site = support::root().join("examples/django");
    let database = tempfile::tempdir().unwrap();
    let mut migrate = std::process::Command::new(virtualenv().join("bin/python"));
    migrate.arg(site.join("manage.py")).args(["migrate", "--verbosity", "0"]);
    let path = database.path().join("db.sqlite3");
    assert!(migrate.env("DJANGO_DB", &path).status().unwrap().success());
    let words = ["--preload", "--warmup", "/polls/", "-w", "2", "-b", "127.0.0.1:0", "mysite.wsgi"];
    let mut command = support::rwsgi(&site, words);
    command.env("DJANGO_DB", &path);
    let server = Server::spawn(command);
    server.wait_for("application warmed up path=/polls/ host=localhost status=200");
    assert_eq!(server.ask("GET /polls/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").status, 200);
}

#[test]
fn a_warm_up_without_preload_app_is_said_not_to_be_done() {
    let files = directory(&[("counting.py", COUNTING)]);
    let (code, _, said) = run(files.path(), ["check", "--warmup", "/a", "counting"]);
    assert_eq!(code, 0, "{said}");
    let remark = "warning: --warmup: no effect without preload_app, which loads the application before the fork\n";
    assert!(said.contains(remark), "{said}");
}
