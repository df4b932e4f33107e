//! HTTP/1.1 as values: bytes in, decisions out. Never reads, never blocks, knows no socket, clock, setting or Python.
//!
//! | file | noun |
//! |---|---|
//! | [`head`] | the request's head: limits, request line, fields; reused for each request of a connection |
//! | [`target`] | the forms of a request target and of a host |
//! | [`framing`] | how the body is delimited, in one function |
//! | [`body`] | the decoder of a body, chunked or counted |
//! | [`reject`] | every reason to refuse a request, with its status |
//! | [`response`] | the head of a response, checked and encoded; chunks |
//! | [`error_page`] | the short response to a refused or failed request |
//! | [`cgi`] | request to CGI variables |
//! | [`access_log`] | gunicorn's access log format, compiled |
//! | [`date`] | the Date field |
//!
//! A request walks: `head` (with `fields`, `target`), `framing`, `body`, `cgi`; a response: `response`, `access_log`.
//! All functions are total: any bytes give a value, however they were cut into pieces.

pub mod access_log;
pub mod body;
pub mod cgi;
pub mod date;
pub mod error_page;
mod fields;
pub mod framing;
mod grammar;
pub mod head;
pub mod reject;
pub mod response;
pub mod target;

pub use access_log::{AccessFormat, AccessFormatError, AccessRecord};
pub use body::BodyDecoder;
pub use date::imf_fixdate;
pub use error_page::error_response;
pub use framing::BodyLength;
pub use head::{Head, Limits, Progress, Request, Version};
pub use reject::{Excerpt, Reject};
pub use response::{BadResponse, Begun, LAST_CHUNK, ResponseHead, ResponseTo, Transfer, chunk_head, encode_chunk};
