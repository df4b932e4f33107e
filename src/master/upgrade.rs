//! A new master beside this one, on the same sockets: USR2, and what the new one does differently. Either may end; the one
//! that stays goes on alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use nix::unistd::{Pid, getppid};

use super::sockets::Socket;
use super::{AnyError, Generation, Master};
use crate::message::{Inherited, Predecessor};
use crate::os::pidfile::{PidFile, PidFileError};
use crate::os::process::Exit;
use crate::os::successor;

/// The other master, if there is one.
#[derive(Default)]
pub(super) struct Other {
    /// The one that this one was started by, and what becomes readable when that is gone.
    old: Option<(Pid, OwnedFd)>,
    /// The one that this one started.
    new: Option<Pid>,
}

impl Other {
    /// Of a master that was started by `predecessor`; of an ordinary one if that is not its parent, or gone already.
    pub(super) fn of(predecessor: Option<&Predecessor>, poll: &Poll) -> io::Result<Other> {
        let Some(pid) = predecessor.map(|old| Pid::from_raw(old.pid)).filter(|pid| *pid == getppid()) else {
            return Ok(Other::default());
        };
        let end = successor::watch(pid)?;
        poll.registry().register(&mut SourceFd(&end.as_raw_fd()), OLD_MASTER, Interest::READABLE)?;
        Ok(Other { old: Some((pid, end)), new: None })
    }

    /// Does another master serve on these sockets?
    pub(super) fn is_there(&self) -> bool {
        self.old.is_some() || self.new.is_some()
    }

    /// While an old master has the pid file, a new one writes its own beside it.
    pub(super) fn pidfile(&self, path: &Path) -> PathBuf {
        let mut path = path.as_os_str().to_owned();
        if self.old.is_some() {
            path.push(".2");
        }
        path.into()
    }

    /// Writes the pid file that the settings of a generation name, if they do.
    pub(super) fn write_pidfile(&self, generation: &Generation) -> Result<Option<PidFile>, PidFileError> {
        generation.settings.pidfile.as_deref().map(|path| PidFile::write(&self.pidfile(path))).transpose()
    }
}

impl Master<'_> {
    /// Starts the program as it is now beside this master.
    pub(super) fn upgrade(&mut self, signal: &'static str) {
        if Pid::this().as_raw() == 1 {
            tracing::warn!(signal, "no new master: the end of process 1 would end all others; start a new container");
        } else if let Some(pid) = self.other.new {
            tracing::warn!(signal, new = pid.as_raw(), "no new master: there is one already");
        } else if let Some((pid, _)) = &self.other.old {
            tracing::warn!(signal, old = pid.as_raw(), "no new master: the old one is still there");
        } else {
            match self.start_successor() {
                Ok(pid) => {
                    tracing::info!(signal, new = pid.as_raw(), "new master started");
                    self.other.new = Some(pid);
                }
                Err(error) => tracing::error!(signal, %error, "new master not started"),
            }
        }
    }

    fn start_successor(&self) -> Result<Pid, AnyError> {
        let sockets = &self.generations[&self.current].sockets;
        let named = |socket: &Rc<Socket>| Inherited { fd: socket.listener.as_raw_fd(), at: socket.name() };
        let predecessor = Predecessor { pid: Pid::this().as_raw(), sockets: sockets.iter().map(named).collect() };
        let fds: Vec<_> = sockets.iter().map(|socket| socket.listener.as_fd()).collect();
        Ok(self.command_line.start((Predecessor::VARIABLE, &serde_json::to_string(&predecessor)?), &fds)?)
    }

    /// Was this process the new master? Then this one goes on alone.
    pub(super) fn is_successor(&mut self, pid: Pid, exit: Exit) -> bool {
        let is_it = self.other.new == Some(pid);
        if is_it {
            tracing::warn!(new = pid.as_raw(), by = %exit, "new master ended, this one stays");
            self.other.new = None;
        }
        is_it
    }

    /// The old master is gone.
    pub(super) fn take_over(&mut self) {
        let Some((old, end)) = self.other.old.take() else { return };
        let _ = self.poll.registry().deregister(&mut SourceFd(&end.as_raw_fd()));
        tracing::info!(old = old.as_raw(), "the old master is gone, this one stays");
        let beside = self.pidfile.take();
        match self.other.write_pidfile(&self.generations[&self.current]) {
            Ok(written) => self.pidfile = written,
            Err(error) => tracing::error!(%error, "pid file not written"),
        }
        if let Some(beside) = beside {
            beside.remove();
        }
    }
}

/// Readable when the old master is gone.
pub(super) const OLD_MASTER: Token = Token(1);
