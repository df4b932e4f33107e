//! The text of a worker's stacks: threads with a request first, idle ones in one line, calls in the order of Python's own
//! tracebacks.

use std::fmt;

use super::{Stack, ThreadStatus};

/// One thread of a dump by faulthandler.
struct Dumped<'s> {
    /// Its first line: `Thread 0x... (most recent call first):`.
    title: &'s str,
    /// The number by which Python names it.
    ident: Option<u64>,
    /// Its calls, the innermost first.
    calls: Vec<&'s str>,
}

/// Writes the threads that call the application by their numbers, with what they do; others as faulthandler names them.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}, pid {}", self.slot, self.pid)?;
        let Some(text) = &self.text else {
            return f.write_str("\n  no answer: it is stopped, or has not loaded the application");
        };
        self.write_activity(f)?;
        let (mut shown, mut idle) = (Vec::new(), Vec::new());
        for dumped in dumped(text) {
            let status = dumped.ident.and_then(|ident| self.thread(ident));
            match status.filter(|status| status.request.is_none()) {
                Some(status) => idle.push(status.thread),
                None => shown.push((dumped, status)),
            }
        }
        // Those with a request, by their numbers; behind them those of the application.
        shown.sort_by_key(|(_, status)| status.map_or(usize::MAX, |status| status.thread));
        for (index, (thread, status)) in shown.into_iter().enumerate() {
            f.write_str(if index == 0 { "\n" } else { "\n\n" })?;
            thread.write(f, status)?;
        }
        write_idle(f, idle)
    }
}

impl Stack {
    /// Returns the thread that Python names by this number, if it calls the application.
    fn thread(&self, ident: u64) -> Option<&ThreadStatus> {
        self.threads.iter().find(|thread| thread.ident != 0 && thread.ident == ident)
    }

    /// Writes how many requests are under way, behind the worker's name.
    fn write_activity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.threads.iter().filter(|thread| thread.request.is_some()).count() {
            0 if self.threads.iter().any(|thread| thread.ident != 0) => f.write_str(", idle: no request is under way"),
            0 => Ok(()),
            1 => f.write_str(", 1 request under way"),
            count => write!(f, ", {count} requests under way"),
        }
    }
}

/// Writes the numbers of the threads that idle, on one line.
fn write_idle(f: &mut fmt::Formatter<'_>, mut idle: Vec<usize>) -> fmt::Result {
    idle.sort_unstable();
    let numbers: Vec<String> = idle.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [] => Ok(()),
        [one] => write!(f, "\nidle: thread {one}"),
        several => write!(f, "\nidle: threads {}", several.join(", ")),
    }
}

impl Dumped<'_> {
    fn write(&self, f: &mut fmt::Formatter<'_>, status: Option<&ThreadStatus>) -> fmt::Result {
        let title = self.title.replace("(most recent call first)", "(most recent call last)");
        match status {
            Some(status) => {
                let rest =
                    title.split_once("0x").and_then(|(_, rest)| rest.split_once(' ')).map_or("", |(_, rest)| rest);
                write!(f, "{status} {rest}")?;
            }
            None => f.write_str(&title)?,
        }
        self.calls.iter().rev().try_for_each(|call| write!(f, "\n{call}"))
    }
}

/// Splits a dump into its threads. What comes before the first one has no calls.
fn dumped(text: &str) -> Vec<Dumped<'_>> {
    let mut threads: Vec<Dumped<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match threads.last_mut() {
            Some(thread) if line.starts_with(' ') => thread.calls.push(line),
            _ => threads.push(Dumped { title: line, ident: ident(line), calls: Vec::new() }),
        }
    }
    threads
}

/// Returns the number in the first line of a thread.
fn ident(title: &str) -> Option<u64> {
    let rest = title.strip_prefix("Current thread 0x").or_else(|| title.strip_prefix("Thread 0x"))?;
    u64::from_str_radix(rest.split(' ').next()?, 16).ok()
}
