//! Threads: starting one that takes no signals, whether one runs, how long one has waited for a CPU.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;

use nix::sys::signal::SigSet;
use nix::unistd::gettid;

/// The calling thread's number, as in `/proc/self/task`.
pub fn current() -> i32 {
    gettid().as_raw()
}

/// Does the thread run, or wait for a CPU alone? `false` for one that waits for anything else, and for one that is not
/// there (proc(5), `/proc/pid/task/tid/stat`).
pub fn is_running(thread: i32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/self/task/{thread}/stat")) else { return false };
    // The name before the state may hold anything, parentheses too.
    let end = stat.iter().rposition(|&byte| byte == b')').unwrap_or(0);
    stat.get(end + 2) == Some(&b'R')
}

/// How often a thread has slept in its life, if it runs now, or waits for a CPU alone; of whichever process (proc(5),
/// `/proc/pid/task/tid/status`).
pub fn sleeps_of_running(thread: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/task/{thread}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    field("State:")?.starts_with('R').then_some(())?;
    field("voluntary_ctxt_switches:")?.parse().ok()
}

/// What the kernel counts of a thread: `/proc/pid/task/tid/schedstat` (Documentation/scheduler/sched-stats.rst).
#[derive(Debug)]
pub struct Schedule(File);

/// How a thread has spent its life, in ns; the rest of it it slept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// On a CPU. Of a thread that runs now, as of the kernel's last tick.
    pub ran: u64,
    /// Waiting for a CPU, without the wait that is not over.
    pub waited: u64,
}

impl Schedule {
    /// Of a thread of any process. Errors: it is not there; a kernel without `CONFIG_SCHED_INFO`.
    pub fn of(thread: i32) -> io::Result<Schedule> {
        File::open(format!("/proc/{thread}/task/{thread}/schedstat")).map(Schedule)
    }

    /// None when it is not there any more.
    pub fn times(&self) -> Option<Times> {
        let mut text = [0; 64];
        let length = self.0.read_at(&mut text, 0).ok()?;
        let mut numbers = std::str::from_utf8(&text[..length]).ok()?.split_ascii_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        Some(Times { ran: next()?, waited: next()? })
    }
}

/// Starts a thread that lives until the process ends or `body` returns. Signals go to other threads.
pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_with(name, STACK, body)
}

/// As [`start`], for a thread that is to run an interpreter.
pub fn start_large(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_with(name, LARGE_STACK, body)
}

fn start_with(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let before = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)?;
    let started = thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(body);
    before.thread_set_mask()?;
    started.map(drop)
}

/// Enough for loops that call no application; the rest is for what glibc puts there, thread-local data of native modules
/// included.
const STACK: usize = 256 * 1024;
/// What glibc gives a thread.
const LARGE_STACK: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A thread that waits until what is returned first is dropped, and its number.
    fn waiting() -> (mpsc::Sender<()>, i32, thread::JoinHandle<u64>) {
        let (here, there) = mpsc::channel::<()>();
        let (number, asked) = mpsc::channel();
        let thread = thread::spawn(move || {
            number.send(current()).unwrap();
            let _ = there.recv();
            sleeps_of_running(current()).unwrap()
        });
        (here, asked.recv().unwrap(), thread)
    }

    #[test]
    fn a_thread_that_asks_runs_and_one_that_waits_does_not() {
        let (here, other, thread) = waiting();
        assert!(is_running(current()));
        while is_running(other) {
            thread::yield_now();
        }
        drop(here);
        thread.join().unwrap();
        assert!(!is_running(other));
    }

    #[test]
    fn how_a_thread_spends_its_life_is_counted() {
        let (here, other, thread) = waiting();
        while sleeps_of_running(other).is_some() {
            thread::yield_now();
        }
        let schedule = Schedule::of(other).unwrap();
        assert!(schedule.times().unwrap().ran > 0);
        drop(here);
        assert!(thread.join().unwrap() > 0, "it has slept");
        while schedule.times().is_some() {
            thread::yield_now();
        }
        assert_eq!(sleeps_of_running(other), None, "it is not there any more");
        let mine = Schedule::of(current()).unwrap();
        let begun = mine.times().unwrap();
        while mine.times().unwrap().ran == begun.ran {}
    }

    #[test]
    fn a_started_thread_takes_no_signals() {
        let (say, hear) = mpsc::channel();
        start("rwsgi: test", move || say.send(SigSet::thread_get_mask().unwrap()).unwrap()).unwrap();
        let mask = hear.recv().unwrap();
        assert!(mask.contains(nix::sys::signal::Signal::SIGTERM));
        assert!(!SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::Signal::SIGTERM));
    }
}
