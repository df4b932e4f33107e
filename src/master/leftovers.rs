//! Processes that an application has started in a zygote and not ended: they end with that zygote. When it is gone they
//! are children of the master, which tells them to end, and kills them a second later. Signals reach children of the
//! master only, and none of the server's own processes.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::hook_process::HookProcess;
use super::{Master, Processes};
use crate::os::{descendants, process};
use crate::supervisor::Moment;

/// The processes below zygotes that have ended, or are about to.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    groups: Vec<Group>,
}

/// The processes below one zygote.
#[derive(Debug)]
struct Group {
    zygote: Pid,
    members: Vec<Member>,
    /// The time from which on they are killed, once one was told to end.
    kill_at: Option<Moment>,
    /// The time of the next look.
    next: Option<Moment>,
}

#[derive(Debug)]
struct Member {
    pid: Pid,
    /// True if it was told to end.
    told: bool,
}

impl Leftovers {
    /// Notes the processes below a zygote that is about to end.
    pub(super) fn note(&mut self, zygote: Pid) {
        let known = |pid: &Pid| self.groups.iter().flat_map(|group| &group.members).any(|member| member.pid == *pid);
        let new = descendants::below(zygote).into_iter().filter(|pid| !known(pid));
        let new: Vec<Member> = new.take(MOST).map(|pid| Member { pid, told: false }).collect();
        match self.groups.iter_mut().find(|group| group.zygote == zygote) {
            Some(group) => group.members.extend(new),
            None if new.is_empty() => {}
            None => self.groups.push(Group { zygote, members: new, kill_at: None, next: None }),
        }
    }

    /// Forgets a process that has ended.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.retain(|member| member != pid);
    }

    /// Returns the time of the next look, if one is needed.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.groups.iter().filter_map(|group| group.next).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Ends those whose parents are gone. `own` are processes of the server.
    pub(super) fn look(&mut self, own: &[Pid], now: Moment) {
        self.retain(|member| !own.contains(&member));
        self.groups.iter_mut().for_each(|group| group.look(now));
        self.retain(|_| true);
    }

    fn retain(&mut self, keep: impl Fn(Pid) -> bool) {
        self.groups.iter_mut().for_each(|group| group.members.retain(|member| keep(member.pid)));
        self.groups.retain(|group| !group.members.is_empty());
    }
}

impl Group {
    fn look(&mut self, now: Moment) {
        if process::is_child(self.zygote) {
            // Its exit handlers may end them.
            return;
        }
        let above: Vec<Pid> = self.members.iter().map(|member| member.pid).collect();
        let kill_at = &mut self.kill_at;
        self.members.retain_mut(|member| {
            let pid = member.pid;
            if !process::is_child(pid) {
                return descendants::parent(pid).is_some_and(|parent| above.contains(&parent));
            }
            if *kill_at.get_or_insert(now + ZYGOTE_END) <= now {
                let _ = process::signal(pid, Signal::SIGKILL);
            } else if !std::mem::replace(&mut member.told, true) {
                tracing::debug!(pid = pid.as_raw(), "a process that the application has left is told to end");
                let _ = process::signal(pid, Signal::SIGTERM);
            }
            true
        });
        self.next = self.kill_at.map(|at| if at > now { at } else { now + ZYGOTE_END });
    }
}

impl Processes {
    /// Notes what would be left of a generation's zygote, which is about to end.
    pub(super) fn note_leftovers(&mut self, number: u64) {
        if let Some(pid) = self.zygote(number).map(|zygote| zygote.pid) {
            self.leftovers.note(pid);
        }
    }
}

impl Master<'_> {
    /// Ends what zygotes have left.
    pub(super) fn look_at_leftovers(&mut self, now: Moment) {
        if self.processes.leftovers.is_empty() {
            return;
        }
        let Processes { workers, generations, evaluation, hook_process, .. } = &self.processes;
        let zygotes = generations.values().filter_map(|generation| generation.zygote.as_ref());
        let zygotes = zygotes.chain(evaluation.as_ref().map(|evaluation| &evaluation.zygote));
        let others = hook_process.as_ref().and_then(HookProcess::pid);
        let own: Vec<Pid> = workers
            .known()
            .into_iter()
            .map(|(_, pid)| pid)
            .chain(zygotes.map(|zygote| zygote.pid))
            .chain(others)
            .chain(self.succession.other.successor())
            .collect();
        self.processes.leftovers.look(&own, now);
    }
}

/// The shortest time for exit handlers of a zygote, and the time from a TERM to a KILL.
pub(super) const ZYGOTE_END: Duration = Duration::from_secs(1);
/// The most processes that are noted at a time: more would keep the master busy.
const MOST: usize = 4096;
