//! The user of Basic authorization, for the access log. Checks no password.

use super::grammar;

/// Returns the user of `Basic base64(user:password)` (RFC 7617). As in gunicorn, an empty one is none, and so is one that
/// is not UTF-8; without a colon all of it is the user.
pub(crate) fn basic_user(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    let mut decoded = scheme.eq_ignore_ascii_case(b"basic ").then(|| base64(grammar::trim(rest)))??;
    decoded.truncate(decoded.iter().position(|&byte| byte == b':').unwrap_or(decoded.len()));
    (!decoded.is_empty() && std::str::from_utf8(&decoded).is_ok()).then_some(decoded)
}

/// Decodes base64 (RFC 4648 section 4), padding optional.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &letter in text.iter().take_while(|&&letter| letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xff) as u8);
        }
    }
    Some(decoded)
}
