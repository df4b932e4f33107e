//! Finds words that were meant as verbs: misspelled, or verbs of other tools. A misspelled verb must not start a
//! server. Looks at names in directories; starts and reads nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::invocation::Invocation;
use super::usage_error::UsageError;
use crate::command;
use crate::settings::suggest::nearest;
use crate::settings::{Settings, SourceValue, Value};

/// Returns a hint for the first of several words, or `None` if it resembles no verb.
pub(super) fn hint(word: &str, next: Option<&str>) -> Option<String> {
    if STARTS.contains(&word) {
        return Some(format!("no verb is needed to serve an application: rwsgi {}", next.unwrap_or("APP")));
    }
    if COUNTS.contains(&word) {
        return Some(format!("did you mean rwsgi scale {}?", next.unwrap_or("N")));
    }
    let other = ELSEWHERE.iter().find(|(known, _)| *known == word).map(|(_, verb)| *verb);
    other.or_else(|| nearest(word, verbs())).map(|verb| format!("did you mean rwsgi {verb}?"))
}

/// Refuses the application of the command line if its name resembles a verb and no module of this name is in the first
/// directories of the search path. `settings` are those in force.
pub(super) fn refuse_misspelled(invocation: &Invocation, settings: &Settings) -> Result<(), UsageError> {
    let is_app = |given: &&SourceValue| given.name == "wsgi_app";
    let Some(Value::Word(word)) = invocation.flags.iter().find(is_app).map(|given| &given.value) else {
        return Ok(());
    };
    if word.contains([':', '.', '/']) {
        return Ok(());
    }
    let Some(hint) = hint(word, None) else { return Ok(()) };
    let first = settings.chdir.clone().unwrap_or_else(|| PathBuf::from("."));
    let more = settings.pythonpath.iter().map(|path| first.join(path));
    if std::iter::once(first.clone()).chain(more).any(|directory| holds(&directory, word)) {
        return Ok(());
    }
    let way_out = format!("write an installed module of this name as {word}:application");
    let words = format!("{word}: expected a command or an application, found neither\nhint: {hint}\nhint: {way_out}");
    Err(UsageError::of_words(words))
}

/// True for `WORD`, `WORD.py`, `WORD.cpython-313-x86_64-linux-gnu.so`.
fn holds(directory: &Path, word: &str) -> bool {
    let is_it = |name: &str| name.split('.').next() == Some(word);
    fs::read_dir(directory).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_it)))
    })
}

fn verbs() -> impl Iterator<Item = &'static str> {
    let of_servers = command::TABLE.iter().filter(|row| row.usage.is_some()).map(|row| row.name);
    of_servers.chain(["check", "settings", "help"])
}

/// Verbs that start other servers.
const STARTS: [&str; 4] = ["serve", "start", "run", "runserver"];
/// Verbs that take a number of workers.
const COUNTS: [&str; 3] = ["workers", "worker", "processes"];
/// Verbs of systemctl, apachectl, supervisorctl and pm2, with their counterparts.
const ELSEWHERE: [(&str, &str); 17] = [
    ("version", "--version"),
    ("reload-wait", "reload --wait"),
    ("reload_wait", "reload --wait"),
    ("hup", "reload"),
    ("restart", "reload"),
    ("graceful", "reload"),
    ("kill", "quit"),
    ("shutdown", "stop"),
    ("ps", "ls"),
    ("list", "ls"),
    ("info", "status"),
    ("top", "requests"),
    ("threads", "stack"),
    ("dump", "stack"),
    ("traceback", "stack"),
    ("rotate", "reopen-logs"),
    ("reopen", "reopen-logs"),
];

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn a_word_that_is_almost_a_verb_is_known_and_a_name_is_not() {
        for (word, expected) in [
            ("statsu", Some("did you mean rwsgi status?")),
            ("recyle", Some("did you mean rwsgi recycle?")),
            ("relaod", Some("did you mean rwsgi reload?")),
            ("reopen-log", Some("did you mean rwsgi reopen-logs?")),
            ("version", Some("did you mean rwsgi --version?")),
            ("ps", Some("did you mean rwsgi ls?")),
            ("restart", Some("did you mean rwsgi reload?")),
            ("reload-wait", Some("did you mean rwsgi reload --wait?")),
            ("workers", Some("did you mean rwsgi scale N?")),
            ("serve", Some("no verb is needed to serve an application: rwsgi APP")),
            ("app", None),
            ("hello", None),
            ("mysite", None),
            ("api", None),
            ("wsgi", None),
            ("main", None),
        ] {
            assert_eq!(hint(word, None).as_deref(), expected, "{word}");
        }
    }
}
