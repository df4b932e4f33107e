//! What request bodies take of a worker: memory for bytes that came, within a bound, then files, then nothing until
//! others are answered; and clients that send their bodies too slowly.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Pid;

use crate::support::pace::{pass, patient_seconds};
use crate::support::wire::json_of;
use crate::support::{Response, Server, directory, status, wait_until};

/// The end of a request line, and the field that every request needs.
const HOST: &str = "HTTP/1.1\r\nHost: test\r\n";
const MIB: usize = 1 << 20;

/// Returns a connection on which a body of `length` bytes was announced, and `sent` of them sent.
fn begun(server: &Server, length: usize, sent: usize) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(format!("POST / {HOST}Content-Length: {length}\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; sent]).unwrap();
    stream
}

/// Waits until the worker has read all that was sent.
fn wait_read(stream: &TcpStream) {
    wait_until("the bytes are read", || {
        let mut unsent: libc::c_int = 0;
        // SAFETY: the kernel writes one int.
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(stream), libc::TIOCOUTQ, &raw mut unsent) };
        unsent == 0
    });
}

fn kib(worker: Pid, name: &str) -> usize {
    status(worker, name).strip_suffix(" kB").unwrap().parse().unwrap()
}

/// True if the first thread of a process sleeps.
fn is_asleep(process: Pid) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    line.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
}

/// Returns the sizes of files without a name that the worker has open.
fn spilled(worker: Pid) -> Vec<u64> {
    let numbers = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
    let paths: Vec<PathBuf> = numbers.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    let is_unlinked = |path: &&PathBuf| {
        let target = std::fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().ends_with("(deleted)") && target.starts_with(std::env::temp_dir())
    };
    let size = |path: &PathBuf| std::fs::metadata(path).map(|file| file.len()).ok();
    paths.iter().filter(is_unlinked).filter_map(size).collect()
}

#[test]
fn bodies_that_do_not_end_take_bounded_memory_and_give_it_back() {
    let words = ["-w", "1", "--request-memory", "16M", "--limit-nofile", "2048", "echo"];
    let server = Server::start(&words);
    let worker = server.workers()[0];
    assert_eq!(server.get("/").status, 200);
    let before = kib(worker, "VmRSS");
    let clients: Vec<TcpStream> = (0..300).map(|_| begun(&server, MIB, 400_000)).collect();
    clients.iter().for_each(wait_read);
    let most = kib(worker, "VmHWM") - before;
    assert!(most < (16 + 16) * 1024, "{most} KiB for 300 bodies\n{}", server.log());
    assert!(spilled(worker).len() > 200, "{:?}", spilled(worker));
    assert_eq!(server.get("/").status, 200);
    drop(clients);
    wait_until("the memory is given back", || kib(worker, "VmRSS") < before + 8 * 1024);
    wait_until("the files are closed", || spilled(worker).is_empty());
}

/// Returns how many pages a process has got so far.
fn faults(process: Pid) -> usize {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    line.rsplit(')').next().unwrap().split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn the_pages_of_bodies_are_used_again() {
    let server = Server::start(&["-w", "1", "echo"]);
    let worker = server.workers()[0];
    let upload_four = || {
        let mut clients: Vec<TcpStream> = (0..4).map(|_| begun(&server, MIB, MIB / 2)).collect();
        clients.iter().for_each(wait_read);
        for client in &mut clients {
            client.write_all(&vec![b'x'; MIB / 2]).unwrap();
            assert_eq!(json_of(&Response::read(client).unwrap())["length"], MIB);
        }
    };
    (0..3).for_each(|_| upload_four());
    let before = faults(worker);
    (0..10).for_each(|_| upload_four());
    // Each body is 256 pages.
    let pages = faults(worker) - before;
    assert!(pages < 5 * 256, "{pages} pages for 40 bodies");
}

#[test]
fn a_length_that_is_announced_takes_no_memory() {
    let server = Server::start(&["-w", "1", "--limit-nofile", "2048", "echo"]);
    let worker = server.workers()[0];
    assert_eq!(server.get("/").status, 200);
    let before = kib(worker, "VmData");
    let clients: Vec<TcpStream> = (0..300).map(|_| begun(&server, MIB, 1)).collect();
    clients.iter().for_each(wait_read);
    let taken = kib(worker, "VmData") - before;
    assert!(taken < 16 * 1024, "{taken} KiB for 300 bytes");
}

#[test]
fn a_body_that_is_too_long_for_memory_is_in_its_file_from_the_first_byte() {
    let server = Server::start(&["-w", "1", "echo"]);
    let worker = server.workers()[0];
    let mut client = begun(&server, 2 * MIB, 1);
    wait_until("the byte is in a file", || spilled(worker) == [1]);
    client.write_all(&vec![b'x'; 2 * MIB - 1]).unwrap();
    assert_eq!(json_of(&Response::read(&mut client).unwrap())["length"], 2 * MIB);
}

#[test]
fn bodies_wait_for_room_and_others_are_served_meanwhile() {
    let words = ["-w", "1", "--post-buffering", "1000", "--request-memory", "1", "--spill-limit", "200000"];
    let server = Server::start(&[&words[..], &["--spill-space", "1", "echo"]].concat());
    let worker = server.workers()[0];
    let mut first = begun(&server, 200_000, 190_000);
    wait_until("the first body is in a file", || spilled(worker) == [190_000]);
    let mut second = begun(&server, 150_000, 150_000);
    wait_until("the second body is begun", || spilled(worker).len() == 2);
    for _ in 0..5 {
        assert_eq!(server.get("/").status, 200);
    }
    // One read more than the largest body.
    let in_files: u64 = spilled(worker).iter().sum();
    assert!(in_files <= 200_000 + 65_536, "{in_files}");
    first.write_all(&[b'x'; 10_000]).unwrap();
    assert_eq!(json_of(&Response::read(&mut first).unwrap())["length"], 200_000);
    assert_eq!(json_of(&Response::read(&mut second).unwrap())["length"], 150_000);
}

#[test]
fn a_body_that_waits_for_room_in_files_does_not_keep_the_worker_awake() {
    let words = ["-w", "1", "--post-buffering", "1000", "--spill-limit", "200000", "--spill-space", "1", "echo"];
    let server = Server::start(&words);
    let worker = server.workers()[0];
    let mut first = begun(&server, 200_000, 190_000);
    wait_until("the first body is in a file", || spilled(worker) == [190_000]);
    // There is room in memory, but it is too long for that.
    let mut second = begun(&server, 150_000, 150_000);
    wait_until("the second body is begun", || spilled(worker).len() == 2);
    wait_until("the worker sleeps", || (0..50).all(|_| is_asleep(worker)));
    first.write_all(&[b'x'; 10_000]).unwrap();
    assert_eq!(json_of(&Response::read(&mut first).unwrap())["length"], 200_000);
    assert_eq!(json_of(&Response::read(&mut second).unwrap())["length"], 150_000);
}

#[test]
fn a_worker_with_little_address_space_serves_beside_many_bodies() {
    let files = directory(&[("lacking.py", LACKING)]);
    let words = ["-w", "1", "--limit-as", "400M", "--limit-nofile", "4096", "lacking"];
    let server = Server::start_in(files.path(), &words);
    let worker = server.workers()[0];
    // Announced, and begun: some of them get no memory.
    let mut clients: Vec<TcpStream> = (0..600).map(|_| begun(&server, MIB, 1)).collect();
    assert_eq!(server.get("/").status, 200);
    for client in &mut clients {
        // One that was refused is closed.
        let _ = client.write_all(&vec![b'x'; 600_000]);
    }
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.workers(), [worker], "{}", server.log());
}

#[test]
fn a_worker_whose_application_takes_all_memory_answers_503_and_is_replaced() {
    let files = directory(&[("lacking.py", LACKING)]);
    let server = Server::start_in(files.path(), &["-w", "1", "--limit-as", "400M", "lacking"]);
    let worker = server.workers()[0];
    assert_eq!(server.get("/take").status, 200);
    let head = format!("POST / {HOST}X-Long: {}\r\nContent-Length: 40000\r\n\r\n", "x".repeat(4000));
    let mut clients: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(head.as_bytes()).unwrap();
        // One that was refused is closed.
        let _ = client.write_all(&[b'x'; 10_000]);
    }
    let refused = Response::read_head(&mut clients[299]);
    // The reset of a connection that is closed with bytes unread may overtake the answer.
    assert!(refused.as_ref().map_or(true, |head| head.starts_with("HTTP/1.1 503 ")), "{refused:?}");
    server.wait_for("memory is short, requests are answered 503");
    wait_until("another worker serves", || server.get("/").status == 200);
    server.wait_for("worker has no memory left, it will be replaced");
    wait_until("another worker is there", || server.workers().iter().any(|found| *found != worker));
    assert!(!server.log().contains("SIGABRT"), "{}", server.log());
}

/// Takes all memory, in smaller and smaller blocks.
const LACKING: &str = r#"
taken = []

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/take":
        size = 64 << 20
        while size >= 64:
            try:
                taken.append(bytearray(size))
            except MemoryError:
                size //= 2
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

#[test]
fn clients_that_send_their_bodies_too_slowly_keep_no_other_out() {
    let server = Server::start(&["-w", "1", "--worker-connections", "20", "echo"]);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| begun(&server, MIB, 1)).collect();
    slow.iter().for_each(wait_read);
    // Each goes on with a byte now and then, well within client_body_timeout.
    let mut waiting = server.connect();
    waiting.write_all(format!("GET / {HOST}\r\n").as_bytes()).unwrap();
    waiting.set_nonblocking(true).unwrap();
    let mut byte = [0];
    wait_until("the new client is answered", || {
        for client in &mut slow {
            let _ = client.write_all(b"x");
        }
        pass(Duration::from_millis(200));
        waiting.peek(&mut byte).is_ok()
    });
    waiting.set_nonblocking(false).unwrap();
    assert_eq!(Response::read(&mut waiting).unwrap().status, 200);
    assert!(Response::read_head(&mut slow[0]).unwrap().starts_with("HTTP/1.1 408 "));
    server.wait_for("client sent its request body too slowly");
    let log = server.log();
    assert!(log.contains("worker is full, new connections wait"), "{log}");
    assert!(log.contains("bodies=20") && log.contains("minimum_receive_rate"), "{log}");
}

#[test]
fn a_body_that_the_application_receives_has_the_same_rate() {
    let grace = patient_seconds(8.0);
    let server = Server::start(&["-w", "1", "--post-buffering", "0", "--client-body-timeout", &grace, "echo"]);
    let mut slow = begun(&server, MIB, 1);
    slow.set_nonblocking(true).unwrap();
    let mut byte = [0];
    wait_until("the slow client is answered", || {
        let _ = slow.write_all(b"x");
        pass(Duration::from_millis(200));
        slow.peek(&mut byte).is_ok()
    });
    slow.set_nonblocking(false).unwrap();
    assert!(Response::read_head(&mut slow).unwrap().starts_with("HTTP/1.1 408 "), "{}", server.log());
}
