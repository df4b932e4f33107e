//! How much is too much, and what is let pass. Knows no setting, though most come from one.

/// How much of a request is taken before it is refused. Sizes in bytes; of lines, without their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The request line, else 414. gunicorn 4094, nginx 8 KiB, Apache 8190.
    pub request_line: usize,
    /// The number of fields, else 431. gunicorn and Apache 100, node 2000.
    pub fields: usize,
    /// One field line, name included, else 431. gunicorn and Apache 8190, nginx 8 KiB.
    pub field_size: usize,
    /// The whole head, else 431. node 16 KiB, nginx 32 KiB, tomcat 8 KiB, gunicorn 800 KiB.
    pub head: usize,
    /// The body, decoded, else 413. `None` is no limit. gunicorn and Apache none, nginx 1 MiB.
    pub body: Option<u64>,
    /// A chunk's first line, extensions included, else 400. Go 4 KiB, puma 4 KiB, gunicorn 8190.
    pub chunk_line: usize,
    /// What the framing of all chunks may exceed the worth of their data by, else 400. Go 16 KiB.
    pub chunk_overhead: u64,
    /// All trailers of a body, else 431.
    pub trailers: usize,
    /// What is taken beyond HTTP.
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

/// What is taken beyond HTTP. Nothing, unless somebody says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "gunicorn's switches, each for itself")]
pub struct Leniency {
    /// A field may go on in lines that begin with a blank (RFC 9112 section 5.2).
    pub folding: bool,
    /// Blanks may stand before a field's colon (RFC 9112 section 5.1).
    pub blanks_before_colon: bool,
    /// A method may be any token.
    pub any_method: bool,
    /// A version may have any two digits.
    pub any_version: bool,
    /// A method is put into capitals (RFC 9110 section 9.1 tells them apart).
    pub casefold_method: bool,
}
