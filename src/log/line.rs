//! The form of a line of the error log: an event, its time and pid go in, bytes come out.
//!
//! No text from outside can forge a line: fields are quoted and escaped, control characters in messages are escaped,
//! and a message's own further lines cannot begin like a line of the log.
//!
//! Lines that gunicorn has too keep its words, with which programs search. Such an event has a field `event`, its name
//! in JSON. Fields that its words contain already have the prefix `said.`: a line of text does not repeat them, and
//! JSON has them without the prefix.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::{Format, Level};
use crate::os::clock;

/// One event.
pub(super) struct Line {
    pub(super) wall: Duration,
    pub(super) pid: u32,
    pub(super) level: Level,
    /// The name of an event whose words are gunicorn's.
    pub(super) event: Option<String>,
    pub(super) message: String,
    /// The fields, in the order in which the event names them.
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// Returns the bytes, newline included.
    pub(super) fn encode(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
        }
    }

    fn text(&self) -> String {
        let time = clock::log_time(self.wall.as_secs());
        format!("{time} [{}] [{}] {}\n", self.pid, self.level.label(), self.words())
    }

    /// Returns message and fields. The fields follow the message's first line, before a traceback.
    pub(super) fn words(&self) -> String {
        let mut text = String::new();
        let mut lines = self.message.trim_end_matches('\n').split('\n');
        escape_into(&mut text, lines.next().unwrap_or_default());
        for (name, value) in self.fields.iter().filter(|(name, _)| !name.starts_with(SAID)) {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name}=");
            match value {
                Value::String(value) => value_into(&mut text, value),
                other => value_into(&mut text, &other.to_string()),
            }
        }
        for line in lines {
            text.push_str(if line.starts_with('[') { "\n " } else { "\n" });
            escape_into(&mut text, line);
        }
        text
    }

    fn json(&self) -> String {
        let mut head: Vec<(&str, Value)> = vec![
            ("time", clock::rfc3339(self.wall).into()),
            ("level", self.level.label().into()),
            ("pid", self.pid.into()),
        ];
        head.extend(self.event.as_deref().map(|event| ("event", event.into())));
        head.push(("message", self.message.as_str().into()));
        format!("{{{},\"fields\":{{{}}}}}\n", members(&head), members(&self.fields))
    }
}

/// Returns `"name":value,...`.
fn members(members: &[(&str, Value)]) -> String {
    let name = |name: &str| Value::from(name.strip_prefix(SAID).unwrap_or(name));
    let written: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", name(key))).collect();
    written.join(",")
}

/// Returns the line with the number of lines of the log `name` ("log", "access log") that found no room.
pub(super) fn dropped(format: Format, name: &str, lines: u64) -> String {
    let line = Line {
        wall: clock::wall(),
        pid: std::process::id(),
        level: Level::Warning,
        event: None,
        message: format!("{name} lines dropped"),
        fields: vec![("n", lines.into())],
    };
    line.encode(format)
}

/// Returns a text without its middle if it has more than `most` bytes. Its start says what happened, and its end is the
/// last of a chain of exceptions.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=most / 4 * 3).rev().find(is_boundary).unwrap_or(0);
    let tail = (text.len() - most / 4..=text.len()).find(is_boundary).unwrap_or(text.len());
    let (head, between, tail) = (&text[..head], tail - head, &text[tail..]);
    format!("{head}[... {between} bytes cut ...]{tail}").into()
}

/// Appends a field's value: bare if nothing in it can be mistaken, else quoted.
fn value_into(text: &mut String, value: &str) {
    let plain = |char: char| !char.is_whitespace() && !hidden(char) && !matches!(char, '"' | '\\' | '=');
    if !value.is_empty() && value.chars().all(plain) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            other if hidden(other) => text.extend(other.escape_default()),
            other => text.push(other),
        }
    }
    text.push('"');
}

fn escape_into(text: &mut String, message: &str) {
    for char in message.chars() {
        if hidden(char) && char != '\t' {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
}

/// Returns a text of several lines as it can be shown on a terminal, even if its author is not trusted.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            shown.push('\n');
        }
        escape_into(&mut shown, line);
    }
    shown
}

/// Returns JSON with the same characters escaped in JSON's way: only strings can have them, and mean the same.
pub fn escaped_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for char in json.chars() {
        if hidden(char) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    shown
}

/// True for characters that move the cursor, end a line, or change the order in which a terminal shows the others.
fn hidden(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The prefix of fields that the words of an event contain.
const SAID: &str = "said.";

#[cfg(test)]
mod tests {
    use super::super::tests::rest;
    use super::*;

    fn event(message: &str, fields: Vec<(&'static str, Value)>) -> Line {
        Line {
            wall: Duration::from_millis(1_795_162_207_123),
            pid: 4711,
            level: Level::Info,
            event: None,
            message: message.into(),
            fields,
        }
    }

    #[test]
    fn a_text_line_has_time_pid_level_message_and_fields() {
        let fields = vec![("slot", 0.into()), ("gen", 3.into()), ("app", "mysite.wsgi".into())];
        let text = event("worker ready", fields).encode(Format::Text);
        let time = clock::log_time(1_795_162_207);
        assert_eq!(text, format!("{time} [4711] [INFO] worker ready slot=0 gen=3 app=mysite.wsgi\n"));
    }

    #[test]
    fn a_json_line_is_an_object_in_this_order() {
        let fields = vec![("pid", 7.into()), ("path", "/\"\n".into()), ("ok", true.into())];
        let text = event("two\nlines", fields).encode(Format::Json);
        assert_eq!(
            text,
            "{\"time\":\"2026-11-20T08:10:07.123Z\",\"level\":\"INFO\",\"pid\":4711,\"message\":\"two\\nlines\",\
             \"fields\":{\"pid\":7,\"path\":\"/\\\"\\n\",\"ok\":true}}\n"
        );
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }

    #[test]
    fn words_of_gunicorn_are_followed_by_own_fields_and_have_a_name_in_json() {
        let fields = vec![("said.at", "http://[::1]:80".into()), ("said.pid", 7.into()), ("gen", 3.into())];
        let line = Line { event: Some("listening".into()), ..event("Listening at: http://[::1]:80 (7)", fields) };
        assert_eq!(rest(&line.encode(Format::Text)), "[INFO] Listening at: http://[::1]:80 (7) gen=3\n");
        let json: Value = serde_json::from_str(&line.encode(Format::Json)).unwrap();
        assert_eq!(json["event"], "listening");
        assert_eq!(json["fields"], serde_json::json!({"at": "http://[::1]:80", "pid": 7, "gen": 3}));
    }

    #[test]
    fn no_value_can_be_taken_for_something_else() {
        let cases = [
            ("/polls/?a", "/polls/?a"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("say \"no\" \\", "\"say \\\"no\\\" \\\\\""),
            (
                "x\n[2026-11-20 08:10:07 +0000] [1] [INFO] forged",
                "\"x\\n[2026-11-20 08:10:07 +0000] [1] [INFO] forged\"",
            ),
            ("\x1b[2J\u{202e}\u{85}", "\"\\u{1b}[2J\\u{202e}\\u{85}\""),
            ("straße", "straße"),
        ];
        for (value, expected) in cases {
            let text = event("m", vec![("f", value.into())]).encode(Format::Text);
            assert_eq!(rest(&text), format!("[INFO] m f={expected}\n"));
        }
    }

    #[test]
    fn a_text_that_is_too_long_keeps_its_start_and_its_end() {
        assert_eq!(cut("0123456789abcdef", 16), "0123456789abcdef");
        assert_eq!(cut("0123456789abcdefg", 16), "0123456789ab[... 1 bytes cut ...]defg");
        // Characters stay whole.
        let text = "é".repeat(1000);
        assert_eq!(cut(&text, 10), "ééé[... 1992 bytes cut ...]é");
        assert_eq!(cut(&text, 0), "[... 2000 bytes cut ...]");
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        let text = "first \x1b[2J\n\tsecond\u{9b}31m\r\u{202e}\n";
        assert_eq!(escaped(text), "first \\u{1b}[2J\n\tsecond\\u{9b}31m\\r\\u{202e}\n");
        let json = serde_json::to_string(text).unwrap();
        let shown = escaped_json(&json);
        assert!(!shown.chars().any(hidden), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }

    #[test]
    fn a_traceback_keeps_its_lines_and_forges_none() {
        let message =
            "app raised\nTraceback (most recent call last):\n  File \"a.py\"\n[x] [1] [INFO] forged\nE: \x07\u{2028}\n";
        let text = event(message, vec![("slot", 1.into())]).encode(Format::Text);
        assert_eq!(
            rest(&text),
            "[INFO] app raised slot=1\nTraceback (most recent call last):\n  File \"a.py\"\n [x] [1] [INFO] forged\nE: \\u{7}\\u{2028}\n"
        );
    }
}
