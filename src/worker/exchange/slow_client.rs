//! A response that its client takes more slowly than the application makes it: some of it waits in memory, more of it in
//! a file, and the application goes on. Without room for it the application waits.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Delivery, Exchange, consume, waiting};
use crate::os::socket;
use crate::worker::Application;
use crate::worker::connection::context::ServeRules;
use crate::worker::connection::send_queue::{self, Flushed, SharedQueue};
use crate::worker::connection::send_timeout::{SendTimeout, Verdict};
use crate::worker::millis;

impl Exchange<'_> {
    /// Sends what waits, and `pieces` behind it.
    #[cold]
    pub(super) fn push_behind<A: Application>(&mut self, app: &A, mut pieces: [&[u8]; 2]) -> Delivery {
        let queue = Arc::clone(self.output.begin_queue());
        loop {
            match self.flush_with(app, &queue, &mut pieces) {
                Ok(Flushed::All) => return Delivery::Accepted,
                Ok(Flushed::TurnOver) => {}
                Ok(Flushed::Full) => return self.queue_up(app, &queue, pieces),
                Err(_) => return self.gone(),
            }
        }
    }

    /// Takes `pieces`, of which the socket takes nothing now.
    #[cold]
    pub(super) fn push_rest<A: Application>(&mut self, app: &A, pieces: [&[u8]; 2]) -> Delivery {
        let queue = Arc::clone(self.output.begin_queue());
        self.queue_up(app, &queue, pieces)
    }

    fn queue_up<A: Application>(&mut self, app: &A, queue: &SharedQueue, mut pieces: [&[u8]; 2]) -> Delivery {
        self.pace.push(self.stream.as_fd());
        let rules = self.terms.rules;
        // With the last piece the application is done, and with a file there the client was slow before.
        let mut may_be_quick = !self.is_whole() && !send_queue::lock(queue).is_long();
        while !send_queue::lock(queue).hold(pieces, rules.responses.memory) {
            if !(std::mem::take(&mut may_be_quick) && self.is_quick(app)) {
                if spill(app, queue, pieces, rules) {
                    break;
                }
                if !self.wait(app) {
                    return self.gone();
                }
            }
            match self.flush_with(app, queue, &mut pieces) {
                Ok(Flushed::All) => return Delivery::Accepted,
                Ok(Flushed::Full | Flushed::TurnOver) => {}
                Err(_) => return self.gone(),
            }
        }
        self.pace.share(self.stream, queue);
        Delivery::Accepted
    }

    /// Sends what the socket takes of the queue, and of `pieces` behind it. Forgets a queue in which nothing waits any
    /// more.
    fn flush_with<A: Application>(
        &mut self,
        app: &A,
        queue: &SharedQueue,
        pieces: &mut [&[u8]; 2],
    ) -> io::Result<Flushed> {
        let (flushed, mut written) = app.detached(|| send_queue::lock(queue).flush(self.stream, *pieces))?;
        for piece in pieces {
            consume(piece, &mut written);
        }
        if flushed == Flushed::All {
            self.output.settle();
        }
        Ok(flushed)
    }

    /// True if the client takes more at once, as one on the same machine does. That saves a file.
    fn is_quick<A: Application>(&self, app: &A) -> bool {
        waiting(self.slot, app, || socket::wait_writable(self.stream.as_fd(), AT_ONCE))
    }

    /// Waits until the client takes more. False if it does not, or too slowly.
    fn wait<A: Application>(&self, app: &A) -> bool {
        let (stream, output, limits) = (self.stream, &*self.output, &self.terms.rules.timeouts.send);
        let verdict = waiting(self.slot, app, || {
            let mut timeout = SendTimeout::new(millis::now(), output.outstanding(stream));
            loop {
                match timeout.look(millis::now(), output.outstanding(stream), limits) {
                    Verdict::Until(at)
                        if socket::wait_writable(stream.as_fd(), Duration::from_millis(at - millis::now().min(at))) =>
                    {
                        return None;
                    }
                    Verdict::Until(_) => {}
                    verdict => return Some(verdict),
                }
            }
        });
        if let Some(verdict) = verdict {
            tracing::info!(peer = %self.origin.peer, ?verdict, "client does not take its response, the connection is closed");
        }
        verdict.is_none()
    }
}

/// Moves what waits to a file, and `pieces` behind it. False if there is no room.
fn spill<A: Application>(app: &A, queue: &SharedQueue, pieces: [&[u8]; 2], rules: &ServeRules) -> bool {
    let spilled = app.detached(|| send_queue::lock(queue).spill(pieces, rules));
    if let Err(error) = &spilled {
        log_no_room(error, rules);
    }
    spilled.is_ok()
}

/// Logs, once a minute, that a thread waits for its client.
fn log_no_room(error: &io::Error, rules: &ServeRules) {
    let now = millis::now();
    let logged = LOGGED.load(Ordering::Relaxed);
    if logged != 0 && now < logged.saturating_add(LOG_EVERY) {
        return;
    }
    LOGGED.store(now, Ordering::Relaxed);
    let what = "a response is larger than its client takes at once, and its thread waits for the client";
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::StorageFull {
        tracing::warn!(spill_space = rules.responses.files, "{what}\nhint: spill_space allows for more bytes in files");
    } else {
        tracing::warn!(%error, directory = %rules.spill_directory.display(), "{what}\nhint: worker_tmp_dir is the directory of what waits");
    }
}

/// The time in which a client on the same machine takes what the socket holds.
const AT_ONCE: Duration = Duration::from_millis(5);
/// The interval in milliseconds at which it is logged that threads wait.
const LOG_EVERY: u64 = 60_000;
/// The moment when that was logged last; 0 is never.
static LOGGED: AtomicU64 = AtomicU64::new(0);
