//! Placeholder of `os::signal`.
