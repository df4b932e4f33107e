//! Signals as bytes: a handler writes the signal's number to a pipe, a loop reads it there.
//!
//! The master registers by `signal-hook`. Zygote and workers share their process with `CPython`, and applications
//! change handlers; so they set theirs directly, check if these are still in place, and restore them.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The read end of a pipe on which signals arrive, a byte each.
pub struct Signals {
    pipe: OwnedFd,
}

/// The write end that [`note`] writes to; -1 until handlers are installed.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// True if a handler has run since [`Signals::next`] was last called.
static NOTED: AtomicBool = AtomicBool::new(false);

/// True if a signal that [`Signals::install`] asked for has arrived and is unread. For callers that cannot wait until
/// the pipe is looked at.
pub fn is_noted() -> bool {
    NOTED.load(Ordering::Relaxed)
}

impl Signals {
    /// Registers `signals` by signal-hook, beside existing handlers, and takes `sent` only from processes, as
    /// [`note_sent`] does. For the master.
    pub fn register(signals: &[i32], sent: &[Signal]) -> io::Result<Signals> {
        let (read, write) = pipe()?;
        let write = write.into_raw_fd();
        WRITE_END.store(write, Ordering::SeqCst);
        note_sent(sent)?;
        for &signal in signals {
            let byte = u8::try_from(signal).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            // SAFETY: the action only calls write(2), which is async-signal-safe, on a descriptor that stays open.
            unsafe { signal_hook::low_level::register(signal, move || write_byte(write, byte))? };
        }
        Ok(Signals { pipe: read })
    }

    /// Sets the process's handlers of `signals` to one that writes the signal's number. For zygote and workers.
    ///
    /// Called again after a fork it makes a pipe of the child's own.
    pub fn install(signals: &[Signal]) -> io::Result<Signals> {
        let (read, write) = pipe()?;
        let old = WRITE_END.swap(write.into_raw_fd(), Ordering::SeqCst);
        if old >= 0 {
            // SAFETY: the old write end was leaked into WRITE_END by an earlier call, and nothing else closes it.
            drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(old) });
        }
        for &signal in signals {
            set(signal)?;
        }
        Ok(Signals { pipe: read })
    }

    /// Returns the next signal that has arrived, or `None`. Never blocks.
    pub fn next(&self) -> Option<i32> {
        // Cleared before the look: signals that come after it set it again.
        NOTED.store(false, Ordering::SeqCst);
        let mut byte = [0u8; 1];
        match nix::unistd::read(&self.pipe, &mut byte) {
            Ok(1) => Some(i32::from(byte[0])),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> i32 {
        self.pipe.as_raw_fd()
    }
}

/// Restores every handler of `signals` that was replaced, and returns these signals.
pub fn restore(signals: &[Signal]) -> Vec<Signal> {
    signals.iter().copied().filter(|&signal| !stands(signal) && set(signal).is_ok()).collect()
}

/// Ignores `signals`.
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for &signal in signals {
        // SAFETY: SIG_IGN runs no code.
        unsafe { sigaction(signal, &ignore)? };
    }
    Ok(())
}

/// Writes `signals` to the installed pipe when a process sends them, and passes over those of the kernel: a terminal
/// that changes its size sends WINCH to the processes that run in it.
pub fn note_sent(signals: &[Signal]) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigAction(note_if_sent), SaFlags::SA_SIGINFO, SigSet::empty());
    for &signal in signals {
        // SAFETY: the handler reads one field of its argument and calls write(2).
        unsafe { sigaction(signal, &action)? };
    }
    Ok(())
}

/// Logs that a signal reached a process for which it means nothing.
pub fn pass_over(signal: i32) {
    let name = Signal::try_from(signal).map_or("unknown", |signal| signal.as_str().trim_start_matches("SIG"));
    tracing::warn!(signal = name, "a signal for the master, ignored here");
}

extern "C" fn note_if_sent(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo_t. Codes above 0 are its own (sigaction(2)).
    if unsafe { (*info).si_code } <= 0 {
        write_noted(signal);
    }
}

fn set(signal: Signal) -> io::Result<()> {
    // No SA_RESTART: a sleeping epoll_wait is to return, so that Python's own handlers get their turn.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    // SAFETY: `note` only calls write(2).
    unsafe { sigaction(signal, &action)? };
    Ok(())
}

fn stands(signal: Signal) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only reads the current one into `now`.
    let read = unsafe { libc::sigaction(signal as i32, std::ptr::null(), now.as_mut_ptr()) };
    let ours: extern "C" fn(i32) = note;
    // SAFETY: sigaction returned 0, so it filled `now`.
    read == 0 && unsafe { now.assume_init() }.sa_sigaction == ours as usize
}

extern "C" fn note(signal: i32) {
    write_noted(signal);
}

/// Tells the reader of the installed pipe that `signal` came; the handlers' only act. Async-signal-safe.
pub(super) fn write_noted(signal: i32) {
    NOTED.store(true, Ordering::SeqCst);
    write_byte(WRITE_END.load(Ordering::SeqCst), u8::try_from(signal).unwrap_or(0));
}

/// Writes one byte and leaves errno as it was. A full pipe drops the byte: enough wake-ups are waiting in it.
fn write_byte(fd: i32, byte: u8) {
    let errno = Errno::last_raw();
    // SAFETY: a plain write of one byte from the stack; a bad descriptor gives EBADF.
    unsafe { libc::write(fd, std::ptr::from_ref(&byte).cast(), 1) };
    Errno::set_raw(errno);
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}
