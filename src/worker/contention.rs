//! Where more workers compute than there are CPUs, each gets turns of a few milliseconds, and each turn begins with caches
//! full of another's memory. A worker that had to wait for a CPU leaves its requests to those that compute anyway, and takes
//! no new ones for a while: as many workers compute as there are CPUs, one request after the other. Who computes is the
//! kernel's to say. Decision 38 tells why.
//!
//! ```text
//! open -- waited for a CPU, and others compute on all of them --> gives way: its requests go into the queue
//!   ^                                                                 |
//!   '-- they sleep in between, have ended, or take long --------------'  looked at every 20 ms
//! ```

use std::mem;
use std::time::Duration;

use super::door::Door;
use super::event_loop::{EventLoop, Request, Task};
use super::threads::PATIENCE_MS;
use super::timers::in_time;
use crate::os::clock;
use crate::os::thread::{Schedule, Times, sleeps_of_running};

/// What a thread knows of its waiting for a CPU.
pub(super) struct CpuWaits {
    schedule: Schedule,
    /// How long it had waited when it looked last, and when that was, in ns.
    waited: u64,
    looked: u64,
}

impl CpuWaits {
    /// None where the kernel does not say.
    pub(super) fn of(thread: i32) -> Option<CpuWaits> {
        let schedule = Schedule::of(thread).ok()?;
        let waited = schedule.times()?.waited;
        Some(CpuWaits { schedule, waited, looked: clock::monotonic() })
    }

    /// Has the thread waited for a CPU since it looked last?
    fn have_grown(&mut self, now: u64) -> bool {
        let looked = mem::replace(&mut self.looked, now);
        if now.saturating_sub(looked) < WORTH_IT_NS {
            return false;
        }
        let Some(Times { waited, .. }) = self.schedule.times() else { return false };
        waited.saturating_sub(mem::replace(&mut self.waited, waited)) >= WORTH_IT_NS
    }
}

/// What a worker knows of the others that compute.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    known: Vec<Rival>,
    /// How often in a row they were found to compute.
    looks: u32,
    /// Until then (ns of the monotonic clock) there is taken to be room for one more.
    room_until: u64,
    /// For how many ns that was.
    room: u64,
    /// Until then (ns of the monotonic clock) nobody is taken to idle: looking at all of them takes its time, too.
    none_idles_until: u64,
}

/// A thread of another worker, as it was when it was seen first.
#[derive(Clone, Copy, Debug)]
struct Rival {
    thread: i32,
    /// When that was, in ns of the monotonic clock.
    since: u64,
    /// How long it had been on a CPU, or had waited for one, in ns.
    awake: u64,
    /// How often it had slept.
    sleeps: u64,
}

/// Do enough others need their CPUs?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// They do.
    Computing,
    /// They sleep in between.
    Sleeping,
    /// Too few have something to do.
    Few,
}

impl Rivals {
    /// What a thread was when it was seen first, and whether it has hardly slept since; none for one that sleeps now.
    fn look(&self, thread: i32, now: u64) -> Option<(Rival, bool)> {
        let sleeps = sleeps_of_running(thread)?;
        let Times { ran, waited } = Schedule::of(thread).ok()?.times()?;
        let awake = ran.saturating_add(waited);
        let known = self.known.iter().find(|known| known.thread == thread);
        let rival = known.copied().unwrap_or(Rival { thread, since: now, awake, sleeps });
        let span = now.saturating_sub(rival.since);
        let slept = span.saturating_sub(awake.saturating_sub(rival.awake));
        Some((rival, sleeps == rival.sleeps || slept <= NOT_COUNTED_NS + span / 10))
    }

    /// Nobody is given way to for a while, a longer one each time.
    fn have_room(&mut self, now: u64) {
        self.room = (self.room * 2).clamp(ROOM_NS, MOST_ROOM_NS);
        self.room_until = now.saturating_add(self.room);
    }
}

impl EventLoop<'_> {
    /// What this worker is to do of a task and of the requests that wait behind it. The rest is for workers that compute
    /// anyway, or have nothing to do.
    pub(super) fn fair_share(&mut self, task: Task, waits: Option<&mut CpuWaits>) -> Option<Task> {
        let Task::Request(request) = task else { return Some(task) };
        let request = match waits {
            Some(waits) => self.unless_others_compute(request, waits)?,
            None => request,
        };
        self.spread();
        Some(Task::Request(request))
    }

    /// Before a request is begun: those that would wait for it go to workers that have nothing to do. Reading and passing
    /// on takes longer than a request that is over at once.
    fn spread(&mut self) {
        if self.pace < WORTH_MOVING_NS || self.unseen() == 0 || self.stopping.is_some() {
            return;
        }
        let now = clock::monotonic();
        if now < self.rivals.none_idles_until {
            return;
        }
        let idle = self.setup.handover.idle(self.unseen());
        if idle == 0 || !self.has_room_beside(now) {
            self.rivals.none_idles_until = now.saturating_add(LOOK_AGAIN_NS);
            return;
        }
        for _ in 0..idle {
            match self.next_task() {
                Some(Task::Request(request)) => self.enqueue(request),
                other => {
                    self.set_aside = other;
                    break;
                }
            }
        }
        // A signal may have been among that. Who has stopped looks into the queue no more.
        if self.stopping.is_none() {
            self.hand_over();
        }
    }

    /// Leaves a request to the other workers where they need the CPUs. Else it is this worker's.
    fn unless_others_compute(&mut self, request: Request, waits: &mut CpuWaits) -> Option<Request> {
        let now = clock::monotonic();
        let gives_way = matches!(self.door, Door::GivingWay { .. });
        let is_asked = gives_way || waits.have_grown(now) && self.door == Door::Open && now >= self.rivals.room_until;
        if !is_asked || !self.may_leave(&request) {
            return Some(request);
        }
        // Looking at the others takes its time.
        self.batch.send();
        if !gives_way {
            // Before the others are looked at: of two that look at each other at least one sees that the other gives way.
            self.shut_door(Door::GivingWay { until: in_time(PAUSE) });
            self.rivals.looks = 0;
        }
        if !self.give_way_or_open(now) {
            return Some(request);
        }
        self.enqueue(request);
        // It is the last in line.
        let token = self.requests.pop_back()?;
        if self.pass_on(token) {
            return None;
        }
        self.requests.push_front(token);
        self.next_request()
    }

    /// A worker that has given way for a while looks whether it is to do so any longer.
    pub(super) fn has_given_way(&mut self) {
        if self.give_way_or_open(self.now) {
            self.shut_door(Door::GivingWay { until: in_time(PAUSE) });
            self.rivals.looks = self.rivals.looks.saturating_add(1);
            if self.rivals.looks > ENOUGH_LOOKS {
                self.rivals.room = 0;
            }
        }
    }

    /// Do others compute on all CPUs? If not, this worker takes requests again.
    fn give_way_or_open(&mut self, now: u64) -> bool {
        let (found, known) = self.others(now, self.setup.contested_cpus.unwrap_or(usize::MAX));
        if found == Found::Computing {
            self.rivals.known = known;
            return true;
        }
        if found == Found::Sleeping {
            self.rivals.have_room(now);
        }
        self.rivals.known.clear();
        self.open_door();
        false
    }

    /// While this worker computes, is there a CPU for another one?
    fn has_room_beside(&self, now: u64) -> bool {
        let Some(cpus) = self.setup.contested_cpus else { return true };
        cpus > 1 && self.others(now, cpus - 1).0 != Found::Computing
    }

    /// May a request wait a little longer, in another worker?
    fn may_leave(&self, request: &Request) -> bool {
        let long_ago = in_time(Duration::ZERO).saturating_sub(PATIENCE_MS);
        self.stopping.is_none() && request.connection.waits_since.is_none_or(|since| since > long_ago)
    }

    /// Do so many others get on with their requests, and take more? Of many only some are looked at.
    fn others(&self, now: u64, enough: usize) -> (Found, Vec<Rival>) {
        let at_work = self.setup.handover.at_work(now.saturating_sub(PATIENCE_MS * 1_000_000));
        let asked = at_work.len().min(MOST_ASKED);
        let mut known = Vec::new();
        let mut computing = 0;
        for threads in &at_work[..asked] {
            for thread in threads.iter().take(MOST_ASKED) {
                let Some((rival, computes)) = self.rivals.look(*thread, now) else { continue };
                known.push(rival);
                if computes {
                    computing += 1;
                    break;
                }
            }
        }
        let found = if at_work.len() < enough {
            Found::Few
        } else if computing * at_work.len() >= enough * asked {
            Found::Computing
        } else {
            Found::Sleeping
        };
        (found, known)
    }
}

/// A wait for a CPU that a request may be given away for. A turn is 3 or 4 ms.
const WORTH_IT_NS: u64 = 500_000;
/// Moving a connection costs two workers some 50 us.
const WORTH_MOVING_NS: u64 = 200_000;
/// While nobody idles.
const LOOK_AGAIN_NS: u64 = 1_000_000;
/// How many workers are looked at, and of each how many threads: one costs 16 us.
const MOST_ASKED: usize = 8;
/// How long a worker takes no new connections before it looks again whether others compute.
const PAUSE: Duration = Duration::from_millis(20);
/// What the kernel has not counted yet of a thread that computes: a tick of 4 ms at most distributions.
const NOT_COUNTED_NS: u64 = 4_000_000;
/// How long a worker gives way to nobody after others were found sleeping: longer each time.
const ROOM_NS: u64 = 1_000_000_000;
const MOST_ROOM_NS: u64 = 60_000_000_000;
/// After so many looks in a row they do compute, and the first mistake counts as the first again.
const ENOUGH_LOOKS: u32 = 10;
