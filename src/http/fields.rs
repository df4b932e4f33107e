//! The field lines of a head or of trailers (RFC 9112 section 5). Knows what a field is, not what one means.
//!
//! The callers have refused already, line by line, what does not end in CRLF, what is too long and what is too many.

use super::grammar;
use super::reject::{Excerpt, Reject, first_control};

/// A part of the caller's buffer. Heads are far smaller than 4 GiB, see `Limits::head`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let place = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Span { start: place(start), end: place(end) }
    }

    /// Its length in bytes.
    pub(crate) fn length(self) -> usize {
        self.end.wrapping_sub(self.start) as usize
    }

    /// The part of `bytes`; empty where `bytes` is not the buffer that was parsed.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Where the name and the trimmed value of a field stand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// Name and value of each field, seen in `bytes`.
pub(crate) fn pairs<'a, 'f>(
    fields: &'f [Field],
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a, 'f> {
    fields.iter().map(move |field| (field.name.of(bytes), field.value.of(bytes)))
}

/// Lengths of names, as a set: a length stands for itself and for those that differ by a multiple of 64. Most names are told
/// apart by their lengths alone, and most heads have none that matters.
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

/// Where a block of field lines stands in the buffer and in the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Offset of the block's first byte.
    pub(crate) offset: usize,
    /// Number of its first line.
    pub(crate) line: usize,
}

/// Appends the fields of `block` to `fields`. The block is whole lines, each ended by CRLF, the last one empty.
pub(crate) fn parse(block: &[u8], place: Place, fields: &mut Vec<Field>) -> Result<(), Reject> {
    let mut at = 0;
    while block.len() - at > b"\r\n".len() {
        let Some((field, length)) = line(&block[at..], place.offset + at) else { return Err(culprit(block, place)) };
        fields.push(field);
        at += length;
    }
    Ok(())
}

/// The field whose line begins `bytes`, which stand at `offset` in the buffer, and the line's length; `None` for what is
/// no field, or not whole. The first control byte behind the colon that is no tab must be the line's own end.
pub(crate) fn line(bytes: &[u8], offset: usize) -> Option<(Field, usize)> {
    let name = grammar::token_length(bytes);
    if name == 0 || *bytes.get(name)? != b':' {
        return None;
    }
    let mut start = name + 1;
    while matches!(bytes.get(start)?, b' ' | b'\t') {
        start += 1;
    }
    let mut end = start + grammar::find_control(&bytes[start..])?;
    let length = end + b"\r\n".len();
    if bytes.get(end..length)? != b"\r\n" {
        return None;
    }
    while end > start && matches!(bytes[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    let span = |start, end| Span::new(offset + start, offset + end);
    Some((Field { name: span(0, name), value: span(start, end) }, length))
}

/// Finds the line that is no field and says why. Not on the hot path.
fn culprit(block: &[u8], place: Place) -> Reject {
    let lines = block.split_inclusive(|&byte| byte == b'\n');
    lines
        .zip(place.line..)
        .find_map(|(line, number)| line_culprit(line, number))
        .unwrap_or(Reject::BareLf { line: place.line })
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
