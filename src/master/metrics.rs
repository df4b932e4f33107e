//! Metrics that the master itself sends to statsd: the number of workers, and the connections that wait to be accepted.
//! Costs nothing without statsd.

use std::time::Duration;

use super::{Master, now};
use crate::log;
use crate::os::listener::Address;
use crate::supervisor::Moment;

/// The values that were sent last.
#[derive(Default)]
pub(super) struct Metrics {
    workers: Option<usize>,
    backlog: Moment,
}

impl Master<'_> {
    /// Returns the time to send the backlog next, if it is to be sent.
    pub(super) fn next_backlog(&self) -> Option<Moment> {
        let settings = self.settings();
        (settings.enable_backlog_metric && settings.statsd_host.is_some())
            .then(|| self.measurements.metrics.backlog + EVERY)
    }

    /// Sends what has changed.
    pub(super) fn tell_statsd(&mut self) {
        if self.settings().statsd_host.is_none() {
            return;
        }
        let workers = self.processes.workers.known().len();
        if self.measurements.metrics.workers != Some(workers) {
            self.measurements.metrics.workers = Some(workers);
            log::gauge("gunicorn.workers", workers as u64);
        }
        if self.next_backlog().is_some_and(|at| at <= now()) {
            self.measurements.metrics.backlog = now();
            let sockets = &self.processes.in_charge().sockets;
            let listeners = sockets.iter().map(|socket| &socket.listener);
            let tcp = listeners.filter(|listener| matches!(listener.address(), Address::Tcp(_)));
            log::histogram("gunicorn.backlog", tcp.map(|listener| listener.waiting() as u64).sum());
        }
    }
}

/// The interval of gunicorn's master.
const EVERY: Duration = Duration::from_secs(1);
