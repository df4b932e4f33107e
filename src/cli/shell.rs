//! Splits text into words as a POSIX shell does: blanks separate, quotes and backslashes escape. Expands nothing.

/// Returns the words, or `None` if quotes are left open or the text ends in a backslash.
pub(super) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '\'' => loop {
                let word = word.get_or_insert_default();
                match letters.next()? {
                    '\'' => break,
                    letter => word.push(letter),
                }
            },
            '"' => loop {
                let word = word.get_or_insert_default();
                match letters.next()? {
                    '"' => break,
                    '\\' => match letters.next()? {
                        kept @ ('"' | '\\') => word.push(kept),
                        letter => word.extend(['\\', letter]),
                    },
                    letter => word.push(letter),
                }
            },
            '\\' => word.get_or_insert_default().push(letters.next()?),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let cases: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("  -w 3\t--bind=:80\n", &["-w", "3", "--bind=:80"]),
            (r#"--env 'A=1 "2"'"#, &["--env", r#"A=1 "2""#]),
            (r#"--env "A=1 \"2\" \n""#, &["--env", r#"A=1 "2" \n"#]),
            (r"--env A=1\ 2", &["--env", "A=1 2"]),
            ("--pid ''", &["--pid", ""]),
            ("a'b'\"c\"d", &["abcd"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn open_quotes_are_no_words() {
        for text in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
