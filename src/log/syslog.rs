//! Messages of syslog: the bytes of a line of the error log, and the prefix of lines of the access log.

use super::Level;
use crate::message::Syslog;

impl Syslog {
    /// Returns a message of the error log. A NUL ends it, as gunicorn's do.
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

    /// Returns the prefix of each line of the access log.
    pub(super) fn before_access(&self, pid: u32) -> Vec<u8> {
        let priority = u32::from(self.facility) * 8 + 6;
        format!("<{priority}>gunicorn.{}.access: [{pid}] ", self.name).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::message::Place;

    #[test]
    fn a_message_of_syslog_has_priority_name_and_process() {
        let place = Place::UnixDatagrams(PathBuf::from("/dev/log"));
        let syslog = Syslog { place, name: "site".into(), facility: 16, has_access: true };
        assert_eq!(syslog.error(Level::Warning, 7, "worker x=1"), b"<132>gunicorn.site.error: [7] worker x=1\0");
        assert_eq!(syslog.before_access(7), b"<134>gunicorn.site.access: [7] ");
    }
}
