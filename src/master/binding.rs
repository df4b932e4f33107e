//! A port that is in use is tried again for a while, as gunicorn does: the server before may still be about to end.

use std::time::Duration;

use super::{AnyError, Master, now};
use crate::message::FoundPython;
use crate::os::listener::{Cause, ListenError, Where};
use crate::supervisor::Moment;

/// A generation that waits for a port.
pub(super) struct WaitingForPort {
    number: u64,
    /// The interpreter that its zygote has found.
    found: FoundPython,
    /// How often binding has failed.
    failures: u32,
    /// The time of the next attempt.
    at: Moment,
}

impl WaitingForPort {
    /// Returns the time of the next attempt.
    pub(super) fn at(&self) -> Moment {
        self.at
    }
}

impl Master<'_> {
    /// Plans another attempt if a port is in use and has not been tried often enough. True if one is planned.
    pub(super) fn will_bind_again(&mut self, number: u64, found: &FoundPython, error: &AnyError) -> bool {
        let before = self.waiting_for_port.take().filter(|waiting| waiting.number == number);
        let failures = before.map_or(0, |waiting| waiting.failures) + 1;
        let in_use = error.downcast_ref::<ListenError>().filter(|error| matches!(error.cause, Cause::InUse { .. }));
        let Some(ListenError { at: Where::Tcp { host, port }, .. }) = in_use else { return false };
        // In gunicorn's words.
        tracing::error!(attempt = failures, of = ATTEMPTS, "Connection in use: ('{host}', {port})");
        if failures == ATTEMPTS {
            return false;
        }
        let at = now() + BETWEEN_ATTEMPTS;
        self.waiting_for_port = Some(WaitingForPort { number, found: found.clone(), failures, at });
        true
    }

    /// Makes the next attempt when its time has come, unless its zygote is gone or the server stops.
    pub(super) fn bind_again(&mut self) {
        let Some(waiting) = self.waiting_for_port.take_if(|waiting| waiting.at <= now()) else { return };
        if self.supervisor.is_leaving() || self.supervisor.is_stopping() || !self.processes.enters(waiting.number) {
            return;
        }
        let WaitingForPort { number, found, .. } = &waiting;
        let (number, found) = (*number, found.clone());
        self.waiting_for_port = Some(waiting);
        self.zygote_found(number, &found);
    }
}

/// As often as gunicorn tries, over five seconds.
const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(1250);
