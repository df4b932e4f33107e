//! The workers that the master knows: one slot each, with its channel. A message counts only for the slot of its
//! channel; the kernel gives its sender, and only a live child of the master becomes a worker.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::unistd::Pid;

use super::{FIRST, Generation, log_lines, now};
use crate::message::{BootFailure, Fork, FromWorker, ToWorker, ToZygote};
use crate::os::channel::{Channel, Packet, Received};
use crate::os::process::{self, Exit};
use crate::os::stack_dump::Stacks;
use crate::supervisor::{Event, Moment};

/// The slots of all workers.
#[derive(Default)]
pub(super) struct WorkerSlots {
    slots: Vec<Option<ForkedWorker>>,
    /// The number of workers requested over the master's life.
    age: u64,
    /// The newest generation of which a worker was requested.
    newest: u64,
    /// The zygotes that were asked for workers; they are children of the master, and no workers.
    zygotes: Vec<Pid>,
    /// Exits of processes whose slot is not known yet.
    early: VecDeque<(Pid, Exit, u64)>,
}

/// The report of a worker.
pub(super) enum WorkerReport {
    Event(Event),
    /// The reason why it could not boot.
    Failure(BootFailure),
    /// The time at which a file of the application changed.
    Changed(Moment),
    /// It ended before its first message; this is its age.
    Vanished(u64),
}

impl WorkerReport {
    /// Returns the event for the supervisor.
    pub(super) fn event(self, slot: usize) -> Event {
        match self {
            WorkerReport::Event(event) => event,
            WorkerReport::Vanished(_) => Event::Exited(slot),
            WorkerReport::Failure(failure) => Event::BootFailed(slot, failure.cause.exit_code()),
            WorkerReport::Changed(_) => Event::Tick,
        }
    }
}

/// A worker that was requested.
pub(super) struct ForkedWorker {
    channel: Channel,
    stacks: Stacks,
    generation: u64,
    /// As in [`Fork::age`].
    pub(super) age: u64,
    /// True if the hooks know that it is to end.
    leaving: bool,
    /// Its lifetime once it is ready.
    lifetime: Option<Duration>,
    /// Its process, known from its first message on.
    pub(super) pid: Option<Pid>,
    /// True if its channel has ended.
    closed: bool,
    readiness: Readiness,
    /// The time since which it is stopped by a signal.
    stopped: Option<Moment>,
    /// True if it was told to end, killed, or has said why it ends.
    pub(super) expected: bool,
    /// The number of messages that came over its channel, and the most that are allowed.
    messages: u32,
    most_messages: u32,
}

/// The state of a worker, as it has reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Nothing yet.
    Booting,
    Ready,
    /// It serves until it is replaced.
    Spent,
}

impl WorkerSlots {
    /// Asks a generation's zygote for a worker; returns the descriptor to poll.
    pub(super) fn ask(&mut self, slot: usize, generation: &Generation) -> io::Result<RawFd> {
        let zygote = generation.zygote.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let (ours, theirs) = Channel::pair()?;
        let ours = ours.refuse_descriptors();
        ours.set_nonblocking(true)?;
        ours.pass_credentials()?;
        let (stacks, written) = Stacks::pipe()?;
        self.age += 1;
        // The server's own start is no reload: a database that is still down then must not end it.
        let is_tried = generation.number > FIRST && generation.number > self.newest;
        self.newest = self.newest.max(generation.number);
        let fork = Fork { slot, age: self.age, max_requests: generation.draw_max_requests(), is_tried };
        zygote.channel.say(&ToZygote::Fork(fork), &[theirs.as_fd(), written.as_fd()])?;
        if !self.zygotes.contains(&zygote.pid) {
            self.zygotes.push(zygote.pid);
        }
        let fd = ours.as_raw_fd();
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(ForkedWorker {
            channel: ours,
            stacks,
            generation: generation.number,
            age: self.age,
            leaving: false,
            lifetime: generation.draw_lifetime(),
            pid: None,
            closed: false,
            readiness: Readiness::Booting,
            stopped: None,
            expected: false,
            messages: 0,
            most_messages: if generation.settings.reload { MOST_MESSAGES_WITH_RELOAD } else { MOST_MESSAGES },
        });
        Ok(fd)
    }

    /// Forgets a zygote that is gone; its pid may be reused soon.
    pub(super) fn forget_zygote(&mut self, pid: Pid) {
        self.zygotes.retain(|zygote| *zygote != pid);
    }

    /// Sends a message to the worker in `slot`, if there is one.
    pub(super) fn say(&self, slot: usize, word: &ToWorker, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.slots.get(slot).and_then(Option::as_ref) {
            Some(worker) => worker.channel.say(word, fds),
            None => Ok(()),
        }
    }

    /// Returns the next report of the worker in `slot`.
    pub(super) fn hear(&mut self, slot: usize) -> Option<WorkerReport> {
        loop {
            let worker = self.slots.get_mut(slot)?.as_mut()?;
            if worker.closed {
                return None;
            }
            match worker.channel.receive() {
                Ok(Received::Nothing) => return None,
                Ok(Received::Packet(_)) if worker.messages == worker.most_messages => {
                    let most = worker.most_messages;
                    tracing::error!(slot, "worker: expected at most {most} messages, found more; the rest is ignored");
                    worker.closed = true;
                    return None;
                }
                Ok(Received::Packet(packet)) => {
                    worker.messages += 1;
                    if let Some(heard) = self.said(slot, &packet) {
                        return Some(heard);
                    }
                }
                // The worker is gone, or its messages are invalid; its exit ends the slot. One without a first message
                // has no pid to match an exit.
                closed => {
                    worker.closed = true;
                    if let Err(error) = closed {
                        tracing::error!(slot, %error, "worker: expected a message");
                    }
                    if worker.pid.is_some() {
                        return None;
                    }
                    return self.slots[slot].take().map(|worker| WorkerReport::Vanished(worker.age));
                }
            }
        }
    }

    fn said(&mut self, slot: usize, packet: &Packet) -> Option<WorkerReport> {
        let worker = self.slots[slot].as_mut()?;
        let message = match serde_json::from_slice(&packet.bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(slot, %error, "worker: expected a message");
                return None;
            }
        };
        match (message, worker.pid) {
            (FromWorker::Hello, None) => {
                let pid = Pid::from_raw(packet.sender?);
                if process::is_child(pid) {
                    // The child has not been reaped, so an exit of this pid is that of an orphan which had it before.
                    self.early.retain(|(early, ..)| *early != pid);
                }
                let known = self.early.iter().any(|(early, ..)| *early == pid) || process::is_child(pid);
                let taken =
                    self.zygotes.contains(&pid) || self.slots.iter().flatten().any(|other| other.pid == Some(pid));
                if !known || taken {
                    tracing::error!(slot, pid = pid.as_raw(), "a process that is not a worker said that it was one");
                    return None;
                }
                self.slots[slot].as_mut()?.pid = Some(pid);
                Some(WorkerReport::Event(Event::Hello(slot, pid.as_raw())))
            }
            // Only messages of the worker itself count, as other processes may have got its channel.
            (_, Some(pid)) if packet.sender != Some(pid.as_raw()) => {
                tracing::error!(slot, sender = packet.sender, "a message that is not the worker's own, ignored");
                None
            }
            (FromWorker::Ready, Some(pid)) if worker.readiness == Readiness::Booting => {
                worker.readiness = Readiness::Ready;
                log_lines::ready(worker.generation, slot, pid);
                Some(WorkerReport::Event(Event::Ready(slot, worker.lifetime.map(|lifetime| now() + lifetime))))
            }
            (FromWorker::Failed(failure), Some(_)) if worker.readiness == Readiness::Booting => {
                // This is its last message.
                worker.closed = true;
                worker.expected = true;
                Some(WorkerReport::Failure(failure))
            }
            (FromWorker::Spent(spent), Some(pid)) if worker.readiness == Readiness::Ready => {
                worker.readiness = Readiness::Spent;
                // A worker that ends already is not replaced because of this.
                if !worker.expected {
                    log_lines::spent(slot, pid, spent);
                }
                Some(WorkerReport::Event(Event::Spent(slot)))
            }
            (FromWorker::Changed(at), Some(_)) if worker.readiness != Readiness::Booting => {
                Some(WorkerReport::Changed(Duration::from_nanos(at)))
            }
            (_, _) => None,
        }
    }

    /// Returns the slot of a child.
    pub(super) fn slot_of(&self, pid: Pid) -> Option<usize> {
        self.slots.iter().position(|worker| worker.as_ref().is_some_and(|worker| worker.pid == Some(pid)))
    }

    /// Returns the descriptor of a slot's channel.
    pub(super) fn channel(&self, slot: usize) -> Option<RawFd> {
        Some(self.slots.get(slot)?.as_ref()?.channel.as_raw_fd())
    }

    /// Records that the worker in `slot` is about to be told to end.
    pub(super) fn expect_end(&mut self, slot: usize) {
        if let Some(worker) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            worker.expected = true;
        }
    }

    /// Records that the worker in `slot` is to end. Returns its age, once.
    pub(super) fn leaves(&mut self, slot: usize) -> Option<u64> {
        let worker = self.slots.get_mut(slot)?.as_mut()?;
        (!std::mem::replace(&mut worker.leaving, true)).then_some(worker.age)
    }

    /// Empties a slot.
    pub(super) fn forget(&mut self, slot: usize) -> Option<ForkedWorker> {
        self.slots.get_mut(slot)?.take()
    }

    /// Keeps the exit of a child without a known slot, and its peak of resident bytes. Orphans of the application end here, too.
    pub(super) fn keep_exit(&mut self, pid: Pid, exit: Exit, peak: u64) {
        if self.early.len() == EARLY {
            self.early.pop_front();
        }
        self.early.push_back((pid, exit, peak));
    }

    /// Returns the exit and the peak of the worker in `slot`, if it came before its first message was read.
    pub(super) fn take_early_exit(&mut self, slot: usize) -> Option<(Exit, u64)> {
        let pid = self.slots.get(slot)?.as_ref()?.pid?;
        let at = self.early.iter().position(|(early, ..)| *early == pid)?;
        self.early.remove(at).map(|(_, exit, peak)| (exit, peak))
    }

    /// Returns the generation of the worker in `slot`.
    pub(super) fn generation(&self, slot: usize) -> Option<u64> {
        Some(self.slots.get(slot)?.as_ref()?.generation)
    }

    /// Returns the slots of a generation's workers.
    pub(super) fn of_generation(&self, number: u64) -> impl Iterator<Item = usize> {
        let is_its =
            move |worker: &Option<ForkedWorker>| worker.as_ref().is_some_and(|worker| worker.generation == number);
        (0..self.slots.len()).filter(move |slot| is_its(&self.slots[*slot]))
    }

    /// Returns the number of slots so far.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the workers that have sent a first message.
    pub(super) fn known(&self) -> Vec<(usize, Pid)> {
        let known = |(slot, worker): (usize, &Option<ForkedWorker>)| Some((slot, worker.as_ref()?.pid?));
        self.slots.iter().enumerate().filter_map(known).collect()
    }

    /// Returns the stacks of the worker in `slot`.
    pub(super) fn stacks(&mut self, slot: usize) -> Option<&mut Stacks> {
        Some(&mut self.slots.get_mut(slot)?.as_mut()?.stacks)
    }

    /// Returns the ready workers that are not to be replaced already.
    pub(super) fn unspent(&self) -> Vec<(usize, Pid)> {
        let unspent = |(slot, worker): (usize, &Option<ForkedWorker>)| {
            let worker = worker.as_ref().filter(|worker| worker.readiness == Readiness::Ready && !worker.expected)?;
            Some((slot, worker.pid?))
        };
        self.slots.iter().enumerate().filter_map(unspent).collect()
    }

    /// Records that the worker in `slot` is to be replaced.
    pub(super) fn note_spent(&mut self, slot: usize) {
        if let Some(worker) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            worker.readiness = Readiness::Spent;
        }
    }

    /// Records that the worker in `slot` has been stopped by a signal since then, or continues.
    pub(super) fn note_stopped(&mut self, slot: usize, since: Option<Moment>) {
        if let Some(worker) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            worker.stopped = since;
        }
    }

    /// True if the worker in `slot` is stopped by a signal.
    pub(super) fn is_stopped(&self, slot: usize) -> bool {
        self.slots.get(slot).and_then(Option::as_ref).is_some_and(|worker| worker.stopped.is_some())
    }

    /// Returns for each ready worker the time since which it has been in a request, by the scoreboard of its
    /// generation: in the oldest one of its threads. Or the time since which it has done nothing although requests
    /// wait.
    pub(super) fn look(&self, generations: &BTreeMap<u64, Generation>) -> Vec<(usize, Option<Moment>)> {
        let ready = |(slot, worker): (usize, &Option<ForkedWorker>)| {
            let worker = worker.as_ref().filter(|worker| worker.readiness != Readiness::Booting)?;
            let busy = generations.get(&worker.generation)?.oldest_request(slot);
            let busy = busy.and_then(|thread| thread.counts_from()).map(Duration::from_nanos);
            // An extended timeout of a request does not make a stopped worker continue.
            Some((slot, busy.into_iter().chain(worker.stopped).min()))
        };
        self.slots.iter().enumerate().filter_map(ready).collect()
    }
}

/// The most messages of a worker: hello, ready or failed, and spent are expected. More of them neither fill the log nor
/// keep the master busy.
const MOST_MESSAGES: u32 = 8;
/// The most messages with `reload`, where each saved file that does not load is one.
const MOST_MESSAGES_WITH_RELOAD: u32 = 1000;
/// The most exits that are kept. Between a fork and its first message there are at most as many as slots that start;
/// orphans of the application push old ones out.
const EARLY: usize = 256;
