//! Responses that are sent together with those that follow shortly. A client on this machine, such as a proxy, that sleeps
//! is woken by each response, and waking it takes longer than sending. So a small response is left to the kernel unsent
//! (`MSG_MORE`) where other requests stand in line, and those before it were quick; it is sent before the worker does
//! anything else that could take long, by the helper at the latest. Decision 39 tells why.

use std::os::fd::RawFd;

use crate::os::socket;

/// What is held back, and whether there is more to be. All times are in ns of the monotonic clock.
#[derive(Debug)]
pub(super) struct Batch {
    /// The connections, and their sockets, which are open as long as they stand here.
    held: Vec<(u64, RawFd)>,
    /// When the request began whose response is the first of them.
    since: u64,
    /// When the last request of this turn began; 0 before the first.
    last: u64,
    /// Was something held back when that began?
    keeps: bool,
    /// How many requests in a row were quick.
    quick: u32,
    /// How many have to be, for the next one to be expected to be.
    needed: u32,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { held: Vec::new(), since: 0, last: 0, keeps: false, quick: 0, needed: NEEDED }
    }
}

impl Batch {
    /// A turn begins.
    pub(super) fn turn(&mut self, now: u64) {
        self.learn(now);
        self.last = 0;
        self.send();
    }

    /// A request begins. May its response wait for what stands in line behind it?
    pub(super) fn begin(&mut self, now: u64) -> bool {
        self.learn(now);
        self.last = now;
        if now.saturating_sub(self.since) >= LONGEST_NS {
            self.send();
        }
        self.keeps = !self.held.is_empty();
        self.may_grow()
    }

    /// Are requests expected to be quick?
    pub(super) fn may_grow(&self) -> bool {
        self.quick >= self.needed
    }

    /// From one request to the next. One that took long while others' responses were held back makes this worker more
    /// careful.
    fn learn(&mut self, now: u64) {
        if self.last == 0 {
            return;
        }
        let took = now.saturating_sub(self.last);
        if (WORTH_IT_NS..=QUICK_NS).contains(&took) {
            self.quick = self.quick.saturating_add(1);
            return;
        }
        self.quick = 0;
        if took > HURTS_NS && self.keeps {
            self.needed = (self.needed * 2).min(MOST_NEEDED);
        }
    }

    /// The request that began then is answered. Where others have begun meanwhile, how long it took is not known.
    pub(super) fn end(&mut self, began: u64) {
        if began != self.last {
            self.quick = 0;
        }
    }

    /// The kernel holds back the response to the request that began last.
    pub(super) fn add(&mut self, token: u64, stream: RawFd) {
        if self.held.is_empty() {
            self.since = self.last;
        }
        self.held.push((token, stream));
    }

    /// Has the kernel send all.
    pub(super) fn send(&mut self) {
        for (_, stream) in self.held.drain(..) {
            socket::push(stream);
        }
    }

    /// The connection ends here, or goes elsewhere: what is held back of it is sent.
    pub(super) fn leaves(&mut self, token: u64) {
        while let Some(at) = self.held.iter().position(|&(held, _)| held == token) {
            socket::push(self.held.swap_remove(at).1);
        }
    }
}

/// A client that gets its responses faster than this has no time to fall asleep.
const WORTH_IT_NS: u64 = 15_000;
/// A request that takes longer than this is not worth being waited for.
const QUICK_NS: u64 = 150_000;
/// A request that takes longer than this keeps others from the responses that they could have.
const HURTS_NS: u64 = 1_000_000;
/// No further request begins when the first of those whose responses are held back began so long ago.
const LONGEST_NS: u64 = 250_000;
/// So many requests in a row have to have been quick.
const NEEDED: u32 = 64;
/// However often the next one was not.
const MOST_NEEDED: u32 = 1024;

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::os::socket::More;

    /// What comes between two requests that are quick.
    const SHORT: u64 = 50_000;

    /// After so many quick requests.
    fn after(count: u32) -> (Batch, u64) {
        let mut batch = Batch::default();
        batch.turn(1);
        let mut now = 2;
        for _ in 0..count {
            batch.begin(now);
            now += SHORT;
        }
        (batch, now)
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nodelay(true).unwrap();
        (server, client)
    }

    /// A response that the kernel holds back.
    fn held(batch: &mut Batch, token: u64, server: &TcpStream) {
        assert_eq!(socket::write(server.as_fd(), &[b"response", b"", b""], More::Follows).unwrap(), 8);
        batch.add(token, server.as_raw_fd());
    }

    fn has_arrived(mut client: &TcpStream) -> bool {
        let mut room = [0; 16];
        match client.read(&mut room) {
            Ok(8) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn responses_wait_only_after_many_quick_requests() {
        let (mut batch, now) = after(NEEDED);
        assert!(batch.begin(now));
        let (mut batch, now) = after(NEEDED - 1);
        assert!(!batch.begin(now));
        for took in [QUICK_NS + 1, WORTH_IT_NS - 1] {
            let (mut batch, now) = after(NEEDED + 10);
            assert!(!batch.begin(now - SHORT + took), "{took}");
        }
    }

    #[test]
    fn what_is_held_back_is_sent_when_it_is_due_and_when_a_turn_begins() {
        let (one, another) = (pair(), pair());
        let (mut batch, now) = after(NEEDED);
        batch.begin(now);
        held(&mut batch, 1, &one.0);
        held(&mut batch, 2, &another.0);
        batch.begin(now + LONGEST_NS - 1);
        assert_eq!(batch.held.len(), 2);
        batch.begin(now + LONGEST_NS);
        assert!(has_arrived(&one.1) && has_arrived(&another.1));
        held(&mut batch, 1, &one.0);
        batch.turn(now + LONGEST_NS + 1);
        assert!(has_arrived(&one.1));
    }

    #[test]
    fn a_connection_that_leaves_has_what_is_held_back_of_it_sent() {
        let (one, another) = (pair(), pair());
        let (mut batch, now) = after(NEEDED);
        batch.begin(now);
        held(&mut batch, 1, &one.0);
        held(&mut batch, 2, &another.0);
        batch.leaves(1);
        assert!(has_arrived(&one.1));
        assert_eq!(batch.held.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn requests_that_overlap_are_not_taken_for_quick_ones() {
        let (mut batch, now) = after(NEEDED);
        batch.begin(now);
        batch.begin(now + SHORT);
        batch.end(now);
        assert!(!batch.begin(now + 2 * SHORT));
        let (mut batch, now) = after(NEEDED);
        batch.begin(now);
        batch.end(now);
        assert!(batch.begin(now + SHORT));
    }

    #[test]
    fn who_kept_responses_waiting_for_a_long_request_becomes_more_careful() {
        let (server, _client) = pair();
        let (mut batch, mut now) = after(NEEDED);
        batch.begin(now);
        held(&mut batch, 1, &server);
        batch.begin(now + 1);
        // The helper has come meanwhile.
        batch.send();
        now += HURTS_NS + 2;
        batch.begin(now);
        for _ in 0..NEEDED * 2 - 1 {
            now += SHORT;
            assert!(!batch.begin(now));
        }
        assert!(batch.begin(now + SHORT));
    }
}
