//! The source of a command: a signal, a verb or a changed file.

/// The source of a command, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum CommandSource {
    /// A signal, by name.
    Signal(&'static str),
    /// `rwsgi VERB`.
    Verb(&'static str),
    /// A file that has changed.
    Change,
}

impl CommandSource {
    /// Returns the name of the signal, if it is one.
    pub(super) fn signal(self) -> Option<&'static str> {
        match self {
            CommandSource::Signal(name) => Some(name),
            CommandSource::Verb(_) | CommandSource::Change => None,
        }
    }

    /// Returns the verb, if it is one.
    pub(super) fn verb(self) -> Option<&'static str> {
        match self {
            CommandSource::Verb(name) => Some(name),
            CommandSource::Signal(_) | CommandSource::Change => None,
        }
    }
}
