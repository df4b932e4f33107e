//! The text of answers for people: sentences and tables.

use std::fmt;

use super::{Answer, ConnectionCounts, Running, ScalingChange, ScalingStatus, Status, ThreadStatus, WorkerStatus};

/// Writes the answer for people: several lines, no newline at the end.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Begun => f.write_str("begun"),
            Answer::Done(text) | Answer::Failed(text) | Answer::Unsound(text) | Answer::Refused(text) => {
                f.write_str(text.trim_end())
            }
            Answer::Status(status) => status.fmt(f),
            Answer::Requests(running) if running.is_empty() => f.write_str("no request is under way"),
            Answer::Requests(running) => {
                let row = |running: &Running| {
                    let [slot, thread] = [running.slot, running.thread].map(|number| number.to_string());
                    let seconds = format!("{:.1} s", running.seconds);
                    [slot, thread, running.pid.to_string(), seconds, running.request.clone()]
                };
                table(f, ["slot", "thread", "pid", "for", "request"], running.iter().map(row).collect())
            }
            Answer::Stacks(stacks) => {
                for (index, stack) in stacks.iter().enumerate() {
                    let before = if index == 0 { "" } else { "\n\n" };
                    write!(f, "{before}{stack}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for ThreadStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.request, self.seconds) {
            (Some(request), Some(seconds)) => write!(f, "thread {}, for {seconds:.1} s in {request}", self.thread),
            _ => write!(f, "thread {}, idle", self.thread),
        }
    }
}

impl fmt::Display for ScalingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} workers as the load asks", self.workers_min, self.workers_max)?;
        if let (Some(busy), Some(waiting)) = (self.busy, self.waiting) {
            write!(f, ": {busy}% busy, {waiting} connections wait")?;
        }
        if let Some(ScalingChange { from, to, seconds, why }) = &self.last_change {
            write!(f, "; {from} became {to} {} ago: {why}", span(*seconds))?;
        }
        Ok(())
    }
}

impl fmt::Display for ConnectionCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionCounts { idle, silent, reading, waiting, application, writing } = self;
        write!(f, "{idle} idle, {silent} silent, {reading} reading, {waiting} waiting for a thread, ")?;
        write!(f, "{application} in the application, {writing} writing")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |state: &str| self.workers.iter().filter(|worker| worker.state == state).count();
        // Those to be replaced serve until their replacement is ready.
        let (spent, ready) = (count("spent"), count("ready") + count("spent"));
        // The time is that since the start, which is not that of every state.
        let since = if self.state == "serving" { " for" } else { ", up" };
        writeln!(f, "{}{since} {}, pid {}, rwsgi {}", self.state, span(self.seconds), self.pid, self.version)?;
        if self.listening.is_empty() {
            writeln!(f, "{}, listening no longer", self.app)?;
        } else {
            writeln!(f, "{} at {}", self.app, self.listening.join(", "))?;
        }
        write!(f, "generation {}, {ready} of {} workers ready", self.generation, self.wanted)?;
        if spent > 0 {
            write!(f, ", {spent} to be replaced")?;
        }
        if let Some(scaling) = &self.scaling {
            write!(f, "\n{scaling}")?;
        }
        if let Some(pid) = self.new_master {
            write!(f, "\nan upgrade is under way: a new master serves beside this one, its pid is {pid}")?;
        }
        if let Some(failure) = &self.failure {
            write!(f, "\nthe last reload failed: {}", failure.lines().next().unwrap_or_default())?;
        }
        if self.workers.is_empty() {
            return Ok(());
        }
        f.write_str("\n\n")?;
        let row = |worker: &WorkerStatus| {
            let pid = worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let numbers = [worker.generation, worker.requests, worker.running as u64].map(|number| number.to_string());
            let [generation, requests, running] = numbers;
            [worker.slot.to_string(), pid, worker.state.clone(), generation, requests, running]
        };
        let heads = ["slot", "pid", "state", "generation", "requests", "under way"];
        table(f, heads, self.workers.iter().map(row).collect())?;
        let all = self.workers.iter().fold(ConnectionCounts::default(), |all, worker| all.and(worker.connections));
        write!(f, "\n\nconnections: {all}")
    }
}

/// Writes columns with two blanks between; the last one keeps its length.
pub fn table<const N: usize>(f: &mut fmt::Formatter<'_>, heads: [&str; N], rows: Vec<[String; N]>) -> fmt::Result {
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:width$}", width = width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    f.write_str(&lines.collect::<Vec<_>>().join("\n"))
}

/// Returns the two largest units: `3 h 12 min`.
pub(super) fn span(seconds: f64) -> String {
    // An invalid time is shown as none.
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
