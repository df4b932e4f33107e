//! The field lines of a head or of trailers: httparse inside a fence. Knows what a field is, not what one means.
//!
//! httparse takes LF for CRLF; the callers have refused that already, line by line, together with what is too long or
//! too many. What is left of its leniency does not reach field lines.

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

/// Where a block of field lines stands in the buffer and in the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Offset of the block's first byte.
    pub(crate) offset: usize,
    /// Number of its first line.
    pub(crate) line: usize,
    /// How many field lines it has.
    pub(crate) count: usize,
}

/// Appends the fields of `block` to `fields`. The block is whole lines, each ended by CRLF, the last one empty.
pub(crate) fn parse(block: &[u8], place: Place, fields: &mut Vec<Field>) -> Result<(), Reject> {
    if place.count <= COMMON_COUNT {
        parse_into(&mut [httparse::EMPTY_HEADER; COMMON_COUNT], block, place, fields)
    } else {
        parse_into(&mut vec![httparse::EMPTY_HEADER; place.count], block, place, fields)
    }
}

fn parse_into<'b>(
    slots: &mut [httparse::Header<'b>],
    block: &'b [u8],
    place: Place,
    fields: &mut Vec<Field>,
) -> Result<(), Reject> {
    let parsed = match httparse::parse_headers(block, slots) {
        Ok(httparse::Status::Complete((used, parsed))) if used == block.len() => parsed,
        _ => return Err(culprit(block, place)),
    };
    let span = |part: &[u8]| {
        let start = part.as_ptr().addr().saturating_sub(block.as_ptr().addr()) + place.offset;
        Span::new(start, start + part.len())
    };
    fields.extend(parsed.iter().map(|field| Field { name: span(field.name.as_bytes()), value: span(field.value) }));
    Ok(())
}

/// Finds the line that httparse refused, which does not say. Not on the hot path.
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

/// Parsed without an allocation. Browsers send 10 to 25 fields, proxies add a few.
const COMMON_COUNT: usize = 64;
