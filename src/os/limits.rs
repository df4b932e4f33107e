//! Limits of this process and of those that it starts (setrlimit(2)): open files and memory.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{SysconfVar, sysconf};

/// Sets the number of files that may be open at a time; `None` is the most that is allowed, up to a bound, for this
/// process and not for programs that it starts. Every connection is one. Errors: `PermissionDenied` for more than is
/// allowed.
pub fn open_files(wanted: Option<u64>) -> io::Result<()> {
    let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let (soft, hard) = match wanted {
        None => (hard.min(MOST_FILES).max(before), hard),
        Some(wanted) => (wanted, hard.max(wanted)),
    };
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    set_for_programs(if wanted.is_none() && soft > before { before } else { 0 });
    Ok(())
}

/// Returns the number of open files that programs are allowed which this process starts; 0 if that is its own.
pub fn for_programs() -> u64 {
    FOR_PROGRAMS.load(Ordering::Relaxed)
}

/// Sets what [`for_programs`] returns.
pub fn set_for_programs(files: u64) {
    FOR_PROGRAMS.store(files, Ordering::Relaxed);
}

/// Gives a process that was forked the limit of programs. It is async-signal-safe.
pub(super) fn lower_in_fork() {
    let files = for_programs();
    if files > 0 {
        let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(files, |(_, hard)| hard);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, files, hard);
    }
}

/// Runs `step`, which starts a program, with the limit of programs for this process. A process that has nearly as many
/// files open keeps its own: other threads may open some meanwhile.
pub fn lowered<T>(step: impl FnOnce() -> T) -> T {
    let files = for_programs();
    let own = getrlimit(Resource::RLIMIT_NOFILE).ok().filter(|_| files > 0 && has_room_below(files));
    let Some((soft, hard)) = own else { return step() };
    let is_lowered = setrlimit(Resource::RLIMIT_NOFILE, files, hard).is_ok();
    let done = step();
    if is_lowered {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
    done
}

fn has_room_below(files: u64) -> bool {
    fs::read_dir("/proc/self/fd").is_ok_and(|open| (open.count() as u64).saturating_add(ROOM) < files)
}

/// Returns the number of files that may be open at a time.
pub fn most_open_files() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
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
/// Files that other threads may open while a program is started.
const ROOM: u64 = 128;
/// The number of open files that programs are allowed; 0 is that of this process.
static FOR_PROGRAMS: AtomicU64 = AtomicU64::new(0);
