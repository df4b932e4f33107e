//! Files in directories of all kinds.

use std::fs::{self, Permissions, hard_link};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

/// Returns a directory with a directory `open` in it, to which every user may write.
fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    (directory, open)
}

fn refusal(result: io::Result<File>) -> Found {
    let error = result.unwrap_err();
    let text = error.to_string();
    error.into_inner().and_then(|inner| inner.downcast::<Refused>().ok()).unwrap_or_else(|| panic!("{text}")).found
}

#[test]
fn a_log_is_made_and_appended_to_wherever_it_is() {
    let (own, open) = directory();
    for path in [own.path().join("log"), open.join("log"), open.join("../open/./log")] {
        for text in ["one\n", "two\n"] {
            check_append(&path).unwrap();
            io::Write::write_all(&mut append(&path).unwrap(), text.as_bytes()).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap().ends_with("one\ntwo\n"), "{}", path.display());
    }
    assert_eq!(append(&open.join("none/log")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(check_append(&own.path().join("unmade")).is_ok() && !own.path().join("unmade").exists());
}

#[test]
fn where_others_can_write_a_file_must_be_a_file_with_one_name() {
    let (own, open) = directory();
    let fifo = open.join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    assert_eq!(refusal(append(&fifo)), Found::Kind("a fifo"));
    assert_eq!(refusal(self::open(&fifo)), Found::Kind("a fifo"));
    fs::create_dir(open.join("directory")).unwrap();
    assert_eq!(refusal(self::open(&open.join("directory"))), Found::Kind("a directory"));
    fs::write(own.path().join("secret"), "").unwrap();
    hard_link(own.path().join("secret"), open.join("link")).unwrap();
    assert_eq!(refusal(append(&open.join("link"))), Found::Names(2));
    // The same applies further down.
    fs::create_dir(open.join("inner")).unwrap();
    mkfifo(&open.join("inner/fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(refusal(append(&open.join("inner/fifo"))), Found::Kind("a fifo"));
    let text = append(&fifo).unwrap_err().to_string();
    assert!(
        text.contains(&format!("others than root can write to {}, found a fifo\nhint: ", open.display())),
        "{text}"
    );
}

#[test]
fn where_only_we_can_write_everything_may_be_named() {
    let (own, open) = directory();
    let fifo = own.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    append(&fifo).unwrap();
    fs::write(own.path().join("file"), "").unwrap();
    hard_link(own.path().join("file"), own.path().join("link")).unwrap();
    append(&own.path().join("link")).unwrap();
    append(Path::new("/dev/null")).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    append(Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)))).unwrap();
    drop(reader);
    // A link that we made is followed, and its target is judged.
    mkfifo(&open.join("fifo"), Mode::S_IRWXU).unwrap();
    symlink(open.join("fifo"), own.path().join("to-fifo")).unwrap();
    assert_eq!(refusal(append(&own.path().join("to-fifo"))), Found::Kind("a fifo"));
    symlink("open", own.path().join("to-open")).unwrap();
    append(&own.path().join("to-open/log")).unwrap();
    assert!(open.join("log").exists());
    symlink("loop", own.path().join("loop")).unwrap();
    assert_eq!(append(&own.path().join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn a_sticky_directory_exposes_only_what_others_have_put_there() {
    let (_own, open) = directory();
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    mkfifo(&open.join("fifo"), Mode::S_IRWXU).unwrap();
    append(&open.join("fifo")).unwrap();
    assert!(geteuid().is_root(), "only root can make files of others: run the tests as root");
    std::os::unix::fs::lchown(open.join("fifo"), Some(65_534), None).unwrap();
    assert_eq!(refusal(self::open(&open.join("fifo"))), Found::Kind("a fifo"));
    symlink("/dev/null", open.join("link")).unwrap();
    append(&open.join("link")).unwrap();
    std::os::unix::fs::lchown(open.join("link"), Some(65_534), None).unwrap();
    assert_eq!(refusal(append(&open.join("link"))), Found::Link(open.join("link"), 65_534));
}

/// Makes a directory of a user, with a link of that user's to a file of ours.
fn of_user(own: &TempDir, user: u32, mode: u32) -> PathBuf {
    let (directory, target) = (own.path().join(format!("of-{user}-{mode:o}")), own.path().join("target"));
    fs::create_dir(&directory).unwrap();
    fs::write(&target, "").unwrap();
    symlink(&target, directory.join("current")).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
    for path in [directory.clone(), directory.join("current")] {
        std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    }
    directory
}

#[test]
fn a_third_user_is_trusted_with_links_in_a_directory_of_their_own_and_an_application_is_not() {
    assert!(geteuid().is_root(), "only root can make files of others: run the tests as root");
    let (own, _) = directory();
    let (deploying, serving) = (60_001, 60_002);
    let link = |directory: PathBuf| self::open(&directory.join("current"));
    let refused = |directory: PathBuf, user: u32| {
        assert_eq!(refusal(link(directory.clone())), Found::Link(directory.join("current"), user));
    };
    // As deployments do it: the link belongs to the user that deploys, whose group is its own.
    link(of_user(&own, deploying, 0o755)).unwrap();
    link(of_user(&own, deploying, 0o775)).unwrap();
    refused(of_user(&own, deploying, 0o777), deploying);
    suspect(&Identity { user: Some(serving), group: Some(serving), groups: vec![serving] });
    refused(of_user(&own, serving, 0o755), serving);
    // To this one the application's group can write.
    let shared = of_user(&own, deploying, 0o770);
    std::os::unix::fs::lchown(&shared, None, Some(serving)).unwrap();
    refused(shared, deploying);
    // A file must be a file in any case.
    let directory = of_user(&own, deploying, 0o700);
    mkfifo(&directory.join("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(refusal(append(&directory.join("fifo"))), Found::Kind("a fifo"));
}
