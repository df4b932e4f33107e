//! rwsgi, a WSGI application server.
//!
//! The map, lowest floor first; a room may import only rooms below it, and `tests/tidy.rs` holds that.
//!
//! | floor | rooms | what it is |
//! |---|---|---|
//! | 0 | [`http`], [`settings`], [`command`], [`control`], [`message`], [`metrics`], [`supervisor`] | values and rules: no sockets, files, processes, threads, clock or Python |
//! | 1 | [`os`], [`log`], [`interpreter`], [`tls`] | the kernel made safe; finding Python and launching it; TLS over a socket |
//! | 2 | [`worker`] | connections and the one epoll loop |
//! | 3 | [`master`] | one loop: wait, tell the supervisor, carry out its actions |
//! | 4 | [`cli`] | words to a call |
//!
//! Three journeys, each a one-way walk:
//!
//! *A request*: `worker` says readable, `http::head` parses, `http::framing` decides how the body is delimited, the
//! engine calls the application, `http::response` encodes, the access log notes it.
//!
//! *A setting*: one row of `settings::table`, from flag, environment and file by `settings::resolve` to `Settings`.
//!
//! *A signal*: handler to the master's loop, `supervisor::on`, actions, `os::process`.
#![deny(unsafe_code)]

pub mod cli;
pub mod command;
pub mod control;
pub mod http;
pub mod interpreter;
pub mod log;
pub mod master;
pub mod message;
pub mod metrics;
pub mod os;
pub mod settings;
pub mod supervisor;
pub mod tls;
pub mod worker;
