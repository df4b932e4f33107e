//! This program started again beside itself, on the same listening sockets. Does not know what the two tell each other.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::limits;

/// The command line of this program. Read it before the process gets a title, which takes the room of its words.
#[derive(Clone, Debug)]
pub struct CommandLine {
    program: PathBuf,
    words: Vec<OsString>,
    /// The path of the running file at the start, if the first word does not lead to it.
    executable: PathBuf,
    /// `PATH`, by which the first word is looked up.
    path: OsString,
}

impl CommandLine {
    /// Returns this process's own. `path` is its `PATH`.
    pub fn of_this_process(path: OsString) -> CommandLine {
        let mut words = std::env::args_os();
        let executable = std::env::current_exe().unwrap_or_default();
        let program = words.next().map_or_else(|| executable.clone(), PathBuf::from);
        CommandLine { program, words: words.collect(), executable, path }
    }

    /// Returns the files that [`CommandLine::start`] may execute.
    pub fn programs(&self) -> Vec<PathBuf> {
        let named = match self.program.components().count() {
            1 if !self.program.is_absolute() => std::env::split_paths(&self.path)
                .map(|directory| directory.join(&self.program))
                .find(|file| file.is_file()),
            _ => Some(self.program.clone()),
        };
        named.into_iter().chain([self.executable.clone()]).collect()
    }

    /// Starts the program file as it is now, in this process's directory and environment, with further variables, and
    /// with sockets that it inherits under their numbers here.
    pub fn start(&self, variables: &[(&str, String)], sockets: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        match self.run(&self.program, variables, sockets) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.run(&self.executable, variables, sockets),
            other => other,
        }
    }

    fn run(&self, program: &Path, variables: &[(&str, String)], sockets: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        let mut command = Command::new(program);
        command.args(&self.words).envs(variables.iter().map(|(name, value)| (name, value)));
        let sockets: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let prepare = move || {
            limits::lower_in_fork();
            sockets.iter().try_for_each(|socket| inherit(*socket))
        };
        // SAFETY: between fork and exec only fcntl, getrlimit and setrlimit are called, which are async-signal-safe.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        // The pid is below 2^22 (PID_MAX_LIMIT).
        Ok(Pid::from_raw(i32::try_from(child.id()).expect("a pid fits an i32")))
    }
}

/// Leaves a descriptor open over exec.
fn inherit(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD on a descriptor number reads no memory.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    Ok(())
}

/// Takes a descriptor that [`CommandLine::start`] left open for this process; `None` if nothing is open there, or one
/// of the descriptors that every process is started with. Call it once for each.
pub fn inherited(fd: RawFd) -> Option<OwnedFd> {
    if fd <= libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: F_SETFD on a descriptor number reads no memory.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: it is open, and its number is known in this process only from the one that passed it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns a descriptor that becomes readable when the process ends (pidfd_open(2)).
pub fn watch(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers and makes a new descriptor, which is close-on-exec and has no other owner.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
