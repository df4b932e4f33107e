//! gunicorn's `access_log_format`, compiled from text to a list of pieces. Knows no request.

use std::fmt;

pub(crate) use super::access_keys as keys;

/// An access log format: text with Python conversions, `%(name)s`.
///
/// | name | value |
/// |---|---|
/// | `h` | address of the client |
/// | `l` | `-` |
/// | `u` | user of Basic authorization |
/// | `t` | time, `[20/Nov/2026:08:10:07 +0000]` |
/// | `r` | request line |
/// | `m`, `U`, `q`, `H` | method, decoded path, query, protocol |
/// | `s` | status code |
/// | `b`, `B` | bytes of body sent |
/// | `f`, `a` | Referer, User-Agent |
/// | `T`, `M`, `D`, `L` | duration in whole seconds, ms, µs, seconds with six places |
/// | `p` | `<pid>` |
/// | `{name}i`, `{name}o` | a field of the request, of the application's response; the last one of that name |
/// | `{name}e` | a key of the environ, after the application |
///
/// A missing value is `-`, and so is any other name, as in gunicorn. Flags, width, precision and the conversions `s`, `d`,
/// `i`, `u`, `x`, `X`, `o`, `f` and `F` work as in Python. A format that begins with `{` and ends with `}` makes objects of
/// JSON: its values are escaped by JSON's rules. The format `json` alone is an object with numbers as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormat {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) is_json: bool,
    /// True for the format `json`: a line is an object with all fields, each of its own type.
    pub(crate) is_object: bool,
    unknown: Vec<String>,
}

/// An error in a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormatError {
    /// The position, in characters from 1.
    pub position: usize,
    /// The expected text.
    pub expected: &'static str,
    /// The text that was found.
    pub found: String,
    /// A remedy.
    pub hint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    Value { atom: Atom, shape: Shape },
}

/// The flags, width, precision and kind of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) width: usize,
    /// Maximum characters of a text, minimum digits of a whole number, places of a fraction.
    pub(crate) precision: Option<usize>,
    pub(crate) fill: Fill,
    /// Sign before a number: `+`, a blank or nothing.
    pub(crate) sign: &'static str,
    /// True if `0x` or `0o` comes before a number.
    pub(crate) prefixed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Text,
    Decimal,
    Hexadecimal,
    CapitalHexadecimal,
    Octal,
    Fraction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fill {
    #[default]
    BlanksBefore,
    ZerosBefore,
    BlanksAfter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Atom {
    RemoteAddress,
    Dash,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Referer,
    UserAgent,
    Status,
    BytesOrDash,
    Bytes,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Pid,
    RequestField(Vec<u8>),
    ResponseField(Vec<u8>),
    EnvironValue(String),
    /// An unknown name.
    Unknown,
}

/// The format of objects.
const JSON: &str = "json";

impl AccessFormat {
    /// Compiles `format`.
    pub fn parse(format: &str) -> Result<AccessFormat, AccessFormatError> {
        let mut pieces = Vec::new();
        let mut unknown = Vec::new();
        let mut text = Vec::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            text.extend_from_slice(&rest.as_bytes()[..at]);
            let here = &rest[at..];
            if let Some(after) = here.strip_prefix("%%") {
                text.push(b'%');
                rest = after;
                continue;
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            let (piece, length) = conversion(here).map_err(|wrong| wrong.at(format, here))?;
            if let Piece::Value { atom: Atom::Unknown, .. } = piece {
                unknown.push(here[..length].to_owned());
            }
            pieces.push(piece);
            rest = &here[length..];
        }
        text.extend_from_slice(rest.as_bytes());
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let whole = format.trim();
        let (is_json, is_object) = (whole.starts_with('{') && whole.ends_with('}'), whole == JSON);
        Ok(AccessFormat { pieces, is_json, is_object, unknown })
    }

    /// Returns the conversions with unknown names, as written: `%(z)s`.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// All names, for a hint.
    pub const NAMES: &str = "names are h l u t r m U q H s b B f a T M D L p {name}i {name}o {name}e";

    /// Returns the keys of the environ to look up after the application has run: middleware changes `REMOTE_ADDR` and, for
    /// an application below a path, `PATH_INFO`; an application removes secrets from the others.
    pub fn environ_keys(&self) -> Vec<String> {
        if self.is_object {
            return keys::OF_OBJECT.map(str::to_owned).to_vec();
        }
        let atoms = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value { atom, .. } => Some(atom),
            Piece::Text(_) => None,
        });
        let of_line = atoms.clone().filter(|atom| **atom == Atom::RequestLine).flat_map(|_| keys::REQUEST_LINE);
        let mut keys: Vec<String> = atoms.filter_map(Atom::environ_key).chain(of_line).map(str::to_owned).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Default for AccessFormat {
    /// Returns gunicorn's default.
    fn default() -> Self {
        AccessFormat::parse(DEFAULT).unwrap_or(AccessFormat {
            pieces: Vec::new(),
            is_json: false,
            is_object: false,
            unknown: Vec::new(),
        })
    }
}

impl Atom {
    /// Returns the key of the environ by which the application may have changed the value.
    pub(crate) fn environ_key(&self) -> Option<&str> {
        Some(match self {
            Atom::RemoteAddress => keys::REMOTE_ADDR,
            Atom::Path => keys::PATH_INFO,
            Atom::Method => keys::REQUEST_METHOD,
            Atom::Query => keys::QUERY_STRING,
            Atom::Protocol => keys::SERVER_PROTOCOL,
            Atom::Referer => keys::HTTP_REFERER,
            Atom::UserAgent => keys::HTTP_USER_AGENT,
            Atom::EnvironValue(name) => name,
            _ => return None,
        })
    }

    fn parse(name: &str) -> Atom {
        if let Some((field, kind)) = name.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')) {
            return Atom::parse_field(field, kind);
        }
        match name {
            "h" => Atom::RemoteAddress,
            "l" => Atom::Dash,
            "u" => Atom::User,
            "t" => Atom::Time,
            "r" => Atom::RequestLine,
            "m" => Atom::Method,
            "U" => Atom::Path,
            "q" => Atom::Query,
            "H" => Atom::Protocol,
            "s" => Atom::Status,
            "b" => Atom::BytesOrDash,
            "B" => Atom::Bytes,
            "f" => Atom::Referer,
            "a" => Atom::UserAgent,
            "T" => Atom::Seconds,
            "M" => Atom::Milliseconds,
            "D" => Atom::Microseconds,
            "L" => Atom::DecimalSeconds,
            "p" => Atom::Pid,
            _ => Atom::Unknown,
        }
    }

    fn parse_field(name: &str, kind: &str) -> Atom {
        let field = name.as_bytes().to_vec();
        match kind {
            "i" => Atom::RequestField(field),
            "o" => Atom::ResponseField(field),
            "e" => Atom::EnvironValue(name.to_owned()),
            _ => Atom::Unknown,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Atom::Status | Atom::Bytes | Atom::Seconds | Atom::Milliseconds | Atom::Microseconds)
    }
}

impl fmt::Display for AccessFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessFormatError { position, expected, found, hint } = self;
        write!(f, "character {position}: expected {expected}, found \"{found}\"\nhint: {hint}")
    }
}

impl std::error::Error for AccessFormatError {}

/// An error in a conversion, without its position.
struct Wrong {
    expected: &'static str,
    hint: &'static str,
}

impl Wrong {
    fn at(self, format: &str, here: &str) -> AccessFormatError {
        let before = &format[..format.len() - here.len()];
        AccessFormatError {
            position: before.chars().count() + 1,
            expected: self.expected,
            found: here.chars().take(SHOWN).collect(),
            hint: self.hint,
        }
    }
}

/// Reads the conversion at the start of `text`, and returns it with its length in bytes.
fn conversion(text: &str) -> Result<(Piece, usize), Wrong> {
    let wrong = |hint| Wrong { expected: "%(name)s", hint };
    let name_and_rest = text.strip_prefix("%(").and_then(|rest| rest.split_once(')'));
    let (name, rest) = name_and_rest.ok_or(wrong("a percent sign is written %%"))?;
    let atom = Atom::parse(name);
    let (shape, length) = Shape::parse(rest)?;
    if shape.kind != Kind::Text && !atom.is_number() {
        return Err(wrong(KINDS));
    }
    Ok((Piece::Value { atom, shape }, text.len() - rest.len() + length))
}

impl Shape {
    /// Reads the shape at the start of `text`, which follows the bracket, and returns it with its length in bytes.
    fn parse(text: &str) -> Result<(Shape, usize), Wrong> {
        let after_flags = text.trim_start_matches(['-', '0', ' ', '+', '#']);
        let flags = &text[..text.len() - after_flags.len()];
        let (width, mut rest) = number(after_flags)?;
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let (places, after) = number(after)?;
            (precision, rest) = (Some(places), after);
        }
        let kind = match rest.chars().next() {
            Some('s') => Kind::Text,
            Some('d' | 'i' | 'u') => Kind::Decimal,
            Some('x') => Kind::Hexadecimal,
            Some('X') => Kind::CapitalHexadecimal,
            Some('o') => Kind::Octal,
            Some('f' | 'F') => Kind::Fraction,
            _ => return Err(Wrong { expected: "%(name)s", hint: KINDS }),
        };
        let fill = match flags {
            _ if flags.contains('-') => Fill::BlanksAfter,
            _ if flags.contains('0') && kind != Kind::Text => Fill::ZerosBefore,
            _ => Fill::BlanksBefore,
        };
        let sign = match flags {
            _ if kind == Kind::Text => "",
            _ if flags.contains('+') => "+",
            _ if flags.contains(' ') => " ",
            _ => "",
        };
        let shape = Shape { kind, width, precision, fill, sign, prefixed: flags.contains('#') };
        Ok((shape, text.len() - rest.len() + 1))
    }
}

/// Reads the number at the start of `text`, 0 without digits, and returns it with the rest.
fn number(text: &str) -> Result<(usize, &str), Wrong> {
    let rest = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    match digits.parse() {
        _ if digits.is_empty() => Ok((0, rest)),
        Ok(number) if number <= WIDEST => Ok((number, rest)),
        _ => Err(Wrong { expected: "a width of at most 1000", hint: "leave the width out" }),
    }
}

/// The combined log format: `%(f)s` and `%(a)s` are in quotes, the rest is separated by blanks.
pub(crate) const DEFAULT: &str = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";
const KINDS: &str = "the letter after the bracket is s, or one of d i u x X o f F for a number";
/// Wider than any line worth reading.
const WIDEST: usize = 1000;
/// Characters of a wrong format that a message shows.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_none_says_where_and_why() {
        for (format, error) in [
            ("\u{e4}%", "character 2: expected %(name)s, found \"%\"\nhint: a percent sign is written %%"),
            ("%h", "character 1: expected %(name)s, found \"%h\""),
            ("%(h", "character 1: expected %(name)s, found \"%(h\""),
            ("%(h)", "character 1: expected %(name)s, found \"%(h)\"\nhint: the letter after the bracket"),
            ("%(h)d", "character 1: expected %(name)s, found \"%(h)d\""),
            ("%(s)c", "character 1: expected %(name)s, found \"%(s)c\""),
            ("%(L)f", "character 1: expected %(name)s, found \"%(L)f\""),
            ("%(a).9999s", "character 1: expected a width of at most 1000"),
            ("%(s)99999s", "character 1: expected a width of at most 1000"),
        ] {
            let found = AccessFormat::parse(format).unwrap_err().to_string();
            assert!(found.starts_with(error), "{format}: {found}");
        }
    }
    #[test]
    fn names_that_mean_nothing_are_told() {
        let format = AccessFormat::parse("%(h)s %(z)s %({a}x)-3s %({a)s").unwrap();
        assert_eq!(format.unknown(), ["%(z)s", "%({a}x)-3s", "%({a)s"]);
    }
}
