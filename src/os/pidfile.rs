//! The pid file: names the running server, keeps a second one from starting, and is removed at the end.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::place::Place;

/// A pid file that this process wrote.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

/// The reason for which there is none.
#[derive(Debug)]
pub enum PidFileError {
    /// Its process lives and is a server of this kind.
    Running(PathBuf, i32),
    /// It cannot be written.
    Unwritable(PathBuf, io::Error),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidFileError::Running(path, pid) => {
                write!(f, "{}: a server is running already, its pid is {pid}", path.display())
            }
            PidFileError::Unwritable(path, error) => write!(f, "{}: {}", path.display(), super::words(error)),
        }
    }
}

impl std::error::Error for PidFileError {}

impl PidFile {
    /// Writes this process's id, by a new file and a rename, so that no process reads half of it. A file that names no
    /// living server is stale and replaced.
    pub fn write(path: &Path) -> Result<PidFile, PidFileError> {
        let me = Pid::this().as_raw();
        let path = vacant(path)?;
        let new = path.with_extension(format!("{me}.new"));
        let meanwhile = new.file_name().unwrap_or_default();
        let written = Place::of_name(&path).and_then(|place| place.replace(format!("{me}\n").as_bytes(), meanwhile));
        written.map(|()| PidFile { path: path.clone() }).map_err(|error| PidFileError::Unwritable(path, error))
    }

    /// Fails as [`PidFile::write`] would, and writes nothing. A running server is no error: a check before a restart is
    /// made beside it.
    pub fn check(path: &Path) -> Result<(), PidFileError> {
        let path = std::path::absolute(path).map_err(|error| PidFileError::Unwritable(path.to_owned(), error))?;
        let replaceable = if path.is_dir() { Err(Errno::EISDIR.into()) } else { super::check_making(&path) };
        replaceable.map_err(|error| PidFileError::Unwritable(path, error))
    }

    /// Returns its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file if it still holds this process's id. Only for the master.
    pub fn remove(&self) {
        remove_of(&self.path, Pid::this().as_raw());
    }

    /// Returns the path of another master's file beside this one.
    pub fn beside(path: &Path) -> PathBuf {
        let mut path = path.as_os_str().to_owned();
        path.push(".2");
        path.into()
    }
}

/// Returns the absolute path, if no living server has its id in the file.
fn vacant(path: &Path) -> Result<PathBuf, PidFileError> {
    let path = std::path::absolute(path).map_err(|error| PidFileError::Unwritable(path.to_owned(), error))?;
    match read(&path).filter(|&pid| pid != Pid::this().as_raw() && is_server(pid)) {
        Some(pid) => Err(PidFileError::Running(path, pid)),
        None => Ok(path),
    }
}

/// Removes a pid file if it holds this id: that of this process, or of one that has ended and cannot do it.
pub fn remove_of(path: &Path, pid: i32) {
    let Ok(place) = Place::of_name(path) else { return };
    if read_at(&place) == Some(pid) {
        let _ = place.remove();
    }
}

/// Returns the user of a pid file's process, if there is such a process.
pub fn user_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let pid = read(path)?;
    fs::metadata(format!("/proc/{pid}")).ok().map(|process| process.uid())
}

/// Returns the id in a pid file.
fn read(path: &Path) -> Option<i32> {
    read_at(&Place::of_name(path).ok()?)
}

fn read_at(place: &Place) -> Option<i32> {
    let mut text = String::new();
    place.open(OFlag::O_RDONLY).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|&pid| pid > 0)
}

/// True if the process lives and is a server of this kind: in a container the number of a dead server is soon another
/// process's. A process that has ended and was not reaped yet is not alive.
fn is_server(pid: i32) -> bool {
    let alive = matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM));
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let has_ended = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    alive && name.starts_with("rwsgi") && !has_ended
}

/// More than any id has, in bytes.
const LONGEST: u64 = 64;
