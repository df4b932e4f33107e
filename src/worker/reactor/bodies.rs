//! Request bodies, as far as they concern more than their connections: those that wait for room, and buffers of the
//! application's side that a detached thread has dropped.

use std::collections::VecDeque;

use super::Reactor;
use crate::worker::connection::Connection;
use crate::worker::connection::event::Event;

/// The bodies of all connections.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// Connections that wait for room for their bodies.
    lacking_room: VecDeque<u64>,
    /// The bytes that all bodies took in memory and in files when the last of them found no room. Until less is taken
    /// they are not asked again: what is free may be too little for them, or of the other kind.
    taken: [u64; 2],
    /// True if a buffer of the application's side waits for an attached thread to release it.
    holds_dropped: bool,
}

impl Bodies {
    /// Has a connection be told when fewer bytes are in use than the `used` ones of now.
    pub(super) fn wait_for_room(&mut self, token: u64, used: [u64; 2]) {
        self.lacking_room.push_back(token);
        self.taken = used;
    }

    /// Notes that a connection ends, with what there is of its body.
    pub(super) fn note_closed(&mut self, connection: &Connection) {
        self.holds_dropped |= connection.has_buffer();
    }

    /// True if a thread is to attach, to release buffers.
    pub(super) fn want_a_thread(&self) -> bool {
        self.holds_dropped
    }
}

impl Reactor<'_> {
    /// Notes that a thread has attached, and has released what was dropped by detached ones.
    pub(crate) fn dropped_are_released(&mut self) {
        self.bodies.holds_dropped = false;
    }

    /// True if there may be room for a body that waits for it.
    pub(super) fn has_body_room(&self) -> bool {
        let budget = &self.serve.rules.budget;
        let is_less = || budget.used().iter().zip(self.bodies.taken).any(|(now, then)| *now < then);
        !self.bodies.lacking_room.is_empty() && budget.has_room() && is_less()
    }

    /// Has bodies that wait for room go on, in their order, as far as there is any.
    pub(super) fn use_body_room(&mut self) {
        if !self.has_body_room() {
            return;
        }
        for _ in 0..self.bodies.lacking_room.len() {
            if !self.serve.rules.budget.has_room() {
                return;
            }
            let Some(token) = self.bodies.lacking_room.pop_front() else { return };
            self.deliver(token, Event::Room);
        }
    }
}
