//! Decides the delimiting of a request's body. Bytes and rules; sees no body.

use super::fields::Lengths;
use super::grammar;
use super::limits::Limits;
use super::reject::{Excerpt, Reject};
use super::version::Version;

/// The delimiting of a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    #[default]
    None,
    /// A number of bytes; 0 if the request says so.
    Known(u64),
    /// Chunks, up to the last one and its trailers.
    Chunked,
}

/// Decides by RFC 9112 section 6.3, for requests, step by step. `fields` are the name and value of every field of the head,
/// or of those whose names have one of the lengths [`NAMES`].
///
/// If the RFC leaves a choice between guessing and refusing, this refuses: request smuggling needs two servers that guess
/// differently.
pub fn body_length<'a>(
    version: Version,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    limits: &Limits,
) -> Result<BodyLength, Reject> {
    let mut content_length = None;
    let mut codings: Option<Codings<'a>> = None;
    for (name, value) in fields {
        if name.len() == CONTENT_LENGTH.len() && name.eq_ignore_ascii_case(CONTENT_LENGTH) {
            // Step 5: a repeated Content-Length is unrecoverable. Equal values could be folded into one; honest clients send none.
            if let Some(first) = content_length.replace(value) {
                return Err(Reject::ContentLengthTwice { first: Excerpt::of(first), second: Excerpt::of(value) });
            }
        } else if name.len() == TRANSFER_ENCODING.len() && name.eq_ignore_ascii_case(TRANSFER_ENCODING) {
            codings.get_or_insert_default().add(value)?;
        }
    }
    // Steps 1 and 2 concern responses.
    match (codings, content_length) {
        // Step 3: Transfer-Encoding overrides Content-Length, "ought to be handled as an error".
        (Some(_), Some(_)) => Err(Reject::ContentLengthAndTransferEncoding),
        // Section 6.1: in HTTP/1.0 the framing is faulty, whatever the coding.
        (Some(_), None) if version == Version::Http10 => Err(Reject::TransferEncodingInHttp10),
        // Step 4: chunked is the final coding, or the length cannot be known.
        (Some(codings), None) => codings.check().map(|()| BodyLength::Chunked),
        // Steps 5 and 6: a valid Content-Length is the length.
        (None, Some(value)) => known(value, limits).map(BodyLength::Known),
        // Step 7: a request without either has no body.
        (None, None) => Ok(BodyLength::None),
    }
}

fn known(value: &[u8], limits: &Limits) -> Result<u64, Reject> {
    if !grammar::is_digits(value) {
        return Err(Reject::ContentLength { found: Excerpt::of(value) });
    }
    let limit = limits.body.unwrap_or(u64::MAX);
    grammar::decimal(value).filter(|&length| length <= limit).ok_or(Reject::BodyTooLarge { limit })
}

/// The transfer codings of all Transfer-Encoding fields, in order, as one list (RFC 9110 section 5.3).
#[derive(Default)]
struct Codings<'a> {
    chunked: usize,
    other: Option<&'a [u8]>,
    last: &'a [u8],
}

impl<'a> Codings<'a> {
    fn add(&mut self, value: &'a [u8]) -> Result<(), Reject> {
        for coding in grammar::list(value) {
            if coding.is_empty() {
                return Err(Reject::TransferCodingEmpty);
            }
            if coding.eq_ignore_ascii_case(CHUNKED) {
                self.chunked += 1;
            } else {
                self.other = self.other.or(Some(coding));
            }
            self.last = coding;
        }
        Ok(())
    }

    /// Accepts only `chunked`. Any other coding is 501 if the message has an end; a body without an end is 400.
    fn check(&self) -> Result<(), Reject> {
        match self.other {
            _ if self.chunked > 1 => Err(Reject::ChunkedTwice),
            None => Ok(()),
            Some(found) if self.chunked == 0 && !is_registered(found) => {
                Err(Reject::TransferCoding { found: Excerpt::of(found) })
            }
            Some(_) if !self.last.eq_ignore_ascii_case(CHUNKED) => {
                Err(Reject::ChunkedNotLast { found: Excerpt::of(self.last) })
            }
            Some(found) => Err(Reject::TransferCoding { found: Excerpt::of(found) }),
        }
    }
}

/// True for the codings of the IANA registry except `chunked`, and for the withdrawn `identity`.
fn is_registered(coding: &[u8]) -> bool {
    ["gzip", "x-gzip", "deflate", "compress", "x-compress", "identity"]
        .iter()
        .any(|name| coding.eq_ignore_ascii_case(name.as_bytes()))
}

/// Lengths of the names that concern framing.
pub(super) const NAMES: Lengths = Lengths::of(CONTENT_LENGTH.len()).and(Lengths::of(TRANSFER_ENCODING.len()));
const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const CHUNKED: &[u8] = b"chunked";
