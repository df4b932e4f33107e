//! Errors for unknown options. Knows the options of rwsgi and of other servers.

use std::ffi::OsString;

use super::invocation::{CONFIG, JSON, WAIT, WITHIN};
use super::usage_error::UsageError;
use crate::settings::foreign::gunicorn::Absent;
use crate::settings::foreign::{others, uwsgi};
use crate::settings::suggest::{closest, nearest, one_of};
use crate::settings::{Row, TABLE};

/// True for an option of other servers that no setting corresponds to. It may be the beginning of an option of rwsgi, so
/// it is looked for before the words are parsed.
pub(super) fn is_foreign(word: &OsString) -> bool {
    word.to_str().and_then(|word| word.split('=').next()).is_some_and(others::is_without_setting)
}

/// Returns the error, with a hint if one is known.
pub(super) fn refusal(argument: &str) -> UsageError {
    if let Some(absent) = Absent::by_flag(argument) {
        let words = format!("{argument}: this option of gunicorn is {}\nhint: {}", absent.state(), absent.hint);
        return UsageError::of_words(words);
    }
    let flags = TABLE.iter().flat_map(|row| row.flags).copied();
    let longer: Vec<&str> = flags.filter(|flag| flag.starts_with(argument)).collect();
    if longer.len() > 1 && !others::is_without_setting(argument) {
        let count = longer.len();
        let meant = one_of(&closest(argument, longer.into_iter()));
        return UsageError::of_words(format!(
            "{argument}: expected one option, found the beginning of {count} options\nhint: did you mean {meant}?"
        ));
    }
    let every =
        (argument == "--all").then(|| "rwsgi stack and rwsgi recycle without a slot mean every worker".to_owned());
    let foreign = || uwsgi::hint(argument).or_else(|| others::hint(argument));
    match every.or_else(|| flag_of_setting(argument)).or_else(foreign).or_else(|| nearest_flag(argument)) {
        Some(hint) => UsageError::of_words(format!("{argument}: unknown option\nhint: {hint}")),
        None => UsageError::usage(format!("{argument}: unknown option")),
    }
}

/// Returns a hint for the name of a setting in a file.
fn flag_of_setting(argument: &str) -> Option<String> {
    let row = Row::named(&argument.strip_prefix("--")?.replace('-', "_"))?;
    Some(match row.flags.last() {
        Some(flag) => format!("the option of {} is {flag}", row.name),
        None => format!("{} has no option, set it in the file or in the environment", row.name),
    })
}

/// Returns a hint for a misspelled option.
fn nearest_flag(argument: &str) -> Option<String> {
    let others = [CONFIG, WAIT, JSON, WITHIN, "help", "help-all", "version"].into_iter();
    let names = TABLE.iter().flat_map(|row| row.flags).filter_map(|flag| flag.strip_prefix("--")).chain(others);
    let flag = nearest(argument.strip_prefix("--")?, names)?;
    Some(format!("did you mean --{flag}?"))
}
