//! The two texts that change with the second: the `Date` field and the access log's time.

use crate::http::imf_fixdate;
use crate::os::clock;

/// The texts of one second.
pub(crate) struct DateCache {
    second: u64,
    /// The value of the `Date` field.
    pub(crate) date: [u8; 29],
    access: Option<String>,
}

impl DateCache {
    pub(crate) fn new() -> DateCache {
        let second = clock::wall_seconds();
        DateCache { second, date: imf_fixdate(second), access: None }
    }

    /// Looks at the clock, and makes the texts anew if their second is over.
    pub(crate) fn refresh(&mut self) {
        if clock::wall_seconds() != self.second {
            *self = DateCache::new();
        }
    }

    /// Returns the time as the access log has it.
    pub(crate) fn access_time(&mut self) -> &str {
        self.access.get_or_insert_with(|| clock::access_time(self.second))
    }
}
