//! The configuration file: the one of this directory, and what a file is whose name does not tell it.

use std::path::Path;

use super::invocation::{Config, Invocation};
use super::usage_error::UsageError;
use crate::os::read_file::{self, Source};

/// Returns the configuration file in this directory that is used when none is named. A verb may be about a server that
/// was started with another one.
pub(super) fn of_directory(is_verb: bool) -> Result<Option<Config>, UsageError> {
    let found = DEFAULT_FILES.map(|name| Path::new(name).is_file());
    match found {
        [true, true] if is_verb => Ok(None),
        [true, true] => Err(UsageError::of_words(format!(
            "expected one configuration file in this directory, found {}\nhint: --config FILE names the one to read",
            DEFAULT_FILES.join(" and ")
        ))),
        _ => Ok(DEFAULT_FILES.into_iter().zip(found).find(|(_, found)| *found).map(|(name, _)| Config::parse(name))),
    }
}

/// Looks into a configuration file whose name does not tell what it is. What cannot be read, or only once, stays TOML.
pub(super) fn decide_by_content(invocation: &mut Invocation) {
    let undecided = invocation.config.as_ref().and_then(Config::undecided);
    let Some(path) = undecided.filter(|path| Path::new(path).is_file()) else { return };
    let Ok(Source { text, .. }) = read_file::read(Path::new(path)) else { return };
    let (config, remark) = Config::decided(path, &text);
    invocation.skipped.extend(remark);
    invocation.config = Some(config);
}

/// The files that are used when no file is named: gunicorn's, and rwsgi's.
const DEFAULT_FILES: [&str; 2] = ["gunicorn.conf.py", "rwsgi.toml"];
