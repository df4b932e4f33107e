//! The processes below another one, as `/proc` shows them (proc(5)). A list of them is of a moment: numbers may be reused,
//! so that nothing but a child of this process is signalled.

use std::collections::VecDeque;

use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::process;

/// Returns the processes below `pid`, each after its parent.
pub fn below(pid: Pid) -> Vec<Pid> {
    let all: Vec<(Pid, Pid)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = Vec::new();
    let mut parents = VecDeque::from([pid]);
    while let Some(above) = parents.pop_front() {
        for (child, _) in all.iter().filter(|(_, parent)| *parent == above) {
            found.push(*child);
            parents.push_back(*child);
        }
    }
    found
}

/// Returns the parent of a process; `None` if there is no such process.
pub fn parent(pid: Pid) -> Option<Pid> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may contain anything, also brackets and blanks.
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&line[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Kills a child and everything below it, and reaps them. This process has to be a subreaper.
pub fn kill(pid: Pid) {
    let below = below(pid);
    // Each one's parent is gone before it, so that it is a child of this process then.
    for pid in [pid].into_iter().chain(below).filter(|pid| process::is_child(*pid)) {
        let _ = process::signal(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn children_and_their_children_are_found_in_that_order() {
        let mut shell = Command::new("sh")
            // A background command has no standard input but the one it is given.
            .args(["-c", "exec 3<&0; cat <&3 & echo started; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = [0; 8];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut started).unwrap();
        let pid = Pid::from_raw(i32::try_from(shell.id()).unwrap());
        let found = below(Pid::this());
        let at = found.iter().position(|found| *found == pid).unwrap();
        let cat = below(pid)[0];
        assert_eq!(parent(cat), Some(pid));
        assert!(found[at..].contains(&cat), "{found:?}");
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(below(pid), []);
    }
}
