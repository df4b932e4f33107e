//! The head of a request: request line and fields, in the caller's buffer, in one piece or in many.
//! Reads no body, owns no bytes, allocates nothing once warm for a head in one piece.
//!
//! httparse parses. It is more lenient than this server (LF for CRLF, empty lines before a request, no limits), so every
//! head goes one of two ways:
//!
//! - A head that is whole at the first look, as most are, is passed in one run of httparse. The rules that httparse lacks
//!   are checked on its result.
//! - Any other head is followed line by line. Each byte is searched for LF once: a line that is too long, one too many, or
//!   not ended by CRLF is refused at the first byte that makes it so. httparse gets the request line when that is whole,
//!   and the fields when the empty line is there. So it runs over a byte twice at most, in however many pieces it came.
//!
//! Every check holds for a piece of a line exactly if it holds for the line, so a request gets the same answer however it
//! was cut into pieces.

use std::mem::MaybeUninit;

use super::fields::{self, Field, Lengths, Span};
use super::framing::{self, BodyLength};
use super::grammar;
use super::limits::{Leniency, Limits};
use super::reject::{Excerpt, Reject};
use super::request_line::{self, Words};
use super::target;
use super::version::Version;

/// The outcome of [`Head::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head goes on beyond these bytes.
    NeedMore,
    /// The head is whole.
    Complete {
        /// Its length in bytes, with its last CRLF and the empty line before it, if there was one.
        used: usize,
    },
}

/// The places of the parts of a request's head in the caller's buffer, and what they decide. Reused for each request of a
/// connection.
#[derive(Debug, Default)]
pub struct Head {
    lines: Lines,
    pub(super) method: Span,
    /// The method in capitals, where it was received otherwise and that is permitted.
    pub(super) folded_method: Vec<u8>,
    pub(super) target: Span,
    pub(super) authority: Option<Span>,
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) version: Version,
    /// The fields, once httparse has parsed them.
    fields: Vec<Field>,
    /// True if all fields are there and valid.
    has_fields: bool,
    /// Lengths of the fields' names.
    lengths: Lengths,
    pub(super) body: BodyLength,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

/// The lines of a head that have been passed, and the one that is being read.
#[derive(Debug, Default)]
struct Lines {
    stage: Stage,
    /// Number of lines passed, from the request line on.
    passed: usize,
    /// Offset of the line that is being read.
    start: usize,
    /// Offset up to which that line has been searched for its end.
    searched: usize,
    /// Offset of the first field line.
    fields_start: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    AfterEmptyLine,
    Fields,
    Complete {
        used: usize,
    },
}

impl Head {
    /// Parses `bytes`, everything received since the end of the previous request. After [`Progress::NeedMore`] it is called
    /// again with the same bytes and more. Bytes after the head are not touched.
    ///
    /// Once complete it stays so until [`Head::reset`]; once refused it stays refused.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Reject> {
        if self.lines.stage == Stage::Start && self.lines.searched == 0 {
            match self.pass_whole_head(bytes, limits) {
                Some(used) => return self.complete(bytes, used, limits),
                None => self.fields.clear(),
            }
        }
        loop {
            if let Stage::Complete { used } = self.lines.stage {
                return Ok(Progress::Complete { used });
            }
            let rest = bytes.get(self.lines.start..).unwrap_or_default();
            let searched = (self.lines.searched - self.lines.start).min(rest.len());
            let end = memchr::memchr(b'\n', &rest[searched..]).map(|at| searched + at + 1);
            let line = &rest[..end.unwrap_or(rest.len())];
            self.check_line(line, limits)?;
            if end.is_none() {
                self.lines.searched = self.lines.start + line.len();
                return Ok(Progress::NeedMore);
            }
            let content = line.strip_suffix(b"\r\n").ok_or(Reject::BareLf { line: self.lines.passed + 1 })?;
            self.take_line(content, bytes, limits)?;
        }
    }

    /// Passes all lines of a head but the empty one at its end, in one run of httparse. Returns `None`, having passed
    /// nothing, for a head that is not whole, breaks a rule or a limit, or has a version that httparse does not know; else
    /// the head's length.
    fn pass_whole_head(&mut self, bytes: &[u8], limits: &Limits) -> Option<usize> {
        let mut slots = [const { MaybeUninit::uninit() }; SLOTS];
        let slots = &mut slots[..limits.fields.min(SLOTS)];
        let mut parsed = httparse::Request::new(&mut []);
        let Ok(httparse::Status::Complete(used)) = parsed.parse_with_uninit_headers(bytes, slots) else { return None };
        let (method, target) = (parsed.method?.as_bytes(), parsed.path?.as_bytes());
        let start = Span::within(bytes, method).start();
        let version = Span::within(bytes, target).end() + 1;
        let line_end = version + VERSION;
        // Both ways of an empty line are taken by httparse, and any number of them.
        let is_first = start == 0 || start == 2 && bytes.starts_with(b"\r\n");
        let is_within = line_end - start <= limits.request_line && used <= limits.head.min(LARGEST_HEAD);
        if !is_first || !is_within || bytes.get(line_end) != Some(&b'\r') {
            return None;
        }
        self.take_words([method, target, &bytes[version..line_end]], bytes, limits.leniency).ok()?;
        let fields_end = self.pass_fields(parsed.headers, bytes, line_end + CRLF, field_content(limits))?;
        if used != fields_end + CRLF {
            return None;
        }
        self.lines = Lines {
            stage: Stage::Fields,
            passed: 1 + self.fields.len(),
            start: fields_end,
            searched: fields_end,
            fields_start: line_end + CRLF,
        };
        Some(used)
    }

    /// Takes over the fields that httparse has found from the offset `start` on, and returns the offset behind their lines;
    /// `None` if a line is longer than `limit`, or does not end in CRLF.
    fn pass_fields(
        &mut self,
        parsed: &[httparse::Header<'_>],
        bytes: &[u8],
        start: usize,
        limit: usize,
    ) -> Option<usize> {
        let (mut line_start, mut is_usual) = (start, true);
        self.fields.extend(parsed.iter().map(|parsed| {
            let field = Field::within(bytes, parsed);
            let behind = bytes.get(field.value.end()..).unwrap_or_default();
            let line_end = field.value.end() + grammar::blanks(behind);
            is_usual &= bytes.get(line_end) == Some(&b'\r') && line_end - line_start <= limit;
            line_start = line_end + CRLF;
            field
        }));
        is_usual.then_some(line_start)
    }

    /// Forgets the request, keeps the memory.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Head { fields, ..Head::default() };
    }

    /// True if the request line is whole and valid.
    pub(super) fn has_request_line(&self) -> bool {
        matches!(self.lines.stage, Stage::Fields | Stage::Complete { .. })
    }

    /// Refuses what no further byte can make good. `line` is a line, or the piece of it that is there.
    fn check_line(&self, line: &[u8], limits: &Limits) -> Result<(), Reject> {
        let in_fields = self.lines.stage == Stage::Fields;
        if in_fields {
            // The empty line that ends the head is not a field.
            if self.lines.passed > limits.fields && !matches!(line, [] | [b'\r'] | [b'\r', b'\n', ..]) {
                return Err(Reject::FieldsTooMany { limit: limits.fields });
            }
        } else if let [first, ..] = line {
            // A TLS handshake on a plain port is seen by its first byte.
            if !grammar::is_token_byte(*first) && !matches!(first, b'\r' | b'\n') {
                return Err(Reject::Method { found: Excerpt::of(&line[..1]) });
            }
        }
        // The limit that is met first depends only on where the line starts, not on how much of it is there.
        let size = if in_fields { field_content(limits) } else { limits.request_line };
        let head = limits.head.min(LARGEST_HEAD);
        let left = head.saturating_sub(self.lines.start);
        match grammar::content_length(line) {
            length if length <= size.min(left) => Ok(()),
            _ if left < size => Err(Reject::HeadTooLarge { limit: head }),
            _ if in_fields => Err(Reject::FieldTooLong { line: self.lines.passed + 1, limit: limits.field_size }),
            _ => Err(Reject::RequestLineTooLong { limit: size }),
        }
    }

    /// Passes a whole line that is within every limit.
    fn take_line(&mut self, content: &[u8], bytes: &[u8], limits: &Limits) -> Result<(), Reject> {
        let next = self.lines.start + content.len() + CRLF;
        match self.lines.stage {
            Stage::Start if content.is_empty() => self.lines.stage = Stage::AfterEmptyLine,
            Stage::AfterEmptyLine if content.is_empty() => return Err(Reject::EmptyLines),
            Stage::Fields if content.is_empty() => {
                self.complete(bytes, next, limits)?;
            }
            Stage::Start | Stage::AfterEmptyLine => {
                let words = request_line::words(content, limits.leniency)?;
                self.take_words(words, bytes, limits.leniency)?;
                self.lines.passed = 1;
                self.lines.fields_start = next;
                self.lines.stage = Stage::Fields;
            }
            Stage::Fields | Stage::Complete { .. } => self.lines.passed += 1,
        }
        self.lines.start = next;
        self.lines.searched = next;
        Ok(())
    }

    /// Ends a head of `used` bytes, of which all lines have been passed.
    fn complete(&mut self, bytes: &[u8], used: usize, limits: &Limits) -> Result<Progress, Reject> {
        self.take_fields(bytes.get(..used).unwrap_or_default(), limits)?;
        self.lines.stage = Stage::Complete { used };
        Ok(Progress::Complete { used })
    }

    /// Judges the words of the request line, which are slices of `bytes`.
    fn take_words(&mut self, words: Words<'_>, bytes: &[u8], leniency: Leniency) -> Result<(), Reject> {
        let line = request_line::judge(words, leniency)?;
        let [method, target, _] = words.map(|word| Span::within(bytes, word));
        let part = |range: std::ops::Range<usize>| Span::new(target.start() + range.start, target.start() + range.end);
        self.method = method;
        self.folded_method = line.folded_method;
        self.target = target;
        self.authority = line.target.authority.map(part);
        self.path = part(line.target.path);
        self.query = part(line.target.query);
        self.version = line.version;
        Ok(())
    }

    /// Takes the fields of a head that is whole: `bytes` end with it.
    fn take_fields(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Reject> {
        let count = self.lines.passed - 1;
        if self.fields.len() != count {
            self.fields.clear();
            let block = bytes.get(self.lines.fields_start..).unwrap_or_default();
            fields::parse(block, count, 2, |field| self.fields.push(Field::within(bytes, field)))?;
        }
        self.has_fields = true;
        let names = self.fields.iter().map(|field| Lengths::of(field.name.length()));
        self.lengths = names.fold(Lengths::default(), Lengths::and);
        let meaning = Meaning::of(&self.fields, bytes)?;
        self.check_host(meaning.host, bytes)?;
        self.body = framing::body_length(self.version, self.fields_of(framing::NAMES, bytes), limits)?;
        self.keep_alive = !meaning.close && (meaning.keep_alive || self.version == Version::Http11);
        // RFC 9110 section 10.1.1: in HTTP/1.0 the field is ignored; a client that sends no body waits for nothing.
        let has_body = !matches!(self.body, BodyLength::None | BodyLength::Known(0));
        self.expects_continue = meaning.expects_continue && has_body && self.version == Version::Http11;
        match meaning.expectation {
            Some(found) if self.version == Version::Http11 => Err(Reject::Expectation { found: Excerpt::of(found) }),
            _ => Ok(()),
        }
    }

    /// Returns the fields; none before all of them are there and valid.
    pub(super) fn fields(&self) -> &[Field] {
        if self.has_fields { &self.fields } else { &[] }
    }

    /// Returns name and value of the fields whose names have lengths of `wanted`.
    pub(super) fn fields_of<'a>(&self, wanted: Lengths, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let fields = if self.lengths.meets(wanted) { self.fields() } else { &[] };
        let concerned = fields.iter().filter(move |field| wanted.meets(Lengths::of(field.name.length())));
        concerned.map(|field| (field.name.of(bytes), field.value.of(bytes)))
    }

    /// Checks Host by RFC 9112 section 3.2: HTTP/1.1 has one valid Host. The authority of an absolute target takes its
    /// place, so that no later reader can use the other one.
    fn check_host(&mut self, host: Option<usize>, bytes: &[u8]) -> Result<(), Reject> {
        let Some(index) = host else {
            return if self.version == Version::Http10 { Ok(()) } else { Err(Reject::HostMissing) };
        };
        let value = self.fields[index].value.of(bytes);
        if !target::is_host(value) {
            return Err(Reject::Host { found: Excerpt::of(value) });
        }
        if let Some(authority) = self.authority {
            self.fields[index].value = authority;
        }
        Ok(())
    }
}

/// The decisions of the fields, framing apart.
#[derive(Default)]
struct Meaning<'a> {
    host: Option<usize>,
    content_type: Option<&'a [u8]>,
    expects_continue: bool,
    /// The first expectation that this server does not meet.
    expectation: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
}

impl<'a> Meaning<'a> {
    fn of(fields: &[Field], bytes: &'a [u8]) -> Result<Self, Reject> {
        let mut meaning = Meaning::default();
        for (index, field) in fields.iter().enumerate() {
            if !matches!(field.name.length(), 4 | 6 | 10 | 12) {
                continue;
            }
            let (name, value) = (field.name.of(bytes), field.value.of(bytes));
            match name.len() {
                4 if grammar::is_name(name, b"Host") => {
                    if let Some(first) = meaning.host.replace(index) {
                        let first = Excerpt::of(fields[first].value.of(bytes));
                        return Err(Reject::HostTwice { first, second: Excerpt::of(value) });
                    }
                }
                6 if grammar::is_name(name, b"Expect") => meaning.take_expect(value),
                10 if grammar::is_name(name, b"Connection") => meaning.take_connection(value),
                12 if grammar::is_name(name, b"Content-Type") => {
                    if let Some(first) = meaning.content_type.replace(value) {
                        return Err(Reject::ContentTypeTwice { first: Excerpt::of(first), second: Excerpt::of(value) });
                    }
                }
                _ => {}
            }
        }
        Ok(meaning)
    }

    /// Adds an Expect field; all of them are one list (RFC 9110 section 10.1.1).
    fn take_expect(&mut self, value: &'a [u8]) {
        for expectation in grammar::list(value).filter(|element| !element.is_empty()) {
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else {
                self.expectation = self.expectation.or(Some(expectation));
            }
        }
    }

    /// Adds a Connection field; all of them are one list, and `close` outranks `keep-alive` (RFC 9112 section 9.3).
    fn take_connection(&mut self, value: &[u8]) {
        for option in grammar::list(value) {
            self.close |= grammar::is_name(option, b"close");
            self.keep_alive |= grammar::is_name(option, b"keep-alive");
        }
    }
}

/// Returns the most bytes of a field line without its end, which counts.
fn field_content(limits: &Limits) -> usize {
    limits.field_size.saturating_sub(CRLF)
}

/// Keeps every offset within a [`Span`], whatever the limits say.
const LARGEST_HEAD: usize = 1 << 30;
/// The length of a version that httparse knows, `HTTP/1.1`.
const VERSION: usize = 8;
const CRLF: usize = 2;
/// Fields of a head that is parsed in one run; gunicorn's and Apache's usual limit. On the stack, never initialised.
const SLOTS: usize = 100;
