//! What a user can change: directories on the way to a file, links, and the file itself (path_resolution(7)). Judges by
//! owner, mode and access control list, and never tries.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::identity::Identity;

/// A file that runs with more rights than a user has, and that this user can change.
#[derive(Debug)]
pub struct Untrusted {
    /// The file that is to run.
    pub what: PathBuf,
    /// The file or directory on its way that can be changed.
    pub found: PathBuf,
    /// The user.
    pub user: u32,
}

impl Untrusted {
    /// Returns the remedy, without the word `hint:`.
    pub fn hint(&self) -> String {
        let found = self.found.display();
        format!("`chown root {found}` and `chmod go-w {found}`")
    }

    /// As [`Untrusted::hint`], for code in Python.
    pub fn hint_for_python(&self) -> String {
        let hint = self.hint();
        format!("{hint}; or set `user` in a configuration file in TOML, with which no Python runs as root")
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, found, user) = (self.what.display(), self.found.display(), self.user);
        write!(
            f,
            "{what}: expected only what the application's user cannot change, since it runs with the rights of the \
             master; found {found}, which user {user} can change"
        )
    }
}

impl std::error::Error for Untrusted {}

impl Identity {
    /// Fails if [`Identity::can_change`] finds something.
    pub fn distrust(&self, path: &Path) -> Result<(), Untrusted> {
        self.judged(path, self.can_change(path))
    }

    /// Fails if [`Identity::can_change_below`] finds something.
    pub fn distrust_below(&self, directory: &Path) -> Result<(), Untrusted> {
        self.judged(directory, self.can_change_below(directory))
    }

    fn judged(&self, what: &Path, found: Option<PathBuf>) -> Result<(), Untrusted> {
        found.map_or(Ok(()), |found| {
            let user = self.user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
            Err(Untrusted { what: what.to_owned(), found, user })
        })
    }

    /// Returns the first directory on the way to `path` in which this identity can replace or make an entry of the
    /// path, or `path` itself if it can write to it. Returns `None` if there is neither, and for a path that does not
    /// exist and cannot be made.
    pub fn can_change(&self, path: &Path) -> Option<PathBuf> {
        let mut walk = Walk { identity: self, links: 0, at: PathBuf::from("/") };
        let whole = std::path::absolute(path).ok()?;
        match walk.follow(&whole) {
            Ok(None) => {
                let metadata = fs::metadata(&walk.at).ok()?;
                self.may_write(&walk.at, &metadata).then_some(walk.at)
            }
            found => found.unwrap_or(None),
        }
    }

    /// Does the same as [`Identity::can_change`] for a directory and everything below it. Links below it are followed
    /// to files and not to directories.
    pub fn can_change_below(&self, directory: &Path) -> Option<PathBuf> {
        if let Some(found) = self.can_change(directory) {
            return Some(found);
        }
        let mut waiting = vec![directory.to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
                let found = if metadata.is_symlink() {
                    self.can_change(&path)
                } else {
                    self.may_write(&path, &metadata).then(|| path.clone())
                };
                if found.is_some() {
                    return found;
                }
                if metadata.is_dir() {
                    waiting.push(path);
                }
            }
        }
        None
    }

    /// True if this identity owns the file, and so may change its mode, or has the permission to write to it.
    fn may_write(&self, path: &Path, metadata: &Metadata) -> bool {
        let mode = metadata.mode();
        if self.user == Some(metadata.uid()) {
            return true;
        }
        if self.group == Some(metadata.gid()) || self.groups.contains(&metadata.gid()) {
            return mode & 0o020 != 0;
        }
        // With an access control list these bits are its mask: its single entries are not looked up.
        mode & 0o002 != 0 || (mode & 0o020 != 0 && has_list(path))
    }
}

/// A walk from the root directory, as the kernel takes it.
struct Walk<'a> {
    identity: &'a Identity,
    links: u32,
    at: PathBuf,
}

impl Walk<'_> {
    /// Goes from the directory `at` to an entry of it.
    fn into(&mut self, name: OsString) -> io::Result<Option<PathBuf>> {
        let directory = fs::metadata(&self.at)?;
        let entry = self.at.join(name);
        let Ok(metadata) = fs::symlink_metadata(&entry) else {
            // An entry that does not exist yet can be made.
            let can_make = self.identity.may_write(&self.at, &directory);
            return if can_make { Ok(Some(self.at.clone())) } else { Err(io::ErrorKind::NotFound.into()) };
        };
        // In a directory with the sticky bit only the owner of an entry may replace it.
        let is_kept = directory.mode() & libc::S_ISVTX != 0
            && self.identity.user != Some(metadata.uid())
            && self.identity.user != Some(directory.uid());
        if !is_kept && self.identity.may_write(&self.at, &directory) {
            return Ok(Some(self.at.clone()));
        }
        if !metadata.is_symlink() {
            self.at = entry;
            return Ok(None);
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&entry)?;
        self.follow(&target)
    }

    /// Goes to the target of a path or a link; the target itself is not judged.
    fn follow(&mut self, target: &Path) -> io::Result<Option<PathBuf>> {
        for component in target.components() {
            match component {
                Component::RootDir => self.at = PathBuf::from("/"),
                Component::ParentDir => drop(self.at.pop()),
                Component::Normal(name) => {
                    if let Some(found) = self.into(name.to_owned())? {
                        return Ok(Some(found));
                    }
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(None)
    }
}

/// True if a file has an access control list (acl(5)).
fn has_list(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both names end with NUL; a size of 0 asks for the length and writes nothing.
    unsafe { libc::getxattr(path.as_ptr(), c"system.posix_acl_access".as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

/// The kernel's own limit (path_resolution(7)).
const MOST_LINKS: u32 = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Returns a directory of this process's user, and another user of another group.
    fn surroundings() -> (tempfile::TempDir, Identity) {
        let directory = tempfile::tempdir().unwrap();
        let metadata = directory.path().metadata().unwrap();
        let (user, group) = (Some(metadata.uid() + 1), Some(metadata.gid() + 1));
        (directory, Identity { user, group, groups: vec![metadata.gid() + 1] })
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_as_safe_as_each_directory_on_its_way() {
        let (directory, other) = surroundings();
        let (outer, inner) = (directory.path().join("outer"), directory.path().join("outer/inner"));
        let file = inner.join("file");
        fs::create_dir_all(&inner).unwrap();
        fs::write(&file, "").unwrap();
        assert_eq!(other.can_change(&file), None);
        set_mode(&file, 0o646);
        assert_eq!(other.can_change(&file), Some(file.clone()));
        set_mode(&file, 0o664);
        assert_eq!(other.can_change(&file), None);
        set_mode(&outer, 0o777);
        assert_eq!(other.can_change(&file), Some(outer.clone()));
        assert_eq!(other.can_change_below(&inner), Some(outer.clone()));
        // With the sticky bit this user can replace only its own entries, and can make new ones.
        set_mode(&outer, 0o1777);
        assert_eq!(other.can_change(&file), None);
        assert_eq!(other.can_change(&outer.join("not/there")), Some(outer.clone()));
        let owner = Identity { user: Some(file.metadata().unwrap().uid()), ..Identity::default() };
        assert!(owner.can_change(&file).is_some());
    }

    #[test]
    fn a_link_is_as_safe_as_its_own_directory_and_its_target() {
        let (directory, other) = surroundings();
        let (open, closed) = (directory.path().join("open"), directory.path().join("closed"));
        for path in [&open, &closed] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        set_mode(&open, 0o777);
        symlink("../open/file", closed.join("link")).unwrap();
        symlink(closed.join("file"), open.join("link")).unwrap();
        assert_eq!(other.can_change(&closed.join("link")), Some(open.clone()));
        assert_eq!(other.can_change(&open.join("link")), Some(open.clone()));
        assert_eq!(other.can_change_below(&closed), Some(open));
        symlink("turn", closed.join("turn")).unwrap();
        assert_eq!(other.can_change(&closed.join("turn")), None);
    }

    #[test]
    fn a_group_may_write_as_its_bits_say() {
        let (directory, other) = surroundings();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let member = Identity { groups: vec![file.metadata().unwrap().gid()], ..other.clone() };
        set_mode(directory.path(), 0o755);
        set_mode(&file, 0o620);
        assert_eq!(member.can_change(&file), Some(file.clone()));
        assert_eq!(other.can_change(&file), None);
        // The group's bits come before those of all others.
        set_mode(&file, 0o602);
        assert_eq!(member.can_change(&file), None);
    }
}
