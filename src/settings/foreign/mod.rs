//! Names of other servers for settings, and unknown variables of the environment. Names only; knows no value.

pub mod gunicorn;
pub mod others;
pub mod unknown_env;
pub mod uwsgi;
