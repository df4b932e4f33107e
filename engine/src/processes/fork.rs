//! Forking a process of Python that becomes the master's child.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;

use rwsgi::os::channel::Channel;
use rwsgi::os::fork_guard;
use rwsgi::os::process::{self, Side};
use rwsgi::os::signal::Signals;

use crate::python;

/// Forks as `os.fork` does, except that the new process becomes the master's child.
pub(crate) fn fork_away(py: Python<'_>) -> io::Result<Side> {
    python::flush_standard(py);
    // Objects that are alive now are shared with every worker; a collection must not write to them.
    if let Err(error) = py.import("gc").and_then(|gc| gc.call_method0("freeze")) {
        tracing::warn!(%error, "gc.freeze");
    }
    fork_guard::own_fork(|| {
        // SAFETY: the thread is attached, and the calls come in the order that CPython's os.fork makes them.
        unsafe { pyo3::ffi::PyOS_BeforeFork() };
        let side = process::fork_away();
        match side {
            // SAFETY: this is the new process, in which the forking thread is the only one.
            Ok(Side::New) => unsafe { pyo3::ffi::PyOS_AfterFork_Child() },
            // SAFETY: this is the process that called PyOS_BeforeFork.
            _ => unsafe { pyo3::ffi::PyOS_AfterFork_Parent() },
        }
        side
    })?
}

/// Waits in a new process until it is the master's child, and has `end_with` tell the kernel to end it with the master. Ends the
/// process if the master has died meanwhile.
pub(crate) fn wait_for_master(master: i32, end_with: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let master = Pid::from_raw(master);
    if !process::wait_for_parent(master, ADOPTION) {
        process::exit_now(0);
    }
    end_with()?;
    if getppid() != master {
        // The master died before the kernel was told.
        process::exit_now(0);
    }
    Ok(())
}

/// Returns the descriptors of a process of the server by which it is told what to do.
pub(crate) fn private(channel: &Channel, signals: &Signals) -> impl Iterator<Item = RawFd> {
    [channel.as_raw_fd()].into_iter().chain(signals.descriptors())
}

/// Closes the copy of the zygote's channel, with which the master would not see its end.
pub(crate) fn close_channel_of_zygote(zygote: &Channel) {
    // SAFETY: a forked process never returns to where the zygote would use or drop its channel.
    unsafe { libc::close(zygote.as_raw_fd()) };
}

/// The longest from the fork to being the master's child. The process between the two only has to end.
const ADOPTION: Duration = Duration::from_secs(5);
