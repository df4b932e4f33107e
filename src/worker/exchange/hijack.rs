//! A connection that the application hijacks (`gunicorn.socket`), for WebSockets say: it gets the socket. With TLS, or
//! where the client has sent more than the request already, it gets one end of a socket pair, and a thread of its own
//! relays between that and the client.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::OnceLock;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::Exchange;
use crate::os::scoreboard::Slot;
use crate::os::socket::{self, More, Read};
use crate::os::thread;
use crate::worker::connection::request::ResponseState;
use crate::worker::connection::stream::Stream;

/// The connection of a request, as an application may hold on to it.
pub struct HijackedStream {
    stream: Stream,
    slot: Slot,
    /// The bytes that the client has sent behind its wish for another protocol.
    behind: Vec<u8>,
    /// The application's end of the pair, if there is one. Set once it was asked for.
    opened: OnceLock<Option<OwnedFd>>,
}

impl Exchange<'_> {
    /// Returns the connection for an application that may hijack it. Nothing has happened to it yet.
    pub fn hijack(&mut self) -> io::Result<Arc<HijackedStream>> {
        if let Some(hijacked) = &self.hijacked {
            return Ok(Arc::clone(hijacked));
        }
        let stream = self.stream.copy()?;
        // Without such a wish it is another request, and the application that looks at the socket gets that itself.
        let asks_for_another = self.request.field(b"upgrade").is_some();
        let behind = if asks_for_another { self.received.behind.to_vec() } else { Vec::new() };
        let hijacked = Arc::new(HijackedStream { stream, slot: self.slot.clone(), behind, opened: OnceLock::new() });
        self.hijacked = Some(Arc::clone(&hijacked));
        Ok(hijacked)
    }

    /// True if the application has opened the socket.
    pub fn is_hijacked(&self) -> bool {
        self.hijacked.as_ref().is_some_and(|hijacked| hijacked.opened.get().is_some())
    }

    /// Ends a hijacked request without a response, and without a line in the access log.
    pub fn end_hijacked(&mut self) {
        let pair = self.hijacked.as_ref().and_then(|hijacked| hijacked.opened.get()?.as_ref());
        if let Some(end) = pair {
            // What was written before is still carried to the client.
            socket::finish_writing(end.as_fd());
        }
        self.state = ResponseState::Hijacked { is_relayed: pair.is_some() };
    }
}

impl HijackedStream {
    /// True if there is TLS on it.
    pub fn is_encrypted(&self) -> bool {
        self.stream.session().is_some()
    }

    /// Returns a socket that blocks, whose other side is the client. From now on the request has no timeout.
    pub fn open(&self) -> io::Result<OwnedFd> {
        if let Some(Some(end)) = self.opened.get() {
            return end.try_clone();
        }
        let is_relayed = self.is_encrypted() || !self.behind.is_empty();
        let socket = if is_relayed { Some(self.pair()?) } else { None };
        self.slot.extend(FOR_GOOD);
        match self.opened.get_or_init(|| socket) {
            Some(end) => end.try_clone(),
            None => self.stream.as_fd().try_clone_to_owned(),
        }
    }

    fn pair(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        let stream = self.stream.copy()?;
        let behind = self.behind.clone();
        thread::start("rwsgi-relay", move || Relay::new(stream, ours, behind).run())?;
        Ok(theirs)
    }
}

/// Carries bytes between a client and the application's socket.
struct Relay {
    stream: Stream,
    inner: OwnedFd,
    to_client: Vec<u8>,
    to_application: Vec<u8>,
    client_ended: bool,
    application_ended: bool,
    /// True once the application has said anything.
    has_spoken: bool,
}

impl Relay {
    fn new(stream: Stream, inner: OwnedFd, to_application: Vec<u8>) -> Relay {
        Relay {
            stream,
            inner,
            to_client: Vec::new(),
            to_application,
            client_ended: false,
            application_ended: false,
            has_spoken: false,
        }
    }

    /// Runs until the application has nothing more to say.
    fn run(mut self) {
        while self.step().is_ok_and(|goes_on| goes_on) {
            if self.wait().is_err() {
                break;
            }
        }
        // An application that has only looked at the socket answers by a response.
        if self.has_spoken {
            if self.application_ended && self.to_client.is_empty() {
                self.stream.say_goodbye();
            }
            socket::finish(self.stream.as_fd());
        }
    }

    /// Moves what can be moved now.
    fn step(&mut self) -> io::Result<bool> {
        if self.to_application.is_empty() && !self.client_ended {
            self.client_ended = self.stream.read(&mut self.to_application, PIECE) == Read::Closed;
            if self.client_ended {
                socket::finish_writing(self.inner.as_fd());
            }
        }
        if !self.to_application.is_empty() {
            let written = socket::write(self.inner.as_fd(), &[&self.to_application, b"", b""], More::Ends)?;
            self.to_application.drain(..written);
        }
        if self.to_client.is_empty() && !self.application_ended {
            let read = socket::read(self.inner.as_fd(), &mut self.to_client, PIECE);
            self.application_ended = read == Read::Closed;
            self.has_spoken |= !self.to_client.is_empty();
        }
        let written = self.stream.write(&[&self.to_client, b"", b""], More::Ends)?;
        self.to_client.drain(..written);
        Ok(!(self.application_ended && self.to_client.is_empty()))
    }

    fn wait(&self) -> io::Result<()> {
        let flags = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, reads);
            flags.set(PollFlags::POLLOUT, writes);
            flags
        };
        let (client, application) = (self.to_client.is_empty(), self.to_application.is_empty());
        let outer = flags(application && !self.client_ended, !client || self.stream.has_sealed());
        let inner = flags(client && !self.application_ended, !application);
        // Descriptors that it does not wait for are left out: the end of a side would be reported again and again.
        let mut fds: Vec<PollFd<'_>> = [(self.stream.as_fd(), outer), (self.inner.as_fd(), inner)]
            .into_iter()
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(fd, flags)| PollFd::new(fd, flags))
            .collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The number of bytes that are moved at a time.
const PIECE: usize = 64 * 1024;
/// Longer than any conversation: three hundred years, in ns.
const FOR_GOOD: u64 = u64::MAX / 2;
