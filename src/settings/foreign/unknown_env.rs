//! Finds variables of the environment that resemble settings and are not read. Does not read the environment: the
//! caller passes it.

use super::super::suggest::similar_setting;
use super::super::table::{Row, TABLE};
use super::gunicorn::Absent;

/// Returns a warning for each such variable.
pub fn unknown_variables(environment: &[(String, String)]) -> Vec<String> {
    let set = environment.iter().filter(|(_, value)| !value.trim().is_empty());
    let mut lines: Vec<String> = set.filter_map(|(name, _)| unknown_variable(name)).collect();
    lines.sort();
    lines
}

fn unknown_variable(name: &str) -> Option<String> {
    let setting = name.strip_prefix("RWSGI_")?;
    let is_known = TABLE.iter().any(|row| row.env_name() == name) || name == LAUNCH;
    if is_known || is_of_kubernetes(name) {
        return None;
    }
    if let Some(absent) = Absent::named(&setting.to_ascii_lowercase()) {
        return Some(format!("{name}: not read, this setting of gunicorn is {}; {}", absent.state(), absent.hint));
    }
    let hint = match similar_setting(setting).map(Row::env_name) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "rwsgi settings lists all settings".to_owned(),
    };
    Some(format!("{name}: not read, no setting has this name; {hint}"))
}

/// True if Kubernetes sets the variable. With a service called `rwsgi` or `rwsgi-web` every container of the cluster
/// has `RWSGI_SERVICE_HOST`, `RWSGI_WEB_PORT_8000_TCP_ADDR` and similar ones.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_PORT") || name.contains("_PORT_") || name.contains("_SERVICE_")
}

/// The variables that are no settings: they choose the launch mode in tests.
const LAUNCH: &str = "RWSGI_LAUNCH";

#[cfg(test)]
mod tests {
    use super::unknown_variables;

    fn check(names: &[&str], expected: &[&str]) {
        let environment: Vec<_> = names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        assert_eq!(unknown_variables(&environment), expected);
    }

    #[test]
    fn a_variable_that_no_setting_has_is_named_with_the_nearest_one() {
        check(
            &["RWSGI_WORKER", "RWSGI_LOG_LEVEL", "RWSGI_COLOUR", "RWSGI_SPEW"],
            &[
                "RWSGI_COLOUR: not read, no setting has this name; rwsgi settings lists all settings",
                "RWSGI_LOG_LEVEL: not read, no setting has this name; did you mean RWSGI_LOGLEVEL?",
                "RWSGI_SPEW: not read, this setting of gunicorn is not planned; python3 -m trace prints the lines that a \
                 program runs",
                "RWSGI_WORKER: not read, no setting has this name; did you mean RWSGI_WORKERS?",
            ],
        );
    }

    #[test]
    fn settings_and_variables_of_kubernetes_are_passed_over() {
        check(&["RWSGI_WORKERS", "RWSGI_LAUNCH", "WORKERS", "MY_RWSGI_WORKER"], &[]);
        check(&["RWSGI_PORT", "RWSGI_PORT_8000_TCP", "RWSGI_PORT_8000_TCP_ADDR", "RWSGI_SERVICE_HOST"], &[]);
        check(&["RWSGI_WEB_PORT", "RWSGI_WEB_SERVICE_PORT", "RWSGI_SERVICE_PORT_HTTP"], &[]);
        assert_eq!(unknown_variables(&[("RWSGI_WORKER".to_owned(), " ".to_owned())]), Vec::<String>::new());
    }
}
