//! A new master beside this one, on the same sockets: USR2, and the differences of a master that was started by another
//! one. Either may end; the other one continues alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use nix::unistd::{Pid, getppid};

use super::command_source::CommandSource;
use super::control::ControlSocket;
use super::sockets::BoundSocket;
use super::{AnyError, Generation, Master};
use crate::control::Answer;
use crate::message::{Inherited, Predecessor};
use crate::os::pidfile::{self, PidFile, PidFileError};
use crate::os::process::Exit;
use crate::os::reexec;

/// The other master, if there is one.
#[derive(Default)]
pub(super) struct OtherMaster {
    /// The master that started this one, and a descriptor that becomes readable when it is gone.
    old: Option<(Pid, OwnedFd)>,
    /// The master that this one started.
    new: Option<Pid>,
    /// The variables by which the service manager names this process.
    addressed: Vec<&'static str>,
}

impl OtherMaster {
    /// Returns the state of a master that was started by `predecessor`; of an ordinary one if that is not its parent,
    /// or gone already.
    pub(super) fn of(
        predecessor: Option<&Predecessor>,
        addressed: Vec<&'static str>,
        poll: &Poll,
    ) -> io::Result<OtherMaster> {
        let Some(pid) = predecessor.map(|old| Pid::from_raw(old.pid)).filter(|pid| *pid == getppid()) else {
            return Ok(OtherMaster { addressed, ..OtherMaster::default() });
        };
        let end = reexec::watch(pid)?;
        poll.registry().register(&mut SourceFd(&end.as_raw_fd()), OLD_MASTER, Interest::READABLE)?;
        Ok(OtherMaster { old: Some((pid, end)), new: None, addressed })
    }

    /// True if another master serves on these sockets.
    pub(super) fn is_there(&self) -> bool {
        self.old.is_some() || self.new.is_some()
    }

    /// True if this master was started by another one that still serves.
    pub(super) fn is_successor(&self) -> bool {
        self.old.is_some()
    }

    /// Returns the new master beside this one.
    pub(super) fn successor(&self) -> Option<Pid> {
        self.new
    }

    /// Returns the path for the pid file: beside the given one while an old master owns that.
    pub(super) fn pidfile(&self, path: &Path) -> PathBuf {
        if self.old.is_some() { PidFile::beside(path) } else { path.to_owned() }
    }

    /// Writes the pid file that the settings of a generation name, if they do.
    pub(super) fn write_pidfile(&self, generation: &Generation) -> Result<Option<PidFile>, PidFileError> {
        generation.settings.pidfile.as_deref().map(|path| PidFile::write(&self.pidfile(path))).transpose()
    }
}

/// The masters before and after this one, and the pid file, which names the one that serves.
pub(super) struct Succession {
    pub(super) other: OtherMaster,
    pub(super) pending: Option<PendingUpgrade>,
    pub(super) pidfile: Option<PidFile>,
}

/// A request for another master.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpgradeRequest {
    pub(super) by: CommandSource,
    /// The client of the control socket that waits for an answer, if it was one.
    pub(super) client: Option<usize>,
}

/// An upgrade that waits for the hook `pre_exec`.
pub(super) struct PendingUpgrade {
    wish: UpgradeRequest,
    /// The generation whose zygote calls it.
    generation: u64,
}

impl Master<'_> {
    /// Starts the program as it is now beside this master; after the hook `pre_exec`, if there is one.
    pub(super) fn upgrade(&mut self, wish: UpgradeRequest) {
        if let Some(why_not) = self.keeps_from_upgrade() {
            tracing::warn!(signal = wish.by.signal(), verb = wish.by.verb(), "{why_not}");
            self.answer_upgrade(wish, Err(why_not));
        } else if self.processes.asks_before_upgrade() {
            self.succession.pending = Some(PendingUpgrade { wish, generation: self.processes.current });
        } else {
            self.upgrade_now(wish);
        }
    }

    /// True if this generation's zygote calls `pre_exec`.
    pub(super) fn waits_for_pre_exec(&self, number: u64) -> bool {
        self.succession.pending.as_ref().is_some_and(|upgrading| upgrading.generation == number)
    }

    /// Continues an upgrade after `pre_exec`; `may` is false if it raised.
    pub(super) fn pre_exec_is_over(&mut self, may: bool) {
        let Some(PendingUpgrade { wish, .. }) = self.succession.pending.take() else { return };
        if may {
            return self.upgrade_now(wish);
        }
        let why_not = "no new master: the hook pre_exec has failed, the log says more".to_owned();
        tracing::error!("{why_not}");
        self.answer_upgrade(wish, Err(why_not));
    }

    fn keeps_from_upgrade(&self) -> Option<String> {
        if Pid::this().as_raw() == 1 {
            Some("no new master: the end of process 1 would end all others; start a new container".to_owned())
        } else if let Some(pid) = self.succession.other.new {
            Some(format!("no new master: there is one already, its pid is {pid}"))
        } else if self.succession.pending.is_some() {
            Some("no new master: one is about to be started, the hook pre_exec runs".to_owned())
        } else {
            let old = self.succession.other.old.as_ref();
            old.map(|(pid, _)| format!("no new master: the old one is still there, its pid is {pid}"))
        }
    }

    fn upgrade_now(&mut self, wish: UpgradeRequest) {
        let (signal, verb) = (wish.by.signal(), wish.by.verb());
        let started = self.start_successor();
        match &started {
            Ok(pid) => {
                tracing::info!(signal, verb, new = pid.as_raw(), "new master started");
                self.succession.other.new = Some(*pid);
            }
            Err(error) => tracing::error!(signal, verb, %error, "new master not started"),
        }
        self.answer_upgrade(wish, started.map_err(|error| format!("new master not started: {error}")));
    }

    fn answer_upgrade(&mut self, wish: UpgradeRequest, outcome: Result<Pid, String>) {
        let Some(client) = wish.client else { return };
        let answer = match outcome {
            Ok(pid) => Answer::Done(format!("new master started beside this one, its pid is {pid}")),
            Err(why) => Answer::Refused(why),
        };
        self.requests.socket.answer(client, &answer);
    }

    fn start_successor(&self) -> Result<Pid, AnyError> {
        let identity = &self.processes.in_charge().identity;
        if identity.is_change() {
            // The new master runs as root.
            let judged = self.startup.command_line.programs().iter().try_for_each(|file| identity.distrust(file));
            judged.map_err(|untrusted| format!("{untrusted}\nhint: {}", untrusted.hint()))?;
        }
        let sockets = &self.processes.in_charge().sockets;
        let named = |socket: &Rc<BoundSocket>| Inherited { fd: socket.listener.as_raw_fd(), at: socket.name() };
        let predecessor = Predecessor { pid: Pid::this().as_raw(), sockets: sockets.iter().map(named).collect() };
        let fds: Vec<_> = sockets.iter().map(|socket| socket.listener.as_fd()).collect();
        let mut variables = vec![(Predecessor::VARIABLE, serde_json::to_string(&predecessor)?)];
        // The values of the service manager are meant for the new master as well, which is given this one's pid.
        variables.extend(self.succession.other.addressed.iter().map(|name| (*name, Pid::this().to_string())));
        Ok(self.startup.command_line.start(&variables, &fds)?)
    }

    /// True if this process was the new master. This one continues alone then.
    pub(super) fn is_successor(&mut self, pid: Pid, exit: Exit) -> bool {
        let is_it = self.succession.other.new == Some(pid);
        if is_it {
            tracing::warn!(new = pid.as_raw(), by = %exit, "new master ended, this one stays");
            self.succession.other.new = None;
            // A master that was killed could not remove its file.
            if let Some(file) = &self.succession.pidfile {
                pidfile::remove_of(&PidFile::beside(file.path()), pid.as_raw());
            }
        }
        is_it
    }

    /// Takes over from an old master that is gone.
    pub(super) fn take_over(&mut self) {
        let Some((old, end)) = self.succession.other.old.take() else { return };
        let _ = self.poll.registry().deregister(&mut SourceFd(&end.as_raw_fd()));
        tracing::info!(old = old.as_raw(), "the old master is gone, this one stays");
        let beside = self.succession.pidfile.take();
        match self.succession.other.write_pidfile(self.processes.in_charge()) {
            Ok(written) => self.succession.pidfile = written,
            Err(error) => tracing::error!(%error, "pid file not written"),
        }
        if let Some(beside) = beside {
            beside.remove();
        }
        self.service_manager.take_turn();
        let Generation { settings, origins, .. } = self.processes.in_charge();
        match ControlSocket::open(settings, origins, self.poll.registry(), &self.startup.directories) {
            Ok(control) => self.requests.socket = control,
            Err(error) => tracing::error!(%error, "no control socket"),
        }
    }
}

/// The token of an old master's end.
pub(super) const OLD_MASTER: Token = Token(1);
