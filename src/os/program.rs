//! The program's own file and the engine's, opened once at the start: a package upgrade under a running server cannot
//! mix versions at a later start of a zygote.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::memfd;

/// Both files.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    executable: OwnedFd,
    engine: OwnedFd,
}

/// The reason for which a file is missing.
#[derive(Debug)]
pub enum ProgramError {
    /// The running executable cannot be opened.
    Executable(io::Error),
    /// The engine is neither inside the executable nor in any of these places.
    NoEngine(Vec<PathBuf>),
    /// The engine is there and cannot be opened.
    Engine(PathBuf, io::Error),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Executable(error) => write!(f, "/proc/self/exe: {error}\nhint: rwsgi needs /proc"),
            ProgramError::NoEngine(places) => {
                let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
                write!(
                    f,
                    "engine: expected it inside the executable or at {}, found nothing\nhint: `make build` makes an \
                     executable that holds it",
                    places.join(" or ")
                )
            }
            ProgramError::Engine(path, error) => write!(f, "engine: {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ProgramError {}

impl Program {
    /// Opens both. `embedded` is the engine that the executable holds, empty if it holds none.
    pub fn open(embedded: &[u8]) -> Result<Program, ProgramError> {
        let mut executable = File::open("/proc/self/exe").map_err(ProgramError::Executable)?;
        let engine = match in_memory(embedded, &mut executable) {
            Some(engine) => engine,
            None => beside_executable()?,
        };
        let path = std::env::current_exe().map_err(ProgramError::Executable)?;
        Ok(Program { path, executable: executable.into(), engine })
    }

    /// Returns the path of the program's file, with symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the program's file.
    pub fn executable(&self) -> BorrowedFd<'_> {
        self.executable.as_fd()
    }

    /// Returns the engine's file.
    pub fn engine(&self) -> BorrowedFd<'_> {
        self.engine.as_fd()
    }
}

/// Copies the engine to memory. `None` without an embedded engine, or where memory files may not be executed (sysctl
/// `vm.memfd_noexec`).
fn in_memory(embedded: &[u8], executable: &mut File) -> Option<OwnedFd> {
    if embedded.is_empty() {
        return None;
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Kernels since 6.3 are told that the file is to be executed; older ones do not know the flag.
    let to_execute = flags | MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let file = memfd_create(c"rwsgi engine", to_execute).or_else(|_| memfd_create(c"rwsgi engine", flags)).ok()?;
    let mut file = File::from(file);
    if copy_from_file(embedded, executable, &mut file).is_none() {
        file.set_len(0).ok()?;
        file.rewind().ok()?;
        file.write_all(embedded).ok()?;
    }
    // A zygote that runs as the application's user has this file, and so may those that run as root.
    memfd::seal(&file).ok()?;
    Some(file.into())
}

/// Copies `embedded` from its place in the executable's file. Read from memory, its pages would stay mapped in the
/// master for good.
fn copy_from_file(embedded: &[u8], executable: &mut File, to: &mut File) -> Option<()> {
    let offset = offset_in_file(&fs::read_to_string("/proc/self/maps").ok()?, embedded.as_ptr_range())?;
    executable.seek(SeekFrom::Start(offset)).ok()?;
    let length = embedded.len() as u64;
    (io::copy(&mut Read::by_ref(executable).take(length), to).ok()? == length).then_some(())
}

/// Returns the offset in a file of what is mapped at these addresses, if one mapping has all of it (proc_pid_maps(5)).
/// Constants are in the executable's.
fn offset_in_file(maps: &str, addresses: std::ops::Range<*const u8>) -> Option<u64> {
    let (start, end) = (addresses.start.addr() as u64, addresses.end.addr() as u64);
    maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        let is_file = words.nth(1)? != "0";
        (is_file && from <= start && end <= to).then(|| offset + (start - from))
    })
}

fn beside_executable() -> Result<OwnedFd, ProgramError> {
    let executable = std::env::current_exe().map_err(ProgramError::Executable)?;
    let directory = executable.parent().unwrap_or(Path::new("/"));
    let places = [directory.join(ENGINE), directory.join("../lib/rwsgi").join(ENGINE)];
    for place in &places {
        match File::open(place) {
            Ok(file) => return Ok(file.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ProgramError::Engine(place.clone(), error)),
        }
    }
    Err(ProgramError::NoEngine(places.to_vec()))
}

const ENGINE: &str = "librwsgi_engine.so";

#[cfg(test)]
mod tests {
    use super::*;

    const EMBEDDED: &[u8] = b"what the test program holds, and finds in its own file again";

    #[test]
    fn what_is_embedded_is_copied_from_the_file() {
        let mut executable = File::open("/proc/self/exe").unwrap();
        let mut copy = tempfile::tempfile().unwrap();
        copy_from_file(EMBEDDED, &mut executable, &mut copy).unwrap();
        let mut found = Vec::new();
        copy.rewind().unwrap();
        copy.read_to_end(&mut found).unwrap();
        assert_eq!(found, EMBEDDED);
    }

    #[test]
    fn what_is_in_no_file_has_no_place_in_one() {
        let on_the_heap = EMBEDDED.to_vec();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert_eq!(offset_in_file(&maps, on_the_heap.as_ptr_range()), None);
        let maps = "1000-3000 r--p 00005000 fe:00 77 /program\n3000-4000 rw-p 00000000 00:00 0\n";
        let at = |start: usize, end: usize| {
            offset_in_file(maps, std::ptr::without_provenance(start)..std::ptr::without_provenance(end))
        };
        assert_eq!(at(0x1800, 0x3000), Some(0x5800));
        assert_eq!(at(0x1800, 0x3001), None);
        assert_eq!(at(0x3000, 0x3800), None);
    }
}
