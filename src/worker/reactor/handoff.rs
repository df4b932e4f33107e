//! Connections on their way from a worker whose threads are all taken to one that has a free thread: one queue for all
//! workers of a generation. A packet is a line of JSON about the connection and the bytes received on it; the descriptor
//! comes with it. It does not know when that is worth it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::http::{BodyLength, Proxied};
use crate::os::listener::Peer;
use crate::os::scoreboard::{Scoreboard, Slot};
use crate::os::stream::{Channel, MAX_MESSAGE, Received};
use crate::worker::connection::request_body::Body;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::{Arrived, Connection, Reading, Stage};
use crate::worker::exchange::ResponseState;
use crate::worker::reactor::timers::Millis;

/// The queue, and who stands at it.
pub struct Handoff<'a> {
    ends: &'a HandoffEnds,
    scoreboard: Scoreboard,
    workers: usize,
    threads: usize,
    me: usize,
}

/// The two ends of the queue, which all workers share.
#[derive(Debug)]
pub struct HandoffEnds {
    give: Channel,
    take: Channel,
}

/// What has to be known of a connection, beside what was received.
#[derive(Serialize, Deserialize)]
struct Described {
    listener: usize,
    /// None for a unix socket.
    peer: Option<SocketAddr>,
    /// Who connected to the proxy.
    proxied: Option<Proxied>,
    /// Has a request been answered on it?
    served: bool,
    /// Since when its request waits, on the clock that all processes share.
    since: Millis,
}

impl HandoffEnds {
    /// A queue for workers that are forked from here on.
    pub fn new() -> io::Result<HandoffEnds> {
        let (give, take) = Channel::pair()?;
        Ok(HandoffEnds { give, take })
    }
}

impl<'a> Handoff<'a> {
    /// The queue as the worker `me` sees it, among `workers`, where each has so many slots of the scoreboard as it has
    /// threads.
    pub fn new(
        ends: &'a HandoffEnds,
        scoreboard: Scoreboard,
        workers: usize,
        threads: usize,
        me: usize,
    ) -> Handoff<'a> {
        Handoff { ends, scoreboard, workers, threads, me }
    }

    /// Becomes readable when a connection waits to be taken.
    pub(crate) fn queue(&self) -> BorrowedFd<'_> {
        self.ends.take.as_fd()
    }

    /// How many threads of other workers are free to take a connection; counted no further than `most`.
    pub(crate) fn takers(&self, most: usize) -> usize {
        let slots = self.others().filter(|worker| self.is_open(*worker)).flat_map(|worker| self.slots(worker));
        slots.filter(|slot| slot.busy_since().is_none()).take(most).count()
    }

    /// How many other workers take connections and have nothing to do; counted no further than `most`.
    pub(crate) fn idle(&self, most: usize) -> usize {
        let is_idle =
            |worker: &usize| self.is_open(*worker) && self.slots(*worker).all(|slot| slot.counts_from().is_none());
        self.others().filter(is_idle).take(most).count()
    }

    /// The other workers; the next one comes first.
    fn others(&self) -> impl Iterator<Item = usize> {
        (0..self.workers).map(|away| (self.me + away) % self.workers).filter(|worker| *worker != self.me)
    }

    fn slots(&self, worker: usize) -> impl Iterator<Item = Slot> {
        (worker * self.threads..(worker + 1) * self.threads).filter_map(|at| self.scoreboard.slot(at))
    }

    fn is_open(&self, worker: usize) -> bool {
        self.slots(worker).next().is_some_and(|first| first.is_open())
    }

    /// Puts a connection with a whole request into the queue; `false` if it cannot go there. Then nothing has happened,
    /// else the caller must only close its descriptor, and not end the connection.
    pub(crate) fn give(&self, connection: &Connection) -> bool {
        let Stage::Waiting(waiting) = &connection.stage else { return false };
        // The rest of the answer before it would be lost.
        if !connection.output.is_empty() {
            return false;
        }
        let Some(received) = as_received(connection, &waiting.arrived) else { return false };
        let peer = if let Peer::Tcp(address) = connection.peer { Some(address) } else { None };
        let described = Described {
            listener: connection.listener,
            peer,
            proxied: connection.proxied.as_deref().copied(),
            served: connection.has_served(),
            since: waiting.since,
        };
        let Ok(mut packet) = serde_json::to_vec(&described) else { return false };
        packet.push(b'\n');
        packet.extend_from_slice(&received);
        packet.len() <= MAX_MESSAGE && self.ends.give.try_send(&packet, &[connection.stream.as_fd()]).is_ok()
    }

    /// Takes a connection from the queue; what else the application may have written there is passed over, one at a time.
    pub(crate) fn take(&self) -> Option<Connection> {
        match self.ends.take.try_receive() {
            Ok(Received::Packet(packet)) => opened(&packet.bytes, packet.fds),
            Ok(Received::Nothing | Received::Closed) => None,
            Err(error) => {
                tracing::error!(%error, "a connection handed over by another worker is lost");
                None
            }
        }
    }
}

/// What the client has sent, as it sent it; none for what is no longer in memory, or not in its framing.
fn as_received(connection: &Connection, arrived: &Arrived) -> Option<Vec<u8>> {
    let (head, rest) = connection.input.split_at_checked(arrived.head_length)?;
    let is_counted = matches!(connection.head.of(&connection.input).body_length(), BodyLength::Known(_));
    match &arrived.body {
        Body::Empty => Some(connection.input.clone()),
        Body::Memory(body) if is_counted => Some([head, body, rest].concat()),
        Body::Memory(_) | Body::Received(_) | Body::Given(_) | Body::File(_) | Body::Streamed => None,
    }
}

fn opened(packet: &[u8], mut fds: Vec<OwnedFd>) -> Option<Connection> {
    let end = packet.iter().position(|&byte| byte == b'\n')?;
    let described: Described = serde_json::from_slice(&packet[..end]).ok()?;
    let peer = described.peer.map_or(Peer::Unix, Peer::Tcp);
    let mut connection = Connection::new(Stream::plain(fds.pop()?), peer, described.listener);
    connection.input.extend_from_slice(&packet[end + 1..]);
    // What came since was told to somebody else.
    connection.reading = Reading::More;
    connection.waits_since = Some(described.since);
    connection.proxied = described.proxied.map(Box::new);
    if described.served {
        connection.answered = ResponseState::Finished { keep_alive: true };
    }
    Some(connection)
}
