//! Requests that no client sends, made before workers are forked: what an application loads, compiles and caches with
//! its first requests is then there for all of them, once. Nobody gets the answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::http::access_log::EnvironValues;
use crate::http::forwarded::Scheme;
use crate::http::response::ResponseHead;
use crate::http::{Limits, ProxyRules, imf_fixdate};
use crate::os::clock;
use crate::os::listener::Peer;
use crate::os::scoreboard::Scoreboard;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::{BodyRules, Connection, Step};
use crate::worker::exchange::call::{Call, Terms, ThreadContext};
use crate::worker::exchange::response_owner::ResponseOwner;
use crate::worker::{Application, ErrorPages, SendLimits};

/// Has `app` answer a GET for `target` of `host` once, as a client of this machine, and says the status. The body is made
/// and dropped. Errors: `InvalidInput` for what is no request.
pub fn warm_up<A: Application>(app: &A, target: &str, host: &str, is_https: bool) -> io::Result<u16> {
    let (ours, _theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let peer = Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let mut connection = Box::new(Connection::new(Stream::plain(ours.into()), peer, 0));
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rwsgi-warmup\r\n\r\n");
    connection.input.extend_from_slice(head.as_bytes());
    let rules =
        BodyRules { limits: &Limits::default(), proxy: &ProxyRules::default(), post_buffering: 0, timeout: None };
    let Step::Request(arrived) = connection.step(&rules) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("expected a target and a host, found {target} {host}"),
        ));
    };
    let (board, _) = Scoreboard::create(1)?;
    let slot = board.slot(0).ok_or(io::ErrorKind::NotFound)?;
    let mut desk = ThreadContext {
        slot,
        response: ResponseHead::default(),
        thread: 0,
        number: 0,
        cork: Arc::default(),
        laid_down: 0,
        is_measured: false,
        environ: EnvironValues::default(),
    };
    let terms = Terms {
        error_pages: &ErrorPages::default(),
        send_limits: &SendLimits { stall: None, rate: None },
        stopping: &AtomicBool::new(true),
        claim: &ResponseOwner::default(),
        drops_bodies: true,
    };
    let scheme = if is_https { Scheme::Https } else { Scheme::Http };
    let date = imf_fixdate(clock::wall_seconds());
    let call = Call { connection, arrived, scheme, keep_alive: false, date, started: clock::monotonic() };
    call.run(app, &mut desk, &terms);
    // What the application said; for what it did not survive there is an error page.
    let digits = desk.response.status().iter().take(3);
    Ok(digits.fold(0, |status, digit| status * 10 + u16::from(digit.saturating_sub(b'0'))))
}
