//! The Django example, as it is shipped, directly and behind nginx with the example's own nginx.conf.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::outside::{Nginx, ask, connect, curl, python, run_tool, tool};
use crate::support::{Response, Server, apps, limit, root, rwsgi};

/// The example, served by rwsgi over TCP and a unix socket, and nginx in front of both.
struct Site {
    nginx: Nginx,
    server: Server,
    directory: TempDir,
}

impl Site {
    fn start() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("polls.sqlite3");
        fs::write(&database, migrated()).unwrap();
        let mut command = rwsgi(&example(), ["--config", "app.toml"]);
        command.env("DJANGO_DB", database);
        Site::of(command, directory)
    }

    /// A site of one of the tests' applications.
    fn serving(application: &str) -> Site {
        Site::of(rwsgi(&apps(), ["-w", "2", application]), tempfile::tempdir().unwrap())
    }

    fn of(mut command: Command, directory: TempDir) -> Site {
        let socket = format!("unix:{}/rwsgi.sock", directory.path().display());
        // The example's own pid file is there once, for one server at a time.
        command.args(["-b", "127.0.0.1:0", "-b", &socket, "--pid"]).arg(directory.path().join("rwsgi.pid"));
        let server = Server::spawn(command);
        assert_eq!(server.workers().len(), 2, "{}", server.log());
        let configuration = fs::read_to_string(example().join("nginx.conf")).unwrap();
        let nginx = Nginx::start(directory.path(), &configuration.replace("127.0.0.1:8000", server.address()));
        Site { nginx, server, directory }
    }

    /// The names and ports of all ways to the application.
    fn ways(&self) -> Vec<(&'static str, u16)> {
        let behind = ["TCP, connections kept", "TCP", "unix socket, connections kept", "unix socket"];
        assert_eq!(self.nginx.ports().len(), behind.len());
        let behind = behind.into_iter().zip(self.nginx.ports().iter().copied());
        std::iter::once(("direct", self.server.port())).chain(behind).collect()
    }

    /// What the database holds, by the statement's first column of its first row.
    fn number(&self, statement: &str) -> u64 {
        let ask = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
        let database = self.directory.path().join("polls.sqlite3");
        run_tool(python(["-c", ask]).arg(database).arg(statement)).trim().parse().unwrap()
    }

    /// Everything ends as it should, and nothing is left.
    fn stop(mut self) {
        self.nginx.stop();
        let log = self.server.stop();
        assert!(!log.contains("ERROR") && !log.contains("Traceback"), "{log}");
        assert!(!self.directory.path().join("rwsgi.sock").exists(), "the unix socket is left behind");
    }
}

fn example() -> PathBuf {
    root().join("examples/django")
}

/// A migrated database with the example's first questions.
fn migrated() -> &'static [u8] {
    static DATABASE: OnceLock<Vec<u8>> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("polls.sqlite3");
        run_tool(manage(["migrate", "--verbosity", "0"]).env("DJANGO_DB", &path));
        fs::read(path).unwrap()
    })
}

fn manage<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = python(["manage.py"]);
    command.args(words).current_dir(example());
    command
}

#[test]
fn every_way_bears_hundreds_of_requests_without_a_failure() {
    let site = Site::start();
    for (way, port) in site.ways() {
        check_load(way, port, &[]);
    }
    let report = check_load("direct, connections kept", site.server.port(), &["-k"]);
    assert_eq!(figure(&report, "Keep-Alive requests:"), Some(REQUESTS), "{report}");
    site.stop();
}

/// Eight clients ask for the list of questions.
fn check_load(way: &str, port: u16, options: &[&str]) -> String {
    let url = format!("http://127.0.0.1:{port}/polls/");
    let (requests, patience) = (REQUESTS.to_string(), limit().as_secs().to_string());
    let mut ab = tool("ab", ["-q", "-c", "8", "-n", &requests, "-s", &patience]);
    let report = run_tool(ab.args(options).arg(url));
    assert_eq!(figure(&report, "Complete requests:"), Some(REQUESTS), "{way}\n{report}");
    assert_eq!(figure(&report, "Failed requests:"), Some(0), "{way}\n{report}");
    for unwanted in ["Non-2xx responses:", "Write errors:"] {
        assert_eq!(figure(&report, unwanted), None, "{way}\n{report}");
    }
    report
}

/// How many each way: for each client some dozens, and quickly done by a slow machine.
const REQUESTS: u64 = 400;

/// A figure of ab's report.
fn figure(report: &str, name: &str) -> Option<u64> {
    report.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().parse().unwrap())
}

#[test]
fn every_page_is_the_one_that_djangos_own_test_client_gets() {
    let site = Site::start();
    for (path, expected) in PAGES.iter().zip(site.expected_pages()) {
        for (way, port) in site.ways() {
            for version in ["1.0", "1.1"] {
                let found = get(port, version, path);
                assert_eq!(Page::of(&found), expected, "{way}, HTTP/{version}, {path}");
            }
        }
    }
    site.stop();
}

/// Pages, redirects, errors, files: what the site has to show.
const PAGES: [&str; 16] = [
    "/",
    "/polls",
    "/polls/",
    "/polls/?page=2&q=%C3%A4+b",
    "/polls/1/",
    "/polls/3/",
    "/polls/3/results/",
    "/polls/1/vote/",
    "/polls/999/",
    "/no/such/page",
    "/p%C3%B6lls/%E2%82%AC%20/",
    "/admin/",
    "/admin/login/?next=/admin/",
    "/static/admin/css/base.css",
    "/static/admin/img/search.svg",
    "/static/admin/no.css",
];

impl Site {
    fn expected_pages(&self) -> Vec<Page> {
        let database = self.directory.path().join("polls.sqlite3");
        let script = root().join("tests/django_pages.py");
        let told = run_tool(python([script]).args(PAGES).current_dir(example()).env("DJANGO_DB", database));
        let pages: Vec<Value> = serde_json::from_str(&told).unwrap();
        assert_eq!(pages.len(), PAGES.len());
        pages.iter().map(Page::of_django).collect()
    }
}

/// What of a response is Django's, but for tokens, which are different each time.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    status: String,
    fields: Vec<(String, String)>,
    body: String,
}

impl Page {
    fn of(response: &Response) -> Page {
        let mut lines = response.head.trim_end().lines();
        let status = lines.next().unwrap().split_once(' ').unwrap().1.to_owned();
        let fields = lines.map(|line| line.split_once(": ").unwrap());
        let fields = fields.filter(|(name, _)| !["Server", "Date", "Connection"].contains(name));
        let body: String = response.body.iter().copied().map(char::from).collect();
        Page::new(status, fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(), &body)
    }

    fn of_django(told: &Value) -> Page {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let fields = told["fields"].as_array().unwrap();
        let fields = fields.iter().map(|field| (text(&field[0]).to_ascii_lowercase(), text(&field[1])));
        Page::new(text(&told["status"]), fields.collect(), told["body"].as_str().unwrap())
    }

    fn new(status: String, mut fields: Vec<(String, String)>, body: &str) -> Page {
        // Django leaves the length of a response without a page to the server.
        fields.retain(|field| *field != ("content-length".to_owned(), "0".to_owned()));
        for (name, value) in &mut fields {
            if name == "expires" {
                // Where a page is never to be kept, it is the time of the answer.
                value.clear();
            }
            *value = masked(&masked(value, "csrftoken=", ';'), "expires=", ';');
        }
        fields.sort();
        Page { status, fields, body: masked(body, CSRF_FIELD, '"') }
    }
}

/// The text with all that stands between `start` and `end` replaced.
fn masked(text: &str, start: &str, end: char) -> String {
    let mut parts = text.split(start);
    let mut masked = parts.next().unwrap().to_owned();
    for part in parts {
        let rest = part.find(end).unwrap_or(part.len());
        masked.extend([start, "***", &part[rest..]]);
    }
    masked
}

const CSRF_FIELD: &str = "name=\"csrfmiddlewaretoken\" value=\"";

fn get(port: u16, version: &str, path: &str) -> Response {
    ask(port, format!("GET {path} HTTP/{version}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_vote_posted_through_every_way_counts_once_and_leads_to_the_results() {
    let site = Site::start();
    for (already, (way, port)) in (0..).zip(site.ways()) {
        assert_eq!(site.number("SELECT votes FROM polls_choice WHERE id = 2"), already, "{way}");
        let form = Form::fetched(&site, port);
        let answer = form.post("choice=2", &form.token);
        assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{way}\n{answer}");
        assert!(answer.contains("\r\nLocation: /polls/1/results/\r\n"), "{way}\n{answer}");
        let results = get(port, "1.1", "/polls/1/results/").text();
        let count = already + 1;
        let shown = format!("Spaces <span class=\"count\">{count} vote{}</span>", if count == 1 { "" } else { "s" });
        assert!(results.contains(&shown), "{way}\n{results}");

        let forged = form.post("choice=2", &"x".repeat(form.token.len()));
        assert!(forged.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{way}\n{forged}");
        let nothing = form.post("choice=none", &form.token);
        assert!(nothing.starts_with("HTTP/1.1 200 OK\r\n") && nothing.contains("Please choose"), "{way}\n{nothing}");
    }
    assert_eq!(site.number("SELECT sum(votes) FROM polls_choice"), 5);
    site.stop();
}

#[test]
fn votes_posted_at_the_same_time_all_count() {
    let site = Site::start();
    let (_, port) = site.ways()[3];
    let form = Form::fetched(&site, port);
    let posted = site.directory.path().join("posted");
    fs::write(&posted, format!("choice=1&csrfmiddlewaretoken={}", form.token)).unwrap();
    let cookie = fs::read_to_string(&form.cookies).unwrap();
    let cookie = format!("csrftoken={}", cookie.rsplit('\t').next().unwrap().trim());
    let patience = limit().as_secs().to_string();
    let kind = "application/x-www-form-urlencoded";
    let mut ab = tool("ab", ["-q", "-c", "8", "-n", "100", "-s", &patience, "-T", kind]);
    let report = run_tool(ab.arg("-p").arg(posted).args(["-C", &cookie, &form.action]));
    assert_eq!(figure(&report, "Failed requests:"), Some(0), "{report}");
    assert_eq!(site.number("SELECT votes FROM polls_choice WHERE id = 1"), 100, "{report}");
    site.stop();
}

/// A question's form as a browser has it: with the cookie and the token that belong together.
struct Form {
    action: String,
    cookies: PathBuf,
    token: String,
}

impl Form {
    fn fetched(site: &Site, port: u16) -> Form {
        let url = format!("http://127.0.0.1:{port}/polls/1/");
        let cookies = site.directory.path().join(format!("cookies-{port}"));
        let page = curl(["-c".as_ref(), cookies.as_os_str(), url.as_ref()]);
        let token = page.split_once(CSRF_FIELD).unwrap().1.split('"').next().unwrap().to_owned();
        Form { action: format!("{url}vote/"), cookies, token }
    }

    fn post(&self, choice: &str, token: &str) -> String {
        let token = format!("csrfmiddlewaretoken={token}");
        let cookies = self.cookies.to_str().unwrap();
        curl(["-i", "-b", cookies, "-d", choice, "--data-urlencode", &token, &self.action])
    }
}

#[test]
fn a_head_request_gets_the_head_of_the_page_and_no_body() {
    let site = Site::start();
    for path in ["/polls/", "/polls/999/", "/", "/static/admin/css/base.css"] {
        for (way, port) in site.ways() {
            let page = Page::of(&get(port, "1.1", path));
            let mut stream = connect(port);
            write!(stream, "HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").unwrap();
            let head = Response::read_head(&mut stream).unwrap();
            let mut body = Vec::new();
            stream.read_to_end(&mut body).unwrap();
            assert!(body.is_empty(), "{way}, {path}: {}", body.escape_ascii());
            let found = Page::of(&Response { status: 0, head, body });
            assert_eq!((&found.status, &found.fields), (&page.status, &page.fields), "{way}, {path}");
        }
    }
    site.stop();
}

#[test]
fn a_file_that_has_not_changed_is_not_sent_again() {
    let site = Site::start();
    let path = "/static/admin/css/base.css";
    for (way, port) in site.ways() {
        let whole = get(port, "1.1", path);
        let modified = whole.field("last-modified").unwrap();
        let mut stream = connect(port);
        let fields = format!("Host: 127.0.0.1:{port}\r\nIf-Modified-Since: {modified}");
        // On one connection: a 304 has no body, whatever its fields say, and the next response follows at once.
        for _ in 0..2 {
            write!(stream, "GET {path} HTTP/1.1\r\n{fields}\r\n\r\n").unwrap();
            let unchanged = Response::read(&mut stream).unwrap();
            assert_eq!(unchanged.status, 304, "{way}\n{}", unchanged.head);
        }
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
        assert_eq!(Response::read(&mut stream).unwrap().body, whole.body, "{way}");
        let since_long = ask(
            port,
            format!(
                "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
            ),
        );
        assert_eq!((since_long.status, since_long.body), (200, whole.body.clone()), "{way}");
    }
    site.stop();
}

#[test]
fn two_mebibytes_arrive_whole_through_every_way() {
    let site = Site::serving("echo");
    let file = site.directory.path().join("upload");
    // Every byte value, and no period that a buffer's size could hide.
    let bytes: Vec<u8> = (0..2_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    fs::write(&file, &bytes).unwrap();
    let digest = run_tool(tool("sha256sum", ["-b"]).arg(&file)).split(' ').next().unwrap().to_owned();
    let upload = format!("@{}", file.display());
    let file = file.to_str().unwrap();
    let kinds: [&[&str]; 4] = [
        &["--data-binary", &upload],
        &["-T", file],
        &["-T", file, "-H", "Transfer-Encoding: chunked"],
        &["-T", file, "-H", "Expect:"],
    ];
    for (way, port) in site.ways() {
        for kind in kinds {
            let url = format!("http://127.0.0.1:{port}/?piece=10000");
            let told = curl(kind.iter().copied().chain([url.as_str()]));
            let told: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(
                (told["length"].as_u64(), told["sha256"].as_str()),
                (Some(2 << 20), Some(&*digest)),
                "{way}, {kind:?}"
            );
        }
    }
    site.stop();
}
