//! Keys of the environ whose values the access log takes from there, and the same values in the request.

use super::request::Request;

/// The value of `%(h)s`.
pub(crate) const REMOTE_ADDR: &str = "REMOTE_ADDR";
/// The value of `%(U)s`.
pub(crate) const PATH_INFO: &str = "PATH_INFO";
/// The value of `%(m)s`.
pub(crate) const REQUEST_METHOD: &str = "REQUEST_METHOD";
/// The target as it came.
pub(crate) const RAW_URI: &str = "RAW_URI";
/// The value of `%(H)s`.
pub(crate) const SERVER_PROTOCOL: &str = "SERVER_PROTOCOL";
/// The value of `%(q)s`.
pub(crate) const QUERY_STRING: &str = "QUERY_STRING";
/// The value of `%(f)s`.
pub(crate) const HTTP_REFERER: &str = "HTTP_REFERER";
/// The value of `%(a)s`.
pub(crate) const HTTP_USER_AGENT: &str = "HTTP_USER_AGENT";
/// The id of the request, as a proxy or the application names it.
pub(crate) const HTTP_X_REQUEST_ID: &str = "HTTP_X_REQUEST_ID";
/// The parts of `%(r)s`.
pub(crate) const REQUEST_LINE: [&str; 3] = [REQUEST_METHOD, RAW_URI, SERVER_PROTOCOL];

/// Those of the format `json`.
pub(crate) const OF_OBJECT: [&str; 8] = [
    HTTP_REFERER,
    HTTP_USER_AGENT,
    HTTP_X_REQUEST_ID,
    PATH_INFO,
    QUERY_STRING,
    REMOTE_ADDR,
    REQUEST_METHOD,
    SERVER_PROTOCOL,
];

/// True if the environ has this value of the request as it came.
pub fn is_part(key: &str) -> bool {
    matches!(key, REQUEST_METHOD | RAW_URI | SERVER_PROTOCOL | QUERY_STRING | HTTP_REFERER | HTTP_USER_AGENT)
}

/// Returns the part of a request that becomes this value of the environ.
pub fn part<'a>(request: &Request<'a>, key: &str) -> Option<&'a [u8]> {
    match key {
        REQUEST_METHOD => Some(request.method()),
        RAW_URI => Some(request.target()),
        SERVER_PROTOCOL => Some(request.version().as_str().as_bytes()),
        QUERY_STRING => Some(request.query()),
        HTTP_REFERER => request.last_field(b"referer"),
        HTTP_USER_AGENT => request.last_field(b"user-agent"),
        _ => None,
    }
}
