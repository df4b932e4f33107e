//! Limits of this process and of those that it starts (setrlimit(2)): open files and memory.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Sets how many files may be open at a time; `None` is as many as are allowed, up to a bound. Every connection is one.
/// Errors: `PermissionDenied` for more than is allowed.
pub fn open_files(wanted: Option<u64>) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let (soft, hard) = match wanted {
        None => (hard.min(MOST_FILES).max(soft), hard),
        Some(wanted) => (wanted, hard.max(wanted)),
    };
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}

/// Sets how many bytes of address space there may be, from here on, also in processes that are forked: what needs more
/// gets no memory. Errors: `PermissionDenied` for more than is allowed.
pub fn address_space(bytes: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_AS, bytes, bytes)?)
}

/// What the kernel allows by default (`fs.nr_open`); an unlimited one makes programs slow that close every number.
const MOST_FILES: u64 = 1 << 20;
