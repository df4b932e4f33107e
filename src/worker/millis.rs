//! Milliseconds of the monotonic clock, by which the deadlines of connections are counted.

use std::time::Duration;

use crate::os::clock;

/// A moment, in milliseconds of the monotonic clock.
pub(crate) type Millis = u64;

/// Returns this moment.
pub(crate) fn now() -> Millis {
    clock::monotonic() / 1_000_000
}

/// Returns this moment, up to 4 ms too early: the clock that costs a quarter is as old as the kernel's last tick.
pub(crate) fn about_now() -> Millis {
    clock::monotonic_coarse() / 1_000_000
}

/// Returns the moment that is `limit` after `now`.
pub(crate) fn after(now: Millis, limit: Duration) -> Millis {
    now.saturating_add(millis(limit))
}

/// Returns the moment that is `limit` after `now`; without a limit it never comes.
pub(crate) fn after_some(now: Millis, limit: Option<Duration>) -> Millis {
    limit.map_or(Millis::MAX, |limit| after(now, limit))
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
