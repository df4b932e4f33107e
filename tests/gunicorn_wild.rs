//! What configurations and applications in the wild lean on when gunicorn runs them, beside settings and hooks.

use std::fs;
use std::process::Command;

use crate::support::{Server, directory, program, root, run_command, rwsgi, virtualenv};
use tempfile::TempDir;

fn start(files: &TempDir, words: &[&str]) -> Server {
    let mut command = rwsgi(files.path(), words);
    for name in ["GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS"] {
        command.env_remove(name);
    }
    Server::spawn(command)
}

/// Middleware, a key of the application's own, and answers in one piece, in many, and by an exception.
const CHANGING: &str = r#"
class ProxyFix:
    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        client = environ.get("HTTP_X_FORWARDED_FOR")
        if client:
            environ["REMOTE_ADDR"] = client
        return self.application(environ, start_response)

def pieces(environ):
    yield b"a"
    environ["request.id"] = "set late"
    yield b"b"

def inner(environ, start_response):
    environ["request.id"] = "caf\xe9 \"1\"\n2"
    environ["request.number"] = 7
    if environ["PATH_INFO"] == "/raise":
        raise ValueError("no")
    start_response("200 OK", [])
    return pieces(environ) if environ["PATH_INFO"] == "/pieces" else [b"whole"]

application = ProxyFix(inner)
"#;

#[test]
fn the_access_log_reads_the_environ_as_the_application_has_left_it() {
    let files = directory(&[("changing.py", CHANGING)]);
    let format = "%(h)s %(U)s %({request.id}e)s %({REQUEST.NUMBER}e)s %({nothing}e)s %({wsgi.url_scheme}e)s";
    for threads in ["1", "3"] {
        let mut server = Server::start_in(
            files.path(),
            &["changing", "--access-logfile", "log", "--access-logformat", format, "--threads", threads],
        );
        let ask = |path: &str, more: &str| {
            server.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n")).status
        };
        assert_eq!(ask("/whole", "X-Forwarded-For: 203.0.113.7\r\n"), 200);
        assert_eq!(ask("/pieces", "X-Forwarded-For: 2001:db8::7\r\n"), 200);
        assert_eq!(ask("/raise", "X-Forwarded-For: a\tb\r\n"), 500);
        assert_eq!(ask("/plain", ""), 200);
        assert_eq!(server.ask("GET /refused HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n").status, 400);
        server.stop();
        let log = fs::read_to_string(files.path().join("log")).unwrap();
        let own = r#"caf\xe9 \"1\"\x0a2"#;
        let mut expected = [
            format!("203.0.113.7 /whole {own} 7 - http"),
            "2001:db8::7 /pieces set late 7 - http".to_owned(),
            format!(r"a\x09b /raise {own} 7 - http"),
            format!("127.0.0.1 /plain {own} 7 - http"),
            "127.0.0.1 /refused - - - -".to_owned(),
        ];
        // With threads, a line may be written after that of the next request.
        let mut lines: Vec<_> = log.lines().collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
        fs::remove_file(files.path().join("log")).unwrap();
    }
}

#[test]
fn names_of_scheme_headers_match_in_whatever_case_they_are_spelled() {
    let app =
        "def application(environ, start):\n    start('200 OK', [])\n    return [environ['wsgi.url_scheme'].encode()]\n";
    let conf = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\nsecure_scheme_headers = {'X-Forwarded-Proto': 'https'}\n";
    let files = directory(&[("app.py", app), ("gunicorn.conf.py", conf)]);
    let server = start(&files, &[]);
    for name in ["X-Forwarded-Proto", "X-FORWARDED-PROTO", "x-forwarded-proto"] {
        let answer = server.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: https\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.text(), "https", "{name}");
    }
}

#[test]
fn the_access_log_says_nothing_that_the_application_has_removed_from_the_environ() {
    let app = "
def application(environ, start_response):
    if environ['PATH_INFO'] != '/as-it-came':
        environ['RAW_URI'] = '/login?token=x'
        environ['QUERY_STRING'] = 'token=x'
        environ.pop('HTTP_USER_AGENT')
        environ['REQUEST_METHOD'] = 'got\\n'
    start_response('200 OK', [])
    return [b'']
";
    let files = directory(&[("scrubs.py", app)]);
    let words = ["scrubs", "--access-logfile", "log", "--access-logformat", "%(r)s|%(m)s %(q)s %(H)s %(f)s %(a)s"];
    let mut server = Server::start_in(files.path(), &words);
    for path in ["/login?token=secret", "/as-it-came?a=%20b"] {
        server.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: curl\r\nConnection: close\r\n\r\n"));
    }
    server.ask("GET /refused?c HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n");
    server.stop();
    let log = fs::read_to_string(files.path().join("log")).unwrap();
    let expected = [
        r"got\x0a /login?token=x HTTP/1.1|got\x0a token=x HTTP/1.1 - -",
        "GET /as-it-came?a=%20b HTTP/1.1|GET a=%20b HTTP/1.1 - curl",
        "GET /refused?c HTTP/1.1|GET c HTTP/1.1 - -",
    ];
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn relative_paths_count_from_chdir_and_that_of_the_file_does_not() {
    let app = "def application(environ, start):\n    start('200 OK', [])\n    return [b'found']\n";
    let conf = "wsgi_app = 'app'\nbind = '127.0.0.1:0'\nchdir = 'site'\npidfile = 'run/pid'\nerrorlog = '-'\naccesslog = 'access.log'\n";
    let files = directory(&[("site/app.py", app), ("site/run/.keep", ""), ("conf/gunicorn.conf.py", conf)]);
    let mut server = start(&files, &["-c", "conf/gunicorn.conf.py"]);
    assert_eq!(server.get("/").text(), "found");
    let pid = fs::read_to_string(files.path().join("site/run/pid")).unwrap();
    assert_eq!(pid.trim(), server.pid().to_string());
    let (code, _, log) = run_command(rwsgi(files.path(), ["status", "-c", "conf/gunicorn.conf.py"]));
    assert_eq!(code, 0, "{log}");
    server.stop();
    assert!(!fs::read_to_string(files.path().join("site/access.log")).unwrap().is_empty());
}

#[test]
fn variables_set_in_the_file_or_in_a_hook_reach_the_import_of_the_application() {
    let app = r#"
import os
SEEN = "|".join(os.environ.get(name, "-") for name in ("FROM_FILE", "FROM_STARTING", "FROM_FORK"))
def application(environ, start_response):
    start_response("200 OK", [])
    return [SEEN.encode()]
"#;
    let conf = r#"
import os
wsgi_app = "app"
bind = "127.0.0.1:0"
os.environ["FROM_FILE"] = "file"
def on_starting(server):
    os.environ["FROM_STARTING"] = "starting"
def post_fork(server, worker):
    os.environ["FROM_FORK"] = "fork"
"#;
    let files = directory(&[("app.py", app), ("gunicorn.conf.py", conf)]);
    assert_eq!(start(&files, &[]).get("/").text(), "file|starting|fork");
    // As under gunicorn, which loads it before that hook.
    assert_eq!(start(&files, &["--preload"]).get("/").text(), "file|-|-");
}

#[test]
fn python_m_rwsgi_is_rwsgi_with_this_python() {
    let app = r#"
import rwsgi, sys
def application(environ, start_response):
    start_response("200 OK", [])
    return [("%s %s" % (sys.prefix, rwsgi.RequestTimeout.__module__)).encode()]
"#;
    let files = directory(&[("app.py", app)]);
    let package = root().join("packaging/python");
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let python = |words: &[&str]| {
        let mut command = Command::new(virtualenv().join("bin/python"));
        command.args(words).current_dir(files.path()).env("PYTHONPATH", &package).env("PATH", &path);
        for name in ["VIRTUAL_ENV", "RWSGI_TEST_PROGRAM", "RWSGI_TEST_VENV", "RWSGI_BUILD_ID", "RWSGI_ENGINE_FILE"] {
            command.env_remove(name);
        }
        command
    };
    let mut server = Server::spawn(python(&["-m", "rwsgi", "app", "-b", "127.0.0.1:0"]));
    let prefix = fs::canonicalize(virtualenv()).unwrap();
    let answer = server.get("/").text();
    let (found, module) = answer.rsplit_once(' ').unwrap();
    assert_eq!((fs::canonicalize(found).unwrap(), module), (prefix, "rwsgi"));
    server.stop();
    let (code, out, log) = run_command(python(&["-m", "rwsgi", "--version"]));
    assert_eq!(code, 0, "{log}");
    assert!(out.contains(env!("CARGO_PKG_VERSION")), "{out}");
    // Without the program there are words.
    let mut lost = python(&["-m", "rwsgi"]);
    lost.env("PATH", "/nowhere");
    let (code, _, log) = run_command(lost);
    assert_eq!(code, 1, "{log}");
    assert!(log.starts_with("rwsgi: expected the program in "), "{log}");
}
