//! Connections that give way when there are as many as there may be, or no descriptor is left for a new one: those
//! without a request under way. Silent ones and heads that have been unfinished for five seconds go first, the oldest
//! at the front, then the connection that has idled the longest.

use super::Reactor;
use super::accept::Accepting;
use crate::worker::connection::event::{Activity, Event, Readiness};
use crate::worker::millis::Millis;

/// Connections that gave way since that was logged last, and the moment of that.
#[derive(Debug, Default)]
pub(super) struct GaveWay {
    silent: u64,
    heads: u64,
    idle: u64,
    logged: Option<Millis>,
}

/// A lack that connections give way for.
#[derive(Clone, Copy, Debug)]
enum Lack {
    Connections,
    Descriptors,
}

impl GaveWay {
    fn note(&mut self, activity: Activity, lack: Lack, now: Millis) {
        match activity {
            Activity::Silent => self.silent += 1,
            Activity::Head => self.heads += 1,
            _ => self.idle += 1,
        }
        if self.logged.is_some_and(|logged| now < logged.saturating_add(LOG_EVERY)) {
            return;
        }
        let GaveWay { silent, heads, idle, .. } = *self;
        match lack {
            Lack::Connections => tracing::warn!(
                silent,
                unfinished_heads = heads,
                idle,
                "connections without a request gave way to new ones\nhint: worker_connections allows for more of them"
            ),
            Lack::Descriptors => tracing::warn!(
                silent,
                unfinished_heads = heads,
                idle,
                "connections without a request gave way for want of descriptors\nhint: limit_nofile allows for more of them"
            ),
        }
        *self = GaveWay { logged: Some(now), ..GaveWay::default() };
    }
}

impl Reactor<'_> {
    /// At the limit of connections one gives way to the next. Where none does, the next one waits.
    pub(super) fn make_room(&mut self) {
        let most = self.setup.worker_connections;
        if self.connections.len() > most {
            self.give_way(Lack::Connections);
        }
        if self.connections.len() >= most && self.first_to_give_way().is_none() {
            let until = self.connections.oldest_head().map_or(Millis::MAX, |since| since.saturating_add(UNFINISHED));
            self.acceptor.set(Accepting::ConnectionLimit { until });
        }
    }

    /// Takes new connections again if there is room, or a connection that gives way.
    pub(super) fn use_room(&mut self) {
        let has_room = || self.connections.len() < self.setup.worker_connections;
        if has_room() || self.first_to_give_way().is_some() {
            self.acceptor.set(Accepting::Yes);
        }
    }

    /// Closes a connection for its descriptor. False if none gives way.
    pub(super) fn give_way_for_descriptors(&mut self) -> bool {
        self.give_way(Lack::Descriptors)
    }

    fn first_to_give_way(&self) -> Option<(u64, Activity)> {
        self.connections.first_to_give_way(self.serve.now.saturating_sub(UNFINISHED))
    }

    fn give_way(&mut self, lack: Lack) -> bool {
        while let Some((token, activity)) = self.first_to_give_way() {
            let Some(connection) = self.connections.check_out(token, Readiness::default()) else {
                // It waits for a thread.
                self.connections.note_work(token, Activity::Reading);
                continue;
            };
            if activity != Activity::Head && connection.stream.has_unread() {
                // Its request has come, and has not been looked at yet.
                self.on(connection, Event::Look);
                self.connections.note_work(token, Activity::Reading);
                continue;
            }
            self.gave_way.note(activity, lack, self.serve.now);
            self.close(connection);
            return true;
        }
        false
    }
}

/// The age in milliseconds at which an unfinished head gives way. An honest client sends it at once.
const UNFINISHED: Millis = 5_000;
/// The interval in milliseconds at which it is logged that connections gave way.
const LOG_EVERY: Millis = 60_000;
