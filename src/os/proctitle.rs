//! The title of this process, as `ps` and `top` show it.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// Sets the title that `ps` and `top` show: the name (15 bytes), and the whole title as far as the kernel's room for
/// the command line reaches (proc(5), `/proc/pid/cmdline`).
pub fn set(title: &str) {
    let name: String = title.chars().filter(char::is_ascii).take(15).collect();
    if let Ok(name) = CString::new(name) {
        let _ = nix::sys::prctl::set_name(&name);
    }
    let Some((start, end)) = *ROOM.get_or_init(argument_room) else { return };
    let title = title.as_bytes();
    let shown = title.len().min(end - start - 1);
    // SAFETY: the kernel reports that [start, end) holds this process's arguments, and the first one is there: writable
    // memory of the initial stack, which is not read after the start (std copied its part; CPython copies its own).
    unsafe {
        std::ptr::write_bytes(start as *mut u8, 0, end - start);
        std::ptr::copy_nonoverlapping(title.as_ptr(), start as *mut u8, shown);
    }
}

/// Returns `arg_start` and `arg_end` of /proc/self/stat (fields 48 and 49), if this program's arguments begin there.
/// Under valgrind they are valgrind's, which reads them again at every fork.
fn argument_room() -> Option<(usize, usize)> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in brackets, which may itself hold blanks and brackets.
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let start = fields.nth(45)?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    if start == 0 || start >= end {
        return None;
    }
    let first = std::env::args_os().next()?;
    // SAFETY: as above; memory of the initial stack is readable, also if another program's arguments are there.
    let room = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(start), end - start) };
    room.strip_prefix(first.as_bytes())?.starts_with(b"\0").then_some((start, end))
}

/// The room of the arguments, found before the first title is written.
static ROOM: OnceLock<Option<(usize, usize)>> = OnceLock::new();
