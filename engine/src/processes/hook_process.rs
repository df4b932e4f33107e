//! The hook process: `when_ready` runs here, with the rights that the server was started with. It is forked from the first
//! zygote. Whatever the hook starts, the thread of a metrics server for one, lives here as long as the server. It forks nothing.

use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use pyo3::prelude::*;

use rwsgi::log;
use rwsgi::message::{BootFailure, FromHookProcess, Start, ToHookProcess};
use rwsgi::os::channel::{Channel, Packet, Received};
use rwsgi::os::fork_guard;
use rwsgi::os::process::{self, Side};
use rwsgi::os::proctitle;
use rwsgi::os::signal::Signals;

use crate::hooks::Hooks;
use crate::processes::fork;
use crate::processes::inheritance::Inheritance;
use crate::python::{self, Exit};

/// Forks the hook process, and waits until `when_ready` has returned. `master` is the hook process's end of its channel to the
/// master, `zygote` the channel of the calling process.
pub(crate) fn start(
    py: Python<'_>,
    inheritance: &mut Inheritance,
    hooks: &Hooks,
    master: Channel,
    zygote: &Channel,
) -> Result<(), BootFailure> {
    let (ours, theirs) = Channel::pair().map_err(|error| BootFailure::setup(&error))?;
    match fork::fork_away(py).map_err(|error| BootFailure::setup(&error))? {
        Side::New => {
            drop(ours);
            inheritance.listeners.clear();
            fork::close_channel_of_zygote(zygote);
            main(py, &inheritance.start, hooks, &master, theirs)
        }
        Side::Caller(_) => {
            drop((theirs, master));
            match receive(py, &ours).map(|packet| serde_json::from_slice(&packet.bytes)) {
                Some(Ok(FromHookProcess::Ready)) => Ok(()),
                Some(Ok(FromHookProcess::Failed(failure))) => Err(failure),
                _ => Err(BootFailure::setup(&"when_ready: its process ended")),
            }
        }
    }
}

/// Takes over the process, and does not return.
fn main(py: Python<'_>, start: &Start, hooks: &Hooks, master: &Channel, zygote: Channel) -> ! {
    let ready = prepare(start, master, &zygote).and_then(|signals| hooks.when_ready(py).map(|()| signals));
    let (signals, said) = match ready {
        Ok(signals) => (Some(signals), FromHookProcess::Ready),
        Err(failure) => (None, FromHookProcess::Failed(failure.bounded())),
    };
    let _ = zygote.say(&said, &[]);
    drop(zygote);
    while let Some(packet) = signals.as_ref().and_then(|_| receive(py, master)) {
        match serde_json::from_slice(&packet.bytes) {
            Ok(ToHookProcess::Reopen) => {
                if let Err(error) = log::redirect(packet.fds.first(), None) {
                    tracing::error!(%error, "log file not opened anew");
                }
            }
            Ok(ToHookProcess::End) => {
                hooks.end(py);
                python::exit(py, 0, Exit::Patient)
            }
            Err(error) => tracing::error!(%error, "hook process: expected a message"),
        }
    }
    python::flush_standard(py);
    process::exit_now(0)
}

/// Receives the next message, or returns `None` when the other end is gone. The GIL is released meanwhile, so that threads of
/// `when_ready` run.
fn receive(py: Python<'_>, channel: &Channel) -> Option<Packet> {
    py.detach(|| match channel.receive() {
        Ok(Received::Packet(packet)) => Some(packet),
        _ => None,
    })
}

fn prepare(start: &Start, master: &Channel, waiting: &Channel) -> Result<Signals, BootFailure> {
    proctitle::set(&format!("rwsgi: hooks [{}]", start.settings.title()));
    // Not the zygote's pipe, in which it would note its own signals.
    let signals = Signals::install(&[]).map_err(|error| BootFailure::setup(&error))?;
    fork_guard::keep_private(fork::private(master, &signals).chain([waiting.as_raw_fd()]).collect());
    fork::wait_for_master(start.master, || process::die_with_parent(Signal::SIGKILL))
        .map_err(|error| BootFailure::setup(&error))?;
    master.say(&FromHookProcess::Hello, &[]).map_err(|error| BootFailure::setup(&error))?;
    Ok(signals)
}
