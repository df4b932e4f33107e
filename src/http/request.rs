//! A request as its readers see it: worker, engine, access log. A view; parses and decides nothing.

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
    /// The request, seen in `bytes`, the buffer last given to [`Head::parse`]. Valid once complete.
    pub fn of<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        Request { head: self, bytes }
    }

    /// The request as far as it is known, for the answer to a refused one and its line in the access log: `None` before
    /// its request line is whole and valid; without fields where those are not all there and valid.
    pub fn so_far<'a>(&'a self, bytes: &'a [u8]) -> Option<Request<'a>> {
        self.has_request_line().then(|| self.of(bytes))
    }
}

impl<'a> Request<'a> {
    /// `GET`.
    pub fn method(&self) -> &'a [u8] {
        if self.head.folded_method.is_empty() { self.head.method.of(self.bytes) } else { &self.head.folded_method }
    }

    /// The whole request target.
    pub fn target(&self) -> &'a [u8] {
        self.head.target.of(self.bytes)
    }

    /// The target's path, percent escapes and all. `/` for an absolute target without one (RFC 9110 section 4.2.3).
    pub fn path(&self) -> &'a [u8] {
        let path = self.head.path.of(self.bytes);
        if path.is_empty() { b"/" } else { path }
    }

    /// What follows the target's first `?`; empty without one.
    pub fn query(&self) -> &'a [u8] {
        self.head.query.of(self.bytes)
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The authority of an absolute target, else the Host field: `host[:port]`.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.head.authority.map(|authority| authority.of(self.bytes)).or_else(|| self.field(b"host"))
    }

    /// Name as received and trimmed value of every field, in order. The value of Host is [`Request::host`].
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        pairs(self.head.fields(), self.bytes)
    }

    /// The value of the first field of this name, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut fields = self.head.fields_of(Lengths::of(name.len()), self.bytes);
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the last field of this name.
    pub fn last_field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let fields = self.head.fields_of(Lengths::of(name.len()), self.bytes);
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).last().map(|(_, value)| value)
    }

    /// How the body is delimited.
    pub fn body_length(&self) -> BodyLength {
        self.head.body
    }

    /// Whether the client keeps the connection for another request (RFC 9112 section 9.3).
    pub fn wants_keep_alive(&self) -> bool {
        self.head.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.head.expects_continue
    }

    /// Whether the response has no body whatever its fields say.
    pub fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }
}
