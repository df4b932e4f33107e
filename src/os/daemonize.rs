//! Going to the background: the server becomes a process of a session of its own, and the caller waits until it serves or
//! has failed. To be called before there is a second thread.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe2, setsid};

use super::process::exit_now;
use super::std_streams;

/// The process in the background.
pub struct Background {
    /// The pipe to the process that started the server, until its exit code is sent.
    caller: Cell<Option<OwnedFd>>,
}

/// The side of [`enter`] on which this process is.
pub enum Side {
    /// The process that called, when the server serves (0) or has ended with this code.
    Caller(i32),
    /// The process in the background.
    Background(Background),
}

/// Forks twice, with a session in between, so that no terminal reaches the new process. Its standard input and output are
/// `/dev/null`. Its standard error is the caller's until [`Background::serves`], and its children have none of these,
/// unless [`std_streams::keep`] is called.
pub fn enter() -> io::Result<Side> {
    let (told, tells) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the caller has one thread, so the child may run any code.
    if let ForkResult::Parent { child } = unsafe { fork()? } {
        drop(tells);
        let _ = waitpid(child, None);
        let mut code = [NOT_STARTED];
        // A process that was killed sends nothing.
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
    std_streams::silence()?;
    Ok(Side::Background(Background { caller: Cell::new(Some(tells)) }))
}

impl Background {
    /// Ends the caller's wait, because the server serves. `silenced` is called after standard error is silenced, before that.
    pub fn serves(&self, silenced: impl FnOnce()) {
        if let Some(caller) = self.caller.take() {
            if let Err(error) = std_streams::silence_stderr() {
                tracing::warn!(%error, "standard error is still that of the process that started the server");
            }
            silenced();
            send(caller, 0);
        }
    }

    /// Ends the caller's wait, because the server has ended with this code. Does nothing if it has served.
    pub fn ended(&self, code: i32) {
        if let Some(caller) = self.caller.take() {
            // It did not serve, even if its code is 0.
            send(caller, u8::try_from(code).ok().filter(|code| *code > 0).unwrap_or(NOT_STARTED));
        }
    }
}

fn send(to: OwnedFd, code: u8) {
    // The caller may be gone.
    let _ = File::from(to).write_all(&[code]);
}

/// gunicorn's code for a configuration that cannot be served.
const NOT_STARTED: u8 = 1;
