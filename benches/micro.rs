//! Micro-benchmarks of the room `http`: `cargo bench`. They say what one step costs, next to bare httparse where that is
//! the measure; what a whole request costs is measured by `benches/run.py`.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use divan::Bencher;
use rwsgi::http::target::Target;
use rwsgi::http::{
    AccessFormat, AccessRecord, BodyDecoder, BodyLength, EnvironValues, Head, Limits, Progress, Pushed, ResponseHead,
    ResponseTo, Version, chunk_head, imf_fixdate,
};

fn main() {
    divan::main();
}

/// What clients send: a tool's two fields, a load generator's five, a browser's fourteen behind a proxy.
const REQUESTS: [(&str, &[u8]); 3] = [
    ("tool", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\n\r\n"),
    (
        "ab",
        b"GET /hello?name=a HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: ApacheBench/2.3\r\n\
          Connection: keep-alive\r\nAccept: */*\r\n\r\n",
    ),
    (
        "browser",
        b"GET /polls/1/results/?page=2&sort=name HTTP/1.1\r\nHost: www.example.com\r\n\
          User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
          Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
          Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n\
          Cookie: csrftoken=pAHVS0mHbcVnqYr3b5YrkWbTTUqJ4o8B; sessionid=0v3hoq7u8t2x8e0rj1nd1t1x3p8u2k9m\r\n\
          Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
          Sec-Fetch-Site: same-origin\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
          Priority: u=0, i\r\n\r\n",
    ),
];

const NAMES: [&str; 3] = [REQUESTS[0].0, REQUESTS[1].0, REQUESTS[2].0];

fn request(name: &str) -> &'static [u8] {
    REQUESTS.iter().find(|(other, _)| *other == name).map_or(b"", |(_, bytes)| bytes)
}

/// A head that comes at once, with every check of this server.
#[divan::bench(args = NAMES)]
fn head(bencher: Bencher<'_, '_>, name: &str) {
    let (mut head, limits, bytes) = (Head::default(), Limits::default(), request(name));
    bencher.bench_local(|| {
        head.reset();
        head.parse(black_box(bytes), &limits)
    });
}

/// The same head by httparse and nothing else.
#[divan::bench(args = NAMES)]
fn head_by_bare_httparse(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = request(name);
    bencher.bench_local(|| {
        let mut slots = [const { MaybeUninit::uninit() }; 100];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(black_box(bytes), &mut slots);
        black_box(&parsed);
        status
    });
}

/// A browser's head in pieces of so many bytes.
#[divan::bench(args = [1, 10, 100])]
fn head_in_pieces(bencher: Bencher<'_, '_>, size: usize) {
    let (mut head, limits, bytes) = (Head::default(), Limits::default(), request("browser"));
    bencher.bench_local(|| {
        head.reset();
        let mut end = 0;
        loop {
            end = bytes.len().min(end + size);
            let progress = head.parse(black_box(&bytes[..end]), &limits);
            if progress != Ok(Progress::NeedMore) {
                break progress;
            }
        }
    });
}

#[divan::bench(args = ["/", "/polls/1/results/?page=2&sort=name", "http://www.example.com:8000/polls/?page=2"])]
fn target(bencher: Bencher<'_, '_>, target: &str) {
    bencher.bench_local(|| Target::parse(b"GET", black_box(target.as_bytes())));
}

/// A body of 64 KiB in chunks of so many bytes.
#[divan::bench(args = [16, 1024, 16384])]
fn chunk_decoding(bencher: Bencher<'_, '_>, size: usize) {
    let mut encoded = Vec::new();
    for _ in 0..BODY / size {
        chunk_head(&mut encoded, size as u64);
        encoded.resize(encoded.len() + size, b'x');
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\n\r\n");
    let limits = Limits { chunk_overhead: u64::MAX, ..Limits::default() };
    let mut body = Vec::with_capacity(BODY);
    bencher.bench_local(|| {
        body.clear();
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
        let used = decoder.decode(black_box(&encoded), &mut body, usize::MAX);
        assert!(decoder.is_done() && body.len() == BODY);
        used
    });
}

#[divan::bench]
fn response_head(bencher: Bencher<'_, '_>) {
    let (mut head, mut out, date) = (ResponseHead::default(), Vec::new(), imf_fixdate(784_111_777));
    let to = ResponseTo { version: Version::Http11, head_only: false, keep_alive: true };
    bencher.bench_local(|| {
        out.clear();
        fill(black_box(&mut head));
        head.encode(&mut out, &to, Some(13), &date)
    });
}

#[divan::bench]
fn access_line(bencher: Bencher<'_, '_>) {
    let (mut head, mut response, bytes) = (Head::default(), ResponseHead::default(), request("browser"));
    let complete = head.parse(bytes, &Limits::default());
    assert!(matches!(complete, Ok(Progress::Complete { .. })));
    fill(&mut response);
    let environ = EnvironValues::default();
    let record = AccessRecord {
        request: Some(head.of(bytes)),
        response: &response,
        environ: &environ,
        remote_addr: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        body_bytes: Some(13),
        time_text: "[20/Nov/2026:08:10:07 +0000]",
        elapsed: Duration::from_micros(1203),
        pid: 77,
    };
    let (format, mut out) = (AccessFormat::default(), Vec::new());
    bencher.bench_local(|| {
        out.clear();
        format.render(black_box(&record), &mut out);
        out.len()
    });
}

/// What a small application answers.
fn fill(head: &mut ResponseHead) {
    let begun = head
        .start(b"200 OK")
        .and_then(|()| head.push(b"Content-Type", b"text/html; charset=utf-8"))
        .and_then(|_| head.push(b"X-Frame-Options", b"DENY"))
        .and_then(|_| head.push(b"Content-Length", b"13"));
    assert_eq!(begun, Ok(Pushed::Taken));
}

const BODY: usize = 1 << 16;
