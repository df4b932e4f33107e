//! Generates the reference page of the settings from the table. Writes no file.

use std::fmt::Write as _;

use super::parse::FlagKind;
use super::table::{Row, Section, Settings, TABLE};

/// Returns the text of `docs/reference/settings.md`.
pub fn reference() -> String {
    let mut page = String::from(OPENING);
    for section in Section::ALL {
        let _ = write!(page, "\n## {}\n", section.title());
        for row in TABLE.iter().filter(|row| row.section == section) {
            entry(&mut page, row);
        }
    }
    page
}

fn entry(page: &mut String, row: &Row) {
    let default = (row.show)(&Settings::default()).map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
    let _ = write!(page, "\n### {}\n\n{}{}.\n\n", row.name, row.help[..1].to_uppercase(), &row.help[1..]);
    let _ = writeln!(page, "- Command line: {}", flags(row));
    let _ = writeln!(page, "- Environment: `{}`", row.env_name());
    let _ = writeln!(page, "- Default: {default}\n\n{}", row.doc);
}

fn flags(row: &Row) -> String {
    if row.flags.is_empty() {
        return if row.name == "wsgi_app" { format!("`{}`", row.metavar) } else { "none".to_owned() };
    }
    let value = if row.kind == FlagKind::Switch { String::new() } else { format!(" {}", row.metavar) };
    let flags: Vec<String> = row.flags.iter().map(|flag| format!("`{flag}{value}`")).collect();
    flags.join(", ")
}

const OPENING: &str = "\
# Settings

This page is generated from the table of settings, `src/settings/table.rs`.

A setting can be given in five places. For each setting, a later place has precedence:

1. its default,
2. the configuration file, `rwsgi --config FILE`. In TOML the key is the setting's name, at the top level. A path that
   ends in `.py` and `python:MODULE` are in Python, as in gunicorn. Without `--config`, `rwsgi.toml` or
   `gunicorn.conf.py` in the start directory is used ([details](../guides/from-gunicorn.md#the-file)); both are an error. A pipe (`--config <(command)`) is read
   once, and a reload keeps its settings,
3. gunicorn's variable `GUNICORN_CMD_ARGS`, which contains options,
4. the environment, as `RWSGI_` and the name in capitals; an empty variable counts as not set,
5. the command line.

For a list, the flag is repeated on the command line; in an environment variable the elements are separated by commas
(those of `raw_env` by line breaks). The empty text means \"not set\", for settings that can be unset.

A relative path, in the configuration file too, is relative to `chdir`, or without `chdir` to the directory in which
rwsgi was started. The paths of the configuration file itself, of `chdir` and of `python` are always relative to the
latter.

Sizes in bytes may have a unit, a power of 1024: `512K`, `50M`, `1G` in upper or lower case, as in nginx, or `512 KiB`,
`50 MiB`, `1 GiB`. In the file such a value is quoted.

All errors, including unknown names in the file, are reported together, and nothing is started. The exit code is 1, or
2 if the command line cannot be parsed. Names that are ignored cause a warning on standard error: a variable
`RWSGI_...` that is no setting, a name in a Python file that resembles a setting.

`rwsgi settings` with the same options prints every value and its origin. `rwsgi check` tests whether settings and
application load.
";
