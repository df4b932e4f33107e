//! Names of uWSGI's options, and their counterparts here. Names only; knows no value.

use super::super::table::Row;

/// Returns the hint for such an option, which is a key or, with its dashes, a flag.
pub fn hint(option: &str) -> Option<String> {
    let (is_flag, name) = (option.starts_with("--"), option.trim_start_matches('-').replace('-', "_"));
    let (_, setting, more) = OPTIONS.iter().find(|(names, ..)| names.contains(&name.as_str()))?;
    let Some(row) = Row::named(setting) else { return Some(format!("uWSGI's {option}: {more}")) };
    // The application's name has no flag.
    let here = match (is_flag, row.flags.is_empty()) {
        (true, false) => row.flag_name(),
        (true, true) => row.metavar,
        (false, _) => row.name,
    };
    let more = if more.is_empty() { String::new() } else { format!("; {more}") };
    Some(format!("uWSGI's {option} is {here} here{more}"))
}

#[rustfmt::skip] // A table: names, setting or nothing, what more there is to say.
const OPTIONS: &[(&[&str], &str, &str)] = &[
    (&["ini", "yaml", "xml"], "", "write the settings to a TOML file, and name it with --config"),
    (&["http", "http_socket"], "bind", ""),
    (&["socket", "uwsgi_socket"], "bind", "it speaks HTTP: in nginx, proxy_pass instead of uwsgi_pass"),
    (&["module", "wsgi", "wsgi_file", "mount"], "wsgi_app", "a module, module:callable, or a file"),
    (&["callable"], "wsgi_app", "module:callable"),
    (&["processes"], "workers", ""),
    (&["master"], "", "leave it out, there is always one"),
    (&["enable_threads", "single_interpreter", "need_app", "vacuum", "die_on_term", "thunder_lock"], "", "leave it out, it is always on"),
    (&["harakiri", "http_timeout"], "timeout", "in seconds, of the application's time"),
    (&["virtualenv", "venv", "home"], "python", ""),
    (&["uid"], "user", ""),
    (&["gid"], "group", ""),
    (&["chmod_socket"], "unix_socket_mode", ""),
    (&["listen"], "backlog", ""),
    (&["pidfile"], "pidfile", ""),
    (&["logto", "logger"], "errorlog", "requests are in accesslog"),
    (&["req_logger"], "accesslog", ""),
    (&["disable_logging"], "", "leave it out, there is no access log unless accesslog is set"),
    (&["daemonize"], "daemon", "and the log file is errorlog"),
    (&["lazy", "lazy_apps"], "preload_app", "without it each worker loads the application itself"),
    (&["env"], "raw_env", ""),
    (&["procname", "procname_prefix"], "proc_name", ""),
    (&["buffer_size"], "limit_request_head", ""),
    (&["reload_mercy", "worker_reload_mercy"], "graceful_timeout", ""),
    (&["py_autoreload", "fs_reload"], "reload", ""),
    (&["touch_reload", "touch_chain_reload"], "", "rwsgi reload --wait loads changed code"),
    (&["stats", "stats_server"], "", "rwsgi status --json, and rwsgi requests --json"),
    (&["cheaper"], "workers_min", "and processes is workers_max"),
    (&["cheaper_initial"], "workers", ""),
    (&["cheaper_step"], "workers_step", ""),
    (&["cheaper_busyness_max"], "busyness_max", ""),
    (&["cheaper_busyness_min"], "busyness_min", ""),
    (&["cheaper_overload", "cheaper_busyness_multiplier"], "workers_cooldown", "in seconds; busyness is measured each second"),
    (&["cheaper_algo", "cheaper_busyness_backlog_alert"], "", "leave it out: workers are added by busyness, and when connections wait"),
    (&["cheap"], "", "leave it out; workers_min is at least 1"),
    (&["static_map", "check_static", "attach_daemon", "cron", "spooler", "emperor", "plugin", "plugins"], "", "not supported; nginx serves files, systemd runs other programs"),
];

#[cfg(test)]
mod tests {
    use super::super::super::Row;
    use super::super::gunicorn::Absent;
    use super::{OPTIONS, hint};

    #[test]
    fn every_option_leads_to_a_setting_or_to_words() {
        for (names, setting, more) in OPTIONS {
            assert!(Row::named(setting).is_some() || (setting.is_empty() && !more.is_empty()), "{names:?}");
            assert!(names.iter().all(|name| Absent::named(name).is_none()), "{names:?}");
        }
    }

    #[test]
    fn an_option_is_named_as_it_was_written() {
        let check = |option, expected: Option<&str>| assert_eq!(hint(option).as_deref(), expected);
        check("harakiri", Some("uWSGI's harakiri is timeout here; in seconds, of the application's time"));
        check("--http-socket", Some("uWSGI's --http-socket is --bind here"));
        check("--module", Some("uWSGI's --module is APP here; a module, module:callable, or a file"));
        check("--master", Some("uWSGI's --master: leave it out, there is always one"));
        check("--colour", None);
    }
}
