//! The kernel made safe: what the rooms above ask of Linux, as types that cannot be misused. Knows no request, no setting
//! and no Python.

pub mod clock;
pub mod forked;
pub mod listener;
pub mod pidfile;
pub mod process;
pub mod program;
pub mod scoreboard;
pub mod signal;
pub mod socket;
pub mod stream;
