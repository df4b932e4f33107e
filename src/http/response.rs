//! The head of a response: status and fields of the application, checked, and the fields that a server adds. Decides the
//! transfer of the body, sends nothing, knows no Python.

use super::error_page::reason;
use super::grammar;
use super::reject::{Excerpt, first_control};
use super::version::Version;

pub use super::bad_response::BadResponse;

/// Status and fields as the application gave them, the fields already encoded. Reused for each response.
#[derive(Debug, Default)]
pub struct ResponseHead {
    code: u16,
    /// `200 OK`.
    status: Vec<u8>,
    /// `Name: value\r\n`, one after the other.
    fields: Vec<u8>,
    content_length: Option<u64>,
    has_date: bool,
    has_server: bool,
    /// True if the application asked for the connection to be closed.
    close: bool,
}

/// The parts of a request that decide the response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTo {
    /// The request's version.
    pub version: Version,
    /// True if the request was HEAD.
    pub head_only: bool,
    /// True if both client and server want to keep the connection.
    pub keep_alive: bool,
}

/// The promises of an encoded head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The transfer of the body.
    pub transfer: Transfer,
    /// True if the connection serves another request after it.
    pub keep_alive: bool,
}

/// The transfer of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// None: HEAD, 204, 205, 304. Data of the application is dropped.
    Nothing,
    /// Exactly this many bytes.
    Length(u64),
    /// In chunks, see [`encode_chunk`], and [`LAST_CHUNK`] at the end.
    Chunked,
    /// Unchanged; the end of the connection is its end.
    UntilClose,
}

/// The outcome of a field that is no mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was taken, or left out because the head says the same without it.
    Taken,
    /// It is a hop-by-hop field, which only the server may send (PEP 3333, "Other HTTP Features"), and was left out.
    HopByHop,
}

impl ResponseHead {
    /// Begins a response with its status, `200 OK`, and forgets the previous one.
    pub fn start(&mut self, status: &[u8]) -> Result<(), BadResponse> {
        let code = status_code(status)?;
        self.clear();
        self.code = code;
        self.status.extend_from_slice(status);
        Ok(())
    }

    /// Begins the server's own response to a refused or failed request, as
    /// [`error_response`](super::error_response) sends it: for the access log.
    pub fn start_error(&mut self, status: u16) {
        self.clear();
        self.code = status.clamp(400, 599);
        grammar::push_decimal(&mut self.status, u64::from(self.code));
        self.status.push(b' ');
        self.status.extend_from_slice(reason(self.code).as_bytes());
    }

    /// Begins the fields of a 103 (RFC 8297).
    pub fn start_hints(&mut self) {
        self.clear();
        self.code = EARLY_HINTS;
    }

    /// Appends the whole 103 to `out`.
    pub fn encode_hints(&self, out: &mut Vec<u8>) {
        for piece in [&b"HTTP/1.1 103 Early Hints\r\n"[..], &self.fields, b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }

    /// Adds a field. Blanks around the value are dropped.
    ///
    /// Hop-by-hop fields are left out: applications that pass on the response of another server copy them.
    /// A Content-Length is left out where the status has no body or none of its own (RFC 9110 sections 8.6 and 15.3.6).
    /// A 101 may name its Upgrade; the Connection field that goes with it comes from here.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<Pushed, BadResponse> {
        if !self.is_started() {
            return Err(BadResponse::NotStarted);
        }
        let field = match Field::usual(name) {
            Some(field) => field,
            None if grammar::is_token(name) => Field::of(name),
            None => return Err(BadResponse::FieldName { found: Excerpt::of(name) }),
        };
        let value = grammar::trim(value);
        if !grammar::is_field_value(value) {
            let found = first_control(value).unwrap_or_default();
            return Err(BadResponse::FieldValue { name: Excerpt::of(name), found });
        }
        match field {
            Field::HopByHop => return Ok(self.push_hop_by_hop(name, value)),
            Field::ContentLength if !self.push_content_length(value)? => return Ok(Pushed::Taken),
            Field::Date => self.has_date = true,
            Field::Server => self.has_server = true,
            Field::ContentLength | Field::Other => {}
        }
        self.append(name, value);
        Ok(Pushed::Taken)
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        let (mut status, mut fields) = (std::mem::take(&mut self.status), std::mem::take(&mut self.fields));
        status.clear();
        fields.clear();
        *self = ResponseHead { status, fields, ..ResponseHead::default() };
    }

    /// True if there is a status.
    pub fn is_started(&self) -> bool {
        self.code != 0
    }

    /// Returns the status code; 0 before the start.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Returns the status as the application gave it, `200 OK`.
    pub fn status(&self) -> &[u8] {
        &self.status
    }

    /// Returns the application's Content-Length.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Returns name and value of the application's fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.split_inclusive(|&byte| byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], grammar::trim(line[colon + 1..].strip_suffix(b"\r\n")?)))
        })
    }

    /// Returns the value of the application's first field of this name, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns the value of the last field of this name.
    pub fn last_field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().filter(|(found, _)| found.eq_ignore_ascii_case(name)).last().map(|(_, value)| value)
    }

    /// Appends the whole head to `out`, up to its empty line. `known_length` is the length of a body that is already whole,
    /// used if the application gave none. `date` is the value of Date, see [`imf_fixdate`](super::imf_fixdate).
    pub fn encode(&self, out: &mut Vec<u8>, to: &ResponseTo, known_length: Option<u64>, date: &[u8]) -> Begun {
        let begun = self.begin(*to, known_length);
        out.reserve(self.status.len() + self.fields.len() + OWN_FIELDS);
        // The server's own version, not the client's (RFC 9110 section 6.2).
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&self.status);
        out.extend_from_slice(match (self.status.len() == CODE, self.has_server) {
            (false, false) => b"\r\nServer: rwsgi\r\n",
            (true, false) => b" \r\nServer: rwsgi\r\n",
            (false, true) => b"\r\n",
            (true, true) => b" \r\n",
        });
        if !self.has_date {
            append_field(out, b"Date", date);
        }
        out.extend_from_slice(match (begun.keep_alive, to.version) {
            _ if self.code == SWITCHING => b"Connection: upgrade\r\n",
            (false, _) => b"Connection: close\r\n",
            // Only an HTTP/1.0 client expects the end of the connection by default.
            (true, Version::Http10) => b"Connection: keep-alive\r\n",
            (true, Version::Http11) => b"",
        });
        match begun.transfer {
            Transfer::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Transfer::Length(length) if self.content_length.is_none() => append_length(out, length),
            Transfer::Nothing if self.code == RESET => append_length(out, 0),
            _ => {}
        }
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"\r\n");
        begun
    }

    /// Decides the transfer by RFC 9112 section 6.3, for responses.
    fn begin(&self, to: ResponseTo, known_length: Option<u64>) -> Begun {
        let transfer = if self.code == SWITCHING {
            Transfer::UntilClose
        } else if !self.has_body(&to) {
            Transfer::Nothing
        } else if let Some(length) = self.content_length.or(known_length) {
            Transfer::Length(length)
        } else if to.version == Version::Http11 {
            Transfer::Chunked
        } else {
            Transfer::UntilClose
        };
        Begun { transfer, keep_alive: to.keep_alive && !self.close && transfer != Transfer::UntilClose }
    }

    /// True if the response has a body, be it an empty one.
    pub fn has_body(&self, to: &ResponseTo) -> bool {
        !to.head_only && self.may_have_length() && self.code != NOT_MODIFIED || self.code == SWITCHING
    }

    fn may_have_length(&self) -> bool {
        !matches!(self.code, 100..=199 | NO_CONTENT | RESET)
    }

    /// Takes the application's Content-Length; true if the field is to be sent.
    fn push_content_length(&mut self, value: &[u8]) -> Result<bool, BadResponse> {
        let length = grammar::decimal(value).ok_or_else(|| BadResponse::ContentLength { found: Excerpt::of(value) })?;
        if self.content_length.is_some() {
            return Err(BadResponse::ContentLengthTwice);
        }
        if self.may_have_length() {
            self.content_length = Some(length);
        }
        Ok(self.content_length.is_some())
    }

    /// Obeys what a hop-by-hop field may ask for: a 101 names its protocol, and `Connection: close` ends the connection.
    fn push_hop_by_hop(&mut self, name: &[u8], value: &[u8]) -> Pushed {
        let switching = self.code == SWITCHING;
        if switching && name.eq_ignore_ascii_case(b"upgrade") {
            self.append(name, value);
            return Pushed::Taken;
        }
        if name.eq_ignore_ascii_case(b"keep-alive") && !switching {
            return Pushed::Taken;
        }
        if !name.eq_ignore_ascii_case(b"connection") {
            return Pushed::HopByHop;
        }
        let mut pushed = Pushed::Taken;
        for option in grammar::list(value) {
            let is = |known: &[u8]| option.eq_ignore_ascii_case(known);
            match switching {
                true if is(b"upgrade") => {}
                false if is(b"close") => self.close = true,
                false if is(b"keep-alive") => {}
                _ => pushed = Pushed::HopByHop,
            }
        }
        pushed
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        append_field(&mut self.fields, name, value);
    }
}

/// Appends `data` as one chunk. Nothing for no data: an empty chunk would end the body.
pub fn encode_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        chunk_head(out, data.len() as u64);
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the line before the data of a chunk of `length` bytes; CRLF is to follow the data. Nothing for 0.
pub fn chunk_head(out: &mut Vec<u8>, length: u64) {
    if length > 0 {
        grammar::push_hexadecimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
}

/// The interim response to a client that waits with its body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The end of a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Field names that change what the server does.
enum Field {
    HopByHop,
    ContentLength,
    Date,
    Server,
    Other,
}

impl Field {
    /// Returns the kind of the names that applications and frameworks usually give, in their spelling; each is a token.
    fn usual(name: &[u8]) -> Option<Field> {
        match name {
            b"Content-Length" => Some(Field::ContentLength),
            b"Content-Type" | b"Vary" | b"Set-Cookie" | b"Location" | b"Cache-Control" => Some(Field::Other),
            b"X-Frame-Options" | b"X-Content-Type-Options" | b"Referrer-Policy" => Some(Field::Other),
            b"Cross-Origin-Opener-Policy" | b"ETag" | b"Last-Modified" | b"Expires" => Some(Field::Other),
            b"Content-Encoding" | b"Content-Language" | b"Content-Disposition" | b"Allow" => Some(Field::Other),
            _ => None,
        }
    }

    /// Returns the kind of any name. Decides by length first, so that most names are compared with nothing.
    fn of(name: &[u8]) -> Field {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Field::HopByHop,
            4 if is(b"date") => Field::Date,
            6 if is(b"server") => Field::Server,
            7 if is(b"upgrade") || is(b"trailer") => Field::HopByHop,
            8 if is(b"trailers") => Field::HopByHop,
            10 if is(b"connection") || is(b"keep-alive") => Field::HopByHop,
            14 if is(b"content-length") => Field::ContentLength,
            16 if is(b"proxy-connection") => Field::HopByHop,
            17 if is(b"transfer-encoding") => Field::HopByHop,
            18 if is(b"proxy-authenticate") => Field::HopByHop,
            19 if is(b"proxy-authorization") => Field::HopByHop,
            _ => Field::Other,
        }
    }
}

/// Reads the code of `ddd` or `ddd reason`, which is 101 or final.
fn status_code(status: &[u8]) -> Result<u16, BadResponse> {
    let wrong = || BadResponse::Status { found: Excerpt::of(status) };
    let (digits, rest) = status.split_at_checked(CODE).ok_or_else(wrong)?;
    let reason_follows = rest.is_empty() || rest[0] == b' ';
    let code = grammar::decimal(digits).and_then(|code| u16::try_from(code).ok()).ok_or_else(wrong)?;
    if !reason_follows || !grammar::is_field_value(rest) {
        return Err(wrong());
    }
    match code {
        SWITCHING | 200..=999 => Ok(code),
        found => Err(BadResponse::StatusCode { found }),
    }
}

fn append_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn append_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    grammar::push_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

const EARLY_HINTS: u16 = 103;
const SWITCHING: u16 = 101;
const NO_CONTENT: u16 = 204;
const RESET: u16 = 205;
const NOT_MODIFIED: u16 = 304;
/// The length of a status code.
const CODE: usize = 3;
/// Room for what the server adds to a head.
const OWN_FIELDS: usize = 160;
