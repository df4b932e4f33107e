//! Every reason to refuse a request: a variant, its culprit, its status, its message. Decides nothing.

use std::fmt;

use super::grammar;

/// The reason why a request is refused. The connection is closed after the answer: after a refused message, the start of
/// the next one is unknown (RFC 9112 section 9.3).
///
/// `line` counts the lines of the head from 1, the request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Plain HTTP on an address that serves TLS.
    NoTls,
    /// A PROXY header from a peer that may not send one.
    ProxyForbidden,
    /// A malformed PROXY header of version 1.
    ProxyLine {
        /// The line.
        found: Excerpt,
    },
    /// A PROXY header of version 1 without an end.
    ProxyLineTooLong,
    /// A malformed PROXY header of version 2.
    ProxyBlock {
        /// The expected value, in words.
        expected: &'static str,
        /// The number in its place.
        found: u16,
    },
    /// More than the one empty line that may come before a request (RFC 9112 section 2.2).
    EmptyLines,
    /// A line ended by LF without CR. RFC 9112 section 2.2 permits a recipient to accept it; requests can be smuggled between
    /// peers that differ in it.
    BareLf {
        /// The line.
        line: usize,
    },
    /// Not `method SP target SP version`.
    RequestLine {
        /// The line.
        found: Excerpt,
    },
    /// Longer than [`Limits::request_line`](super::Limits::request_line).
    RequestLineTooLong {
        /// The limit, in bytes without the line's end.
        limit: usize,
    },
    /// A method that is no token in upper case of 3 to 20 bytes.
    Method {
        /// The method.
        found: Excerpt,
    },
    /// CONNECT asks for a tunnel; an application server has none (RFC 9110 section 9.3.6).
    Connect,
    /// A byte that is forbidden in a request target: control, blank, `#`, beyond ASCII.
    TargetByte {
        /// The byte.
        found: u8,
    },
    /// A target in no form that its method permits (RFC 9112 section 3.2).
    TargetForm {
        /// The target.
        found: Excerpt,
    },
    /// A version that is not `HTTP/d.d`.
    Version {
        /// The last word of the request line.
        found: Excerpt,
    },
    /// A major version other than 1.
    VersionUnsupported {
        /// The version.
        found: Excerpt,
    },
    /// A line that starts with a blank: obsolete line folding (RFC 9112 section 5.2).
    FieldFolded {
        /// The line.
        line: usize,
    },
    /// A field line without a colon.
    FieldColon {
        /// The line.
        line: usize,
        /// The line.
        found: Excerpt,
    },
    /// A name that is not a token; a blank before the colon is part of the name.
    FieldName {
        /// The line.
        line: usize,
        /// The name.
        found: Excerpt,
    },
    /// A control byte in a value.
    FieldValue {
        /// The field's name.
        name: Excerpt,
        /// The first such byte.
        found: u8,
    },
    /// More fields than [`Limits::fields`](super::Limits::fields).
    FieldsTooMany {
        /// The limit.
        limit: usize,
    },
    /// A field line longer than [`Limits::field_size`](super::Limits::field_size).
    FieldTooLong {
        /// The line.
        line: usize,
        /// The limit, in bytes without the line's end.
        limit: usize,
    },
    /// A head larger than [`Limits::head`](super::Limits::head).
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// An HTTP/1.1 request without Host (RFC 9112 section 3.2).
    HostMissing,
    /// Two Host fields.
    HostTwice {
        /// The first value.
        first: Excerpt,
        /// The second value.
        second: Excerpt,
    },
    /// A Host that is not `host[:port]`.
    Host {
        /// The value.
        found: Excerpt,
    },
    /// Two Content-Type fields: the application and a filter before it may each use another one.
    ContentTypeTwice {
        /// The first value.
        first: Excerpt,
        /// The second value.
        second: Excerpt,
    },
    /// Two fields of a trusted proxy that report different schemes: one of them is forged.
    SchemeTwice {
        /// The first field, name and value.
        first: Excerpt,
        /// The first one that differs.
        second: Excerpt,
    },
    /// An underscore in a name, if a setting refuses it: its variable may be that of another field.
    FieldUnderscored {
        /// The name.
        found: Excerpt,
    },
    /// Two Content-Length fields, alike or not.
    ContentLengthTwice {
        /// The first value.
        first: Excerpt,
        /// The second value.
        second: Excerpt,
    },
    /// A Content-Length that is not a number.
    ContentLength {
        /// The value.
        found: Excerpt,
    },
    /// Content-Length and Transfer-Encoding in one request (RFC 9112 section 6.3, step 3).
    ContentLengthAndTransferEncoding,
    /// Transfer-Encoding in an HTTP/1.0 request (RFC 9112 section 6.1).
    TransferEncodingInHttp10,
    /// An empty element in the list of transfer codings.
    TransferCodingEmpty,
    /// `chunked` is missing or not the last coding, so the body has no end (RFC 9112 section 6.3, step 4).
    ChunkedNotLast {
        /// The last coding.
        found: Excerpt,
    },
    /// `chunked` applied twice (RFC 9112 section 7.1).
    ChunkedTwice,
    /// A transfer coding that rwsgi does not decode.
    TransferCoding {
        /// The coding.
        found: Excerpt,
    },
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation {
        /// The value.
        found: Excerpt,
    },
    /// A body larger than [`Limits::body`](super::Limits::body), or beyond 64 bits.
    BodyTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A chunk size that is not a hexadecimal number, or is beyond 64 bits.
    ChunkSize {
        /// The line.
        found: Excerpt,
    },
    /// A chunk's first line ended by LF without CR.
    ChunkLf,
    /// Bytes after the chunk size that are no chunk extension (RFC 9112 section 7.1.1).
    ChunkExtension {
        /// The bytes after the size.
        found: Excerpt,
    },
    /// A chunk's first line longer than [`Limits::chunk_line`](super::Limits::chunk_line).
    ChunkLineTooLong {
        /// The limit, in bytes without the line's end.
        limit: usize,
    },
    /// Chunks that are mostly framing, beyond [`Limits::chunk_overhead`](super::Limits::chunk_overhead).
    ChunkOverhead {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Chunk data not followed by CRLF.
    ChunkEnd {
        /// The byte in its place.
        found: u8,
    },
    /// Trailers larger than [`Limits::trailers`](super::Limits::trailers).
    TrailersTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A trailer line that would be refused in the head, too.
    Trailer {
        /// The cause; its lines count from 1, the first trailer.
        cause: Box<Reject>,
    },
    /// A field that is forbidden after the body (RFC 9110 section 6.5.1).
    TrailerForbidden {
        /// The name.
        found: Excerpt,
    },
}

impl Reject {
    /// Returns the status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Reject::ProxyForbidden => 403,
            Reject::BodyTooLarge { .. } => 413,
            Reject::RequestLineTooLong { .. } => 414,
            Reject::Expectation { .. } => 417,
            Reject::FieldsTooMany { .. }
            | Reject::FieldTooLong { .. }
            | Reject::HeadTooLarge { .. }
            | Reject::TrailersTooLarge { .. } => 431,
            Reject::Connect | Reject::TransferCoding { .. } => 501,
            Reject::VersionUnsupported { .. } => 505,
            Reject::Trailer { cause } => cause.status(),
            _ => 400,
        }
    }
}

impl Reject {
    /// Returns a remedy for the log, without the word `hint:`.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Reject::NoTls => "with certfile every address serves only TLS: clients use https://",
            Reject::ProxyForbidden => "proxy_allow_ips lists the peers that may send one",
            Reject::RequestLineTooLong { .. } => "limit_request_line sets this limit",
            Reject::FieldsTooMany { .. } => "limit_request_fields sets this limit",
            Reject::FieldTooLong { .. } => "limit_request_field_size sets this limit",
            Reject::HeadTooLarge { .. } => "limit_request_head sets this limit",
            Reject::BodyTooLarge { limit } if *limit < u64::MAX => "limit_request_body or spill_limit sets this limit",
            Reject::Method { found } if found.bytes().first() == Some(&TLS_HANDSHAKE) => {
                "this looks like TLS; certfile and keyfile serve it"
            }
            Reject::Trailer { cause } => return cause.hint(),
            _ => return None,
        })
    }
}

impl fmt::Display for Reject {
    #[rustfmt::skip] // A table: cause, message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reject::NoTls => write!(f, "connection: expected TLS, found plain HTTP"),
            Reject::ProxyForbidden => write!(f, "proxy header: expected none from this peer, found one"),
            Reject::ProxyLine { found } => write!(f, "proxy header: expected TCP4 or TCP6, two addresses, two ports and crlf, found {found}"),
            Reject::ProxyLineTooLong => write!(f, "proxy header: expected at most 107 bytes, found more"),
            Reject::ProxyBlock { expected, found } => write!(f, "proxy header: expected {expected}, found 0x{found:02x}"),
            Reject::EmptyLines => write!(f, "request line: expected a method, found a second empty line"),
            Reject::BareLf { line } => write!(f, "line {line}: expected crlf, found a bare lf"),
            Reject::RequestLine { found } => write!(f, "request line: expected method, target and version, found {found}"),
            Reject::RequestLineTooLong { limit } => write!(f, "request line: expected at most {limit} bytes, found more"),
            Reject::Method { found } => write!(f, "method: expected 3 to 20 upper-case token bytes, found {found}"),
            Reject::Connect => write!(f, "method: expected one that needs no tunnel, found CONNECT"),
            Reject::TargetByte { found } => write!(f, "target: expected visible ascii without #, found byte 0x{found:02x}"),
            Reject::TargetForm { found } => write!(f, "target: expected /path, http://host/path or, for OPTIONS, *, found {found}"),
            Reject::Version { found } => write!(f, "version: expected HTTP/1.1, found {found}"),
            Reject::VersionUnsupported { found } => write!(f, "version: expected HTTP/1, found {found}"),
            Reject::FieldFolded { line } => write!(f, "line {line}: expected a field name, found a blank (obsolete line folding)"),
            Reject::FieldColon { line, found } => write!(f, "line {line}: expected name and colon, found {found}"),
            Reject::FieldName { line, found } => write!(f, "line {line}: expected a token as the field's name, found {found}"),
            Reject::FieldValue { name, found } => write!(f, "field {name}: expected no control bytes, found byte 0x{found:02x}"),
            Reject::FieldsTooMany { limit } => write!(f, "head: expected at most {limit} fields, found more"),
            Reject::FieldTooLong { line, limit } => write!(f, "line {line}: expected at most {limit} bytes, found more"),
            Reject::HeadTooLarge { limit } => write!(f, "head: expected at most {limit} bytes, found more"),
            Reject::HostMissing => write!(f, "head: expected a host field, found none"),
            Reject::HostTwice { first, second } => write!(f, "host: expected one, found {first} and {second}"),
            Reject::Host { found } => write!(f, "host: expected host or host:port, found {found}"),
            Reject::ContentTypeTwice { first, second } => write!(f, "content-type: expected one, found {first} and {second}"),
            Reject::SchemeTwice { first, second } => write!(f, "scheme: expected one, found {first} and {second}"),
            Reject::FieldUnderscored { found } => write!(f, "head: expected field names without underscores, found {found}"),
            Reject::ContentLengthTwice { first, second } => write!(f, "content-length: expected one, found {first} and {second}"),
            Reject::ContentLength { found } => write!(f, "content-length: expected digits, found {found}"),
            Reject::ContentLengthAndTransferEncoding => write!(f, "head: expected content-length or transfer-encoding, found both"),
            Reject::TransferEncodingInHttp10 => write!(f, "transfer-encoding: expected none in HTTP/1.0, found one"),
            Reject::TransferCodingEmpty => write!(f, "transfer-encoding: expected a coding, found an empty element"),
            Reject::ChunkedNotLast { found } => write!(f, "transfer-encoding: expected chunked as the last coding, found {found}"),
            Reject::ChunkedTwice => write!(f, "transfer-encoding: expected chunked once, found it twice"),
            Reject::TransferCoding { found } => write!(f, "transfer-encoding: expected only chunked, found {found}"),
            Reject::Expectation { found } => write!(f, "expect: expected 100-continue, found {found}"),
            Reject::BodyTooLarge { limit } => write!(f, "body: expected at most {limit} bytes, found more"),
            Reject::ChunkSize { found } => write!(f, "chunk: expected a size in hexadecimal digits, found {found}"),
            Reject::ChunkLf => write!(f, "chunk: expected crlf after the size, found a bare lf"),
            Reject::ChunkExtension { found } => write!(f, "chunk: expected ;name or ;name=value after the size, found {found}"),
            Reject::ChunkLineTooLong { limit } => write!(f, "chunk: expected at most {limit} bytes of size and extensions, found more"),
            Reject::ChunkOverhead { limit } => write!(f, "chunk: expected at most {limit} bytes of excess framing, found more"),
            Reject::ChunkEnd { found } => write!(f, "chunk: expected crlf after the data, found byte 0x{found:02x}"),
            Reject::TrailersTooLarge { limit } => write!(f, "trailers: expected at most {limit} bytes, found more"),
            Reject::Trailer { cause } => write!(f, "trailers: {cause}"),
            Reject::TrailerForbidden { found } => write!(f, "trailers: expected fields that may follow a body, found {found}"),
        }
    }
}

impl std::error::Error for Reject {}

/// An excerpt of what a peer or an application sent, for a message: at most 64 bytes, escaped, quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    bytes: Box<[u8]>,
    cut: bool,
}

impl Excerpt {
    /// Returns the beginning of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let shown = &bytes[..bytes.len().min(EXCERPT)];
        Excerpt { bytes: shown.into(), cut: shown.len() < bytes.len() }
    }

    /// Returns the bytes that are shown.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.cut { "..." } else { "" };
        write!(f, "\"{}\"{more}", self.bytes.escape_ascii())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the first byte of `value` that is forbidden in a field value.
pub(crate) fn first_control(value: &[u8]) -> Option<u8> {
    value.iter().copied().find(|&byte| grammar::is_control(byte))
}

/// The content type that a TLS connection starts with (RFC 8446 section 5.1); no method has this byte.
const TLS_HANDSHAKE: u8 = 0x16;
/// Enough to recognise a value in a log, too little to fill it.
const EXCERPT: usize = 64;
