//! The end of a worker: what it is told, what it still takes, what it waits for.
//!
//! | told by | because | accepts | idle connections |
//! |---|---|---|---|
//! | [`Order::Finish`], TERM | the server stops | what is in the backlog already | are closed, after a look; new ones get a moment |
//! | [`Order::Retire`] | another serves in its place | nothing | have `lame_duck` to send a request |
//! | [`Order::Quit`], QUIT | at once | nothing | are cut off |

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Reactor;
use super::accept::Accepting;
use crate::os::signal;
use crate::worker::connection::context::Drain;
use crate::worker::connection::event::{Event, Readiness};
use crate::worker::connection::state::FIRST_REQUEST;
use crate::worker::millis::{self, after};
use crate::worker::{Order, Spent};

/// The way in which a worker's loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Asked to, with every request served.
    Graceful,
    /// Asked to, at once.
    Quick,
}

/// The way of a worker to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shutdown {
    #[default]
    No,
    /// It finishes while others serve.
    Retiring,
    /// The server stops.
    Stopping(Ending),
}

impl Shutdown {
    /// True if the worker is on its way to its end.
    pub(super) fn has_begun(self) -> bool {
        self != Shutdown::No
    }

    /// Returns how the worker ends, once `waits` says that nothing is waited for any more.
    pub(super) fn ending(self, waits: bool) -> Option<Ending> {
        match self {
            Shutdown::No => None,
            Shutdown::Retiring | Shutdown::Stopping(Ending::Graceful) => Some(Ending::Graceful).filter(|_| !waits),
            Shutdown::Stopping(Ending::Quick) => Some(Ending::Quick),
        }
    }
}

impl Reactor<'_> {
    /// Asks for another worker in this one's place, once.
    pub(crate) fn ask_for_replacement(&mut self, why: Spent) {
        if let Some(ask) = self.replacement.ask.take() {
            ask(why);
        }
    }

    /// True if the worker has asked for another one in its place.
    pub(super) fn is_to_be_replaced(&self) -> bool {
        self.replacement.ask.is_none()
    }

    pub(super) fn signals(&mut self) {
        while let Some(signal) = self.setup.signals.next() {
            match signal {
                libc::SIGTERM => self.stop_gracefully(),
                libc::SIGQUIT => self.shut_down(Shutdown::Stopping(Ending::Quick)),
                other => signal::pass_over(other),
            }
        }
    }

    pub(super) fn orders(&mut self) {
        loop {
            match (self.setup.orders.next)() {
                Order::Retire if self.shutdown.has_begun() => {}
                // Others serve, so that there is time: connections that idle may send a last request.
                Order::Retire => {
                    self.shut_down(Shutdown::Retiring);
                    self.close_listeners();
                    self.give_turns();
                }
                Order::Finish => self.stop_gracefully(),
                Order::Quit => self.shut_down(Shutdown::Stopping(Ending::Quick)),
                Order::Nothing => return,
                Order::Closed => {
                    let _ = self.epoll.delete(self.setup.orders.channel);
                    return;
                }
            }
        }
    }

    fn shut_down(&mut self, how: Shutdown) {
        self.shutdown = how;
        self.serve.drain = Some(if how == Shutdown::Retiring { Drain::Retiring } else { Drain::Stopping });
        self.stopping.store(true, Ordering::Relaxed);
        self.acceptor.set(Accepting::Stopped);
        if how == Shutdown::Stopping(Ending::Quick) {
            self.setup.on_quit.iter().for_each(|quit| quit());
        }
        tracing::debug!(?how, connections = self.connections.len(), "worker stops");
    }

    /// Connections in the backlog are still served. Those that idle between requests are closed, after a look for one
    /// that is on its way. A connection that has not had its first one gets a moment to send it.
    fn stop_gracefully(&mut self) {
        if matches!(self.shutdown, Shutdown::Stopping(_)) {
            return;
        }
        // Others listen still if only this worker ends; what came before them is theirs.
        let is_alone = !self.shutdown.has_begun() && !self.is_to_be_replaced();
        self.shut_down(Shutdown::Stopping(Ending::Graceful));
        if is_alone {
            self.take_backlog();
        }
        self.close_listeners();
        self.give_turns();
    }

    /// Without this copy, the last process that has the socket closes it: later clients are refused, and do not wait.
    fn close_listeners(&mut self) {
        for listener in self.setup.listeners {
            if let Err(error) = listener.close() {
                tracing::warn!(%error, listener = %listener.address(), "listener not closed");
            }
        }
    }

    /// Every connection is looked at once, those that other workers have put into the queue, too.
    fn give_turns(&mut self) {
        self.empty_queue();
        for token in self.connections.tokens() {
            if let Some(connection) = self.connections.check_out(token, Readiness::default()) {
                self.on(connection, Event::Look);
            }
        }
    }

    /// Takes the connections that wait in the backlog, for at most [`BACKLOG_TIME`]: the listeners end with this
    /// server. They are served in their turn, and their clients wait for that; later ones are refused.
    fn take_backlog(&mut self) {
        let end = after(millis::now(), BACKLOG_TIME);
        let limit = after(self.serve.now, FIRST_REQUEST);
        for (index, listener) in self.setup.listeners.iter().enumerate() {
            while millis::now() < end {
                let Ok(Some((stream, peer))) = listener.accept() else { break };
                let Some(mut connection) = self.accepted(stream, peer, index) else { continue };
                connection.limit(limit);
                self.take_on(connection);
            }
        }
    }
}

/// Accepting takes microseconds: this is a whole backlog of 2048, whatever else is going on.
const BACKLOG_TIME: Duration = Duration::from_millis(100);
