//! The state of the server, as `status`, `requests` and `stack` report it.

use std::time::Duration;

use nix::unistd::Pid;

use super::super::{Master, log_lines, now};
use crate::control::{ConnectionCounts, Running, Status, ThreadStatus, WorkerStatus};
use crate::os::scoreboard::Slot as BoardSlot;
use crate::supervisor::{Seat, Standing};

impl Master<'_> {
    /// Returns the state of the server.
    pub(super) fn status(&self) -> Status {
        let generation = self.processes.in_charge();
        let state = match self.standing() {
            Standing::Starting => "starting",
            Standing::Serving { .. } => "serving",
            Standing::Reloading => "reloading",
            Standing::Leaving => "leaving",
            Standing::Stopping { .. } => "stopping",
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: Pid::this().as_raw(),
            state: state.to_owned(),
            seconds: now().saturating_sub(self.requests.born).as_secs_f64(),
            app: generation.settings.wsgi_app.as_ref().map(ToString::to_string).unwrap_or_default(),
            listening: generation
                .sockets
                .iter()
                .map(|socket| log_lines::address(&generation.settings, socket))
                .collect(),
            generation: self.processes.current,
            wanted: self.supervisor.workers(),
            workers: self.supervisor.seats().map(|seat| self.worker(seat)).collect(),
            failure: self.requests.failure.clone(),
            new_master: self.succession.other.successor().map(Pid::as_raw),
            scaling: self.scaling(),
        }
    }

    fn worker(&self, seat: Seat) -> WorkerStatus {
        let Seat { slot, generation, pid, state } = seat;
        // Without a process, the scoreboard still holds the values of the slot's last worker.
        let threads: Vec<BoardSlot> = if pid.is_some() { self.threads(seat).collect() } else { Vec::new() };
        WorkerStatus {
            slot,
            pid,
            generation,
            state: state.to_owned(),
            requests: threads.iter().map(BoardSlot::requests).sum(),
            running: threads.iter().filter(|thread| thread.busy_since().is_some()).count(),
            connections: threads.first().map(connections).unwrap_or_default(),
        }
    }

    /// Returns the requests under way.
    pub(super) fn running(&self) -> Vec<Running> {
        let of_seat = |seat: Seat| {
            let running = move |(thread, state): (usize, BoardSlot)| {
                let (seconds, request) = under_way(&state)?;
                Some(Running { slot: seat.slot, pid: seat.pid?, thread, seconds, request })
            };
            self.threads(seat).enumerate().filter_map(running)
        };
        self.supervisor.seats().flat_map(of_seat).collect()
    }

    /// Returns what the threads of this worker do; nothing if another one has its slot by now.
    pub(super) fn threads_of(&self, slot: usize, pid: Pid) -> Vec<ThreadStatus> {
        let Some(seat) = self.supervisor.seats().find(|seat| seat.slot == slot && seat.pid == Some(pid.as_raw()))
        else {
            return Vec::new();
        };
        let thread = |(thread, state): (usize, BoardSlot)| {
            let (seconds, request) = under_way(&state).unzip();
            ThreadStatus { thread, ident: state.ident(), seconds, request }
        };
        self.threads(seat).enumerate().map(thread).collect()
    }

    /// Returns the scoreboard slots of the threads of a worker.
    fn threads(&self, seat: Seat) -> impl Iterator<Item = BoardSlot> {
        self.processes
            .generations
            .get(&seat.generation)
            .into_iter()
            .flat_map(move |generation| generation.threads_of(seat.slot))
    }
}

/// Returns what the connections of a worker do, as the slot of its first thread has it.
fn connections(slot: &BoardSlot) -> ConnectionCounts {
    let [silent, heads, idle, more, waiting, application, sending] = slot.connections();
    ConnectionCounts { idle, silent, reading: heads.saturating_add(more), waiting, application, writing: sending }
}

/// Returns the request of a thread, with the seconds that it has been in the application.
fn under_way(thread: &BoardSlot) -> Option<(f64, String)> {
    let (since, _) = thread.busy_since()?;
    let seconds = now().saturating_sub(Duration::from_nanos(since)).as_secs_f64();
    Some((seconds, thread.request_line()))
}
