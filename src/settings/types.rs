//! What the value of a setting can be: parsed once from text, printed back the same.
//! Knows no names of settings and no sources; looks at no file, address or user.

mod app_name;
mod bind;
mod choices;
mod numbers;
mod remote;
mod tls;
mod trust;
mod warmup;

pub use crate::http::ProxyMode;
pub use app_name::{AppCallable, AppName, AppSource};
pub use bind::Bind;
pub use choices::{ControlSocket, EnvPair, LogFormat, LogLevel, LogTarget, ReloadEngine, TimeoutMode, WorkerClass};
pub use numbers::{Bytes, Mode, Seconds, Workers, parse_whole};
pub use remote::{HostPort, StatsdHost, SyslogAddress, SyslogFacility, UnixKind};
pub use tls::{Ciphers, ClientCertificates, Suite, TlsVersion};
pub use trust::{FieldName, HeaderMap, Peers, SchemeFields};
pub use warmup::WarmupRequest;

use super::problem::Wrong;

/// A type that is spelled as text.
pub trait Text: Sized {
    /// What is expected, for "expected ...".
    const EXPECTED: &'static str;
    /// How it is written in a TOML file.
    const IN_TOML: InToml = InToml::Text;

    /// From text, blanks around it already gone.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// The text that parses to the same value.
    fn text(&self) -> String;
}

/// How a type is written in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InToml {
    /// As a string.
    Text,
    /// As a number.
    Number,
    /// As a number, or as a string that is no plain number (`"auto"`).
    NumberOrText,
    /// As an octal number (`0o22`) or a string of octal digits (`"022"`), never as a decimal number.
    Octal,
}
