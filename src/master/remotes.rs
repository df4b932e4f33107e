//! Where syslog and statsd are: names of hosts are looked up once, by the master, for all processes of a generation. What
//! cannot be found is warned of and left out: a server does not stay down because nobody counts its requests.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::Origins;
use crate::log;
use crate::message::{Place, Remotes, Statsd, Syslog};
use crate::os::{self, thread};
use crate::settings::Settings;
use crate::settings::types::{HostPort, StatsdHost, SyslogAddress, UnixKind};

/// What the settings name.
pub(super) fn look_up(settings: &Settings, origins: &Origins) -> Remotes {
    let say = |name: &'static str, found: io::Result<Place>| {
        found.inspect_err(|error| tracing::warn!("{}", origins.blame(name, &os::words(error)))).ok()
    };
    let syslog = settings.syslog.then(|| say("syslog_addr", syslog_place(&settings.syslog_addr))).flatten();
    let statsd = settings.statsd_host.as_ref().and_then(|host| say("statsd_host", statsd_place(host)));
    Remotes {
        syslog: syslog.map(|place| Syslog {
            place,
            name: settings.syslog_prefix.clone().unwrap_or_else(|| settings.title().replace(':', ".")),
            facility: settings.syslog_facility.code(),
            has_access: !settings.disable_redirect_access_to_syslog,
        }),
        statsd: statsd.map(|place| Statsd {
            place,
            prefix: match settings.statsd_prefix.trim_end_matches('.') {
                "" => String::new(),
                prefix => format!("{prefix}."),
            },
            tags: settings.dogstatsd_tags.clone(),
        }),
    }
}

/// Makes them this process's.
pub(super) fn take(remotes: &Remotes) {
    if let Err(error) = log::connect(remotes) {
        tracing::warn!(%error, "no socket for syslog or statsd");
    }
}

fn syslog_place(address: &SyslogAddress) -> io::Result<Place> {
    Ok(match address {
        SyslogAddress::Udp(to) => Place::Udp(resolve(to)?),
        SyslogAddress::Tcp(to) => Place::Tcp(resolve(to)?),
        SyslogAddress::Unix(path, UnixKind::Datagram) => Place::UnixDatagrams(path.clone()),
        SyslogAddress::Unix(path, UnixKind::Stream) => Place::UnixStream(path.clone()),
        SyslogAddress::Unix(path, UnixKind::Any) => {
            warn_of_absent(path);
            let is_stream = UnixDatagram::unbound()?
                .connect(path)
                .is_err_and(|error| error.raw_os_error() == Some(libc::EPROTOTYPE));
            if is_stream { Place::UnixStream(path.clone()) } else { Place::UnixDatagrams(path.clone()) }
        }
    })
}

fn statsd_place(host: &StatsdHost) -> io::Result<Place> {
    Ok(match host {
        StatsdHost::Udp(to) => Place::Udp(resolve(to)?),
        StatsdHost::Unix(path) => {
            warn_of_absent(path);
            Place::UnixDatagrams(path.clone())
        }
    })
}

/// It may come later; what is sent until then is lost.
fn warn_of_absent(path: &Path) {
    if !path.metadata().is_ok_and(|file| file.file_type().is_socket()) {
        tracing::warn!(path = %path.display(), "nobody listens on this socket yet");
    }
}

/// The first address of a host. A name server that does not answer is not waited for.
fn resolve(to: &HostPort) -> io::Result<SocketAddr> {
    let (host, port) = (to.host.clone(), to.port);
    if let Ok(address) = host.parse() {
        return Ok(SocketAddr::new(address, port));
    }
    let (found, wait) = mpsc::channel();
    let name = host.clone();
    thread::start("rwsgi-resolve", move || {
        // Nobody may wait for it any more.
        let _ = found.send((name.as_str(), port).to_socket_addrs().map(|mut all| all.next()));
    })?;
    let answer =
        wait.recv_timeout(PATIENCE).map_err(|_| io::Error::other(format!("{host}: no name server answers")))?;
    let found = answer.map_err(|error| io::Error::other(format!("{host}: {error}")))?;
    found.ok_or_else(|| io::Error::other(format!("{host}: no address")))
}

/// Resolvers ask again after 5 s by default; whoever is there has answered long before.
const PATIENCE: Duration = Duration::from_secs(2);
