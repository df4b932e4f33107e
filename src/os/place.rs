//! Opening files by paths that other users can influence: a master that is root opens logs, pid files and certificates
//! in directories of an application's user, which may have put something else in their place.
//!
//! A path is walked a component at a time. Root and this process's user are trusted; so is the owner of a directory
//! that the administrator has named and to which others cannot write, but never the user as whom applications run
//! ([`suspect`]). Below a directory to which others can write
//!
//! - a symbolic link is followed only if it belongs to root or to this process's user;
//! - what is opened must be a regular file or a device of root's, and no second name (hard link) of another user's file.
//!
//! The latter applies below the directory of a trusted third user as well; that user's links are followed. In a sticky
//! directory such as `/tmp` all this applies to entries of others: only their owners can have put them there.
//! Everywhere else any file may be named: fifos, `/proc/self/fd/N`. Opening never waits, as it would for a fifo without
//! a reader (fifo(7)).

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{UnlinkatFlags, fchdir, getegid, geteuid, unlinkat};

use super::identity::Identity;

/// A file that was found at a path and may not be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The directory to which others may write.
    directory: PathBuf,
    found: Found,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A symbolic link of this user.
    Link(PathBuf, u32),
    /// No regular file.
    Kind(&'static str),
    /// A file with this number of names.
    Names(u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = geteuid();
        let who = if user.is_root() { "root".to_owned() } else { format!("user {user}") };
        let why = format!("others than {who} can write to {}", self.directory.display());
        match &self.found {
            Found::Link(path, user) => write!(
                f,
                "expected no symbolic link of another user, as {why}, found {} of user {user}\nhint: name what it leads to, \
                 or have root make the link",
                path.display()
            ),
            Found::Kind(kind) => write!(
                f,
                "expected a regular file, as {why}, found {kind}\nhint: remove it, or name a place in a directory to which \
                 only {who} can write"
            ),
            Found::Names(names) => write!(
                f,
                "expected a file with one name, as {why}, found one with {names} (hard links)\nhint: remove it, or name a \
                 place in a directory to which only {who} can write"
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// A directory as it was when the path was walked, and a name in it.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    name: OsString,
    exposed: Exposed,
    /// True if the name is a link of /proc, which only the kernel can follow.
    is_magic: bool,
}

/// The changes that users other than root and this process's user can have made on the way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exposed {
    /// Nothing.
    Nowhere,
    /// This directory belongs to a third user, which is trusted with links.
    Trusted(PathBuf),
    /// They may have made entries of this directory, and cannot touch those of others (sticky(7)).
    Sticky(PathBuf),
    /// They may have made, renamed and replaced everything below this directory.
    Below(PathBuf),
}

/// Opens a log file to append to, and makes it with permissions 0666 less the umask if it does not exist. A fifo may be
/// without a reader.
pub fn append(path: &Path) -> io::Result<File> {
    let place = Place::at(path)?;
    let flags = OFlag::O_APPEND | OFlag::O_CREAT;
    let file = match place.open(flags | OFlag::O_WRONLY) {
        // A fifo that is opened for both does not wait for a reader.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => place.open(flags | OFlag::O_RDWR),
        opened => opened,
    }?;
    // A process that inherits it may not expect the flag.
    let status = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(status - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// Fails as [`append`] would, and makes no file.
pub fn check_append(path: &Path) -> io::Result<()> {
    match Place::at(path)?.open(OFlag::O_APPEND | OFlag::O_WRONLY) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => super::check_making(path),
        Err(error) => Err(error),
    }
}

/// Opens a file to read; one that can be waited for does not block (`O_NONBLOCK`).
pub fn open(path: &Path) -> io::Result<File> {
    Place::at(path)?.open(OFlag::O_RDONLY)
}

/// Reads a whole file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a directory the working directory.
pub fn enter(path: &Path) -> io::Result<()> {
    Ok(fchdir(Place::at(&path.join("entry"))?.directory)?)
}

/// Gives an open file to a user and a group, if it is a regular file with one name that root or this process's user owns.
pub fn give(file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let about = file.metadata()?;
    if !about.is_file() || about.nlink() > 1 || !is_ours(about.uid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, user, group)
}

impl Place {
    /// Walks a path; the place is the target of its last component, if that is a link.
    pub fn at(path: &Path) -> io::Result<Place> {
        Walk::begin(path)?.end(true)
    }

    /// Walks a path; a link as its last component is the place itself.
    pub fn of_name(path: &Path) -> io::Result<Place> {
        Walk::begin(path)?.end(false)
    }

    /// Opens the file that is here, as far as it may be used. Never waits.
    pub fn open(&self, flags: OFlag) -> io::Result<File> {
        let mut flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        flags.set(OFlag::O_NOFOLLOW, !self.is_magic);
        let file = File::from(openat(&self.directory, self.name.as_os_str(), flags, Mode::from_bits_truncate(0o666))?);
        self.judge(&file)?;
        Ok(file)
    }

    /// Makes a file of these bytes here, in place of an existing one. It is written under the name `meanwhile`, so that
    /// half of it is never read.
    pub fn replace(&self, bytes: &[u8], meanwhile: &OsStr) -> io::Result<()> {
        let make = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let _ = unlinkat(&self.directory, meanwhile, UnlinkatFlags::NoRemoveDir);
        let file = openat(&self.directory, meanwhile, make, Mode::from_bits_truncate(0o666))?;
        let written = io::Write::write_all(&mut File::from(file), bytes)
            .and_then(|()| Ok(renameat(&self.directory, meanwhile, &self.directory, self.name.as_os_str())?));
        written.inspect_err(|_| {
            let _ = unlinkat(&self.directory, meanwhile, UnlinkatFlags::NoRemoveDir);
        })
    }

    /// Removes the entry, unless it is a directory.
    pub fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
    }

    fn judge(&self, file: &File) -> io::Result<()> {
        let about = file.metadata()?;
        let directory = match &self.exposed {
            Exposed::Nowhere => return Ok(()),
            Exposed::Sticky(_) if is_ours(about.uid()) && !(about.is_file() && about.nlink() > 1) => return Ok(()),
            Exposed::Trusted(directory) | Exposed::Sticky(directory) | Exposed::Below(directory) => directory,
        };
        if let Some(kind) = refused_kind(&about) {
            return Err(refused(directory, Found::Kind(kind)));
        }
        if about.nlink() > 1 && !self.is_of_one_user(&about)? {
            return Err(refused(directory, Found::Names(about.nlink())));
        }
        Ok(())
    }

    /// True if file and directory have the same owner, and only that user can have put the file there.
    fn is_of_one_user(&self, file: &Metadata) -> io::Result<bool> {
        let directory = fstat(&self.directory)?;
        Ok(directory.st_uid == file.uid() && directory.st_mode & OTHERS_WRITE == 0)
    }
}

/// The components of a path, without links followed on the way to them.
struct Walk {
    directory: OwnedFd,
    /// The path for messages.
    path: PathBuf,
    /// The components that are still to be walked, the next one last.
    rest: Vec<OsString>,
    exposed: Exposed,
    /// Third users whose directories were entered.
    trusted: Vec<u32>,
    links: u32,
}

impl Walk {
    fn begin(path: &Path) -> io::Result<Walk> {
        let start = Path::new(if path.is_absolute() { "/" } else { "." });
        let directory = openat(AT_FDCWD, start, directory_flags(), Mode::empty())?;
        let mut walk = Walk {
            directory,
            path: start.to_owned(),
            rest: Vec::new(),
            exposed: Exposed::Nowhere,
            trusted: Vec::new(),
            links: 0,
        };
        walk.look_round()?;
        walk.push(path);
        Ok(walk)
    }

    fn push(&mut self, path: &Path) {
        let names = path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        self.rest.extend(names);
    }

    /// Notes who can write to the directory that was entered.
    fn look_round(&mut self) -> io::Result<()> {
        let about = fstat(&self.directory)?;
        let (is_open, is_sticky) = (is_open_to_others(&about), about.st_mode & libc::S_ISVTX != 0);
        let here = || self.path.clone();
        self.exposed = match &self.exposed {
            Exposed::Below(directory) => Exposed::Below(directory.clone()),
            _ if is_suspected(about.st_uid) => Exposed::Below(here()),
            _ if is_open && is_sticky && is_ours(about.st_uid) => Exposed::Sticky(here()),
            _ if is_open => Exposed::Below(here()),
            Exposed::Trusted(directory) => Exposed::Trusted(directory.clone()),
            _ if is_ours(about.st_uid) => Exposed::Nowhere,
            _ => Exposed::Trusted(here()),
        };
        if matches!(self.exposed, Exposed::Trusted(_)) {
            self.trusted.push(about.st_uid);
        }
        Ok(())
    }

    /// Walks the rest.
    fn end(mut self, follows: bool) -> io::Result<Place> {
        loop {
            let name = self.rest.pop().ok_or(Errno::ENOENT)?;
            let is_last = self.rest.is_empty();
            let is_link = match fstatat(&self.directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(about) => kind_of(&about) == SFlag::S_IFLNK,
                Err(Errno::ENOENT) if is_last => false,
                Err(errno) => return Err(errno.into()),
            };
            let is_magic = is_link && fstatfs(&self.directory)?.filesystem_type() == PROC;
            if is_link && !is_magic && (follows || !is_last) {
                self.follow(&name)?;
            } else if is_last {
                let Walk { directory, exposed, .. } = self;
                return Ok(Place { directory, name, exposed, is_magic });
            } else {
                self.enter(&name, is_magic)?;
            }
        }
    }

    fn enter(&mut self, name: &OsStr, is_magic: bool) -> io::Result<()> {
        let mut flags = directory_flags();
        flags.set(OFlag::O_NOFOLLOW, !is_magic);
        self.directory = openat(&self.directory, name, flags, Mode::empty())?;
        self.path.push(name);
        self.look_round()
    }

    fn follow(&mut self, name: &OsStr) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let link = openat(&self.directory, name, flags, Mode::empty())?;
        let owner = fstat(&link)?.st_uid;
        match &self.exposed {
            Exposed::Trusted(_) if self.trusted.contains(&owner) => {}
            Exposed::Trusted(directory) | Exposed::Sticky(directory) | Exposed::Below(directory) if !is_ours(owner) => {
                return Err(refused(directory, Found::Link(self.path.join(name), owner)));
            }
            _ => {}
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = PathBuf::from(readlinkat(&link, "")?);
        if target.is_absolute() {
            self.path = PathBuf::from("/");
            self.directory = openat(AT_FDCWD, "/", directory_flags(), Mode::empty())?;
            self.look_round()?;
        }
        self.push(&target);
        Ok(())
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn is_ours(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// True if others than its owner can write to a directory. By convention root's group has only root in it, and a user's
/// own, which has the user's number, only that user.
fn is_open_to_others(directory: &FileStat) -> bool {
    let FileStat { st_uid: user, st_gid: group, st_mode: mode, .. } = *directory;
    let is_own_group = group == 0 || group == user || (!geteuid().is_root() && group == getegid().as_raw());
    let suspects = suspects();
    let may = |suspect: &Identity| suspect.groups.contains(&group) || suspect.group == Some(group);
    let is_group_open = mode & libc::S_IWGRP != 0 && (!is_own_group || suspects.iter().any(may));
    mode & libc::S_IWOTH != 0 || is_group_open
}

/// Trusts the user as whom applications run, and its groups, with nothing from now on.
pub fn suspect(identity: &Identity) {
    let mut suspects = suspects();
    if identity.is_change() && !suspects.contains(identity) {
        suspects.push(identity.clone());
    }
}

fn is_suspected(user: u32) -> bool {
    suspects().iter().any(|suspect| suspect.user == Some(user))
}

fn suspects() -> MutexGuard<'static, Vec<Identity>> {
    static SUSPECTS: Mutex<Vec<Identity>> = Mutex::new(Vec::new());
    SUSPECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the kind of a file that is not regular. Only root can have made a character device.
fn refused_kind(about: &Metadata) -> Option<&'static str> {
    let kind = about.file_type();
    match () {
        () if kind.is_file() || kind.is_char_device() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a fifo"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

fn kind_of(about: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(about.st_mode & SFlag::S_IFMT.bits())
}

fn refused(directory: &Path, found: Found) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, Refused { directory: directory.to_owned(), found })
}

/// The bits in the mode of a directory with which others can write to it.
const OTHERS_WRITE: u32 = libc::S_IWGRP | libc::S_IWOTH;
/// The most links that the kernel follows (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;
/// `PROC_SUPER_MAGIC` (statfs(2)).
const PROC: FsType = FsType(libc::PROC_SUPER_MAGIC);
