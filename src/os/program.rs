//! The program's own file and the engine's, opened once at the start: a package upgrade under a running server cannot
//! mix versions at a later start of a zygote.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Both files.
#[derive(Debug)]
pub struct Program {
    executable: OwnedFd,
    engine: OwnedFd,
}

/// Why a file cannot be had.
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
        let executable = File::open("/proc/self/exe").map_err(ProgramError::Executable)?.into();
        let engine = match in_memory(embedded) {
            Some(engine) => engine,
            None => beside_executable()?,
        };
        Ok(Program { executable, engine })
    }

    /// The program's file.
    pub fn executable(&self) -> BorrowedFd<'_> {
        self.executable.as_fd()
    }

    /// The engine's file.
    pub fn engine(&self) -> BorrowedFd<'_> {
        self.engine.as_fd()
    }
}

/// `None` without an embedded engine, or where memory files may not be executed (sysctl `vm.memfd_noexec`).
fn in_memory(embedded: &[u8]) -> Option<OwnedFd> {
    if embedded.is_empty() {
        return None;
    }
    let flags = MFdFlags::MFD_CLOEXEC;
    // Kernels since 6.3 are told that the file is to be executed; older ones do not know the flag.
    let executable = flags | MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let file = memfd_create(c"rwsgi engine", executable).or_else(|_| memfd_create(c"rwsgi engine", flags)).ok()?;
    let mut file = File::from(file);
    file.write_all(embedded).ok()?;
    Some(file.into())
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
