//! What a line of the logs is as a message of syslog, and what it counts in statsd. Pure but for the process's id: bytes out.

use std::fmt::Write as _;
use std::time::Duration;

use super::Level;
use crate::message::{Statsd, Syslog};

impl Syslog {
    /// A message of the error log. A NUL ends it, as gunicorn's do.
    pub(super) fn error(&self, level: Level, pid: u32, text: &str) -> Vec<u8> {
        let severity = match level {
            Level::Critical => 2,
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
            Level::Debug => 7,
        };
        let priority = u32::from(self.facility) * 8 + severity;
        format!("<{priority}>gunicorn.{}.error: [{pid}] {text}\0", self.name).into_bytes()
    }

    /// What stands before each line of the access log.
    pub(super) fn before_access(&self, pid: u32) -> Vec<u8> {
        let priority = u32::from(self.facility) * 8 + 6;
        format!("<{priority}>gunicorn.{}.access: [{pid}] ", self.name).into_bytes()
    }
}

impl Statsd {
    /// A request, with gunicorn's three metrics.
    pub(super) fn request(&self, status: u16, elapsed: Duration, out: &mut Vec<u8>) {
        let micros = elapsed.as_micros();
        let fraction = format!("{:03}", micros % 1000);
        let fraction = fraction.trim_end_matches('0');
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        let duration = format!("{}.{fraction}", micros / 1000);
        self.metric("gunicorn.request.duration", &duration, "ms", out);
        self.count("gunicorn.requests", out);
        self.count(&format!("gunicorn.request.status.{status}"), out);
    }

    /// A line of the error log. What is of less weight is not counted.
    pub(super) fn line(&self, level: Level, text: &str, out: &mut Vec<u8>) {
        match level {
            Level::Critical => self.count("gunicorn.log.critical", out),
            Level::Error if text.contains("\nTraceback (most recent call last)") => self.exception(out),
            Level::Error => self.count("gunicorn.log.error", out),
            Level::Warning => self.count("gunicorn.log.warning", out),
            Level::Info | Level::Debug => {}
        }
    }

    /// An exception of the application.
    pub(super) fn exception(&self, out: &mut Vec<u8>) {
        self.count("gunicorn.log.exception", out);
    }

    /// A metric of any kind, and the end of its line.
    pub(super) fn metric(&self, name: &str, value: &str, kind: &str, out: &mut Vec<u8>) {
        let Statsd { prefix, tags, .. } = self;
        let mut text = format!("{prefix}{name}:{value}|{kind}");
        if !tags.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "|#{tags}");
        }
        text.push('\n');
        out.extend_from_slice(text.as_bytes());
    }

    fn count(&self, name: &str, out: &mut Vec<u8>) {
        self.metric(name, "1", "c|@1.0", out);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::message::Place;

    fn statsd(prefix: &str, tags: &str) -> Statsd {
        Statsd { place: Place::UnixDatagrams(PathBuf::from("/x")), prefix: prefix.into(), tags: tags.into() }
    }

    #[test]
    fn a_request_is_counted_by_gunicorns_names() {
        let mut out = Vec::new();
        statsd("", "").request(200, Duration::from_micros(1_234_500), &mut out);
        statsd("site.", "env:x,y").request(503, Duration::ZERO, &mut out);
        let expected = "gunicorn.request.duration:1234.5|ms\ngunicorn.requests:1|c|@1.0\n\
            gunicorn.request.status.200:1|c|@1.0\nsite.gunicorn.request.duration:0.0|ms|#env:x,y\n\
            site.gunicorn.requests:1|c|@1.0|#env:x,y\nsite.gunicorn.request.status.503:1|c|@1.0|#env:x,y\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_line_is_counted_by_its_weight() {
        let counted = |level, text| {
            let mut out = Vec::new();
            statsd("", "").line(level, text, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(counted(Level::Info, "x"), "");
        assert_eq!(counted(Level::Error, "x"), "gunicorn.log.error:1|c|@1.0\n");
        let traceback = "error\nTraceback (most recent call last):\n  File";
        assert_eq!(counted(Level::Error, traceback), "gunicorn.log.exception:1|c|@1.0\n");
        assert_eq!(counted(Level::Critical, traceback), "gunicorn.log.critical:1|c|@1.0\n");
    }

    #[test]
    fn a_message_of_syslog_has_priority_name_and_process() {
        let place = Place::UnixDatagrams(PathBuf::from("/dev/log"));
        let syslog = Syslog { place, name: "site".into(), facility: 16, has_access: true };
        assert_eq!(syslog.error(Level::Warning, 7, "worker x=1"), b"<132>gunicorn.site.error: [7] worker x=1\0");
        assert_eq!(syslog.before_access(7), b"<134>gunicorn.site.access: [7] ");
    }
}
