//! Lines of an access log, as far as two servers can be expected to write the same.

use serde_json::Value;

/// A format with every atom there is. What it begins with says which request it was.
pub(crate) const FORMAT: &str = "%(a)s|%(r)s|h=%(h)s l=%(l)s u=%(u)s t=%(t)s m=%(m)s U=%(U)s q=%(q)s H=%(H)s s=%(s)s b=%(b)s \
                      B=%(B)s f=%(f)s T=%(T)s M=%(M)s D=%(D)s L=%(L)s p=%(p)s i=%({host}i)s o=%({X-Site}o)s \
                      o=%({content-length}o)s e=%({REMOTE_ADDR}e)s e=%({wsgi.url_scheme}e)s n=%({nothing}i)s";

/// Is it about a request that an application has answered? Of others both say what they know.
pub(crate) fn is_answered(line: &str) -> bool {
    line.contains("200") || line.contains("404")
}

/// The request that a line of [`FORMAT`] is about, and what it says of it.
pub(crate) fn told(line: &str) -> (&str, String) {
    let (client, rest) = line.split_once('|').unwrap_or(("-", line));
    let (request, rest) = rest.split_once('|').unwrap_or((rest, ""));
    (if client == "-" { request } else { client }, format!("{request}|{}", masked(rest)))
}

/// A line without what differs each time: times, durations, process ids.
pub(crate) fn masked(line: &str) -> String {
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(line) {
        for (name, value) in &mut fields {
            match value {
                _ if OF_THE_MOMENT.contains(&name.as_str()) => shape(value),
                Value::String(text) => *text = masked(text),
                _ => {}
            }
        }
        return Value::Object(fields).to_string();
    }
    let word = |word: &str| if is_of_the_moment(word) { without_digits(word) } else { word.to_owned() };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn is_of_the_moment(word: &str) -> bool {
    let is_duration = || {
        let (seconds, micros) = word.trim_matches('"').split_once('.').unwrap_or_default();
        micros.len() == 6 && (seconds.to_owned() + micros).bytes().all(|byte| byte.is_ascii_digit())
    };
    word.starts_with('[')
        || ["t=", "T=", "M=", "D=", "L=", "p="].iter().any(|name| word.starts_with(name))
        || is_duration()
}

fn shape(value: &mut Value) {
    *value = match value {
        Value::String(text) => Value::String(without_digits(text)),
        _ => Value::String("a number".to_owned()),
    };
}

/// A 0 for each run of digits.
fn without_digits(text: &str) -> String {
    let mut shape = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if shape.ends_with('0') => {}
            '0'..='9' => shape.push('0'),
            _ => shape.push(char),
        }
    }
    shape
}

/// Names that lines in JSON have for what differs each time.
const OF_THE_MOMENT: &[&str] = &["time", "asctime", "timestamp", "process", "pid", "duration", "duration_ms", "taken"];
