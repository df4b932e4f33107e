//! Processes that the application forks (`os.fork()`, `multiprocessing`) off a process of the server: they are none
//! themselves. They lose its handlers of signals and its descriptors, and end when they come back into its code.
//!
//! Everything here runs between fork and the return from it (pthread_atfork(3)), possibly in a process whose other
//! threads are gone with the locks that they held: system calls and atomics only.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::{limits, process, signal};

/// Watches, from now on, the forks of this process and of those that the server forks off it.
pub fn watch_forks() -> io::Result<()> {
    // SAFETY: the handler is async-signal-safe; it lives as long as the process.
    match unsafe { libc::pthread_atfork(None, None, Some(forked)) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Runs `step`, a fork of the server's own: the new process is one of the server and has no private descriptors yet.
/// Signals wait meanwhile, until both processes have handlers.
pub fn own_fork<T>(step: impl FnOnce() -> T) -> io::Result<T> {
    signal::held_back(|| {
        OWN.store(true, Ordering::SeqCst);
        let done = step();
        OWN.store(false, Ordering::SeqCst);
        done
    })
}

/// Sets the descriptors that a process which the application forks does not get. They stay open as long as this process
/// lives; they replace those of an earlier call.
pub fn keep_private(descriptors: Vec<RawFd>) {
    // Never freed: another thread may fork just now.
    let list = Box::leak(Box::new(descriptors));
    PRIVATE.store(list, Ordering::SeqCst);
}

/// True if the application forked this process.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Ends this process if the application forked it: its connections, log and slot belong to the worker that it is a copy
/// of. Logs nothing, because locks may be held by threads that this process does not have.
pub fn end_if_forked() {
    if is_forked() {
        process::exit_now(FORKED_CODE);
    }
}

/// True while the server itself forks.
static OWN: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);
/// The descriptors that a forked process does not get; null if there are none.
static PRIVATE: AtomicPtr<Vec<RawFd>> = AtomicPtr::new(ptr::null_mut());
/// EX_SOFTWARE of sysexits.h: the application's parent process may look at it.
const FORKED_CODE: i32 = 70;

extern "C" fn forked() {
    let private = PRIVATE.swap(ptr::null_mut(), Ordering::SeqCst);
    if OWN.load(Ordering::SeqCst) {
        signal::own();
        return;
    }
    FORKED.store(true, Ordering::SeqCst);
    signal::reset_in_fork();
    process::forget_parent();
    limits::lower_in_fork();
    // SAFETY: the pointer is null, or that of a list which is never freed or changed.
    if let Some(private) = unsafe { private.as_ref() } {
        for fd in private {
            replace(*fd);
        }
    }
}

/// Closes a descriptor and keeps its number in use: objects that are left over would use it for another file otherwise.
fn replace(fd: RawFd) {
    // SAFETY: these calls take numbers, and touch no memory. A socket that is not connected refuses all data.
    unsafe {
        let silent = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if silent < 0 || libc::dup3(silent, fd, libc::O_CLOEXEC) < 0 {
            libc::close(fd);
        }
        if silent >= 0 {
            libc::close(silent);
        }
    }
}
