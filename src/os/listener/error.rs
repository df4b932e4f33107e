//! The reasons for which a socket does not listen, in words. Looks at nothing.

use std::fmt;

use nix::errno::Errno;

use super::Where;

/// An address that was to be bound, and the reason why it is not. Displays as `bind WHERE: cause`, with a `hint:` line
/// where there is a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// The address as it was asked for.
    pub at: Where,
    /// The reason.
    pub cause: Cause,
}

/// The reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another process has the TCP port.
    InUse {
        /// The port.
        port: u16,
    },
    /// The kernel denies the port to this user.
    PortDenied {
        /// The port.
        port: u16,
    },
    /// No interface of this machine has the IP address.
    NotAvailable,
    /// The host name has no address; the resolver's words.
    Unresolvable(String),
    /// Another process listens on the socket file.
    Served,
    /// The path is of another kind of file, named here.
    NotASocket(&'static str),
    /// The directory of the socket file does not exist.
    NoDirectory,
    /// This user may not make, or not use, the socket file.
    PathDenied,
    /// The path of the socket file is longer than `sun_path`; its length in bytes.
    PathTooLong(usize),
    /// The path of the socket file has a zero byte, or is empty.
    PathInvalid,
    /// The socket file may not be given to this user and group.
    OwnerDenied {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// This process has no such descriptor.
    NotOpen,
    /// No socket was passed under this name.
    NotPassed,
    /// The descriptor is something else, named here.
    NotStream(&'static str),
    /// The socket does not listen.
    NotListening,
    /// Any other refusal of the kernel.
    Kernel {
        /// The step.
        doing: &'static str,
        /// The kernel's error.
        errno: Errno,
    },
}

impl Cause {
    pub(super) fn kernel(doing: &'static str, errno: Errno) -> Cause {
        Cause::Kernel { doing, errno }
    }

    /// Returns the remedy, where there is one.
    fn hint(&self) -> Option<String> {
        Some(match self {
            Cause::InUse { port } => {
                format!("another process listens there; \"ss -ltnp 'sport = :{port}'\" shows which")
            }
            Cause::PortDenied { port } => format!(
                "ports below 1024 are root's: start as root and set user, or allow it by \"setcap cap_net_bind_service=+ep\", or take a port above 1023 in place of {port}"
            ),
            Cause::NotAvailable => {
                "\"ip address\" shows the addresses of this machine; 0.0.0.0 and [::] are all of them".into()
            }
            Cause::Unresolvable(_) => "give an address of this machine, for example 127.0.0.1, or 0.0.0.0 for all".into(),
            Cause::Served => "stop that process first; \"ss -lxp\" shows which it is".into(),
            Cause::NotASocket(_) => "remove it, or choose another path; only stale sockets are removed".into(),
            Cause::NoDirectory => "make the directory first, writable by the user that starts the server".into(),
            Cause::PathDenied => "the user that starts the server needs write permission in the directory, and on a socket that is there already".into(),
            Cause::PathTooLong(_) => "choose a shorter path, for example below /run".into(),
            Cause::OwnerDenied { .. } => "only root may give files away; start as root, or leave the owner out".into(),
            Cause::NotOpen | Cause::NotStream(_) | Cause::NotListening => {
                "fd://N is for a socket that the parent process opened, for example by systemd's ListenStream=, which passes 3 and up".into()
            }
            Cause::NotPassed => "systemd passes a socket under the FileDescriptorName= of its unit, or under the unit's own name, for example rwsgi.socket; LISTEN_FDNAMES has the names".into(),
            Cause::PathInvalid | Cause::Kernel { .. } => return None,
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::InUse { .. } => f.write_str("address already in use"),
            Cause::PortDenied { .. } | Cause::PathDenied => f.write_str("permission denied"),
            Cause::NotAvailable => f.write_str("expected an address of this machine, found none of its own"),
            Cause::Unresolvable(words) => write!(f, "host name not found: {words}"),
            Cause::Served => f.write_str("already served by another process"),
            Cause::NotASocket(found) => write!(f, "expected a socket or nothing, found {found}"),
            Cause::NoDirectory => f.write_str("no such directory"),
            Cause::PathTooLong(length) => {
                write!(f, "expected a path of at most {MAX_PATH} bytes, found {length}")
            }
            Cause::PathInvalid => f.write_str("expected a path, found an empty one or a zero byte in it"),
            Cause::OwnerDenied { uid, gid } => {
                write!(f, "giving the socket to user {uid} and group {gid}: permission denied")
            }
            Cause::NotOpen => f.write_str("expected a listening socket, found no open descriptor of this number"),
            Cause::NotPassed => f.write_str("expected a socket that was passed under this name, found none"),
            Cause::NotStream(found) => write!(f, "expected a listening TCP or unix stream socket, found {found}"),
            Cause::NotListening => f.write_str("expected a listening socket, found one that does not listen"),
            Cause::Kernel { doing, errno } => write!(f, "{doing}: {}", errno.desc().to_lowercase()),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bind {}: {}", self.at, self.cause)?;
        self.cause.hint().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for ListenError {}

/// `sun_path` less its closing zero byte (unix(7)).
pub(super) const MAX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::super::tests::{tcp, unix};
    use super::*;

    #[test]
    fn a_place_is_written_as_in_settings() {
        let cases = [
            (tcp("127.0.0.1", 80), "127.0.0.1:80"),
            (tcp("::1", 80), "[::1]:80"),
            (tcp("[::1]", 80), "[::1]:80"),
            (tcp("", 80), ":80"),
            (unix("/run/app.sock"), "unix:/run/app.sock"),
            (Where::Fd(3), "fd://3"),
        ];
        for (at, expected) in cases {
            assert_eq!(at.to_string(), expected);
        }
    }

    #[test]
    fn what_root_cannot_provoke_has_words_too() {
        let cases = [
            (
                tcp("0.0.0.0", 80),
                Cause::PortDenied { port: 80 },
                "bind 0.0.0.0:80: permission denied\nhint: ports below 1024",
            ),
            (unix("/run/a"), Cause::PathDenied, "bind unix:/run/a: permission denied\nhint: the user that starts"),
            (
                tcp("h", 1),
                Cause::kernel("socket", Errno::EAFNOSUPPORT),
                "bind h:1: socket: address family not supported by protocol",
            ),
        ];
        for (at, cause, expected) in cases {
            let text = ListenError { at, cause }.to_string();
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
