//! Translates options of gunicorn that are spelled differently here or are not needed. Only whole names are matched,
//! since uWSGI's `--http` and `--ini` are prefixes of them.

use std::ffi::{OsStr, OsString};

use crate::settings::ProxyMode;
use crate::settings::foreign::gunicorn::{Absent, NEEDLESS_FLAGS};
use crate::settings::types::Text as _;

/// Returns the words for the parser, and a warning for each skipped option.
pub(super) fn translate(words: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let (mut kept, mut skipped) = (Vec::new(), Vec::new());
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let (flag, value) = text.split_once('=').map_or((text, None), |(flag, value)| (flag, Some(value)));
        if let Some((flag, takes_value)) = NEEDLESS_FLAGS.iter().find(|(known, _)| *known == flag) {
            if *takes_value && value.is_none() {
                words.next();
            }
            skipped.extend(Absent::by_flag(flag).map(|absent| absent.warning(flag)));
            continue;
        }
        kept.push(match flag {
            "--no-control-socket" => "--control-socket=off".into(),
            // gunicorn takes the next word as the value, even an application's name. Here only a mode is accepted.
            "--proxy-protocol" if value.is_none() && !words.peek().is_some_and(|next| is_mode(next)) => {
                "--proxy-protocol=auto".into()
            }
            "--limit-request-field_size" => text.replace("field_size", "field-size").into(),
            _ => word,
        });
    }
    (kept, skipped)
}

fn is_mode(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| ProxyMode::parse(word).is_ok())
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn options_are_respelled_or_passed_over() {
        let check = |typed: &str, expected: &str, warnings: usize| {
            let (kept, skipped) = translate(typed.split(' ').map(Into::into));
            let kept: Vec<_> = kept.iter().map(|word| word.to_string_lossy()).collect();
            assert_eq!((kept.join(" ").as_str(), skipped.len()), (expected, warnings), "{typed}");
        };
        check("--proxy-protocol app", "--proxy-protocol=auto app", 0);
        check("--proxy-protocol v2 app", "--proxy-protocol v2 app", 0);
        check("--proxy-protocol=v1 app", "--proxy-protocol=v1 app", 0);
        check("app --proxy-protocol", "app --proxy-protocol=auto", 0);
        check("--limit-request-field_size 9 app", "--limit-request-field-size 9 app", 0);
        check("--limit-request-field_size=9 app", "--limit-request-field-size=9 app", 0);
        check("--no-control-socket app", "--control-socket=off app", 0);
        check("--initgroups --no-sendfile app", "app", 2);
        check("--http-parser fast app", "app", 1);
        check("--http-parser=fast app", "app", 1);
        check("--http :80 --ini x", "--http :80 --ini x", 0);
    }
}
