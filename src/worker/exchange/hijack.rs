//! A connection that the application takes for itself (`gunicorn.socket`), for WebSockets say: it gets the socket. With TLS,
//! or where the client has sent more than the request already, it gets one end of a pair, between which and the client a
//! thread of its own carries what is said, and seals and opens.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::OnceLock;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::os::scoreboard::Slot;
use crate::os::socket::{self, More, Read};
use crate::os::thread;
use crate::worker::connection::stream::Stream;
use crate::worker::exchange::{Exchange, ResponseState};

/// The connection of a request, as an application may hold on to it.
pub struct HijackedStream {
    stream: Stream,
    slot: Slot,
    /// What the client has sent behind its wish for another protocol.
    behind: Vec<u8>,
    /// The application's end of the pair, if there is one. There once it was asked for.
    opened: OnceLock<Option<OwnedFd>>,
}

impl Exchange<'_> {
    /// The connection, for who may take it. Nothing has happened to it yet.
    pub fn hand_out(&mut self) -> io::Result<Arc<HijackedStream>> {
        if let Some(handed) = &self.handed {
            return Ok(Arc::clone(handed));
        }
        let stream = self.stream.copy()?;
        // Without such a wish it is another request, and the application that looks at the socket gets that itself.
        let asks_for_another = self.request.field(b"upgrade").is_some();
        let behind = if asks_for_another { self.behind.to_vec() } else { Vec::new() };
        let handed = Arc::new(HijackedStream { stream, slot: self.slot.clone(), behind, opened: OnceLock::new() });
        self.handed = Some(Arc::clone(&handed));
        Ok(handed)
    }

    /// Has the application opened its socket?
    pub fn was_taken(&self) -> bool {
        self.handed.as_ref().is_some_and(|handed| handed.opened.get().is_some())
    }

    /// The application has returned: nothing more is written by it.
    pub(crate) fn come_back(&mut self) {
        self.pace.end(self.stream.as_fd());
        if self.was_taken() {
            // Python has made it one that blocks.
            socket::never_block(self.stream.as_fd());
        }
    }

    /// The application has said to the client what there was to say: no response, and no line about it.
    pub fn leave(&mut self) {
        let pair = self.handed.as_ref().and_then(|handed| handed.opened.get()?.as_ref());
        if let Some(end) = pair {
            // What was written before is still carried to the client.
            socket::finish_writing(end.as_fd());
        }
        self.state = ResponseState::Taken { is_relayed: pair.is_some() };
    }
}

impl HijackedStream {
    /// Is there TLS on it?
    pub fn is_encrypted(&self) -> bool {
        self.stream.session().is_some()
    }

    /// A socket that blocks, whose other side is the client. From now on the request may take as long as it likes.
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
        thread::start("rwsgi-taken", move || Relay::new(stream, ours, behind).run())?;
        Ok(theirs)
    }
}

/// What goes to and fro between a client and the application's socket.
struct Relay {
    stream: Stream,
    inner: OwnedFd,
    to_client: Vec<u8>,
    to_application: Vec<u8>,
    client_ended: bool,
    application_ended: bool,
    /// Has the application said anything?
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

    /// Goes on until the application has nothing more to say.
    fn run(mut self) {
        while self.step().is_ok_and(|goes_on| goes_on) {
            if self.wait().is_err() {
                break;
            }
        }
        // Who has only looked at the socket answers by a response.
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
        // What it does not wait for it must not be woken by: the end of a side is told again and again.
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

/// What is moved at a time.
const PIECE: usize = 64 * 1024;
/// Nobody waits for the end of a conversation: three hundred years, in ns.
const FOR_GOOD: u64 = u64::MAX / 2;
