//! The mistakes that an application can make in the head of a response, each with its culprit and message.

use std::fmt;

use super::reject::Excerpt;

/// A mistake of the application in its response. The head stays as it was before the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// Not `ddd` or `ddd reason`, or a control byte in the reason.
    Status {
        /// The status.
        found: Excerpt,
    },
    /// A code below 100, or an interim one. RFC 9110 section 15 defines no classes beyond 599; applications use them.
    StatusCode {
        /// The code.
        found: u16,
    },
    /// A field before the status.
    NotStarted,
    /// A field name that is not a token.
    FieldName {
        /// The name.
        found: Excerpt,
    },
    /// A control byte in a value: CR and LF would start another field or another response.
    FieldValue {
        /// The field's name.
        name: Excerpt,
        /// The first such byte.
        found: u8,
    },
    /// A Content-Length that is not a number.
    ContentLength {
        /// The value.
        found: Excerpt,
    },
    /// Two Content-Length fields.
    ContentLengthTwice,
}

impl fmt::Display for BadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadResponse::Status { found } => {
                write!(f, "status: expected \"ddd reason\", found {found}")
            }
            BadResponse::StatusCode { found } => {
                write!(f, "status: expected 200 to 999 or 101, found {found}")
            }
            BadResponse::NotStarted => write!(f, "response: expected a status before the first field, found none"),
            BadResponse::FieldName { found } => {
                write!(f, "field name: expected a token, found {found}")
            }
            BadResponse::FieldValue { name, found } => {
                write!(f, "field {name}: expected no control bytes, found byte 0x{found:02x}")
            }
            BadResponse::ContentLength { found } => {
                write!(f, "content-length: expected digits, found {found}")
            }
            BadResponse::ContentLengthTwice => write!(f, "content-length: expected one, found two"),
        }
    }
}

impl std::error::Error for BadResponse {}
