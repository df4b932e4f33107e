//! The way of a worker's Python stacks to the master. On a signal, faulthandler writes them to a pipe, even if the
//! worker is stuck, and passes the signal on to a handler that ends them with a zero byte. Does not know what is
//! written.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet};
use nix::unistd::Pid;

use super::process;

/// Returns the signal on which a worker writes: a real-time one, beside that of [`process::trace_signal`].
pub fn signal() -> i32 {
    libc::SIGRTMIN() + 6
}

/// The master's end of a worker's pipe.
#[derive(Debug)]
pub struct Stacks {
    pipe: OwnedFd,
    text: Vec<u8>,
}

/// Result of a look at the pipe.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// All of it; bytes that are not UTF-8 are replaced.
    All(String),
    /// Not complete yet.
    Nothing,
    /// The worker is gone.
    Gone,
}

impl Stacks {
    /// Makes a pipe, whose other end is the worker's. A worker never waits for it to be read.
    pub fn pipe() -> io::Result<(Stacks, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Room for the stacks of many threads, where the system allows it; stacks that find none are left out.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(ROOM));
        Ok((Stacks { pipe: read, text: Vec::new() }, write))
    }

    /// Has the worker, a child of this process, write the stacks of its threads. Earlier output is dropped.
    pub fn ask(&mut self, pid: Pid) {
        let mut bytes = [0; 4096];
        while nix::unistd::read(&self.pipe, &mut bytes).is_ok_and(|count| count > 0) {}
        self.text.clear();
        if process::is_child(pid) {
            // SAFETY: kill reads no memory.
            unsafe { libc::kill(pid.as_raw(), signal()) };
        }
    }

    /// Returns the worker's output since it was asked.
    pub fn look(&mut self) -> Told {
        let mut bytes = [0; 4096];
        loop {
            match nix::unistd::read(&self.pipe, &mut bytes) {
                Ok(0) => return Told::Gone,
                Ok(count) => {
                    let piece = &bytes[..count];
                    let end = piece.iter().position(|byte| *byte == END);
                    self.text.extend_from_slice(&piece[..end.unwrap_or(count)]);
                    if end.is_some() || self.text.len() > MOST {
                        return Told::All(String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned());
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Told::Nothing,
                Err(_) => return Told::Gone,
            }
        }
    }
}

impl AsRawFd for Stacks {
    fn as_raw_fd(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }
}

/// Does nothing on the signal until a process has its pipe; the default action would end the process.
pub fn disregard() -> io::Result<()> {
    act(SigHandler::Handler(end))
}

/// Returns this process's end of its pipe, if it has one.
pub fn descriptor() -> Option<RawFd> {
    Some(PIPE.load(Ordering::SeqCst)).filter(|fd| *fd >= 0)
}

/// Takes this process's end of its pipe, which stays open, and on the signal ends the written stacks with a zero byte.
/// Returns the descriptor that faulthandler is to write to before it passes the signal on.
pub fn take(pipe: OwnedFd) -> io::Result<RawFd> {
    let fd = pipe.into_raw_fd();
    PIPE.store(fd, Ordering::SeqCst);
    act(SigHandler::Handler(end))?;
    Ok(fd)
}

fn act(handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // nix names no real-time signals, so that the action crosses as libc's.
    let action: libc::sigaction = action.into();
    // SAFETY: `end` only calls write(2) and touches errno, which are async-signal-safe.
    Errno::result(unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) })?;
    Ok(())
}

extern "C" fn end(_: i32) {
    let errno = Errno::last_raw();
    // SAFETY: a plain write of one byte from the stack; a bad descriptor gives EBADF.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), std::ptr::from_ref(&END).cast(), 1) };
    Errno::set_raw(errno);
}

/// This process's end of its pipe.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// faulthandler writes no zero byte: it escapes everything except printable ASCII.
const END: u8 = 0;
/// faulthandler writes at most 100 threads with 100 frames each.
const ROOM: i32 = 1 << 20;
/// More than faulthandler ever writes.
const MOST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_ends_with_a_zero_byte_and_what_was_before_is_forgotten() {
        let (mut stacks, worker) = Stacks::pipe().unwrap();
        nix::unistd::write(&worker, b"old\0old").unwrap();
        // The test signals no child.
        stacks.ask(Pid::this());
        assert_eq!(stacks.look(), Told::Nothing);
        nix::unistd::write(&worker, b"Thread 1\n  File \"a.py\"").unwrap();
        assert_eq!(stacks.look(), Told::Nothing);
        nix::unistd::write(&worker, b", line 2\n\0").unwrap();
        assert_eq!(stacks.look(), Told::All("Thread 1\n  File \"a.py\", line 2\n".to_owned()));
        drop(worker);
        assert_eq!(stacks.look(), Told::Gone);
    }

    #[test]
    fn a_worker_that_never_ends_fills_no_memory() {
        let (mut stacks, worker) = Stacks::pipe().unwrap();
        let text = (0..10_000).find_map(|_| {
            while nix::unistd::write(&worker, &[b'x'; 4096]).is_ok() {}
            match stacks.look() {
                Told::All(text) => Some(text),
                _ => None,
            }
        });
        assert!(text.unwrap().len() <= MOST + 4096);
    }
}
