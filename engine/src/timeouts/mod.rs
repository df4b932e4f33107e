//! Requests that take too long, and workers that are aborted.

pub(crate) mod caller;
pub(crate) mod late_request;
pub(crate) mod quit;
pub(crate) mod request_timeout;
pub(crate) mod sigabrt;
