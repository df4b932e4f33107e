//! Clients that take large responses slowly: they hold no thread and little memory, and get all of it in the end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use nix::unistd::Pid;

use crate::support::outside::curl;
use crate::support::pki::Authority;
use crate::support::{Gate, Response, Server, directory, status, wait_until};

/// A client that has read the head of its response, and nothing behind it.
struct Reader {
    stream: TcpStream,
    head: String,
}

impl Reader {
    fn begin(server: &Server, path: &str) -> Reader {
        let mut stream = server.begin(path);
        let head = Response::read_head(&mut stream).unwrap();
        Reader { stream, head }
    }

    /// Reads the rest.
    fn finish(&mut self) -> Result<Response, String> {
        Response::read(&mut self.head.as_bytes().chain(&mut self.stream))
    }
}

/// Number of files without a name that a process has open.
fn unnamed_files(pid: Pid) -> usize {
    let links =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with("/tmp") && link.to_string_lossy().ends_with(" (deleted)")).count()
}

fn all_unnamed_files(server: &Server) -> usize {
    server.workers().into_iter().map(unnamed_files).sum()
}

fn assert_small(server: &Server) {
    for worker in server.workers() {
        let peak = status(worker, "VmHWM");
        let kib: u64 = peak.strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(kib < 96 * 1024, "a worker had {kib} KiB");
    }
}

/// Asserts that a body is `chunks` lines of `size` bytes, as stream.py makes them.
fn assert_lines(body: &[u8], (chunks, size): (usize, usize), what: &str) {
    assert_eq!(body.len(), chunks * size, "{what}");
    for (number, line) in body.chunks(size).enumerate() {
        let is_right = line.starts_with(format!("{number}.").as_bytes())
            && line.ends_with(b"\n")
            && line[number.to_string().len()..size - 1].iter().all(|byte| *byte == b'.');
        assert!(is_right, "{what}: line {number}");
    }
}

#[test]
fn slow_readers_of_large_pages_hold_no_worker_and_little_memory() {
    let server = Server::start(&["-w", "2", "--response-memory", "1 MiB", "--minimum-send-rate", "0", "stream"]);
    for (path, chunks, size) in [
        ("/whole?size=10485760", 1, 10 * MIB),
        ("/?chunks=160&size=65536", 160, 65536),
        ("/?chunks=160&size=65536&length", 160, 65536),
        ("/?chunks=3000&size=3500", 3000, 3500),
        ("/write?chunks=10&size=1048576", 10, MIB),
    ] {
        let mut slow: Vec<Reader> = (0..24).map(|_| Reader::begin(&server, path)).collect();
        // All have begun, and both workers answer others as if they were not there.
        for _ in 0..4 {
            assert_eq!(server.get("/").text(), "0...\n1...\n2...\n");
        }
        assert!(all_unnamed_files(&server) > 12, "{path}");
        for reader in &mut slow {
            let response = reader.finish().unwrap();
            assert_lines(&response.body, (chunks, size), path);
            reader.stream.write_all(b"GET /whole?size=5 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            assert_eq!(Response::read(&mut reader.stream).unwrap().text(), "0...\n", "{path}");
        }
        wait_until("all files are closed", || all_unnamed_files(&server) == 0);
    }
    assert_small(&server);
}

#[test]
fn readers_that_leave_leave_no_file_behind() {
    let server = Server::start(&["--response-memory", "1 MiB", "stream"]);
    for path in ["/whole?size=10485760", "/?chunks=160&size=65536"] {
        let slow: Vec<Reader> = (0..5).map(|_| Reader::begin(&server, path)).collect();
        assert_eq!(server.get("/").status, 200);
        assert!(all_unnamed_files(&server) > 0, "{path}");
        drop(slow);
        wait_until("all files are closed", || all_unnamed_files(&server) == 0);
    }
}

#[test]
fn with_tls_slow_readers_hold_no_worker_as_well() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path());
    authority.server("site");
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let server =
        Server::start(&["--certfile", &certificate, "--keyfile", &key, "--response-memory", "1 MiB", "stream"]);
    let get = |path: &str, more: &[&str]| {
        let url = format!("https://{}{path}", server.address());
        curl([&["--cacert", &authority.path("ca.pem"), &url][..], more].concat())
    };
    thread::scope(|scope| {
        let slow: Vec<_> = ["/whole?size=10485760", "/?chunks=160&size=65536", "/?chunks=3000&size=3500"]
            .into_iter()
            .map(|path| scope.spawn(move || (path, get(path, &["--limit-rate", "5M"]))))
            .collect();
        wait_until("a response waits in a file", || all_unnamed_files(&server) > 0);
        assert_eq!(get("/", &[]), "0...\n1...\n2...\n");
        for (reader, lines) in slow.into_iter().zip([(1, 10 * MIB), (160, 65536), (3000, 3500)]) {
            let (path, body) = reader.join().unwrap();
            assert_lines(body.as_bytes(), lines, path);
        }
    });
}

#[test]
fn what_was_made_is_sent_while_the_application_waits_for_something_else() {
    let files = tempfile::tempdir().unwrap();
    let server = Server::start(&["stream"]);
    for (at, (chunks, size)) in [(160, 65536), (2800, 1000), (11_000, 1000)].into_iter().enumerate() {
        let path = files.path().join(at.to_string());
        let gate = Gate::closed(path.clone());
        let mut reader = Reader::begin(&server, &format!("/burst{}?chunks={chunks}&size={size}", path.display()));
        let mut body = Vec::new();
        while body.len() < chunks * size {
            body.extend(chunk(&mut reader.stream));
        }
        assert_lines(&body, (chunks, size), "before the gate");
        let open = gate.open();
        assert_eq!((chunk(&mut reader.stream), chunk(&mut reader.stream)), (b"last".to_vec(), Vec::new()));
        drop(open);
    }
}

/// Reads one chunk of a chunked body.
fn chunk(stream: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut data = vec![0; length + 2];
    stream.read_exact(&mut data).unwrap();
    data.truncate(length);
    data
}

#[test]
fn without_room_the_application_waits_for_its_client_and_the_log_says_so() {
    let files = tempfile::tempdir().unwrap();
    let full = ["--spill-space", "1 MiB", "--response-memory", "1 MiB"];
    let gone = files.path().join("gone");
    let nowhere = ["--worker-tmp-dir", gone.to_str().unwrap(), "--response-memory", "1 MiB"];
    for (words, said) in [(&full[..], "hint: spill_space"), (&nowhere[..], "hint: worker_tmp_dir")] {
        fs::create_dir(&gone).unwrap();
        let server = Server::start(&[words, &["stream"]].concat());
        fs::remove_dir(&gone).unwrap();
        for (path, chunks, size) in [("/whole?size=20971520", 1, 20 * MIB), ("/?chunks=320&size=65536", 320, 65536)] {
            let mut reader = Reader::begin(&server, path);
            server.wait_for("its thread waits for the client");
            assert_lines(&reader.finish().unwrap().body, (chunks, size), path);
        }
        server.wait_for(said);
        assert_eq!(server.log().matches("its thread waits for the client").count(), 1, "{}", server.log());
    }
}

#[test]
fn an_application_that_fails_has_said_what_it_has_said() {
    const FAILS: &str = r#"
def body():
    for _ in range(160):
        yield b"." * 65536
    raise RuntimeError("after all")

def application(environ, start_response):
    length = [("Content-Length", "10485761")] if environ["PATH_INFO"] == "/length" else []
    start_response("200 OK", [("Content-Type", "text/plain")] + length)
    return body()
"#;
    let files = directory(&[("fails.py", FAILS)]);
    let server = Server::start_in(files.path(), &["fails"]);
    for path in ["/", "/length"] {
        let mut reader = Reader::begin(&server, path);
        server.wait_for("after all");
        let mut rest = Vec::new();
        reader.stream.read_to_end(&mut rest).unwrap();
        let made: usize = rest.split(|byte| *byte != b'.').map(<[u8]>::len).sum();
        assert_eq!(made, 10 * MIB, "{} bytes", rest.len());
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the end is not said");
    }
}

#[test]
fn a_stream_that_is_made_slowly_is_said_once() {
    let server = Server::start(&["stream"]);
    // Waiting for a client is another thing.
    let _slow = Reader::begin(&server, "/?chunks=160&size=65536");
    for _ in 0..2 {
        assert_eq!(server.get("/?chunks=3&sleep=5.2").text(), "0...\n1...\n2...\n");
    }
    let line = "a response is made slowly and holds its thread for as long; said once path=/ threads=1";
    assert_eq!(server.log().matches(line).count(), 1, "{}", server.log());
}

const MIB: usize = 1 << 20;
