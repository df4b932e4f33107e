//! Memory that this process can do without for now.
#![allow(unsafe_code)]

use std::fs;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Lets go of the programs, libraries and other files that are mapped here and that nobody has written to: what only the start
/// has needed, and what the kernel has mapped beside that. They stay in the kernel's cache as long as it has room, and
/// are there again when they are used. Says how many bytes were let go of, 0 where the kernel does not say what there is.
pub fn let_go_of_files() -> usize {
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return 0 };
    let mut bytes = 0;
    for Mapping { range, resident } in mappings(&maps) {
        let Some(start) = NonNull::new(std::ptr::without_provenance_mut(range.start)) else { continue };
        // SAFETY: nothing in this range differs from its file, from which the kernel fills it again when it is looked at.
        if unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED) }.is_ok() {
            bytes += resident;
        }
    }
    bytes
}

/// A file that is mapped, and never written to.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    /// How many bytes of it are there.
    resident: usize,
}

/// Those that `smaps` (proc_pid_smaps(5)) tells of.
fn mappings(maps: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    let mut is_file = false;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            ("Rss:", kib) if is_file => found.last_mut().expect("a mapping was begun").resident = bytes(kib),
            // Pages of its own: it was written to once, say by the linker, although it cannot be written to now.
            ("Anonymous:", kib) if is_file && kib != "0" => drop(found.pop()),
            (word, _) if word.ends_with(':') => {}
            (addresses, rights) => {
                let inode = words.nth(2);
                let range = range(addresses);
                is_file = !rights.contains('w') && inode.is_some_and(|inode| inode != "0") && range.is_some();
                found.extend(range.filter(|_| is_file).map(|range| Mapping { range, resident: 0 }));
            }
        }
    }
    found.retain(|mapping| mapping.resident > 0);
    found
}

fn range(addresses: &str) -> Option<Range<usize>> {
    let (start, end) = addresses.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

fn bytes(kib: &str) -> usize {
    kib.parse::<usize>().unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_its_file_is_let_go() {
        let entry = |head: &str, rss: u32, anonymous: u32| {
            format!("{head}\nSize: 64 kB\nRss: {rss} kB\nAnonymous: {anonymous} kB\nVmFlags: rd mr\n")
        };
        let maps = [
            entry("1000-3000 r-xp 00000000 fe:00 17    /usr/bin/program name", 8, 0),
            entry("3000-4000 r--p 00002000 fe:00 17    /usr/bin/program name", 4, 4),
            entry("4000-5000 rw-p 00003000 fe:00 17    /usr/bin/program name", 4, 0),
            entry("5000-6000 rw-p 00000000 00:00 0     [heap]", 4, 4),
            entry("6000-7000 r-xp 00000000 00:00 0     [vdso]", 4, 0),
            entry("7000-8000 r--s 00000000 00:01 9     /memfd:engine (deleted)", 4, 0),
            entry("8000-9000 r--p 00000000 fe:00 18    /not/there/yet", 0, 0),
        ];
        let expected =
            [Mapping { range: 0x1000..0x3000, resident: 8192 }, Mapping { range: 0x7000..0x8000, resident: 4096 }];
        assert_eq!(mappings(&maps.concat()), expected);
    }

    #[test]
    fn this_process_goes_on_without_its_pages() {
        // The program itself, which is read from its file again.
        assert!(let_go_of_files() > 0);
        assert!(mappings(&fs::read_to_string("/proc/self/smaps").unwrap()).iter().any(|mapping| mapping.resident > 0));
    }
}
