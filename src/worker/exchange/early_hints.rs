//! Early hints (RFC 8297), and what is known of the connection beside the request.

use std::sync::Arc;

use super::Exchange;
use crate::http::response::{BadResponse, ResponseHead};
use crate::http::{Proxied, Version};
use crate::tls::Variables;
use crate::worker::connection::request::ResponseState;

impl<'c> Exchange<'c> {
    /// Sends fields ahead of the response, in a 103 (RFC 8297), at once. Nothing happens for a client of HTTP/1.0,
    /// which knows no such thing, after the response has begun, and while the client does not take what it has got so
    /// far.
    pub fn early_hints<'f>(&mut self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Result<(), BadResponse> {
        let mut head = ResponseHead::default();
        head.start_hints();
        for (name, value) in fields {
            head.push(name, value)?;
        }
        let is_due = self.state == ResponseState::Open && self.request.version() == Version::Http11;
        if is_due && self.output.is_empty() {
            head.encode_hints(&mut self.output.bytes);
            // A client that is gone is found out by what follows.
            let _ = self.output.flush(self.stream);
            // A 100 must not come into its middle.
            if let Some(reader) = self.body_reader().filter(|_| !self.output.is_empty()) {
                reader.response_begins();
            }
        }
        Ok(())
    }

    /// Returns the peer of the proxy that sent a PROXY header. What counts for trust is the connection's own peer.
    pub fn proxied(&self) -> Option<&'c Proxied> {
        self.origin.proxied.as_deref()
    }

    /// Returns what an application is told of the connection's TLS, if it has any.
    pub fn tls(&self) -> Option<Arc<Variables>> {
        self.stream.variables()
    }
}
