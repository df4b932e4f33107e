//! The door: placeholder.
