//! What differs between gunicorn and rwsgi, and where the guide says so.

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Different {
    /// The file, or nothing for all.
    pub(crate) conf: &'static str,
    /// The end of the fact.
    pub(crate) fact: &'static str,
    /// Words of `docs/guides/from-gunicorn.md` that say so.
    pub(crate) guide: &'static str,
}

impl Different {
    pub(crate) fn is(&self, conf: &str, fact: &str) -> bool {
        (self.conf.is_empty() || self.conf == conf) && fact.ends_with(self.fact)
    }
}

const fn different(conf: &'static str, fact: &'static str, guide: &'static str) -> Different {
    Different { conf, fact, guide }
}

#[rustfmt::skip] // A table: file, end of the fact, words of the guide.
pub(crate) const DIFFERENT: &[Different] = &[
    different("", "environ SERVER_SOFTWARE", "| `SERVER_SOFTWARE` |"),
    different("", "environ rwsgi.extend_deadline", "| further in `environ` |"),
    different("", "environ rwsgi.RequestTimeout", "| further in `environ` |"),
    different("", "field server", "| the field `Server` |"),
    different("", "GET absolute: environ HTTP_HOST", "| a target with a host of its own"),
    different("", "GET absolute: environ (url)", "| a target with a host of its own"),
    different("unix_behind_nginx", "GET absolute: environ SERVER_NAME", "| a target with a host of its own"),
    different("unix_behind_nginx", "GET in 1.0: environ SERVER_NAME", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("unix_behind_nginx", "GET in 1.0: environ SERVER_PORT", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("unix_behind_nginx", "GET in 1.0 to be kept: environ SERVER_NAME", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("unix_behind_nginx", "GET in 1.0 to be kept: environ SERVER_PORT", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("behind_nginx", "environ SERVER_NAME", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("behind_nginx", "environ SERVER_PORT", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("behind_nginx", "environ (url)", "| `SERVER_NAME` on a unix socket, without Host |"),
    different("", "POST chunked: environ CONTENT_LENGTH", "| a chunked body |"),
    different("", "POST chunked: environ HTTP_TRANSFER_ENCODING", "| a chunked body |"),
    different("django", "POST chunked: environ (body)", "| a chunked body |"),
    different("", "no such version: status", "| HTTP/2.0 or 3.0 in a request line |"),
    different("", "of a refusal: field content-type", "| the page of a refused request |"),
    different("", "of a refusal: field cache-control", "| the page of a refused request |"),
    different("", "access log line of a refusal", "| lines about refused requests |"),
    different("", "to be kept: field connection", "| `Connection` in a response |"),
    different("prometheus", "field transfer-encoding", "| a response in one piece, without Content-Length |"),
    different("prometheus", "field content-length", "| a response in one piece, without Content-Length |"),
    different("", "GET absolute: access log line", "| a target with a host of its own"),
    different("static_files", "access log line", "| a file that the kernel sends |"),
    different("static_files", "field transfer-encoding", "| a response in one piece, without Content-Length |"),
    different("static_files", "field content-length", "| a response in one piece, without Content-Length |"),
    different("", "GET beyond ASCII: access log line", "control and non-ASCII characters are"),
    different("ends_with_an_application_that_raises", "hooks: worker 1", "which gunicorn omits"),
    different("ends_with_no_callable", "hooks: worker 1", "which gunicorn omits"),
    different("ends_with_no_such_callable", "hooks: worker 1", "which gunicorn omits"),
    different("ends_with_no_such_module", "hooks: worker 1", "which gunicorn omits"),
    different("ends_with_a_hook_of_a_worker_that_raises", "hooks: worker 1", "which gunicorn omits"),
    different("ends_with_a_hook_of_another_shape", "hooks: worker 1", "which gunicorn omits"),
    different("ends_with_a_preloaded_application_that_raises", "exit code", "| a preloaded application that raises |"),
    different("ends_with_no_place_to_bind", "hooks: server", "| an address that cannot be bound |"),
    different("ends_when_checked_with_an_application_that_raises", "exit code", "`rwsgi check`, and gunicorn's option: with 3 or 4"),
    different("ends_with_a_wrong_number", "exit code", "| a wrong value on the command line |"),
    different("ends_with_no_such_module", "exit code", "| no such module |"),
];
