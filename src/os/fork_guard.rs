//! Processes that the application forks off a worker (`os.fork()` in a handler): they are not workers.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::process;

/// Marks, from now on, every process that the application forks off this one (pthread_atfork(3)), for [`end_if_forked`].
pub fn mark_forks() -> io::Result<()> {
    // SAFETY: the handler stores to a static and nothing else; it lives as long as the process.
    match unsafe { libc::pthread_atfork(None, None, Some(forked)) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Ends this process if the application forked it: its connections, log and slot belong to the worker that it is a copy
/// of. Logs nothing, because locks may be held by threads that this process does not have.
pub fn end_if_forked() {
    if FORKED.load(Ordering::Relaxed) {
        process::exit_now(FORKED_CODE);
    }
}

static FORKED: AtomicBool = AtomicBool::new(false);
/// EX_SOFTWARE of sysexits.h: the application's parent process may look at it.
const FORKED_CODE: i32 = 70;

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}
