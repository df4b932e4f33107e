//! Placeholder of `os::process`.
