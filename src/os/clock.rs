//! The clocks, and local time as the logs write it. Makes no decisions by time.
#![allow(unsafe_code)]

use std::mem;
use std::time::Duration;

use libc::{CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, clockid_t};

/// Returns nanoseconds on `CLOCK_MONOTONIC`: comparable between the processes of one machine, and never going back.
pub fn monotonic() -> u64 {
    nanoseconds(CLOCK_MONOTONIC)
}

/// Returns the same clock as of the last tick of the kernel (1 to 4 ms ago), for a third of the cost.
pub fn monotonic_coarse() -> u64 {
    nanoseconds(CLOCK_MONOTONIC_COARSE)
}

/// Returns the time since 1970-01-01 00:00:00 UTC.
pub fn wall() -> Duration {
    Duration::from_nanos(nanoseconds(CLOCK_REALTIME))
}

/// Returns whole seconds since 1970-01-01 00:00:00 UTC as of the last tick of the kernel.
pub fn wall_seconds() -> u64 {
    nanoseconds(CLOCK_REALTIME_COARSE) / SECOND
}

/// A text that holds for one second and is made again only when the second changes: the `Date` header, a log's time.
#[derive(Debug, Default)]
pub struct PerSecond {
    second: Option<u64>,
    text: String,
}

impl PerSecond {
    /// Makes an empty cache.
    pub const fn new() -> PerSecond {
        PerSecond { second: None, text: String::new() }
    }

    /// Returns the text of `second`, made by `make` unless it is the one that was asked for last.
    pub fn at(&mut self, second: u64, make: impl FnOnce(u64) -> String) -> &str {
        if self.second != Some(second) {
            self.text = make(second);
            self.second = Some(second);
        }
        &self.text
    }
}

/// Returns local time in the access log's form: `[20/Nov/2026:08:10:07 +0000]`.
pub fn access_time(second: u64) -> String {
    let t = broken_down(second, Zone::Local);
    let month = MONTHS.get(t.month - 1).copied().unwrap_or("Jan");
    format!("[{:02}/{month}/{:04}:{:02}:{:02}:{:02} {}]", t.day, t.year, t.hour, t.minute, t.second, offset(t.offset))
}

/// Returns local time in the error log's form: `[2026-11-20 08:10:07 +0000]`.
pub fn log_time(second: u64) -> String {
    let t = broken_down(second, Zone::Local);
    let zone = offset(t.offset);
    format!("[{:04}-{:02}-{:02} {:02}:{:02}:{:02} {zone}]", t.year, t.month, t.day, t.hour, t.minute, t.second)
}

/// Returns UTC in the JSON log's form: `2026-11-20T08:10:07.123Z` (RFC 3339, milliseconds).
pub fn rfc3339(wall: Duration) -> String {
    let t = broken_down(wall.as_secs(), Zone::Utc);
    let (ms, time) = (wall.subsec_millis(), (t.hour, t.minute, t.second));
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{ms:03}Z", t.year, t.month, t.day, time.0, time.1, time.2)
}

#[derive(Clone, Copy)]
enum Zone {
    Local,
    Utc,
}

/// The fields of `struct tm` with the months from 1 and the year whole; `offset` in seconds east of UTC.
struct BrokenDown {
    year: i64,
    month: usize,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    offset: i64,
}

fn broken_down(second: u64, zone: Zone) -> BrokenDown {
    let time = libc::time_t::try_from(second).unwrap_or(libc::time_t::MAX);
    // SAFETY: tm is a C struct for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to live values; the _r functions keep none. Beyond the year 2^31 they write nothing.
    let _ = unsafe {
        match zone {
            Zone::Local => libc::localtime_r(&raw const time, &raw mut tm),
            Zone::Utc => libc::gmtime_r(&raw const time, &raw mut tm),
        }
    };
    BrokenDown {
        year: i64::from(tm.tm_year) + 1900,
        month: usize::try_from(tm.tm_mon).unwrap_or(0) + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        offset: tm.tm_gmtoff,
    }
}

/// Returns hours and minutes east of UTC: `+0130`.
fn offset(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
}

fn nanoseconds(clock: clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is live; the four clocks used here exist on every Linux since 2.6.32, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * SECOND + u64::try_from(time.tv_nsec).unwrap_or(0)
}

const SECOND: u64 = 1_000_000_000;

/// English in every locale: readers of access logs expect these.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_is_written_as_rfc_3339() {
        let cases = [
            (Duration::ZERO, "1970-01-01T00:00:00.000Z"),
            (Duration::from_millis(951_782_400_007), "2000-02-29T00:00:00.007Z"),
            (Duration::new(1_795_162_207, 123_999_999), "2026-11-20T08:10:07.123Z"),
        ];
        for (wall, expected) in cases {
            assert_eq!(rfc3339(wall), expected);
        }
    }

    #[test]
    fn local_time_is_utc_moved_by_the_offset() {
        let second = 1_795_162_207;
        let offset_seconds = broken_down(second, Zone::Local).offset;
        let moved = broken_down(second.checked_add_signed(offset_seconds).unwrap(), Zone::Utc);
        let (time, zone) = ((moved.hour, moved.minute, moved.second), offset(offset_seconds));
        let clock = format!("{:02}:{:02}:{:02} {zone}]", time.0, time.1, time.2);
        assert_eq!(log_time(second), format!("[2026-11-{:02} {clock}", moved.day));
        assert_eq!(access_time(second), format!("[{:02}/Nov/2026:{clock}", moved.day));
    }

    #[test]
    fn offsets_have_hours_and_minutes() {
        for (seconds, expected) in [(0, "+0000"), (5400, "+0130"), (-12_600, "-0330"), (50_400, "+1400")] {
            assert_eq!(offset(seconds), expected);
        }
    }

    #[test]
    fn a_text_is_made_once_a_second() {
        let mut made = 0;
        let mut cache = PerSecond::new();
        for (second, expected) in [(0, "0"), (0, "0"), (7, "7"), (7, "7"), (6, "6")] {
            let text = cache.at(second, |second| {
                made += 1;
                second.to_string()
            });
            assert_eq!(text, expected);
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn clocks_agree() {
        let coarse = monotonic_coarse();
        let fine = monotonic();
        assert!(coarse <= fine && fine <= monotonic());
        assert!(wall_seconds() <= wall().as_secs());
        // The clock of the machine is after 2020.
        assert!(wall_seconds() > 1_577_836_800);
    }

    #[test]
    fn times_out_of_range_are_no_panic() {
        for second in [u64::MAX, i64::MAX.unsigned_abs(), 253_402_300_800] {
            assert!(log_time(second).starts_with('['));
            assert!(access_time(second).starts_with('['));
        }
        assert!(rfc3339(Duration::MAX).ends_with('Z'));
    }
}
