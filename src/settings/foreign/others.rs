//! Names of other servers for settings of rwsgi: granian, hypercorn, nginx, Puma, uvicorn, waitress. Names only; knows
//! no value. uWSGI's are in `uwsgi`.

use super::super::table::Row;

/// True for a flag that no setting corresponds to. Such a flag may be the beginning of one of rwsgi's (`--ssl`).
pub fn is_without_setting(flag: &str) -> bool {
    let name = flag.strip_prefix("--").unwrap_or_default().replace('-', "_");
    WORDS.iter().any(|(names, _)| names.contains(&name.as_str()))
}

/// Returns the hint for such a name, which is a key or, with its dashes, a flag.
pub fn hint(option: &str) -> Option<String> {
    let (is_flag, name) = (option.starts_with("--"), option.trim_start_matches('-').replace('-', "_"));
    if let Some((_, words)) = WORDS.iter().find(|(names, _)| names.contains(&name.as_str())) {
        return Some((*words).to_owned());
    }
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

#[rustfmt::skip] // A table: names without a setting of their own, hint.
const WORDS: &[(&[&str], &str)] = &[
    (&["ssl", "tls", "https"], "certfile turns TLS on: --certfile site.pem --keyfile site.key"),
    (&["static", "static_dir", "static_files", "static_path", "static_path_mount", "static_path_route", "static_root", "staticfiles"],
     "the application serves static files by WhiteNoise, or nginx in front does"),
    (&["metrics", "metrics_address", "metrics_port", "prometheus", "prometheus_port"],
     "rwsgi status --json has the counts, and --statsd-host HOST:PORT sends metrics"),
];

#[cfg(test)]
mod tests {
    use super::super::super::Row;
    use super::super::gunicorn::Absent;
    use super::super::uwsgi;
    use super::{NAMES, WORDS, hint, is_without_setting};

    #[test]
    fn every_name_leads_to_a_setting_and_is_none_itself() {
        for (_, setting) in NAMES {
            assert!(Row::named(setting).is_some_and(|row| !row.flags.is_empty()), "{setting}");
        }
        for names in NAMES.iter().map(|(names, _)| names).chain(WORDS.iter().map(|(names, _)| names)) {
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
        assert!(is_without_setting("--ssl") && !is_without_setting("ssl") && !is_without_setting("--ssl-version"));
    }
}
