//! The I/O thread: it never attaches, and attends to the connections while every other thread is in the application. It
//! calls no application and holds no Python object.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use nix::sys::epoll::EpollEvent;

use super::{Locked, PATIENCE_MS, Shared, Until, Worker};
use crate::log;
use crate::os::scoreboard::Slot;
use crate::os::{clock, process, thread};
use crate::worker::millis;
use crate::worker::reactor::poll::{EVENTS, wait};

/// The tasks that the I/O thread may do while it attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// One look: the application computes and needs the CPU. No thread is woken, nothing new is accepted, and the
    /// kernel wakes no thread for what comes next.
    Look,
    /// Everything that needs no GIL, and waking a thread for what does.
    Everything,
}

impl<'a> Worker<'a> {
    /// Runs the I/O thread until the worker ends.
    pub fn run_io_thread(&self) {
        if let Err(error) = self.tick() {
            tracing::error!(%error, "the I/O thread ends: slow clients wait for the application from now on");
        }
        let main_is_lost = self.lock().timeouts.is_lost(MAIN);
        if main_is_lost {
            // It would end the process, and never comes back.
            tracing::info!("worker ends without its main thread");
            log::flush(LOG_FLUSH);
            process::exit_now(0);
        }
    }

    fn tick(&self) -> io::Result<()> {
        let every = if self.threads() == 1 { ALONE } else { AMONG_OTHERS };
        let mut idle = 0;
        let mut pause = every.tick;
        let mut locked = self.lock();
        while locked.ended().is_none() {
            idle = if locked.states.calling() == 0 { idle + 1 } else { 0 };
            if idle > IDLE_TICKS {
                locked.states.set_io_thread_rests(true);
                locked = self.io_thread.wait(locked).unwrap_or_else(PoisonError::into_inner);
                locked.states.set_io_thread_rests(false);
                let called_at = locked.states.called_at();
                locked.timeouts.rested_until(called_at);
                idle = 0;
            }
            locked = self.io_thread.wait_timeout(locked, pause).unwrap_or_else(PoisonError::into_inner).0;
            locked = self.send_for_calls(locked);
            self.watch_timeouts(&mut locked);
            self.watch_streams(&mut locked);
            if !locked.states.is_neglected(clock::monotonic(), every.neglect_ns) {
                continue;
            }
            if locked.states.is_attended() {
                self.wake_sleeper(&locked);
            } else if computes(&mut locked) {
                locked = self.poll_until_attended(locked, Allowed::Look)?;
                pause = (pause * 2).min(every.at_most);
            } else {
                pause = every.tick;
                locked = self.poll_until_attended(locked, Allowed::Everything)?;
            }
        }
        Ok(())
    }

    /// Says once that a response which the application makes slowly holds its thread: a worker of one thread serves
    /// no other client meanwhile.
    fn watch_streams(&self, locked: &mut Shared<'a>) {
        if locked.has_slow_stream {
            return;
        }
        let now = clock::monotonic();
        // None while it waits for its client.
        let is_slow = |slot: &Slot| slot.busy_since().is_some_and(|(since, _)| now.saturating_sub(since) > SLOW_NS);
        let mut calls = self.setup.slots.iter().zip(&self.owners).enumerate();
        let slow =
            calls.find(|(at, (slot, owner))| locked.states.is_calling(*at) && owner.has_begun() && is_slow(slot));
        let Some((_, (found, _))) = slow else { return };
        locked.has_slow_stream = true;
        let ((_, path), threads) = (found.method_and_path(), self.threads());
        tracing::warn!(
            path,
            threads,
            "a response is made slowly and holds its thread for as long; said once\nhint: threads is the number of such responses that a worker can make at a time"
        );
    }

    /// Sends what was made of responses under way, where the threads that make them do not.
    fn send_for_calls<'w>(&'w self, locked: Locked<'w, 'a>) -> Locked<'w, 'a> {
        self.corks.iter().for_each(|cork| cork.push());
        if !self.corks.iter().any(|cork| cork.has_queue()) {
            return locked;
        }
        drop(locked);
        self.corks.iter().for_each(|cork| cork.send_queue());
        self.lock()
    }

    /// Attends until another thread does, or the application computes.
    fn poll_until_attended<'w>(&'w self, mut locked: Locked<'w, 'a>, allowed: Allowed) -> io::Result<Locked<'w, 'a>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        while !locked.states.is_attended() && locked.states.calling() > 0 && locked.ended().is_none() {
            if allowed == Allowed::Look {
                locked.reactor.threads_are_busy();
                locked.reactor.poll()?;
                locked = self.attend(locked, Until::Done);
                locked.hand_off_waiting();
                locked.reactor.publish();
                return Ok(locked);
            }
            locked = self.attend(locked, Until::Done);
            locked = self.send_for_calls(locked);
            // Both may have let go of the lock: a thread that has come back since takes new connections itself.
            if locked.states.is_attended() || computes(&mut locked) {
                break;
            }
            let pause = self.find_thread(&mut locked);
            let limit = locked.reactor.sleep_limit().map_or(pause, |limit| limit.min(pause));
            locked.reactor.publish();
            drop(locked);
            let waited = wait(&self.epoll, &mut events, Some(limit));
            locked = self.lock();
            locked.reactor.take_in(&events[..waited?]);
            self.watch_timeouts(&mut locked);
            self.watch_streams(&mut locked);
        }
        self.wake_sleeper(&locked);
        self.wake_for_deadline(&mut locked);
        Ok(locked)
    }

    /// A thread may have gone to sleep in epoll_wait while the last events were on their way to here.
    fn wake_sleeper(&self, locked: &Shared<'a>) {
        if locked.states.all_sleep() && locked.reactor.has_work() {
            let _ = self.wake.write(1);
        }
    }

    /// Wakes a thread for the request that has waited the longest, if there is one to wake and the GIL is not in use.
    /// Returns when to look again.
    fn find_thread(&self, locked: &mut Shared<'a>) -> Duration {
        let waits = locked.reactor.waiting_since().is_some();
        if let Some(since) = locked.states.waking_since() {
            if clock::monotonic().saturating_sub(since) > ON_ITS_WAY_NS {
                // Something holds the GIL in C. What waits here may be served elsewhere.
                locked.reactor.threads_are_busy();
                locked.reactor.hand_off();
            }
            return LOOK_AGAIN;
        }
        match locked.states.parked() {
            Some(number) => {
                locked.reactor.thread_is_free();
                if waits {
                    locked.states.set_waking(number, clock::monotonic());
                    let _ = self.park_events[number].write(1);
                }
            }
            None => {
                locked.reactor.threads_are_busy();
                locked.hand_off_waiting();
            }
        }
        if waits { LOOK_AGAIN } else { QUIET }
    }
}

impl Shared<'_> {
    fn hand_off_waiting(&mut self) {
        if self.reactor.waiting_since().is_some() {
            self.reactor.hand_off();
        }
    }
}

/// True if the application computes, and no request has waited for long.
fn computes(locked: &mut Shared<'_>) -> bool {
    let long_ago = millis::now().saturating_sub(PATIENCE_MS);
    let is_recent = locked.states.called_at() / 1_000_000 > long_ago
        && locked.reactor.waiting_since().is_none_or(|since| since > long_ago);
    is_recent && locked.states.callers().any(thread::is_running)
}

/// The intervals at which the I/O thread watches.
struct Watch {
    tick: Duration,
    /// The longest time for which it leaves an application alone that it finds computing, look after look: its own look
    /// takes 20 us, and the caches that it leaves cold take 50 more. A request that comes while the application has
    /// begun to wait for something waits for the I/O thread at most this long.
    at_most: Duration,
    /// The time for which all threads have to be in the application before the I/O thread does anything.
    neglect_ns: u64,
}

/// One thread: whatever comes waits for it anyway.
const ALONE: Watch =
    Watch { tick: Duration::from_millis(10), at_most: Duration::from_millis(40), neglect_ns: 5_000_000 };
/// Several: another one could begin at once.
const AMONG_OTHERS: Watch =
    Watch { tick: Duration::from_millis(1), at_most: Duration::from_millis(20), neglect_ns: 1_000_000 };
/// CPython has a thread that computes hand over the GIL after 5 ms, several threads one after the other.
const ON_ITS_WAY_NS: u64 = 50_000_000;
/// The number of the thread that ends the process.
const MAIN: usize = 0;
/// The longest time for which a full disk may hold up the end.
const LOG_FLUSH: Duration = Duration::from_secs(1);
/// A response that takes longer than this is a stream. No page takes as long to be sent to a socket or a file.
const SLOW_NS: u64 = 10_000_000_000;
/// After this many ticks without a call the I/O thread rests until there is one.
const IDLE_TICKS: u32 = 3;
/// While requests wait.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// While none does: the kernel wakes the I/O thread for what comes. A thread that sleeps in epoll_wait beside it ends
/// this.
const QUIET: Duration = Duration::from_millis(10);
