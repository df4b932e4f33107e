//! The service manager: datagrams of `NAME=VALUE` lines to the socket that `NOTIFY_SOCKET` names (sd_notify(3)), and
//! its watchdog's interval (sd_watchdog_enabled(3)). Does not know the values.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::words;

/// The variables of the protocol. None of them is for a process that the server starts.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Reports to the service manager, if there is one.
#[derive(Debug)]
pub struct Announcer {
    ear: Option<Ear>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Ear {
    address: SocketAddr,
    /// The socket, unconnected: a manager that was started anew listens at the same address.
    socket: UnixDatagram,
}

/// The reason for which there is no service manager although the environment names one.
#[derive(Debug)]
pub enum AnnounceError {
    /// `NOTIFY_SOCKET` is neither a path nor an abstract name.
    Address(String),
    /// `WATCHDOG_USEC` is no time.
    Watchdog(String),
    /// The socket cannot be made.
    Socket(io::Error),
}

impl fmt::Display for AnnounceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnnounceError::Address(found) => {
                write!(f, "NOTIFY_SOCKET: expected an absolute path or @ and an abstract name, found {found:?}")
            }
            AnnounceError::Watchdog(found) => {
                write!(f, "WATCHDOG_USEC: expected a number of microseconds above 0, found {found:?}")
            }
            AnnounceError::Socket(error) => write!(f, "NOTIFY_SOCKET: {}", words(error)),
        }
    }
}

impl std::error::Error for AnnounceError {}

impl Announcer {
    /// Makes one without a service manager.
    pub fn silent() -> Announcer {
        Announcer { ear: None, watchdog: None }
    }

    /// Reads the environment of this process, whose id is `me`: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>, me: u32) -> Result<Announcer, AnnounceError> {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|text| !text.is_empty()) else {
            return Ok(Announcer::silent());
        };
        let socket = UnixDatagram::unbound().map_err(AnnounceError::Socket)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(AnnounceError::Socket)?;
        let address = parse(&address).ok_or(AnnounceError::Address(address))?;
        let is_for_me = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(me));
        let watchdog = match variable("WATCHDOG_USEC").filter(|_| is_for_me) {
            None => None,
            Some(text) => match text.parse() {
                Ok(micros @ 1..) => Some(Duration::from_micros(micros)),
                _ => return Err(AnnounceError::Watchdog(text)),
            },
        };
        Ok(Announcer { ear: Some(Ear { address, socket }), watchdog })
    }

    /// True if there is a service manager.
    pub fn is_heard(&self) -> bool {
        self.ear.is_some()
    }

    /// Returns the longest time between two `WATCHDOG=1`, if the manager expects them from this process.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends the lines as one datagram, so that they are taken together. Waits a moment for a manager that is behind.
    pub fn say(&self, lines: &[String]) -> io::Result<()> {
        let Some(ear) = &self.ear else { return Ok(()) };
        let text = lines.join("\n");
        loop {
            match ear.socket.send_to_addr(text.as_bytes(), &ear.address) {
                // A signal came, such as the end of a worker.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map(drop),
            }
        }
    }
}

/// Parses a path, or `@` and a name in Linux's abstract namespace (unix(7)).
fn parse(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => text.starts_with('/').then(|| SocketAddr::from_pathname(text).ok())?,
    }
}

/// systemd reads at once; the master's loop must not wait for a manager that does not.
const PATIENCE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn announcer(pairs: &[(&str, &str)]) -> Result<Announcer, AnnounceError> {
        let variable =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Announcer::from_environment(variable, 77)
    }

    #[test]
    fn without_an_address_there_is_no_service_manager() {
        for pairs in [&[][..], &[("NOTIFY_SOCKET", "")][..], &[("WATCHDOG_USEC", "1000")][..]] {
            let silent = announcer(pairs).unwrap();
            assert!(!silent.is_heard() && silent.watchdog().is_none());
            silent.say(&["READY=1".to_owned()]).unwrap();
        }
    }

    #[test]
    fn what_is_no_address_and_no_time_has_words() {
        for (pairs, words) in [
            (
                &[("NOTIFY_SOCKET", "vsock:2:1234")][..],
                "NOTIFY_SOCKET: expected an absolute path or @ and an abstract name, found \"vsock:2:1234\"",
            ),
            (
                &[("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", "0")][..],
                "WATCHDOG_USEC: expected a number of microseconds above 0, found \"0\"",
            ),
        ] {
            assert_eq!(announcer(pairs).unwrap_err().to_string(), words);
        }
        let long = format!("/{}", "x".repeat(200));
        assert!(announcer(&[("NOTIFY_SOCKET", &long)]).is_err());
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_is_named() {
        let of = |pid| announcer(&[("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", pid)]);
        assert_eq!(of("77").unwrap().watchdog(), Some(Duration::from_secs(2)));
        assert_eq!(of("78").unwrap().watchdog(), None);
    }

    #[test]
    fn lines_are_one_datagram_at_a_path_and_at_an_abstract_name() {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("notify");
        let name = format!("rwsgi-test-{}", std::process::id());
        for (address, ear) in [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap()),
        ] {
            let announcer = announcer(&[("NOTIFY_SOCKET", &address)]).unwrap();
            announcer.say(&["READY=1".to_owned(), "STATUS=serving".to_owned()]).unwrap();
            let mut bytes = [0; 100];
            let length = ear.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1\nSTATUS=serving", "{address}");
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_for_ever() {
        let name = format!("rwsgi-deaf-{}", std::process::id());
        let _ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let announcer = announcer(&[("NOTIFY_SOCKET", &format!("@{name}"))]).unwrap();
        let full = (0..100_000).find_map(|_| announcer.say(&["x".repeat(1000)]).err()).expect("it is full some time");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
