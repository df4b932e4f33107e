//! The text form of statsd: gunicorn's counters and times, one metric a line.

use std::fmt::Write as _;
use std::time::Duration;

use crate::message::Statsd;
use crate::settings::types::LogLevel;

impl Statsd {
    /// Appends a request, with gunicorn's three metrics.
    pub(crate) fn request(&self, status: u16, elapsed: Duration, out: &mut Vec<u8>) {
        let micros = elapsed.as_micros();
        let fraction = format!("{:03}", micros % 1000);
        let fraction = fraction.trim_end_matches('0');
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        let duration = format!("{}.{fraction}", micros / 1000);
        self.metric("gunicorn.request.duration", &duration, "ms", out);
        self.count("gunicorn.requests", out);
        self.count(&format!("gunicorn.request.status.{status}"), out);
    }

    /// Counts a line of the error log. Lines of less weight than a warning are not counted.
    pub(crate) fn line(&self, level: LogLevel, text: &str, out: &mut Vec<u8>) {
        match level {
            LogLevel::Critical => self.count("gunicorn.log.critical", out),
            LogLevel::Error if text.contains("\nTraceback (most recent call last)") => self.exception(out),
            LogLevel::Error => self.count("gunicorn.log.error", out),
            LogLevel::Warning => self.count("gunicorn.log.warning", out),
            LogLevel::Info | LogLevel::Debug => {}
        }
    }

    /// Counts an exception of the application.
    pub(crate) fn exception(&self, out: &mut Vec<u8>) {
        self.count("gunicorn.log.exception", out);
    }

    /// Appends a metric of any kind, and the end of its line.
    pub(crate) fn metric(&self, name: &str, value: &str, kind: &str, out: &mut Vec<u8>) {
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
        assert_eq!(counted(LogLevel::Info, "x"), "");
        assert_eq!(counted(LogLevel::Error, "x"), "gunicorn.log.error:1|c|@1.0\n");
        let traceback = "error\nTraceback (most recent call last):\n  File";
        assert_eq!(counted(LogLevel::Error, traceback), "gunicorn.log.exception:1|c|@1.0\n");
        assert_eq!(counted(LogLevel::Critical, traceback), "gunicorn.log.critical:1|c|@1.0\n");
    }
}
