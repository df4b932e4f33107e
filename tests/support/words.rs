//! Command lines as they stand in pages and cases. Used by tests that start nothing.
#![allow(unreachable_pub, reason = "a module of test binaries")]

/// Words with blanks between, single quotes around what holds blanks itself.
pub fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
