//! What is there and is not read, though somebody may think so: variables that are almost settings, and gunicorn's own
//! sources. Looks at no file and no environment: the caller hands over what it saw.

use super::gunicorn::Absent;
use super::resolve::{meant, variable};
use super::table::{Row, TABLE};

/// A line for each such thing. `is_python_file_there`: gunicorn would read its `gunicorn.conf.py`, unasked.
pub fn unread(environment: &[(String, String)], is_python_file_there: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if variable(environment, "GUNICORN_CMD_ARGS").is_some() {
        lines.push("GUNICORN_CMD_ARGS: not read; write its options on rwsgi's command line".to_owned());
    }
    if is_python_file_there {
        lines.push(
            "gunicorn.conf.py: not read, Python configuration files are not there yet; write its settings to a TOML file \
             and name that by --config"
                .to_owned(),
        );
    }
    let set = environment.iter().filter(|(_, value)| !value.trim().is_empty());
    let mut unknown: Vec<String> = set.filter_map(|(name, _)| unknown_variable(name)).collect();
    unknown.sort();
    lines.extend(unknown);
    lines
}

fn unknown_variable(name: &str) -> Option<String> {
    let setting = name.strip_prefix("RWSGI_")?;
    let is_known = TABLE.iter().any(|row| row.env_name() == name) || name == DOOR;
    if is_known || is_of_kubernetes(name) {
        return None;
    }
    if let Some(absent) = Absent::named(&setting.to_ascii_lowercase()) {
        return Some(format!("{name}: not read, this setting of gunicorn is {}; {}", absent.state(), absent.hint));
    }
    let hint = match meant(setting).map(Row::env_name) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "rwsgi settings prints the settings that there are".to_owned(),
    };
    Some(format!("{name}: not read, no setting has this name; {hint}"))
}

/// In a cluster with a service called `rwsgi` or `rwsgi-web` every container has `RWSGI_SERVICE_HOST`,
/// `RWSGI_WEB_PORT_8000_TCP_ADDR` and their like.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_PORT") || name.contains("_PORT_") || name.contains("_SERVICE_")
}

/// The one variable that is no setting, for those who try both ways into Python.
const DOOR: &str = "RWSGI_DOOR";

#[cfg(test)]
mod tests {
    use super::unread;

    fn check(names: &[&str], expected: &[&str]) {
        let environment: Vec<_> = names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        assert_eq!(unread(&environment, false), expected);
    }

    #[test]
    fn a_variable_that_no_setting_has_is_named_with_the_nearest_one() {
        check(
            &["RWSGI_WORKER", "RWSGI_LOG_LEVEL", "RWSGI_COLOUR", "RWSGI_RELOAD"],
            &[
                "RWSGI_COLOUR: not read, no setting has this name; rwsgi settings prints the settings that there are",
                "RWSGI_LOG_LEVEL: not read, no setting has this name; did you mean RWSGI_LOGLEVEL?",
                "RWSGI_RELOAD: not read, this setting of gunicorn is not there yet; send HUP to the master to load \
                 changed code",
                "RWSGI_WORKER: not read, no setting has this name; did you mean RWSGI_WORKERS?",
            ],
        );
    }

    #[test]
    fn what_is_read_or_nobody_wrote_is_passed_over() {
        check(&["RWSGI_WORKERS", "RWSGI_DOOR", "WORKERS", "MY_RWSGI_WORKER"], &[]);
        check(&["RWSGI_PORT", "RWSGI_PORT_8000_TCP", "RWSGI_PORT_8000_TCP_ADDR", "RWSGI_SERVICE_HOST"], &[]);
        check(&["RWSGI_WEB_PORT", "RWSGI_WEB_SERVICE_PORT", "RWSGI_SERVICE_PORT_HTTP"], &[]);
        assert_eq!(unread(&[("RWSGI_WORKER".to_owned(), " ".to_owned())], false), Vec::<String>::new());
    }

    #[test]
    fn sources_of_gunicorn_are_named() {
        check(&["GUNICORN_CMD_ARGS"], &["GUNICORN_CMD_ARGS: not read; write its options on rwsgi's command line"]);
        let [line] = &unread(&[], true)[..] else { panic!("expected one line") };
        assert!(line.starts_with("gunicorn.conf.py: not read, "), "{line}");
    }
}
