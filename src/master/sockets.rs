//! Addresses and directories that settings name: addresses become listening sockets, directories are checked before
//! anything starts.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{AnyError, Origins};
use crate::message::{Inherited, Predecessor};
use crate::os;
use crate::os::identity::Identity;
use crate::os::listener::{ListenError, Listener, PortUse, Where};
use crate::os::reexec;
use crate::settings::Settings;
use crate::settings::types::Bind;

/// Checks that the directories of the settings exist, before the first upload would need them.
pub(super) fn check_directories(settings: &Settings, origins: &Origins) -> Result<(), AnyError> {
    let named = [
        ("chdir", &settings.chdir),
        ("worker_tmp_dir", &settings.worker_tmp_dir),
        ("error_pages", &settings.error_pages),
    ];
    for (name, path) in named {
        let Some(path) = path else { continue };
        let path = if name == "chdir" { path.clone() } else { from_chdir(settings, path) };
        let found = match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => "a file".to_owned(),
            Err(error) => os::words(&error),
        };
        return Err(origins.blame(name, &format!("{}: expected a directory, found {found}", path.display())));
    }
    Ok(())
}

/// Returns a path relative to `chdir`, once that is entered.
fn from_chdir(settings: &Settings, path: &Path) -> PathBuf {
    settings.chdir.as_ref().map_or_else(|| path.to_owned(), |base| base.join(path))
}

/// Warns of a directory in memory: right for gunicorn's heartbeat files, but rwsgi keeps uploads there.
pub(super) fn warn_of_memory(settings: &Settings, origins: &Origins) {
    let Some(path) = settings.worker_tmp_dir.as_ref().map(|path| from_chdir(settings, path)) else { return };
    if os::is_in_memory(&path) {
        let what = format!("{} is in memory, which uploads would fill", path.display());
        let hint = "hint: leave it out, or name a directory on a disk; there are no heartbeat files";
        tracing::warn!("{}\n{hint}", origins.blame("worker_tmp_dir", &what));
    }
}

/// A listening socket with its address in the settings.
pub(super) struct BoundSocket {
    at: Where,
    pub(super) listener: Listener,
}

/// Binds all addresses, or none. Those of `known` that are requested again are kept, with the connections that wait
/// there.
pub(super) fn bind(
    settings: &Settings,
    identity: &Identity,
    known: &[Rc<BoundSocket>],
) -> Result<Vec<Rc<BoundSocket>>, ListenError> {
    let ports = if settings.reuse_port { PortUse::Shared } else { PortUse::Alone };
    let mut sockets: Vec<Rc<BoundSocket>> = Vec::new();
    for bind in &settings.bind {
        let at = place(bind, settings, identity);
        let is_kept = |socket: &&Rc<BoundSocket>| is_same(&socket.at, &at) && socket.listener.is_reachable();
        let opened = match known.iter().find(is_kept) {
            Some(socket) => socket.listener.renew(&at, settings.backlog).map(|()| Rc::clone(socket)),
            None => Listener::open(&at, settings.backlog, ports).map(|listener| Rc::new(BoundSocket { at, listener })),
        };
        match opened {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                release(sockets, true);
                return Err(error);
            }
        }
    }
    Ok(sockets)
}

/// Releases sockets: those with no other owner in this master are closed, and their files removed if `unlink` is set.
pub(super) fn release(sockets: Vec<Rc<BoundSocket>>, unlink: bool) {
    for socket in sockets.into_iter().filter_map(Rc::into_inner).filter(|_| unlink) {
        socket.listener.unlink();
    }
}

/// Takes over the sockets of an old master. One that cannot be taken over is bound again later.
pub(super) fn inherited(predecessor: &Predecessor, settings: &Settings, identity: &Identity) -> Vec<Rc<BoundSocket>> {
    let mut sockets = Vec::new();
    for Inherited { fd, at } in &predecessor.sockets {
        let (Some(socket), Ok(bind)) = (reexec::inherited(*fd), Bind::parse(at)) else { continue };
        let at = place(&bind, settings, identity);
        match Listener::take_over(socket, &at) {
            Ok(listener) => sockets.push(Rc::new(BoundSocket { at, listener })),
            Err(error) => tracing::error!(%error, "inherited socket not taken"),
        }
    }
    sockets
}

impl BoundSocket {
    /// Returns the address as in the setting `bind`.
    pub(super) fn name(&self) -> String {
        self.at.to_string()
    }
}

/// True if both mean the same socket. The mode and the owner of its file may differ.
fn is_same(one: &Where, other: &Where) -> bool {
    match (one, other) {
        (Where::Unix { path: one, .. }, Where::Unix { path: other, .. }) => one == other,
        _ => one == other,
    }
}

/// Fails as [`bind`] would, as far as that can be told without binding. Does not test whether an address is free.
pub(super) fn check(settings: &Settings, identity: &Identity) -> Result<(), ListenError> {
    settings.bind.iter().try_for_each(|bind| Listener::check(&place(bind, settings, identity)))
}

fn place(bind: &Bind, settings: &Settings, identity: &Identity) -> Where {
    match bind {
        Bind::Tcp { host, port } => Where::Tcp { host: host.clone(), port: *port },
        Bind::Unix(path) => {
            let owner = identity.is_change().then(|| {
                let user = identity.user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
                (user, identity.group.unwrap_or_else(|| nix::unistd::getegid().as_raw()))
            });
            Where::Unix { path: path.clone(), mode: Some(settings.socket_mode().0), owner }
        }
        Bind::Fd(fd) => Where::Fd(*fd),
        Bind::Named(name) => Where::Named(name.clone()),
    }
}
