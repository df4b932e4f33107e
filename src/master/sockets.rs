//! What settings name in the world: addresses become listening sockets, directories are looked for before anything starts.

use super::{AnyError, Origins};
use crate::os;
use crate::os::listener::{ListenError, Listener, Where};
use crate::os::process::Identity;
use crate::settings::Settings;
use crate::settings::types::Bind;

/// Looks whether the directories that settings name are there: better now than with the first upload.
pub(super) fn check_directories(settings: &Settings, origins: &Origins) -> Result<(), AnyError> {
    let named = [
        ("chdir", &settings.chdir),
        ("worker_tmp_dir", &settings.worker_tmp_dir),
        ("error_pages", &settings.error_pages),
    ];
    for (name, path) in named {
        let Some(path) = path else { continue };
        // Relative to `chdir`, once that is entered.
        let path =
            settings.chdir.as_ref().filter(|_| name != "chdir").map_or_else(|| path.clone(), |base| base.join(path));
        let found = match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => "a file".to_owned(),
            Err(error) => os::words(&error),
        };
        return Err(origins.blame(name, &format!("{}: expected a directory, found {found}", path.display())));
    }
    Ok(())
}

/// Binds all addresses, or none.
pub(super) fn bind(settings: &Settings, identity: &Identity) -> Result<Vec<Listener>, ListenError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for bind in &settings.bind {
        match Listener::open(&place(bind, settings, identity), settings.backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                for listener in listeners {
                    listener.unlink();
                }
                return Err(error);
            }
        }
    }
    Ok(listeners)
}

/// Fails as [`bind`] would, as far as that can be told without binding: whether an address is free, it does not ask.
pub(super) fn check(settings: &Settings, identity: &Identity) -> Result<(), ListenError> {
    settings.bind.iter().try_for_each(|bind| Listener::check(&place(bind, settings, identity)))
}

fn place(bind: &Bind, settings: &Settings, identity: &Identity) -> Where {
    match bind {
        Bind::Tcp { host, port } => Where::Tcp { host: host.clone(), port: *port },
        Bind::Unix(path) => {
            let owner = identity.is_change().then(|| {
                let user = identity.user.as_ref().map_or_else(|| nix::unistd::geteuid().as_raw(), |(id, _)| *id);
                (user, identity.group.unwrap_or_else(|| nix::unistd::getegid().as_raw()))
            });
            Where::Unix { path: path.clone(), mode: Some(settings.socket_mode().0), owner }
        }
        Bind::Fd(fd) => Where::Fd(*fd),
        Bind::Named(name) => Where::Named(name.clone()),
    }
}
