//! The end of a worker: what it still does, and what it no longer does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::{Connection, Reading};
use super::door::Door;
use super::event_loop::{After, Ending, EventLoop};
use super::table::Missed;
use super::timers::in_time;

impl EventLoop<'_> {
    pub(super) fn signals(&mut self) {
        while let Some(signal) = self.setup.signals.next() {
            match signal {
                libc::SIGTERM if self.stopping.is_none() => self.stop_gracefully(),
                libc::SIGQUIT => self.stop(Ending::Quick),
                _ => {}
            }
        }
    }

    fn stop(&mut self, ending: Ending) {
        self.stopping = Some(ending);
        self.stops.store(true, Ordering::Relaxed);
        tracing::debug!(graceful = ending == Ending::Graceful, connections = self.table.len(), "worker stops");
        self.shut_door(Door::Shut);
    }

    /// What is in the backlog already is still served; what idles between requests is closed, after a look for one that
    /// is on its way. A connection that has not had its first one gets a moment to send it, and so does every one of a
    /// worker that was replaced by `max_requests`: nobody waits for its end.
    fn stop_gracefully(&mut self) {
        self.stop(Ending::Graceful);
        // Others listen still if only this worker ends; what came before them is theirs.
        if self.spent.is_some() {
            self.take_backlog();
        }
        self.empty_queue();
        for token in self.table.tokens() {
            let task = self.with_connection(token, Missed::default(), |this, connection| {
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
    pub(super) fn stays_for_first(&self, connection: &mut Connection) -> bool {
        if !connection.is_idle() {
            return true;
        }
        let stays = !connection.has_served() || self.spent.is_none();
        connection.deadline = connection.deadline.min(in_time(FIRST_REQUEST));
        stays
    }

    /// Takes the connections that wait in the backlog, for at most [`BACKLOG_TIME`]: the listeners end with this server.
    /// They are served in their turn, and their clients wait for that; those that come later are refused.
    fn take_backlog(&mut self) {
        let end = in_time(BACKLOG_TIME);
        for (index, listener) in self.setup.listeners.iter().enumerate() {
            while in_time(Duration::ZERO) < end {
                let Ok(Some((stream, peer))) = listener.accept() else { break };
                let mut connection = Box::new(Connection::new(stream, peer, index));
                connection.deadline = in_time(FIRST_REQUEST);
                connection.reading = Reading::More;
                let token = self.table.insert(connection);
                self.ready.push_back(token);
            }
        }
    }

    /// Takes what other workers have put into the queue: they may be the last who looked there.
    fn empty_queue(&mut self) {
        while let Some(connection) = self.setup.handover.take() {
            let token = self.table.insert(Box::new(connection));
            self.ready.push_back(token);
        }
    }
}

/// Accepting takes microseconds: this is a whole backlog of 2048, whatever else is going on.
const BACKLOG_TIME: Duration = Duration::from_millis(100);
/// From a stop to the first request of a connection that is there already: a round trip across the world and a handshake
/// before it. Browsers open connections that they may never use, and the stop waits for them.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
