//! The field lines of a head or of trailers (RFC 9112 section 5). Knows what a field is, not what one means.
//!
//! httparse parses them. The callers have checked line ends, lengths and the number of lines before.

use super::grammar;
use super::reject::{Excerpt, Reject, first_control};

/// A part of the caller's buffer. Heads are far smaller than 4 GiB, see `Limits::head`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Returns the place of `part` in `bytes`, of which it is a slice.
    pub(crate) fn within(bytes: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        Span::new(start, start + part.len())
    }

    pub(crate) fn new(start: usize, end: usize) -> Self {
        let place = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Span { start: place(start), end: place(end) }
    }

    /// Returns the offset of its first byte.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// Returns the offset behind its last byte.
    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    /// Returns its length in bytes.
    pub(crate) fn length(self) -> usize {
        self.end.wrapping_sub(self.start) as usize
    }

    /// Returns the part of `bytes`; empty where `bytes` is not the buffer that was parsed.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The places of a field's name and trimmed value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

impl Field {
    /// Returns the place of `parsed` in `bytes`.
    pub(crate) fn within(bytes: &[u8], parsed: &httparse::Header<'_>) -> Field {
        Field { name: Span::within(bytes, parsed.name.as_bytes()), value: Span::within(bytes, parsed.value) }
    }
}

/// Returns name and value of each field, seen in `bytes`.
pub(crate) fn pairs<'a, 'f>(
    fields: &'f [Field],
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a, 'f> {
    fields.iter().map(move |field| (field.name.of(bytes), field.value.of(bytes)))
}

/// Lengths of names, as a set: a length represents itself and those that differ by a multiple of 64. Most names differ
/// in their lengths, and most heads have no name that matters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths(u64);

impl Lengths {
    pub(crate) const fn of(length: usize) -> Lengths {
        Lengths(1 << (length % 64))
    }

    pub(crate) const fn and(self, other: Lengths) -> Lengths {
        Lengths(self.0 | other.0)
    }

    pub(crate) const fn meets(self, other: Lengths) -> bool {
        self.0 & other.0 != 0
    }
}

/// Calls `each` with every field of a block of `count` lines, each ended by CRLF, and an empty one. The block's first line
/// has the number `first_line`.
pub(crate) fn parse<'a>(
    block: &'a [u8],
    count: usize,
    first_line: usize,
    each: impl FnMut(&httparse::Header<'a>),
) -> Result<(), Reject> {
    let mut slots = vec![httparse::EMPTY_HEADER; count];
    match httparse::parse_headers(block, &mut slots) {
        Ok(httparse::Status::Complete((_, fields))) => {
            fields.iter().for_each(each);
            Ok(())
        }
        _ => Err(culprit(block, first_line)),
    }
}

/// Finds the line that is no field and returns why.
fn culprit(block: &[u8], first_line: usize) -> Reject {
    let lines = block.split_inclusive(|&byte| byte == b'\n');
    lines
        .zip(first_line..)
        .find_map(|(line, number)| line_culprit(line, number))
        .unwrap_or(Reject::BareLf { line: first_line })
}

fn line_culprit(line: &[u8], number: usize) -> Option<Reject> {
    let content = line.strip_suffix(b"\r\n")?;
    if content.is_empty() {
        return None;
    }
    if matches!(content[0], b' ' | b'\t') {
        return Some(Reject::FieldFolded { line: number });
    }
    let Some(colon) = content.iter().position(|&byte| byte == b':') else {
        return Some(Reject::FieldColon { line: number, found: Excerpt::of(content) });
    };
    let (name, value) = (&content[..colon], &content[colon + 1..]);
    if !grammar::is_token(name) {
        return Some(Reject::FieldName { line: number, found: Excerpt::of(name) });
    }
    first_control(value).map(|found| Reject::FieldValue { name: Excerpt::of(name), found })
}
