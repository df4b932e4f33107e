//! The kernel's interfaces as types that cannot be misused, one kernel object a file. Knows no request, no setting and
//! no Python.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, eaccess};

pub mod access;
pub mod channel;
pub mod clock;
pub mod daemonize;
pub mod descendants;
pub mod fork_guard;
pub mod heap;
pub mod identity;
pub mod inotify;
pub mod late_close;
pub mod limits;
pub mod listener;
pub mod memfd;
pub mod oom_kills;
pub mod pidfile;
pub mod place;
pub mod process;
pub mod proctitle;
pub mod program;
pub mod read_file;
pub mod reexec;
pub mod rights;
pub mod runtime_directory;
pub mod scoreboard;
pub mod sd_notify;
pub mod sigabrt;
pub mod signal;
pub mod socket;
pub mod stack_dump;
pub mod std_streams;
pub mod thread;

/// Returns the text of an error, in small letters and without Rust's number behind it: `no such file or directory`.
pub fn words(error: &io::Error) -> String {
    // The error names paths.
    if let Some(refused) = error.get_ref().filter(|inner| inner.is::<place::Refused>()) {
        return refused.to_string();
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// True if the files of this directory are in memory; false where the kernel does not report it.
pub fn is_in_memory(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|found| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&found.filesystem_type()))
}

/// As in linux/magic.h; nix does not have it.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Fails as making `path` in its directory would, and makes nothing.
pub fn check_making(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !fs::metadata(directory)?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK)?)
}
