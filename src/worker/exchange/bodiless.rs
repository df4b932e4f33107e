//! Responses that are whole with their heads: to HEAD, and with statuses that have no body.

use super::Exchange;
use crate::http::response::Transfer;
use crate::worker::connection::request::ResponseState;

impl Exchange<'_> {
    /// True if the response is whole with its head, which the application has given: further pieces would be dropped, and
    /// a stream may have no end. The pieces of a warm-up are made all the same.
    pub fn drops_rest(&self) -> bool {
        match self.state {
            _ if self.terms.drops_bodies => false,
            ResponseState::Open => self.head.is_started() && !self.head.has_body(&self.to),
            ResponseState::Sending { transfer, .. } => transfer == Transfer::Nothing,
            ResponseState::Finished { .. } | ResponseState::Broken | ResponseState::Hijacked { .. } => false,
        }
    }
}
