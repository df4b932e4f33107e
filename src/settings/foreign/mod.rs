//! Names that other servers have for settings, and variables of the environment that no setting has. Names only; knows no
//! value.

pub mod gunicorn;
pub mod others;
pub mod unknown_env;
pub mod uwsgi;
