//! Names in certificates as texts: strings of any ASN.1 type become UTF-8, and control characters are escaped.

use std::fmt::Write as _;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::Any;
use x509_cert::der::{Encode, Tag, Tagged};
use x509_cert::name::Name;

/// Returns a whole name by RFC 4514, as nginx has it: the last part first, control characters as `\0A`.
pub(super) fn whole(name: &Name) -> String {
    let sets = name.0.iter().rev().map(|set| set.0.iter().map(whole_part).collect::<Vec<_>>().join("+"));
    sets.collect::<Vec<_>>().join(",")
}

/// Returns the text of a part, with control characters as `\0A`, or `#` and its encoding if it is no text.
pub(super) fn part(part: &AttributeTypeAndValue) -> String {
    decoded(&part.value).map_or_else(|| encoded(&part.value), |text| without_controls(&text))
}

/// Returns a text with control characters as `\0A`.
pub(super) fn without_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|char| push(&mut escaped, char));
    escaped
}

fn whole_part(part: &AttributeTypeAndValue) -> String {
    // The key, by the table of x509-cert. An attribute that it does not know has its number, and its value is `#...`.
    let key = Any::new(Tag::Utf8String, []).map(|value| AttributeTypeAndValue { oid: part.oid, value }.to_string());
    let key = key.ok().filter(|key| key.ends_with('='));
    let (Some(mut text), Some(value)) = (key, decoded(&part.value)) else {
        return format!("{}={}", part.oid, encoded(&part.value));
    };
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let at_an_end = at == 0 && matches!(char, ' ' | '#') || at == last && char == ' ';
        if at_an_end || matches!(char, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        push(&mut text, char);
    }
    text
}

/// Appends a character; a control character as the hexadecimal digits of its UTF-8.
fn push(text: &mut String, char: char) {
    if char.is_control() {
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\{byte:02X}");
        }
    } else {
        text.push(char);
    }
}

/// Decodes an ASN.1 string, or returns `None` for another type, or for bytes that its type does not allow.
fn decoded(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            bytes.is_ascii().then(|| bytes.iter().map(|byte| char::from(*byte)).collect())
        }
        // T.61 has no table that two programs agree about. OpenSSL reads it as Latin-1.
        Tag::TeletexString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => utf16(bytes),
        _ => None,
    }
}

/// Decodes a BMPString: UTF-16 in network order, in which OpenSSL writes characters beyond U+FFFF as well.
fn utf16(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks(2).map(|unit| unit.try_into().map(u16::from_be_bytes));
    let units = units.collect::<Result<Vec<_>, _>>().ok()?;
    String::from_utf16(&units).ok()
}

/// Returns `#` and the encoding in hexadecimal digits (RFC 4514 section 2.4).
fn encoded(value: &Any) -> String {
    let der = value.to_der().unwrap_or_default();
    der.iter().fold("#".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use x509_cert::der::asn1::ObjectIdentifier;

    use super::*;

    fn of(tag: Tag, bytes: &[u8]) -> AttributeTypeAndValue {
        let oid = ObjectIdentifier::new_unwrap("2.5.4.3");
        AttributeTypeAndValue { oid, value: Any::new(tag, bytes).unwrap() }
    }

    #[test]
    fn strings_of_any_type_are_text() {
        for (tag, bytes, expected) in [
            (Tag::Utf8String, "Jörg 😀".as_bytes(), "Jörg 😀"),
            (Tag::PrintableString, b"Ada", "Ada"),
            (Tag::Ia5String, b"ada@example.org", "ada@example.org"),
            (Tag::NumericString, b"12", "12"),
            (Tag::VisibleString, b"Ada", "Ada"),
            (Tag::TeletexString, b"J\xf6rg", "Jörg"),
            (Tag::BmpString, b"\0J\0\xf6\0r\0g", "Jörg"),
            (Tag::BmpString, b"\xd8\x3d\xde\x00", "😀"),
            // No text of its type.
            (Tag::Utf8String, b"J\xf6rg", "#0c044af67267"),
            (Tag::PrintableString, b"J\xf6rg", "#13044af67267"),
            (Tag::BmpString, b"\0J\0", "#1e03004a00"),
            (Tag::BmpString, b"\xd8\x3d", "#1e02d83d"),
            (Tag::OctetString, b"Ada", "#0403416461"),
        ] {
            assert_eq!(part(&of(tag, bytes)), expected);
        }
    }

    #[test]
    fn nothing_in_a_value_looks_like_another_part() {
        for (value, expected) in [
            ("a,CN=b", "CN=a\\,CN=b"),
            (" a b ", "CN=\\ a b\\ "),
            ("#04", "CN=\\#04"),
            ("\\+<>;\"", "CN=\\\\\\+\\<\\>\\;\\\""),
            ("a\r\nb\0\x7f\u{85}", "CN=a\\0D\\0Ab\\00\\7F\\C2\\85"),
            ("", "CN="),
        ] {
            assert_eq!(whole_part(&of(Tag::Utf8String, value.as_bytes())), expected);
        }
        assert_eq!(part(&of(Tag::Utf8String, b"a\nCN=b, c")), "a\\0ACN=b, c");
        let oid = ObjectIdentifier::new_unwrap("1.2.3.4");
        let unknown = AttributeTypeAndValue { oid, ..of(Tag::Utf8String, b"a") };
        assert_eq!(whole_part(&unknown), "1.2.3.4=#0c0161");
    }
}
