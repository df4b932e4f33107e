//! The end of the server, once its workers are gone: zygotes, the hook process, and what applications have left.

use mio::Events;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::hook_process::HookProcess;
use super::leftovers::ZYGOTE_END;
use super::zygote::{Zygote, ZygoteStage};
use super::{Master, ROUND_UP, log_lines, now};
use crate::command::Command;
use crate::os::process::{self, Change};
use crate::supervisor::Moment;

impl Master<'_> {
    /// Ends the server: closes the channels of the zygotes, waits for their exit handlers, and kills the rest.
    pub(super) fn close(&mut self, code: i32) {
        self.supersede_evaluation();
        self.release_sockets(|_| true);
        self.requests.socket.close();
        if let Some(pidfile) = &self.succession.pidfile {
            pidfile.remove();
        }
        // After the last worker, as in gunicorn, while the process that has Python's logging is there.
        let is_said = self.pass_lines();
        if is_said {
            log_lines::end(code);
            self.pass_lines();
        }
        self.note_end();
        let end = self.end_of_exit_handlers();
        self.end_zygotes(end);
        // The hook process comes after the zygotes: its hook is the last one.
        if let Some(pid) = self.processes.hook_process.as_ref().and_then(HookProcess::pid) {
            self.processes.leftovers.note(pid);
        }
        let hook_process = self.processes.end_hook_process().into_iter().collect();
        self.wait_and_kill(hook_process, end.max(now() + ZYGOTE_END));
        self.end_leftovers();
        if !self.startup.check && !is_said {
            log_lines::end(code);
        }
    }

    /// Returns the time by which exit handlers and hooks of zygotes have to end: as workers in a stop.
    fn end_of_exit_handlers(&self) -> Moment {
        let soon = now() + ZYGOTE_END;
        let graceful = self.settings().graceful_timeout.duration();
        if self.has_final_hooks() {
            soon.max(now() + graceful)
        } else if self.supervisor.is_quick() || self.startup.check {
            soon
        } else {
            soon.max(self.stops_since.unwrap_or_else(now) + graceful)
        }
    }

    fn end_zygotes(&mut self, end: Moment) {
        let zygotes = self.processes.generations.values_mut().filter_map(|generation| generation.zygote.take());
        let (ready, others): (Vec<_>, Vec<_>) =
            zygotes.partition(|zygote| matches!(zygote.stage, ZygoteStage::Ready | ZygoteStage::Finishing));
        for zygote in ready.iter().chain(&others) {
            self.processes.leftovers.note(zygote.pid);
        }
        let pids = |zygotes: Vec<Zygote>| zygotes.into_iter().map(|zygote| zygote.pid).collect::<Vec<_>>();
        let (ready, others) = (pids(ready), pids(others));
        // Their channels are closed.
        self.wait_and_kill(others, now() + ZYGOTE_END);
        self.wait_and_kill(ready, end);
    }

    /// Waits until these have ended or the time is up, or a quick stop is asked for, and then kills the rest.
    fn wait_and_kill(&mut self, mut pids: Vec<Pid>, mut end: Moment) {
        pids.retain(|pid| process::is_child(*pid));
        while !pids.is_empty() && now() < end {
            if self.wait_for_exits(&mut pids) {
                end = now();
            }
        }
        for pid in &pids {
            self.processes.leftovers.note(*pid);
            let _ = process::signal(*pid, Signal::SIGKILL);
        }
        let killed = now() + ZYGOTE_END;
        while !pids.is_empty() && now() < killed {
            self.wait_for_exits(&mut pids);
        }
    }

    /// Waits a moment, and removes those that have ended. True if a quick stop is asked for.
    fn wait_for_exits(&mut self, pids: &mut Vec<Pid>) -> bool {
        // systemd's watchdog does not stop with the workers.
        self.service_manager.look(self.supervisor.standing(), now());
        let mut events = Events::with_capacity(8);
        let _ = self.poll.poll(&mut events, Some(ROUND_UP * 10));
        let asked: Vec<i32> = std::iter::from_fn(|| self.signals.next()).collect();
        while let Some((gone, change)) = process::reap() {
            if matches!(change, Change::Ended(..)) {
                pids.retain(|pid| *pid != gone);
                self.processes.leftovers.forget(gone);
            }
        }
        asked.into_iter().any(|signal| Command::by_signal(signal) == Some(Command::Quit))
    }

    /// Ends everything that applications have started in zygotes.
    fn end_leftovers(&mut self) {
        let end = now() + ZYGOTE_END * 2;
        while now() < end {
            self.look_at_leftovers(now());
            if self.processes.leftovers.is_empty() {
                return;
            }
            self.wait_for_exits(&mut Vec::new());
        }
    }
}
