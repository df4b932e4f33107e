//! The version of a request. Knows what the words at the end of a request line mean, and no message.

use super::reject::{Excerpt, Reject};

/// The version of a request. A higher minor version is served as 1.1 (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, or 1.2 to 1.9.
    #[default]
    Http11,
}

impl Version {
    /// Returns `HTTP/1.0` or `HTTP/1.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }

    /// Reads the last word of a request line. With `any`, every `HTTP/d.d` is served: 0.d as 1.0, higher ones as 1.1.
    pub(super) fn parse(found: &[u8], any: bool) -> Result<Version, Reject> {
        match found {
            b"HTTP/1.1" => Ok(Version::Http11),
            b"HTTP/1.0" => Ok(Version::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(Version::Http11),
            [b'H', b'T', b'T', b'P', b'/', b'0', b'.', b'0'..=b'9'] if any => Ok(Version::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', b'.', b'0'..=b'9'] if any => Ok(Version::Http11),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(Reject::VersionUnsupported { found: Excerpt::of(found) })
            }
            _ => Err(Reject::Version { found: Excerpt::of(found) }),
        }
    }
}
