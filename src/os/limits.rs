//! Limits of this process and of those that it starts (setrlimit(2)): open files and memory.

use std::fs;
use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{SysconfVar, sysconf};

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

/// Returns how many bytes of address space this process may still take; `None` is no limit.
pub fn address_space_left() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    if soft == RLIM_INFINITY {
        return None;
    }
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    Some(soft.saturating_sub(pages.saturating_mul(page_size())))
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// The kernel's default limit (`fs.nr_open`): without a limit, programs that close every number become slow.
const MOST_FILES: u64 = 1 << 20;
