//! Placeholder of the room `cli`.

pub mod args;
