//! The smallest parts of HTTP's grammar: character classes, blanks, lists, numbers, line ends (RFC 9110 section 5.6).
//! Knows no message and no rule about one.

/// True if `byte` is permitted in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// True if `bytes` is a token: at least one byte, each of them a token byte.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_length(bytes) == bytes.len()
}

/// Returns the number of token bytes at the start of `bytes`.
pub(crate) fn token_length(bytes: &[u8]) -> usize {
    run(bytes, &TOKEN)
}

/// Returns the number of bytes of `table` at the start of `bytes`. Looks at eight at a time, which the compiler unrolls.
pub(crate) fn run(bytes: &[u8], table: &[bool; 256]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        match eight.iter().position(|&byte| !table[byte as usize]) {
            Some(found) => return at + found,
            None => at += 8,
        }
    }
    let end = bytes[at..].iter().position(|&byte| !table[byte as usize]);
    end.map_or(bytes.len(), |found| at + found)
}

/// True if `byte` is forbidden in a field value: a control byte other than HTAB (RFC 9110 section 5.5).
pub(crate) const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// True if no byte of `bytes` is a control byte.
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    find_control(bytes).is_none()
}

/// Returns the offset of the first control byte. Looks at eight bytes at a time: subtracting 0x20 from each byte sets the
/// high bit of the lowest one that is smaller, and subtracting 1 from each byte does so where a DEL was made 0. Bytes above
/// the lowest may be marked wrongly, and a tab is no control byte, so each marked byte is looked at by itself.
pub(crate) fn find_control(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let marks = control_marks(word);
        if marks == 0 {
            at += 8;
            continue;
        }
        at += marks.trailing_zeros() as usize / 8;
        if bytes[at] != b'\t' {
            return Some(at);
        }
        at += 1;
    }
    // Some of the last eight bytes were looked at before.
    if bytes.last_chunk().is_some_and(|&word| control_marks(word) == 0) {
        return None;
    }
    bytes[at..].iter().position(|&byte| is_control(byte)).map(|found| at + found)
}

fn control_marks(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    let delete = word ^ (EACH * 0x7f);
    let low = word.wrapping_sub(EACH * 0x20) & !word;
    (low | (delete.wrapping_sub(EACH) & !delete)) & (EACH << 7)
}

/// Removes blanks and tabs at either end of `bytes` (OWS, RFC 9110 section 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// True if `found` is `name` in any case. `name` is given in the spelling that most peers send.
pub(crate) fn is_name<const N: usize>(found: &[u8], name: &[u8; N]) -> bool {
    found == name || found.eq_ignore_ascii_case(name)
}

/// Returns the number of blanks and tabs at the start of `bytes`.
pub(crate) fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count()
}

/// Returns the trimmed elements of a comma-separated list, empty ones included (RFC 9110 section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// True if `bytes` is a number as HTTP writes it: decimal digits, at least one, nothing else.
pub(crate) fn is_digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

/// Returns the value of `digits`, or `None` if it is not a number or does not fit.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if !is_digits(digits) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Appends `value` in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, value: u64) {
    push_digits::<10>(out, value);
}

/// Appends `value` in lower-case hexadecimal, without leading zeros.
pub(crate) fn push_hexadecimal(out: &mut Vec<u8>, value: u64) {
    push_digits::<16>(out, value);
}

/// Appends `value` in `BASE`, a constant so that the compiler divides by multiplying.
fn push_digits<const BASE: u64>(out: &mut Vec<u8>, mut value: u64) {
    // u64::MAX has 20 decimal digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // The mask changes no remainder of base 10 or 16; it spares the bounds check.
        digits[at] = DIGITS[((value % BASE) & 15) as usize];
        value /= BASE;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Returns the length of a line's content: without its LF, and without one CR before that. A piece of a line may end with
/// that CR, which does not count either, so that no piece of a line is longer than the line.
pub(crate) fn content_length(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

/// A 1 in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");

/// Returns the table of the letters, the digits and `others`.
pub(crate) const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"0012"), Some(12));
        for wrong in [&b""[..], b"+1", b"1_0", b"0x1", b" 1", b"18446744073709551616"] {
            assert_eq!(decimal(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn numbers_are_written_without_leading_zeros() {
        let mut out = Vec::new();
        push_decimal(&mut out, 0);
        push_decimal(&mut out, u64::MAX);
        push_hexadecimal(&mut out, 0x1f0);
        assert_eq!(out, b"0184467440737095516151f0");
    }

    #[test]
    fn a_control_byte_is_found_wherever_it_stands() {
        for byte in 0..=255 {
            for at in 0..40 {
                for around in [b' ', b'\t', b'~', 0x80, 0xff] {
                    let mut bytes = [around; 40];
                    bytes[at] = byte;
                    assert_eq!(find_control(&bytes), is_control(byte).then_some(at), "{byte} at {at}");
                    bytes[39] = 0;
                    assert_eq!(find_control(&bytes), Some(if is_control(byte) { at } else { 39 }), "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn blanks_are_spaces_and_tabs_only() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba"), b"\x0ba");
    }
}
