//! Time in tests. They are for right and wrong, not for speed: a limit only catches hangs, and a time that a test cannot do
//! without (a deadline that strikes, a pause within a timeout) is longer on a machine that is slow.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::virtualenv;

/// How long anything may take on a machine that is not slow before a test gives up.
///
/// Less than 30 s, the default of `graceful_timeout` and `timeout`: a stop that waits for them is a hang.
pub const LIMIT: Duration = Duration::from_secs(25);

/// The limit on this machine: `LIMIT`, as many times as the machine was slow when it was slowest.
pub fn limit() -> Duration {
    let mut slowest = SLOWEST.lock().unwrap();
    LIMIT.mul_f64(*slowest.get_or_insert_with(pace))
}

/// True if the limit is over for what began at `began`. The machine may have become slow meanwhile, so that it is measured
/// again before a test gives up.
pub fn is_over(began: Instant) -> bool {
    if began.elapsed() < limit() {
        return false;
    }
    let now = pace();
    let mut slowest = SLOWEST.lock().unwrap();
    let pace = slowest.map_or(now, |before| before.max(now));
    *slowest = Some(pace);
    began.elapsed() >= LIMIT.mul_f64(pace)
}

/// How many times slower this machine is at present than one on which the times of the tests hold; at least 1.
///
/// Measured anew each time, by a start of Python: a slow processor counts, and other processes on it.
pub fn pace() -> f64 {
    let mut python = Command::new(virtualenv().join("bin/python"));
    python.args(["-S", "-c", "pass"]).stdin(Stdio::null());
    let began = Instant::now();
    assert!(python.status().unwrap().success(), "{python:?}");
    (began.elapsed().as_secs_f64() / START_OF_PYTHON).clamp(1.0, MOST)
}

/// A time that is kept on a machine that is not slow, made longer on one that is.
pub fn patient(time: Duration) -> Duration {
    time.mul_f64(pace())
}

/// The same in seconds, as settings take them.
pub fn patient_seconds(seconds: f64) -> String {
    format!("{:.3}", seconds * pace())
}

/// Lets time pass, where a test is about time that passes.
pub fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// 10 to 15 ms on an idle machine, in seconds. The times of the tests bear a machine that needs four times as long.
const START_OF_PYTHON: f64 = 0.05;
/// Bounds what one measurement can say that came at a bad moment.
const MOST: f64 = 8.0;
/// The largest pace so far that limits were counted by.
static SLOWEST: Mutex<Option<f64>> = Mutex::new(None);
