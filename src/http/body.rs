//! Decodes a request's body, counted or chunked, however it arrives (RFC 9112 sections 6 and 7.1).
//! httparse reads chunk sizes and trailers. Knows no request; trailers are checked and dropped.

use super::fields;
use super::framing::BodyLength;
use super::grammar;
use super::limits::Limits;
use super::reject::{Excerpt, Reject};

/// Takes a body out of its framing, piece by piece.
///
/// ```text
/// ChunkLine --size--> Data --last byte--> DataEnd --crlf--> ChunkLine
///     \--size 0--> Trailers --empty line--> Done
/// ```
#[derive(Debug)]
pub struct BodyDecoder {
    stage: Stage,
    /// True if the data is counted by Content-Length, not by chunks.
    known: bool,
    /// Payload bytes announced so far.
    announced: u64,
    /// Framing beyond 16 bytes and twice the data for each chunk.
    overhead: u64,
    /// The received part of a chunk's first line, or of the trailers.
    pending: Vec<u8>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    ChunkLine,
    Data { left: u64 },
    DataEnd { after_cr: bool },
    Trailers { line_start: usize, lines: usize },
    Done,
}

impl BodyDecoder {
    /// Returns a decoder for one body.
    pub fn new(length: BodyLength, limits: &Limits) -> Self {
        let stage = match length {
            BodyLength::None | BodyLength::Known(0) => Stage::Done,
            BodyLength::Known(left) => Stage::Data { left },
            BodyLength::Chunked => Stage::ChunkLine,
        };
        let known = length != BodyLength::Chunked;
        BodyDecoder { stage, known, announced: 0, overhead: 0, pending: Vec::new(), limits: limits.clone() }
    }

    /// Decodes from `input`, appends at most `room` payload bytes to `out`, and returns the number of bytes of `input` used.
    /// Uses all it can: with no room left it still takes the framing behind the data. A done decoder uses nothing.
    ///
    /// After an error neither the decoder nor the connection can be used further.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Result<usize, Reject> {
        let mut used = 0;
        let mut room = room;
        while used < input.len() {
            let rest = &input[used..];
            used += match self.stage {
                Stage::Done => break,
                Stage::Data { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(room).min(rest.len());
                    if taken == 0 {
                        break;
                    }
                    out.extend_from_slice(&rest[..taken]);
                    room -= taken;
                    self.pass_data(left - taken as u64);
                    taken
                }
                Stage::DataEnd { after_cr } => self.take_data_end(rest[0], after_cr)?,
                Stage::ChunkLine => self.take_chunk_line(rest)?,
                Stage::Trailers { line_start, lines } => self.take_trailer(rest, line_start, lines)?,
            };
        }
        Ok(used)
    }

    /// True if the body is whole. A done decoder stays done.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn pass_data(&mut self, left: u64) {
        self.stage = match left {
            0 if self.known => Stage::Done,
            0 => Stage::DataEnd { after_cr: false },
            _ => Stage::Data { left },
        };
    }

    fn take_data_end(&mut self, found: u8, after_cr: bool) -> Result<usize, Reject> {
        self.stage = match (after_cr, found) {
            (false, b'\r') => Stage::DataEnd { after_cr: true },
            (true, b'\n') => Stage::ChunkLine,
            _ => return Err(Reject::ChunkEnd { found }),
        };
        Ok(1)
    }

    fn take_chunk_line(&mut self, rest: &[u8]) -> Result<usize, Reject> {
        let end = memchr::memchr(b'\n', rest);
        let piece = &rest[..end.map_or(rest.len(), |at| at + 1)];
        let limit = self.limits.chunk_line;
        // Refused before it is kept, so that what is kept is bounded.
        if self.pending.len() + grammar::content_length(piece) > limit + 1 {
            return Err(Reject::ChunkLineTooLong { limit });
        }
        let mut pending = std::mem::take(&mut self.pending);
        let is_whole = pending.is_empty() && end.is_some();
        if !is_whole {
            pending.extend_from_slice(piece);
        }
        let line = if is_whole { piece } else { &pending };
        if grammar::content_length(line) > limit {
            return Err(Reject::ChunkLineTooLong { limit });
        }
        if end.is_some() {
            let size = chunk_size(line)?;
            self.announce(size, line.len())?;
            pending.clear();
            self.stage = match size {
                0 => Stage::Trailers { line_start: 0, lines: 0 },
                _ => Stage::Data { left: size },
            };
        }
        self.pending = pending;
        Ok(piece.len())
    }

    /// Counts a chunk, whose first line has `line` bytes, against the limits before its data is there.
    fn announce(&mut self, size: u64, line: usize) -> Result<(), Reject> {
        let limit = self.limits.body.unwrap_or(u64::MAX);
        self.announced =
            self.announced.checked_add(size).filter(|&sum| sum <= limit).ok_or(Reject::BodyTooLarge { limit })?;
        // Go's measure: each chunk has 16 bytes and twice its data to its credit, so that small honest chunks add nothing.
        let framing = line as u64 + 2;
        self.overhead = (self.overhead + framing).saturating_sub(size.saturating_mul(2).saturating_add(16));
        if self.overhead > self.limits.chunk_overhead {
            return Err(Reject::ChunkOverhead { limit: self.limits.chunk_overhead });
        }
        Ok(())
    }

    /// Collects the trailers up to the empty line, then checks them by the rules of the head.
    fn take_trailer(&mut self, rest: &[u8], line_start: usize, lines: usize) -> Result<usize, Reject> {
        let end = memchr::memchr(b'\n', rest);
        let piece = &rest[..end.map_or(rest.len(), |at| at + 1)];
        let limit = self.limits.trailers;
        if self.pending.len() + piece.len() > limit.saturating_add(2) {
            return Err(Reject::TrailersTooLarge { limit });
        }
        self.pending.extend_from_slice(piece);
        if end.is_some() {
            let line = &self.pending[line_start..];
            let content = line.strip_suffix(b"\r\n").ok_or_else(|| in_trailers(Reject::BareLf { line: lines + 1 }))?;
            self.stage = if content.is_empty() {
                check_trailers(&self.pending, lines)?;
                self.pending.clear();
                Stage::Done
            } else {
                Stage::Trailers { line_start: self.pending.len(), lines: lines + 1 }
            };
        }
        Ok(piece.len())
    }
}

/// Reads the size in a chunk's first line, given with its end: `1*HEXDIG [chunk-ext] CRLF` (RFC 9112 section 7.1).
fn chunk_size(line: &[u8]) -> Result<u64, Reject> {
    let content = line.strip_suffix(b"\r\n").ok_or(Reject::ChunkLf)?;
    let digits = content.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // httparse counts leading zeros against its 16 digits; HTTP has no such limit.
    let zeros = content.iter().take_while(|&&byte| byte == b'0').count();
    if digits == 0 || digits - zeros > 16 {
        return Err(Reject::ChunkSize { found: Excerpt::of(content) });
    }
    let extensions = &content[digits..];
    if !extensions.is_empty() && !are_extensions(extensions) {
        return Err(Reject::ChunkExtension { found: Excerpt::of(extensions) });
    }
    match httparse::parse_chunk_size(&line[zeros..]) {
        Ok(httparse::Status::Complete((_, size))) => Ok(size),
        _ => Err(Reject::ChunkSize { found: Excerpt::of(content) }),
    }
}

/// True for `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 section 7.1.1). Extensions are
/// ignored; their form is checked because parsers that skip anything skip different things.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = skip_blanks(rest).strip_prefix(b";") else {
            return false;
        };
        let Some(after) = skip_token(skip_blanks(after)) else {
            return false;
        };
        rest = after;
        if let Some(value) = skip_blanks(after).strip_prefix(b"=") {
            let value = skip_blanks(value);
            let Some(after) = skip_token(value).or_else(|| skip_quoted(value)) else {
                return false;
            };
            rest = after;
        }
    }
    true
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    &bytes[grammar::blanks(bytes)..]
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let length = grammar::token_length(bytes);
    (length > 0).then(|| &bytes[length..])
}

/// Skips a quoted string (RFC 9110 section 5.6.4).
fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', escaped, after @ ..] if !grammar::is_control(*escaped) => after,
            [b'\\', ..] => return None,
            [byte, after @ ..] if !grammar::is_control(*byte) => after,
            _ => return None,
        };
    }
}

fn check_trailers(block: &[u8], lines: usize) -> Result<(), Reject> {
    if lines == 0 {
        return Ok(());
    }
    let mut forbidden = None;
    let is_forbidden = |name: &str| FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden));
    fields::parse(block, lines, 1, |field| {
        forbidden = forbidden.or(Some(field.name).filter(|name| is_forbidden(name)));
    })
    .map_err(in_trailers)?;
    match forbidden {
        Some(name) => Err(Reject::TrailerForbidden { found: Excerpt::of(name.as_bytes()) }),
        None => Ok(()),
    }
}

fn in_trailers(cause: Reject) -> Reject {
    Reject::Trailer { cause: Box::new(cause) }
}

/// Fields that would reframe, reroute or authorise the request after it was judged. Others that may be no trailers either,
/// such as Content-Type, are discarded with the rest, as RFC 9110 section 6.5.1 lets a recipient do.
const FORBIDDEN: [&str; 7] =
    ["authorization", "connection", "content-length", "host", "te", "trailer", "transfer-encoding"];
