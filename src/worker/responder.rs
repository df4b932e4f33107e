//! Chooses what answers a request, before a thread is taken for it. It knows requests and rules, and no connection.

use std::net::IpAddr;

use crate::http::{Reject, Request, Scheme, Trust, forwarded};

/// The side that answers a request.
#[derive(Debug)]
pub(crate) enum Responder {
    /// The application, for a client that came by this scheme.
    Application(Scheme),
    /// An error page.
    Refusal(Reject),
}

impl Responder {
    /// Chooses what answers `request` of `peer`, by what the client and the proxies that are trusted say about it.
    pub(crate) fn of(request: Request<'_>, peer: Option<IpAddr>, own: Scheme, trust: &Trust) -> Responder {
        let scheme =
            forwarded::check_names(request, peer, trust).and_then(|()| forwarded::scheme(request, own, peer, trust));
        match scheme {
            Ok(scheme) => Responder::Application(scheme),
            Err(reject) => Responder::Refusal(reject),
        }
    }
}
