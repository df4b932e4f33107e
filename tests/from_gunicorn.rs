//! The table of all settings in `docs/guides/from-gunicorn.md`, made from gunicorn's own list. `UPDATE=1` rewrites it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;

use crate::support::outside::{python, run_tool};
use crate::support::root;
use rwsgi::cli::args;
use rwsgi::settings::foreign::gunicorn::{AbsenceReason, Absent};
use rwsgi::settings::python_file::{HOOKS, is_object};
use rwsgi::settings::{Row, Settings};
use serde_json::Value;

/// Says every setting that the real package knows: name, flags, whether one takes a value, default.
const LIST: &str = r"
import json, gunicorn
from gunicorn.config import KNOWN_SETTINGS
print(json.dumps({'version': gunicorn.__version__, 'settings': [
    {'name': s.name, 'flags': s.cli or [], 'switch': bool(s.action) and s.action.startswith('store_'),
     'default': None if callable(s.default) else s.default} for s in KNOWN_SETTINGS]}))
";

fn known() -> Vec<Value> {
    let list: Value = serde_json::from_str(&run_tool(&mut python(["-c", LIST]))).unwrap();
    assert_eq!(list["version"], "27.0.1");
    list["settings"].as_array().unwrap().clone()
}

#[test]
fn the_table_of_the_guide_has_every_setting_of_gunicorn() {
    let mut table = "\n| setting of gunicorn | here | |\n|---|---|---|\n".to_owned();
    for setting in known() {
        let name = setting["name"].as_str().unwrap();
        let (verdict, words) = verdict(name, &setting["default"]);
        writeln!(table, "| `{name}` | {verdict} | {words} |").unwrap();
    }
    let path = root().join("docs/guides/from-gunicorn.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the guide marks where the table begins");
    let (found, after) = rest.split_once(END).expect("the guide marks where the table ends");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(found == table, "the table is stale\nhint: UPDATE=1 cargo test --test all from_gunicorn::\n{table}");
}

#[test]
fn every_option_of_gunicorn_is_taken_or_told_what_does_instead() {
    for setting in known() {
        for flag in setting["flags"].as_array().unwrap() {
            let flag = flag.as_str().unwrap();
            let mut words = vec![OsString::from(flag)];
            if setting["switch"] != true && flag != "--proxy-protocol" {
                words.push("1".into());
            }
            words.push("app".into());
            if let Err(error) = args::parse(words) {
                let words = error.to_string();
                assert!(words.contains("this option of gunicorn is not"), "{flag}: {words}");
            }
        }
    }
}

#[test]
fn notes_are_about_settings_that_are_there() {
    let known = known();
    for (name, _) in NOTES {
        assert!(known.iter().any(|setting| setting["name"] == *name), "{name}");
    }
}

/// Whether it is the same here, better, or not there; and what there is to say.
fn verdict(name: &str, default: &Value) -> (&'static str, String) {
    let note = NOTES.iter().find(|(known, _)| *known == name).map(|(_, words)| (*words).to_owned());
    if HOOKS.contains(&name) {
        return ("same", "[hooks](#hooks)".to_owned());
    }
    if is_object(name) && Row::named(name).is_none() {
        return ("same", "in a Python configuration file".to_owned());
    }
    if Row::named(name).is_none() && note.is_none() {
        let absent = Absent::named(name).unwrap_or_else(|| panic!("{name}: neither there nor told what does instead"));
        let state = match absent.state {
            AbsenceReason::Planned => "not there yet",
            AbsenceReason::Unplanned => "not applicable",
            AbsenceReason::Needless => "not needed",
        };
        return (state, absent.hint.replace('|', "\\|"));
    }
    match note {
        Some(words) => ("better", words),
        None => {
            let ours = own_default(name);
            assert_eq!(
                ours.as_ref(),
                Some(default).filter(|default| !default.is_null()),
                "{name}: another default, and no note"
            );
            ("same", String::new())
        }
    }
}

/// The default here, as JSON.
fn own_default(name: &str) -> Option<Value> {
    let shown = (Row::named(name)?.show)(&Settings::default())?;
    let file: toml::Table = format!("value = {shown}").parse().unwrap();
    let value = serde_json::to_value(&file["value"]).unwrap();
    // gunicorn's lists are one text, where they have no flag that is repeated.
    Some(match value {
        Value::Array(items) if name != "bind" && !items.is_empty() => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            Value::String(items.join(","))
        }
        Value::Array(items) if items.is_empty() && name == "pythonpath" => return None,
        other => other,
    })
}

const BEGIN: &str = "<!-- every setting: made by tests/from_gunicorn.rs -->";
const END: &str = "<!-- every setting: end -->";

/// Where there is more, or another default.
#[rustfmt::skip] // A table: setting, words.
const NOTES: &[(&str, &str)] = &[
    ("config", "`-c`, the same forms; TOML, too"),
    ("workers", "also `auto`, one for each usable CPU"),
    ("worker_class", "`sync` and `gthread`, also by their whole names; others are an error with a hint"),
    ("threads", "slow clients occupy none"),
    ("worker_connections", "10000; at the limit an idle connection is closed for a new one"),
    ("max_requests", "the replacement is ready before the old worker ends"),
    ("timeout", "only the application's time, in every class; [an exception and 504](timeouts.md)"),
    ("graceful_timeout", "also after INT and QUIT: idle connections are not waited for"),
    ("keepalive", "75 seconds, in every class"),
    ("limit_request_fields", "0 is the largest possible value, as in gunicorn"),
    ("reload", "code that does not load leaves the old code serving; one reload for a change, whatever `workers`"),
    ("reload_extra_files", "also `**`"),
    ("check_config", "`rwsgi check`, and gunicorn's option: with 3 or 4 where the application does not load, as at a start"),
    ("print_config", "`rwsgi settings`, and gunicorn's option: with the origin of each value; it does not load the application"),
    ("preload_app", "not in the master; a reload loads it again"),
    ("chdir", "paths relative to it: [Paths](#what-is-different)"),
    ("daemon", "the command ends when the server serves, or reports the error"),
    ("raw_env", "not in the master"),
    ("pidfile", "a process id that now belongs to another program does not prevent a start"),
    ("worker_tmp_dir", "bodies that are too large for memory; there are no heartbeat files"),
    ("user", "with the groups of that user and no others, before the application is loaded"),
    ("group", "by default the primary group of `user`"),
    ("umask", "without it unix sockets have mode 0660, not 0777"),
    ("secure_scheme_headers", "names in any case"),
    ("forwarded_allow_ips", "IPv4 peers of an IPv6 socket count as IPv4"),
    ("loglevel", "an unknown level is an error; `warn`, `fatal`, `trace` and `notset` mean `info` there and here"),
    ("reuse_port", "the workers share one socket; two servers can share a port"),
    ("proc_name", "needs no package; the application's name, if it is not set"),
    ("proxy_protocol", "kept for the whole connection; `UNKNOWN` and `LOCAL` do not change the peer; a malformed header gets 400"),
    ("certfile", "read at the start and by a reload, with the master's rights; [TLS](tls.md)"),
    ("keyfile", "read as `certfile` is"),
    ("ssl_version", "has an effect: TLS 1.2 and 1.3, or only 1.3"),
    ("ciphers", "those of TLS 1.2 that rustls has; this and the other settings of TLS are judged only where there is a `certfile`"),
    ("do_handshake_on_connect", "accepted without effect: handshakes never block"),
    ("permit_unconventional_http_version", "the version that the application sees is HTTP/1.0 or HTTP/1.1"),
    ("control_socket", "off, unless it or `pidfile` is set; another protocol, for `rwsgi status` and other verbs"),
    ("control_socket_disable", "the same as `control_socket = \"off\"`"),
];
