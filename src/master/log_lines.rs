//! Lines of the master in the error log about starts, exits and kills.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;

use super::sockets::BoundSocket;
use super::{FIRST, Generation};
use crate::log::CRITICAL;
use crate::message::{BootFailure, FoundPython, SpentReason};
use crate::os::clock;
use crate::os::process::Exit;
use crate::os::scoreboard::Slot;
use crate::settings::Settings;
use crate::supervisor::Why;

/// Logs the application, its addresses and its Python.
pub(super) fn found(generation: &Generation, found: &FoundPython) {
    let Generation { number, settings, sockets, .. } = generation;
    if *number == FIRST {
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(event = "starting", said.version = version, "Starting rwsgi {version}");
    }
    application(settings);
    tracing::info!(version = found.version, executable = found.executable, found_by = found.named_by, "python");
    tracing::debug!(mode = found.launch, "python launch");
    let (at, pid) = (addresses(settings, sockets), std::process::id());
    tracing::info!(event = "listening", said.at = at, said.pid = pid, "Listening at: {at} ({pid})");
    let class = settings.class();
    tracing::info!(
        event = "using_worker",
        said.class = %class,
        workers = settings.workers.number(1),
        threads = settings.threads(),
        timeout = %settings.timeout,
        keepalive = %settings.keepalive,
        "Using worker: {class}"
    );
}

fn application(settings: &Settings) {
    let directory = std::path::absolute(settings.chdir.as_deref().unwrap_or(Path::new("."))).unwrap_or_default();
    let directory: PathBuf = directory.components().collect();
    let app = settings.wsgi_app.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::info!(app, directory = %directory.display(), preload = settings.preload_app, "application");
}

fn addresses(settings: &Settings, sockets: &[Rc<BoundSocket>]) -> String {
    let addresses: Vec<String> = sockets.iter().map(|socket| address(settings, socket)).collect();
    addresses.join(",")
}

/// Returns the address for a client: `https://127.0.0.1:8000` with TLS.
pub(super) fn address(settings: &Settings, socket: &BoundSocket) -> String {
    let address = socket.listener.address().to_string();
    match address.strip_prefix("http://") {
        Some(place) if settings.tls().is_some() => format!("https://{place}"),
        _ => address,
    }
}

/// Logs that a reload is complete.
pub(super) fn reloaded(generation: u64, settings: &Settings, sockets: &[Rc<BoundSocket>], workers: usize) {
    tracing::info!(generation, workers, at = addresses(settings, sockets), timeout = %settings.timeout, "reload done");
}

/// Logs one traceback and one sentence.
pub(super) fn boot_failure(failure: &BootFailure) {
    tracing::error!("{failure}");
}

/// Logs what a worker is stuck in, as far as the master can see; its own stacks follow in the log.
pub(super) fn stuck(slot: usize, pid: i32, why: Why, state: Option<&Slot>, settings: &Settings) {
    let request = state.filter(|slot| slot.busy_since().is_some());
    match why {
        Why::Timeout if state.is_none() => tracing::error!(
            target: CRITICAL, event = "worker_timeout", slot, said.pid = pid, timeout = %settings.timeout,
            "WORKER TIMEOUT (pid:{pid}): worker was stopped by a signal and did not go on, it is killed"
        ),
        Why::Timeout if request.is_none() && state.is_some_and(Slot::is_waiting) => tracing::error!(
            target: CRITICAL, event = "worker_timeout", slot, said.pid = pid, timeout = %settings.timeout,
            "WORKER TIMEOUT (pid:{pid}): worker cannot acquire the GIL for requests that wait, it is killed\n\
             hint: a thread holds the GIL in C code, or a signal handler of the application does not return"
        ),
        Why::Timeout if request.is_none() => tracing::error!(
            target: CRITICAL, event = "worker_timeout", slot, said.pid = pid, timeout = %settings.timeout,
            "WORKER TIMEOUT (pid:{pid}): worker does not return to requests that wait, it is killed\n\
             hint: a signal handler of the application does not return, or a disk does not answer"
        ),
        Why::Timeout => {
            let request = request.map(Slot::request_line).unwrap_or_default();
            tracing::error!(
                target: CRITICAL, slot, pid, request, timeout = %settings.timeout,
                "request timed out, its worker is killed"
            );
        }
        Why::Boot | Why::Stop => tracing::error!(
            target: CRITICAL, event = "worker_timeout", slot, said.pid = pid, boot_timeout = %settings.boot_timeout,
            "WORKER TIMEOUT (pid:{pid}): worker not ready in time, it is killed"
        ),
    }
}

/// Logs that a worker serves.
pub(super) fn ready(generation: u64, slot: usize, pid: Pid) {
    tracing::info!(event = "worker_ready", generation, slot, pid = pid.as_raw(), "worker ready");
}

/// Logs why a worker asks to be replaced.
pub(super) fn spent(slot: usize, pid: Pid, why: SpentReason) {
    let pid = pid.as_raw();
    match why {
        SpentReason::Requests => {
            tracing::info!(event = "max_requests", slot, pid, "Autorestarting worker after current request.");
        }
        SpentReason::Timeout => tracing::info!(slot, pid, "worker had a request that timed out, it will be replaced"),
        SpentReason::Memory => tracing::warn!(slot, pid, "worker has no memory left, it will be replaced"),
        SpentReason::Descriptors => tracing::error!(
            slot,
            pid,
            "worker has had no free descriptor for 5 s, it will be replaced\nhint: the application does not close what it opens, or limit_nofile is too low for it"
        ),
    }
}

/// Logs that a worker is killed. The other reasons have been logged before.
pub(super) fn kill(slot: usize, pid: i32, why: Why) {
    match why {
        Why::Timeout | Why::Boot => tracing::debug!(slot, pid, "worker killed"),
        Why::Stop => tracing::warn!(slot, pid, "worker did not end when asked, killed"),
    }
}

/// Logs the request that a thread of a worker was in when that died, if it was in one.
pub(super) fn cut_off(slot: usize, thread: usize, state: &Slot) {
    let Some((since, _)) = state.busy_since() else { return };
    let (method, path) = state.method_and_path();
    let elapsed = Duration::from_nanos(clock::monotonic().saturating_sub(since));
    let elapsed = format!("{:.1}", elapsed.as_secs_f64());
    tracing::warn!(method, path, elapsed, slot, thread, "request cut off by the end of its worker");
}

/// What is known of the memory of a worker that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// The most resident bytes that it had.
    pub(super) peak: u64,
    /// True if the kernel has killed it for want of memory, as far as the kernel says.
    pub(super) oom: Option<bool>,
}

/// Logs how a worker ended. `expected` is true if it was told to end, killed, or has said why it ends. A kill of the
/// master's own is not blamed on the memory.
pub(super) fn exit(slot: usize, pid: Option<Pid>, expected: bool, exit: Exit, memory: Memory) {
    let pid = pid.map_or(0, Pid::as_raw);
    match exit {
        Exit::Code(0) => tracing::info!(event = "worker_ended", slot, pid, "worker ended"),
        // The reason was logged when it was killed, or failed to boot.
        _ if expected => tracing::info!(event = "worker_ended", slot, pid, by = %exit, "worker ended"),
        Exit::Code(code) => tracing::error!(
            event = "worker_died", slot, said.pid = pid, said.by = %exit, peak_rss = memory.peak,
            "Worker (pid:{pid}) exited with code {code}."
        ),
        Exit::Signal(libc::SIGKILL) => {
            let hint = match memory.oom {
                Some(true) => {
                    "it was: the kernel's OOM killer ended it, by the limit of the cgroup or for want of memory"
                }
                Some(false) => {
                    "the kernel's OOM killer did not end it; an operator, a container runtime or systemd-oomd may have"
                }
                None => "`journalctl -k` says whether the kernel's OOM killer ended it",
            };
            tracing::error!(
                event = "worker_died", slot, said.pid = pid, said.by = %exit, peak_rss = memory.peak,
                "Worker (pid:{pid}) was sent {exit}! Perhaps out of memory?\nhint: {hint}"
            );
        }
        Exit::Signal(_) => tracing::error!(
            event = "worker_died", slot, said.pid = pid, said.by = %exit, peak_rss = memory.peak,
            "Worker (pid:{pid}) was sent {exit}!"
        ),
    }
}

/// Logs the end of the server.
pub(super) fn end(code: i32) {
    let reason = match code {
        0 => return tracing::info!(event = "stopped", code, "Shutting down: Master"),
        3 => "Worker failed to boot.",
        4 => "App failed to load.",
        _ => return tracing::error!(event = "stopped", code, "Shutting down: Master"),
    };
    tracing::error!(event = "stopped", code, "Shutting down: Master");
    tracing::error!(event = "reason", said.reason = reason, "Reason: {reason}");
}
