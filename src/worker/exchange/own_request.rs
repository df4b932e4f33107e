//! Requests that no client sends: those that warm an application up before workers are forked, and those that try new
//! code before it serves. The answers are dropped, except for their status.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::call::{CallTerms, ThreadContext, call};
use super::response_owner::ResponseOwner;
use crate::http::access_log::EnvironValues;
use crate::http::response::ResponseHead;
use crate::http::{Limits, ProxyRules, Scheme, Trust};
use crate::os::clock;
use crate::os::listener::Peer;
use crate::os::scoreboard::Scoreboard;
use crate::worker::Application;
use crate::worker::connection::body_budget::BodyBudget;
use crate::worker::connection::context::{ResponseRoom, ServeContext, ServeRules, Timeouts};
use crate::worker::connection::event::{Event, Next, Work};
use crate::worker::connection::receive_rate::ReceiveLimits;
use crate::worker::connection::send_timeout::SendLimits;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::{Connection, Origin};
use crate::worker::error_pages::ErrorPages;
use crate::worker::millis::Millis;

/// A GET of the server itself.
#[derive(Clone, Copy, Debug)]
pub struct OwnRequest<'r> {
    /// The path and the query.
    pub target: &'r str,
    /// The value of the Host field.
    pub host: &'r str,
    /// True if it is made as if a proxy had received it over TLS.
    pub is_https: bool,
    /// The value of the User-Agent field.
    pub user_agent: &'r str,
}

/// Has `app` answer a request once, as a client of this machine, and returns the status. The body is made and dropped.
/// Errors: `InvalidInput` for what is no request.
pub fn answer<A: Application>(app: &A, request: OwnRequest<'_>) -> io::Result<u16> {
    let OwnRequest { target, host, is_https, user_agent } = request;
    let (ours, _theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let origin = Origin::new(Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), 0);
    let mut connection = Connection::accepted(Stream::plain(ours.into()), origin, 0, Millis::MAX);
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\n\r\n");
    connection.input.extend_from_slice(head.as_bytes());
    let rules = rules();
    let mut serve = ServeContext::new(&rules, None);
    let (Next::Work(Work::Request(mut request)), _) = connection.on(Event::Begun, &mut serve) else {
        let text = format!("expected a target and a host, found {target} {host}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    request.scheme = if is_https { Scheme::Https } else { Scheme::Http };
    request.started = clock::monotonic();
    let (board, _) = Scoreboard::create(1)?;
    let mut context = ThreadContext {
        slot: board.slot(0).ok_or(io::ErrorKind::NotFound)?,
        response: ResponseHead::default(),
        environ: EnvironValues::default(),
        number: 0,
        thread: 0,
        cork: Arc::default(),
        detached_at: 0,
        is_measured: false,
    };
    let terms = CallTerms {
        rules: &rules,
        date: request.date,
        stopping: &AtomicBool::new(true),
        owner: &ResponseOwner::default(),
        drops_bodies: true,
    };
    call(app, &mut connection, request, &mut context, &terms);
    // The status of the application; where it failed, that of the error page.
    let digits = context.response.status().iter().take(3);
    Ok(digits.fold(0, |status, digit| status * 10 + u16::from(digit.saturating_sub(b'0'))))
}

fn rules() -> ServeRules {
    ServeRules {
        limits: Limits::default(),
        proxy: ProxyRules::default(),
        trust: Trust::default(),
        error_pages: ErrorPages::default(),
        timeouts: Timeouts {
            keep_alive: Duration::ZERO,
            head: None,
            receive: ReceiveLimits { stall: None, rate: None },
            queue: None,
            send: SendLimits { stall: None, rate: None },
            lingering: Duration::ZERO,
            drain: Duration::ZERO,
        },
        post_buffering: 0,
        spill_directory: std::path::PathBuf::new(),
        budget: BodyBudget::new(None, None),
        responses: ResponseRoom { memory: 0, files: 0 },
    }
}
