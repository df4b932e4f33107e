//! The values of a line of the access log, from which its formats make it.

use std::net::IpAddr;
use std::time::Duration;

use super::environ_values::EnvironValues;
use super::request::Request;
use super::response::ResponseHead;

/// The values of an access log line.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// The request; of a refused one what is known, see [`Head::so_far`](super::Head::so_far). Unknown values are `-`.
    pub request: Option<Request<'a>>,
    /// Its response.
    pub response: &'a ResponseHead,
    /// Values of the environ after the application.
    pub environ: &'a EnvironValues,
    /// The client's address, used if `environ` has none; `None` on Unix sockets, for which the line has an empty text.
    pub remote_addr: Option<IpAddr>,
    /// Bytes of the response's body that were sent; `None` if unknown.
    pub body_bytes: Option<u64>,
    /// `[20/Nov/2026:08:10:07 +0000]`.
    pub time_text: &'a str,
    /// Time from the whole head to the last byte sent.
    pub elapsed: Duration,
    /// The worker's process id.
    pub pid: u32,
}
