//! The control socket: accepts clients, reads their requests and writes the answers. `requests` makes the answers;
//! nothing here blocks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

pub(super) mod requests;
mod status;

use super::{AnyError, CLIENTS, CONTROL, Origins};
use crate::control::{Answer, ControlRequest, name};
use crate::os::listener::{Listener, PortUse, Where};
use crate::os::rights;
use crate::os::runtime_directory;
use crate::os::socket::{self, More, Read};
use crate::settings::Settings;

/// The socket and its clients.
#[derive(Default)]
pub(super) struct ControlSocket {
    listening: Option<ControlListener>,
    clients: BTreeMap<usize, Client>,
    next: usize,
}

/// The listener of the socket.
struct ControlListener {
    path: PathBuf,
    listener: Listener,
}

struct Client {
    stream: OwnedFd,
    heard: Vec<u8>,
    unsent: Vec<u8>,
    /// True if its request has been read; nothing more is expected of it.
    has_asked: bool,
    /// True if it is answered, and to be closed when that is sent.
    is_answered: bool,
}

impl ControlSocket {
    /// Opens the socket that the settings name. An error ends the start only if the setting names it, not for the
    /// default path beside the pid file.
    /// `directories` are those for a socket that no setting names.
    pub(super) fn open(
        settings: &Settings,
        origins: &Origins,
        registry: &Registry,
        directories: &[PathBuf],
    ) -> Result<ControlSocket, AnyError> {
        if settings.has_default_control() {
            return Ok(ControlSocket::open_default(settings, registry, directories));
        }
        let Some(path) = settings.control_path() else { return Ok(ControlSocket::default()) };
        let path = std::path::absolute(&path).unwrap_or(path);
        match ControlListener::open(path, registry) {
            Ok(listening) => Ok(ControlSocket { listening: Some(listening), ..ControlSocket::default() }),
            Err(error) if settings.control_socket.is_some() => Err(origins.blame("control_socket", &error)),
            Err(error) => {
                tracing::warn!(%error, "no control socket");
                Ok(ControlSocket::default())
            }
        }
    }

    /// Opens a socket in the first directory that can be used, named by the first address. If another server has that
    /// name, it is named by the process.
    fn open_default(settings: &Settings, registry: &Registry, directories: &[PathBuf]) -> ControlSocket {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let address = name::address_of(&settings.bind, absolute);
        let names: Vec<String> = address.into_iter().chain([format!("pid-{}", std::process::id())]).collect();
        for directory in directories {
            if let Err(error) = runtime_directory::make(directory) {
                tracing::debug!(%error, "no control socket here");
                continue;
            }
            for name in &names {
                match ControlListener::open(directory.join(name::socket_name(name)), registry) {
                    Ok(listening) => return ControlSocket { listening: Some(listening), ..ControlSocket::default() },
                    Err(error) => tracing::debug!(%error, "no control socket of this name"),
                }
            }
        }
        tracing::info!("no control socket: no directory for it can be made; control_socket names another place");
        ControlSocket::default()
    }

    /// Creates the socket's file again if it was removed. Connected clients stay.
    pub(super) fn renew(&mut self, registry: &Registry) {
        let Some(listening) = self.listening.as_ref().filter(|listening| !listening.listener.is_reachable()) else {
            return;
        };
        match ControlListener::open(listening.path.clone(), registry) {
            Ok(opened) => {
                let _ = registry.deregister(&mut SourceFd(&listening.listener.as_raw_fd()));
                tracing::info!(path = %opened.path.display(), "the file of the control socket was gone, it is made again");
                self.listening = Some(opened);
            }
            Err(error) => tracing::error!(%error, "the file of the control socket is gone, and no other one is made"),
        }
    }

    /// Returns its path, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.listening.as_ref().map(|listening| listening.path.as_path())
    }

    /// Fails as [`ControlSocket::open`] would, and opens none.
    pub(super) fn check(settings: &Settings, origins: &Origins) -> Result<ControlSocket, AnyError> {
        if let Some(path) = settings.control_path().filter(|_| settings.control_socket.is_some()) {
            Listener::check(&place(&path)).map_err(|error| origins.blame("control_socket", &error))?;
        }
        Ok(ControlSocket::default())
    }

    /// Accepts clients: only root and the user of this process. The socket's mode says the same, but a mode can be
    /// changed.
    pub(super) fn accept(&mut self, registry: &Registry) {
        let Some(listening) = &self.listening else { return };
        while let Ok(Some((stream, _))) = listening.listener.accept() {
            let user = socket::peer_user(stream.as_fd());
            if user.is_none_or(|user| user != 0 && user != nix::unistd::geteuid().as_raw()) {
                tracing::warn!(user, "control socket: refused a user without permission");
                refuse(&stream, "only root and the user that started the server may ask");
                rights::close_apart(stream);
                continue;
            }
            if self.clients.len() >= MOST_CLIENTS {
                // A client without a request gives way to others.
                match self.clients.iter().find(|(_, client)| !client.has_asked).map(|(number, _)| *number) {
                    Some(idle) => drop(self.clients.remove(&idle)),
                    None => {
                        refuse(&stream, &format!("{MOST_CLIENTS} others wait for an answer, try again later"));
                        continue;
                    }
                }
            }
            let number = self.next;
            let both = Interest::READABLE | Interest::WRITABLE;
            if registry.register(&mut SourceFd(&stream.as_raw_fd()), Token(CLIENTS + number), both).is_ok() {
                self.next += 1;
                let client =
                    Client { stream, heard: Vec::new(), unsent: Vec::new(), has_asked: false, is_answered: false };
                self.clients.insert(number, client);
            }
        }
    }

    /// Returns the request of a client, once it is whole; continues to send its answer.
    pub(super) fn hear(&mut self, number: usize) -> Option<ControlRequest> {
        let client = self.clients.get_mut(&number)?;
        let mut is_gone = false;
        while client.heard.len() <= LONGEST && !is_gone {
            match socket::read(client.stream.as_fd(), &mut client.heard, PIECE) {
                Read::Bytes { .. } => {}
                Read::Nothing => break,
                // A client may close its own side after its request.
                Read::Closed | Read::NoMemory => is_gone = true,
            }
        }
        if client.has_asked {
            client.heard.clear();
            self.send(number);
            return None;
        }
        let line = client.heard.iter().position(|byte| *byte == b'\n').map(|end| client.heard[..end].to_vec());
        match line {
            Some(line) => {
                client.has_asked = true;
                let ask = serde_json::from_slice(&line);
                if let Err(error) = &ask {
                    self.answer(number, &Answer::Refused(format!("expected a verb of rwsgi, found none: {error}")));
                }
                ask.ok()
            }
            None if is_gone || client.heard.len() > LONGEST => {
                self.clients.remove(&number);
                None
            }
            None => None,
        }
    }

    /// Answers a client, which is closed after any answer except [`Answer::Begun`].
    pub(super) fn answer(&mut self, number: usize, answer: &Answer) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.unsent.extend(line(answer));
        client.is_answered = *answer != Answer::Begun;
        self.send(number);
    }

    fn send(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        while !client.unsent.is_empty() {
            match socket::write(client.stream.as_fd(), &[&client.unsent, b"", b""], More::Ends) {
                Ok(0) => return,
                Ok(count) => drop(client.unsent.drain(..count)),
                Err(_) => return drop(self.clients.remove(&number)),
            }
        }
        if client.is_answered {
            self.clients.remove(&number);
        }
    }

    /// Removes the socket's file. A client that waits for the end of the master gets it when the process ends.
    pub(super) fn close(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.listener.unlink();
        }
    }
}

/// Tells a client why it is refused.
fn refuse(stream: &OwnedFd, why: &str) {
    let _ = socket::write(stream.as_fd(), &[&line(&Answer::Refused(why.to_owned())), b"", b""], More::Ends);
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

impl ControlListener {
    fn open(path: PathBuf, registry: &Registry) -> Result<ControlListener, AnyError> {
        let listener = Listener::open(&place(&path), BACKLOG, PortUse::Alone)?;
        registry.register(&mut SourceFd(&listener.as_raw_fd()), CONTROL, Interest::READABLE)?;
        Ok(ControlListener { path, listener })
    }
}

fn place(path: &Path) -> Where {
    Where::Unix { path: path.to_owned(), mode: Some(0o600), owner: None }
}

/// Connections are few: people and scripts.
const BACKLOG: u32 = 64;
const MOST_CLIENTS: usize = 32;
/// The most bytes of a request, which is a few words.
const LONGEST: usize = 4096;
const PIECE: usize = 1024;
