//! PEP 3333: one request through the application, and the objects of its environ.

pub(crate) mod banner;
pub(crate) mod call_application;
pub(crate) mod client_socket;
pub(crate) mod environ;
pub(crate) mod errors;
pub(crate) mod exchange_ref;
pub(crate) mod file_wrapper;
pub(crate) mod input;
pub(crate) mod logged_environ;
pub(crate) mod peer_texts;
pub(crate) mod script_name;
pub(crate) mod start_response;
pub(crate) mod variables;
