//! A server that goes to the background: a process of its own session, and who started it waits until it serves or has
//! failed. To be called before there is a second thread.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::process::exit_now;

/// The process in the background.
pub struct Background {
    /// Whoever started the server reads what it came to.
    waits: Cell<Option<OwnedFd>>,
}

/// Which side of [`enter`] this process is.
pub enum Side {
    /// The process that called, when the server serves (0) or has ended with this code.
    Caller(i32),
    /// The process in the background.
    Background(Background),
}

/// Forks twice, with a session in between, so that no terminal reaches the new process. Its standard input and output are
/// `/dev/null`; its standard error is whoever's started it, until [`Background::serves`], and never that of its children,
/// unless somebody calls [`keep_streams`].
pub fn enter() -> io::Result<Side> {
    let (told, tells) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the caller has one thread, so the child may run any code.
    if let ForkResult::Parent { child } = unsafe { fork()? } {
        drop(tells);
        let _ = waitpid(child, None);
        let mut code = [NOT_STARTED];
        // Nothing is said by a process that was killed.
        let _ = File::from(told).read_exact(&mut code);
        return Ok(Side::Caller(code[0].into()));
    }
    drop(told);
    setsid()?;
    // SAFETY: as above.
    if let ForkResult::Parent { .. } = unsafe { fork()? } {
        exit_now(0);
    }
    umask(Mode::from_bits_truncate(0o022));
    let null = null()?;
    dup2_stdin(null.as_fd())?;
    *given() = Some(io::stdout().as_fd().try_clone_to_owned()?);
    dup2_stdout(null.as_fd())?;
    SILENT.store(true, Ordering::Relaxed);
    Ok(Side::Background(Background { waits: Cell::new(Some(tells)) }))
}

impl Background {
    /// The server serves: who started it need not wait. `silenced` is called between standard error's end and that.
    pub fn serves(&self, silenced: impl FnOnce()) {
        if let Some(waits) = self.waits.take() {
            *given() = None;
            let silent = match KEPT.get() {
                Some(kept) => dup2_stderr(kept[1].as_fd()).map_err(io::Error::from),
                None => null().and_then(|null| Ok(dup2_stderr(null.as_fd())?)),
            };
            if let Err(error) = silent {
                tracing::warn!(%error, "standard error stays that of who started the server");
            }
            silenced();
            say(waits, 0);
        }
    }

    /// The server has ended with this code. If it has served, nobody is told.
    pub fn ended(&self, code: i32) {
        if let Some(waits) = self.waits.take() {
            // It did not serve, whatever it says.
            say(waits, u8::try_from(code).ok().filter(|code| *code > 0).unwrap_or(NOT_STARTED));
        }
    }
}

/// From now on a process in the background, and what it starts, has standard output and standard error of whoever started
/// it, as far as these are no terminals. Without effect in the foreground, and the second time.
pub fn keep_streams() -> io::Result<()> {
    let Some(stdout) = given().take() else { return Ok(()) };
    let kept = |stream: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        if stream.is_terminal() { null().map(OwnedFd::from) } else { stream.try_clone_to_owned() }
    };
    let streams = [kept(stdout.as_fd())?, kept(io::stderr().as_fd())?];
    dup2_stdout(streams[0].as_fd())?;
    let _ = KEPT.set(streams);
    Ok(())
}

/// Standard output and standard error of the processes that are started, where they are not this one's.
pub fn streams() -> Option<&'static [OwnedFd; 2]> {
    KEPT.get()
}

/// Do the processes that are started have no standard streams but [`streams`]?
pub(super) fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

fn given() -> MutexGuard<'static, Option<OwnedFd>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(to: OwnedFd, code: u8) {
    // Whoever started the server may be gone.
    let _ = File::from(to).write_all(&[code]);
}

fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

static SILENT: AtomicBool = AtomicBool::new(false);
/// Standard output of whoever started a server in the background, until that is settled.
static GIVEN: Mutex<Option<OwnedFd>> = Mutex::new(None);
/// What standard output and standard error are to stay.
static KEPT: OnceLock<[OwnedFd; 2]> = OnceLock::new();
/// gunicorn's code for a configuration that cannot be served.
const NOT_STARTED: u8 = 1;
