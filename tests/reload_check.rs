//! New code that is tried by requests before it replaces old code: by a reload, and by `rwsgi check`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{Gate, Server, directory, run};

/// A site whose view is imported with its first request.
const DJANGO: [(&str, &str); 2] = [
    (
        "site_of_django.py",
        r#"
from django.conf import settings

console = {"handlers": {"console": {"class": "logging.StreamHandler"}}, "version": 1}
console["loggers"] = {"django.request": {"handlers": ["console"]}}
settings.configure(ROOT_URLCONF="addresses", ALLOWED_HOSTS=["*"], SECRET_KEY="test", LOGGING=console)

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"#,
    ),
    (
        "addresses.py",
        r#"
from django.http import HttpResponse
from django.urls import path
import views

urlpatterns = [path("polls/", lambda request: HttpResponse(views.page()))]
"#,
    ),
];
const FLASK: [(&str, &str); 1] = [(
    "site_of_flask.py",
    r#"
from flask import Flask

application = Flask(__name__)


@application.route("/polls/")
def polls():
    import views

    return views.page()
"#,
)];
const VIEWS: &str = "def page():\n    return 'first'\n";
const BROKEN: &str = "def page(:\n    return 'broken'\n";

/// Asks for a page until told to end; every answer is the same.
fn ask_on(server: &Server, is_over: &AtomicBool, text: &str) -> usize {
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) || count == 0 {
        let response = server.get("/polls/");
        assert_eq!((response.status, response.text().as_str()), (200, text), "{}", server.log());
        count += 1;
    }
    count
}

fn refuses_broken_code(files: &[(&str, &str)], app: &str, more: &[&str]) {
    let site = directory(&[files, &[("views.py", VIEWS)]].concat());
    let write = |text: &str| fs::write(site.path().join("views.py"), text).unwrap();
    let control = ["--control-socket", "control"];
    let words = [&["-w", "1", "--reload-check", "/polls/"], &control[..], more, &[app]].concat();
    let server = Server::start_in(site.path(), &words);
    let reload = || run(site.path(), [&["reload", "--wait"][..], &control].concat());
    let is_over = AtomicBool::new(false);
    // The worker imports its views before they are broken.
    assert_eq!(server.get("/polls/").text(), "first");
    write(BROKEN);
    let asked = thread::scope(|scope| {
        let client = scope.spawn(|| ask_on(&server, &is_over, "first"));
        let (code, out, err) = reload();
        is_over.store(true, Ordering::Relaxed);
        let asked = client.join().unwrap();
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        let why = "reload_check: expected a status below 500 for GET /polls/ of localhost, found 500\nhint: ";
        assert!(err.starts_with(why), "{err}");
        assert!(err.ends_with("nothing has changed: generation 1 serves on with 1 worker\n"), "{err}");
        asked
    });
    assert!(asked > 0);
    server.wait_for("SyntaxError");
    server.wait_for("def page(:");
    write(&VIEWS.replace("first", "second"));
    assert_eq!(reload(), (0, "generation 3 serves\n".to_owned(), String::new()), "{}", server.log());
    assert_eq!(server.get("/polls/").text(), "second");
    server.wait_for("application tried path=/polls/ host=localhost status=200");
}

#[test]
fn a_view_that_django_imports_late_is_tried_before_it_serves() {
    refuses_broken_code(&DJANGO, "site_of_django", &[]);
    refuses_broken_code(&DJANGO, "site_of_django", &["--preload"]);
}

#[test]
fn a_view_that_flask_imports_late_is_tried_before_it_serves() {
    refuses_broken_code(&FLASK, "site_of_flask", &[]);
    refuses_broken_code(&FLASK, "site_of_flask", &["--preload"]);
}

#[test]
fn the_start_of_a_server_and_replaced_workers_are_not_tried() {
    let site = directory(&[&FLASK[..], &[("views.py", BROKEN)]].concat());
    let words = ["-w", "1", "--reload-check", "/polls/", "--max-requests", "1", "site_of_flask"];
    let server = Server::start_in(site.path(), &words);
    assert_eq!(server.get("/polls/").status, 500);
    server.wait_for_lines("Booting worker", 2);
    assert_eq!(server.get("/polls/").status, 500);
    assert!(!server.log().contains("reload_check"), "{}", server.log());
}

/// Answers once the file beside it is there.
const SLOW: &str = r#"
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/gate":
        os.close(os.open("gate", os.O_RDONLY))
    start_response("200 OK", [])
    return [b"fine"]
"#;

#[test]
fn no_answer_in_time_fails_the_reload() {
    let site = directory(&[("slow.py", SLOW)]);
    let gate = Gate::closed(site.path().join("gate"));
    let control = ["--control-socket", "control"];
    let words = [&["-w", "1", "--boot-timeout", "2", "--reload-check", "/gate"], &control[..], &["slow"]].concat();
    let server = Server::start_in(site.path(), &words);
    let (code, out, err) = run(site.path(), [&["reload", "--wait"][..], &control].concat());
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    server.wait_for("slow.py\", line 6 in application");
    assert_eq!(server.get("/").text(), "fine");
    drop(gate);
}

fn check(site: &Path, words: &[&str]) -> (i32, String, String) {
    run(site, [&["check"], words].concat())
}

#[test]
fn check_makes_requests_without_a_server() {
    let site = directory(&[&FLASK[..], &[("views.py", BROKEN)]].concat());
    let (code, out, err) = check(site.path(), &["--request", "/polls/", "site_of_flask"]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("SyntaxError"), "{err}");
    let why = "reload_check: expected a status below 500 for GET /polls/ of localhost, found 500\nhint: ";
    assert!(err.contains(why), "{err}");
    fs::write(site.path().join("views.py"), VIEWS).unwrap();
    for words in [&["--request", "/polls/,/", "site_of_flask"][..], &["site_of_flask"]] {
        let (code, out, err) = check(site.path(), words);
        assert_eq!((code, out.as_str()), (0, "configuration and application are sound\n"), "{err}");
    }
}

#[test]
fn a_warm_up_that_is_required_ends_the_start() {
    let site = directory(&[&FLASK[..], &[("views.py", BROKEN)]].concat());
    let words = ["--preload", "--warmup", "/polls/", "--warmup-required", "-b", "127.0.0.1:0", "site_of_flask"];
    let (code, _, err) = run(site.path(), words);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("warmup: expected a status below 500 for GET /polls/ of localhost, found 500"), "{err}");
}
