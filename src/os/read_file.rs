//! Reading a file that a user names, of any kind: a pipe is read to its end, and no read waits for ever. Does not know
//! what is in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{
    BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC, SECURITYFS_MAGIC,
    SELINUX_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC, fstatfs,
};

use super::place;

/// A file that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The whole text.
    pub text: String,
    /// True if it can be read again.
    pub stays: bool,
}

/// Reads it. Errors: `TimedOut` for a pipe or terminal into which no process writes, `InvalidData` for text that is not
/// UTF-8 or does not end.
pub fn read(path: &Path) -> io::Result<Source> {
    let mut file = place::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        return Ok(Source { text, stays: true });
    }
    let bytes = read_stream(&mut file)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "expected UTF-8"))?;
    Ok(Source { text, stays: kind.is_char_device() && !is_terminal(&file) })
}

/// Opens a regular file for reading. Never waits: any other file is `InvalidInput`.
pub fn open_regular(path: &Path) -> io::Result<OwnedFd> {
    let file = place::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file"));
    }
    Ok(file.into())
}

/// True if a regular file has as many bytes as it reports. Those that the kernel makes when they are read do not: in /sys a
/// file of 3 bytes reports 4096.
pub fn keeps_length(file: &File) -> bool {
    fstatfs(file).is_ok_and(|system| !MADE_WHEN_READ.contains(&system.filesystem_type()))
}

/// Fails unless it is a file that can be read, now and again.
pub fn check_file(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a file, found a pipe, a socket or a device"));
    }
    place::open(path).map(drop)
}

fn read_stream(file: &mut File) -> io::Result<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    let mut end = Instant::now() + PATIENCE;
    loop {
        let may_come = match file.read(&mut piece) {
            // A pipe that no process has opened for writing yet reports the same as one that is at its end.
            Ok(0) => bytes.is_empty() && !file.metadata()?.file_type().is_char_device(),
            Ok(count) => {
                bytes.extend_from_slice(&piece[..count]);
                if bytes.len() > MOST {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "expected an end, found none"));
                }
                end = Instant::now() + PATIENCE;
                continue;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => true,
            Err(error) => return Err(error),
        };
        if !may_come {
            return Ok(bytes);
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        let found = poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        if found == Ok(0) {
            let words = format!(
                "expected a file or a pipe, found a pipe into which no process writes for {} s",
                PATIENCE.as_secs()
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        let has_ended = polled[0].revents().is_some_and(|events| events == PollFlags::POLLHUP);
        if has_ended {
            return Ok(bytes);
        }
    }
}

fn is_terminal(file: &File) -> bool {
    std::io::IsTerminal::is_terminal(file)
}

/// The longest time that a command takes between two lines of a configuration.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any configuration has, and less than `/dev/zero` would fill.
const MOST: usize = 1 << 20;

/// The file systems whose files the kernel makes when they are read.
const MADE_WHEN_READ: [FsType; 9] = [
    BPF_FS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    PROC_SUPER_MAGIC,
    SECURITYFS_MAGIC,
    SELINUX_MAGIC,
    SYSFS_MAGIC,
    TRACEFS_MAGIC,
];

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end_also_when_its_writer_comes_late() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"workers = 2\n").unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let late = std::thread::spawn(move || writer.write_all(b"threads = 2\n"));
        let found = read(Path::new(&path)).unwrap();
        late.join().unwrap().unwrap();
        assert_eq!(found, Source { text: "workers = 2\nthreads = 2\n".to_owned(), stays: false });

        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert_eq!(check_file(&fifo).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let writer = {
            let fifo = fifo.clone();
            std::thread::spawn(move || fs::write(fifo, "workers = 3\n"))
        };
        assert_eq!(read(&fifo).unwrap().text, "workers = 3\n");
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_pipe_without_a_writer_and_what_never_ends_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert_eq!(read(&fifo).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), Source { text: String::new(), stays: true });
        assert_eq!(read(directory.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
