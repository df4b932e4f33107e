//! How a worker comes to its end: what it is told, what it still takes, whom it waits for. When a connection's turn comes
//! is the loop's business.
//!
//! | told by | because | accepts | idle connections |
//! |---|---|---|---|
//! | TERM | the server stops | what is in the backlog already | are closed, after a look; new ones get a moment |
//! | [`Order::Retire`] | another serves in its place | nothing | have `lame_duck` to send a request |
//! | QUIT | at once | nothing | are cut off |

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::os::signal;
use crate::worker::Order;
use crate::worker::connection::{Connection, Reading, Stage};
use crate::worker::reactor::accept::Door;
use crate::worker::reactor::connections::PendingEvents;
use crate::worker::reactor::timers::in_time;
use crate::worker::reactor::{After, Ending, Reactor};

impl Reactor<'_> {
    pub(crate) fn signals(&mut self) {
        while let Some(signal) = self.setup.signals.next() {
            match signal {
                libc::SIGTERM if self.stopping.is_none() || self.retiring => self.stop_gracefully(),
                libc::SIGTERM => {}
                libc::SIGQUIT => self.stop(Ending::Quick),
                other => signal::pass_over(other),
            }
        }
    }

    pub(crate) fn orders(&mut self) {
        loop {
            match (self.setup.orders.next)() {
                Order::Retire if self.stopping.is_none() => self.retire(),
                Order::Retire => {}
                Order::Nothing => return,
                Order::Closed => {
                    let _ = self.epoll.delete(self.setup.orders.channel);
                    return;
                }
            }
        }
    }

    fn stop(&mut self, ending: Ending) {
        self.stopping = Some(ending);
        self.stops.store(true, Ordering::Relaxed);
        self.shut_door(Door::Shut);
        tracing::debug!(
            graceful = ending == Ending::Graceful,
            retiring = self.retiring,
            connections = self.table.len(),
            "worker stops"
        );
    }

    /// What is in the backlog already is still served; what idles between requests is closed, after a look for one that
    /// is on its way. A connection that has not had its first one gets a moment to send it.
    fn stop_gracefully(&mut self) {
        // Others listen still if only this worker ends; what came before them is theirs.
        let is_alone = self.stopping.is_none() && self.spent.is_some();
        self.retiring = false;
        self.stop(Ending::Graceful);
        if is_alone {
            self.take_backlog();
        }
        self.close_listeners();
        self.give_turns();
    }

    /// Others serve, so that there is time: connections that idle may send a request, which is answered with
    /// `Connection: close`, until `lame_duck` is over.
    fn retire(&mut self) {
        self.retiring = true;
        self.stop(Ending::Graceful);
        self.close_listeners();
        self.give_turns();
    }

    /// Nobody waits at a door behind which nobody is: without this copy, the last process that has the socket closes it.
    fn close_listeners(&mut self) {
        for listener in self.setup.listeners {
            if let Err(error) = listener.close() {
                tracing::warn!(%error, listener = %listener.address(), "listener not closed");
            }
        }
    }

    /// Every connection is looked at once, those that other workers have put into the queue, too: this worker may be the
    /// last who looks there.
    fn give_turns(&mut self) {
        while let Some(connection) = self.setup.handoff.take() {
            self.table.insert(Box::new(connection));
        }
        for token in self.table.tokens() {
            let task = self.with_connection(token, PendingEvents::default(), |this, connection| {
                if connection.reading == Reading::Drained {
                    connection.reading = Reading::More;
                }
                this.ready.push_back(token);
                After::Keep
            });
            debug_assert!(task.is_none());
        }
    }

    /// A connection of a worker that stops waits for a request: is it waited for?
    pub(crate) fn stays(&self, connection: &mut Connection) -> bool {
        if !connection.is_idle() && !matches!(connection.stage, Stage::Handshake(_)) {
            return true;
        }
        let patience = if self.retiring { self.setup.lame_duck } else { FIRST_REQUEST };
        connection.deadline = connection.deadline.min(in_time(patience));
        self.retiring || !connection.has_served()
    }

    /// Takes the connections that wait in the backlog, for at most [`BACKLOG_TIME`]: the listeners end with this server.
    /// They are served in their turn, and their clients wait for that; those that come later are refused.
    pub(crate) fn take_backlog(&mut self) {
        let end = in_time(BACKLOG_TIME);
        for (index, listener) in self.setup.listeners.iter().enumerate() {
            while in_time(Duration::ZERO) < end {
                let Ok(Some((stream, peer))) = listener.accept() else { break };
                let Some(mut connection) = self.accepted(stream, peer, index) else { continue };
                connection.deadline = in_time(FIRST_REQUEST);
                self.take_on(connection);
            }
        }
    }
}

/// Accepting takes microseconds: this is a whole backlog of 2048, whatever else is going on.
const BACKLOG_TIME: Duration = Duration::from_millis(100);
/// From a stop to the first request of a connection that is there already: a round trip across the world and a handshake
/// before it. Browsers open connections that they may never use, and the stop waits for them.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
