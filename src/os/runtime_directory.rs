//! Private directories of this user for sockets that are found without a setting. Other users can neither make nor
//! replace anything on the way to them.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::geteuid;

/// Returns the places in which such a directory may be, the preferred one first. `given` is `XDG_RUNTIME_DIR`. Servers
/// and verbs may be started with different environments, so that a server is looked for in all of them.
pub fn candidates(given: Option<&str>) -> Vec<PathBuf> {
    let user = geteuid();
    let of_session = given.map(PathBuf::from).filter(|path| path.is_absolute()).map(|path| path.join(NAME));
    let of_user = Path::new("/run/user").join(user.to_string()).join(NAME);
    let shared = Path::new("/tmp").join(format!("{NAME}-{user}"));
    let mut places = vec![Path::new("/run").join(NAME), of_user, shared];
    places.retain(|place| Some(place) != of_session.as_ref());
    of_session.into_iter().chain(places).collect()
}

/// Makes the directory unless it exists, and fails if other users can change it or the way to it.
pub fn make(path: &Path) -> io::Result<()> {
    check(path.parent().unwrap_or(path), Last::MayBeSticky)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => check(path, Last::IsOwn),
    }
}

/// True if the directory exists, belongs to this user, and other users can change neither it nor the way to it.
pub fn is_private(path: &Path) -> bool {
    check(path, Last::IsOwn).is_ok()
}

/// The rule for the last component of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// It belongs to this user, who alone can write to it.
    IsOwn,
    /// It is as every directory on the way.
    MayBeSticky,
}

fn check(path: &Path, last: Last) -> io::Result<()> {
    let mut at = PathBuf::new();
    for component in path.components() {
        if matches!(component, Component::ParentDir | Component::CurDir) {
            return Err(refused(path, "a path with dots"));
        }
        at.push(component);
        let about = fs::symlink_metadata(&at)?;
        judge(&about, at == path && last == Last::IsOwn).map_err(|found| refused(&at, found))?;
    }
    Ok(())
}

fn judge(about: &Metadata, is_own: bool) -> Result<(), &'static str> {
    let user = geteuid().as_raw();
    let is_open = about.mode() & (libc::S_IWGRP | libc::S_IWOTH) != 0;
    let is_sticky = about.mode() & libc::S_ISVTX != 0;
    match about.uid() {
        _ if !about.is_dir() => Err("something else"),
        owner if owner != user && (is_own || owner != 0) => Err("one of another user"),
        _ if is_open && (is_own || !is_sticky) => Err("one to which others can write"),
        _ => Ok(()),
    }
}

fn refused(path: &Path, found: &str) -> io::Error {
    let words = format!("{}: expected a directory that only this user can change, found {found}", path.display());
    io::Error::other(words)
}

/// The name of the directory.
const NAME: &str = "rwsgi";

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{candidates, is_private, make};

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let mode = |name: &str, mode| {
            fs::set_permissions(room.path().join(name), Permissions::from_mode(mode)).unwrap();
        };
        let own = room.path().join("own");
        assert!(!is_private(&own));
        make(&own).unwrap();
        make(&own).unwrap();
        assert!(is_private(&own));
        mode("own", 0o770);
        assert!(make(&own).unwrap_err().to_string().ends_with("found one to which others can write"));
        mode("own", 0o1777);
        make(&own.join("inside")).unwrap();
        assert!(!is_private(&own) && is_private(&own.join("inside")));
        mode("own", 0o777);
        assert!(!is_private(&own.join("inside")) && make(&own.join("second")).is_err());
        symlink(&own, room.path().join("link")).unwrap();
        fs::write(room.path().join("file"), "").unwrap();
        assert!(make(&room.path().join("link")).is_err() && make(&room.path().join("file")).is_err());
        if nix::unistd::geteuid().is_root() {
            mode("own", 0o755);
            std::os::unix::fs::chown(&own, Some(65_534), None).unwrap();
            assert!(make(&own).is_err() && make(&own.join("third")).is_err());
        }
    }

    #[test]
    fn the_directory_of_the_session_comes_first_and_once() {
        let places = candidates(Some("/run"));
        assert_eq!(places[0].to_str(), Some("/run/rwsgi"));
        assert_eq!(places.len(), 3);
        assert_eq!(
            candidates(Some("/a"))[..2].iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(),
            ["/a/rwsgi", "/run/rwsgi"]
        );
        assert_eq!(candidates(Some("relative")), candidates(None));
    }
}
