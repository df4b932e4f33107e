//! Settings: one table, four sources, one immutable result.
//!
//! | file | what it is |
//! |---|---|
//! | [`table`] | a row per setting: name, flags, type, default, words; [`Settings`] comes from it |
//! | [`types`] | what a value can be: parsed once, printed back the same |
//! | [`source_value`] | what a source said, before anybody judged it |
//! | [`parse`] | what was said, to a type |
//! | [`problem`] | what is wrong with it, in words |
//! | [`foreign::gunicorn`] | settings of gunicorn that are not there, and what does instead |
//! | [`foreign::others`], [`foreign::uwsgi`] | names that other servers have for settings |
//! | [`socket_activation`] | sockets that were opened for the server, by sd_listen_fds(3) |
//! | [`python_file`] | what a Python configuration file defined, and what of it is a setting |
//! | [`resolve`] | default < file < environment < command line, all problems at once |
//! | [`foreign::unknown_env`] | what is there and is not read, for a warning |
//! | `validate` | what does not go together, and what does nothing by itself |
//! | [`docs`] | the reference page |
//!
//! Must not know: files, the environment, the clock, Python. The caller reads; this room judges.

pub mod docs;
pub mod foreign;
pub mod parse;
pub mod problem;
pub mod python_file;
pub mod resolve;
pub mod socket_activation;
pub mod source_value;
pub mod table;
pub mod types;
mod validate;
mod views;

pub use problem::{Cause, Problem, Problems, Wrong};
pub use python_file::{Defined, Script};
pub use resolve::{Resolved, Sources, resolve, sound};
pub use socket_activation::Passed;
pub use source_value::{Given, Origin, Value};
pub use table::{Row, Section, Settings, TABLE};
pub use types::{
    AppCallable, AppName, AppSource, Bind, Bytes, Ciphers, ClientCertificates, ControlSocket, EnvPair, FieldName,
    HeaderMap, LogFormat, LogLevel, LogTarget, Mode, Peers, ProxyMode, ReloadEngine, SchemeFields, Seconds, Suite,
    TimeoutMode, TlsVersion, WarmupRequest, WorkerClass, Workers,
};
pub use views::TlsTerms;
