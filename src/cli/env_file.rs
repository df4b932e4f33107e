//! The file of variables for the application, `.env`. Changes no variable of this process.

use std::path::Path;

use dotenvy::{Error, Iter};

use crate::os;
use crate::os::read_file::{self, Source};
use crate::settings::types::Text as _;
use crate::settings::{EnvPair, Settings};

/// Puts the variables of `env_file` before those of `raw_env`, except those that `is_set` is true for. `place` is the
/// source of the setting, for messages.
pub(super) fn add(settings: &mut Settings, place: &str, is_set: impl Fn(&str) -> bool) -> Result<(), String> {
    let Some(path) = &settings.env_file else { return Ok(()) };
    let mut pairs = read(path).map_err(|words| format!("{place}: {}{words}", path.display()))?;
    pairs.retain(|pair| !is_set(&pair.key));
    pairs.append(&mut settings.raw_env);
    settings.raw_env = pairs;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<EnvPair>, String> {
    let Source { text, .. } = read_file::read(path).map_err(|error| format!(": {}", os::words(&error)))?;
    pairs(&text)
}

/// Returns the pairs. The text can be a secret, so an error has only its line.
fn pairs(text: &str) -> Result<Vec<EnvPair>, String> {
    let pair = |line: Result<(String, String), Error>| match line {
        Ok((key, value)) => EnvPair::parse(&format!("{key}={value}"))
            .map_err(|_| format!(": {key}: expected a value without a zero byte, found one")),
        Err(Error::LineParse(found, _)) => {
            let first = found.lines().next().unwrap_or_default();
            let number = text.lines().position(|line| line == first).map_or(0, |index| index + 1);
            Err(format!(
                ":{number}: expected KEY=VALUE, found a line that is none\nhint: a value with blanks, # or quotes is \
                 written in quotes: KEY='two words'"
            ))
        }
        Err(error) => Err(format!(": {error}")),
    };
    Iter::new(text.as_bytes()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::{EnvPair, pairs};
    use crate::settings::types::Text as _;

    #[test]
    fn lines_are_read_as_other_readers_of_such_files_read_them() {
        let text = "# comment\n\nA=1\nexport B = two\nC='a # b'\nD=\"line\\nbreak\"\nE=${A}2\nF=\nG=x=y # comment\n";
        let found: Vec<String> = pairs(text).unwrap().iter().map(EnvPair::text).collect();
        assert_eq!(found, ["A=1", "B=two", "C=a # b", "D=line\nbreak", "E=12", "F=", "G=x=y"]);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let wrong = pairs("A=1\n\nsecret words\n").unwrap_err();
        assert!(wrong.starts_with(":3: expected KEY=VALUE, found a line that is none\n") && !wrong.contains("secret"));
    }
}
