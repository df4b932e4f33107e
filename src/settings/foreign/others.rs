//! Names of other servers for settings of rwsgi: granian, hypercorn, nginx, Puma, uvicorn, waitress. Names only; knows
//! no value. uWSGI's are in `uwsgi`.

use super::super::table::Row;

/// Returns the hint for such a name, which is a key or, with its dashes, a flag.
pub fn hint(option: &str) -> Option<String> {
    let (is_flag, name) = (option.starts_with("--"), option.trim_start_matches('-').replace('-', "_"));
    let (_, setting) = NAMES.iter().find(|(names, _)| names.contains(&name.as_str()))?;
    let row = Row::named(setting)?;
    let here = if is_flag { row.flag_name() } else { row.name };
    Some(format!("did you mean {here}? ({})", row.help))
}

#[rustfmt::skip] // A table: names, setting.
const NAMES: &[(&[&str], &str)] = &[
    (&["idle_timeout", "keepalive_timeout", "keep_alive_timeout", "timeout_keep_alive", "channel_timeout", "persistent_timeout"], "keepalive"),
    (&["request_timeout", "worker_timeout", "response_timeout"], "timeout"),
    (&["shutdown_timeout", "stop_timeout", "drain_timeout", "graceful_shutdown_timeout", "timeout_graceful_shutdown", "workers_kill_timeout"], "graceful_timeout"),
    (&["client_max_body_size", "max_body_size", "max_request_body_size", "body_limit"], "limit_request_body"),
    (&["host", "port", "listen_address"], "bind"),
    (&["min_workers", "minimum_workers"], "workers_min"),
    (&["max_workers", "maximum_workers"], "workers_max"),
    (&["scale_down_delay", "cooldown"], "workers_cooldown"),
    (&["blocking_threads", "max_threads", "num_threads"], "threads"),
    (&["limit_max_requests", "max_requests_per_child", "workers_max_requests"], "max_requests"),
    (&["workers_lifetime", "worker_lifetime"], "max_worker_lifetime"),
    (&["workers_max_rss", "max_rss"], "reload_on_rss"),
    (&["log_file", "error_log"], "errorlog"),
    (&["access_log"], "accesslog"),
    (&["ssl_certificate", "ssl_certfile", "certificate"], "certfile"),
    (&["ssl_keyfile", "ssl_certificate_key", "private_key"], "keyfile"),
    (&["working_dir", "working_directory"], "chdir"),
    (&["process_name"], "proc_name"),
];

#[cfg(test)]
mod tests {
    use super::super::super::Row;
    use super::super::gunicorn::Absent;
    use super::super::uwsgi;
    use super::{NAMES, hint};

    #[test]
    fn every_name_leads_to_a_setting_and_is_none_itself() {
        for (names, setting) in NAMES {
            assert!(Row::named(setting).is_some_and(|row| !row.flags.is_empty()), "{setting}");
            for name in *names {
                assert!(Row::named(name).is_none() && Absent::named(name).is_none(), "{name}");
                assert!(uwsgi::hint(name).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn a_name_is_answered_as_it_was_written() {
        let keepalive = "(time to keep an idle connection open)";
        assert_eq!(hint("idle_timeout"), Some(format!("did you mean keepalive? {keepalive}")));
        assert_eq!(hint("--idle-timeout"), Some(format!("did you mean --keep-alive? {keepalive}")));
        assert_eq!(hint("colour"), None);
    }
}
