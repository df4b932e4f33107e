//! The bytes before a TLS handshake, and the answer to a client that speaks no TLS.

use std::os::fd::AsFd;

use super::Connection;
use crate::http::{ErrorPage, Opening, ProxyRules, Reject, proxy};
use crate::os::socket::{self, Read};

/// The state of the plain text before a handshake.
pub(super) enum Preface {
    /// None follows: TLS begins.
    Over,
    /// A PROXY header may still come.
    NeedMore,
    /// The client is gone.
    Gone,
    /// It is a PROXY header that is not taken.
    Refused(Reject),
}

impl Connection {
    /// Goes past a PROXY header before TLS, if one may still come. The bytes that follow it are left to the session.
    pub(super) fn pass_proxy_header(&mut self, rules: &ProxyRules) -> Preface {
        if !self.origin.awaits_proxy {
            return Preface::Over;
        }
        let is_over = socket::peek(self.stream.as_fd(), &mut self.input) == Read::Closed;
        let there = self.input.len();
        let taken = self.take_proxy_header(rules);
        let used = there - self.input.len();
        self.input.clear();
        match taken {
            Ok(true) => {
                if used > 0 {
                    // Nothing but what was looked at.
                    let _ = socket::read(self.stream.as_fd(), &mut self.input, used);
                    self.input.clear();
                }
                Preface::Over
            }
            Ok(false) if is_over || self.end_told => Preface::Gone,
            Ok(false) => Preface::NeedMore,
            Err(reject) => Preface::Refused(reject),
        }
    }

    /// Goes past a PROXY header at the front of the input, if the connection begins with one; `false` while that cannot
    /// be told.
    pub(super) fn take_proxy_header(&mut self, rules: &ProxyRules) -> Result<bool, Reject> {
        match proxy::opening(&self.input, self.origin.peer.ip(), rules)? {
            Opening::NeedMore => return Ok(false),
            Opening::Plain => {}
            Opening::Header { used, proxied } => {
                self.input.drain(..used);
                self.origin.proxied = proxied.map(Box::new);
            }
        }
        self.origin.awaits_proxy = false;
        Ok(true)
    }
}

/// The answer to a client that speaks HTTP where TLS is spoken.
pub(super) const SPEAKS_TLS: ErrorPage<'_> = ErrorPage {
    content_type: "text/plain; charset=utf-8",
    body: b"400 Bad Request\nThis port speaks HTTPS: the address begins with https://\n",
};
