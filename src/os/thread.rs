//! Threads: starting one that takes no signals, whether one runs.

use std::io;
use std::thread;

use nix::sys::signal::SigSet;
use nix::unistd::gettid;

/// Returns the calling thread's number, as in `/proc/self/task`.
pub fn current() -> i32 {
    gettid().as_raw()
}

/// True if the thread runs or waits for a CPU. False for one that waits for anything else, and for one that is not
/// there (proc(5), `/proc/pid/task/tid/stat`).
pub fn is_running(thread: i32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/self/task/{thread}/stat")) else { return false };
    // The name before the state may hold anything, parentheses too.
    let end = stat.iter().rposition(|&byte| byte == b')').unwrap_or(0);
    stat.get(end + 2) == Some(&b'R')
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

/// Enough for loops that call no application; the rest is for what glibc puts there, thread-local data of native
/// modules included.
const STACK: usize = 256 * 1024;
/// The stack that glibc gives a thread.
const LARGE_STACK: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_asks_runs_and_one_that_waits_does_not() {
        let (here, there) = mpsc::channel::<()>();
        let (number, asked) = mpsc::channel();
        let thread = thread::spawn(move || {
            number.send(current()).unwrap();
            let _ = there.recv();
        });
        let other = asked.recv().unwrap();
        assert!(is_running(current()));
        while is_running(other) {
            thread::yield_now();
        }
        drop(here);
        thread.join().unwrap();
        assert!(!is_running(other));
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
