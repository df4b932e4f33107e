//! The laws of the room `http`, held over case files and over mutations of them.
//!
//! A case is a file: its name is a behaviour, `#` lines say why, `>` lines are what a client sends (`\r \n \t \0 \\ \xNN`,
//! and `\(ab*3)` for `ababab`), a `limits:` line changes limits, `<` lines are the outcome. With a `peer:` line (an
//! address, or `unix`) the outcome says which proxies are trusted; `setting:` lines are lines of a configuration file. In
//! `respond/`, lines are calls. `UPDATE=1` rewrites the `<` lines.

use std::fmt::Write as _;
use std::path::Path;

use crate::http_cases::case::{Case, cases, unescape};
use crate::http_cases::conversation::{assert_plain_reading, converse, is_refused};
use crate::http_cases::laws;
use crate::http_cases::mutation::{Chance, mutate};
use rwsgi::http::{
    BadResponse, BodyDecoder, BodyLength, ErrorPage, Head, LAST_CHUNK, Limits, Progress, Pushed, ResponseHead,
    ResponseTo, Version, encode_chunk, error_response,
};

#[test]
fn accepted_requests_are_read_the_same_however_they_are_cut() {
    for case in cases("accept", 150) {
        case.check(|transcript| !is_refused(transcript));
    }
}

#[test]
fn refused_requests_get_the_same_answer_however_they_are_cut() {
    for case in cases("reject", 350) {
        case.check(is_refused);
    }
}

#[test]
fn responses_are_encoded_or_refused() {
    for case in cases("respond", 70) {
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
        let whole = converse(&bytes, &case.rules, |_| bytes.len());
        let pieces = converse(&bytes, &case.rules, |_| 1 + chance.below(9));
        assert_eq!(whole, pieces, "round {round}: {}", bytes.escape_ascii());
        assert_plain_reading(&bytes, &case.rules.limits);
    }
}

#[test]
fn the_laws_hold_for_random_bytes() {
    let mut chance = Chance(0x0B5E_55ED_CAFE_F00D);
    for _ in 0..RANDOM {
        let data: Vec<u8> = (0..chance.below(120)).map(|_| chance.byte()).collect();
        laws::head(&data);
        laws::chunks(&data);
        laws::connection(&data);
        laws::response(&data);
    }
}

#[test]
fn the_laws_hold_for_mutated_requests_and_responses() {
    let seeds: Vec<Case> = cases("accept", 0).chain(cases("reject", 0)).filter(|case| case.bytes.len() < 400).collect();
    let responses: Vec<Case> = cases("respond", 0).collect();
    let mut chance = Chance(0x1CEB_00DA);
    for _ in 0..RANDOM {
        let (request, response) = (&seeds[chance.below(seeds.len())], &responses[chance.below(responses.len())]);
        for (law, mut data) in [
            (laws::head as fn(&[u8]), request.as_connection()),
            (laws::chunks, request.as_body()),
            (laws::connection, request.as_connection()),
            (laws::response, response.as_calls()),
        ] {
            data[0] = chance.byte();
            (0..=chance.below(4)).for_each(|_| mutate(&mut data, &mut chance));
            law(&data);
        }
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
        let (mut payload, mut used) = (Vec::new(), 0);
        while !decoder.is_done() {
            let end = encoded.len().min(used + 1 + chance.below(9));
            used += decoder.decode(&encoded[used..end], &mut payload, 1 + chance.below(5)).unwrap();
        }
        assert_eq!((payload, used), (body, length));
        assert_eq!(decoder.decode(&encoded[used..], &mut Vec::new(), 9), Ok(0), "done stays done");
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
    assert_eq!(head.parse(&bytes, &limits), Ok(Progress::Complete { used: bytes.len() }));
    assert_eq!(head.of(&bytes).fields().count(), 8);
}

#[test]
fn the_cases_that_the_reference_page_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/reference/http.md")).unwrap();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|words| is_case(words)).collect();
    assert!(named.len() >= 300, "the page names {} cases", named.len());
    for name in named {
        assert!(root.join("tests/http_cases").join(format!("{name}.txt")).is_file(), "no case {name}");
    }
}

fn is_case(words: &str) -> bool {
    words.split_once('/').is_some_and(|(folder, _)| ["accept", "reject", "respond"].contains(&folder))
}

/// Runs the calls of a response case.
fn respond(text: &str) -> String {
    let (mut head, mut out, mut known) = (ResponseHead::default(), Vec::new(), None);
    let mut to = parse_to("HTTP/1.1 keep-alive");
    let mut said = String::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(": ").unwrap_or((line, ""));
        match call(&mut head, word, rest) {
            Ok(Pushed::Taken) => {}
            Ok(Pushed::HopByHop) => writeln!(said, "left out: {rest}").unwrap(),
            Err(bad) => writeln!(said, "refused: {bad}").unwrap(),
        }
        match word {
            "to" => to = parse_to(rest),
            "known" => known = Some(rest.parse().unwrap()),
            "encode" => {
                let begun = head.encode(&mut out, &to, known, DATE);
                assert_own_encoding_parses(&head, &out);
                let keep = if begun.keep_alive { "keep-alive" } else { "close" };
                writeln!(said, "{:?}, {keep}", begun.transfer).unwrap();
            }
            "chunk" => encode_chunk(&mut out, &unescape(rest)),
            "last" => out.extend_from_slice(LAST_CHUNK),
            "error" => {
                let sent = error(&mut out, rest, text);
                writeln!(said, "{sent} bytes of body").unwrap();
            }
            _ => {}
        }
    }
    for line in out.split_inclusive(|&byte| byte == b'\n') {
        writeln!(said, "| {}", line.escape_ascii()).unwrap();
    }
    said
}

fn call(head: &mut ResponseHead, word: &str, rest: &str) -> Result<Pushed, BadResponse> {
    match word {
        "start" => head.start(&unescape(rest)).map(|()| Pushed::Taken),
        "push" => {
            let (name, value) = rest.split_once(": ").unwrap();
            head.push(&unescape(name), &unescape(value))
        }
        _ => Ok(Pushed::Taken),
    }
}

/// `STATUS [METHOD [ACCEPT]]`, answered with the page of the case's `page:` line, if it has one.
fn error(out: &mut Vec<u8>, words: &str, case: &str) -> u64 {
    let mut words = words.splitn(3, ' ');
    let status = words.next().unwrap().parse().unwrap();
    let method = words.next();
    let accept = words.next().map_or(String::new(), |accept| format!("Accept: {accept}\r\n"));
    let bytes = format!("{} / HTTP/1.0\r\n{accept}\r\n", method.unwrap_or_default()).into_bytes();
    let mut head = Head::default();
    let _ = head.parse(&bytes, &Limits::default());
    let page = case.lines().find_map(|line| line.strip_prefix("page: ")).and_then(|page| page.split_once(' '));
    let page = page.map(|(content_type, body)| (content_type, unescape(body)));
    let page = page.as_ref().map(|(content_type, body)| ErrorPage { content_type, body });
    error_response(out, status, DATE, head.so_far(&bytes), page.as_ref())
}

fn parse_to(text: &str) -> ResponseTo {
    let version = if text.contains("HTTP/1.0") { Version::Http10 } else { Version::Http11 };
    ResponseTo { version, head_only: text.contains("HEAD"), keep_alive: text.contains("keep-alive") }
}

/// The head on the wire has the application's code and fields, each once, in order.
fn assert_own_encoding_parses(head: &ResponseHead, out: &[u8]) {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut slots);
    assert_eq!(parsed.parse(out), Ok(httparse::Status::Complete(out.len())));
    assert_eq!(parsed.code, Some(head.code()));
    let count = head.fields().count();
    let on_wire = parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(head.fields().eq(on_wire.skip(parsed.headers.len() - count)));
}

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const MUTATIONS: usize = 6000;
const RANDOM: usize = 2500;
