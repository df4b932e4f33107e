//! A request as worker, engine and access log see it. A view; parses and decides nothing.

use super::fields::{Lengths, pairs};
use super::framing::BodyLength;
use super::head::Head;
use super::version::Version;

/// A request: the view of a complete [`Head`] and its bytes. All parts are as received, undecoded.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(super) head: &'a Head,
    pub(super) bytes: &'a [u8],
}

impl Head {
    /// Returns the request, seen in `bytes`, the buffer last given to [`Head::parse`]. Valid once complete.
    pub fn of<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        Request { head: self, bytes }
    }

    /// Returns what is known of the request, for the answer to a refused one and its line in the access log. `None` before
    /// its request line is whole and valid; without fields until all are there and valid.
    pub fn so_far<'a>(&'a self, bytes: &'a [u8]) -> Option<Request<'a>> {
        self.has_request_line().then(|| self.of(bytes))
    }
}

impl<'a> Request<'a> {
    /// Returns the method, `GET`.
    pub fn method(&self) -> &'a [u8] {
        if self.head.folded_method.is_empty() { self.head.method.of(self.bytes) } else { &self.head.folded_method }
    }

    /// Returns the whole request target.
    pub fn target(&self) -> &'a [u8] {
        self.head.target.of(self.bytes)
    }

    /// Returns the target's path, with its percent escapes; `/` for an absolute target without one (RFC 9110 section
    /// 4.2.3).
    pub fn path(&self) -> &'a [u8] {
        let path = self.head.path.of(self.bytes);
        if path.is_empty() { b"/" } else { path }
    }

    /// Returns the part of the target after its first `?`; empty without one.
    pub fn query(&self) -> &'a [u8] {
        self.head.query.of(self.bytes)
    }

    /// Returns the version.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// Returns the authority of an absolute target, else the Host field: `host[:port]`.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.head.authority.map(|authority| authority.of(self.bytes)).or_else(|| self.field(b"host"))
    }

    /// Returns the name as received and the trimmed value of every field, in order. The value of Host is
    /// [`Request::host`].
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        pairs(self.head.fields(), self.bytes)
    }

    /// Returns the value of the first field of this name, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut fields = self.head.fields_of(Lengths::of(name.len()), self.bytes);
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns the value of the last field of this name.
    pub fn last_field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let fields = self.head.fields_of(Lengths::of(name.len()), self.bytes);
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).last().map(|(_, value)| value)
    }

    /// Returns the delimiting of the body.
    pub fn body_length(&self) -> BodyLength {
        self.head.body
    }

    /// True if the client keeps the connection for another request (RFC 9112 section 9.3).
    pub fn wants_keep_alive(&self) -> bool {
        self.head.keep_alive
    }

    /// True if the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.head.expects_continue
    }

    /// True if the response has no body whatever its fields say.
    pub fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }
}
