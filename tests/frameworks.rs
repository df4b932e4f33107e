//! What Flask, Werkzeug and Django do with requests and responses, through a real connection: with bodies buffered and
//! streamed, each with and without the standard library's validator around the application.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use crate::support::wire::json_of;
use crate::support::{Response, Server, apps, rwsgi};
use serde_json::{Value, json};
use tempfile::TempDir;

/// One framework's application, served with bodies buffered and with bodies streamed.
struct Site {
    application: &'static str,
    servers: Vec<(&'static str, Server)>,
    content: Vec<u8>,
    _directory: TempDir,
}

/// A way to ask it.
struct Way<'s> {
    application: &'static str,
    content: &'s [u8],
    name: String,
    server: &'s Server,
    /// What each request says for it.
    field: &'static str,
    streamed: bool,
}

const FLASK: &str = "flask_site";
const DJANGO: &str = "django_site";
const BOTH: [&str; 2] = [FLASK, DJANGO];

/// The size of the file that is sent.
const CONTENT: u32 = 3_000_000;

/// Both sites, each shared by the tests that run at the same time.
static SHARED: [Mutex<Weak<Site>>; 2] = [const { Mutex::new(Weak::new()) }; 2];

impl Site {
    /// The site that tests share, started if nobody has it.
    fn shared(application: &'static str) -> Arc<Site> {
        let mut shared = SHARED[usize::from(application == DJANGO)].lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let site = Arc::new(Site::start(application));
            *shared = Arc::downgrade(&site);
            site
        })
    }

    fn start(application: &'static str) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file.bin");
        let content = bytes(CONTENT);
        fs::write(&file, &content).unwrap();
        let start = |buffering: &str| {
            let words = [application, "-b", "127.0.0.1:0", "--post-buffering", buffering];
            let mut command = rwsgi(&apps(), words);
            command.env("FILE", &file);
            Server::spawn(command)
        };
        let servers = thread::scope(|scope| {
            let streamed = scope.spawn(|| start("0"));
            vec![("buffered", start("1 MiB")), ("streamed", streamed.join().unwrap())]
        });
        Site { application, servers, content, _directory: directory }
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let mut ways = Vec::new();
        for (mode, server) in &self.servers {
            for (kind, field) in [("plain", ""), ("validated", "X-Validate: yes\r\n")] {
                let name = format!("{}, {mode}, {kind}", self.application);
                let streamed = *mode == "streamed";
                ways.push(Way { application: self.application, content: &self.content, name, server, field, streamed });
            }
        }
        ways
    }

    /// A test is over: neither the validator nor anybody else has complained. The last one ends the servers.
    fn done(self: Arc<Site>) {
        for (mode, server) in &self.servers {
            assert_clean(mode, &server.log(), &[]);
        }
        if let Some(site) = Arc::into_inner(self) {
            site.stop_after(&[]);
        }
    }

    /// Ends the servers, whose log has these errors, each from both ways, and no complaint.
    fn stop_after(self, errors: &[&str]) {
        for (mode, mut server) in self.servers {
            assert_clean(mode, &server.stop(), errors);
        }
    }
}

/// Asks the applications' sites by every way there is. All sites are held meanwhile, so that tests that run at the same
/// time start them once.
fn each_way(applications: &[&str], check: impl Fn(&Way<'_>)) {
    let sites = BOTH.map(Site::shared);
    for site in sites.iter().filter(|site| applications.contains(&site.application)) {
        site.ways().iter().for_each(&check);
    }
    sites.into_iter().for_each(Site::done);
}

fn assert_clean(mode: &str, log: &str, errors: &[&str]) {
    for error in errors {
        assert_eq!(log.matches(error).count(), 2, "{mode}: {error:?} in\n{log}");
    }
    assert_eq!(log.matches("Traceback").count(), errors.len() * 2, "{mode}\n{log}");
    for complaint in ["AssertionError", "Warning", "garbage collected", "Exception ignored"] {
        assert!(!log.contains(complaint), "{mode}: {complaint}\n{log}");
    }
}

impl Way<'_> {
    /// Sends a request on a connection of its own and leaves the response to the caller.
    fn begin(&self, line: &str, fields: &str, body: impl AsRef<[u8]>) -> TcpStream {
        self.begin_raw(line.as_bytes(), fields, body)
    }

    fn begin_raw(&self, line: &[u8], fields: &str, body: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.server.connect();
        self.send(&mut stream, line, fields, body);
        stream
    }

    fn send(&self, stream: &mut TcpStream, line: &[u8], fields: &str, body: impl AsRef<[u8]>) {
        let host = if fields.starts_with("Host:") { "" } else { "Host: test\r\n" };
        let fields = format!(" HTTP/1.1\r\n{host}{}{fields}\r\n", self.field);
        stream.write_all(&[line, fields.as_bytes(), body.as_ref()].concat()).unwrap();
    }

    fn ask(&self, line: &str, fields: &str, body: impl AsRef<[u8]>) -> Response {
        self.read(&mut self.begin(line, fields, body))
    }

    fn get(&self, target: &str) -> Response {
        self.ask(&format!("GET {target}"), "", "")
    }

    fn read(&self, stream: &mut TcpStream) -> Response {
        Response::read(stream).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.server.log()))
    }

    fn json(&self, line: &str, fields: &str, body: impl AsRef<[u8]>) -> Value {
        let response = self.ask(line, fields, body);
        assert_eq!(response.status, 200, "{}: {line}\n{}{}", self.name, response.text(), self.server.log());
        json_of(&response)
    }
}

#[test]
fn forms_and_queries_are_read_as_they_were_filled_in() {
    each_way(&BOTH, |way| {
        let body = "name=J%C3%BCrgen+%E2%82%AC&empty=&twice=1&twice=2&plus=a%2Bb&text=one%0D%0Atwo";
        let expected = json!({
            "form": {"name": ["Jürgen €"], "empty": [""], "twice": ["1", "2"], "plus": ["a+b"], "text": ["one\r\ntwo"]},
            "args": {"q": ["é", "ü"], "n": ["1"]},
        });
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        for (framing, body) in framed(body.as_bytes()) {
            if unread_by_django(way, &framing) {
                continue;
            }
            let told = way.json("POST /form?q=%C3%A9&q=%c3%bc&n=1", &format!("{kind}{framing}"), body);
            assert_eq!(told, expected, "{}, {framing}", way.name);
        }
        let (framing, body) = framed(&multipart(&[("a", None, b"x\r\ny"), ("ü", None, "€".as_bytes())])).remove(0);
        let told = way.json("POST /form", &format!("{MULTIPART}{framing}"), body);
        assert_eq!(told, json!({"form": {"a": ["x\r\ny"], "ü": ["€"]}, "args": {}}), "{}", way.name);
    });
}

#[test]
fn several_files_of_any_name_and_size_are_uploaded_in_one_form() {
    let (large, small, lines) = (bytes(1_500_000), bytes(70_000), b"--\r\n--frontier\r\n\r\n".repeat(1000));
    let parts: [(&str, Option<&str>, &[u8]); 6] = [
        ("files", Some("Übersicht € 日本.bin"), &large),
        ("note", None, "viele Grüße".as_bytes()),
        ("files", Some("a \\\"b\\\".txt"), &small),
        ("lines", Some("lines"), &lines),
        ("empty", Some("empty.txt"), b""),
        ("files", Some("x"), b"y"),
    ];
    let body = multipart(&parts);
    each_way(&BOTH, |way| {
        for (framing, body) in framed(&body) {
            if unread_by_django(way, &framing) {
                continue;
            }
            let told = way.json("POST /upload", &format!("{MULTIPART}{framing}"), body);
            assert_eq!(told["form"], json!({"note": ["viele Grüße"]}), "{}, {framing}", way.name);
            let mut found: Vec<Value> = told["files"].as_array().unwrap().clone();
            let mut expected: Vec<Value> =
                parts.iter().filter_map(|(field, name, content)| name.map(|name| file(field, name, content))).collect();
            found.sort_by_key(Value::to_string);
            expected.sort_by_key(Value::to_string);
            assert_eq!(found, expected, "{}, {framing}", way.name);
        }
    });
}

/// What an application tells of a file that it got.
fn file(field: &str, name: &str, content: &[u8]) -> Value {
    let name = name.replace("\\\"", "\"");
    let kind = "application/octet-stream";
    json!({"field": field, "name": name, "type": kind, "length": content.len(), "sum": adler32(content)})
}

#[test]
fn bodies_are_read_by_every_means_a_framework_has() {
    let lines = bytes(300_000);
    let object = json!({"text": "é € ".repeat(1000)}).to_string();
    each_way(&BOTH, |way| {
        for (method, means) in
            [("POST", "data"), ("PUT", "pieces"), ("PATCH", "lines"), ("DELETE", "data"), ("PUT", "json")]
        {
            let content = if means == "json" { object.as_bytes() } else { &lines };
            let read = if means == "json" { "é € ".repeat(1000).into_bytes() } else { lines.clone() };
            for (framing, body) in framed(content) {
                if unread_by_django(way, &framing) {
                    continue;
                }
                let fields = format!("Content-Type: application/json\r\n{framing}");
                let told = way.json(&format!("{method} /body/{means}"), &fields, body);
                // A body that is still under way in chunks has no length.
                let announced = (!(way.streamed && framing.contains("chunked"))).then_some(content.len());
                let expected = json!({
                    "method": method, "announced": announced, "length": read.len(), "sum": adler32(&read),
                });
                assert_eq!(told, expected, "{}, {means}, {framing}", way.name);
            }
        }
        let (framing, body) = framed(&lines).remove(0);
        assert_eq!(way.json("POST /body/unread", &framing, body)["length"], 0);
    });
}

/// Django reads as much as Content-Length says, which a body that is still under way in chunks does not have.
fn unread_by_django(way: &Way<'_>, framing: &str) -> bool {
    way.application == DJANGO && way.streamed && framing.contains("chunked")
}

#[test]
fn a_body_that_comes_slowly_is_whole_for_the_framework() {
    each_way(&BOTH, |way| {
        let mut stream = way.begin("POST /body/pieces", "Content-Length: 30000\r\n", "");
        for part in bytes(30_000).chunks(2500) {
            stream.write_all(part).unwrap();
            // Another turn of the server's, not to have the parts in one packet.
            if !way.streamed {
                assert_eq!(way.get("/method").text(), "GET");
            }
        }
        let told = json_of(&way.read(&mut stream));
        assert_eq!(told["sum"], adler32(&bytes(30_000)), "{}", way.name);
    });
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    each_way(&BOTH, |way| {
        if way.streamed {
            return;
        }
        for framing in ["Content-Length: 100\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n64\r\nshort"] {
            let (fields, body) = framing.split_once("\r\n\r\n").unwrap();
            let mut stream = way.begin("POST /body/data", &format!("{fields}\r\n"), body);
            stream.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "{}: {}", way.name, rest.escape_ascii());
        }
        assert_eq!(way.get("/method").status, 200);
    });
}

#[test]
fn responses_are_streamed_by_generators() {
    each_way(&BOTH, |way| {
        for count in [0, 1, 1000] {
            let expected: String = (0..count).map(|number| format!("{number} €\n")).collect();
            let response = way.get(&format!("/stream?count={count}"));
            assert_eq!((response.status, response.text()), (200, expected.clone()), "{}", way.name);
            assert_eq!(response.field("transfer-encoding"), (count > 0).then_some("chunked"));
            if way.application == FLASK {
                let in_context = way.get(&format!("/stream-in-context?count={count}&mark=%E2%82%AC"));
                assert_eq!(in_context.text(), expected, "{}", way.name);
            }
            let mut old = way.server.connect();
            let line = format!("GET /stream?count={count} HTTP/1.0\r\nHost: test\r\n{}\r\n", way.field);
            old.write_all(line.as_bytes()).unwrap();
            let response = way.read(&mut old);
            assert_eq!((response.text(), response.field("transfer-encoding")), (expected, None), "{}", way.name);
        }
    });
}

#[test]
fn a_generator_is_closed_when_its_client_is_gone() {
    each_way(&BOTH, |way| {
        let closed = || way.get("/closed").text().parse::<u32>().unwrap();
        let before = closed();
        let mut stream = way.begin("GET /endless", "", "");
        Response::read_head(&mut stream).unwrap();
        stream.read_exact(&mut vec![0; 300_000]).unwrap();
        drop(stream);
        // The generator's own end and the response's.
        assert_eq!(closed(), before + 2, "{}", way.name);
    });
}

#[test]
fn a_part_of_a_file_is_sent_to_who_asks_for_it() {
    let size = CONTENT as usize;
    #[rustfmt::skip] // A table: range, status, what of the file.
    let cases = [
        ("", 200, Some(0..size)),
        ("bytes=0-0", 206, Some(0..1)),
        ("bytes=0-99", 206, Some(0..100)),
        ("bytes=1000000-1999999", 206, Some(1_000_000..2_000_000)),
        ("bytes=2999990-", 206, Some(2_999_990..size)),
        ("bytes=1-", 206, Some(1..size)),
        ("bytes=-1", 206, Some(size - 1..size)),
        ("bytes=-100000", 206, Some(size - 100_000..size)),
        ("bytes=2999999-9999999", 206, Some(2_999_999..size)),
        ("bytes=3000000-", 416, None),
    ];
    each_way(&[FLASK], |way| {
        let mut stream = way.server.connect();
        for (range, status, part) in &cases {
            for path in ["/file", "/mounted/file"] {
                // All on one connection: each response must be exactly as long as it says.
                way.send(&mut stream, format!("GET {path}").as_bytes(), &range_field(range), "");
                let response = way.read(&mut stream);
                assert_eq!(response.status, *status, "{}: {range}", way.name);
                let Some(part) = part else {
                    assert_eq!(response.field("content-range"), Some("bytes */3000000"), "{}: {range}", way.name);
                    continue;
                };
                assert!(response.body == way.content[part.clone()], "{}: {range}: {}", way.name, response.head);
                assert_eq!(response.field("content-length"), Some(&*part.len().to_string()), "{}", way.name);
                let told = format!("bytes {}-{}/3000000", part.start, part.end - 1);
                assert_eq!(response.field("content-range"), (*status == 206).then_some(&*told), "{}", way.name);
            }
        }
        let etag = way.get("/file").field("etag").unwrap().to_owned();
        for (if_range, status) in [(etag.as_str(), 206), ("\"other\"", 200)] {
            let fields = format!("Range: bytes=5-9\r\nIf-Range: {if_range}\r\n");
            assert_eq!(way.ask("GET /file", &fields, "").status, status, "{}: {if_range}", way.name);
        }
    });
}

fn range_field(range: &str) -> String {
    if range.is_empty() { String::new() } else { format!("Range: {range}\r\n") }
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let same_date = "Fri, 02 Jan 2026 03:04:05 GMT";
    let older = "Thu, 01 Jan 2026 03:04:05 GMT";
    each_way(&BOTH, |way| {
        let mut stream = way.server.connect();
        for (fields, status) in [
            (String::new(), 200),
            ("If-None-Match: \"one\"\r\n".to_owned(), 304),
            ("If-None-Match: W/\"one\", \"two\"\r\n".to_owned(), 304),
            ("If-None-Match: \"two\"\r\nIf-None-Match: \"one\"\r\n".to_owned(), 304),
            ("If-None-Match: *\r\n".to_owned(), 304),
            ("If-None-Match: \"two\"\r\n".to_owned(), 200),
            (format!("If-Modified-Since: {same_date}\r\n"), 304),
            (format!("If-Modified-Since: {older}\r\n"), 200),
            (format!("If-None-Match: \"two\"\r\nIf-Modified-Since: {same_date}\r\n"), 200),
        ] {
            way.send(&mut stream, b"GET /tagged", &fields, "");
            let response = way.read(&mut stream);
            let body = if status == 200 { "tagged" } else { "" };
            let shown = format!("{}, {fields}", way.name);
            assert_eq!((response.status, response.text().as_str()), (status, body), "{shown}");
            assert_eq!(response.field("etag"), Some("\"one\""), "{shown}");
            assert_eq!(response.field("content-type").is_some(), status == 200, "{shown}");
        }
    });
}

#[test]
fn a_file_is_sent_whole_and_an_unchanged_one_not_at_all() {
    each_way(&BOTH, |way| {
        for path in ["/file", "/memory"] {
            let response = way.get(path);
            assert_eq!(response.field("content-length"), Some("3000000"), "{} {path}", way.name);
            assert!(response.body == way.content, "{} {path}", way.name);
        }
        let named = way.get("/memory");
        let disposition = named.field("content-disposition").unwrap();
        assert!(disposition.to_lowercase().contains("filename*=utf-8''caf%c3%a9%20%e2%82%ac.bin"), "{disposition}");
        if way.application == FLASK {
            let modified = way.get("/file").field("last-modified").unwrap().to_owned();
            let unchanged = way.ask("GET /file", &format!("If-Modified-Since: {modified}\r\n"), "");
            assert_eq!(unchanged.status, 304, "{}", way.name);
            let shared = way.get("/shared/file.bin");
            assert!(shared.body == way.content, "{}: {}", way.name, shared.head);
            let etag = shared.field("etag").unwrap();
            let unchanged = way.ask("GET /shared/file.bin", &format!("If-None-Match: {etag}\r\n"), "");
            assert_eq!(unchanged.status, 304, "{}", way.name);
        }
    });
}

#[test]
fn a_slow_reader_of_a_file_holds_nobody_up() {
    each_way(&BOTH, |way| {
        if !way.field.is_empty() {
            return;
        }
        // The validator stands between the server and the file; without it the file is the kernel's to send.
        let mut slow: Vec<TcpStream> = (0..3).map(|_| way.begin("GET /file", "", "")).collect();
        let heads: Vec<String> = slow.iter_mut().map(|stream| Response::read_head(stream).unwrap()).collect();
        for _ in 0..3 {
            assert_eq!(way.get("/method").text(), "GET", "{}", way.name);
        }
        for (stream, head) in slow.iter_mut().zip(heads) {
            let response = Response::read(&mut head.as_bytes().chain(&mut *stream)).unwrap();
            assert!(response.body == way.content, "{}", way.name);
            way.send(stream, b"GET /method", "", "");
            assert_eq!(way.read(stream).text(), "GET", "{}", way.name);
        }
    });
}

#[test]
fn cookies_come_and_go_each_in_a_field_of_its_own() {
    each_way(&BOTH, |way| {
        let response = way.ask("GET /cookies", "Cookie: a=1; b=2\r\nCookie: c=\"x y\"\r\n", "");
        let shown = format!("{}\n{}", way.name, response.head);
        assert_eq!(json_of(&response), json!({"a": "1", "b": "2", "c": "x y"}), "{shown}");
        let set: Vec<&str> = response.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).collect();
        assert_eq!(set.len(), 3, "{shown}");
        for name in ["plain=1;", "wide=", "gone=\"\";"] {
            let found = set.iter().any(|cookie| cookie.starts_with(name) || cookie.starts_with("gone=;"));
            assert!(found, "{name} in {shown}");
        }
        // As a browser does: the value of each cookie comes back as it was set.
        let wide = set.iter().find(|cookie| cookie.starts_with("wide=")).unwrap();
        let value = wide.split_once("; ").unwrap().0;
        let back = way.ask("GET /cookies", &format!("Cookie: {value}\r\n"), "");
        assert_eq!(json_of(&back)["wide"], "café; ü", "{shown}");
    });
}

#[test]
fn a_cookie_in_raw_utf_8_arrives() {
    each_way(&BOTH, |way| {
        let told = json_of(&way.ask("GET /cookies", "Cookie: raw=café; b=2\r\n", ""));
        // Flask leaves the bytes as they are, a code point each.
        let raw = if way.application == FLASK { "caf\u{c3}\u{a9}" } else { "café" };
        assert_eq!(told, json!({"raw": raw, "b": "2"}), "{}", way.name);
    });
}

#[test]
fn sessions_last_from_request_to_request() {
    each_way(&BOTH, |way| {
        let mut cookie = String::new();
        for count in 1..4 {
            let response = way.ask("GET /session", &cookie, "");
            assert_eq!(response.text(), count.to_string(), "{}", way.name);
            let set = response.field("set-cookie").unwrap().split(';').next().unwrap();
            cookie = format!("Cookie: {set}\r\n");
        }
        let forged = way.ask("GET /session", &cookie.replace('=', "=x"), "");
        assert_eq!(forged.text(), "1", "{}", way.name);
    });
}

#[test]
fn redirects_lead_where_the_application_says() {
    each_way(&BOTH, |way| {
        let status = if way.application == FLASK { 303 } else { 302 };
        for (target, location) in [
            ("/redirect?to=/path/x", "/path/x"),
            ("/redirect?to=http://other.example/y", "http://other.example/y"),
            ("/redirect", "/path/%C3%BC/%E2%82%AC%20b?q="),
        ] {
            let response = way.get(target);
            let found = response.field("location").unwrap();
            assert_eq!(response.status, status, "{} {target}", way.name);
            assert!(found.starts_with(location), "{} {target}: {found}", way.name);
            if location.starts_with('/') {
                let there = json_of(&way.get(found));
                let rest = if location == "/path/x" { "x" } else { "ü/€ b" };
                assert_eq!(there["rest"], rest, "{} {target}: {found}", way.name);
            }
        }
    });
}

#[rustfmt::skip] // A table: target, path, the query as it came.
const TARGETS: [(&[u8], &str, &str); 6] = [
    (b"/path/caf%C3%A9?q=%E2%82%AC", "/path/café", "q=%E2%82%AC"),
    (b"/path/%E2%82%AC%20b/c%2Fd", "/path/€ b/c/d", ""),
    // Not UTF-8: the byte is replaced, or shown, as the framework does.
    (b"/path/caf%E9?q=%E9", "/path/caf", "q=%E9"),
    (b"/path/a+b%2Bc?q=a+b%2Bc", "/path/a+b+c", "q=a+b%2Bc"),
    (b"/path/%25?q=%25&q=100%", "/path/%", "q=%25&q=100%"),
    (b"/path/?", "/path/", ""),
];

#[test]
fn paths_and_queries_are_what_the_client_meant() {
    each_way(&BOTH, |way| {
        for (target, path, query) in &TARGETS {
            let mut stream = way.begin_raw(&[b"GET ", *target].concat(), "", "");
            let response = way.read(&mut stream);
            let shown = format!("{} {}", way.name, target.escape_ascii());
            assert_eq!(response.status, 200, "{shown}");
            let told = json_of(&response);
            let found = told["path"].as_str().unwrap();
            assert!(found.starts_with(path), "{shown}: {told}");
            assert!(found == *path || path.ends_with("/caf"), "{shown}: {told}");
            assert_eq!(told["query"], *query, "{shown}");
        }
        let told = json_of(&way.get("/path/?q=%E2%82%AC&q=caf%C3%A9"));
        assert_eq!(told["args"], json!({"q": ["€", "café"]}), "{}", way.name);
    });
}

#[test]
fn methods_are_told_apart() {
    each_way(&BOTH, |way| {
        let mut stream = way.server.connect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            way.send(&mut stream, format!("{method} /method").as_bytes(), "Content-Length: 0\r\n", "");
            assert_eq!(way.read(&mut stream).text(), method, "{}", way.name);
        }
        way.send(&mut stream, b"OPTIONS /method", "", "");
        let options = way.read(&mut stream);
        let status = if way.application == FLASK { 200 } else { 405 };
        assert_eq!(options.status, status, "{}", way.name);
        assert!(options.field("allow").unwrap().contains("DELETE"), "{}", options.head);
        way.send(&mut stream, b"GET /nothing", "", "");
        assert_eq!(way.read(&mut stream).status, 204, "{}", way.name);
        check_heads(way, &mut stream);
    });
}

/// HEAD has the fields of GET, and no body stands before the next response.
fn check_heads(way: &Way<'_>, stream: &mut TcpStream) {
    for path in ["/method", "/file", "/memory", "/stream?count=3", "/tagged", "/nowhere"] {
        way.send(stream, format!("HEAD {path}").as_bytes(), "", "");
        let head = Response::read_head(stream).unwrap_or_else(|error| panic!("{}: {path}: {error}", way.name));
        let whole = way.get(path);
        let fields = |head: &str| {
            let unlike = |line: &&str| ["Date:", "Transfer-Encoding:"].iter().any(|name| line.starts_with(name));
            head.lines().filter(|line| !unlike(line)).map(str::to_owned).collect::<Vec<_>>()
        };
        // The length of a page that says its method is that of another word.
        if path == "/method" {
            assert_eq!(head.lines().next(), whole.head.lines().next(), "{}: {path}", way.name);
        } else {
            assert_eq!(fields(&head), fields(&whole.head), "{}: {path}", way.name);
        }
    }
}

#[test]
fn errors_have_the_frameworks_own_pages() {
    each_way(&BOTH, |way| {
        let mut stream = way.server.connect();
        let (no_method, not_allowed) =
            if way.application == FLASK { ("PUT /tagged", "Method Not Allowed") } else { ("TRACE /method", "") };
        for (line, status, text) in [
            ("GET /nowhere", 404, "Not Found"),
            (no_method, 405, not_allowed),
            ("GET /abort/403", 403, "Forbidden"),
            ("GET /abort/503", 503, "503"),
            ("GET /method", 200, "GET"),
        ] {
            way.send(&mut stream, line.as_bytes(), "", "");
            let page = way.read(&mut stream);
            assert_eq!(page.status, status, "{} {line}", way.name);
            let found = format!("{} {}", page.status, page.text());
            assert!(found.contains(text), "{} {line}: {found}", way.name);
        }
    });
}

#[test]
fn an_exception_has_the_frameworks_own_page_and_costs_nothing_else() {
    // Held, so that the others need not start them again after this.
    let held = BOTH.map(Site::shared);
    // Django tells its administrators, who are none, and not the log.
    for (application, errors) in [(FLASK, &["RuntimeError: boom in Flask"][..]), (DJANGO, &[])] {
        let site = Site::start(application);
        for way in site.ways() {
            let mut stream = way.server.connect();
            for (path, status, text) in [("/boom", 500, "Server Error"), ("/method", 200, "GET")] {
                way.send(&mut stream, format!("GET {path}").as_bytes(), "", "");
                let page = way.read(&mut stream);
                assert_eq!(page.status, status, "{} {path}", way.name);
                assert!(page.text().contains(text) && !page.text().contains("boom"), "{}: {}", way.name, page.text());
            }
        }
        site.stop_after(errors);
    }
    held.into_iter().for_each(Site::done);
}

#[test]
fn what_is_mounted_below_a_prefix_knows_its_own_addresses() {
    each_way(&[FLASK], |way| {
        let told = json_of(&way.get("/mounted/path/x%20y?q=1"));
        assert_eq!((&told["path"], &told["root"]), (&"/path/x y".into(), &"/mounted".into()), "{}", way.name);
        assert_eq!(told["own"], "http://test/mounted/path/x", "{}", way.name);
        let fields = "X-Forwarded-For: 192.0.2.1, 198.51.100.2\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: www.example.org\r\nX-Forwarded-Prefix: /front\r\n";
        let told = json_of(&way.ask("GET /proxied/path/x", fields, ""));
        assert_eq!(told["remote"], "198.51.100.2", "{}", way.name);
        assert_eq!(told["own"], "https://www.example.org/front/path/x", "{}", way.name);
        let plain = json_of(&way.get("/proxied/path/x"));
        assert_eq!((&plain["remote"], &plain["own"]), (&"127.0.0.1".into(), &"http://test/proxied/path/x".into()));
    });
}

#[test]
fn a_trusted_proxy_says_prefix_and_scheme_to_both_frameworks() {
    each_way(&BOTH, |way| {
        let fields = "Host: www.example.org\r\nSCRIPT_NAME: /front\r\nX-Forwarded-Proto: https\r\n";
        let told = json_of(&way.ask("GET /front/path/x%20y?q=1", fields, ""));
        assert_eq!(told["root"], "/front", "{}", way.name);
        assert_eq!(told["rest"], "x y", "{}", way.name);
        let own = told["own"].as_str().unwrap();
        assert_eq!(own, "https://www.example.org/front/path/x", "{}", way.name);
        assert!(told["url"].as_str().unwrap().starts_with("https://www.example.org/front/path/x"), "{told}");
    });
}

#[test]
fn a_middleware_may_wrap_start_response_and_write() {
    each_way(&[FLASK], |way| {
        let mut stream = way.server.connect();
        for (path, text) in [
            ("/shout/write", "ONE TWO THREE"),
            ("/shout/stream?count=2", "0 \u{20ac}\n1 \u{20ac}\n"),
            ("/shout/method", "GET"),
            ("/shout/redirect?to=/x", "<!DOCTYPE HTML>"),
        ] {
            way.send(&mut stream, format!("GET {path}").as_bytes(), "", "");
            let response = way.read(&mut stream);
            assert!(response.text().starts_with(text), "{}: {path}: {}", way.name, response.text());
            assert_eq!(response.field("x-shouted"), Some("yes"), "{}: {path}", way.name);
        }
        let shouted = way.get("/shout/file");
        assert_eq!(shouted.body, way.content.to_ascii_uppercase(), "{}", way.name);
    });
}

#[test]
fn a_host_that_is_not_the_sites_is_refused_by_django() {
    each_way(&[DJANGO], |way| {
        for (host, status) in [("test", 200), ("a.example.org:81", 200), ("evil.example", 400)] {
            let response = way.ask("GET /path/x", &format!("Host: {host}\r\n"), "");
            assert_eq!(response.status, status, "{}: {host}", way.name);
        }
    });
}

/// A form of several parts: field, file name if it is a file, content.
fn multipart(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, name, content) in parts {
        write!(body, "--frontier=x\r\nContent-Disposition: form-data; name=\"{field}\"").unwrap();
        if let Some(name) = name {
            write!(body, "; filename=\"{name}\"\r\nContent-Type: application/octet-stream").unwrap();
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--frontier=x--\r\n");
    body
}

const MULTIPART: &str = "Content-Type: multipart/form-data; boundary=\"frontier=x\"\r\n";

/// The same body counted, and in chunks of uneven sizes.
fn framed(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut chunked = Vec::new();
    for (number, piece) in body.chunks(70_001).enumerate() {
        let (first, second) = piece.split_at(piece.len() / (number + 2));
        for chunk in [first, second].into_iter().filter(|chunk| !chunk.is_empty()) {
            write!(chunked, "{:x}\r\n", chunk.len()).unwrap();
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    vec![
        (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), chunked),
    ]
}

/// Every byte value, and no period that a buffer's size could hide.
fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// The sum of zlib (RFC 1950), which the applications tell of what they read.
fn adler32(content: &[u8]) -> u32 {
    let (mut a, mut b) = (1, 0);
    for byte in content {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    (b << 16) | a
}
