//! Pages of one's own for errors: `413.html` in a directory is what a refused upload gets. Read once, at the start.

use std::fs;
use std::io;
use std::path::Path;

use crate::http::error_page::ErrorPage;

/// Pages by status.
#[derive(Debug, Default)]
pub struct ErrorPages(Vec<(u16, Vec<u8>)>);

impl ErrorPages {
    /// Reads `<status>.html` for every error status, 400 to 599, that has one in `directory`.
    pub fn read(directory: &Path) -> io::Result<ErrorPages> {
        let mut pages = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".html"));
            if let Some(status @ 400..=599) = name.and_then(|name| name.parse().ok()) {
                pages.push((status, fs::read(&path)?));
            }
        }
        Ok(ErrorPages(pages))
    }

    /// The page for `status`, if there is one.
    pub(super) fn of(&self, status: u16) -> Option<ErrorPage<'_>> {
        let (_, body) = self.0.iter().find(|(known, _)| *known == status)?;
        Some(ErrorPage { content_type: "text/html; charset=utf-8", body })
    }
}
