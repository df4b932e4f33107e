//! Settings that only a restart changes. A reload that finds new values for them returns a sentence for each.

use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// The values of these settings at the start.
pub(super) struct RestartOnly {
    limit_nofile: u64,
    pub(super) daemon: bool,
}

impl RestartOnly {
    pub(super) fn of(settings: &Settings) -> RestartOnly {
        RestartOnly { limit_nofile: settings.limit_nofile, daemon: settings.daemon }
    }

    /// Returns a sentence for each of these settings that takes effect only after a restart. The control socket is at
    /// `control`, if there is one.
    pub(super) fn remarks(&self, settings: &Settings, control: Option<&Path>) -> Vec<String> {
        let wanted = settings.control_path().map(|path| std::path::absolute(&path).unwrap_or(path));
        let at = |path: &PathBuf| format!("would be {}", path.display());
        let socket = match (control, wanted) {
            // No setting names it, as before, or the one of before is left out: it stays.
            (Some(_), None) if settings.has_default_control() => None,
            (Some(now), wanted) if wanted.as_deref() != Some(now) => {
                let (now, then) = (now.display(), wanted.as_ref().map_or_else(|| "would not be".to_owned(), at));
                Some(format!("control_socket: stays {now} until the server is restarted, where it {then}"))
            }
            (None, Some(wanted)) => {
                Some(format!("control_socket: there is none until the server is restarted, where it {}", at(&wanted)))
            }
            _ => None,
        };
        let (now, then) = (self.limit_nofile, settings.limit_nofile);
        let files = (now != then)
            .then(|| format!("limit_nofile: stays {now} until the server is restarted, where it would be {then}"));
        let (now, then) = (self.daemon, settings.daemon);
        let daemon = (now != then)
            .then(|| format!("daemon: stays {now} until the server is restarted, where it would be {then}"));
        [socket, files, daemon].into_iter().flatten().collect()
    }
}
