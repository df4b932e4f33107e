//! The surroundings of every connection of a worker: rules, texts, buffers, and the moment. It holds nothing of any one
//! connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::body_budget::BodyBudget;
use super::date_cache::DateCache;
use super::receive_rate::ReceiveLimits;
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
    /// The limits of a request.
    pub limits: Limits,
    /// The PROXY headers that are taken, and their peers.
    pub proxy: ProxyRules,
    /// The peers that are trusted about a request.
    pub trust: Trust,
    /// Pages of one's own for refused and failed requests.
    pub error_pages: ErrorPages,
    /// The times for which clients are waited for.
    pub timeouts: Timeouts,
    /// Bodies up to this many bytes stay in memory; 0 leaves them to the application to receive.
    pub post_buffering: usize,
    /// Directory of larger bodies, and of responses that wait for slow clients.
    pub spill_directory: PathBuf,
    /// The bounds of all bodies together.
    pub budget: Arc<BodyBudget>,
    /// The room for responses that wait for slow clients.
    pub responses: ResponseRoom,
}

/// The most bytes of responses that wait for their clients, of all connections of a worker.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRoom {
    /// In memory.
    pub memory: usize,
    /// In files, together with request bodies.
    pub files: u64,
}

/// The times for which clients are waited for. `None` is without a limit.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The longest time between two requests; zero answers every request with `Connection: close`.
    pub keep_alive: Duration,
    /// The longest time for a head: from the accept on a fresh connection, from its first byte on a kept one.
    pub head: Option<Duration>,
    /// The limits for a client that sends a body slowly.
    pub receive: ReceiveLimits,
    /// The longest wait of a whole request for a free thread.
    pub queue: Option<Duration>,
    /// The limits for a client that takes its response slowly.
    pub send: SendLimits,
    /// The longest silence while the rest of a refused request is read and dropped.
    pub lingering: Duration,
    /// The time for which a worker that retires waits for requests on connections that idle.
    pub drain: Duration,
}

/// The access log of a worker.
pub struct AccessRules {
    /// Its file.
    pub log: AccessLog,
    /// The format of its lines.
    pub format: AccessFormat,
    /// Paths of requests that have no line if their status is below 400.
    pub skipped: Vec<String>,
}

/// The effect of a worker's shutdown on its connections.
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
    /// Buffers that a connection borrows while it is served, so that an idle one holds none.
    pub(crate) spare_input: Vec<u8>,
    pub(crate) spare_output: Vec<u8>,
    access: Option<&'a AccessRules>,
    line: Vec<u8>,
    pid: u32,
}

impl<'a> ServeContext<'a> {
    pub(crate) fn new(rules: &'a ServeRules, access: Option<&'a AccessRules>) -> ServeContext<'a> {
        ServeContext {
            rules,
            now: 0,
            drain: None,
            dates: DateCache::new(),
            spare_input: Vec::new(),
            spare_output: Vec::new(),
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
        error_response(out, status, &self.dates.date, request, own.as_ref())
    }

    /// Writes a line into the access log. `started` is none for a request that was not served.
    pub(crate) fn note(&mut self, entry: &Entry<'_>, started: Option<u64>) {
        let Some(AccessRules { log, format, skipped }) = self.access else { return };
        let elapsed = started.map_or(0, |started| clock::monotonic().saturating_sub(started));
        let elapsed = Duration::from_nanos(elapsed);
        log.count(entry.response.code(), elapsed);
        if !log.takes_lines() || is_skipped(skipped, entry) {
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
        if let Some(access) = self.access {
            access.log.hand_over();
        }
    }
}

/// True if the line of a request is left out: its path is one of these, and it was answered without an error.
fn is_skipped(paths: &[String], entry: &Entry<'_>) -> bool {
    !paths.is_empty()
        && entry.response.code() < 400
        && entry.request.is_some_and(|request| paths.iter().any(|path| path.as_bytes() == request.path()))
}

/// A line of the access log, as far as the connection and the application know it.
pub(crate) struct Entry<'e> {
    pub(crate) request: Option<Request<'e>>,
    pub(crate) response: &'e ResponseHead,
    pub(crate) environ: &'e EnvironValues,
    pub(crate) remote_addr: Option<std::net::IpAddr>,
    pub(crate) body_bytes: u64,
}
