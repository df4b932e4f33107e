//! The kernel made safe: what the rooms above ask of Linux, as types that cannot be misused. Knows no request, no setting
//! and no Python.

use std::io;

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

/// What an error says, in small letters and without Rust's number behind it: `no such file or directory`.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
