//! The setting `reload`: a thread of a worker watches the files of the application and tells the master when one has changed. It
//! sends the time of the change, so that the master counts a change once that several workers report.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pyo3::prelude::*;

use rwsgi::message::FromWorker;
use rwsgi::os::channel::Channel;
use rwsgi::os::inotify::Changes;
use rwsgi::os::{clock, thread};
use rwsgi::settings::{ReloadEngine, Settings};

use crate::exceptions;
use crate::python_modules;

/// Starts the thread, if the settings ask for it.
pub(crate) fn start(py: Python<'_>, settings: &'static Settings, channel: &'static Channel) -> PyResult<()> {
    if !settings.reload {
        return Ok(());
    }
    let module_files = python_modules::module_files(py)?.getattr("files")?.unbind();
    let changes = match settings.reload_engine {
        ReloadEngine::Poll => None,
        ReloadEngine::Inotify => Some(Changes::new()?),
        ReloadEngine::Auto => Changes::new().ok(),
    };
    let (files, directories) = (HashMap::new(), HashSet::new());
    let mut watcher = FileWatcher { settings, module_files, changes, files, directories, listed: 0 };
    watcher.list(py)?;
    // With a large stack, because it runs Python.
    thread::start_large("rwsgi-reload", move || {
        if let Err(error) = watcher.run(channel) {
            tracing::error!(%error, "changes of the code are no longer noticed");
        }
    })?;
    Ok(())
}

/// The watched files.
struct FileWatcher {
    settings: &'static Settings,
    /// The function that lists files.
    module_files: Py<PyAny>,
    /// The kernel's notices of changes, or `None` if the times of files are compared.
    changes: Option<Changes>,
    /// The files, each with the time when it was last written, if it exists.
    files: HashMap<PathBuf, Option<SystemTime>>,
    directories: HashSet<PathBuf>,
    /// The time when files were last listed, in ns of the monotonic clock.
    listed: u64,
}

impl FileWatcher {
    fn run(&mut self, channel: &Channel) -> io::Result<()> {
        loop {
            let latest = match &self.changes {
                Some(changes) => self.noticed(changes)?,
                None => {
                    std::thread::sleep(EVERY);
                    self.compared()
                }
            };
            if let Some((file, at)) = latest {
                let file = file.display();
                tracing::info!(event = "code_changed", said.file = %file, "Worker reloading: {file} modified");
                channel.say(&FromWorker::Changed(at), &[])?;
            }
            Python::attach(|py| {
                if let Err(error) = self.list(py) {
                    tracing::warn!("files of the application cannot be listed\n{}", exceptions::traceback(py, &error));
                }
            });
        }
    }

    /// Lists the files of the application, and watches new ones.
    fn list(&mut self, py: Python<'_>) -> PyResult<()> {
        // As text, because a path would become an object of pathlib.
        let more: Vec<_> = self.settings.reload_extra_files.iter().map(|file| file.to_string_lossy()).collect();
        let listed: Vec<PathBuf> = self.module_files.bind(py).call1((more,))?.extract()?;
        py.detach(|| {
            for file in listed {
                let file = std::path::absolute(&file).unwrap_or(file);
                if self.files.contains_key(&file) {
                    continue;
                }
                let directory = file.parent().unwrap_or(Path::new("/")).to_owned();
                self.files.insert(file.clone(), written(&file));
                if let Some(changes) = self.changes.as_mut().filter(|_| !self.directories.contains(&directory)) {
                    if let Err(error) = changes.watch(&directory) {
                        tracing::warn!(%error, "the kernel gives no notices of changes, times of files are compared");
                        self.changes = None;
                    }
                }
                self.directories.insert(directory);
            }
        });
        self.listed = clock::monotonic();
        Ok(())
    }

    /// Waits a while for the kernel's notices. Returns a changed file of the application, and the time of the last change.
    /// Editors and version control write several files, so that it waits until no more come.
    fn noticed(&self, changes: &Changes) -> io::Result<Option<(PathBuf, u64)>> {
        let mut latest = None;
        let mut limit = EVERY;
        for _ in 0..MOST_PAUSES {
            let noticed = changes.wait(limit)?;
            // A module that could not be imported is not among the files yet.
            let is_ours =
                |file: &PathBuf| self.files.contains_key(file) || file.extension().is_some_and(|end| end == "py");
            match noticed.into_iter().find(is_ours) {
                Some(file) => latest = Some((file, clock::monotonic())),
                None if latest.is_some() => break,
                None => return Ok(None),
            }
            limit = PAUSE;
        }
        Ok(latest)
    }

    /// Compares times. Returns a file that was written since the last comparison, and the time of the change.
    fn compared(&mut self) -> Option<(PathBuf, u64)> {
        let (now, wall) = (clock::monotonic(), SystemTime::now());
        let mut changed: Option<(PathBuf, u64)> = None;
        for (file, before) in &mut self.files {
            let after = written(file);
            if after.is_none() || after == *before {
                continue;
            }
            *before = after;
            let age = after.and_then(|after| wall.duration_since(after).ok()).unwrap_or_default();
            let at = now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)).max(self.listed);
            if changed.as_ref().is_none_or(|(_, last)| *last < at) {
                changed = Some((file.clone(), at));
            }
        }
        changed
    }
}

fn written(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|file| file.modified()).ok()
}

/// The interval at which times are compared, as in gunicorn, and at which new modules are found.
const EVERY: Duration = Duration::from_secs(1);
/// The longest pause within one change.
const PAUSE: Duration = Duration::from_millis(100);
/// Most pauses after which a change that goes on is reported.
const MOST_PAUSES: usize = 20;
