//! Users and groups: looking them up, and becoming them for good (credentials(7)).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

pub use crate::message::Identity;

/// The reason for which a user or a group cannot be taken.
#[derive(Debug)]
pub enum IdentityError {
    /// No such user in the system's database.
    NoUser(String),
    /// No such group in the system's database.
    NoGroup(String),
    /// The database could not be read.
    Database(Errno),
}

/// A change of user or group that the kernel refused.
#[derive(Debug)]
pub struct Refused(pub io::Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = super::words(&self.0);
        write!(f, "changing user or group: {words}\nhint: only root can change user and group")
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::NoUser(name) => write!(f, "expected a user of this system, found \"{name}\""),
            IdentityError::NoGroup(name) => write!(f, "expected a group of this system, found \"{name}\""),
            IdentityError::Database(errno) => write!(f, "user database: {}", errno.desc()),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Looks up names or numbers. A user brings its own group unless one is asked for, and its supplementary groups.
    pub fn look_up(user: Option<&str>, group: Option<&str>) -> Result<Identity, IdentityError> {
        let known = user.map(find_user).transpose()?;
        let group = match group {
            Some(name) => Some(find_group(name)?),
            // A number without an entry in the database keeps this process's group, and what that group may do.
            None => known.as_ref().map(|known| known.group.unwrap_or_else(|| nix::unistd::getegid().as_raw())),
        };
        let groups = match (&known, group) {
            (Some(Known { name: Some(name), .. }), Some(group)) => groups_of(name, group)?,
            _ => group.into_iter().collect(),
        };
        Ok(Identity { user: known.map(|known| known.id), group, groups })
    }

    /// True if taking this identity would change anything.
    pub fn is_change(&self) -> bool {
        self.user.is_some_and(|id| id != nix::unistd::geteuid().as_raw())
            || self.group.is_some_and(|id| id != nix::unistd::getegid().as_raw())
    }

    /// Becomes this user and group, for good: supplementary groups first, then group, then user. Allocates nothing, so that it
    /// may be called between fork and exec. Errors: `PermissionDenied` for any but root.
    pub fn take(&self) -> io::Result<()> {
        if !self.is_change() {
            return Ok(());
        }
        let own = [nix::unistd::getegid().as_raw()];
        set_groups(if self.groups.is_empty() { &own } else { &self.groups })?;
        if let Some(group) = self.group.map(Gid::from_raw) {
            nix::unistd::setresgid(group, group, group)?;
        }
        if let Some(user) = self.user.map(Uid::from_raw) {
            nix::unistd::setresuid(user, user, user)?;
        }
        Ok(())
    }
}

/// A user's entry in the user database.
struct Known {
    id: u32,
    group: Option<u32>,
    name: Option<CString>,
}

fn find_user(name: &str) -> Result<Known, IdentityError> {
    let found = match name.parse::<u32>() {
        Ok(id) => User::from_uid(Uid::from_raw(id)),
        Err(_) => User::from_name(name),
    };
    match (found.map_err(IdentityError::Database)?, name.parse()) {
        (Some(user), _) => {
            Ok(Known { id: user.uid.as_raw(), group: Some(user.gid.as_raw()), name: CString::new(user.name).ok() })
        }
        // A number needs no entry in the database.
        (None, Ok(id)) => Ok(Known { id, group: None, name: None }),
        (None, Err(_)) => Err(IdentityError::NoUser(name.to_owned())),
    }
}

fn find_group(name: &str) -> Result<u32, IdentityError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = Group::from_name(name).map_err(IdentityError::Database)?;
    found.map(|group| group.gid.as_raw()).ok_or_else(|| IdentityError::NoGroup(name.to_owned()))
}

fn groups_of(user: &CString, group: u32) -> Result<Vec<u32>, IdentityError> {
    let groups = getgrouplist(user, Gid::from_raw(group)).map_err(IdentityError::Database)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// Sets the groups as nix does, without a copy of the list: nothing may be allocated between fork and exec.
fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer is to `groups.len()` group ids.
    Errno::result(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}
