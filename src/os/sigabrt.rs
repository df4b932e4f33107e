//! SIGABRT that another process sends, as opposed to the one by which a process ends itself (abort(3)). The first is a
//! byte in a pipe. The second goes to the handler that was there before, such as faulthandler's, and ends the process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The pipe on which the signal arrives.
#[derive(Debug)]
pub struct Aborts {
    pipe: OwnedFd,
}

impl Aborts {
    /// Handles the signal from now on; call it once in a process. A process that this one forks has the disposition
    /// from before.
    pub fn take() -> io::Result<Aborts> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        WRITE_END.store(write.into_raw_fd(), Ordering::SeqCst);
        OWNER.store(nix::unistd::getpid().as_raw(), Ordering::SeqCst);
        // SA_NODEFER: the previous handler runs from within this one.
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_NODEFER;
        let action = SigAction::new(SigHandler::SigAction(note_or_pass_on), flags, SigSet::empty());
        // SAFETY: the handler reads its argument and atomics, and calls getpid, write, sigaction and raise, which are all
        // async-signal-safe.
        let before = unsafe { sigaction(Signal::SIGABRT, &action)? };
        let _ = BEFORE.set(before);
        Ok(Aborts { pipe: read })
    }

    /// Sleeps until one was sent.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            let mut waited = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waited, PollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

extern "C" fn note_or_pass_on(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: getpid only asks the kernel.
    let me = unsafe { libc::getpid() };
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo_t; codes up to 0 are those of processes, which come
    // with a pid (sigaction(2)). abort(3) is a process that sends to itself.
    let is_sent = unsafe { (*info).si_code <= 0 && (*info).si_pid() != me };
    if is_sent && me == OWNER.load(Ordering::SeqCst) {
        let errno = Errno::last_raw();
        // SAFETY: a plain write of one byte from the stack to a descriptor that stays open.
        unsafe { libc::write(WRITE_END.load(Ordering::SeqCst), std::ptr::from_ref(&0u8).cast(), 1) };
        Errno::set_raw(errno);
        return;
    }
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: restores the previous handler and runs it, as if this one had never been installed.
    unsafe {
        let _ = sigaction(Signal::SIGABRT, BEFORE.get().unwrap_or(&default));
        libc::raise(libc::SIGABRT);
    }
}

static WRITE_END: AtomicI32 = AtomicI32::new(-1);
/// The process that handles the signal.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// The previous disposition of the signal.
static BEFORE: OnceLock<SigAction> = OnceLock::new();
