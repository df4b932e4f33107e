//! gunicorn's `access_log_format`, compiled. Text to a list of pieces; knows no request.

use std::fmt;

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
/// | `{name}i`, `{name}o` | a field of the request, of the application's response |
/// | `{name}e` | a key of the environ, as the application has left it |
///
/// What is missing is `-`. A width, `-`, `0` and the conversions `s`, `d`, `i` work as in Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormat {
    pub(crate) pieces: Vec<Piece>,
}

/// A format that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormatError {
    /// Where, in characters from 1.
    pub position: usize,
    /// What was expected there.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
    /// What to do about it.
    pub hint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    Value { atom: Atom, width: usize, fill: Fill },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
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
}

impl AccessFormat {
    /// Compiles `format`.
    pub fn parse(format: &str) -> Result<AccessFormat, AccessFormatError> {
        let mut pieces = Vec::new();
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
            pieces.push(piece);
            rest = &here[length..];
        }
        text.extend_from_slice(rest.as_bytes());
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(AccessFormat { pieces })
    }

    /// The keys of the environ that are to be looked up once the application is through: middleware changes `REMOTE_ADDR`.
    pub fn environ_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.pieces.iter().filter_map(Piece::environ_key).map(str::to_owned).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Piece {
    fn environ_key(&self) -> Option<&str> {
        match self {
            Piece::Value { atom: Atom::RemoteAddress, .. } => Some(REMOTE_ADDR),
            Piece::Value { atom: Atom::EnvironValue(name), .. } => Some(name),
            _ => None,
        }
    }
}

impl Default for AccessFormat {
    /// gunicorn's default.
    fn default() -> Self {
        AccessFormat::parse(DEFAULT).unwrap_or(AccessFormat { pieces: Vec::new() })
    }
}

impl Atom {
    fn parse(name: &str) -> Result<Atom, Wrong> {
        if let Some((field, kind)) = name.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')) {
            return Atom::parse_field(field, kind);
        }
        Ok(match name {
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
            "f" => Atom::RequestField(b"referer".to_vec()),
            "a" => Atom::RequestField(b"user-agent".to_vec()),
            "T" => Atom::Seconds,
            "M" => Atom::Milliseconds,
            "D" => Atom::Microseconds,
            "L" => Atom::DecimalSeconds,
            "p" => Atom::Pid,
            _ => {
                return Err(Wrong { expected: "a known name", hint: NAMES_HINT });
            }
        })
    }

    fn parse_field(name: &str, kind: &str) -> Result<Atom, Wrong> {
        let field = name.as_bytes().to_vec();
        match kind {
            "i" => Ok(Atom::RequestField(field)),
            "o" => Ok(Atom::ResponseField(field)),
            "e" => Ok(Atom::EnvironValue(name.to_owned())),
            _ => Err(Wrong {
                expected: "{name}i, {name}o or {name}e",
                hint: "i is the request, o the response, e the environ",
            }),
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

/// What is wrong with a conversion, its place not yet known.
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

/// The conversion at the start of `text`, which is a `%`, and its length in bytes.
fn conversion(text: &str) -> Result<(Piece, usize), Wrong> {
    let wrong = |hint| Wrong { expected: "%(name)s", hint };
    let name_and_rest = text.strip_prefix("%(").and_then(|rest| rest.split_once(')'));
    let (name, rest) = name_and_rest.ok_or(wrong("a percent sign is written %%"))?;
    let atom = Atom::parse(name)?;
    let digits = rest.trim_start_matches(['-', '0', ' ', '+', '#']);
    let flags = &rest[..rest.len() - digits.len()];
    let kind = digits.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let width = &digits[..digits.len() - kind.len()];
    let conversion = kind.chars().next();
    let number = matches!(conversion, Some('d' | 'i' | 'u'));
    if !(number && atom.is_number() || conversion == Some('s')) {
        return Err(wrong("after the bracket stands s, or d for a number"));
    }
    let width = match width.parse() {
        _ if width.is_empty() => 0,
        Ok(width) if width <= WIDEST => width,
        _ => {
            return Err(Wrong { expected: "a width of at most 1000", hint: "leave the width out" });
        }
    };
    let fill = match flags {
        _ if flags.contains('-') => Fill::BlanksAfter,
        _ if flags.contains('0') && number => Fill::ZerosBefore,
        _ => Fill::BlanksBefore,
    };
    Ok((Piece::Value { atom, width, fill }, text.len() - kind.len() + 1))
}

/// `%(f)s` and `%(a)s` stand in quotes, the rest is separated by blanks: the combined log format.
pub(crate) const DEFAULT: &str = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";
const NAMES_HINT: &str = "names are h l u t r m U q H s b B f a T M D L p {name}i {name}o {name}e";
/// What `%(h)s` is, where it is known.
pub(crate) const REMOTE_ADDR: &str = "REMOTE_ADDR";
/// Wider than any line worth reading.
const WIDEST: usize = 1000;
/// How much of a wrong format a message shows, in characters.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_none_says_where_and_why() {
        for (format, error) in [
            ("%(h)s %(z)s", "character 7: expected a known name, found \"%(z)s\"\nhint: names are"),
            ("\u{e4}%", "character 2: expected %(name)s, found \"%\"\nhint: a percent sign is written %%"),
            ("%h", "character 1: expected %(name)s, found \"%h\""),
            ("%(h", "character 1: expected %(name)s, found \"%(h\""),
            ("%(h)", "character 1: expected %(name)s, found \"%(h)\"\nhint: after the bracket"),
            ("%(h)d", "character 1: expected %(name)s, found \"%(h)d\""),
            ("%(s)x", "character 1: expected %(name)s, found \"%(s)x\""),
            ("%(s)99999s", "character 1: expected a width of at most 1000"),
            ("%({a}x)s", "character 1: expected {name}i, {name}o or {name}e"),
            ("%({a)s", "character 1: expected a known name"),
        ] {
            let found = AccessFormat::parse(format).unwrap_err().to_string();
            assert!(found.starts_with(error), "{format}: {found}");
        }
    }
}
