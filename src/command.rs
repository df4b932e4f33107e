//! The commands of a master, one row each, with its signal or its verb on the command line. Sends and catches no
//! signal.

use std::fmt::Write as _;

/// A command to a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Finish the requests under way, then end.
    Stop,
    /// End at once.
    Quit,
    /// Read settings and code again.
    Reload,
    /// Reopen the log files.
    Reopen,
    /// Start a new master beside this one.
    Upgrade,
    /// Stop the workers, keep the master.
    Rest,
    /// Add one worker.
    More,
    /// Remove one worker.
    Fewer,
    /// Report the state of the server.
    Status,
    /// Report the requests under way.
    Requests,
    /// Report the Python stacks of workers.
    Stack,
    /// Set, raise or lower the number of workers.
    Scale,
    /// Replace workers by new ones of the same generation.
    Recycle,
}

/// The row of a command.
#[derive(Debug)]
pub struct CommandRow {
    /// The command.
    pub command: Command,
    /// The name in logs, and the verb on the command line.
    pub name: &'static str,
    /// The signals that give it, each with its name without `SIG`.
    pub signals: &'static [(i32, &'static str)],
    /// The usage after `rwsgi`, if it is a verb of the command line.
    pub usage: Option<&'static str>,
    /// The help text, one line.
    pub help: &'static str,
    /// True if it is implemented. Otherwise the master logs "not there yet" and changes nothing.
    pub is_built: bool,
}

/// All commands.
pub const TABLE: &[CommandRow] = &[
    CommandRow {
        command: Command::Stop,
        name: "stop",
        signals: &[(libc::SIGTERM, "TERM")],
        usage: Some("stop"),
        help: "finish the requests under way, for at most graceful_timeout, then end",
        is_built: true,
    },
    CommandRow {
        command: Command::Quit,
        name: "quit",
        signals: &[(libc::SIGINT, "INT"), (libc::SIGQUIT, "QUIT")],
        usage: Some("quit"),
        help: "end at once",
        is_built: true,
    },
    CommandRow {
        command: Command::Reload,
        name: "reload",
        signals: &[(libc::SIGHUP, "HUP")],
        usage: Some("reload [--wait]"),
        help: "read settings and code again, and replace the workers step by step",
        is_built: true,
    },
    CommandRow {
        command: Command::Reopen,
        name: "reopen-logs",
        signals: &[(libc::SIGUSR1, "USR1")],
        usage: Some("reopen-logs"),
        help: "reopen the log files",
        is_built: true,
    },
    CommandRow {
        command: Command::Upgrade,
        name: "upgrade",
        signals: &[(libc::SIGUSR2, "USR2")],
        usage: Some("upgrade"),
        help: "start a new master beside this one",
        is_built: true,
    },
    CommandRow {
        command: Command::Rest,
        name: "rest",
        signals: &[(libc::SIGWINCH, "WINCH")],
        usage: None,
        help: "stop the workers and keep the master, as a daemon or beside a new master",
        is_built: true,
    },
    CommandRow {
        command: Command::More,
        name: "more",
        signals: &[(libc::SIGTTIN, "TTIN")],
        usage: None,
        help: "add one worker",
        is_built: true,
    },
    CommandRow {
        command: Command::Fewer,
        name: "fewer",
        signals: &[(libc::SIGTTOU, "TTOU")],
        usage: None,
        help: "remove one worker",
        is_built: true,
    },
    CommandRow {
        command: Command::Status,
        name: "status",
        signals: &[],
        usage: Some("status"),
        help: "report the state of the server and its workers",
        is_built: true,
    },
    CommandRow {
        command: Command::Requests,
        name: "requests",
        signals: &[],
        usage: Some("requests"),
        help: "list the requests in the application, with their durations",
        is_built: true,
    },
    CommandRow {
        command: Command::Stack,
        name: "stack",
        signals: &[],
        usage: Some("stack [SLOT]"),
        help: "print the Python stacks of a worker, or of all workers, without stopping them",
        is_built: true,
    },
    CommandRow {
        command: Command::Scale,
        name: "scale",
        signals: &[],
        usage: Some("scale +N|-N|N"),
        help: "add or remove workers, or set their number",
        is_built: true,
    },
    CommandRow {
        command: Command::Recycle,
        name: "recycle",
        signals: &[],
        usage: Some("recycle [SLOT]"),
        help: "replace one worker, or all workers, by new ones",
        is_built: true,
    },
];

impl Command {
    /// Returns the command of a signal, given by its number.
    pub fn by_signal(signal: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.signals.iter().any(|(number, _)| *number == signal)).map(|row| row.command)
    }

    /// Returns the command of a verb on the command line.
    pub fn by_verb(verb: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == verb && row.usage.is_some()).map(|row| row.command)
    }

    /// Returns the row.
    pub fn row(self) -> &'static CommandRow {
        TABLE.iter().find(|row| row.command == self).expect("every command has a row")
    }
}

/// Returns the numbers of all signals that give commands; a master catches these.
pub fn signals() -> impl Iterator<Item = i32> {
    TABLE.iter().flat_map(|row| row.signals).map(|(number, _)| *number)
}

/// Returns the name of a signal that gives a command, without `SIG`.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    TABLE.iter().flat_map(|row| row.signals).find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

/// Generates the table in `docs/reference/signals.md`, in Markdown, without empty lines.
pub fn reference() -> String {
    let mut page = String::from("| Signal | Command | What the master does | Today |\n|---|---|---|---|\n");
    for row in TABLE.iter().filter(|row| !row.signals.is_empty()) {
        let signals: Vec<String> = row.signals.iter().map(|(_, name)| format!("`{name}`")).collect();
        let state = if row.is_built { "works" } else { "not there yet" };
        let _ = writeln!(page, "| {} | {} | {} | {state} |", signals.join(", "), row.name, row.help);
    }
    page
}

/// Generates the table in `docs/reference/commands.md`, in the same form.
pub fn verbs() -> String {
    let mut page = String::from("| Verb | What the master does | The same by signal |\n|---|---|---|\n");
    for (row, usage) in TABLE.iter().filter_map(|row| Some((row, row.usage?))) {
        let signals: Vec<String> = row.signals.iter().map(|(_, name)| format!("`{name}`")).collect();
        // A bar would end the cell.
        let usage = usage.replace('|', "\\|");
        let _ = writeln!(page, "| `{usage}` | {} | {} |", row.help, signals.join(", "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Command, TABLE, signal_name, signals};

    #[test]
    fn every_signal_gives_one_command() {
        let mut numbers: Vec<i32> = signals().collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), signals().count());
        for row in TABLE {
            assert_eq!(row.command.row().name, row.name);
            for (number, name) in row.signals {
                assert_eq!(Command::by_signal(*number), Some(row.command));
                assert_eq!(signal_name(*number), Some(*name));
            }
        }
        assert_eq!(Command::by_signal(libc::SIGCHLD), None);
    }
}
