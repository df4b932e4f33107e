//! CGI variables of a request (RFC 3875 section 4.1, PEP 3333). Bytes to bytes; builds no environ.

/// Writes the variable of a field into `out`, over what it held: `Accept-Language` is `HTTP_ACCEPT_LANGUAGE`. Content-Type
/// and Content-Length have no `HTTP_` before them (RFC 3875 sections 4.1.2 and 4.1.3).
///
/// `X-A` and `X_A` have the same variable; see [`has_underscore`].
pub fn variable_name(field_name: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let own = matches!(field_name.len(), 12 | 14)
        && (field_name.eq_ignore_ascii_case(b"content-type") || field_name.eq_ignore_ascii_case(b"content-length"));
    if !own {
        out.extend_from_slice(b"HTTP_");
    }
    out.extend(field_name.iter().map(|&byte| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
}

/// True if the variable of this field's name may be that of another name, too. The caller decides what follows from it.
pub fn has_underscore(field_name: &[u8]) -> bool {
    field_name.contains(&b'_')
}

/// Writes `path` with its percent escapes decoded into `out`, over what it held. Bytes that are no escape stay as they are.
pub fn decode_path(path: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = path;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        out.extend_from_slice(&rest[..at]);
        let (byte, length) = escape(&rest[at..]).map_or((b'%', 1), |byte| (byte, 3));
        out.push(byte);
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest);
}

/// Returns the byte of the `%XX` at the start of `bytes`.
fn escape(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_its_variable() {
        let mut out = b"old".to_vec();
        for (name, variable) in [
            ("Accept-Language", "HTTP_ACCEPT_LANGUAGE"),
            ("x_forwarded-For", "HTTP_X_FORWARDED_FOR"),
            ("content-type", "CONTENT_TYPE"),
            ("Content-Length", "CONTENT_LENGTH"),
            ("Content_Length", "HTTP_CONTENT_LENGTH"),
        ] {
            variable_name(name.as_bytes(), &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), variable);
        }
    }

    #[test]
    fn a_path_is_decoded_once_and_only_where_it_is_escaped() {
        let mut out = b"old".to_vec();
        for (path, decoded) in [
            (&b"/a%20b+c"[..], &b"/a b+c"[..]),
            (b"/%2F%00%ff", b"/\x2f\x00\xff"),
            (b"/%2541", b"/%41"),
            (b"/%", b"/%"),
            (b"/%4", b"/%4"),
            (b"/%g1%4g%%41", b"/%g1%4g%A"),
            (b"/%+1", b"/%+1"),
            (b"", b""),
        ] {
            decode_path(path, &mut out);
            assert_eq!(out, decoded, "{}", path.escape_ascii());
        }
    }
}
