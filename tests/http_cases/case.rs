//! A case: a file with the bytes of a client and their outcome. Knows the form of the files, not HTTP.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rwsgi::http::Limits;
use rwsgi::settings::{Settings, Sources, resolve};

use super::conversation::{Asked, Rules, assert_plain_reading, converse, is_refused};

pub(crate) struct Case {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) rules: Rules,
    pub(crate) expected: String,
}

/// Returns the cases of a folder, in order. Fails if there are fewer than `at_least`, as after a move of the folder.
pub(crate) fn cases(folder: &str, at_least: usize) -> impl Iterator<Item = Case> {
    // The crate of the fuzz targets is one folder further down.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|path| path.join("tests/http_cases"));
    let folder = above.find(|path| path.is_dir()).unwrap().join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= at_least, "{}: expected {at_least} cases, found {}", folder.display(), paths.len());
    paths.into_iter().map(Case::read)
}

impl Case {
    fn read(path: PathBuf) -> Case {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut case = Case { path, text, bytes: Vec::new(), rules: Rules::default(), expected: String::new() };
        let (mut settings, mut peer) = (String::new(), None);
        for line in case.text.lines() {
            if let Some(sent) = line.strip_prefix("> ") {
                case.bytes.extend(unescape(sent));
            } else if let Some(limits) = line.strip_prefix("limits: ") {
                limits.split(' ').for_each(|limit| set_limit(&mut case.rules.limits, limit));
            } else if let Some(setting) = line.strip_prefix("setting: ") {
                writeln!(settings, "{setting}").unwrap();
            } else if let Some(address) = line.strip_prefix("peer: ") {
                peer = Some(address.parse().ok());
            } else if let Some(expected) = line.strip_prefix("< ") {
                writeln!(case.expected, "{expected}").unwrap();
            }
        }
        let settings = from_toml(&settings);
        case.rules.limits.leniency = settings.limits().leniency;
        case.rules.asked = peer.map(|peer| Asked { peer, trust: settings.trust(), proxy: settings.proxy() });
        case
    }

    /// Checks a request whole, byte by byte, cut in two anywhere, and with bytes after it.
    pub(crate) fn check(&self, belongs: fn(&str) -> bool) {
        let (bytes, rules) = (&self.bytes, &self.rules);
        let whole = converse(bytes, rules, |_| bytes.len());
        self.expect(&whole);
        assert!(belongs(&whole), "{}: in the wrong folder", self.name());
        assert_eq!(whole, converse(bytes, rules, |_| 1), "{} byte by byte", self.name());
        let longest_cut = if bytes.len() > 1000 { 0 } else { bytes.len() };
        for cut in 1..longest_cut {
            let cut_in_two = converse(bytes, rules, |at| if at == 0 { cut } else { bytes.len() });
            assert_eq!(whole, cut_in_two, "{} cut at {cut}", self.name());
        }
        if !whole.ends_with("needs more\n") {
            let refused = is_refused(&whole);
            let after = if refused { String::new() } else { converse(AFTER, rules, |_| AFTER.len()) };
            let with_more = [bytes, AFTER].concat();
            for size in [1, with_more.len()] {
                let both = converse(&with_more, rules, |_| size);
                assert_eq!(format!("{whole}{after}"), both, "{} with bytes after it", self.name());
            }
        }
        assert_plain_reading(bytes, &rules.limits);
    }

    pub(crate) fn expect(&self, found: &str) {
        if std::env::var_os("UPDATE").is_some() {
            let kept = self.text.lines().filter(|line| !line.starts_with('<'));
            let new = found.lines().map(|line| format!("< {line}"));
            let lines: Vec<String> = kept.map(str::to_owned).chain(new).collect();
            std::fs::write(&self.path, lines.join("\n") + "\n").unwrap();
            return;
        }
        assert_eq!(found, self.expected, "{}: left found, right expected", self.name());
    }

    /// Returns the data for the laws of a head and of a connection.
    pub(crate) fn as_connection(&self) -> Vec<u8> {
        [&[0], self.bytes.as_slice()].concat()
    }

    /// Returns the data for the law of bodies: the bytes behind the first head.
    pub(crate) fn as_body(&self) -> Vec<u8> {
        let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        [&[0], &self.bytes[end..]].concat()
    }

    /// Returns the data for the law of responses.
    pub(crate) fn as_calls(&self) -> Vec<u8> {
        let mut data = vec![4];
        for line in self.text.lines() {
            let (kind, words) = match line.split_once(": ") {
                Some(("start", status)) => (0, vec![status]),
                Some(("push", field)) => (1, field.splitn(2, ": ").collect()),
                _ => continue,
            };
            data.push(kind);
            for word in words {
                let word = unescape(word);
                let length = u8::try_from(word.len()).unwrap_or(u8::MAX);
                data.push(length);
                data.extend_from_slice(&word[..usize::from(length)]);
            }
        }
        data
    }

    fn name(&self) -> String {
        self.path.file_stem().unwrap().to_string_lossy().replace('-', " ")
    }
}

fn from_toml(text: &str) -> Settings {
    resolve(&Sources { file: Some(("case", text)), ..Sources::default() }).unwrap().settings
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

pub(crate) fn unescape(text: &str) -> Vec<u8> {
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

/// A request that may follow any other, whatever the limits of its case.
const AFTER: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
