//! Changes in directories, by inotify(7): names the files that were written or created. Does not know what they are
//! for.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Directories that are watched, without those below them.
pub struct Changes {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

impl Changes {
    /// Makes an instance that watches nothing yet. Fails where a user may have no further one
    /// (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Changes> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Changes { inotify, directories: HashMap::new() })
    }

    /// Watches one more directory. A directory that does not exist is passed over.
    pub fn watch(&mut self, directory: &Path) -> io::Result<()> {
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(directory, what) {
            Ok(watch) => drop(self.directories.insert(watch, directory.to_owned())),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// Waits for changes, at most `limit`, and returns the files that were written or created, perhaps none.
    pub fn wait(&self, limit: Duration) -> io::Result<Vec<PathBuf>> {
        let mut waited = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let events = match self.inotify.read_events() {
            Err(Errno::EAGAIN) => return Ok(Vec::new()),
            events => events?,
        };
        let path =
            |event: &nix::sys::inotify::InotifyEvent| Some(self.directories.get(&event.wd)?.join(event.name.as_ref()?));
        Ok(events.iter().filter_map(path).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_or_comes_is_told_and_one_below_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("below")).unwrap();
        std::fs::write(path("old"), "").unwrap();
        let mut changes = Changes::new().unwrap();
        changes.watch(directory.path()).unwrap();
        changes.watch(&path("missing")).unwrap();
        std::fs::write(path("below/file"), "").unwrap();
        std::fs::write(path("old"), "1").unwrap();
        std::fs::write(path("new"), "1").unwrap();
        std::fs::rename(path("new"), path("newer")).unwrap();
        let mut told = changes.wait(Duration::from_secs(10)).unwrap();
        told.dedup();
        assert_eq!(told, [path("old"), path("new"), path("newer")]);
        assert_eq!(changes.wait(Duration::ZERO).unwrap(), Vec::<PathBuf>::new());
    }
}
