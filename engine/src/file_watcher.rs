//! The setting `reload`: a thread of a worker looks whether the files that its application consists of change, and tells
//! the master, who loads them. What it says is a moment, so that the same change told by many is one.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use pyo3::types::PyModule;

use rwsgi::message::FromWorker;
use rwsgi::os::channel::Channel;
use rwsgi::os::inotify::Changes;
use rwsgi::os::{clock, thread};
use rwsgi::settings::{ReloadEngine, Settings};

use crate::python;

/// Starts to look, if that is asked for.
pub(crate) fn start(py: Python<'_>, settings: &'static Settings, channel: &'static Channel) -> PyResult<()> {
    if !settings.reload {
        return Ok(());
    }
    let code = CString::new(include_str!("../python/module_files.py"))?;
    let module = PyModule::from_code(py, &code, c"<rwsgi reload>", c"_rwsgi_reload")?;
    let list = module.getattr("files")?.unbind();
    let changes = match settings.reload_engine {
        ReloadEngine::Poll => None,
        ReloadEngine::Inotify => Some(Changes::new()?),
        ReloadEngine::Auto => Changes::new().ok(),
    };
    let mut watch = Watch { settings, list, changes, files: HashMap::new(), directories: HashSet::new(), looked: 0 };
    watch.look(py)?;
    // Large: it runs the interpreter.
    thread::start_large("rwsgi-reload", move || {
        if let Err(error) = watch.run(channel) {
            tracing::error!(%error, "changes of the code are not noticed any more");
        }
    })?;
    Ok(())
}

struct Watch {
    settings: &'static Settings,
    /// The function that lists files.
    list: Py<PyAny>,
    /// None where files are asked for their times.
    changes: Option<Changes>,
    /// With the time when each was last written, if it is there.
    files: HashMap<PathBuf, Option<SystemTime>>,
    directories: HashSet<PathBuf>,
    /// When the files were last looked at, in ns of the monotonic clock.
    looked: u64,
}

impl Watch {
    fn run(&mut self, channel: &Channel) -> io::Result<()> {
        loop {
            let latest = match &self.changes {
                Some(changes) => self.told(changes)?,
                None => {
                    std::thread::sleep(EVERY);
                    self.seen()
                }
            };
            if let Some((file, at)) = latest {
                tracing::info!(file = %file.display(), "code has changed");
                channel.say(&FromWorker::Changed(at), &[])?;
            }
            Python::attach(|py| {
                if let Err(error) = self.look(py) {
                    tracing::warn!("files of the application cannot be listed\n{}", python::traceback(py, &error));
                }
            });
        }
    }

    /// Looks which files there are.
    fn look(&mut self, py: Python<'_>) -> PyResult<()> {
        // As text: a path would come as an object of pathlib.
        let more: Vec<_> = self.settings.reload_extra_files.iter().map(|file| file.to_string_lossy()).collect();
        let listed: Vec<PathBuf> = self.list.bind(py).call1((more,))?.extract()?;
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
                        tracing::warn!(%error, "files are asked for their times, the kernel does not tell of changes");
                        self.changes = None;
                    }
                }
                self.directories.insert(directory);
            }
        });
        self.looked = clock::monotonic();
        Ok(())
    }

    /// What the kernel tells within a while: a file of the application, and when the last one changed. Editors and version
    /// control write several, so it waits until nothing more comes.
    fn told(&self, changes: &Changes) -> io::Result<Option<(PathBuf, u64)>> {
        let mut latest = None;
        let mut limit = EVERY;
        for _ in 0..MOST_PAUSES {
            let told = changes.wait(limit)?;
            // A module that could not be imported is not among the files yet.
            let is_ours =
                |file: &PathBuf| self.files.contains_key(file) || file.extension().is_some_and(|end| end == "py");
            match told.into_iter().find(is_ours) {
                Some(file) => latest = Some((file, clock::monotonic())),
                None if latest.is_some() => break,
                None => return Ok(None),
            }
            limit = PAUSE;
        }
        Ok(latest)
    }

    /// A file that was written since it was last looked at, and when.
    fn seen(&mut self) -> Option<(PathBuf, u64)> {
        let (now, wall) = (clock::monotonic(), SystemTime::now());
        let mut changed: Option<(PathBuf, u64)> = None;
        for (file, before) in &mut self.files {
            let after = written(file);
            if after.is_none() || after == *before {
                continue;
            }
            *before = after;
            let age = after.and_then(|after| wall.duration_since(after).ok()).unwrap_or_default();
            let at = now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)).max(self.looked);
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

/// gunicorn's, for files that are asked; else how soon new modules are watched.
const EVERY: Duration = Duration::from_secs(1);
/// Within a change.
const PAUSE: Duration = Duration::from_millis(100);
/// What never comes to rest is told all the same.
const MOST_PAUSES: usize = 20;
