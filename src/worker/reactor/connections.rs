//! The connections of a worker: a slab, by token. A connection that a thread works on is checked out, and what comes up
//! for it meanwhile is kept in its slot. The slab also knows in which order connections without a request give way. It
//! knows no epoll and no clock.
//!
//! Each slot is in at most one of three lists, oldest first: silent connections, unfinished heads, idle connections.
//! Taking the oldest out of one costs the same however many there are.

use crate::os::scoreboard::ACTIVITIES;
use crate::worker::connection::Connection;
use crate::worker::connection::event::{Activity, Readiness, Standing};
use crate::worker::millis::Millis;

/// All connections.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections accepted, wrapping; part of their tokens.
    accepted: u32,
    lists: [List; LISTS],
    counts: Counts,
}

/// Numbers of connections, by [`Activity`].
pub(super) type Counts = [u32; ACTIVITIES];

struct Slot {
    place: Place,
    token: u64,
    activity: Activity,
    /// The moment from which its list is ordered.
    since: Millis,
    list: Option<u8>,
    before: u32,
    after: u32,
    /// Events that the kernel has been asked to report.
    registered: Registered,
    /// The moment of the connection's entry among the timers.
    scheduled: Millis,
}

enum Place {
    Free,
    Parked(Box<Connection>),
    /// Readiness that was reported meanwhile.
    CheckedOut(Readiness),
}

/// What is to be done for a connection that was parked.
pub(super) struct Parked {
    /// What the kernel said while it was checked out.
    pub(super) said: Readiness,
    /// True if it needs an entry among the timers.
    pub(super) timer: bool,
    /// What the epoll instance watched it for, and is to watch it for.
    pub(super) watch: Option<(Registered, Registered)>,
}

/// Events for which the epoll instance watches a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Registered {
    Nothing,
    Reads,
    ReadsAndWrites,
}

/// Slots in order of time. An index of [`NONE`] is the end.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> List {
        List { first: NONE, last: NONE }
    }
}

impl Connections {
    /// Gives a new connection its token, and checks it out. A token names the slot and the connection in it, so that a
    /// late event meets no other connection.
    pub(super) fn insert(&mut self, connection: &mut Connection) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::free());
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        self.accepted = self.accepted.wrapping_add(1) & 0x3fff_ffff;
        let token = u64::from(index) | (u64::from(self.accepted) << 32);
        connection.token = token;
        let slot = &mut self.slots[index as usize];
        *slot = Slot { token, place: Place::CheckedOut(Readiness::default()), ..Slot::free() };
        self.counts[slot.activity as usize] += 1;
        token
    }

    /// Checks a connection out. If a thread has it, what the kernel has `said` is kept for its return.
    pub(super) fn check_out(&mut self, token: u64, said: Readiness) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(index(token))?;
        if slot.token != token {
            return None;
        }
        match &mut slot.place {
            Place::Parked(_) => match std::mem::replace(&mut slot.place, Place::CheckedOut(Readiness::default())) {
                Place::Parked(connection) => Some(connection),
                Place::Free | Place::CheckedOut(_) => None,
            },
            Place::CheckedOut(kept) => {
                kept.merge(said);
                None
            }
            Place::Free => None,
        }
    }

    /// Puts a connection back that was checked out, and returns what is to be done for it.
    pub(super) fn park(&mut self, connection: Box<Connection>, standing: &Standing) -> Parked {
        let at = index(connection.token);
        self.sort(at, standing.activity, standing.since);
        let slot = &mut self.slots[at];
        let said = match std::mem::replace(&mut slot.place, Place::Parked(connection)) {
            Place::CheckedOut(said) => said,
            Place::Free | Place::Parked(_) => Readiness::default(),
        };
        let timer = standing.deadline < slot.scheduled;
        slot.scheduled = slot.scheduled.min(standing.deadline);
        let wanted = if standing.writes { Registered::ReadsAndWrites } else { Registered::Reads };
        let before = slot.registered;
        slot.registered = before.max(wanted);
        Parked { said, timer, watch: (before < wanted).then_some((before, wanted)) }
    }

    /// Notes that a thread works on a connection that is checked out: it does not give way.
    pub(super) fn note_work(&mut self, token: u64, activity: Activity) {
        if self.slot(token).is_some() {
            self.sort(index(token), activity, 0);
        }
    }

    /// Forgets a connection that was checked out.
    pub(super) fn remove(&mut self, token: u64) {
        let at = index(token);
        self.unlink(at);
        self.counts[self.slots[at].activity as usize] -= 1;
        self.slots[at] = Slot::free();
        self.free.push(u32::try_from(at).unwrap_or(NONE));
    }

    /// Looks at a connection that is parked.
    pub(super) fn get(&self, token: u64) -> Option<&Connection> {
        let slot = self.slots.get(index(token)).filter(|slot| slot.token == token)?;
        if let Place::Parked(connection) = &slot.place { Some(connection) } else { None }
    }

    /// Returns how many connections there are, those that are checked out included.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns how many connections do what.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the tokens of the connections that are parked.
    pub(super) fn tokens(&self) -> Vec<u64> {
        self.slots.iter().filter(|slot| matches!(slot.place, Place::Parked(_))).map(|slot| slot.token).collect()
    }

    /// Returns the token of the connection that is to give way next, and what it does: of silent ones and of heads that
    /// have been unfinished since `long_ago` the oldest, then the one that has idled the longest.
    pub(super) fn first_to_give_way(&self, long_ago: Millis) -> Option<(u64, Activity)> {
        let first = |activity| Some(self.lists[list_of(activity)? as usize].first).filter(|at| *at != NONE);
        let slot = |at: u32| &self.slots[at as usize];
        let silent = first(Activity::Silent).map(slot);
        let head = first(Activity::Head).map(slot).filter(|slot| slot.since <= long_ago);
        let oldest = match (silent, head) {
            (Some(silent), Some(head)) => Some(if head.since < silent.since { head } else { silent }),
            (silent, head) => silent.or(head),
        };
        oldest.or_else(|| first(Activity::Idle).map(slot)).map(|slot| (slot.token, slot.activity))
    }

    /// Returns since when the oldest head is unfinished.
    pub(super) fn oldest_head(&self) -> Option<Millis> {
        let first = self.lists[list_of(Activity::Head)? as usize].first;
        (first != NONE).then(|| self.slots[first as usize].since)
    }

    /// Notes that the connection has no entry among the timers any more.
    pub(super) fn timer_came(&mut self, token: u64) {
        if let Some(slot) = self.slot(token) {
            slot.scheduled = Millis::MAX;
        }
    }

    /// True if the epoll instance watches the connection.
    pub(super) fn is_watched(&self, token: u64) -> bool {
        self.slots[index(token)].registered != Registered::Nothing
    }

    fn slot(&mut self, token: u64) -> Option<&mut Slot> {
        self.slots.get_mut(index(token)).filter(|slot| slot.token == token)
    }

    /// Puts a slot into its list by age, unless it is in it since the same moment.
    fn sort(&mut self, at: usize, activity: Activity, since: Millis) {
        let slot = &mut self.slots[at];
        let before = std::mem::replace(&mut slot.activity, activity);
        if before == activity && (slot.list.is_none() || slot.since == since) {
            return;
        }
        self.counts[before as usize] -= 1;
        self.counts[activity as usize] += 1;
        self.unlink(at);
        self.slots[at].since = since;
        let Some(list) = list_of(activity) else { return };
        // Nearly always the newest one.
        let mut before = self.lists[list as usize].last;
        while before != NONE && self.slots[before as usize].since > since {
            before = self.slots[before as usize].before;
        }
        self.link(at, list, before);
    }

    /// Puts a slot into a list behind the slot `before`.
    fn link(&mut self, at: usize, list: u8, before: u32) {
        let here = u32::try_from(at).unwrap_or(NONE);
        let ends = &mut self.lists[list as usize];
        let next = if before == NONE { &mut ends.first } else { &mut self.slots[before as usize].after };
        let after = std::mem::replace(next, here);
        if after == NONE {
            ends.last = here;
        } else {
            self.slots[after as usize].before = here;
        }
        let slot = &mut self.slots[at];
        (slot.list, slot.before, slot.after) = (Some(list), before, after);
    }

    fn unlink(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let Some(list) = slot.list.take() else { return };
        let (before, after) = (slot.before, slot.after);
        if before == NONE {
            self.lists[list as usize].first = after;
        } else {
            self.slots[before as usize].after = after;
        }
        if after == NONE {
            self.lists[list as usize].last = before;
        } else {
            self.slots[after as usize].before = before;
        }
    }
}

impl Slot {
    fn free() -> Slot {
        Slot {
            place: Place::Free,
            token: u64::MAX,
            activity: Activity::Reading,
            since: 0,
            list: None,
            before: NONE,
            after: NONE,
            registered: Registered::Nothing,
            scheduled: Millis::MAX,
        }
    }
}

/// Returns the list of the connections that do this, if they may give way.
fn list_of(activity: Activity) -> Option<u8> {
    match activity {
        Activity::Silent => Some(0),
        Activity::Head => Some(1),
        Activity::Idle => Some(2),
        Activity::Reading | Activity::Waiting | Activity::Application | Activity::Writing => None,
    }
}

fn index(token: u64) -> usize {
    usize::try_from(token & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}

const LISTS: usize = 3;
/// An index that is none.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::os::listener::Peer;
    use crate::worker::connection::Origin;
    use crate::worker::connection::stream::Stream;

    const STANDING: Standing =
        Standing { activity: Activity::Silent, since: 0, deadline: Millis::MAX, writes: false, asks_for_room: false };

    fn parked(connections: &mut Connections, since: Millis) -> (u64, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let origin = Origin::new(Peer::Unix, 0);
        let mut connection = Box::new(Connection::accepted(Stream::plain(ours.into()), origin, since, Millis::MAX));
        let token = connections.insert(&mut connection);
        connections.park(connection, &Standing { since, ..STANDING });
        (token, theirs)
    }

    fn set(connections: &mut Connections, token: u64, activity: Activity, since: Millis) {
        connections.sort(index(token), activity, since);
    }

    #[test]
    fn silent_and_old_heads_give_way_by_age_and_idle_ones_last() {
        let mut all = Connections::default();
        let clients: Vec<_> = (0..4).map(|at| parked(&mut all, 10 + at)).collect();
        let tokens: Vec<u64> = clients.iter().map(|(token, _)| *token).collect();
        set(&mut all, tokens[0], Activity::Idle, 20);
        set(&mut all, tokens[2], Activity::Head, 11);
        set(&mut all, tokens[3], Activity::Head, 30);
        let mut order = Vec::new();
        while let Some((token, activity)) = all.first_to_give_way(11) {
            order.push((tokens.iter().position(|known| *known == token).unwrap(), activity));
            drop(all.check_out(token, Readiness::default()));
            all.remove(token);
        }
        assert_eq!(order, [(1, Activity::Silent), (2, Activity::Head), (0, Activity::Idle)]);
        assert_eq!((all.len(), all.oldest_head()), (1, Some(30)));
    }

    #[test]
    fn a_head_that_is_older_than_others_goes_before_them() {
        let mut all = Connections::default();
        let clients: Vec<_> = (0..4).map(|_| parked(&mut all, 1)).collect();
        for ((token, _), since) in clients.iter().zip([20, 40, 30, 10]) {
            set(&mut all, *token, Activity::Head, since);
        }
        let mut order = Vec::new();
        while let Some((token, _)) = all.first_to_give_way(100) {
            order.push(clients.iter().position(|(known, _)| *known == token).unwrap());
            drop(all.check_out(token, Readiness::default()));
            all.remove(token);
        }
        assert_eq!(order, [3, 0, 2, 1]);
    }

    #[test]
    fn a_connection_that_is_idle_anew_is_the_last_of_the_idle() {
        let mut all = Connections::default();
        let clients: Vec<_> = (0..3).map(|_| parked(&mut all, 1)).collect();
        for (at, (token, _)) in clients.iter().enumerate() {
            set(&mut all, *token, Activity::Idle, 10 + at as Millis);
        }
        set(&mut all, clients[0].0, Activity::Application, 0);
        assert_eq!(all.first_to_give_way(0).unwrap().0, clients[1].0);
        set(&mut all, clients[0].0, Activity::Idle, 20);
        set(&mut all, clients[1].0, Activity::Idle, 21);
        assert_eq!(all.first_to_give_way(0).unwrap().0, clients[2].0);
        assert_eq!(all.counts()[Activity::Idle as usize], 3);
    }

    #[test]
    fn a_late_event_meets_no_other_connection() {
        let mut all = Connections::default();
        let (first, _client) = parked(&mut all, 1);
        drop(all.check_out(first, Readiness::default()));
        all.remove(first);
        let (second, _client) = parked(&mut all, 2);
        assert_eq!(index(first), index(second));
        assert!(all.check_out(first, Readiness::default()).is_none());
        assert!(all.get(second).is_some());
    }

    #[test]
    fn what_comes_up_for_a_connection_that_is_checked_out_is_kept() {
        let mut all = Connections::default();
        let (token, _client) = parked(&mut all, 1);
        let connection = all.check_out(token, Readiness::default()).unwrap();
        assert!(all.check_out(token, Readiness::READ).is_none());
        let parked = all.park(connection, &STANDING);
        assert_eq!(parked.said, Readiness::READ);
        assert!(!parked.timer && parked.watch.is_none());
        assert!(all.check_out(token, Readiness::default()).is_some());
    }
}
