//! Loading the user's code: the application and the configuration file in Python, and the guard while that is done as root.

pub(crate) mod app;
pub(crate) mod config_file;
pub(crate) mod guard;
pub(crate) mod signature;
mod suggestions;
