//! Closes large files without names in a thread of its own: the last close frees their blocks, which takes a busy disk
//! milliseconds a file.

use std::fs::File;
use std::ops::Deref;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};

use super::thread;

/// A file that is closed by [`close`] when it is dropped.
#[derive(Debug)]
pub struct ClosedLate(Option<File>);

impl From<File> for ClosedLate {
    fn from(file: File) -> ClosedLate {
        ClosedLate(Some(file))
    }
}

impl Deref for ClosedLate {
    type Target = File;

    fn deref(&self) -> &File {
        self.0.as_ref().expect("it is taken out only when it is dropped")
    }
}

impl Drop for ClosedLate {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            close(file);
        }
    }
}

/// Closes `file` soon. The thread starts with the first one; where it cannot, the file is closed here.
pub fn close(file: File) {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    if queue.is_none() {
        *queue = start();
    }
    if let Some(queue) = &*queue {
        // A file that it does not take is closed by this.
        let _ = queue.send(file);
    }
}

fn start() -> Option<Sender<File>> {
    let (queue, files) = mpsc::channel();
    thread::start("rwsgi: close", move || files.into_iter().for_each(drop)).ok().map(|()| queue)
}

/// The way to the thread, if it runs.
static QUEUE: Mutex<Option<Sender<File>>> = Mutex::new(None);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_file_is_closed_soon() {
        let (here, mut there) = UnixStream::pair().unwrap();
        drop(ClosedLate::from(File::from(OwnedFd::from(here))));
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
    }
}
