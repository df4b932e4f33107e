//! The request line: its words, as httparse cuts them, and the rules for each (RFC 9112 section 3). Knows no field.

use super::grammar;
use super::limits::Leniency;
use super::reject::{Excerpt, Reject};
use super::target::Target;
use super::version::Version;

/// A valid request line.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) version: Version,
    /// The method in capitals, where it was received otherwise and that is permitted; else empty.
    pub(super) folded_method: Vec<u8>,
    pub(super) target: Target,
}

/// Method, target and version, as received.
pub(super) type Words<'a> = [&'a [u8]; 3];

/// Cuts a whole request line, given without its end, into its words.
///
/// httparse cuts off method and target. It knows two versions and any target, so the version is what is left, and all
/// words are still to be judged.
pub(super) fn words(line: &[u8], leniency: Leniency) -> Result<Words<'_>, Reject> {
    let mut parsed = httparse::Request::new(&mut []);
    // Its verdict is about the version and what follows the line; what it could cut off is in its fields.
    let _ = parsed.parse(line);
    if let (Some(method), Some(target)) = (parsed.method, parsed.path) {
        let version = line.get(method.len() + target.len() + 2..).unwrap_or_default();
        if !version.contains(&b' ') {
            return Ok([method.as_bytes(), target.as_bytes(), version]);
        }
    }
    Err(culprit(line, leniency))
}

/// Judges the words of a request line.
#[inline]
pub(super) fn judge([method, target, version]: Words<'_>, leniency: Leniency) -> Result<RequestLine, Reject> {
    if !is_method(method, leniency.any_method) {
        return Err(Reject::Method { found: Excerpt::of(method) });
    }
    let folds = leniency.casefold_method && method.iter().any(u8::is_ascii_lowercase);
    let folded_method = if folds { method.to_ascii_uppercase() } else { Vec::new() };
    let version = Version::parse(version, leniency.any_version)?;
    let target = Target::parse(if folds { &folded_method } else { method }, target)?;
    Ok(RequestLine { version, folded_method, target })
}

/// Returns why httparse cannot cut `line`: its words are not three, or one of them breaks a rule.
#[cold]
fn culprit(line: &[u8], leniency: Leniency) -> Reject {
    let mut words = line.split(|&byte| byte == b' ');
    let judged = match [(); 4].map(|()| words.next()) {
        [Some(method), Some(target), Some(version), None] if !target.is_empty() => {
            judge([method, target, version], leniency).err()
        }
        _ => None,
    };
    judged.unwrap_or_else(|| Reject::RequestLine { found: Excerpt::of(line) })
}

/// True for a method by gunicorn's rule: no registered method is shorter, longer or in lower case, and a tool that sends
/// one has a bug. With `any`, true for any token.
fn is_method(method: &[u8], any: bool) -> bool {
    match method {
        b"GET" | b"POST" | b"HEAD" => true,
        _ if any => grammar::is_token(method),
        _ => {
            let is_good = |&byte: &u8| grammar::is_token_byte(byte) && !byte.is_ascii_lowercase() && byte != b'#';
            (3..=20).contains(&method.len()) && method.iter().all(is_good)
        }
    }
}
