//! Connections that give way when there are as many as there may be, or no descriptor is left for a new one: those
//! without a request under way. Silent ones and heads that have been unfinished for five seconds go first, the oldest
//! at the front, then the connection that has idled the longest, or is only read to its end after a refusal. Where none
//! gives way, the log says what the worker is full of.

use super::Reactor;
use super::accept::Accepting;
use super::connections::Counts;
use crate::os::heap;
use crate::worker::Spent;
use crate::worker::connection::event::{Activity, Event, Readiness};
use crate::worker::millis::Millis;

/// Connections that gave way since that was logged last, and the moment of that.
#[derive(Debug, Default)]
pub(super) struct GaveWay {
    silent: u64,
    heads: u64,
    idle: u64,
    logged: Option<Millis>,
    /// The moment when it was last logged that the worker is full.
    full_logged: Option<Millis>,
    /// The moment when it was last logged that memory is short.
    short_logged: Option<Millis>,
    /// The lack of memory, while it lasts.
    short: Option<Short>,
}

/// A lack of memory.
#[derive(Clone, Copy, Debug)]
struct Short {
    since: Millis,
    /// The number of connections at its begin.
    before: usize,
}

/// A lack that connections give way for.
#[derive(Clone, Copy, Debug)]
enum Lack {
    Connections,
    Descriptors,
    Memory,
}

impl GaveWay {
    fn note(&mut self, activity: Activity, lack: Lack, now: Millis) {
        match activity {
            Activity::Silent => self.silent += 1,
            Activity::Head => self.heads += 1,
            _ => self.idle += 1,
        }
        if is_recent(self.logged, now) {
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
            Lack::Memory => tracing::warn!(
                silent,
                unfinished_heads = heads,
                idle,
                "connections without a request gave way for want of memory\nhint: limit_as allows for more of it"
            ),
            Lack::Descriptors => tracing::warn!(
                silent,
                unfinished_heads = heads,
                idle,
                "connections without a request gave way for want of descriptors\nhint: limit_nofile allows for more of them"
            ),
        }
        (self.silent, self.heads, self.idle, self.logged) = (0, 0, 0, Some(now));
    }

    /// Notes that memory is short.
    fn note_short(&mut self, now: Millis) {
        if !is_recent(self.short_logged, now) {
            self.short_logged = Some(now);
            tracing::error!("memory is short, requests are answered 503\nhint: limit_as allows for more of it");
        }
    }

    /// Notes that there are as many connections as there may be, and none gives way.
    fn note_full(&mut self, counts: &Counts, now: Millis) {
        if is_recent(self.full_logged, now) {
            return;
        }
        self.full_logged = Some(now);
        let of = |activities: &[Activity]| activities.iter().map(|activity| counts[*activity as usize]).sum::<u32>();
        let heads = of(&[Activity::Silent, Activity::Head]);
        let (bodies, responses) = (of(&[Activity::Reading]), of(&[Activity::Writing]));
        let (requests, idle) = (of(&[Activity::Waiting, Activity::Application]), of(&[Activity::Idle]));
        let groups = [
            (heads, "client_header_timeout limits how long a head may take"),
            (bodies, "client_body_timeout and minimum_receive_rate limit how long a request body may take"),
            (
                requests,
                "workers and threads set how many requests are answered at a time, queue_timeout how long they wait",
            ),
            (responses, "send_timeout and minimum_send_rate limit how long a response may take"),
        ];
        let hint = groups.iter().max_by_key(|(count, _)| *count).map_or("", |(_, hint)| hint);
        tracing::warn!(
            heads,
            bodies,
            requests,
            responses,
            idle,
            "worker is full, new connections wait\nhint: worker_connections allows for more of them; {hint}"
        );
    }
}

/// True if a line was logged less than a minute ago.
fn is_recent(logged: Option<Millis>, now: Millis) -> bool {
    logged.is_some_and(|logged| now < logged.saturating_add(LOG_EVERY))
}

impl Reactor<'_> {
    /// At the limit of connections one gives way to the next. Where none does, the next one waits.
    pub(super) fn make_room(&mut self) {
        if heap::is_short() {
            let short =
                *self.gave_way.short.get_or_insert(Short { since: self.serve.now, before: self.connections.len() });
            if self.connections.len() > short.before + MORE_WHEN_SHORT && !self.give_way(Lack::Memory) {
                self.acceptor.lacks_memory(self.serve.now);
            }
        }
        let most = self.setup.worker_connections;
        if self.connections.len() > most {
            self.give_way(Lack::Connections);
        }
        if self.connections.len() >= most && self.first_to_give_way().is_none() {
            self.wait_for_heads();
            self.gave_way.note_full(self.connections.counts(), self.serve.now);
        }
    }

    /// Takes new connections again if there is room, or a connection that gives way.
    pub(super) fn use_room(&mut self) {
        let has_room = || self.connections.len() < self.setup.worker_connections;
        if has_room() || self.first_to_give_way().is_some() {
            self.acceptor.set(Accepting::Yes);
        } else {
            // One that was not read yet when the worker became full may be an unfinished head since.
            self.wait_for_heads();
        }
    }

    /// Takes no new connections until the oldest head gives way.
    fn wait_for_heads(&mut self) {
        let until = self.connections.oldest_head().map_or(Millis::MAX, |since| since.saturating_add(UNFINISHED));
        self.acceptor.set(Accepting::ConnectionLimit { until });
    }

    /// Tries to hold the reserve again where memory is short; after a while it asks for a replacement.
    pub(super) fn look_for_memory(&mut self) {
        if !heap::is_short() {
            return;
        }
        if heap::hold_reserve() {
            self.gave_way.short = None;
            return;
        }
        let (now, before) = (self.serve.now, self.connections.len());
        let short = *self.gave_way.short.get_or_insert(Short { since: now, before });
        self.gave_way.note_short(now);
        if now >= short.since.saturating_add(SHORT_FOR_GOOD) {
            self.ask_for_replacement(Spent::Memory);
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
            if activity != Activity::Head && !connection.lingers() && connection.stream.has_unread() {
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

/// The connections that are taken on top where memory is short, so that they are answered: they take a third of the
/// heap's reserve.
const MORE_WHEN_SHORT: usize = 1000;
/// The time in milliseconds after which the worker does not get out of a lack of memory by itself.
const SHORT_FOR_GOOD: Millis = 5_000;
/// The age in milliseconds at which an unfinished head gives way. An honest client sends it at once.
const UNFINISHED: Millis = 5_000;
/// The interval in milliseconds at which it is logged that connections gave way, or that none does.
const LOG_EVERY: Millis = 60_000;
