//! Limits of this process and of those that it starts (setrlimit(2)): open files and memory.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Sets the number of files that may be open at a time; `None` is the most that is allowed, up to a bound. Every
/// connection is one. Errors: `PermissionDenied` for more than is allowed.
pub fn open_files(wanted: Option<u64>) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let (soft, hard) = match wanted {
        None => (hard.min(MOST_FILES).max(soft), hard),
        Some(wanted) => (wanted, hard.max(wanted)),
    };
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}

/// Sets the number of bytes of address space, from here on, also in processes that are forked: allocations beyond it
/// fail. Errors: `PermissionDenied` for more than is allowed.
pub fn address_space(bytes: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_AS, bytes, bytes)?)
}

/// The kernel's default limit (`fs.nr_open`): without a limit, programs that close every number become slow.
const MOST_FILES: u64 = 1 << 20;
