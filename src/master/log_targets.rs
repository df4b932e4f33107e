//! Addresses of syslog and statsd: the master looks up the names of hosts for all processes of a generation, in threads
//! that nothing waits for. A name that is not found is logged and tried again: a server starts without its metrics.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::{Registry, Token, Waker};

use super::{CLIENTS, Generation, Master, Origins, Processes};
use crate::log;
use crate::message::{Place, Remotes, Statsd, Syslog, ToWorker, ToZygote};
use crate::os::{self, thread};
use crate::settings::Settings;
use crate::settings::types::{HostPort, StatsdHost, SyslogAddress, UnixKind};

/// Lookups of names under way.
pub(super) struct Lookups {
    answers: mpsc::Receiver<LookupResult>,
    context: LookupContext,
}

/// The values that a lookup thread shares with the master.
#[derive(Clone)]
struct LookupContext {
    answer: mpsc::Sender<LookupResult>,
    waker: Arc<Waker>,
    /// The generation for which names were looked up last; earlier ones do not need theirs.
    newest: Arc<AtomicU64>,
}

/// The result of a lookup.
struct LookupResult {
    generation: u64,
    setting: &'static str,
    outcome: Result<Place, String>,
}

/// A name to look up.
struct HostLookup {
    generation: u64,
    setting: &'static str,
    to: HostPort,
    kind: fn(SocketAddr) -> Place,
}

impl Lookups {
    /// Starts those of the first generation, except for a check. `registry` is woken by each result.
    pub(super) fn of_first(first: &mut Generation, check: bool, registry: &Registry) -> io::Result<Lookups> {
        let (answer, answers) = mpsc::channel();
        let waker = Arc::new(Waker::new(registry, LOOKED_UP)?);
        let lookups = Lookups { answers, context: LookupContext { answer, waker, newest: Arc::default() } };
        if !check {
            first.remotes = lookups.begin(first.number, &first.settings, &first.origins);
            take(&first.remotes);
        }
        Ok(lookups)
    }

    /// Returns the addresses that the settings name. Names of hosts are resolved later.
    pub(super) fn begin(&self, generation: u64, settings: &Settings, origins: &Origins) -> Remotes {
        self.context.newest.store(generation, Ordering::Relaxed);
        let host = &|setting, to: &HostPort, kind: fn(SocketAddr) -> Place| {
            if let Ok(address) = to.host.parse() {
                return Ok(kind(SocketAddr::new(address, to.port)));
            }
            self.context.clone().start(HostLookup { generation, setting, to: to.clone(), kind })?;
            Ok(Place::Awaited(to.host.clone(), to.port))
        };
        let say = |setting: &'static str, found: io::Result<Place>| {
            found.inspect_err(|error| tracing::warn!("{}", origins.blame(setting, &os::words(error)))).ok()
        };
        let syslog = settings.syslog.then(|| say(SYSLOG, syslog_place(&settings.syslog_addr, host))).flatten();
        let statsd = settings.statsd_host.as_ref().and_then(|place| say(STATSD, statsd_place(place, host)));
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
}

impl LookupContext {
    fn start(self, name: HostLookup) -> io::Result<()> {
        thread::start_large("rwsgi-resolve", move || self.look_up(&name))
    }

    /// Repeats the lookup until it succeeds, or a newer generation begins.
    fn look_up(&self, name: &HostLookup) {
        let HostLookup { generation, setting, to, kind } = name;
        while self.newest.load(Ordering::Relaxed) <= *generation {
            let outcome = resolve(to).map(kind);
            let is_found = outcome.is_ok();
            if self.answer.send(LookupResult { generation: *generation, setting, outcome }).is_err() {
                return;
            }
            let _ = self.waker.wake();
            if is_found {
                return;
            }
            let again = Instant::now() + AGAIN;
            while let Some(left) = again.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
        }
    }
}

impl Generation {
    /// Records the address of the host of a setting.
    fn note_place(&mut self, setting: &str, place: Place) {
        let Remotes { syslog, statsd } = &mut self.remotes;
        match (syslog, statsd) {
            (Some(syslog), _) if setting == SYSLOG => syslog.place = place,
            (_, Some(statsd)) if setting == STATSD => statsd.place = place,
            _ => {}
        }
    }
}

impl Processes {
    /// Tells every process of a generation the outputs of the logs beside their files.
    fn connect(&mut self, number: u64) {
        let Generation { remotes, zygote, .. } = &self.generations[&number];
        // A zygote that does not listen yet is told with its start message.
        if let Some(zygote) = zygote.as_ref().filter(|zygote| zygote.is_listening()) {
            if let Err(error) = zygote.channel.say(&ToZygote::Connect(remotes.clone()), &[]) {
                tracing::error!(%error, "zygote not told of syslog and statsd");
            }
        }
        for slot in self.workers.of_generation(number) {
            if let Err(error) = self.workers.say(slot, &ToWorker::Connect(remotes.clone()), &[]) {
                tracing::error!(slot, %error, "worker not told of syslog and statsd");
            }
        }
        if number == self.current {
            take(remotes);
        }
    }
}

impl Master<'_> {
    /// Passes on the results of lookups.
    pub(super) fn take_looked_up(&mut self) {
        while let Ok(LookupResult { generation: number, setting, outcome }) = self.lookups.answers.try_recv() {
            let Some(generation) = self.processes.generations.get_mut(&number) else { continue };
            match outcome {
                Ok(place) => {
                    generation.note_place(setting, place);
                    self.processes.connect(number);
                }
                Err(error) if generation.unfound.insert(setting) => {
                    tracing::warn!("{}; context again every minute", generation.origins.blame(setting, &error));
                }
                Err(_) => {}
            }
        }
    }
}

/// Makes them those of this process.
pub(super) fn take(remotes: &Remotes) {
    if let Err(error) = log::connect(remotes) {
        tracing::warn!(%error, "no socket for syslog or statsd");
    }
}

/// Returns the address of a host, as far as it is known at once.
type Host<'a> = &'a dyn Fn(&'static str, &HostPort, fn(SocketAddr) -> Place) -> io::Result<Place>;

fn syslog_place(address: &SyslogAddress, host: Host<'_>) -> io::Result<Place> {
    Ok(match address {
        SyslogAddress::Udp(to) => host(SYSLOG, to, Place::Udp)?,
        SyslogAddress::Tcp(to) => host(SYSLOG, to, Place::Tcp)?,
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

fn statsd_place(place: &StatsdHost, host: Host<'_>) -> io::Result<Place> {
    Ok(match place {
        StatsdHost::Udp(to) => host(STATSD, to, Place::Udp)?,
        StatsdHost::Unix(path) => {
            warn_of_absent(path);
            Place::UnixDatagrams(path.clone())
        }
    })
}

/// Warns of a socket without a listener. It may be created later; lines are lost until then.
fn warn_of_absent(path: &Path) {
    if !path.metadata().is_ok_and(|file| file.file_type().is_socket()) {
        tracing::warn!(path = %path.display(), "no process listens on this socket yet");
    }
}

/// Returns the first address of a host.
fn resolve(to: &HostPort) -> Result<SocketAddr, String> {
    let HostPort { host, port } = to;
    let mut found = (host.as_str(), *port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    found.next().ok_or_else(|| format!("{host}: no address"))
}

/// The settings that name hosts.
const SYSLOG: &str = "syslog_addr";
const STATSD: &str = "statsd_host";
/// The token of a lookup's result.
const LOOKED_UP: Token = Token(CLIENTS - 2);
/// The time until a failed lookup is repeated. Name servers mostly cache a refusal for longer.
const AGAIN: Duration = Duration::from_secs(60);
