//! The helper: a thread without the interpreter that looks after the connections when every other thread is in the
//! application. It calls no application and holds no Python object.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use nix::sys::epoll::EpollEvent;

use crate::log;
use crate::os::{clock, process, thread};
use crate::worker::reactor::timers::in_time;
use crate::worker::reactor::{EVENTS, Reactor, wait};
use crate::worker::threads::{Locked, PATIENCE_MS, Until, Worker};

impl<'a> Worker<'a> {
    /// Helps until the worker ends.
    pub fn help(&self) {
        if let Err(error) = self.tick() {
            tracing::error!(%error, "the helper ends: slow clients wait for the application from now on");
        }
        let main_is_lost = self.lock().deadlines.is_lost(MAIN);
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
        let mut held = self.lock();
        while held.ended().is_none() {
            idle = if held.states.calling() == 0 { idle + 1 } else { 0 };
            if idle > IDLE_TICKS {
                held.states.helper_rests = true;
                held = self.helper.wait(held).unwrap_or_else(PoisonError::into_inner);
                held.states.helper_rests = false;
                let left = held.states.left;
                held.deadlines.rested_until(left);
                idle = 0;
            }
            held = self.helper.wait_timeout(held, pause).unwrap_or_else(PoisonError::into_inner).0;
            self.corks.iter().for_each(|cork| cork.push());
            self.watch(&mut held);
            if !held.states.is_neglected(clock::monotonic(), every.neglect_ns) {
                continue;
            }
            if held.states.is_attended() {
                self.remind(&held);
            } else if computes(&mut held) {
                held = self.glance(held)?;
                pause = (pause * 2).min(every.at_most);
            } else {
                pause = every.tick;
                held = self.mind(held)?;
            }
        }
        Ok(())
    }

    /// Attends to what has come, and goes. Whoever computes needs the CPU: no thread is called, nothing new is taken on,
    /// and the kernel wakes nobody for what comes next.
    fn glance<'w>(&'w self, mut held: Locked<'w, 'a>) -> io::Result<Locked<'w, 'a>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        held.all_are_busy();
        let count = wait(&self.epoll, &mut events, Some(Duration::ZERO))?;
        held.take_in(&events[..count]);
        held = self.attend(held, Until::Done);
        if held.waiting_since().is_some() {
            held.hand_over();
        }
        Ok(held)
    }

    /// Attends until one of the others does, or the application computes.
    fn mind<'w>(&'w self, mut held: Locked<'w, 'a>) -> io::Result<Locked<'w, 'a>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        while !held.states.is_attended() && held.states.calling() > 0 && held.ended().is_none() {
            held = self.attend(held, Until::Done);
            self.corks.iter().for_each(|cork| cork.push());
            if computes(&mut held) {
                break;
            }
            let pause = self.find_thread(&mut held);
            let limit = held.sleep_limit().map_or(pause, |limit| limit.min(pause));
            held.hand_over_access();
            drop(held);
            let waited = wait(&self.epoll, &mut events, Some(limit));
            held = self.lock();
            held.take_in(&events[..waited?]);
            self.watch(&mut held);
        }
        self.remind(&held);
        Ok(held)
    }

    /// Somebody may have gone to sleep in epoll while the last events were on their way to here.
    fn remind(&self, held: &Reactor<'a>) {
        if held.states.all_sleep() && held.has_work() {
            let _ = self.wake.write(1);
        }
    }

    /// Calls a thread for the request that has waited the longest, if there is one to call and the interpreter is not in
    /// use. Says when to look again.
    fn find_thread(&self, held: &mut Reactor<'a>) -> Duration {
        if held.states.is_summoned() {
            if clock::monotonic().saturating_sub(held.states.summoned_at) > ON_ITS_WAY_NS {
                // Something holds the interpreter in C. Whoever waits here may be served elsewhere.
                held.all_are_busy();
                held.hand_over();
            }
            return LOOK_AGAIN;
        }
        match (held.states.idle(), held.waiting_since()) {
            (Some(number), Some(_)) => {
                held.thread_is_free();
                held.states.sets_out(number, clock::monotonic());
                let _ = self.park_events[number].write(1);
                LOOK_AGAIN
            }
            (Some(_), None) => {
                held.thread_is_free();
                QUIET
            }
            (None, None) => {
                held.all_are_busy();
                QUIET
            }
            (None, Some(_)) => {
                held.all_are_busy();
                held.hand_over();
                LOOK_AGAIN
            }
        }
    }
}

/// Does the application compute, and has nobody waited for long?
fn computes(held: &mut Reactor<'_>) -> bool {
    let long_ago = in_time(Duration::ZERO).saturating_sub(PATIENCE_MS);
    let is_recent = held.states.left_at() > long_ago && held.waiting_since().is_none_or(|since| since > long_ago);
    is_recent && held.states.callers().any(thread::is_running)
}

/// How closely the helper watches.
struct Watch {
    tick: Duration,
    /// How long it leaves an application alone that it finds computing, look after look: its own look takes 20 us, and the
    /// caches that it leaves cold take 50 more. A request that comes while the application has begun to wait for something
    /// waits for the helper at most this long.
    at_most: Duration,
    /// All threads have to be in the application for so long before the helper does anything.
    neglect_ns: u64,
}

/// One thread: whatever comes waits for it anyway.
const ALONE: Watch =
    Watch { tick: Duration::from_millis(10), at_most: Duration::from_millis(40), neglect_ns: 5_000_000 };
/// Several: another one could begin at once.
const AMONG_OTHERS: Watch =
    Watch { tick: Duration::from_millis(1), at_most: Duration::from_millis(20), neglect_ns: 1_000_000 };
/// CPython has a thread that computes hand over after 5 ms, several threads one after the other.
const ON_ITS_WAY_NS: u64 = 50_000_000;
/// The number of the thread that ends the process.
const MAIN: usize = 0;
/// What a full disk may hold up the end for.
const LOG_FLUSH: Duration = Duration::from_secs(1);
/// So many ticks with nobody in the application, and the helper rests until somebody is.
const IDLE_TICKS: u32 = 3;
/// While requests wait.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// While none does: the kernel wakes the helper for what comes. A thread that sleeps in epoll beside it ends this.
const QUIET: Duration = Duration::from_millis(10);
