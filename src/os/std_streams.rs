//! Standard streams of the processes that a server in the background starts. The server's own lead to `/dev/null`; those
//! that it was started with are kept for its children where that is asked for.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Leads standard input and output of this process to `/dev/null`, and all three streams of the processes that are started
/// from now on, unless [`keep`] is called.
pub(super) fn silence() -> io::Result<()> {
    let null = null()?;
    dup2_stdin(null.as_fd())?;
    *given() = Some(io::stdout().as_fd().try_clone_to_owned()?);
    dup2_stdout(null.as_fd())?;
    SILENT.store(true, Ordering::Relaxed);
    Ok(())
}

/// Leads standard error of this process to the kept one, or to `/dev/null` if none is kept. Nothing can be kept any more.
pub(super) fn silence_stderr() -> io::Result<()> {
    *given() = None;
    match KEPT.get() {
        Some(kept) => dup2_stderr(kept[1].as_fd()).map_err(io::Error::from),
        None => null().and_then(|null| Ok(dup2_stderr(null.as_fd())?)),
    }
}

/// Gives a process in the background, and its children, the standard output and standard error that it was started with,
/// except terminals. Does nothing in the foreground, and the second time.
pub fn keep() -> io::Result<()> {
    let Some(stdout) = given().take() else { return Ok(()) };
    let kept = |stream: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        if stream.is_terminal() { null().map(OwnedFd::from) } else { stream.try_clone_to_owned() }
    };
    let streams = [kept(stdout.as_fd())?, kept(io::stderr().as_fd())?];
    dup2_stdout(streams[0].as_fd())?;
    let _ = KEPT.set(streams);
    Ok(())
}

/// Returns standard output and standard error for processes that are started, where they are not this one's.
pub fn kept() -> Option<&'static [OwnedFd; 2]> {
    KEPT.get()
}

/// True if the processes that are started have no standard streams except those of [`kept`].
pub(super) fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

fn given() -> MutexGuard<'static, Option<OwnedFd>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

static SILENT: AtomicBool = AtomicBool::new(false);
/// Standard output of the process that started a server in the background, until that serves.
static GIVEN: Mutex<Option<OwnedFd>> = Mutex::new(None);
/// Standard output and standard error for processes that are started.
static KEPT: OnceLock<[OwnedFd; 2]> = OnceLock::new();
