//! Settings: one table, four sources, one immutable result.
//!
//! | file | content |
//! |---|---|
//! | [`table`] | a row per setting: name, flags, type, default, texts; [`Settings`] is generated from it |
//! | [`types`] | the types of values: parsed once, printed back the same |
//! | [`source_value`] | a value as one source gave it, before it is checked |
//! | [`parse`] | conversion of such a value to its type |
//! | [`problem`] | error messages |
//! | [`suggest`] | suggestions for misspelled names |
//! | [`foreign`] | names of other servers, gunicorn's missing settings, unknown variables |
//! | [`socket_activation`] | sockets passed by sd_listen_fds(3) |
//! | [`python_file`] | settings defined by a Python configuration file |
//! | [`resolve`] | default < file < environment < command line, all problems at once |
//! | `validate` | contradictions between settings, and settings without effect |
//! | [`docs`] | the reference page |
//!
//! Must not know: files, the environment, the clock, Python. The caller reads; this room decides.

pub mod docs;
pub mod foreign;
pub mod parse;
pub mod problem;
pub mod python_file;
pub mod resolve;
pub mod socket_activation;
pub mod source_value;
pub mod suggest;
pub mod table;
pub mod types;
mod validate;
mod views;

pub use problem::{Problem, ProblemCause, Problems, ValueError};
pub use python_file::{Defined, Script};
pub use resolve::{Resolved, Sources, resolve, valid_settings};
pub use socket_activation::PassedSockets;
pub use source_value::{Origin, SourceValue, Value};
pub use table::{Row, Section, Settings, TABLE};
pub use types::{
    AppCallable, AppName, AppSource, Bind, Bytes, Ciphers, ClientCertificates, ControlSocket, EnvPair, FieldName,
    HeaderMap, LogFormat, LogLevel, LogTarget, Mode, Peers, ProxyMode, ReloadEngine, ReloadOrder, SchemeFields,
    Seconds, Suite, TimeoutMode, TlsVersion, UrlPath, WarmupRequest, WorkerClass, Workers,
};
pub use views::TlsTerms;
