//! A generation from the master's side: one reading of the settings, the files and sockets opened for it, and its
//! zygote. The supervisor decides when it begins and ends.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::log_files::LogFiles;
use super::sockets::{self, BoundSocket};
use super::zygote::Zygote;
use super::{AnyError, Hooks, Origins, ResolvedSettings, certificates};
use crate::message::{self, BUILD_ID, Occasion, Remotes, Reopen, Start, Streams, ToZygote};
use crate::os::channel::Channel;
use crate::os::identity::{Identity, IdentityError};
use crate::os::limits;
use crate::os::place;
use crate::os::process;
use crate::os::scoreboard::{MAX_SLOTS, Scoreboard, Slot};
use crate::os::std_streams;
use crate::settings::{Defined, ReloadOrder, Settings, Workers};
use crate::supervisor::{Moment, Plan, Scaling};

/// One reading of the settings, and the resources opened for it.
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) settings: Settings,
    pub(super) origins: Origins,
    pub(super) identity: Identity,
    /// The configuration file, if it is in TOML and can be read again.
    file: Option<(String, PathBuf)>,
    board: Scoreboard,
    board_file: OwnedFd,
    pub(super) log_files: LogFiles,
    /// The outputs of the logs beside their files.
    pub(super) remotes: Remotes,
    /// Settings with hosts that were not found, of which the log has warned.
    pub(super) unfound: BTreeSet<&'static str>,
    /// Certificates and keys, as a sealed file.
    tls: Option<OwnedFd>,
    /// The sockets, bound when the first zygote has found its Python.
    pub(super) sockets: Vec<Rc<BoundSocket>>,
    pub(super) zygote: Option<Zygote>,
    pub(super) hooks: Hooks,
    /// The file in which the hooks keep the attributes that they set on `server`.
    pub(super) memory: Option<OwnedFd>,
}

/// The descriptors and values that a zygote gets for its hooks.
#[derive(Default)]
pub(super) struct HookDescriptors {
    /// The memory of the generation before.
    pub(super) memory_before: Option<OwnedFd>,
    /// The hook process's end of its channel.
    pub(super) hook_process: Option<Channel>,
    pub(super) workers_before: Option<usize>,
}

impl Generation {
    /// Looks up and opens everything that the settings name, except the sockets. `open_logs` opens the log files; a
    /// check passes one that opens none.
    pub(super) fn new(
        number: u64,
        reading: ResolvedSettings,
        open_logs: impl FnOnce(&Settings, &Origins, &Identity) -> Result<LogFiles, AnyError>,
    ) -> Result<Generation, AnyError> {
        let ResolvedSettings { mut settings, origins, file } = reading;
        let workers = settings.first_workers(process::usable_cpus());
        settings.workers = Workers::Count(u32::try_from(workers).unwrap_or(u32::MAX));
        settings.app()?;
        sockets::check_directories(&settings, &origins)?;
        check_watched(&settings, &origins)?;
        let identity = look_up(&settings, &origins)?;
        check_file(file.as_ref(), &identity)?;
        place::suspect(&identity);
        let log_files = open_logs(&settings, &origins, &identity)?;
        sockets::warn_of_memory(&settings, &origins);
        let tls = certificates::read(&settings, &origins)?;
        let (board, board_file) = Scoreboard::create(room(&settings) * settings.threads())?;
        Ok(Generation {
            number,
            settings,
            origins,
            identity,
            file,
            board,
            board_file,
            log_files,
            remotes: Remotes::default(),
            unfound: BTreeSet::new(),
            tls,
            sockets: Vec::new(),
            zygote: None,
            hooks: Hooks::default(),
            memory: None,
        })
    }

    /// Fails if the user of this generation's application could have changed the file that the next one is read from.
    pub(super) fn check_file(&self) -> Result<(), AnyError> {
        check_file(self.file.as_ref(), &self.identity)
    }

    /// Takes the hooks of the file that the settings come from.
    pub(super) fn take_hooks(&mut self, defined: Option<&Defined>) -> Result<(), AnyError> {
        self.hooks = defined.map(Hooks::of).unwrap_or_default();
        self.memory = self.hooks.memory()?;
        Ok(())
    }

    /// Returns the values that the supervisor decides by.
    pub(super) fn plan(&self) -> Plan {
        let settings = &self.settings;
        let workers = settings.workers.number(1);
        let step = usize::try_from(settings.reload_step).unwrap_or(usize::MAX);
        let scaling = settings.worker_bounds(1).map(|(least, most)| Scaling {
            least,
            most,
            step: usize::try_from(settings.workers_step).unwrap_or(usize::MAX),
            busy: settings.busyness_max,
            quiet: settings.busyness_min,
            calm: settings.workers_cooldown.duration(),
        });
        Plan {
            workers,
            scaling,
            die_on_idle: settings.dies_on_idle(),
            timeout: settings.kill_after(),
            graceful_timeout: settings.graceful_timeout.duration(),
            shutdown_delay: settings.shutdown_delay.duration(),
            boot_timeout: settings.boot_timeout.limit().unwrap_or(FOR_EVER),
            step: if step == 0 { (workers / 10).max(1) } else { step },
            stop_first: settings.reload_order == ReloadOrder::StopFirst,
            room: room(settings),
        }
    }

    /// Returns the fewest and the most workers that may be requested: up to the limit of the settings, each with room
    /// for a replacement; with scaling by load, within its bounds.
    pub(super) fn worker_range(&self) -> (usize, usize) {
        let most = (room(&self.settings) / 2).clamp(1, Workers::MOST as usize);
        self.settings.worker_bounds(1).map_or((1, most), |(least, scaled)| (least.min(most), scaled.min(most)))
    }

    /// Tells the zygote what to serve.
    pub(super) fn start(
        &self,
        arguments: &[String],
        occasion: Occasion,
        check: bool,
        hooks: &HookDescriptors,
    ) -> Result<(), AnyError> {
        let Some(zygote) = &self.zygote else { return Ok(()) };
        let start = Start {
            build: BUILD_ID.to_owned(),
            settings: self.settings.clone(),
            arguments: arguments.to_owned(),
            occasion,
            generation: self.number,
            master: Pid::this().as_raw(),
            files_of_programs: limits::for_programs(),
            check,
            identity: self.identity.clone(),
            listeners: self.sockets.len(),
            error_log: self.log_files.error.is_some(),
            access_log: self.log_files.access.is_some(),
            hooks: message::ForHooks {
                memory: self.memory.is_some(),
                memory_before: hooks.memory_before.is_some(),
                hook_process: hooks.hook_process.is_some(),
                workers_before: hooks.workers_before,
            },
            streams: if std_streams::kept().is_some() { Streams::Sent } else { Streams::Own },
            remotes: self.remotes.clone(),
        };
        let fds: Vec<_> = [self.board_file.as_fd()]
            .into_iter()
            .chain(self.sockets.iter().map(|socket| socket.listener.as_fd()))
            .chain(self.log_files.files())
            .chain(self.tls.iter().map(AsFd::as_fd))
            .chain(self.memory.as_ref().map(AsFd::as_fd))
            .chain(hooks.memory_before.as_ref().map(AsFd::as_fd))
            .chain(hooks.hook_process.as_ref().map(AsFd::as_fd))
            .chain(std_streams::kept().into_iter().flatten().map(AsFd::as_fd))
            .collect();
        Ok(zygote.channel.say(&ToZygote::Start(Box::new(start)), &fds)?)
    }

    /// Sets the limit of open files for this process and its children.
    pub(super) fn limit_files(&self) -> Result<(), AnyError> {
        limits::open_files(Some(self.settings.limit_nofile).filter(|files| *files > 0))
            .map_err(|error| self.origins.blame("limit_nofile", &crate::os::words(&error)))
    }

    /// Returns the scoreboard slots of the threads of a worker.
    pub(super) fn threads_of(&self, slot: usize) -> impl Iterator<Item = Slot> {
        let threads = self.settings.threads();
        let first = slot.saturating_mul(threads);
        (first..first.saturating_add(threads)).filter_map(|number| self.board.slot(number))
    }

    /// Returns the slot of the thread whose request is due first among those of a worker; `None` when no thread runs
    /// one.
    pub(super) fn oldest_request(&self, slot: usize) -> Option<Slot> {
        let busy = self.threads_of(slot).filter_map(|slot| slot.counts_from().map(|from| (from, slot)));
        busy.min_by_key(|(from, _)| *from).map(|(_, slot)| slot)
    }

    /// Returns the slot of a thread whose request has exceeded its time. Other threads may have waited longer for the
    /// GIL: they were there when the request began.
    pub(super) fn late_request(&self, slot: usize, now: Moment) -> Option<Slot> {
        let limit = now.saturating_sub(self.settings.timeout.duration());
        let is_late = |thread: &Slot| {
            let from = thread.busy_since().and_then(|_| thread.counts_from());
            from.is_some_and(|from| Duration::from_nanos(from) <= limit)
        };
        self.threads_of(slot).find(is_late)
    }

    /// Reopens the log files and passes them on to the zygote, for the workers to come.
    pub(super) fn reopen(&mut self) -> Result<Reopen, AnyError> {
        self.log_files = LogFiles::open(&self.settings, &self.origins, &self.identity)?;
        let reopen = self.log_files.reopen();
        if let Some(zygote) = self.zygote.as_ref().filter(|zygote| zygote.is_listening()) {
            zygote.channel.say(&ToZygote::Reopen(reopen), &self.log_files.files().collect::<Vec<_>>())?;
        }
        Ok(reopen)
    }

    /// Draws the number of requests after which a worker is to be replaced; 0 is never.
    pub(super) fn draw_max_requests(&self) -> u64 {
        match self.settings.max_requests {
            0 => 0,
            most => most.saturating_add(random_up_to(self.settings.max_requests_jitter)),
        }
    }

    /// Draws the lifetime of a worker, if there is a limit.
    pub(super) fn draw_lifetime(&self) -> Option<Duration> {
        let jitter = u64::try_from(self.settings.max_worker_lifetime_jitter.duration().as_millis()).unwrap_or(u64::MAX);
        let limit = self.settings.max_worker_lifetime.limit()?;
        Some(limit + Duration::from_millis(random_up_to(jitter)))
    }

    /// Kills its zygote.
    pub(super) fn kill_zygote(&self) {
        if let Some(zygote) = self.zygote.as_ref().filter(|zygote| !zygote.stays) {
            let _ = process::signal(zygote.pid, Signal::SIGKILL);
        }
    }
}

/// Returns the number of workers that a generation has room for: those wanted, their replacements, those that are
/// ending, and those that TTIN adds. Pages of a scoreboard that are never written take no memory.
fn room(settings: &Settings) -> usize {
    (MAX_SLOTS / settings.threads().max(1)).clamp(1, MOST_ROOM)
}

/// Checks that the watched files exist, except patterns.
fn check_watched(settings: &Settings, origins: &Origins) -> Result<(), AnyError> {
    let directory = settings.chdir.as_deref().unwrap_or(Path::new(""));
    let is_pattern = |file: &Path| file.to_string_lossy().contains(['*', '?', '[']);
    for file in settings.reload_extra_files.iter().filter(|file| settings.reload && !is_pattern(file)) {
        std::fs::metadata(directory.join(file)).map_err(|error| {
            origins.blame("reload_extra_files", &format!("{}: {}", file.display(), crate::os::words(&error)))
        })?;
    }
    Ok(())
}

fn random_up_to(most: u64) -> u64 {
    match most.checked_add(1) {
        Some(1) => 0,
        Some(count) => process::random() % count,
        None => process::random(),
    }
}

/// Fails if the application's user can change a configuration file, by which the master acts with rights of its own.
fn check_file(file: Option<&(String, PathBuf)>, identity: &Identity) -> Result<(), AnyError> {
    let Some((place, file)) = file.filter(|_| identity.is_change()) else { return Ok(()) };
    identity.distrust(file).map_err(|untrusted| {
        let (file, found, user) = (file.display(), untrusted.found.display(), untrusted.user);
        let words = format!(
            "{place}: {file}: expected a file that the application's user cannot change, since the master acts by it as \
             root; found {found}, which user {user} can change\nhint: `chown root {found}` and `chmod go-w {found}`"
        );
        words.into()
    })
}

fn look_up(settings: &Settings, origins: &Origins) -> Result<Identity, AnyError> {
    Identity::look_up(settings.user.as_deref(), settings.group.as_deref()).map_err(|error| match error {
        IdentityError::NoUser(_) => origins.blame("user", &error),
        IdentityError::NoGroup(_) => origins.blame("group", &error),
        IdentityError::Database(_) => error.into(),
    })
}

/// Four times the most workers that the settings take.
const MOST_ROOM: usize = 4096;
/// A limit that is none: a hundred years.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
