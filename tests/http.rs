//! The laws of the room `http`, held over case files and over mutations of them.
//!
//! A case is a file: its name is a behaviour, `#` lines say why, `>` lines are what a client sends (`\r \n \t \0 \\ \xNN`,
//! and `\(ab*3)` for `ababab`), a `limits:` line changes limits, `<` lines are what comes of it. In `respond/`, words are
//! calls. `UPDATE=1` rewrites the `<` lines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rwsgi::http::{
    BodyDecoder, BodyLength, Head, LAST_CHUNK, Limits, Progress, Reject, Request, ResponseHead,
    ResponseTo, Version, encode_chunk, error_response,
};

#[test]
fn accepted_requests_are_read_the_same_however_they_are_cut() {
    for case in cases("accept", 40) {
        case.check(|transcript| !transcript.contains("refused"));
    }
}

#[test]
fn refused_requests_get_the_same_answer_however_they_are_cut() {
    for case in cases("reject", 60) {
        case.check(|transcript| transcript.contains("refused"));
    }
}

#[test]
fn responses_are_encoded_or_refused() {
    for case in cases("respond", 20) {
        case.expect(&respond(&case.text));
    }
}

#[test]
fn mutated_requests_are_read_the_same_however_they_are_cut() {
    let seeds: Vec<Case> = cases("accept", 0).chain(cases("reject", 0)).collect();
    let mut chance = Chance(0x5EED_0F2D_15CA_11ED);
    for round in 0..MUTATIONS {
        let case = &seeds[chance.below(seeds.len())];
        let mut bytes = case.bytes.clone();
        for _ in 0..=chance.below(3) {
            mutate(&mut bytes, &mut chance);
        }
        let whole = converse(&bytes, &case.limits, |_| bytes.len());
        let pieces = converse(&bytes, &case.limits, |_| 1 + chance.below(9));
        assert_eq!(whole, pieces, "round {round}: {}", bytes.escape_ascii());
        assert_httparse_agrees(&bytes, &case.limits);
    }
}

#[test]
fn what_is_encoded_in_chunks_is_decoded() {
    let mut chance = Chance(7);
    for _ in 0..200 {
        let (mut body, mut encoded) = (Vec::new(), Vec::new());
        for _ in 0..chance.below(6) {
            let chunk: Vec<u8> = (0..chance.below(40)).map(|_| chance.byte()).collect();
            encode_chunk(&mut encoded, &chunk);
            body.extend(chunk);
        }
        encoded.extend_from_slice(LAST_CHUNK);
        let length = encoded.len();
        encoded.extend_from_slice(b"0\r\n\r\n");
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &Limits::default());
        let (mut decoded, mut used) = (Vec::new(), 0);
        while !decoder.is_done() {
            let end = encoded.len().min(used + 1 + chance.below(9));
            used += decoder
                .decode(&encoded[used..end], &mut decoded, 1 + chance.below(5))
                .unwrap();
        }
        assert_eq!((decoded, used), (body, length));
        assert_eq!(
            decoder.decode(&encoded[used..], &mut Vec::new(), 9),
            Ok(0),
            "done stays done"
        );
    }
}

#[test]
fn a_head_in_drips_is_looked_at_once() {
    // 64 KiB in single bytes: quadratic work would be two thousand million steps and take minutes unoptimised.
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for number in 0..7 {
        bytes.extend(format!("X-{number}: {}\r\n", "v".repeat(8000)).bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    let (mut head, limits) = (Head::default(), Limits::default());
    for end in 1..bytes.len() {
        assert_eq!(head.parse(&bytes[..end], &limits), Ok(Progress::NeedMore));
    }
    assert_eq!(
        head.parse(&bytes, &limits),
        Ok(Progress::Complete { used: bytes.len() })
    );
    assert_eq!(head.of(&bytes).fields().count(), 8);
}

struct Case {
    path: PathBuf,
    text: String,
    bytes: Vec<u8>,
    limits: Limits,
    expected: String,
}

/// The cases of a folder, in order; at least so many, so that a moved folder does not pass.
fn cases(folder: &str, at_least: usize) -> impl Iterator<Item = Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/http_cases")
        .join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(
        paths.len() >= at_least,
        "{}: expected {at_least} cases, found {}",
        folder.display(),
        paths.len()
    );
    paths.into_iter().map(Case::read)
}

impl Case {
    fn read(path: PathBuf) -> Case {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut case = Case {
            path,
            text,
            bytes: Vec::new(),
            limits: Limits::default(),
            expected: String::new(),
        };
        for line in case.text.lines() {
            if let Some(sent) = line.strip_prefix("> ") {
                case.bytes.extend(unescape(sent));
            } else if let Some(limits) = line.strip_prefix("limits: ") {
                limits
                    .split(' ')
                    .for_each(|limit| set_limit(&mut case.limits, limit));
            } else if let Some(expected) = line.strip_prefix("< ") {
                writeln!(case.expected, "{expected}").unwrap();
            }
        }
        case
    }

    /// One check for every request: whole, byte by byte, cut in two anywhere, and with bytes after it.
    fn check(&self, belongs: fn(&str) -> bool) {
        let (bytes, limits) = (&self.bytes, &self.limits);
        let whole = converse(bytes, limits, |_| bytes.len());
        self.expect(&whole);
        assert!(belongs(&whole), "{}: in the wrong folder", self.name());
        assert_eq!(
            whole,
            converse(bytes, limits, |_| 1),
            "{} byte by byte",
            self.name()
        );
        let longest_cut = if bytes.len() > 1000 { 0 } else { bytes.len() };
        for cut in 1..longest_cut {
            let cut_in_two = converse(bytes, limits, |at| if at == 0 { cut } else { bytes.len() });
            assert_eq!(whole, cut_in_two, "{} cut at {cut}", self.name());
        }
        if !whole.ends_with("needs more\n") {
            let refused = whole.contains("refused");
            let after = if refused {
                String::new()
            } else {
                converse(AFTER, limits, |_| AFTER.len())
            };
            let with_more = [bytes, AFTER].concat();
            for size in [1, with_more.len()] {
                let both = converse(&with_more, limits, |_| size);
                assert_eq!(
                    format!("{whole}{after}"),
                    both,
                    "{} with bytes after it",
                    self.name()
                );
            }
        }
        assert_httparse_agrees(bytes, limits);
    }

    fn expect(&self, found: &str) {
        if std::env::var_os("UPDATE").is_some() {
            let kept = self.text.lines().filter(|line| !line.starts_with('<'));
            let new = found.lines().map(|line| format!("< {line}"));
            let lines: Vec<String> = kept.map(str::to_owned).chain(new).collect();
            std::fs::write(&self.path, lines.join("\n") + "\n").unwrap();
            return;
        }
        assert_eq!(
            found,
            self.expected,
            "{}: left found, right expected",
            self.name()
        );
    }

    fn name(&self) -> String {
        self.path
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .replace('-', " ")
    }
}

/// Reads `bytes` as a connection would, in pieces of `size(offset)`, and writes down what comes of it.
fn converse(bytes: &[u8], limits: &Limits, mut size: impl FnMut(usize) -> usize) -> String {
    let mut transcript = String::new();
    let (mut head, mut start, mut end) = (Head::default(), 0, 0);
    let mut body: Option<(BodyDecoder, Vec<u8>)> = None;
    while end < bytes.len() {
        let piece = size(end);
        end = bytes.len().min(end + piece);
        while let Some(used) = step(
            &mut head,
            &mut body,
            &bytes[start..end],
            limits,
            &mut transcript,
        )
        .unwrap_or_else(|reject| {
            writeln!(transcript, "refused {}: {reject}", reject.status()).unwrap();
            None
        }) {
            start += used;
        }
        if transcript.contains("refused") {
            return transcript;
        }
    }
    if start < bytes.len() || body.is_some() {
        transcript.push_str("needs more\n");
    }
    transcript
}

/// One step of a connection: how many bytes it used, or `None` if it waits for more.
fn step(
    head: &mut Head,
    body: &mut Option<(BodyDecoder, Vec<u8>)>,
    bytes: &[u8],
    limits: &Limits,
    transcript: &mut String,
) -> Result<Option<usize>, Reject> {
    let Some((decoder, decoded)) = body else {
        let Progress::Complete { used } = head.parse(bytes, limits)? else {
            return Ok(None);
        };
        let request = head.of(bytes);
        describe(request, transcript);
        let length = request.body_length();
        if length != BodyLength::None {
            *body = Some((BodyDecoder::new(length, limits), Vec::new()));
        }
        head.reset();
        return Ok(Some(used));
    };
    let room = ROOM.min(bytes.len().max(1));
    let used = decoder.decode(bytes, decoded, room)?;
    if decoder.is_done() {
        match decoded.len() {
            0..=100 => writeln!(transcript, "body \"{}\"", decoded.escape_ascii()).unwrap(),
            length => writeln!(transcript, "body of {length} bytes").unwrap(),
        }
        *body = None;
        return Ok(Some(used));
    }
    Ok((used > 0).then_some(used))
}

fn describe(request: Request<'_>, transcript: &mut String) {
    let mut line = |line: String| writeln!(transcript, "{line}").unwrap();
    let text = |bytes: &[u8]| match bytes.len() {
        0..=100 => bytes.escape_ascii().to_string(),
        length => format!("({length} bytes)"),
    };
    line(format!(
        "{} {} {}",
        text(request.method()),
        text(request.target()),
        request.version().as_str()
    ));
    line(format!(
        "path \"{}\" query \"{}\"",
        text(request.path()),
        text(request.query())
    ));
    for (name, value) in request.fields() {
        line(format!("field {}: {}", text(name), text(value)));
    }
    let keep = if request.wants_keep_alive() {
        "keep-alive"
    } else {
        "close"
    };
    let expects = if request.expects_continue() {
        ", expects 100"
    } else {
        ""
    };
    line(format!("{:?}, {keep}{expects}", request.body_length()));
}

/// What is accepted here, httparse accepts and reads the same: strictness adds refusals, never another reading.
fn assert_httparse_agrees(bytes: &[u8], limits: &Limits) {
    let mut head = Head::default();
    let Ok(Progress::Complete { used }) = head.parse(bytes, limits) else {
        return;
    };
    let request = head.of(bytes);
    let mut slots = vec![httparse::EMPTY_HEADER; 200];
    let mut other = httparse::Request::new(&mut slots);
    match other.parse(bytes) {
        Ok(status) => assert_eq!(status, httparse::Status::Complete(used)),
        // It knows 1.0 and 1.1 alone.
        Err(httparse::Error::Version) => return,
        Err(error) => panic!("httparse: {error}: {}", bytes.escape_ascii()),
    }
    assert_eq!(other.method.unwrap().as_bytes(), request.method());
    assert_eq!(other.path.unwrap().as_bytes(), request.target());
    let is_host = |name: &[u8]| name.eq_ignore_ascii_case(b"host");
    let ours = request.fields().filter(|(name, _)| !is_host(name));
    let theirs = other
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value));
    assert!(
        ours.eq(theirs.filter(|(name, _)| !is_host(name))),
        "{}",
        bytes.escape_ascii()
    );
}

/// Runs the calls of a response case.
fn respond(text: &str) -> String {
    let (mut head, mut out, mut known) = (ResponseHead::default(), Vec::new(), None);
    let mut to = ResponseTo {
        version: Version::Http11,
        head_only: false,
        keep_alive: true,
    };
    let mut said = String::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(": ").unwrap_or((line, ""));
        let result = match word {
            "start" => head.start(&unescape(rest)),
            "push" => {
                let (name, value) = rest.split_once(": ").unwrap();
                head.push(&unescape(name), &unescape(value))
            }
            _ => Ok(()),
        };
        if let Err(bad) = result {
            writeln!(said, "refused: {bad}").unwrap();
        }
        match word {
            "to" => {
                to.version = if rest.contains("HTTP/1.0") {
                    Version::Http10
                } else {
                    Version::Http11
                };
                to.head_only = rest.contains("HEAD");
                to.keep_alive = rest.contains("keep-alive");
            }
            "known" => known = Some(rest.parse().unwrap()),
            "encode" => {
                let begun = head.encode(&mut out, &to, known, DATE);
                assert_own_encoding_parses(&head, &out);
                let keep = if begun.keep_alive {
                    "keep-alive"
                } else {
                    "close"
                };
                writeln!(said, "{:?}, {keep}", begun.transfer).unwrap();
            }
            "chunk" => encode_chunk(&mut out, &unescape(rest)),
            "last" => out.extend_from_slice(LAST_CHUNK),
            "error" => {
                let (status, accept) = rest
                    .split_once(' ')
                    .map_or((rest, None), |(s, a)| (s, Some(a.as_bytes())));
                error_response(&mut out, status.parse().unwrap(), DATE, accept);
            }
            _ => {}
        }
    }
    for line in out.split_inclusive(|&byte| byte == b'\n') {
        writeln!(said, "| {}", line.escape_ascii()).unwrap();
    }
    said
}

/// The head on the wire has the application's code and fields, each once, in order.
fn assert_own_encoding_parses(head: &ResponseHead, out: &[u8]) {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut slots);
    assert_eq!(parsed.parse(out), Ok(httparse::Status::Complete(out.len())));
    assert_eq!(parsed.code, Some(head.code()));
    let count = head.fields().count();
    let on_wire = parsed
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value));
    assert!(head.fields().eq(on_wire.skip(parsed.headers.len() - count)));
}

fn set_limit(limits: &mut Limits, limit: &str) {
    let (name, value) = limit.split_once('=').unwrap();
    let number: usize = value.parse().unwrap();
    match name {
        "request_line" => limits.request_line = number,
        "fields" => limits.fields = number,
        "field_size" => limits.field_size = number,
        "head" => limits.head = number,
        "body" => limits.body = Some(number as u64),
        "chunk_line" => limits.chunk_line = number,
        "chunk_overhead" => limits.chunk_overhead = number as u64,
        "trailers" => limits.trailers = number,
        _ => panic!("limits: expected a limit's name, found {name}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = &escape[1..];
        match escape.as_bytes()[0] {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            b'(' => {
                let (repeated, after) = rest.split_once(')').unwrap();
                let (piece, count) = repeated.rsplit_once('*').unwrap();
                bytes.extend(unescape(piece).repeat(count.parse().unwrap()));
                rest = after;
            }
            other => panic!("expected an escape, found {}", char::from(other)),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// xorshift64: the same sequence everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[2]
    }
}

/// Changes a byte, takes some out, doubles some, or puts in what parsers stumble over.
fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
    // Most of a long case is filling; the start is where it is decided.
    let at = chance.below(bytes.len().min(600));
    let end = bytes.len().min(at + chance.below(8));
    match chance.below(4) {
        0 => bytes[at] = chance.byte(),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let doubled = bytes[at..end].to_vec();
            bytes.splice(at..at, doubled);
        }
        _ => {
            let word = STUMBLES[chance.below(STUMBLES.len())];
            bytes.splice(at..end, word.iter().copied());
        }
    }
    if bytes.is_empty() {
        bytes.push(b'\r');
    }
}

const STUMBLES: [&[u8]; 22] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"\"",
    b"0\r\n\r\n",
    b"\x0b",
    b"\xff",
    b"\r\n ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: +3\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"ffffffffffffffff",
    b"HTTP/1.0",
];

/// A request that may follow any other, whatever the limits of its case.
const AFTER: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
/// Small, so that a body takes several calls.
const ROOM: usize = 5;
const MUTATIONS: usize = 6000;
