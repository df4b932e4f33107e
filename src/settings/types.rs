//! Types of values: parsed once from text, printed back the same. Knows no names of settings and no sources; looks at
//! no file, address or user.

mod app_name;
mod bind;
mod choices;
mod numbers;
mod remote;
mod strings;
mod tls;
mod trust;
mod warmup;

pub use crate::http::ProxyMode;
pub use app_name::{AppCallable, AppName, AppSource};
pub use bind::Bind;
pub use choices::{LogFormat, LogLevel, ReloadEngine, ReloadOrder, TimeoutMode, WorkerClass};
pub use numbers::{Bytes, Mode, Seconds, Workers, parse_whole};
pub use remote::{HostPort, StatsdHost, SyslogAddress, SyslogFacility, UnixKind};
pub use strings::{ControlSocket, EnvPair, LogTarget, UrlPath};
pub use tls::{Ciphers, ClientCertificates, Suite, TlsVersion};
pub use trust::{FieldName, HeaderMap, Peers, SchemeFields};
pub use warmup::WarmupRequest;

use super::problem::ValueError;

/// A type that is written as text.
pub trait Text: Sized {
    /// The expected value, for "expected ...".
    const EXPECTED: &'static str;
    /// The notation in a TOML file.
    const IN_TOML: InToml = InToml::Text;

    /// Parses text without surrounding blanks.
    fn parse(text: &str) -> Result<Self, ValueError>;

    /// Returns the text that parses to the same value.
    fn text(&self) -> String;
}

/// The notation of a type in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InToml {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A number, or a string that is no plain number (`"auto"`).
    NumberOrText,
    /// An octal number (`0o22`) or a string of octal digits (`"022"`), never a decimal number.
    Octal,
}
