//! Narrow views of the settings, for rooms that must not know where a value came from.

use super::Settings;
use crate::http::Limits;

impl Settings {
    /// How much of a request is taken. In the settings, 0 is the most there can be.
    pub fn limits(&self) -> Limits {
        let most = |value: u32, most: u32| if value == 0 { most } else { value } as usize;
        let request_line = most(self.limit_request_line, MOST_LINE);
        let field_size = most(self.limit_request_field_size, MOST_LINE);
        let usual = Limits::default();
        Limits {
            request_line,
            fields: most(self.limit_request_fields, MOST_FIELDS),
            field_size,
            // Never so small that a line within its own limit is refused.
            head: usual.head.max(request_line + field_size),
            body: self.limit_request_body.limit(),
            ..usual
        }
    }

    /// What the processes are called: `proc_name`, else the application's name.
    pub fn title(&self) -> String {
        let app = || self.wsgi_app.as_ref().map(ToString::to_string);
        self.proc_name.clone().or_else(app).unwrap_or_default()
    }
}

/// The largest value that the settings take, in bytes.
const MOST_LINE: u32 = 1 << 20;
/// gunicorn's cap.
const MOST_FIELDS: u32 = 32_768;
