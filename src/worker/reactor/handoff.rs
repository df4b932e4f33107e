//! Connections on their way from a worker whose threads are all taken to one that has a free thread: one queue for all
//! workers of a generation. A packet is a line of JSON about the connection and the bytes received on it; the
//! descriptor comes with it.
//!
//! The giver keeps its copy until the taker says in the giver's slot of the scoreboard what has become of it: taken
//! over, or left to the giver for want of a descriptor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::{Job, Reactor};
use crate::http::{BodyLength, Proxied};
use crate::os::channel::{Channel, MAX_MESSAGE, Received};
use crate::os::clock;
use crate::os::listener::Peer;
use crate::os::scoreboard::{Scoreboard, Slot};
use crate::worker::connection::event::{Event, Readiness, Work};
use crate::worker::connection::request::ParsedRequest;
use crate::worker::connection::request_body::Body;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::{Connection, Origin};
use crate::worker::millis::Millis;

/// The queue, and the workers that share it.
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

/// A connection as the taker has to know it, beside the bytes received.
#[derive(Serialize, Deserialize)]
struct Described {
    /// The worker that gives it, and the number that it has there.
    giver: usize,
    number: u32,
    listener: usize,
    /// None for a unix socket.
    peer: Option<SocketAddr>,
    /// The peer of the proxy.
    proxied: Option<Proxied>,
    /// True if a request has been answered on it.
    served: bool,
    /// Since when its request waits, on the clock that all processes share.
    since: Millis,
}

/// The result of a look into the queue.
enum Taken {
    Connection(Box<Connection>),
    /// There was no descriptor for it: its giver goes on with it.
    NoDescriptor,
    Nothing,
}

impl HandoffEnds {
    /// Makes a queue for workers that are forked from here on.
    pub fn new() -> io::Result<HandoffEnds> {
        let (give, take) = Channel::pair()?;
        Ok(HandoffEnds { give, take })
    }

    /// Returns the descriptors of both ends.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.give.as_raw_fd(), self.take.as_raw_fd()]
    }
}

impl<'a> Handoff<'a> {
    /// The queue as the worker `me` sees it, among `workers`, where each has as many slots of the scoreboard as it has
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

    /// Returns a descriptor that becomes readable when a connection waits to be taken.
    pub(super) fn queue(&self) -> BorrowedFd<'_> {
        self.ends.take.as_fd()
    }

    /// Returns how many threads of other workers are free to take a connection; counted no further than `most`.
    fn takers(&self, most: usize) -> usize {
        let slots = self.others().filter(|worker| self.is_open(*worker)).flat_map(|worker| self.slots(worker));
        slots.filter(|slot| slot.busy_since().is_none()).take(most).count()
    }

    /// Returns how many other workers take connections and have nothing to do; counted no further than `most`.
    fn idle(&self, most: usize) -> usize {
        let is_idle =
            |worker: &usize| self.is_open(*worker) && self.slots(*worker).all(|slot| slot.counts_from().is_none());
        self.others().filter(is_idle).take(most).count()
    }

    /// Returns the other workers; the next one comes first.
    fn others(&self) -> impl Iterator<Item = usize> {
        (0..self.workers).map(|away| (self.me + away) % self.workers).filter(|worker| *worker != self.me)
    }

    fn slots(&self, worker: usize) -> impl Iterator<Item = Slot> {
        (worker * self.threads..(worker + 1) * self.threads).filter_map(|at| self.scoreboard.slot(at))
    }

    fn first_slot(&self, worker: usize) -> Option<Slot> {
        self.scoreboard.slot(worker.checked_mul(self.threads)?)
    }

    fn is_open(&self, worker: usize) -> bool {
        self.first_slot(worker).is_some_and(|first| first.is_open())
    }

    /// Puts a connection with a whole request into the queue, under a number of this worker's. False if it cannot go
    /// there; then nothing has happened.
    fn give(&self, connection: &Connection, number: u32) -> bool {
        let Some((request, since)) = connection.waiting() else { return false };
        // The rest of the answer before it would be lost.
        if !connection.output.is_empty() {
            return false;
        }
        let Some(received) = as_received(connection, request) else { return false };
        let origin = &connection.origin;
        let described = Described {
            giver: self.me,
            number,
            listener: origin.listener,
            peer: if let Peer::Tcp(address) = origin.peer { Some(address) } else { None },
            proxied: origin.proxied.as_deref().copied(),
            served: connection.has_served(),
            since,
        };
        let Ok(mut packet) = serde_json::to_vec(&described) else { return false };
        packet.push(b'\n');
        packet.extend_from_slice(&received);
        packet.len() <= MAX_MESSAGE && self.ends.give.try_send(&packet, &[connection.stream.as_fd()]).is_ok()
    }

    /// Takes a connection from the queue. What else the application may have written there is passed over, one at a
    /// time.
    fn take(&self, listeners: usize) -> Taken {
        let packet = match self.ends.take.try_receive_cut() {
            Ok(Received::Packet(packet)) => packet,
            Ok(Received::Nothing | Received::Closed) => return Taken::Nothing,
            Err(error) => {
                tracing::error!(%error, "cannot take a connection of another worker");
                return Taken::Nothing;
            }
        };
        let Some((described, input)) = read(&packet.bytes).filter(|(found, _)| found.listener < listeners) else {
            return Taken::Nothing;
        };
        let (socket, giver) = (packet.fds.into_iter().next(), self.first_slot(described.giver));
        if let Some(giver) = giver {
            giver.settle_handoff(described.number, socket.is_some());
        }
        socket.map_or(Taken::NoDescriptor, |socket| Taken::Connection(Box::new(opened(&described, socket, input))))
    }
}

/// Returns what the client has sent, as it sent it; none for what is no longer in memory, or not in its framing.
fn as_received(connection: &Connection, request: &ParsedRequest) -> Option<Vec<u8>> {
    let (head, rest) = connection.input.split_at_checked(request.head_length)?;
    let is_counted = matches!(connection.request().body_length(), BodyLength::Known(_));
    match &request.body {
        Body::Empty => Some(connection.input.clone()),
        Body::Memory(body) if is_counted => Some([head, body, rest].concat()),
        Body::Memory(_) | Body::Received(_) | Body::Given(_) | Body::File(_) | Body::Streamed => None,
    }
}

fn read(packet: &[u8]) -> Option<(Described, Vec<u8>)> {
    let end = packet.iter().position(|&byte| byte == b'\n')?;
    let described = serde_json::from_slice(&packet[..end]).ok()?;
    Some((described, packet[end + 1..].to_vec()))
}

fn opened(described: &Described, socket: OwnedFd, input: Vec<u8>) -> Connection {
    let peer = described.peer.map_or(Peer::Unix, Peer::Tcp);
    let mut origin = Origin::new(peer, described.listener);
    origin.proxied = described.proxied.map(Box::new);
    Connection::handed_off(Stream::plain(socket), origin, input, described.since, described.served)
}

/// The connections that a worker has handed off, and its knowledge of the workers that take them.
#[derive(Default)]
pub(super) struct HandedOff {
    /// Copies of connections that no worker has taken over yet, by their numbers.
    copies: Vec<(u32, Box<Connection>)>,
    /// Length of the last request in ns, where there are other workers.
    pub(super) last_took: u64,
    /// No worker without work is looked for until then, in ns of the monotonic clock.
    none_idle_until: u64,
}

impl HandedOff {
    /// Returns how many connections no worker has taken over yet.
    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    /// Notes how many ns a request took.
    pub(super) fn note_took(&mut self, ns: u64) {
        self.last_took = ns;
    }

    fn free_number(&self) -> Option<u32> {
        (0..Slot::HANDOFFS).find(|number| self.copies.iter().all(|(taken, _)| taken != number))
    }
}

impl Reactor<'_> {
    /// Takes connections that other workers have no thread for. Their requests are there already.
    pub(super) fn take_over(&mut self) {
        // Accepting may have ended in this turn, after the kernel spoke of the queue.
        if !self.acceptor.is_open() {
            return;
        }
        let Some(mut first) = self.taken_over() else { return };
        self.connections.insert(&mut first);
        for _ in 0..self.others_at_once() {
            let Some(connection) = self.taken_over() else { break };
            self.take_on(connection);
        }
        self.make_room();
        self.on(first, Event::Begun);
    }

    fn taken_over(&mut self) -> Option<Box<Connection>> {
        match self.setup.handoff.take(self.setup.listeners.len()) {
            Taken::Connection(connection) => Some(connection),
            Taken::Nothing => None,
            Taken::NoDescriptor => {
                tracing::warn!("no free descriptor, connections are left to other workers\nhint: limit_nofile");
                self.lacks_descriptors();
                None
            }
        }
    }

    /// Takes all that is in the queue: a worker that stops may be the last one that looks there.
    pub(super) fn empty_queue(&mut self) {
        while let Some(connection) = self.taken_over() {
            self.take_on(connection);
        }
    }

    /// Before a request begins: hands what waits behind it to workers that have nothing to do. Reading and passing on
    /// takes longer than a request that is over at once.
    pub(super) fn spread(&mut self) {
        if self.shutdown.has_begun() {
            return;
        }
        let now = clock::monotonic();
        if now < self.handed.none_idle_until {
            return;
        }
        let idle = self.setup.handoff.idle(self.inbox.len());
        if idle == 0 {
            self.handed.none_idle_until = now.saturating_add(LOOK_AGAIN_NS);
            return;
        }
        for _ in 0..idle {
            match self.next_job() {
                Some(Job { connection, work: Work::Request(request) }) => self.enqueue(connection, request),
                Some(other) => {
                    self.put_back(other);
                    break;
                }
                None => break,
            }
        }
        // A signal may have been among that: a worker that stops looks into the queue no more.
        if !self.shutdown.has_begun() {
            self.hand_off();
        }
    }

    /// Hands connections whose requests wait to workers that have a thread for them.
    pub(crate) fn hand_off(&mut self) {
        // A session is this process's own.
        if self.setup.tls.is_some() {
            return;
        }
        for _ in 0..self.setup.handoff.takers(self.queue.len()) {
            // One may have stopped accepting meanwhile.
            if self.setup.handoff.takers(1) == 0 {
                return;
            }
            let Some(token) = self.queue.pop_front() else { return };
            if !self.pass_on(token) {
                self.queue.push_back(token);
            }
        }
    }

    /// Puts the connection of a request that waits into the queue of all workers. False if it has to stay.
    fn pass_on(&mut self, token: u64) -> bool {
        let Some(connection) = self.connections.check_out(token, Readiness::default()) else { return true };
        let number = self.handed.free_number().filter(|number| self.setup.handoff.give(&connection, *number));
        let Some(number) = number else {
            self.on(connection, Event::Turn);
            return false;
        };
        self.forget(&connection);
        self.handed.copies.push((number, connection));
        true
    }

    /// Lets go of connections that other workers have taken over, and goes on with those that they left.
    pub(super) fn settle_handoffs(&mut self) {
        let (taken, left) = self.setup.slots[0].settled_handoffs();
        let copies = std::mem::take(&mut self.handed.copies);
        for (number, mut connection) in copies {
            if taken & (1 << number) != 0 {
                // Only the descriptor is closed: the connection goes on elsewhere.
                drop(connection);
            } else if left & (1 << number) != 0 {
                self.connections.insert(&mut connection);
                self.queue.push_front(connection.token);
                self.on(connection, Event::Look);
            } else {
                self.handed.copies.push((number, connection));
            }
        }
    }
}

/// Moving a connection costs two workers some 50 us.
pub(super) const WORTH_MOVING_NS: u64 = 200_000;
/// While no other worker is without work: looking at all of them takes its time, too.
const LOOK_AGAIN_NS: u64 = 1_000_000;
/// The interval in milliseconds at which a worker looks whether its handed-off connections were taken over.
pub(super) const LOOK_AT_COPIES: Millis = 10;
