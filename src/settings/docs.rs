//! Generates the reference page of the settings from the table. Writes no file.

use std::fmt::Write as _;

use super::parse::Kind;
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
    let value = if row.kind == Kind::Switch { String::new() } else { format!(" {}", row.metavar) };
    let flags: Vec<String> = row.flags.iter().map(|flag| format!("`{flag}{value}`")).collect();
    flags.join(", ")
}

const OPENING: &str = "\
# Settings

This page is generated from the table of settings, `src/settings/table.rs`.

A setting can be given in five places. Each counts more than the one before it, a setting at a time:

1. its default,
2. the configuration file, `rwsgi --config FILE`, in TOML, with the setting's name as key at the top level; or in Python, as
   gunicorn has it: a path that ends in `.py`, `python:MODULE`, or, if no file is named, a `gunicorn.conf.py` in the directory in
   which rwsgi was started ([how it is read](../guides/from-gunicorn.md#the-file)); a pipe (`--config <(command)`) is read
   once, and a reload has what it said,
3. gunicorn's variable `GUNICORN_CMD_ARGS`, which holds options,
4. the environment, as `RWSGI_` and the name in capitals; a variable that is empty counts as not set,
5. the command line.

A list on the command line is a flag given several times; in an environment variable its elements have commas between
them (those of `raw_env` line breaks). The empty text takes a setting back to \"not set\", if that is a value it can have.

A relative path, in the configuration file, too, counts from `chdir`, and without that from the directory in which rwsgi was
started. The paths of the configuration file itself, of `chdir` and of `python` always count from there.

Sizes in bytes may have a unit, a power of 1024: `512K`, `50M`, `1G` in capital or small letters, as in nginx, or `512 KiB`,
`50 MiB`, `1 GiB`. In the file they stand in quotes then.

Anything that is wrong, unknown names in the file included, is said at once, and nothing is started: exit code 1, or 2 if
the command line cannot be understood at all. What is there and not read gets a warning on standard error: a variable
`RWSGI_...` that no setting has, a name in a Python file that almost is a setting.

`rwsgi settings` with the same options prints every value and where it comes from, `rwsgi check` tries whether settings
and application load.
";
