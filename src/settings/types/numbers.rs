//! Types that are numbers: workers, seconds, bytes, file modes.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::super::source_value::{is_number, shown};
use super::{InToml, Text};

/// The number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workers {
    /// The number of usable CPUs, after affinity and cgroup quota.
    Auto,
    /// This number, at least 1.
    Count(u32),
}

impl Workers {
    /// The largest number: more slots than any machine of today has CPUs.
    pub const MOST: u32 = 1024;

    /// Returns the number on a machine with `usable` CPUs.
    pub fn number(self, usable: usize) -> usize {
        match self {
            Self::Auto => usable.clamp(1, Self::MOST as usize),
            Self::Count(count) => count as usize,
        }
    }
}

impl Text for Workers {
    const EXPECTED: &'static str = r#"a whole number or "auto""#;
    const IN_TOML: InToml = InToml::NumberOrText;

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let range = format!("a whole number from 1 to {} or \"auto\"", Self::MOST);
        match parse_whole(text).map(u32::try_from) {
            Some(Ok(count @ 1..=Self::MOST)) => Ok(Self::Count(count)),
            Some(_) => Err(ValueError::found(range, text)),
            None if is_number(text) => Err(ValueError::found(range, text)),
            None => Err(ValueError::text(Self::EXPECTED, text)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Count(count) => count.to_string(),
        }
    }
}

/// A time span, to the nanosecond. Some settings take 0 as off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seconds(Duration);

impl Seconds {
    /// 31 years. Deadlines beyond it could overflow.
    const MOST: u64 = 1_000_000_000;

    /// Creates a span of whole seconds.
    pub const fn whole(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the span.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Returns the span, or `None` for 0, which means off.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl Text for Seconds {
    const EXPECTED: &'static str = "seconds from 0 to 1000000000, such as 30 or 0.3";
    const IN_TOML: InToml = InToml::Number;

    fn parse(text: &str) -> Result<Self, ValueError> {
        decimal_duration(text)
            .filter(|span| *span <= Duration::from_secs(Self::MOST))
            .map(Self)
            .ok_or_else(|| ValueError::found(Self::EXPECTED, shown(text)))
    }

    fn text(&self) -> String {
        let fraction = format!("{:09}", self.0.subsec_nanos());
        match fraction.trim_end_matches('0') {
            "" => self.0.as_secs().to_string(),
            fraction => format!("{}.{fraction}", self.0.as_secs()),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A number of bytes. Some settings take 0 as off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The units, each with its shift. They are nginx's; `MB` is not accepted, since it can mean a million.
    const UNITS: [(&'static str, u32); 9] =
        [("KiB", 10), ("MiB", 20), ("GiB", 30), ("K", 10), ("M", 20), ("G", 30), ("k", 10), ("m", 20), ("g", 30)];
    /// The largest file offset (`off_t`).
    const MOST: u64 = i64::MAX as u64;

    /// Returns the number, or `None` for 0, which means off.
    pub fn limit(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }

    /// Returns the hint for text that is no number of bytes.
    fn hint(text: &str) -> String {
        // Decimal units, `10MB` and `10 mb`.
        let short = text.strip_suffix(['B', 'b']).unwrap_or(text).replace(' ', "").to_ascii_uppercase();
        if short.len() < text.len() && Self::with_unit(&short).is_some() {
            return format!("did you mean \"{short}\"? {UNITS}");
        }
        UNITS.to_owned()
    }

    fn with_unit(text: &str) -> Option<u64> {
        let (unit, shift) = Self::UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
        let number = parse_whole(text.strip_suffix(unit)?.trim_end())?;
        number.checked_mul(1 << shift)
    }
}

impl Text for Bytes {
    const EXPECTED: &'static str = "a number of bytes, such as 1048576 or \"1 MiB\"";
    const IN_TOML: InToml = InToml::NumberOrText;

    fn parse(text: &str) -> Result<Self, ValueError> {
        parse_whole(text)
            .or_else(|| Self::with_unit(text))
            .filter(|bytes| *bytes <= Self::MOST)
            .map(Self)
            .ok_or_else(|| ValueError::found(Self::EXPECTED, shown(text)).hint(Self::hint(text)))
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

const UNITS: &str = "the units are K, M and G, or KiB, MiB and GiB: powers of 1024";

/// Permission bits, 0 to 0o777.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode(pub u32);

impl Text for Mode {
    const EXPECTED: &'static str = "permission bits in octal, such as 022 or 0o660";
    const IN_TOML: InToml = InToml::Octal;

    fn parse(text: &str) -> Result<Self, ValueError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten().filter(|mode| *mode <= 0o777).map(Self).ok_or_else(
            || {
                let wrong = ValueError::found(Self::EXPECTED, shown(text));
                match meant(text) {
                    Some(mode) => wrong.hint(format!("write 0o{mode}; {mode} is a decimal number")),
                    None => wrong,
                }
            },
        )
    }

    fn text(&self) -> String {
        format!("0o{:03o}", self.0)
    }
}

/// Returns the octal digits that the author of a decimal number probably intended.
fn meant(text: &str) -> Option<u32> {
    let decimal = u32::from_str_radix(text.strip_prefix("0o")?, 8).ok()?;
    (u32::from_str_radix(&decimal.to_string(), 8).ok()? <= 0o777).then_some(decimal)
}

/// Parses an integer as Python's `int(text, 0)` does: `10`, `0x10`, `0o10`, `0b10`, `1_000`, but not `007`. Returns
/// `None` if it is negative or does not fit.
pub fn parse_whole(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['_', '+']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let digits = digits.replace('_', "");
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') && digits.bytes().any(|digit| digit != b'0') {
        return None;
    }
    u64::from_str_radix(&digits, radix).ok()
}

/// Parses `30`, `0.3`, `1.`, `.5` or `1_000`, to the nanosecond. Longer fractions are refused.
fn decimal_duration(text: &str) -> Option<Duration> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return parse_whole(text).map(Duration::from_secs);
    };
    let digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 || whole.len() + fraction.len() == 0 {
        return None;
    }
    let seconds = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Text + PartialEq + std::fmt::Debug>(text: &str, printed: &str) {
        let value = T::parse(text).unwrap();
        assert_eq!(value.text(), printed, "{text}");
        assert_eq!(T::parse(printed).unwrap(), value, "{text}");
    }

    #[test]
    fn numbers_print_back_the_same() {
        check::<Seconds>("30", "30");
        check::<Seconds>("0.3", "0.3");
        check::<Seconds>("1.50", "1.5");
        check::<Seconds>(".5", "0.5");
        check::<Seconds>("0.000000001", "0.000000001");
        check::<Bytes>("1048576", "1048576");
        check::<Bytes>("1 MiB", "1048576");
        check::<Bytes>("0x10", "16");
        check::<Bytes>("50M", "52428800");
        check::<Bytes>("50m", "52428800");
        check::<Bytes>("512k", "524288");
        check::<Bytes>("512K", "524288");
        check::<Bytes>("1G", "1073741824");
        check::<Bytes>("1 g", "1073741824");
        check::<Mode>("022", "0o022");
        check::<Mode>("0o660", "0o660");
        check::<Mode>("0", "0o000");
        check::<Workers>("AUTO", "auto");
        check::<Workers>("1_0", "10");
    }

    #[test]
    fn what_is_no_number_of_the_kind_is_refused() {
        for text in ["", "-1", "1e3", "inf", "nan", "1.2.3", "0.0000000001", "1000000001", "5s", ".", "1.+2"] {
            assert!(Seconds::parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "-1",
            "1.5",
            "1.5M",
            "1MB",
            "1kb",
            "1MIB",
            "1T",
            "M",
            "MiB",
            "9223372036854775808",
            "8589934592GiB",
            "8589934592G",
        ] {
            assert!(Bytes::parse(text).is_err(), "{text}");
        }
        for text in ["", "8", "0o", "1777", "-1", "+7", "0x1f", "rw", "77777777777777"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
        for text in ["", "0", "-1", "1025", "007", "2.5", "tow", "0x", "1__0", "_1"] {
            assert!(Workers::parse(text).is_err(), "{text}");
        }
    }
}
