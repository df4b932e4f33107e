//! Limits on requests, and what is permitted beyond HTTP. Knows no setting, though most values come from one.

/// Limits beyond which a request is refused. Sizes are in bytes; that of the request line is without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The request line, else 414. gunicorn 4094, nginx 8 KiB, Apache 8190.
    pub request_line: usize,
    /// The number of fields, else 431. gunicorn and Apache 100, node 2000.
    pub fields: usize,
    /// One field line, name and CRLF included, else 431. gunicorn and Apache 8190, nginx 8 KiB.
    pub field_size: usize,
    /// The whole head, else 431. node 16 KiB, nginx 32 KiB, tomcat 8 KiB, gunicorn 800 KiB.
    pub head: usize,
    /// The body, decoded, else 413. `None` is no limit. gunicorn and Apache none, nginx 1 MiB.
    pub body: Option<u64>,
    /// A chunk's first line, extensions included, else 400. Go 4 KiB, puma 4 KiB, gunicorn 8190.
    pub chunk_line: usize,
    /// Framing of all chunks beyond 16 bytes and twice the data for each, else 400. Go 16 KiB.
    pub chunk_overhead: u64,
    /// All trailers of a body, else 431.
    pub trailers: usize,
    /// The permissions beyond HTTP.
    pub leniency: Leniency,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_line: 4094,
            fields: 100,
            field_size: 8190,
            head: 64 * 1024,
            body: None,
            chunk_line: 4096,
            chunk_overhead: 16 * 1024,
            trailers: 8190,
            leniency: Leniency::default(),
        }
    }
}

/// Permissions beyond HTTP; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "gunicorn's switches, each independent")]
pub struct Leniency {
    /// True if a field may continue in lines that begin with a blank (RFC 9112 section 5.2).
    pub folding: bool,
    /// True if blanks are permitted before a field's colon (RFC 9112 section 5.1).
    pub blanks_before_colon: bool,
    /// True if a method may be any token.
    pub any_method: bool,
    /// True if a version may have any two digits.
    pub any_version: bool,
    /// True if a method is converted to capitals (RFC 9110 section 9.1 distinguishes case).
    pub casefold_method: bool,
}
