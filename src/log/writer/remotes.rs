//! The outputs besides the files: syslog and statsd, and their messages.

use std::io;
use std::process;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Cut, Hurry, Line, LogSocket, Output, RemoteOutputs, STATSD, SYSLOG, Sink, Writer};
use crate::message::{Place, Remotes, Statsd};

impl Writer {
    /// Sends lines to these from now on, too.
    pub(in crate::log) fn connect(&self, remotes: &Remotes) -> io::Result<()> {
        let RemoteOutputs { syslog, statsd } = self.remote_outputs();
        let syslog = remotes.syslog.as_ref().map(|wanted| {
            let has = syslog.map(|(output, has)| (output, has.place));
            Ok::<_, io::Error>((self.lead_to(has, &wanted.place, Cut::OneEach, SYSLOG)?, wanted.clone()))
        });
        let statsd = remotes.statsd.as_ref().map(|wanted| {
            let has = statsd.map(|(output, has)| (output, has.place));
            let cut = Cut::Packed(room(&wanted.place));
            Ok::<_, io::Error>((self.lead_to(has, &wanted.place, cut, STATSD)?, wanted.clone()))
        });
        let outputs = RemoteOutputs { syslog: syslog.transpose()?, statsd: statsd.transpose()? };
        *self.remotes.lock().unwrap_or_else(PoisonError::into_inner) = outputs;
        Ok(())
    }

    /// Returns the output that leads to `wanted`: the one that this process has, if it leads there or waits for the
    /// name to be looked up, else a new one.
    fn lead_to(
        &self,
        has: Option<(Output, Place)>,
        wanted: &Place,
        cut: Cut,
        name: &'static str,
    ) -> io::Result<Output> {
        match has {
            Some((output, place)) if place == *wanted => Ok(output),
            Some((output, _)) if output.sink.is_awaited() => {
                if !matches!(wanted, Place::Awaited(..)) {
                    output.sink.resolved(wanted)?;
                }
                Ok(output)
            }
            _ => Ok(self.add(Sink::to_socket(LogSocket::new(wanted.clone(), cut), name)?)),
        }
    }

    /// Gives this process, which was forked, sockets of its own.
    pub(in crate::log) fn reopen_sockets(&self) -> io::Result<()> {
        let RemoteOutputs { syslog, statsd } = self.remote_outputs();
        let outputs = syslog.into_iter().map(|(output, _)| output).chain(statsd.into_iter().map(|(output, _)| output));
        outputs.into_iter().try_for_each(|output| output.sink.reopen_socket())
    }

    pub(in crate::log) fn remote_outputs(&self) -> RemoteOutputs {
        let is_own = self.owner.load(Ordering::Relaxed) == process::id();
        // In a child that the application has forked it may be locked for ever.
        let held = if is_own { self.remotes.lock().ok() } else { self.remotes.try_lock().ok() };
        held.map(|outputs| outputs.clone()).unwrap_or_default()
    }

    /// Sends the same line to syslog, and counts it for statsd.
    pub(in crate::log) fn send_line(&self, line: &Line) {
        let RemoteOutputs { syslog, statsd } = self.remote_outputs();
        if let Some((output, syslog)) = syslog {
            self.push(&output, &syslog.error(line.level, line.pid, &line.words()), Hurry::Now);
        }
        if let Some((output, statsd)) = statsd {
            let mut counted = Vec::new();
            statsd.line(line.level, &line.message, &mut counted);
            self.push(&output, &counted, Hurry::Later);
        }
    }

    /// Sends metrics to statsd, if there is one.
    pub(in crate::log) fn measure(&self, tell: impl FnOnce(&Statsd, &mut Vec<u8>)) {
        if let Some((output, statsd)) = self.remote_outputs().statsd {
            let mut told = Vec::new();
            tell(&statsd, &mut told);
            self.push(&output, &told, Hurry::Later);
        }
    }
}

/// Returns the most bytes of one datagram: a whole Ethernet frame, less the heads of IPv6 and UDP; on a unix socket the
/// usual buffer of daemons (Datadog's: 8 KiB).
fn room(place: &Place) -> usize {
    if matches!(place, Place::Udp(_) | Place::Awaited(..)) { 1432 } else { 8192 }
}
