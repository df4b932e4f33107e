//! The connections of a worker, by token. One that somebody works on is out of the table; what the kernel says about it
//! meanwhile is kept for its return. It knows no epoll and no clock.

use nix::sys::epoll::EpollFlags;

use crate::worker::connection::{Connection, Reading};

/// All connections.
#[derive(Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    free: Vec<usize>,
    /// Connections accepted, wrapping; part of their tokens.
    accepted: u32,
}

enum Entry {
    Free,
    Here(Box<Connection>),
    Out { token: u64, missed: PendingEvents },
}

/// What came up for a connection while it was out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingEvents {
    /// What the kernel said.
    pub(crate) flags: EpollFlags,
    /// Its entry among the timers came up.
    pub(crate) timer: bool,
}

impl Default for PendingEvents {
    fn default() -> PendingEvents {
        PendingEvents { flags: EpollFlags::empty(), timer: false }
    }
}

impl Table {
    /// Gives a new connection its token. A token names the place and the connection in it, so that a late event meets
    /// nobody else.
    pub(crate) fn insert(&mut self, mut connection: Box<Connection>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::Free);
            self.entries.len() - 1
        });
        self.accepted = self.accepted.wrapping_add(1) & 0x3fff_ffff;
        let token = index as u64 | (u64::from(self.accepted) << 32);
        connection.token = token;
        self.entries[index] = Entry::Here(connection);
        token
    }

    /// Takes a connection out. If somebody else has it, `missed` is kept for its return.
    pub(crate) fn take(&mut self, token: u64, missed: PendingEvents) -> Option<Box<Connection>> {
        let entry = self.entries.get_mut(place(token))?;
        match entry {
            Entry::Here(connection) if connection.token == token => {
                let out = Entry::Out { token, missed: PendingEvents::default() };
                match std::mem::replace(entry, out) {
                    Entry::Here(connection) => Some(connection),
                    Entry::Free | Entry::Out { .. } => None,
                }
            }
            Entry::Out { token: other, missed: kept } if *other == token => {
                kept.flags |= missed.flags;
                kept.timer |= missed.timer;
                None
            }
            Entry::Free | Entry::Here(_) | Entry::Out { .. } => None,
        }
    }

    /// What was missed by a connection that is about to return, once.
    pub(crate) fn missed(&mut self, token: u64) -> PendingEvents {
        match self.entries.get_mut(place(token)) {
            Some(Entry::Out { missed, .. }) => std::mem::take(missed),
            _ => PendingEvents::default(),
        }
    }

    /// Puts a connection back that was taken out.
    pub(crate) fn put(&mut self, connection: Box<Connection>) {
        let index = place(connection.token);
        self.entries[index] = Entry::Here(connection);
    }

    /// Forgets a connection that was taken out.
    pub(crate) fn remove(&mut self, token: u64) {
        let index = place(token);
        self.entries[index] = Entry::Free;
        self.free.push(index);
    }

    /// Looks at a connection that is not out.
    pub(crate) fn get(&self, token: u64) -> Option<&Connection> {
        match self.entries.get(place(token))? {
            Entry::Here(connection) if connection.token == token => Some(connection),
            _ => None,
        }
    }

    /// How many connections there are, those that are out included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The tokens of those that are not out.
    pub(crate) fn tokens(&self) -> Vec<u64> {
        self.here().map(|connection| connection.token).collect()
    }

    /// The token of the one that has idled the longest, as far as is known.
    pub(crate) fn longest_idle(&self) -> Option<u64> {
        let is_known_idle = |connection: &&Connection| {
            connection.is_idle() && connection.has_served() && connection.reading == Reading::Drained
        };
        let idle = self.here().filter(is_known_idle);
        idle.min_by_key(|connection| connection.deadline).map(|connection| connection.token)
    }

    fn here(&self) -> impl Iterator<Item = &Connection> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Here(connection) => Some(&**connection),
            Entry::Free | Entry::Out { .. } => None,
        })
    }
}

fn place(token: u64) -> usize {
    usize::try_from(token & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}
