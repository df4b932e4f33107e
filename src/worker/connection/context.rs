//! What every connection of a worker is served with: rules, texts, buffers, and the moment. It holds nothing of any one
//! connection.

use std::path::PathBuf;
use std::time::Duration;

use super::buffer_pool::BufferPool;
use super::date_cache::DateCache;
use super::send_timeout::SendLimits;
use crate::http::access_log::{AccessFormat, AccessRecord, EnvironValues};
use crate::http::error_page::{ErrorPage, error_response};
use crate::http::response::ResponseHead;
use crate::http::{Limits, ProxyRules, Request, Trust};
use crate::log::AccessLog;
use crate::os::clock;
use crate::worker::error_pages::ErrorPages;
use crate::worker::millis::Millis;

/// The rules by which connections are served. They do not change.
pub struct ServeRules {
    /// What a request may be.
    pub limits: Limits,
    /// Which PROXY headers are taken, and from which peers.
    pub proxy: ProxyRules,
    /// Which peers are believed about a request.
    pub trust: Trust,
    /// Pages of one's own for refused and failed requests.
    pub error_pages: ErrorPages,
    /// How long clients are waited for.
    pub timeouts: Timeouts,
    /// Bodies up to this many bytes stay in memory; 0 leaves them to the application to receive.
    pub post_buffering: usize,
    /// Directory of larger bodies.
    pub spill_directory: PathBuf,
}

/// How long clients are waited for. `None` is without a limit.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How long a connection may idle between requests; zero answers every request with `Connection: close`.
    pub keep_alive: Duration,
    /// How long a head may take: from the accept on a fresh connection, from its first byte on a kept one.
    pub head: Option<Duration>,
    /// How long a client may send nothing of a body.
    pub body: Option<Duration>,
    /// How long a whole request may wait for a free thread.
    pub queue: Option<Duration>,
    /// What a client that takes its response slowly is allowed.
    pub send: SendLimits,
    /// How long the rest of a refused request is read and dropped.
    pub lingering: Duration,
    /// How long a worker that retires waits for requests on connections that idle.
    pub drain: Duration,
}

/// What a worker's shutdown means for its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Others serve on: a connection that idles may send a last request.
    Retiring,
    /// The server stops: a connection that idles is closed, a fresh one gets a moment.
    Stopping,
}

/// Everything that a connection needs to go on, except itself.
pub(crate) struct ServeContext<'a> {
    pub(crate) rules: &'a ServeRules,
    /// The moment, as of the last look at the clock.
    pub(crate) now: Millis,
    pub(crate) drain: Option<Drain>,
    pub(crate) dates: DateCache,
    pub(crate) buffers: BufferPool,
    access: Option<&'a (AccessLog, AccessFormat)>,
    line: Vec<u8>,
    pid: u32,
}

impl<'a> ServeContext<'a> {
    pub(crate) fn new(rules: &'a ServeRules, access: Option<&'a (AccessLog, AccessFormat)>) -> ServeContext<'a> {
        ServeContext {
            rules,
            now: 0,
            drain: None,
            dates: DateCache::new(),
            buffers: BufferPool::default(),
            access,
            line: Vec::new(),
            pid: std::process::id(),
        }
    }

    /// Encodes an error page: one of the server's own, else `page`. Returns the length of its body.
    pub(crate) fn error_page(
        &self,
        out: &mut Vec<u8>,
        status: u16,
        request: Option<Request<'_>>,
        page: Option<&ErrorPage<'_>>,
    ) -> u64 {
        let own = self.rules.error_pages.of(status).or_else(|| page.copied());
        error_response(out, status, self.dates.date(), request, own.as_ref())
    }

    /// Writes a line into the access log. `started` is none for a request that was not served.
    pub(crate) fn note(&mut self, entry: &Entry<'_>, started: Option<u64>) {
        let Some((log, format)) = self.access else { return };
        let elapsed = started.map_or(0, |started| clock::monotonic().saturating_sub(started));
        let elapsed = Duration::from_nanos(elapsed);
        log.count(entry.response.code(), elapsed);
        if !log.takes_lines() {
            return;
        }
        let record = AccessRecord {
            request: entry.request,
            response: entry.response,
            environ: entry.environ,
            remote_addr: entry.remote_addr,
            body_bytes: Some(entry.body_bytes),
            time_text: self.dates.access_time(),
            elapsed,
            pid: self.pid,
        };
        self.line.clear();
        format.render(&record, &mut self.line);
        log.append(&self.line);
    }

    /// Hands the lines that were written to the thread of the logs.
    pub(crate) fn flush_access(&self) {
        if let Some((log, _)) = self.access {
            log.hand_over();
        }
    }
}

/// A line of the access log, as far as the connection and the application know it.
pub(crate) struct Entry<'e> {
    pub(crate) request: Option<Request<'e>>,
    pub(crate) response: &'e ResponseHead,
    pub(crate) environ: &'e EnvironValues,
    pub(crate) remote_addr: Option<std::net::IpAddr>,
    pub(crate) body_bytes: u64,
}
