//! From the setting `bind` to listening sockets.

use crate::os::listener::{ListenError, Listener, Where};
use crate::os::process::Identity;
use crate::settings::Settings;
use crate::settings::types::Bind;

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
    }
}
