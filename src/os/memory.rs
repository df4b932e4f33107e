//! Memory that this process can do without for now.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Lets go of the program and the libraries in this process, as far as they are as in their files: what only the start has
/// needed, and what the kernel has mapped beside that. They stay in the kernel's cache as long as it has room, and are
/// there again when they are used. Says how many bytes were let go of, 0 where the kernel does not say what there is.
pub fn let_go_of_programs() -> usize {
    let mut work = Work::default();
    // SAFETY: the callback takes what is handed to it here for what it is, and does not keep it.
    unsafe { libc::dl_iterate_phdr(Some(of_object), (&raw mut work).cast()) };
    work.bytes
}

#[derive(Default)]
struct Work {
    /// What is as in its file, as of the moment when the first object was looked at.
    untouched: Option<Vec<Mapping>>,
    bytes: usize,
}

/// Called for each object that is loaded, with the loader locked (dl_iterate_phdr(3)): none is unloaded meanwhile, so that nothing
/// else comes to be where it is.
unsafe extern "C" fn of_object(object: *mut libc::dl_phdr_info, _size: usize, work: *mut c_void) -> c_int {
    // SAFETY: as `let_go_of_programs` has handed it over; nobody else has it.
    let work = unsafe { &mut *work.cast::<Work>() };
    // SAFETY: the loader's own description of the object, with so many headers.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    let smaps = || fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let found = work.untouched.get_or_insert_with(|| untouched(&smaps()));
    let code = headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0);
    let ranges: Vec<Range<u64>> =
        code.map(|header| base + header.p_vaddr..base + header.p_vaddr + header.p_memsz).collect();
    for Mapping { range, resident, .. } in found {
        let is_of_object = ranges.iter().any(|of| (range.start as u64) < of.end && (range.end as u64) > of.start);
        let start = NonNull::new(std::ptr::without_provenance_mut(range.start)).filter(|_| is_of_object);
        let Some(start) = start else { continue };
        // SAFETY: nothing in this range differs from its file, from which the kernel fills it again when it is looked at.
        if unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED) }.is_ok() {
            work.bytes += *resident;
        }
    }
    0
}

/// What `smaps` (proc_pid_smaps(5)) says of one mapping.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    /// It is of a file, and nobody else sees what is written to it, which nobody can do.
    is_code: bool,
    /// How many bytes of it are there.
    resident: usize,
    /// Bytes that differ from the file, be they in memory or swapped out, if that was said.
    own: [Option<usize>; 2],
}

/// What nobody has written to, not even the linker, of private mappings of files.
fn untouched(smaps: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().take(5).collect();
        let size = words.get(1).and_then(|kib| kib.parse::<usize>().ok()).map(|kib| kib * 1024);
        match (words.as_slice(), found.last_mut()) {
            ([addresses, rights, _, _, inode], _) if !addresses.ends_with(':') => {
                let Some(range) = range(addresses) else { continue };
                let is_code = rights.ends_with('p') && !rights.contains('w') && *inode != "0";
                found.push(Mapping { range, is_code, resident: 0, own: [None; 2] });
            }
            (["Rss:", ..], Some(mapping)) => mapping.resident = size.unwrap_or_default(),
            (["Anonymous:", ..], Some(mapping)) => mapping.own[0] = size,
            (["Swap:", ..], Some(mapping)) => mapping.own[1] = size,
            _ => {}
        }
    }
    found.retain(|mapping| mapping.is_code && mapping.own == [Some(0); 2] && mapping.resident > 0);
    found
}

fn range(addresses: &str) -> Option<Range<usize>> {
    let (start, end) = addresses.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_its_file_is_let_go_of() {
        let entry = |head: &str, rss: u32, anonymous: u32, swap: u32| {
            format!(
                "{head}\nSize: 64 kB\nRss: {rss} kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nVmFlags: rd mr mw me\n"
            )
        };
        let maps = [
            entry("1000-3000 r-xp 00000000 fe:00 17    /usr/bin/program name", 8, 0, 0),
            // What the linker has filled in, and how much of that is swapped out.
            entry("3000-4000 r--p 00002000 fe:00 17    /usr/bin/program name", 4, 4, 0),
            entry("4000-6000 r--p 00003000 fe:00 17    /usr/bin/program name", 4, 0, 4),
            entry("6000-7000 rw-p 00005000 fe:00 17    /usr/bin/program name", 4, 0, 0),
            entry("7000-8000 rw-p 00000000 00:00 0     [heap]", 4, 4, 0),
            entry("8000-9000 r-xp 00000000 00:00 0     [vdso]", 4, 0, 0),
            entry("9000-a000 r-xp 00000000 00:01 9     /memfd:engine (deleted)", 4, 0, 0),
            entry("a000-b000 r--p 00001000 00:01 9     /memfd:engine (deleted)", 4, 0, 0),
            entry("b000-c000 r--s 00000000 fe:00 17    /usr/bin/program name", 4, 0, 0),
            entry("d000-e000 r-xp 00000000 fe:00 19    /not/there/yet", 0, 0, 0),
            "e000-f000 r-xp 00000000 fe:00 20    /of/which/little/is/said\nRss: 4 kB\n".to_owned(),
        ]
        .concat();
        let starts: Vec<usize> = untouched(&maps).iter().map(|mapping| mapping.range.start).collect();
        assert_eq!(starts, [0x1000, 0x9000, 0xa000]);
    }

    #[test]
    fn this_process_goes_on_without_its_pages() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
        };
        let before = resident();
        assert!(let_go_of_programs() > 0);
        assert!(resident() < before);
    }
}
