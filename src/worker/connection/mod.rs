//! One connection: what was received, what is still to be sent, and how far its request has come. It reads and writes
//! its own socket and never blocks; when, is the loop's business.

pub(crate) mod buffer_pool;
pub(crate) mod date_cache;
pub(crate) mod request_body;
pub(crate) mod send_buffer;
pub(crate) mod send_timeout;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod streamed_body;
pub(crate) mod tls_handshake;

use std::io;
use std::mem;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::http::CONTINUE;
use crate::http::body::BodyDecoder;
use crate::http::forwarded::Scheme;
use crate::http::{BodyLength, Head, Limits, Opening, Progress, Proxied, ProxyRules, Reject, lenient, proxy};
use crate::os::listener::Peer;
use crate::os::socket::Read;
use crate::tls::Shaken;
use crate::worker::connection::request_body::{Body, BodyBuffer, CollectedBody, PartialBody};
use crate::worker::connection::send_buffer::{Flushed, SendBuffer};
use crate::worker::connection::send_timeout::SendTimeout;
use crate::worker::connection::stream::Stream;
use crate::worker::connection::streamed_body::StreamedBody;
use crate::worker::exchange::ResponseState;
use crate::worker::reactor::timers::Millis;

/// A connected client.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    /// A PROXY header may still come.
    pub(crate) awaits_proxy: bool,
    /// Who connected to the proxy, for as long as the connection lasts.
    pub(crate) proxied: Option<Box<Proxied>>,
    pub(crate) listener: usize,
    pub(crate) token: u64,
    /// Received and not used up; the head's spans point into it.
    pub(crate) input: Vec<u8>,
    pub(crate) output: SendBuffer,
    pub(crate) head: Head,
    pub(crate) stage: Stage,
    /// How the last request was answered.
    pub(crate) answered: ResponseState,
    /// What the last read left in the kernel.
    pub(crate) reading: Reading,
    /// The kernel has told that the client will send no more; it does so once, maybe together with the last bytes.
    pub(crate) end_told: bool,
    /// What the epoll instance was told.
    pub(crate) registered: Registered,
    /// Since when its request waits, if it has waited in another worker already.
    pub(crate) waits_since: Option<Millis>,
    /// When to give up on it.
    pub(crate) deadline: Millis,
    /// When its entry among the timers comes up.
    pub(crate) scheduled: Millis,
}

/// What the epoll instance knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Registered {
    Nothing,
    Reads,
    ReadsAndWrites,
}

/// What a connection has to read. Edge-triggered: the kernel says once that there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing, until the kernel says so.
    Drained,
    /// There may be further bytes, or the end.
    More,
    /// The client will send no more.
    Ended,
}

/// How far a connection has come.
pub(crate) enum Stage {
    /// Before all requests, with TLS. How far it is was seen when it was last gone on with.
    Handshake(Shaken),
    /// Before the first byte of a request.
    Idle,
    /// Inside a head.
    Head,
    /// The head is whole; this is its body.
    Body(Box<Receiving>),
    /// The request is whole; no thread is free for it.
    Waiting(Box<Waiting>),
    /// The rest of a response waits for the client.
    Flushing { keep_alive: bool, patience: SendTimeout },
    /// The response is out and the sending side closed; what still comes is read and dropped, so that the kernel does
    /// not answer it with a reset that would take the response along (RFC 9112, 9.6).
    Lingering { until: Millis },
}

/// A body under way.
pub(crate) struct Receiving {
    head_length: usize,
    place: Place,
}

/// Where a body goes.
enum Place {
    /// Through `input` to a buffer or a file. `wished` is the length of what may still be given for it.
    Decoded { decoder: BodyDecoder, collected: CollectedBody, wished: Option<usize> },
    /// Straight to where the application will read it.
    Given(Option<PartialBody>),
}

/// A request that waits for a thread.
pub(crate) struct Waiting {
    pub(crate) arrived: Arrived,
    pub(crate) scheme: Scheme,
    pub(crate) since: Millis,
}

/// What has become of the bytes received.
pub(crate) enum Step {
    /// More are needed.
    Wait,
    /// A request to serve.
    Request(Arrived),
    /// This must not be served.
    Refuse(Reject),
    /// So much of a body is there that it has to go to a file, by [`Connection::use_disk`].
    Spill,
    /// A body of this length has begun to come, for which memory may be given, by [`Connection::give`].
    Memory(usize),
    /// The file that holds the body cannot be read.
    Failed(io::Error),
}

/// A request that is there.
pub(crate) struct Arrived {
    /// Of its head, in `input`.
    pub(crate) head_length: usize,
    /// Of the body that stands behind it, in `input`, too; no other `body` is there then.
    pub(crate) beside: usize,
    pub(crate) body: Body<'static>,
    pub(crate) body_length: Option<u64>,
    /// Boxed: nearly no request has one.
    pub(crate) streamed: Option<Box<StreamedBody>>,
}

/// What a body is collected by.
pub(crate) struct BodyRules<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) proxy: &'a ProxyRules,
    pub(crate) post_buffering: usize,
    /// For the next bytes of a streamed body.
    pub(crate) timeout: Option<Duration>,
}

impl Connection {
    pub(crate) fn new(stream: Stream, peer: Peer, listener: usize) -> Connection {
        let stage = if stream.session().is_some() { Stage::Handshake(Shaken::Waiting) } else { Stage::Idle };
        Connection {
            stream,
            peer,
            awaits_proxy: false,
            proxied: None,
            listener,
            token: 0,
            input: Vec::new(),
            output: SendBuffer::default(),
            head: Head::default(),
            stage,
            answered: ResponseState::Open,
            reading: Reading::Drained,
            end_told: false,
            registered: Registered::Nothing,
            waits_since: None,
            deadline: Millis::MAX,
            scheduled: Millis::MAX,
        }
    }

    /// Is it between two requests, with nothing received?
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.input.is_empty()
    }

    /// Has a request been answered on it?
    pub(crate) fn has_served(&self) -> bool {
        self.answered != ResponseState::Open
    }

    /// Has all that was begun been said?
    pub(crate) fn is_whole(&self) -> bool {
        let is_over = matches!(self.answered, ResponseState::Broken | ResponseState::Taken { .. });
        self.output.is_empty() && !is_over && !matches!(self.stage, Stage::Handshake(_))
    }

    /// Is somebody at work who ends it when that is done?
    pub(crate) fn is_taken(&self) -> bool {
        self.answered == ResponseState::Taken { is_relayed: true }
    }

    pub(crate) fn read(&mut self) -> Read {
        if let Stage::Body(receiving) = &mut self.stage {
            if let Place::Given(Some(filling)) = &mut receiving.place {
                let room = filling.room();
                let most = room.len().min(READ_STRAIGHT);
                let read = self.stream.read_into(&mut room[..most]);
                if let Read::Bytes { count, .. } = read {
                    filling.advance(count);
                }
                return read;
            }
        }
        self.stream.read(&mut self.input, READ_SIZE)
    }

    /// Gives memory of the length that was asked for, or none: the body goes to a buffer then.
    pub(crate) fn give(&mut self, memory: Option<Box<dyn BodyBuffer>>) {
        let Stage::Body(receiving) = &mut self.stage else { return };
        if let Place::Decoded { wished, .. } = &mut receiving.place {
            *wished = None;
        }
        if let Some(memory) = memory {
            let mut filling = PartialBody::new(memory);
            let count = filling.room().len().min(self.input.len() - receiving.head_length);
            filling.take(&self.input[receiving.head_length..][..count]);
            self.input.drain(receiving.head_length..receiving.head_length + count);
            receiving.place = Place::Given(Some(filling));
        }
    }

    /// Looks how far the bytes received reach.
    pub(crate) fn step(&mut self, rules: &BodyRules<'_>) -> Step {
        if matches!(self.stage, Stage::Idle | Stage::Head) {
            if self.awaits_proxy {
                match self.take_proxy_header(rules.proxy) {
                    Ok(true) => {}
                    Ok(false) => return Step::Wait,
                    Err(reject) => return Step::Refuse(reject),
                }
            }
            let head_length = match lenient::parse(&mut self.head, &mut self.input, rules.limits) {
                Ok(Progress::Complete { used }) => used,
                Ok(Progress::NeedMore) => return Step::Wait,
                Err(reject) => return Step::Refuse(reject),
            };
            let request = self.head.of(&self.input);
            let length = request.body_length();
            if length == BodyLength::None {
                return Step::Request(Arrived::of(head_length, Body::Empty, None));
            }
            if let (BodyLength::Known(found), Some(limit)) = (length, rules.limits.body) {
                if found > limit {
                    return Step::Refuse(Reject::BodyTooLarge { limit });
                }
            }
            if rules.post_buffering == 0 {
                return self.stream_body(rules, head_length);
            }
            // Sent at once, before any byte of the body: the client waits for it (RFC 9110, 10.1.1).
            if request.expects_continue() && self.input.len() == head_length {
                self.output.bytes.extend_from_slice(CONTINUE);
                let _ = self.output.flush(&self.stream);
            }
            let buffered = known(length).and_then(|length| usize::try_from(length).ok());
            let buffered = buffered.filter(|length| *length <= rules.post_buffering);
            if let Some(beside) = buffered.filter(|length| *length <= self.input.len() - head_length) {
                return Step::Request(Arrived { beside, ..Arrived::of(head_length, Body::Empty, known(length)) });
            }
            let wished = buffered.filter(|length| *length >= WORTH_MEMORY);
            let decoder = BodyDecoder::new(length, rules.limits);
            let place = Place::Decoded { decoder, collected: CollectedBody::default(), wished };
            self.stage = Stage::Body(Box::new(Receiving { head_length, place }));
        }
        self.receive_body(rules)
    }

    /// Goes past a PROXY header, if the connection begins with one; `false` while that cannot be told.
    pub(crate) fn take_proxy_header(&mut self, rules: &ProxyRules) -> Result<bool, Reject> {
        match proxy::opening(&self.input, self.peer.ip(), rules)? {
            Opening::NeedMore => return Ok(false),
            Opening::Plain => {}
            Opening::Header { used, proxied } => {
                self.input.drain(..used);
                self.proxied = proxied.map(Box::new);
            }
        }
        self.awaits_proxy = false;
        Ok(true)
    }

    /// The client's address, as the proxy says it; none on a unix socket.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.proxied.as_ref().map_or_else(|| self.peer.ip(), |proxied| Some(proxied.source.ip()))
    }

    /// Hands a body over as far as it has been received.
    fn stream_body(&mut self, rules: &BodyRules<'_>, head_length: usize) -> Step {
        let request = self.head.of(&self.input);
        let (length, awaits_continue) = (request.body_length(), request.expects_continue());
        let received = self.input.split_off(head_length);
        let decoder = BodyDecoder::new(length, rules.limits);
        let streamed = StreamedBody::new(decoder, received, awaits_continue, rules.timeout);
        let streamed = Some(Box::new(streamed));
        Step::Request(Arrived { streamed, ..Arrived::of(head_length, Body::Streamed, known(length)) })
    }

    fn receive_body(&mut self, rules: &BodyRules<'_>) -> Step {
        let Stage::Body(receiving) = &mut self.stage else {
            return Step::Wait;
        };
        let head_length = receiving.head_length;
        let (decoder, collected) = match &mut receiving.place {
            Place::Decoded { wished: Some(length), .. } => return Step::Memory(*length),
            Place::Decoded { decoder, collected, .. } => (decoder, collected),
            Place::Given(filling) => {
                return match filling.take().map(PartialBody::finish) {
                    Some(Ok((body, length))) => {
                        self.stage = Stage::Head;
                        Step::Request(Arrived::of(head_length, body, Some(length)))
                    }
                    unfinished => {
                        *filling = unfinished.and_then(Result::err);
                        Step::Wait
                    }
                };
            }
        };
        match decoder.decode(&self.input[head_length..], collected.buffer(), usize::MAX) {
            Ok(used) => drop(self.input.drain(head_length..head_length + used)),
            Err(reject) => return Step::Refuse(reject),
        }
        if collected.overflows(rules.post_buffering) {
            return Step::Spill;
        }
        if !decoder.is_done() {
            return Step::Wait;
        }
        let collected = mem::take(collected);
        self.stage = Stage::Head;
        match collected.finish() {
            Ok((body, length)) => Step::Request(Arrived::of(head_length, body, Some(length))),
            Err(error) => Step::Failed(error),
        }
    }

    /// Does what may have to wait for a disk, or computes for long: keeps a body in a file, sends a part of one, goes on
    /// with a handshake. The caller holds no lock.
    pub(crate) fn use_disk(&mut self, spill_directory: &Path) -> io::Result<Flushed> {
        match &mut self.stage {
            Stage::Handshake(shaken) => {
                *shaken = self.stream.shake_hands();
                Ok(Flushed::All)
            }
            Stage::Body(receiving) => match &mut receiving.place {
                Place::Decoded { collected, .. } => collected.spill(spill_directory).map(|()| Flushed::All),
                Place::Given(_) => Ok(Flushed::All),
            },
            _ => self.output.flush(&self.stream),
        }
    }

    /// The request in the first `length` bytes is served: makes room for the next one.
    pub(crate) fn next_request(&mut self, length: usize) {
        if self.input.len() == length {
            self.input.clear();
        } else {
            self.input.drain(..length);
        }
        self.head.reset();
        self.stage = Stage::Idle;
    }
}

impl Arrived {
    fn of(head_length: usize, body: Body<'static>, body_length: Option<u64>) -> Arrived {
        Arrived { head_length, beside: 0, body, body_length, streamed: None }
    }
}

fn known(length: BodyLength) -> Option<u64> {
    if let BodyLength::Known(length) = length { Some(length) } else { None }
}

/// One read. nginx reads heads by 1 KiB and bodies by 16 KiB; a turn's fairness is 64 KiB (architecture, section 5).
const READ_SIZE: usize = 64 * 1024;
/// The same for bytes that nobody looks at: copying so much takes the kernel less than an application takes for a page.
const READ_STRAIGHT: usize = 256 * 1024;
/// Smaller bodies mostly come with their head, and may have to be handed over to another worker with it.
const WORTH_MEMORY: usize = 64 * 1024;
