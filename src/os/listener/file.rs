//! The file of a unix socket: made, found stale, removed. Accepts nothing.
//!
//! A connection is refused until the socket listens, even if the file's permissions allow it. So the file gets its mode
//! and owner between bind and listen, and no other user can connect in between. Mode and owner are set on the file
//! itself, never through a symbolic link: in a directory that others may write to, the name may have been swapped.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchownat};

use super::Cause;
use super::error::MAX_PATH;

/// The file as it was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// The absolute path, since the process may change its directory later.
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Binds `path`, sets mode and owner, and listens.
pub(super) fn open(
    path: &Path,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    backlog: Backlog,
) -> Result<(OwnedFd, SocketFile), Cause> {
    let name = name_of(path)?;
    make_room(path, &name)?;
    let socket = stream()?;
    bind(socket.as_raw_fd(), &name).map_err(|errno| path_cause("bind", errno))?;
    let file = SocketFile::at(path).map_err(|errno| path_cause("stat", errno))?;
    prepare(path, mode, owner)
        .and_then(|()| listen(&socket, backlog).map_err(|errno| Cause::kernel("listen", errno)))
        .inspect_err(|_| {
            file.unlink();
        })?;
    Ok((socket, file))
}

/// Fails as [`open`] would, except for a socket on which a process listens; makes and removes nothing.
pub(super) fn check(path: &Path) -> Result<(), Cause> {
    name_of(path)?;
    look(path)?;
    crate::os::check_making(path).map_err(|error| path_cause("stat", errno_of(&error)))
}

fn name_of(path: &Path) -> Result<UnixAddr, Cause> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(Cause::PathTooLong(length));
    }
    // An empty path would make an unnamed socket, a leading zero byte an abstract one.
    if length == 0 || path.as_os_str().as_bytes().contains(&0) {
        return Err(Cause::PathInvalid);
    }
    UnixAddr::new(path).map_err(|errno| Cause::kernel("bind", errno))
}

/// Returns the socket file, if the path exists; a file that is not a socket is an error.
fn look(path: &Path) -> Result<Option<fs::Metadata>, Cause> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => Ok(Some(there)),
        Ok(there) => Err(Cause::NotASocket(kind(there.file_type()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(path_cause("stat", errno_of(&error))),
    }
}

/// Removes a stale socket at `path`, on which no process listens; anything else there is an error. Two servers started
/// on one path in the same instant may both take it for free: the kernel has no bind that replaces.
fn make_room(path: &Path, name: &UnixAddr) -> Result<(), Cause> {
    let Some(there) = look(path)? else {
        return Ok(());
    };
    match connect(stream()?.as_raw_fd(), name) {
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        // EAGAIN: it listens and its queue is full. EPROTOTYPE: a datagram or packet socket, bound and so alive.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => return Err(Cause::Served),
        Err(errno) => return Err(path_cause("connect", errno)),
    }
    // Another server's new file is left alone.
    let stale = SocketFile { path: path.to_owned(), device: there.dev(), inode: there.ino() };
    if stale.is_there() {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(path_cause("unlink", errno_of(&error)));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn prepare(path: &Path, mode: Option<u32>, owner: Option<(u32, u32)>) -> Result<(), Cause> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| path_cause("open", errno))?;
    // A user with write permission to the directory may have put another socket in its place: a hard link.
    let about = fstat(&file).map_err(|errno| path_cause("stat", errno))?;
    if about.st_mode & libc::S_IFMT != libc::S_IFSOCK || about.st_nlink > 1 {
        return Err(Cause::NotASocket("what another user has put in its place"));
    }
    if let Some(bits) = mode {
        // A descriptor of this kind can only be named: fchmod(2) does not take it.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        fchmodat(AT_FDCWD, name.as_str(), Mode::from_bits_truncate(bits), FchmodatFlags::FollowSymlink)
            .map_err(|errno| path_cause("chmod", errno))?;
    }
    if let Some((uid, gid)) = owner {
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fchownat(&file, "", user, group, AtFlags::AT_EMPTY_PATH).map_err(|errno| match errno {
            Errno::EPERM => Cause::OwnerDenied { uid, gid },
            other => path_cause("chown", other),
        })?;
    }
    Ok(())
}

impl SocketFile {
    pub(super) fn at(path: &Path) -> Result<SocketFile, Errno> {
        let there = fs::symlink_metadata(path).map_err(|error| errno_of(&error))?;
        let path = std::path::absolute(path).map_err(|error| errno_of(&error))?;
        Ok(SocketFile { path, device: there.dev(), inode: there.ino() })
    }

    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode))
    }

    /// Removes the file if it is still this one; true if it did.
    pub(super) fn unlink(&self) -> bool {
        self.is_there() && fs::remove_file(&self.path).is_ok()
    }
}

fn stream() -> Result<OwnedFd, Cause> {
    // Non-blocking: a live server with a full queue must not hold us at connect.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|errno| Cause::kernel("socket", errno))
}

fn path_cause(doing: &'static str, errno: Errno) -> Cause {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => Cause::NoDirectory,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Cause::PathDenied,
        // Another server made it since the last look.
        Errno::EADDRINUSE => Cause::Served,
        other => Cause::kernel(doing, other),
    }
}

fn kind(file: fs::FileType) -> &'static str {
    match file {
        file if file.is_dir() => "a directory",
        file if file.is_symlink() => "a symbolic link",
        file if file.is_fifo() => "a fifo",
        file if file.is_file() => "a file",
        _ => "a device",
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
