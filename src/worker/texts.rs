//! The two texts that change with the second: the `Date` field and the access log's time.

use crate::http::imf_fixdate;
use crate::os::clock;

pub(super) struct Texts {
    second: u64,
    date: [u8; 29],
    access: Option<String>,
}

impl Texts {
    pub(super) fn new() -> Texts {
        let second = clock::wall_seconds();
        Texts { second, date: imf_fixdate(second), access: None }
    }

    /// Looks at the clock; texts of a second that is over are made anew.
    pub(super) fn refresh(&mut self) {
        if clock::wall_seconds() != self.second {
            *self = Texts::new();
        }
    }

    /// The `Date` field's value.
    pub(super) fn date(&self) -> &[u8; 29] {
        &self.date
    }

    /// As the access log has it.
    pub(super) fn access_time(&mut self) -> &str {
        self.access.get_or_insert_with(|| clock::access_time(self.second))
    }
}
