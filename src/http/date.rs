//! The text of a Date field. Knows no clock.

/// Returns `unix_seconds` as IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7). Times beyond the year
/// 9999 are written as its last second.
pub fn imf_fixdate(unix_seconds: u64) -> [u8; 29] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // 1 January 1970 was a Thursday.
    text[0..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    put_two(&mut text, 5, day);
    text[8..11].copy_from_slice(MONTHS[(month % 12) as usize]);
    put_two(&mut text, 12, year / 100);
    put_two(&mut text, 14, year % 100);
    put_two(&mut text, 17, second / 3600);
    put_two(&mut text, 20, second / 60 % 60);
    put_two(&mut text, 23, second % 60);
    text
}

/// Returns year, month from 0 and day from 1 of the proleptic Gregorian calendar. Counts in years that start in March, so
/// that the leap day is the last of its year and one formula gives the lengths of the months before it.
fn civil(days: u64) -> (u64, u64, u64) {
    // 1 March of the year 0 was 719,468 days before 1 January 1970; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    (400 * era + year + u64::from(month < 2), month, day)
}

fn put_two(text: &mut [u8; 29], at: usize, number: u64) {
    for (place, digit) in [(at, number / 10), (at + 1, number % 10)] {
        text[place] = b'0' + (digit % 10) as u8;
    }
}

/// 31 December 9999, 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_have_their_known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_795_162_207, "Fri, 20 Nov 2026 08:10:07 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)).unwrap(), text);
        }
    }
}
