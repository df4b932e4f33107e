//! One connection, as a machine: an [`Event`] and a [`ServeContext`] go in, the [`Next`] step comes out. It reads and
//! writes its own socket and never blocks. It knows no epoll, no threads and no Python; every transition stands in
//! `state.rs`.

pub(crate) mod body_budget;
pub(crate) mod collected_body;
pub(crate) mod context;
pub(crate) mod date_cache;
pub(crate) mod event;
pub(crate) mod receive_rate;
pub(crate) mod request;
pub(crate) mod request_body;
pub(crate) mod send_buffer;
pub(crate) mod send_queue;
pub(crate) mod send_timeout;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod streamed_body;
pub(crate) mod tls_handshake;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use request::{ParsedRequest, Protocol, ResponseState};
use send_buffer::SendBuffer;
use state::{Reading, Stage};
use stream::Stream;

use super::millis::Millis;
use crate::http::{Proxied, Request};
use crate::os::listener::Peer;
use crate::tls::Shaken;

/// A connected client.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// The origin of the connection.
    pub(crate) origin: Origin,
    /// The name by which the reactor knows the connection.
    pub(crate) token: u64,
    /// Bytes received and not used up; the protocol's head points into it.
    pub(crate) input: Vec<u8>,
    pub(crate) output: SendBuffer,
    pub(crate) protocol: Protocol,
    stage: Stage,
    /// The response to the last request.
    answered: ResponseState,
    reading: Reading,
    /// True once the kernel has said that the client will send no more; it says so once, maybe together with the last
    /// bytes.
    end_told: bool,
    /// The moment of the accept, of the begin of its head, or of its last response: whichever was last.
    since: Millis,
    /// Since when its request waits for a thread, in this worker or another.
    waits_since: Option<Millis>,
    deadline: Millis,
    /// True if the reactor is to say when there is room for its body.
    asks_for_room: bool,
}

/// The origin of a connection.
pub(crate) struct Origin {
    pub(crate) peer: Peer,
    /// The peer of the proxy, for as long as the connection lasts.
    pub(crate) proxied: Option<Box<Proxied>>,
    /// True while a PROXY header may still come.
    pub(crate) awaits_proxy: bool,
    /// The index of the listener in [`Setup::listeners`](crate::worker::Setup::listeners).
    pub(crate) listener: usize,
}

impl Origin {
    pub(crate) fn new(peer: Peer, listener: usize) -> Origin {
        Origin { peer, proxied: None, awaits_proxy: false, listener }
    }

    /// Returns the client's address, as the proxy says it; none on a unix socket.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.proxied.as_ref().map_or_else(|| self.peer.ip(), |proxied| Some(proxied.source.ip()))
    }
}

impl Connection {
    /// A connection that was accepted at `now`, and may take until `deadline` for its first head.
    pub(crate) fn accepted(stream: Stream, origin: Origin, now: Millis, deadline: Millis) -> Connection {
        let stage = if stream.session().is_some() {
            Stage::Handshake { shaken: Shaken::Waiting, has_begun: false }
        } else {
            Stage::Idle
        };
        Connection {
            stream,
            origin,
            token: 0,
            input: Vec::new(),
            output: SendBuffer::default(),
            protocol: Protocol::default(),
            stage,
            answered: ResponseState::Open,
            reading: Reading::Drained,
            end_told: false,
            since: now,
            waits_since: None,
            deadline,
            asks_for_room: false,
        }
    }

    /// A connection that another worker has handed off: its whole request is in `input`, and has waited since
    /// `waits_since`.
    pub(crate) fn handed_off(
        stream: Stream,
        origin: Origin,
        input: Vec<u8>,
        waits_since: Millis,
        has_served: bool,
    ) -> Connection {
        let mut connection = Connection::accepted(stream, origin, waits_since, Millis::MAX);
        connection.input = input;
        // What came since was told to the other worker.
        connection.reading = Reading::More;
        connection.waits_since = Some(waits_since);
        if has_served {
            connection.answered = ResponseState::Finished { keep_alive: true };
        }
        connection
    }

    /// Returns the request whose head was found.
    pub(crate) fn request(&self) -> Request<'_> {
        self.protocol.request(&self.input)
    }

    /// True if it is between two requests, with nothing received.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.input.is_empty()
    }

    /// True if a request was answered on it.
    pub(crate) fn has_served(&self) -> bool {
        self.answered != ResponseState::Open
    }

    /// True if everything that was begun has been said.
    pub(crate) fn is_whole(&self) -> bool {
        let is_over = matches!(self.answered, ResponseState::Broken | ResponseState::Hijacked { .. });
        self.output.is_empty() && !is_over && !matches!(self.stage, Stage::Handshake { .. })
    }

    /// True if a thread carries what is said on it, and ends it when that is done.
    pub(crate) fn is_relayed(&self) -> bool {
        self.answered == ResponseState::Hijacked { is_relayed: true }
    }

    /// Returns its whole request that waits for a thread, and since when; none if there is no such request.
    pub(crate) fn waiting(&self) -> Option<(&ParsedRequest, Millis)> {
        match &self.stage {
            Stage::Whole(request) => Some((&request.parsed, self.waits_since?)),
            _ => None,
        }
    }
}
