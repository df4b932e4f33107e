//! The head of a request: request line and fields, parsed in the caller's buffer, however it arrives.
//! Reads no body, owns no bytes, allocates nothing once warm.
//!
//! Lines are looked at as they come, each byte once: a line that is too long, one too many, or not ended by CRLF is
//! refused at the first byte that makes it so, and the request line as soon as it is whole. The fields count once the empty
//! line is there. Every check holds for a piece of a line exactly if it holds for the line, so a request
//! gets the same answer however it was cut into pieces.

use super::fields::{self, Field, Lengths, Place, Span};
use super::framing::{self, BodyLength};
use super::grammar;
use super::limits::{Leniency, Limits};
use super::reject::{Excerpt, Reject};
use super::target::{self, Target};
use super::version::Version;

/// What [`Head::parse`] came to.
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

/// Where the parts of a request's head stand in the caller's buffer, and what they decide. Reused for each request of a
/// connection.
#[derive(Debug, Default)]
pub struct Head {
    stage: Stage,
    /// Where the line starts that is being read.
    line_start: usize,
    /// Up to where that line has been searched for its end.
    searched: usize,
    /// Lines read, the request line included.
    lines: usize,
    fields_start: usize,
    pub(super) method: Span,
    /// The method in capitals, where it was received otherwise and that is permitted.
    pub(super) folded_method: Vec<u8>,
    pub(super) target: Span,
    pub(super) authority: Option<Span>,
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) version: Version,
    /// Of the usual lines that were passed; of all of them, once `has_fields`.
    fields: Vec<Field>,
    has_fields: bool,
    /// Of the fields' names.
    lengths: Lengths,
    pub(super) body: BodyLength,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
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
    /// Looks at `bytes`, everything received since the end of the previous request; after [`Progress::NeedMore`] called
    /// again with the same bytes and more. Bytes after the head are not touched.
    ///
    /// Once complete it stays so until [`Head::reset`]; once refused it stays refused.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Reject> {
        loop {
            if let Stage::Complete { used } = self.stage {
                return Ok(Progress::Complete { used });
            }
            self.pass_usual_lines(bytes, limits);
            let rest = bytes.get(self.line_start..).unwrap_or_default();
            let searched = (self.searched - self.line_start).min(rest.len());
            let end = grammar::find_lf(&rest[searched..]).map(|at| searched + at + 1);
            let line = &rest[..end.unwrap_or(rest.len())];
            self.check_line(line, limits)?;
            if end.is_none() {
                self.searched = self.line_start + line.len();
                return Ok(Progress::NeedMore);
            }
            let content = line.strip_suffix(b"\r\n").ok_or(Reject::BareLf { line: self.lines + 1 })?;
            self.take_line(content, bytes, limits)?;
        }
    }

    /// Goes past field lines that are whole, within every limit and fields. What comes of any other line, [`Head::parse`]
    /// says.
    fn pass_usual_lines(&mut self, bytes: &[u8], limits: &Limits) {
        if self.stage != Stage::Fields || self.searched != self.line_start {
            return;
        }
        let head = limits.head.min(LARGEST_HEAD);
        while self.lines <= limits.fields {
            let rest = bytes.get(self.line_start..).unwrap_or_default();
            let Some((field, length)) = fields::line(rest, self.line_start) else { break };
            let left = head.saturating_sub(self.line_start);
            if length - b"\r\n".len() > limits.field_size.min(left) {
                break;
            }
            self.fields.push(field);
            self.lines += 1;
            self.line_start += length;
        }
        self.searched = self.line_start;
    }

    /// Forgets the request, keeps the memory.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Head { fields, ..Head::default() };
    }

    /// True if the request line is whole and valid.
    pub(super) fn has_request_line(&self) -> bool {
        matches!(self.stage, Stage::Fields | Stage::Complete { .. })
    }

    /// Refuses what no further byte can make good. `line` is a line or the piece of it that is there.
    fn check_line(&self, line: &[u8], limits: &Limits) -> Result<(), Reject> {
        let in_fields = self.stage == Stage::Fields;
        if in_fields {
            // The empty line that ends the head is not a field.
            if self.lines > limits.fields && !matches!(line, [] | [b'\r'] | [b'\r', b'\n', ..]) {
                return Err(Reject::FieldsTooMany { limit: limits.fields });
            }
        } else if let [first, ..] = line {
            // A TLS handshake on a plain port is seen by its first byte.
            if !grammar::is_token_byte(*first) && !matches!(first, b'\r' | b'\n') {
                return Err(Reject::Method { found: Excerpt::of(&line[..1]) });
            }
        }
        // Which limit is met first depends on where the line starts alone, not on how much of it is there.
        let size = if in_fields { limits.field_size } else { limits.request_line };
        let head = limits.head.min(LARGEST_HEAD);
        let left = head.saturating_sub(self.line_start);
        match grammar::content_length(line) {
            length if length <= size.min(left) => Ok(()),
            _ if left < size => Err(Reject::HeadTooLarge { limit: head }),
            _ if in_fields => Err(Reject::FieldTooLong { line: self.lines + 1, limit: size }),
            _ => Err(Reject::RequestLineTooLong { limit: size }),
        }
    }

    /// Goes past a whole line that has passed every limit.
    fn take_line(&mut self, content: &[u8], bytes: &[u8], limits: &Limits) -> Result<(), Reject> {
        let next = self.line_start + content.len() + b"\r\n".len();
        match self.stage {
            Stage::Start if content.is_empty() => self.stage = Stage::AfterEmptyLine,
            Stage::AfterEmptyLine if content.is_empty() => return Err(Reject::EmptyLines),
            Stage::Fields if content.is_empty() => {
                self.take_fields(bytes.get(..next).unwrap_or_default(), limits)?;
                self.stage = Stage::Complete { used: next };
            }
            Stage::Start | Stage::AfterEmptyLine => {
                self.take_request_line(content, limits.leniency)?;
                self.lines = 1;
                self.fields_start = next;
                self.stage = Stage::Fields;
            }
            Stage::Fields | Stage::Complete { .. } => self.lines += 1,
        }
        self.line_start = next;
        self.searched = next;
        Ok(())
    }

    fn take_request_line(&mut self, line: &[u8], leniency: Leniency) -> Result<(), Reject> {
        let mut words = line.split(|&byte| byte == b' ');
        let (method, target, version) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(version), None) if !target.is_empty() => (method, target, version),
            _ => {
                return Err(Reject::RequestLine { found: Excerpt::of(line) });
            }
        };
        if !is_method(method, leniency.any_method) {
            return Err(Reject::Method { found: Excerpt::of(method) });
        }
        if leniency.casefold_method && method.iter().any(u8::is_ascii_lowercase) {
            self.folded_method = method.to_ascii_uppercase();
        }
        self.version = Version::parse(version, leniency.any_version)?;
        let meant = if self.folded_method.is_empty() { method } else { &self.folded_method };
        let parts = Target::parse(meant, target)?;
        let start = self.line_start + method.len() + 1;
        let span = |range: std::ops::Range<usize>| Span::new(start + range.start, start + range.end);
        self.method = Span::new(self.line_start, self.line_start + method.len());
        self.target = span(0..target.len());
        self.authority = parts.authority.map(span);
        self.path = span(parts.path);
        self.query = span(parts.query);
        Ok(())
    }

    fn take_fields(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Reject> {
        if self.fields.len() != self.lines - 1 {
            // A line came in pieces, or is no field.
            self.fields.clear();
            let place = Place { offset: self.fields_start, line: 2 };
            fields::parse(&bytes[self.fields_start..], place, &mut self.fields)?;
        }
        self.has_fields = true;
        let names = self.fields.iter().map(|field| Lengths::of(field.name.length()));
        self.lengths = names.fold(Lengths::default(), Lengths::and);
        let meaning = Meaning::of(&self.fields, bytes)?;
        self.check_host(meaning.host, bytes)?;
        self.body = framing::body_length(self.version, self.fields_of(framing::NAMES, bytes), limits)?;
        self.keep_alive = !meaning.close && (meaning.keep_alive || self.version == Version::Http11);
        // RFC 9110 section 10.1.1: in HTTP/1.0 the field is ignored; who sends no body waits for nothing.
        let has_body = !matches!(self.body, BodyLength::None | BodyLength::Known(0));
        self.expects_continue = meaning.expects_continue && has_body && self.version == Version::Http11;
        match meaning.expectation {
            Some(found) if self.version == Version::Http11 => Err(Reject::Expectation { found: Excerpt::of(found) }),
            _ => Ok(()),
        }
    }

    /// None before all of them are there and valid.
    pub(super) fn fields(&self) -> &[Field] {
        if self.has_fields { &self.fields } else { &[] }
    }

    /// Name and value of the fields whose names have lengths of `wanted`.
    pub(super) fn fields_of<'a>(&self, wanted: Lengths, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let fields = if self.lengths.meets(wanted) { self.fields() } else { &[] };
        let concerned = fields.iter().filter(move |field| wanted.meets(Lengths::of(field.name.length())));
        concerned.map(|field| (field.name.of(bytes), field.value.of(bytes)))
    }

    /// RFC 9112 section 3.2: HTTP/1.1 has one valid Host. The authority of an absolute target takes its place, so that
    /// nobody downstream can believe the other one.
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

/// The fields that decide something, framing apart.
#[derive(Default)]
struct Meaning<'a> {
    host: Option<usize>,
    content_type: Option<&'a [u8]>,
    expects_continue: bool,
    /// The first expectation that nobody here meets.
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
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is(b"host") => {
                    if let Some(first) = meaning.host.replace(index) {
                        let first = Excerpt::of(fields[first].value.of(bytes));
                        return Err(Reject::HostTwice { first, second: Excerpt::of(value) });
                    }
                }
                6 if is(b"expect") => meaning.take_expect(value),
                10 if is(b"connection") => meaning.take_connection(value),
                12 if is(b"content-type") => {
                    if let Some(first) = meaning.content_type.replace(value) {
                        return Err(Reject::ContentTypeTwice { first: Excerpt::of(first), second: Excerpt::of(value) });
                    }
                }
                _ => {}
            }
        }
        Ok(meaning)
    }

    /// All Expect fields are one list (RFC 9110 section 10.1.1).
    fn take_expect(&mut self, value: &'a [u8]) {
        for expectation in grammar::list(value).filter(|element| !element.is_empty()) {
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else {
                self.expectation = self.expectation.or(Some(expectation));
            }
        }
    }

    /// All Connection fields are one list; `close` outranks `keep-alive` (RFC 9112 section 9.3).
    fn take_connection(&mut self, value: &[u8]) {
        for option in grammar::list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// gunicorn's rule: no registered method is shorter, longer or in lower case, and a tool that sends one has a bug.
fn is_method(method: &[u8], any: bool) -> bool {
    if any {
        return grammar::is_token(method);
    }
    (3..=20).contains(&method.len())
        && method.iter().all(|&byte| grammar::is_token_byte(byte) && !byte.is_ascii_lowercase() && byte != b'#')
}

/// Keeps every offset within a [`Span`], whatever the limits say.
const LARGEST_HEAD: usize = 1 << 30;
