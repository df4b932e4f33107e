//! Laws that hold for any bytes: each is a function that panics if it is broken. `tests/http.rs` tries them with seeded
//! random data, `fuzz/` for any length of time. The first byte of the data chooses the rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rwsgi::http::forwarded::{FieldPolicy, field_policy, scheme};
use rwsgi::http::{
    AccessFormat, AccessRecord, Begun, BodyDecoder, BodyLength, EnvironValues, Head, LAST_CHUNK, Leniency, Limits,
    Progress, ProxyMode, ProxyRules, Reject, Request, ResponseHead, ResponseTo, Transfer, Trust, Version, cgi,
    encode_chunk, error_response, is_field_name,
};

use super::conversation::{Asked, Rules, assert_plain_reading, converse, describe};
use super::mutation::Chance;

/// A head is read the same however it is cut, and its known parts hold only what they may hold.
pub(crate) fn head(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let (rules, mut chance) = (rules(*seed), chance(*seed));
    let whole = read_head(bytes, &rules.limits, || bytes.len());
    assert_eq!(whole, read_head(bytes, &rules.limits, || 1));
    assert_eq!(whole, read_head(bytes, &rules.limits, || 1 + chance.below(40)));
    let mut head = Head::default();
    let progress = head.parse(bytes, &rules.limits);
    if let Ok(Progress::Complete { used }) = progress {
        // The limit does not count the ends of the last two lines.
        assert!(used <= bytes.len() && used <= rules.limits.head + 4, "{used} bytes");
        assert_eq!(head.parse(&bytes[..used], &rules.limits), progress, "nothing behind it counts");
    }
    let request = head.so_far(bytes);
    if let Some(request) = request {
        check_request(request, rules.asked.as_ref());
    }
    check_answer(request, progress.err());
    assert_plain_reading(bytes, &rules.limits);
}

/// A body is decoded the same however it is cut and however little room there is.
pub(crate) fn chunks(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let (limits, mut chance) = (rules(*seed).limits, chance(*seed));
    let length = if seed & 0x40 == 0 { BodyLength::Chunked } else { BodyLength::Known(u64::from(*seed)) };
    let whole = read_body(bytes, (length, &limits), || (bytes.len(), usize::MAX));
    assert_eq!(whole, read_body(bytes, (length, &limits), || (1, 1)));
    assert_eq!(whole, read_body(bytes, (length, &limits), || (1 + chance.below(20), chance.below(9))));
    let (end, payload) = whole;
    assert!(limits.body.is_none_or(|limit| payload.len() as u64 <= limit.max(u64::from(*seed))));
    if let (Ok((used, true)), BodyLength::Chunked) = (end, length) {
        check_against_httparse(&bytes[..used], &payload);
        let mut again = Vec::new();
        payload.chunks(1 + chance.below(50)).for_each(|piece| encode_chunk(&mut again, piece));
        again.extend_from_slice(LAST_CHUNK);
        let own = read_body(&again, (length, &limits), || (again.len(), usize::MAX));
        assert_eq!(own, (Ok((again.len(), true)), payload), "encoded and decoded");
    }
}

/// A connection has the same outcome however its bytes are cut, and bytes behind a refusal have none.
pub(crate) fn connection(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let (rules, mut chance) = (rules(*seed), chance(*seed));
    let whole = converse(bytes, &rules, |_| bytes.len());
    assert_eq!(whole, converse(bytes, &rules, |_| 1 + chance.below(30)));
    assert_eq!(whole, converse(bytes, &rules, |_| 1));
    let refusals = whole.lines().filter(|line| line.starts_with("refused ")).count();
    assert!(refusals == 0 || refusals == 1 && whole.lines().last().unwrap().starts_with("refused "), "{whole}");
}

/// Any calls of an application give one response with one framing. The data is calls: kind, lengths, arguments.
pub(crate) fn response(data: &[u8]) {
    let (Some((flags, rest)), mut head) = (data.split_first(), ResponseHead::default()) else { return };
    let mut rest = rest;
    for _ in 0..64 {
        let (before, fields) = (head.code(), head.fields().count());
        let refused = match rest.split_first() {
            Some((kind, after)) if kind % 4 == 0 => {
                let (status, after) = word(after);
                rest = after;
                head.start(status).is_err()
            }
            Some((_, after)) => {
                let (name, after) = word(after);
                let (value, after) = word(after);
                rest = after;
                head.push(name, value).is_err()
            }
            None => break,
        };
        assert!(!refused || (before, fields) == (head.code(), head.fields().count()), "a refusal changed the head");
    }
    if head.is_started() {
        let version = if flags & 1 == 0 { Version::Http11 } else { Version::Http10 };
        let to = ResponseTo { version, head_only: flags & 2 != 0, keep_alive: flags & 4 != 0 };
        check_response(&head, to, (flags & 8 != 0).then_some(u64::from(flags >> 4)));
    }
}

/// Returns the bytes whose number stands before them, and the rest.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return (&[], &[]) };
    rest.split_at(rest.len().min(usize::from(*length)))
}

/// Returns the room's own limits or tight ones, with no peer or one of several.
pub(crate) fn rules(seed: u8) -> Rules {
    let tight = Limits {
        request_line: 60,
        fields: 4,
        field_size: 50,
        head: 150,
        body: Some(40),
        chunk_line: 12,
        chunk_overhead: 50,
        trailers: 30,
        leniency: Leniency::default(),
    };
    let all = Leniency {
        folding: true,
        blanks_before_colon: true,
        any_method: true,
        any_version: true,
        casefold_method: true,
    };
    let leniency = if seed & 16 == 0 { Leniency::default() } else { all };
    let limits = Limits { leniency, ..if seed & 1 == 0 { Limits::default() } else { tight } };
    let mode = if seed & 32 == 0 { ProxyMode::Off } else { ProxyMode::Auto };
    let proxy = ProxyRules { mode, peers: Trust::default().peers };
    let ask = |peer, underscored| {
        Some(Asked { peer, trust: Trust { underscored, ..Trust::default() }, proxy: proxy.clone() })
    };
    let asked = match seed >> 1 & 7 {
        0 => None,
        1 => ask(None, FieldPolicy::Refuse),
        2 => ask(Some(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())), FieldPolicy::Drop),
        3 => ask(Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), FieldPolicy::Keep),
        _ => ask(Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))), FieldPolicy::Refuse),
    };
    Rules { limits, asked }
}

fn chance(seed: u8) -> Chance {
    Chance(0x5EED_0F2D_15CA_11ED ^ u64::from(seed))
}

fn read_head(bytes: &[u8], limits: &Limits, mut size: impl FnMut() -> usize) -> (Result<Progress, Reject>, String) {
    let (mut head, mut end) = (Head::default(), 0);
    loop {
        end = bytes.len().min(end + size());
        let progress = head.parse(&bytes[..end], limits);
        if progress != Ok(Progress::NeedMore) || end == bytes.len() {
            let mut known = String::new();
            if let Some(request) = head.so_far(&bytes[..end]) {
                describe(request, &mut known);
            }
            return (progress, known);
        }
    }
}

/// The end of a body, as bytes used and true if it is whole; and its payload.
type Decoded = (Result<(usize, bool), Reject>, Vec<u8>);

/// Reads in pieces whose sizes, with the room for payload, `size` returns.
fn read_body(bytes: &[u8], of: (BodyLength, &Limits), mut size: impl FnMut() -> (usize, usize)) -> Decoded {
    let (mut decoder, mut payload) = (BodyDecoder::new(of.0, of.1), Vec::new());
    let (mut used, mut end) = (0, 0);
    loop {
        let (more, room) = size();
        end = bytes.len().min(end + more);
        let before = payload.len();
        match decoder.decode(&bytes[used..end], &mut payload, room) {
            Ok(taken) => used += taken,
            Err(reject) => return (Err(reject), payload),
        }
        assert!(payload.len() - before <= room, "more than there was room for");
        // With no room, data waits; all else is taken.
        if decoder.is_done() || (end == bytes.len() && (used == end || room > 0 && payload.len() == before)) {
            break;
        }
    }
    if decoder.is_done() {
        assert_eq!(decoder.decode(&bytes[used..], &mut payload, 9), Ok(0), "done stays done");
    }
    (Ok((used, decoder.is_done())), payload)
}

/// Checks that a known request holds only what a request may hold, and that it can be turned into variables.
fn check_request(request: Request<'_>, asked: Option<&Asked>) {
    assert!(is_field_name(request.method()) && request.target().iter().all(u8::is_ascii_graphic));
    assert!(request.path().starts_with(b"/") || request.path() == b"*", "{request:?}");
    let mut out = Vec::new();
    cgi::decode_path(request.path(), &mut out);
    assert!(out.len() <= request.path().len());
    for (name, value) in request.fields() {
        assert!(is_field_name(name) && value.iter().all(|&byte| byte == b'\t' || byte >= 0x20 && byte != 0x7f));
        assert!(!value.starts_with(b" ") && !value.ends_with(b"\t"));
        cgi::variable_name(name, &mut out);
        assert!(out.iter().all(|byte| is_field_name(&[*byte]) && !byte.is_ascii_lowercase() && *byte != b'-'));
        if let Some(asked) = asked {
            let is_kept = field_policy(name, asked.peer, &asked.trust) == FieldPolicy::Keep;
            assert!(is_kept || name.contains(&b'_'));
        }
    }
    if let Some(asked) = asked {
        let believed = scheme(request, rwsgi::http::Scheme::Http, asked.peer, &asked.trust);
        assert!(asked.trust.believes(asked.peer) || believed == Ok(rwsgi::http::Scheme::Http));
    }
}

/// Checks that the answer to a refusal is one response, and that its line in the log is one line.
fn check_answer(request: Option<Request<'_>>, reject: Option<Reject>) {
    let mut out = Vec::new();
    let status = reject.as_ref().map_or(500, Reject::status);
    let sent = error_response(&mut out, status, DATE, request, None);
    let mut slots = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut slots);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(&out) else {
        panic!("no response: {}", out.escape_ascii())
    };
    assert_eq!((parsed.code, out.len() - length), (Some(status), usize::try_from(sent).unwrap()));
    assert!(reject.is_none_or(|reject| !reject.to_string().contains(char::is_control)));
    let mut response = ResponseHead::default();
    response.start(b"400 Bad Request").unwrap();
    let record = AccessRecord {
        request,
        response: &response,
        environ: &EnvironValues::default(),
        remote_addr: Some(std::net::Ipv6Addr::LOCALHOST.into()),
        body_bytes: Some(sent),
        time_text: "-",
        elapsed: Duration::ZERO,
        pid: 1,
    };
    out.clear();
    AccessFormat::default().render(&record, &mut out);
    assert!(out.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", out.escape_ascii());
}

/// Checks that httparse, which is more lenient, reads the same chunks and trailers if it reads them at all.
fn check_against_httparse(bytes: &[u8], payload: &[u8]) {
    let (mut at, mut other) = (0, Vec::new());
    loop {
        // It gives up on many leading zeros.
        let Ok(status) = httparse::parse_chunk_size(&bytes[at..]) else { return };
        let httparse::Status::Complete((length, size)) = status else { panic!("a chunk without its end") };
        let (start, size) = (at + length, usize::try_from(size).unwrap());
        at = start + size;
        if size == 0 {
            break;
        }
        other.extend_from_slice(&bytes[start..at]);
        assert_eq!(&bytes[at..at + 2], b"\r\n");
        at += 2;
    }
    let mut slots = vec![httparse::EMPTY_HEADER; bytes.len() / 3];
    let trailers = httparse::parse_headers(&bytes[at..], &mut slots);
    assert!(matches!(trailers, Ok(httparse::Status::Complete((length, _))) if at + length == bytes.len()));
    assert_eq!(other, payload);
}

fn check_response(head: &ResponseHead, to: ResponseTo, known: Option<u64>) {
    let mut out = Vec::new();
    let begun = head.encode(&mut out, &to, known, DATE);
    let mut slots = [httparse::EMPTY_HEADER; 80];
    let mut parsed = httparse::Response::new(&mut slots);
    assert_eq!(parsed.parse(&out), Ok(httparse::Status::Complete(out.len())), "{}", out.escape_ascii());
    assert_eq!(parsed.code, Some(head.code()));
    let own = parsed.headers.len() - head.fields().count();
    let on_wire = parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(head.fields().eq(on_wire.skip(own)), "{}", out.escape_ascii());
    let all = |name: &str| {
        let named = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value.escape_ascii().to_string()).collect::<Vec<_>>()
    };
    check_framing(head.code(), to, begun, &all("content-length"), &all("transfer-encoding"));
    let expected = match (begun.keep_alive, to.version) {
        _ if head.code() == 101 => vec!["upgrade"],
        (false, _) => vec!["close"],
        (true, Version::Http10) => vec!["keep-alive"],
        (true, Version::Http11) => vec![],
    };
    assert_eq!(all("connection"), expected);
}

/// Checks RFC 9112 section 6 for a response.
fn check_framing(code: u16, to: ResponseTo, begun: Begun, lengths: &[String], codings: &[String]) {
    assert!(lengths.len() + codings.len() <= 1, "two framings: {lengths:?} {codings:?}");
    assert!(codings.is_empty() || to.version == Version::Http11);
    assert!(!begun.keep_alive || to.keep_alive);
    match begun.transfer {
        Transfer::Length(length) => assert_eq!(lengths[0].parse(), Ok(length)),
        Transfer::Chunked => assert_eq!(codings, ["chunked"]),
        Transfer::UntilClose => assert!(lengths.is_empty() && codings.is_empty() && !begun.keep_alive),
        Transfer::Nothing => assert!(codings.is_empty() && (to.head_only || [204, 205, 304].contains(&code))),
    }
    assert!(lengths.is_empty() || !matches!(code, 101 | 204), "{code} with a length");
}

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
