//! The hook process, in which `when_ready` runs, forked from the first zygote, with the rights that the server was
//! started with. What that starts, a thread of a metrics server say, lives there as long as the server; it forks nothing.

use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;

use rwsgi::log;
use rwsgi::message::{BootFailure, FromHookProcess, Start, ToHookProcess};
use rwsgi::os::channel::{Channel, Packet, Received};
use rwsgi::os::process::{self, Side};
use rwsgi::os::proctitle;
use rwsgi::os::signal::Signals;

use crate::hooks::Hooks;
use crate::python;
use crate::worker::ADOPTION;
use crate::zygote::{Inheritance, fork_away};

/// Forks the hook process, and waits until `when_ready` is through. `master` is the hook process's end of its channel, `zygote` the channel
/// of the process that calls this.
pub(crate) fn start(
    py: Python<'_>,
    inheritance: &mut Inheritance,
    hooks: &Hooks,
    master: Channel,
    zygote: &Channel,
) -> Result<(), BootFailure> {
    let (ours, theirs) = Channel::pair().map_err(|error| BootFailure::setup(&error))?;
    match fork_away(py).map_err(|error| BootFailure::setup(&error))? {
        Side::New => {
            drop(ours);
            inheritance.listeners.clear();
            // SAFETY: this process never returns to where the zygote would use or drop its channel.
            unsafe { libc::close(zygote.as_raw_fd()) };
            keep(py, &inheritance.start, hooks, &master, theirs)
        }
        Side::Caller(_) => {
            drop((theirs, master));
            match hear(py, &ours).map(|packet| serde_json::from_slice(&packet.bytes)) {
                Some(Ok(FromHookProcess::Ready)) => Ok(()),
                Some(Ok(FromHookProcess::Failed(failure))) => Err(failure),
                _ => Err(BootFailure::setup(&"when_ready: its process ended")),
            }
        }
    }
}

/// Takes over the process.
fn keep(py: Python<'_>, start: &Start, hooks: &Hooks, master: &Channel, zygote: Channel) -> ! {
    let ready = begin(start, master).and_then(|signals| hooks.keep(py).map(|()| signals));
    let (signals, said) = match ready {
        Ok(signals) => (Some(signals), FromHookProcess::Ready),
        Err(failure) => (None, FromHookProcess::Failed(failure.bounded())),
    };
    let _ = zygote.say(&said, &[]);
    drop(zygote);
    while let Some(packet) = signals.as_ref().and_then(|_| hear(py, master)) {
        match serde_json::from_slice(&packet.bytes) {
            Ok(ToHookProcess::Reopen) => {
                if let Err(error) = log::redirect(packet.fds.first(), None) {
                    tracing::error!(%error, "log file not opened anew");
                }
            }
            Ok(ToHookProcess::End) => {
                hooks.end(py);
                python::exit(py, 0, true)
            }
            Err(error) => tracing::error!(%error, "hook process: expected a message"),
        }
    }
    python::flush_standard(py);
    process::exit_now(0)
}

/// The next word on a channel; none when its other end is gone. What `when_ready` has started runs meanwhile.
fn hear(py: Python<'_>, channel: &Channel) -> Option<Packet> {
    py.detach(|| match channel.receive() {
        Ok(Received::Packet(packet)) => Some(packet),
        _ => None,
    })
}

fn begin(start: &Start, master: &Channel) -> Result<Signals, BootFailure> {
    proctitle::set(&format!("rwsgi: hooks [{}]", start.settings.title()));
    // Not the zygote's pipe, in which it would note its own.
    let signals = Signals::install(&[]).map_err(|error| BootFailure::setup(&error))?;
    let parent = Pid::from_raw(start.master);
    if !process::wait_for_parent(parent, ADOPTION) {
        process::exit_now(0);
    }
    process::die_with_parent(Signal::SIGKILL).map_err(|error| BootFailure::setup(&error))?;
    if getppid() != parent {
        process::exit_now(0);
    }
    master.say(&FromHookProcess::Hello, &[]).map_err(|error| BootFailure::setup(&error))?;
    Ok(signals)
}
