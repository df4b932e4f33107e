//! Settings of gunicorn that rwsgi does not have: planned or not, and the replacement. A setting that is added moves
//! from here to the table of settings. Names only; knows no value.

/// The reason why a setting is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsenceReason {
    /// It is planned.
    Planned,
    /// It is not planned: rwsgi does not do what it asks for.
    Unplanned,
    /// It is not needed: rwsgi always does what it asks for, or it could change nothing. Skipped with a warning.
    Needless,
}

/// The answer to a missing setting of gunicorn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The names in a file; `name_*` stands for all names with this prefix.
    pub names: &'static [&'static str],
    /// The reason why it is missing.
    pub state: AbsenceReason,
    /// The replacement.
    pub hint: &'static str,
}

impl Absent {
    /// Returns the entry of a setting by its name in a file.
    pub fn named(name: &str) -> Option<&'static Self> {
        let is = |known: &str| known.strip_suffix('*').map_or(known == name, |start| name.starts_with(start));
        ABSENT.iter().find(|absent| absent.names.iter().any(|known| is(known)))
    }

    /// Returns the entry of a flag, dashes included.
    pub fn by_flag(flag: &str) -> Option<&'static Self> {
        let own = FLAGS.iter().find(|(known, _)| *known == flag).map(|(_, name)| *name);
        let spelled = || flag.trim_start_matches('-').replace('-', "_");
        own.map_or_else(|| Self::named(&spelled()), Self::named)
    }

    /// Returns the warning that the setting at `place` was skipped.
    pub fn warning(&self, place: &str) -> String {
        format!("{place}: not read, this setting of gunicorn is {}: {}", self.state(), self.hint)
    }

    /// Returns the status for "this setting of gunicorn is ...".
    pub fn state(&self) -> &'static str {
        match self.state {
            AbsenceReason::Planned => "not there yet",
            AbsenceReason::Unplanned => "not planned",
            AbsenceReason::Needless => "not needed",
        }
    }
}

const fn planned(names: &'static [&'static str], hint: &'static str) -> Absent {
    Absent { names, state: AbsenceReason::Planned, hint }
}

const fn unplanned(names: &'static [&'static str], hint: &'static str) -> Absent {
    Absent { names, state: AbsenceReason::Unplanned, hint }
}

const fn needless(names: &'static [&'static str], hint: &'static str) -> Absent {
    Absent { names, state: AbsenceReason::Needless, hint }
}

#[rustfmt::skip] // A table: names, hint.
const ABSENT: &[Absent] = &[
    unplanned(&["ssl_context"], "use certfile, keyfile, ca_certs, cert_reqs, ssl_version and ciphers; rwsgi has its own TLS"),
    unplanned(&["http_protocols", "http2_*"], "let nginx speak HTTP/2 to clients; rwsgi speaks HTTP/1.1, and needs no setting for it"),
    needless(&["http_parser"], "there is one parser"),
    needless(&["sendfile"], "files of wsgi.file_wrapper are sent by the kernel"),
    needless(&["initgroups"], "user sets the groups of that user too"),
    needless(&["tmp_upload_dir"], "worker_tmp_dir is the directory of large request bodies"),
    needless(&["default_proc_name"], "proc_name is the name of the processes"),
    unplanned(&["spew"], "python3 -m trace prints the lines that a program runs"),
    unplanned(&["check_config", "print_config"], "rwsgi check and rwsgi settings do that"),
    planned(&["protocol", "uwsgi_allow_ips"], "let nginx speak HTTP: proxy_pass instead of uwsgi_pass"),
    unplanned(&["paste", "raw_paste_global_conf"], "serve a module that contains application = paste.deploy.loadapp(\"config:/path/to/app.ini\")"),
    needless(&["control_socket_mode"], "its mode is 0600"),
    unplanned(&["control_socket_disable"], "control_socket = \"off\" turns it off"),
    needless(&["root_path"], "it is for ASGI; raw_env sets SCRIPT_NAME for an application below a path"),
    needless(&["asgi_*", "websocket_*"], "rwsgi serves WSGI applications; use an ASGI server for ASGI"),
    unplanned(&["dirty_apps"], "run long tasks in a process of their own, such as a Celery worker"),
    needless(&["dirty_*", "on_dirty_starting"], "there are no dirty workers"),
    unplanned(&["logconfig_dict"], "define it in a Python configuration file, -c gunicorn.conf.py; logconfig_json names a file"),
    unplanned(
        &["on_starting", "when_ready", "on_reload", "pre_fork", "post_fork", "post_worker_init", "worker_int", "worker_abort",
          "pre_request", "post_request", "worker_exit", "child_exit", "nworkers_changed", "pre_exec", "on_exit"],
        "define hooks as functions in a Python configuration file: -c gunicorn.conf.py",
    ),
];

/// Switches that are on by default.
pub(in crate::settings) const DEFAULT_TRUE: &[&str] = &["sendfile"];

/// Texts that equal gunicorn's defaults.
pub(in crate::settings) const DEFAULT_TEXTS: &[(&str, &str)] =
    &[("http_parser", "auto"), ("http_protocols", "h1"), ("protocol", "http"), ("uwsgi_allow_ips", "127.0.0.1,::1")];

/// Flags that are skipped with a warning, and whether each takes a value.
pub const NEEDLESS_FLAGS: &[(&str, bool)] = &[
    ("--no-sendfile", false),
    ("--initgroups", false),
    ("--http-parser", true),
    ("--control-socket-mode", true),
    ("--root-path", true),
];

/// Flags whose name differs from their setting.
const FLAGS: &[(&str, &str)] = &[
    ("--no-sendfile", "sendfile"),
    ("--uwsgi-allow-from", "uwsgi_allow_ips"),
    ("--paster", "paste"),
    ("--paste-global", "raw_paste_global_conf"),
    ("--no-control-socket", "control_socket_disable"),
];

#[cfg(test)]
mod tests {
    use super::super::super::Row;
    use super::{ABSENT, Absent, FLAGS};

    #[test]
    fn every_flag_leads_to_a_setting_that_is_not_there() {
        for (flag, name) in FLAGS {
            assert_eq!(Absent::by_flag(flag), Absent::named(name), "{flag}");
            assert!(Absent::named(name).is_some(), "{flag}");
        }
        assert_eq!(Absent::by_flag("--http2-max-frame-size"), Absent::named("http2_max_frame_size"));
        assert_eq!(Absent::by_flag("--no-such-thing"), None);
    }

    #[test]
    fn what_is_there_is_not_absent() {
        for name in ABSENT.iter().flat_map(|absent| absent.names) {
            assert!(Row::named(name).is_none(), "{name} is a setting");
        }
    }
}
