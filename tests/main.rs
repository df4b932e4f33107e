//! All tests of the built program and of floor 0, in one program: it links once, and what waits waits side by side.

/// Cases of HTTP, and the machine that tries them.
mod http_cases {
    pub(crate) mod case;
    pub(crate) mod conversation;
    pub(crate) mod laws;
    pub(crate) mod mutation;
}
mod support;

mod access_lines;
mod admission;
mod application;
mod background;
mod binds;
mod bodies;
mod boot;
mod control;
mod curl;
mod deadlines;
mod django;
mod docs;
mod examples;
mod fairness;
mod far_logs;
mod faults;
mod found_files;
mod frameworks;
mod from_gunicorn;
mod gunicorn_conf;
mod gunicorn_settings;
mod gunicorn_side_by_side;
mod gunicorn_wild;
mod gunicorn_words;
mod hijack;
mod hooks;
mod hostile;
mod http;
mod install;
mod limits;
mod own_socket;
mod packaging;
mod privileges;
mod processes;
mod proxy;
mod python_logging;
mod random;
mod readme;
mod refusals;
mod reload;
mod request_memory;
mod scaling;
mod serve;
mod service;
mod settings;
mod signals;
mod slow_readers;
mod smuggling;
mod supervisor;
mod threads;
mod tidy;
mod timeouts;
mod tls;
mod trust;
mod upgrade;
mod warmup;
mod watching;
mod words;
