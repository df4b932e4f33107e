//! Bytes that one process hands to another as a descriptor: a sealed memfd that no process can change. They are on no
//! disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Makes a sealed file of these bytes, close-on-exec.
pub fn file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Without this flag Linux 6.3 and later complain in the kernel's log; older ones do not know it.
    let fd = match memfd_create(c"rwsgi sealed", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create(c"rwsgi sealed", flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    seal(&file)?;
    Ok(file.into())
}

/// Makes a memfd unchangeable, for every process that has or opens it. It was made with `MFD_ALLOW_SEALING`.
pub fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// Returns the bytes of such a file, from its start, regardless of the offset that others have left.
pub fn read(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_sealed_is_read_whole_by_everybody() {
        let fd = file(b"secret").unwrap();
        let copy = fd.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(read(copy).unwrap(), b"secret");
        assert!(File::from(fd.as_fd().try_clone_to_owned().unwrap()).write_at(b"x", 0).is_err());
        assert_eq!(read(fd).unwrap(), b"secret");
    }
}
