//! HTTP/1.1 as values: bytes in, decisions out. Never reads, never blocks, knows no socket, clock, setting or Python.
//!
//! | file | noun |
//! |---|---|
//! | [`proxy`] | the PROXY header before the first request of a connection |
//! | [`limits`] | limits on a request, and what is permitted beyond HTTP |
//! | [`lenient`] | heads that are accepted beyond HTTP, where settings permit it |
//! | [`head`] | the request's head: request line and fields, parsed by httparse; reused for each request of a connection |
//! | `request_line` | the words of a request line, judged |
//! | `fields` | field lines, and their places in the buffer |
//! | [`request`] | the view of a parsed head |
//! | [`version`] | the version of a request |
//! | [`target`] | the forms of a request target and of a host |
//! | [`framing`] | the delimiting of the body, in one function |
//! | [`body`] | the decoder of a body, chunked or counted |
//! | [`network`] | a network of peers |
//! | [`forwarded`] | trusted proxies: the scheme of a request, names with underscores |
//! | [`reject`] | every reason to refuse a request, with its status |
//! | [`response`] | the head of a response, checked and encoded; chunks |
//! | [`bad_response`] | an application's mistakes in one |
//! | [`error_page`] | the short response to a refused or failed request |
//! | [`cgi`] | request to CGI variables |
//! | [`access_format`] | gunicorn's access log format, compiled |
//! | [`access_keys`] | keys of the environ that it takes values from |
//! | [`access_log`] | the line of one request |
//! | [`date`] | the Date field |
//!
//! A request walks: `proxy`, `head` (with `fields`, `target`, `lenient`), `framing`, `forwarded`, `body`, `cgi`; a response: `response`,
//! `access_log`; a refusal: `reject`, `error_page`, `access_log`.
//! All functions are total: any bytes give a value, however they were cut into pieces.

pub mod access_format;
mod access_json;
pub mod access_keys;
pub mod access_log;
mod access_record;
pub mod bad_response;
mod basic_auth;
pub mod body;
pub mod cgi;
pub mod date;
mod environ_values;
pub mod error_page;
mod fields;
pub mod forwarded;
pub mod framing;
mod grammar;
pub mod head;
pub mod lenient;
pub mod limits;
pub mod network;
pub mod proxy;
pub mod reject;
pub mod request;
mod request_line;
pub mod response;
pub mod target;
pub mod version;

/// True if `name` is the name of a field: a token (RFC 9110 section 5.1).
pub fn is_field_name(name: &[u8]) -> bool {
    grammar::is_token(name)
}

pub use access_format::{AccessFormat, AccessFormatError};
pub use access_log::{AccessRecord, EnvironValues};
pub use bad_response::BadResponse;
pub use body::BodyDecoder;
pub use date::imf_fixdate;
pub use error_page::{ErrorPage, error_response};
pub use forwarded::{FieldPolicy, Scheme, Trust};
pub use framing::BodyLength;
pub use head::{Head, Progress};
pub use limits::{Leniency, Limits};
pub use network::Network;
pub use proxy::{Opening, Proxied, ProxyMode, ProxyRules};
pub use reject::{Excerpt, Reject};
pub use request::Request;
pub use response::{Begun, CONTINUE, LAST_CHUNK, Pushed, ResponseHead, ResponseTo, Transfer, chunk_head, encode_chunk};
pub use version::Version;
