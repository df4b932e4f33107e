//! The hook process: `when_ready` runs here, with the rights that the server was started with. It is the first zygote,
//! which then forks the zygote that follows it: so everything that the hook imports and sets is there in the workers,
//! as under gunicorn, and whatever it starts, the thread of a metrics server for one, lives here as long as the server.

use nix::sys::signal::Signal;
use pyo3::prelude::*;

use rwsgi::log;
use rwsgi::message::{BootFailure, FromZygote, Start, ToHookProcess};
use rwsgi::os::channel::{Channel, Packet, Received};
use rwsgi::os::fork_guard;
use rwsgi::os::process::{self, Side};
use rwsgi::os::signal::Signals;

use crate::hooks::Hooks;
use crate::processes::fork;
use crate::processes::inheritance::Inheritance;
use crate::processes::title;
use crate::python::{self, Exit};

/// Calls `when_ready`, forks the zygote that goes on, and makes the calling process the hook process. Returns in the new zygote,
/// with a pipe of `signals` of its own. The channels are the hook process's to the master, and the zygote's.
pub(crate) fn split(
    py: Python<'_>,
    inheritance: &mut Inheritance,
    hooks: &Hooks,
    signals: &mut Signals,
    (master, zygote): (Channel, &Channel),
) -> Result<(), BootFailure> {
    hooks.when_ready(py)?;
    match fork::fork_away(py).map_err(|error| BootFailure::setup(&error))? {
        Side::New => {
            drop(master);
            *signals = become_zygote(&inheritance.start, zygote).map_err(|error| BootFailure::setup(&error))?;
            fork_guard::keep_private(fork::private(zygote, signals).chain(inheritance.descriptors()).collect());
            Ok(())
        }
        Side::Caller(_) => {
            inheritance.listeners.clear();
            fork::close_channel_of_zygote(zygote);
            fork_guard::keep_private(fork::private(&master, signals).collect());
            main(py, &inheritance.start, hooks, &master)
        }
    }
}

/// Prepares the process that was forked, and tells the master that it is the zygote.
fn become_zygote(start: &Start, zygote: &Channel) -> std::io::Result<Signals> {
    // Not the pipe of the process before, in which that one would note its signals too.
    let signals = Signals::install(&[])?;
    title::begin(&format!("rwsgi: zygote [{}]", start.settings.title()));
    fork::wait_for_master(start.master, || process::die_with_parent(Signal::SIGKILL))?;
    zygote.say(&FromZygote::Forked, &[])?;
    Ok(signals)
}

/// Takes over the process, and does not return.
fn main(py: Python<'_>, start: &Start, hooks: &Hooks, master: &Channel) -> ! {
    title::change(&format!("rwsgi: hooks [{}]", start.settings.title()));
    hooks.stay(py);
    while let Some(packet) = receive(py, master) {
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
