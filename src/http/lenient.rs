//! Heads that no standard permits but a setting does. Each such setting is a way in which a request may mean one thing to
//! a proxy and another one here. A head that was refused is rewritten in the received bytes to what it means, and parsed
//! again; where nothing is permitted, nothing here runs.

use super::grammar;
use super::head::{Head, Progress};
use super::limits::{Leniency, Limits};
use super::reject::Reject;

impl Leniency {
    fn mends(self, reject: &Reject) -> bool {
        let is_line = matches!(reject, Reject::FieldFolded { .. } | Reject::FieldName { .. });
        is_line && (self.folding || self.blanks_before_colon)
    }
}

/// Parses a head as [`Head::parse`] does, and accepts what `limits` permit beyond HTTP. Bytes of a whole head may be
/// rewritten to what they mean; bytes behind it stay as they are.
pub fn parse(head: &mut Head, bytes: &mut Vec<u8>, limits: &Limits) -> Result<Progress, Reject> {
    match head.parse(bytes, limits) {
        Err(reject) if limits.leniency.mends(&reject) => {
            mend(bytes, limits.leniency);
            head.reset();
            head.parse(bytes, limits)
        }
        said => said,
    }
}

/// Rewrites the field lines of the head at the start of `bytes`. A field line is refused only when its head is whole and
/// each line of it ends in CRLF.
fn mend(bytes: &mut Vec<u8>, leniency: Leniency) {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(end) = bytes[start..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| start + at) else { return };
    let mut lines = split(&bytes[start..end]);
    let Some(request_line) = lines.next() else { return };
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match fields.last_mut() {
            // As gunicorn does: each piece without the blanks around it, one blank between.
            Some(field) if leniency.folding && matches!(line, [b' ' | b'\t', ..]) => {
                while matches!(field.last(), Some(b' ' | b'\t')) {
                    field.pop();
                }
                field.push(b' ');
                field.extend_from_slice(grammar::trim(line));
            }
            _ => fields.push(line.to_vec()),
        }
    }
    if leniency.blanks_before_colon {
        fields.iter_mut().for_each(strip);
    }
    let mended: Vec<&[u8]> = std::iter::once(request_line).chain(fields.iter().map(Vec::as_slice)).collect();
    let mended = mended.join(&b"\r\n"[..]);
    bytes.splice(start..end, mended);
}

fn split(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Removes the blanks before the colon.
fn strip(field: &mut Vec<u8>) {
    let Some(colon) = field.iter().position(|&byte| byte == b':') else { return };
    let blanks = field[..colon].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    field.drain(colon - blanks..colon);
}
