//! The machine over a socket pair: nothing else runs.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::body_budget::{BodyBudget, Charge};
use super::context::{Drain, ResponseRoom, ServeContext, ServeRules, Timeouts};
use super::event::{Activity, Event, Next, Readiness, Work};
use super::receive_rate::ReceiveLimits;
use super::request::{Outcome, ParsedRequest, PendingRequest, ResponseState};
use super::request_body::Body;
use super::send_queue::Flushed;
use super::send_timeout::SendLimits;
use super::stream::Stream;
use super::{Connection, Origin};
use crate::http::{Limits, Network, Proxied, ProxyMode, ProxyRules, Trust};
use crate::os::listener::Peer;
use crate::settings::{ClientCertificates, TlsTerms, TlsVersion};
use crate::tls::{Identity, Material};
use crate::worker::error_pages::ErrorPages;
use crate::worker::millis::Millis;

const START: Millis = 1_000_000;
const KEPT: Plain = Plain::Wait;
const REQUEST: Plain = Plain::Request;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

pub(super) fn rules() -> ServeRules {
    let seconds = Duration::from_secs;
    ServeRules {
        limits: Limits::default(),
        proxy: ProxyRules::default(),
        trust: Trust::default(),
        error_pages: ErrorPages::default(),
        timeouts: Timeouts {
            keep_alive: seconds(75),
            head: Some(seconds(30)),
            receive: ReceiveLimits { stall: Some(seconds(20)), rate: Some(240) },
            queue: Some(seconds(10)),
            send: SendLimits { stall: Some(seconds(60)), rate: Some(240) },
            lingering: seconds(5),
            drain: seconds(3),
        },
        post_buffering: 1 << 20,
        spill_directory: std::env::temp_dir(),
        budget: BodyBudget::alone(None, None),
        responses: ResponseRoom { memory: 32 << 20, files: 1 << 30 },
    }
}

/// The next step, without what comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Wait,
    Again,
    Close,
    Request,
    Blocking,
    Buffer(usize),
}

/// A connection, its context, and the client's end.
struct Pair<'a> {
    connection: Connection,
    context: ServeContext<'a>,
    client: UnixStream,
    /// The request that is to be answered.
    request: Option<PendingRequest>,
    deadline: Millis,
    /// The times that it asked to be told of room for its body.
    asked_for_room: usize,
}

impl<'a> Pair<'a> {
    fn new(rules: &'a ServeRules) -> Pair<'a> {
        Pair::of(rules, Stream::plain)
    }

    fn of(rules: &'a ServeRules, stream: impl FnOnce(std::os::fd::OwnedFd) -> Stream) -> Pair<'a> {
        let (ours, client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut origin = Origin::new(Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 4711))), 0);
        origin.awaits_proxy = rules.proxy.mode != ProxyMode::Off;
        let mut context = ServeContext::new(rules, None);
        context.now = START;
        let connection = Connection::accepted(stream(ours.into()), origin, START, START + 30_000);
        Pair { connection, context, client, request: None, deadline: START + 30_000, asked_for_room: 0 }
    }

    fn on(&mut self, event: Event) -> Plain {
        let (next, standing) = self.connection.on(event, &mut self.context);
        self.deadline = standing.deadline;
        self.asked_for_room += usize::from(standing.asks_for_room);
        match next {
            Next::Wait => Plain::Wait,
            Next::Again => Plain::Again,
            Next::Close => Plain::Close,
            Next::Work(Work::Blocking) => Plain::Blocking,
            Next::Work(Work::Buffer(length)) => Plain::Buffer(length),
            Next::Work(Work::Request(request)) => {
                self.request = Some(request);
                Plain::Request
            }
        }
    }

    /// No thread is free for the request.
    fn queue(&mut self) -> Plain {
        let request = self.request.take().expect("a whole request");
        self.on(Event::NoThread(request))
    }

    /// The client sends bytes, and the kernel says so.
    fn send(&mut self, bytes: &[u8]) -> Plain {
        self.client.write_all(bytes).unwrap();
        self.on(Event::Ready(Readiness::READ))
    }

    /// The whole request is answered.
    fn answer(&mut self, body: &[u8], keep_alive: bool) -> Plain {
        let request = self.request.take().expect("a whole request");
        assert_eq!(self.connection.activity(), Activity::Application);
        self.connection.output.bytes.extend_from_slice(body);
        let flushed = self.connection.output.flush(&self.connection.stream).unwrap();
        assert!(matches!(flushed, Flushed::All | Flushed::Full));
        let length = request.parsed.length();
        let response = ResponseState::Finished { keep_alive };
        self.on(Event::Answered(Outcome { response, length, body_bytes: 0, streamed: None, started: 0 }))
    }

    /// Returns the bytes that the client has received by now.
    fn received(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.client.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
            _ => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Returns the connection's next step `ms` milliseconds later, when its deadline is over.
    fn later(&mut self, ms: Millis) -> Plain {
        self.context.now += ms;
        assert!(self.deadline <= self.context.now, "the deadline is not over");
        self.on(Event::Deadline)
    }
}

fn parsed<'p>(pair: &'p mut Pair<'_>) -> &'p ParsedRequest {
    assert_eq!(pair.queue(), KEPT);
    pair.connection.waiting().expect("a whole request").0
}

#[test]
fn a_request_in_pieces_is_whole_with_its_last_byte() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.on(Event::Begun), KEPT);
    assert_eq!(pair.connection.activity(), Activity::Silent);
    for byte in &GET[..GET.len() - 1] {
        assert_eq!(pair.send(&[*byte]), KEPT);
        assert_eq!(pair.connection.activity(), Activity::Head);
    }
    assert_eq!(pair.send(&GET[GET.len() - 1..]), REQUEST);
    assert_eq!(pair.connection.request().path(), b"/");
}

#[test]
fn a_kept_connection_idles_until_its_next_request_or_its_deadline() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    for _ in 0..3 {
        assert_eq!(pair.send(GET), REQUEST);
        assert_eq!(pair.answer(b"response", true), KEPT);
        assert_eq!(pair.received(), "response");
        assert_eq!(pair.connection.activity(), Activity::Idle);
        assert_eq!(pair.deadline, pair.context.now + 75_000);
        pair.context.now += 1000;
    }
    assert_eq!(pair.later(75_000), Plain::Close);
}

#[test]
fn pipelined_requests_have_a_turn_each() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(&[GET, GET].concat()), REQUEST);
    assert_eq!(pair.answer(b"one", true), Plain::Again);
    assert_eq!(pair.connection.activity(), Activity::Reading);
    assert_eq!(pair.on(Event::Turn), REQUEST);
    assert_eq!(pair.answer(b"two", true), KEPT);
    assert_eq!(pair.received(), "onetwo");
}

#[test]
fn a_connection_that_is_not_kept_is_closed_or_lingers_if_bytes_are_unread() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    assert_eq!(pair.answer(b"last", false), Plain::Close);
    let mut pair = Pair::new(&rules);
    pair.send(&[GET, b"x"].concat());
    assert_eq!(pair.answer(b"last", false), KEPT);
    assert!(pair.connection.lingers());
    assert_eq!(pair.received(), "last");
}

#[test]
fn a_head_has_its_time_from_the_accept_on_a_fresh_connection() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.context.now += 20_000;
    assert_eq!(pair.send(b"GET / HT"), KEPT);
    assert_eq!(pair.deadline, START + 30_000);
    assert_eq!(pair.later(10_000), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_head_has_its_time_from_its_first_byte_on_a_kept_connection() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    pair.answer(b"", true);
    pair.context.now += 20_000;
    assert_eq!(pair.send(b"G"), KEPT);
    let began = pair.context.now;
    pair.context.now += 9_000;
    assert_eq!(pair.send(b"E"), KEPT);
    assert_eq!((pair.deadline, pair.connection.since), (began + 30_000, began));
    assert_eq!(pair.later(21_000), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.later(30_000), Plain::Close);
    assert_eq!(pair.received(), "");
}

#[test]
fn what_has_come_by_the_deadline_is_read_first() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.client.write_all(GET).unwrap();
    assert_eq!(pair.later(30_000), Plain::Again);
    assert_eq!(pair.on(Event::Turn), REQUEST);
}

#[test]
fn a_body_has_its_time_from_piece_to_piece() {
    let mut rules = rules();
    rules.timeouts.receive.rate = None;
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\nab"), KEPT);
    assert_eq!(pair.connection.activity(), Activity::Reading);
    pair.context.now += 19_000;
    assert_eq!(pair.send(b"c"), KEPT);
    assert_eq!(pair.later(20_000), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\nab"), KEPT);
    assert_eq!(pair.deadline, START + 5_001);
    pair.context.now += 4_900;
    assert_eq!(pair.send(b"cd"), KEPT);
    pair.context.now += 200;
    assert_eq!(pair.send(b"ef"), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 408 "));
    // One that sent enough before may pause as long as any other.
    let mut pair = Pair::new(&rules);
    pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\nab");
    assert_eq!(pair.send(&[b'x'; 6000]), KEPT);
    pair.context.now += 19_900;
    assert_eq!(pair.send(b"x"), KEPT);
    assert_eq!(pair.received(), "");
}

#[test]
fn what_has_come_of_a_body_while_nothing_was_read_is_not_slow() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 150000\r\n\r\nab"), KEPT);
    pair.client.write_all(&vec![b'x'; 100_000]).unwrap();
    assert_eq!(pair.later(60_000), Plain::Again);
    let mut next = pair.on(Event::Turn);
    while next != KEPT {
        next = if let Plain::Buffer(_) = next { pair.on(Event::Buffer(None)) } else { pair.on(Event::Turn) };
    }
    assert_eq!(pair.received(), "");
}

#[test]
fn a_body_waits_for_room_and_is_answered_503_in_time() {
    let rules = ServeRules { budget: BodyBudget::alone(Some(70_000), Some(0)), ..self::rules() };
    let mut pair = Pair::new(&rules);
    let mut other = Charge::new(&rules.budget);
    assert!(other.hold_memory(60_000));
    assert_eq!(pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\n"), KEPT);
    assert_eq!(pair.send(b"abcd"), KEPT);
    assert_eq!(pair.asked_for_room, 1);
    assert_eq!(pair.send(b"efgh"), KEPT);
    assert_eq!((pair.asked_for_room, pair.deadline), (1, START + 20_000));
    assert!(other.hold_memory(0));
    pair.context.now += 19_000;
    assert_eq!(pair.on(Event::Room), KEPT);
    assert_eq!(pair.deadline, pair.context.now + 5_000 + 8 * 1000 / 240 + 1);
    assert!(other.hold_memory(60_000));
    assert_eq!(pair.send(b"ijkl"), KEPT);
    assert_eq!((pair.asked_for_room, pair.received()), (2, String::new()));
    assert_eq!(pair.later(20_000), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_connection_that_waits_for_a_body_keeps_no_large_buffer() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nab"), KEPT);
    assert!(pair.connection.input.capacity() < 4096, "{}", pair.connection.input.capacity());
    assert!(pair.context.spare_input.capacity() >= 64 * 1024);
}

#[test]
fn a_small_body_stays_with_its_head_or_in_memory() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    let head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n";
    assert_eq!(pair.send(&[head, &b"abcdef"[..]].concat()), REQUEST);
    assert_eq!(parsed(&mut pair).body_in_input, 6);
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(&[head, &b"abc"[..]].concat()), KEPT);
    assert_eq!(pair.send(b"def"), REQUEST);
    assert!(matches!(&parsed(&mut pair).body, Body::Memory(body) if body == b"abcdef"));
}

#[test]
fn a_large_body_asks_for_a_buffer_and_a_larger_one_for_a_disk() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 100_000);
    assert_eq!(pair.send(head.as_bytes()), KEPT);
    assert_eq!(pair.send(&vec![b'x'; 6_249]), KEPT);
    assert_eq!(pair.send(b"x"), Plain::Buffer(100_000));
    assert_eq!(pair.on(Event::Buffer(None)), KEPT);
    let body = vec![b'x'; 46_875];
    let mut next = KEPT;
    for _ in 0..2 {
        next = pair.send(&body);
        while next == Plain::Again {
            next = pair.on(Event::Turn);
        }
    }
    assert_eq!(next, REQUEST);
    let rules = ServeRules { post_buffering: 10, ..self::rules() };
    let mut pair = Pair::new(&rules);
    let head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n0123456789ab";
    assert_eq!(pair.send(head), Plain::Blocking);
    let done = pair.connection.block(&rules.spill_directory);
    assert_eq!(pair.on(Event::Unblocked(done)), KEPT);
    assert_eq!(pair.send(b"cdefghij"), Plain::Blocking);
    let done = pair.connection.block(&rules.spill_directory);
    assert_eq!(pair.on(Event::Unblocked(done)), REQUEST);
    assert!(matches!(parsed(&mut pair).body, Body::File(_)));
}

#[test]
fn a_body_that_cannot_be_kept_is_answered_500() {
    let rules = ServeRules { post_buffering: 1, ..self::rules() };
    let mut pair = Pair::new(&rules);
    pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n0123456789");
    let done = pair.connection.block(std::path::Path::new("/nowhere"));
    assert_eq!(pair.on(Event::Unblocked(done)), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 500 "));
    // A lack that passes is no failure of the server.
    let mut pair = Pair::new(&rules);
    pair.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n0123456789");
    pair.on(Event::Unblocked(Err(io::Error::from_raw_os_error(libc::ENOSPC))));
    assert!(pair.received().starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_client_that_waits_for_a_100_gets_it_once() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    let head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(pair.send(head), KEPT);
    assert_eq!(pair.received(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(pair.send(b"a"), KEPT);
    assert_eq!(pair.send(b"b"), REQUEST);
    assert_eq!(pair.received(), "");
}

#[test]
fn a_refused_request_is_answered_and_its_rest_dropped() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(b"GET / HTTP/9.9\r\nHost: test\r\n\r\nand more"), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 505 "));
    assert!(pair.connection.lingers());
    pair.context.now += 4_000;
    assert_eq!(pair.send(b"and more"), KEPT);
    assert_eq!(pair.deadline, pair.context.now + 5_000);
    assert_eq!(pair.later(5_000), Plain::Close);
}

#[test]
fn a_refused_request_is_not_read_for_ever() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(b"bad\r\n\r\n");
    for _ in 0..7 {
        pair.context.now += 4_000;
        assert_eq!(pair.send(b"more"), KEPT);
    }
    pair.context.now += 2_000;
    assert_eq!(pair.send(b"more"), Plain::Close);
}

#[test]
fn a_request_that_is_not_believed_is_refused_before_a_thread_is_taken() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    let head = b"GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n";
    assert_eq!(pair.send(head), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_client_that_goes_before_its_request_is_whole_is_closed() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(b"GET / HT");
    pair.client.shutdown(std::net::Shutdown::Both).unwrap();
    let mut readiness = Readiness::READ;
    readiness.merge(Readiness::END);
    assert_eq!(pair.on(Event::Ready(readiness)), Plain::Close);
}

#[test]
fn a_client_that_ends_its_sending_with_its_request_is_answered() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.client.write_all(GET).unwrap();
    pair.client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut readiness = Readiness::READ;
    readiness.merge(Readiness::END);
    assert_eq!(pair.on(Event::Ready(readiness)), REQUEST);
    assert_eq!(pair.answer(b"response", true), Plain::Again);
    assert_eq!(pair.received(), "response");
    assert_eq!(pair.on(Event::Turn), Plain::Close);
}

#[test]
fn a_request_without_a_thread_waits_and_gets_503_at_its_limit() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    assert_eq!(pair.queue(), KEPT);
    assert_eq!(pair.connection.activity(), Activity::Waiting);
    assert_eq!(pair.connection.waiting().unwrap().1, START);
    assert_eq!(pair.later(10_000), KEPT);
    assert!(pair.received().starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_client_that_leaves_while_its_request_waits_is_not_served() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    pair.queue();
    assert_eq!(pair.on(Event::Ready(Readiness::END)), KEPT, "it has said all that it had to say");
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    pair.queue();
    pair.context.now += 1_000;
    assert_eq!(pair.on(Event::Ready(Readiness::END)), Plain::Close);
}

#[test]
fn a_request_that_was_handed_off_is_whole_at_once_and_keeps_its_place() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    let (ours, _client) = UnixStream::pair().unwrap();
    let origin = Origin::new(Peer::Unix, 0);
    pair.connection = Connection::handed_off(Stream::plain(ours.into()), origin, GET.to_vec(), START - 500, true);
    assert_eq!(pair.on(Event::Begun), REQUEST);
    assert_eq!(pair.queue(), KEPT);
    assert_eq!(pair.connection.waiting().unwrap().1, START - 500);
    assert_eq!(pair.deadline, START - 500 + 10_000);
}

#[test]
fn a_response_that_its_client_does_not_take_is_cut_off() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    let large = vec![b'x'; 1 << 20];
    assert_eq!(pair.answer(&large, true), KEPT);
    assert_eq!(pair.connection.activity(), Activity::Writing);
    assert_eq!(pair.later(5_000), Plain::Close, "it took nothing for five seconds, which is below the rate");
}

#[test]
fn a_response_goes_on_when_its_client_takes_more() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    let large = vec![b'x'; 1 << 20];
    assert_eq!(pair.answer(&large, true), KEPT);
    let mut received = 0;
    while pair.connection.activity() == Activity::Writing {
        received += pair.received().len();
        assert_eq!(pair.on(Event::Ready(Readiness::WRITE)), KEPT);
    }
    received += pair.received().len();
    assert_eq!((received, pair.connection.activity()), (large.len(), Activity::Idle));
}

#[test]
fn a_worker_that_stops_closes_idle_connections_and_gives_fresh_ones_a_moment() {
    let rules = rules();
    let mut kept = Pair::new(&rules);
    kept.send(GET);
    kept.answer(b"", true);
    kept.context.drain = Some(Drain::Stopping);
    assert_eq!(kept.on(Event::Look), Plain::Again);
    assert_eq!(kept.on(Event::Turn), Plain::Close);
    let mut fresh = Pair::new(&rules);
    fresh.context.drain = Some(Drain::Stopping);
    fresh.on(Event::Look);
    assert_eq!(fresh.on(Event::Turn), KEPT);
    assert_eq!(fresh.deadline, START + 500);
    assert_eq!(fresh.send(GET), REQUEST);
}

#[test]
fn a_worker_that_retires_waits_a_while_for_a_last_request() {
    let rules = rules();
    let mut pair = Pair::new(&rules);
    pair.send(GET);
    pair.answer(b"", true);
    pair.context.drain = Some(Drain::Retiring);
    pair.on(Event::Look);
    assert_eq!(pair.on(Event::Turn), KEPT);
    assert_eq!(pair.deadline, START + 3_000);
    assert_eq!(pair.later(3_000), Plain::Close);
}

#[test]
fn a_proxy_header_says_who_the_client_is() {
    let proxy =
        ProxyRules { mode: ProxyMode::V1, peers: vec![Network::around(Ipv4Addr::LOCALHOST.into(), 32).unwrap()] };
    let rules = ServeRules { proxy, ..self::rules() };
    let mut pair = Pair::new(&rules);
    assert_eq!(pair.send(b"PROXY TCP4 192.0.2.7 192.0"), KEPT);
    assert_eq!(pair.send(b".2.8 1 2\r\n"), KEPT);
    let proxied: &Option<Box<Proxied>> = &pair.connection.origin.proxied;
    assert!(proxied.is_some());
    assert_eq!(pair.connection.origin.client_ip().unwrap().to_string(), "192.0.2.7");
    assert_eq!(pair.send(GET), REQUEST);
}

/// A connection with TLS.
fn encrypted(rules: &ServeRules) -> Pair<'_> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("both.pem");
    fs::write(&file, PEM).unwrap();
    let terms = TlsTerms {
        certificate: Some(file),
        key: None,
        authorities: None,
        clients: ClientCertificates::Ignored,
        lowest: TlsVersion::Tls12,
        ciphers: None,
    };
    let identity = Identity::new(&Material::read(&terms).unwrap(), &terms).unwrap();
    Pair::of(rules, |socket| Stream::encrypted(socket, identity.session().unwrap()))
}

fn go_on(pair: &mut Pair<'_>, next: Plain) -> Plain {
    assert_eq!(next, Plain::Blocking);
    let done = pair.connection.block(std::path::Path::new("/nowhere"));
    pair.on(Event::Unblocked(done))
}

#[test]
fn a_handshake_that_does_not_begin_is_silent_and_one_that_does_not_end_is_a_head() {
    let rules = rules();
    let mut pair = encrypted(&rules);
    let next = pair.on(Event::Begun);
    assert_eq!(go_on(&mut pair, next), KEPT);
    assert_eq!(pair.connection.activity(), Activity::Silent);
    // The first bytes of a handshake record.
    let next = pair.send(&[0x16, 3, 1, 2, 0]);
    assert_eq!(go_on(&mut pair, next), KEPT);
    assert_eq!(pair.connection.activity(), Activity::Head);
    assert_eq!(pair.later(30_000), Plain::Close);
}

#[test]
fn a_client_that_speaks_no_tls_is_told_in_plain_text() {
    let rules = rules();
    let mut pair = encrypted(&rules);
    let next = pair.send(GET);
    assert_eq!(go_on(&mut pair, next), KEPT);
    let received = pair.received();
    assert!(received.starts_with("HTTP/1.1 400 ") && received.contains("https://"), "{received}");
    assert!(pair.connection.lingers());
}

#[test]
fn a_handshake_that_fails_is_answered_by_an_alert_and_lingers() {
    let rules = rules();
    let mut pair = encrypted(&rules);
    let next = pair.send(&[0x16, 3, 1, 0, 4, 0xff, 0, 0, 0]);
    assert_eq!(go_on(&mut pair, next), KEPT);
    assert!(pair.connection.lingers());
    let mut alert = [0; 7];
    pair.client.read_exact(&mut alert).unwrap();
    assert_eq!(alert[0], 0x15);
}

#[test]
fn a_client_that_goes_during_its_handshake_is_closed() {
    let rules = rules();
    let mut pair = encrypted(&rules);
    pair.client.write_all(&[0x16, 3, 1]).unwrap();
    pair.client.shutdown(std::net::Shutdown::Both).unwrap();
    let next = pair.on(Event::Begun);
    assert_eq!(go_on(&mut pair, next), Plain::Close);
}

/// A certificate and its key, for these tests alone.
const PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBizCCATGgAwIBAgIUSsHQI9PDYq3m02icf5g7guwmSRkwCgYIKoZIzj0EAwIw\n\
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAxOTQxNDNaGA8yMTI2MTEwNjE5NDE0\n\
M1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFGu\n\
sQ6cjpeacjRMRk82SXLhijvfWaDCUtoYDtkO07v5IZ//qNonSUuvK0kkjqgZM2Nl\n\
561esvRmjHd8ZhvE3D+jaTBnMB0GA1UdDgQWBBQul1zcfZK487x5JV0v639HLuLt\n\
+DAfBgNVHSMEGDAWgBQul1zcfZK487x5JV0v639HLuLt+DAPBgNVHRMBAf8EBTAD\n\
AQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAKBggqhkjOPQQDAgNIADBFAiEAvQSh\n\
SMT6wVdBARl3G8ji3LuyOOqBeV1pCRuzC7jvE2UCIAq+7ehk29HZApW6V971RONp\n\
m3ulmvDa76FOAyXQw7PA\n\
-----END CERTIFICATE-----\n\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFrxqh0mfeFvyEcBL\n\
Z/yn2gyV7/ACmmNcThzPJf+anpehRANCAARRrrEOnI6XmnI0TEZPNkly4Yo731mg\n\
wlLaGA7ZDtO7+SGf/6jaJ0lLrytJJI6oGTNjZeetXrL0Zox3fGYbxNw/\n\
-----END PRIVATE KEY-----\n\
";
