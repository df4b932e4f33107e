//! What `wsgi.input` answers whoever reads it as a file: one table for collected bodies and for streamed ones.

use serde_json::{Value, json};

/// The body to read: its first lines, and a line as long as `room` for what no buffer holds.
pub fn bodies(room: usize) -> [String; 2] {
    [LINES.to_owned(), format!("{LINES}\n{}", "x".repeat(room))]
}

/// Calls of the input, as the application `input` understands them, and what they give. Each reads to the end.
pub fn cases(body: &str) -> Vec<(&'static str, Value)> {
    let last = if body == LINES { "last" } else { "last\n" };
    let lines: Vec<&str> = body.split_inclusive('\n').collect();
    let after_last = body[LINES.len()..].trim_start_matches('\n');
    vec![
        ("read", json!([body])),
        ("read:-1", json!([body])),
        ("read:None", json!([body])),
        ("read:1000000,read:1", json!([body, ""])),
        ("read:3,read:0,read:1000000,read,read:5", json!(["one", "", &body[3..], "", ""])),
        ("readline,readline,readline,readline,read", json!(["one\n", "two\n", "\n", last, after_last])),
        ("readline:2,readline:0,readline:-1,readline:100,read", json!(["on", "", "e\n", "two\n", &body[8..]])),
        ("readlines,read", json!([lines, ""])),
        ("readlines:5,readline,read", json!([["one\n", "two\n"], "\n", &body[9..]])),
        ("iterate,readline,iterate", json!([lines, "", []])),
        ("readline,iterate", json!(["one\n", lines[1..]])),
    ]
}

/// All ways to read nothing, and what they give.
pub fn of_nothing() -> (&'static str, Value) {
    let calls = "read,read:5,read:None,readline,readline:3,readlines,readlines:3,iterate,read";
    (calls, json!(["", "", "", "", "", [], [], [], ""]))
}

const LINES: &str = "one\ntwo\n\nlast";
